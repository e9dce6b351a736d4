//! Kill the scheduler between any two commits: what was acknowledged is there, and goes on.

use std::sync::Arc;

use serde_json::Map;
use tidemill_model::run::LOST_ATTEMPTS_MAX;
use tidemill_model::state::AttemptOutcome;
use tidemill_model::{AttemptId, AttemptReport, ReportOutcome, RunId, RunState, TaskIx, TaskState};
use tidemill_scheduler::{Carry, TriggerRequest};
use tidemill_store::RunQuery;
use tidemill_store::memory::MemoryStore;

use crate::house::{House, dag, with_source};

const NOON: &str = "2026-03-01T12:00:00Z";

#[tokio::test]
async fn an_attempt_under_way_is_lost_and_runs_again() {
    let dag = dag("d", "a; slow < a; c < slow", None, 0);
    let store = Arc::new(MemoryStore::default());
    let house = House::start(Arc::clone(&store) as _, &[Arc::clone(&dag)], 8, NOON);
    let run = house.trigger("d").await;
    house
        .until("it runs", |s| s.run(&run).unwrap().is_some_and(|r| r.tasks[1].attempts == 1))
        .await;
    house.stop();
    let house = House::start(store, &[dag], 8, NOON);
    house
        .until("it runs again", |s| s.run(&run).unwrap().is_some_and(|r| r.tasks[1].attempts == 2))
        .await;
    assert_eq!(house.states(&run), "a=succeeded slow=running c=pending");
    assert_eq!(*house.started.lock().unwrap(), ["d.1:slow#2"]);
    house.stop();
}

#[tokio::test]
async fn a_waiting_retry_survives() {
    let dag = dag("d", "bad", None, 1);
    let store = Arc::new(MemoryStore::default());
    let house = House::start(Arc::clone(&store) as _, &[Arc::clone(&dag)], 8, NOON);
    let run = house.trigger("d").await;
    house
        .until("it failed", |s| s.run(&run).unwrap().is_some_and(|r| r.tasks[0].retries == 1))
        .await;
    house.stop();
    let house = House::start(store, &[dag], 8, NOON);
    assert_eq!(house.states(&run), "bad=up_for_retry");
    house.clock.put("2026-03-01T12:00:10Z");
    assert_eq!(house.finish(&run).await, RunState::Failed);
    assert_eq!(*house.started.lock().unwrap(), ["d.1:bad#2"]);
    house.stop();
}

#[tokio::test]
async fn numbers_go_on_where_they_were() {
    let dag = dag("d", "a", None, 0);
    let store = Arc::new(MemoryStore::default());
    for number in 1..=3 {
        let house = House::start(Arc::clone(&store) as _, &[Arc::clone(&dag)], 8, NOON);
        let run = house.trigger("d").await;
        assert_eq!(run.number, number);
        assert_eq!(house.finish(&run).await, RunState::Succeeded);
        house.stop();
    }
}

#[tokio::test]
async fn a_run_whose_version_is_gone_is_named() {
    let dag = dag("d", "slow", None, 0);
    let store = Arc::new(MemoryStore::default());
    let house = House::start(Arc::clone(&store) as _, &[dag], 8, NOON);
    house.trigger("d").await;
    house.stop();
    let house = House::start(store, &[], 8, NOON);
    assert_eq!(house.notes.len(), 1, "{:?}", house.notes);
    assert!(house.notes[0].starts_with("run d.1 cannot go on"), "{:?}", house.notes);
    house.stop();
}

#[tokio::test]
async fn attempts_that_a_stop_ends_are_on_nobodys_account() {
    let dag = dag("d", "slow", None, 0);
    let store = Arc::new(MemoryStore::default());
    for attempt in 1..=LOST_ATTEMPTS_MAX + 2 {
        let house = House::start(Arc::clone(&store) as _, &[Arc::clone(&dag)], 8, NOON);
        let run: RunId = match attempt {
            1 => house.trigger("d").await,
            _ => "d.1".parse().unwrap(),
        };
        house
            .until("it runs", |s| {
                s.run(&run).unwrap().is_some_and(|run| run.tasks[0].attempts == attempt)
            })
            .await;
        house.scheduler.drain();
        let id = AttemptId { run: run.clone(), task: TaskIx(0).into(), attempt };
        let outcome = ReportOutcome::Interrupted;
        house.scheduler.report(AttemptReport { id, outcome, small_tables: Vec::new() });
        let scheduler = house.scheduler.clone();
        house.stop();
        // The report came before the stop, so it is committed; nothing was started after it.
        let view = scheduler.run(&run).unwrap().unwrap();
        assert_eq!(view.tasks[0].state, TaskState::Queued);
        assert_eq!((view.tasks[0].attempts, view.tasks[0].lost), (attempt, 0));
        let last = view.tasks[0].history.last().unwrap();
        assert_eq!(last.outcome, AttemptOutcome::Lost);
        assert_eq!(last.error.as_deref(), Some("the server was stopped while this attempt ran"));
    }
}

#[tokio::test]
async fn a_process_with_work_of_its_own_leaves_the_rest_to_a_server() {
    let slow = dag("d", "slow; b < slow", None, 0);
    let daily = dag("e", "a", Some("0 1 * * *"), 0);
    let dags = [Arc::clone(&slow), Arc::clone(&daily)];
    let store = Arc::new(MemoryStore::default());
    let house = House::start(Arc::clone(&store) as _, &dags, 8, NOON);
    let left = house.trigger("d").await;
    house
        .until("it runs", |s| s.run(&left).unwrap().is_some_and(|r| r.tasks[0].attempts == 1))
        .await;
    house.stop();

    // A tick is due, and a run is unfinished; neither is this process's business.
    let later = "2026-03-03T01:01:00Z";
    let house = House::carrying(Carry::Nothing, Arc::clone(&store) as _, &dags, 8, later);
    let own = dag("e", "x; y < x", None, 0);
    let (version, source) = with_source(&own);
    let request = TriggerRequest {
        dag: own.id.clone(),
        params: Map::new(),
        interval: None,
        part: tidemill_scheduler::Part::default(),
        who: "test".to_owned(),
    };
    let run = house.scheduler.run_version(version, source, Vec::new(), request).await.unwrap();
    assert_eq!(house.finish(&run).await, RunState::Succeeded);
    assert_eq!(*house.started.lock().unwrap(), ["e.1:x#1", "e.1:y#1"]);
    assert_eq!(house.states(&left), "slow=running b=pending");
    let record = house.scheduler.live().dag(&own.id).unwrap().record;
    assert_eq!(record.version.as_ref(), Some(&daily.version), "the served version stays");
    let query = RunQuery { limit: 10, ..RunQuery::default() };
    assert_eq!(house.scheduler.runs(&query).unwrap().runs.len(), 2);
    house.stop();

    let house = House::start(store, &[Arc::clone(&slow), daily], 8, later);
    house
        .until("all goes on", |s| s.run(&left).unwrap().is_some_and(|r| r.tasks[0].attempts == 2))
        .await;
    let ticked: RunId = "e.2".parse().unwrap();
    house.until("the schedule fires", |s| s.run(&ticked).unwrap().is_some()).await;
    assert_eq!(house.finish(&ticked).await, RunState::Succeeded);
    assert_eq!(house.scheduler.run(&left).unwrap().unwrap().tasks[0].lost, 1);
    house.stop();
}

#[tokio::test]
async fn a_run_is_ended_without_being_gone_on_with() {
    let dag = dag("d", "slow; b < slow", None, 0);
    let store = Arc::new(MemoryStore::default());
    let house = House::start(Arc::clone(&store) as _, &[Arc::clone(&dag)], 8, NOON);
    let (first, second) = (house.trigger("d").await, house.trigger("d").await);
    house
        .until("both run", |s| {
            [&first, &second]
                .iter()
                .all(|id| s.run(id).unwrap().is_some_and(|r| r.tasks[0].attempts == 1))
        })
        .await;
    house.stop();
    let to_end = Carry::ToEnd(first.clone());
    let house = House::carrying(to_end, store, &[dag], 8, NOON);
    house.scheduler.cancel(first.clone(), "ada".to_owned()).await.unwrap();
    assert_eq!(house.finish(&first).await, RunState::Cancelled);
    assert_eq!(house.states(&first), "slow=cancelled b=cancelled");
    assert_eq!(house.states(&second), "slow=running b=pending");
    assert_eq!(*house.started.lock().unwrap(), [""; 0]);
    house.stop();
}
