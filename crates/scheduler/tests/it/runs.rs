//! Runs from trigger to end.

use std::sync::Arc;

use tidemill_model::RunState;
use tidemill_scheduler::{CommandError, Refused};
use tidemill_store::RunQuery;
use tidemill_store::memory::MemoryStore;

use crate::house::{House, dag};

const NOON: &str = "2026-03-01T12:00:00Z";

async fn check(text: &str, slots: u32, state: RunState, tasks: &str) {
    let dag = dag("d", text, None, 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], slots, NOON);
    let run = house.trigger("d").await;
    assert_eq!(house.finish(&run).await, state, "{text}");
    assert_eq!(house.states(&run), tasks);
    house.stop();
}

#[tokio::test]
async fn a_diamond_runs_whole() {
    let all = "a=succeeded b=succeeded c=succeeded d=succeeded";
    check("a; b < a; c < a; d < b, c", 8, RunState::Succeeded, all).await;
    check("a; b < a; c < a; d < b, c", 1, RunState::Succeeded, all).await;
}

#[tokio::test]
async fn a_failure_reaches_what_depends_on_it_and_nothing_else() {
    let tasks = "bad=failed b=upstream_failed c=succeeded";
    check("bad; b < bad; c", 8, RunState::Failed, tasks).await;
}

#[tokio::test]
async fn a_retry_waits_for_its_instant() {
    let dag = dag("d", "bad", None, 2);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 8, NOON);
    let run = house.trigger("d").await;
    for (at, attempt) in [("2026-03-01T12:00:10Z", 1), ("2026-03-01T12:00:30Z", 2)] {
        house
            .until("the attempt failed", |s| {
                s.run(&run).unwrap().is_some_and(|r| r.tasks[0].retries == attempt)
            })
            .await;
        assert_eq!(house.states(&run), "bad=up_for_retry");
        house.clock.put(at);
    }
    assert_eq!(house.finish(&run).await, RunState::Failed);
    assert_eq!(*house.started.lock().unwrap(), ["d.1:bad#1", "d.1:bad#2", "d.1:bad#3"]);
    house.stop();
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_other_side_asked() {
    let dag = dag("d", "busy", None, 1);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 8, NOON);
    let run = house.trigger("d").await;
    house
        .until("the attempt failed", |s| {
            s.run(&run).unwrap().is_some_and(|r| r.tasks[0].retries == 1)
        })
        .await;
    let stored = house.scheduler.run(&run).unwrap().unwrap();
    assert_eq!(stored.tasks[0].retry_at, "2026-03-01T12:10:00Z".parse().ok());
    house.clock.put("2026-03-01T12:10:00Z");
    assert_eq!(house.finish(&run).await, RunState::Failed);
    house.stop();
}

#[tokio::test]
async fn slots_are_never_exceeded_and_waiting_says_why() {
    let dag = dag("d", "slow_a; slow_b; slow_c", None, 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 2, NOON);
    let run = house.trigger("d").await;
    house.until("two run", |s| s.live().pools().iter().any(|pool| pool.used == 2)).await;
    let view = house.scheduler.run(&run).unwrap().unwrap();
    assert_eq!(house.states(&run), "slow_a=running slow_b=running slow_c=queued");
    let why: Vec<&str> = view.waits.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(why, ["all 2 slots of pool `default` are taken"]);
    house.stop();
}

#[tokio::test]
async fn cancelling_ends_what_waits_at_once() {
    let dag = dag("d", "slow; b < slow", None, 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 2, NOON);
    let run = house.trigger("d").await;
    house.until("it runs", |s| s.live().pools().iter().any(|pool| pool.used == 1)).await;
    house.scheduler.cancel(run.clone(), "ada".to_owned()).await.unwrap();
    assert_eq!(house.states(&run), "slow=running b=cancelled");
    house.stop();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let dag = dag("d", "a", None, 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 2, NOON);
    let refused = house.scheduler.cancel("d.9".parse().unwrap(), "ada".to_owned()).await;
    let expected = CommandError::NotLive("d.9".parse().unwrap());
    assert!(matches!(&refused, Err(Refused::Command(e)) if *e == expected), "{refused:?}");
    let refused = house.scheduler.pause("e".parse().unwrap(), true, "ada".to_owned()).await;
    assert_eq!(refused.unwrap_err().to_string(), "there is no DAG `e`");
    house.scheduler.retire(vec!["d".parse().unwrap()]).unwrap();
    house.stop();
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_paged() {
    let dag = dag("d", "a", None, 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 2, NOON);
    for minute in 0..5 {
        house.clock.put(&format!("2026-03-01T12:0{minute}:00Z"));
        let run = house.trigger("d").await;
        house.finish(&run).await;
    }
    let mut query = RunQuery { limit: 2, ..RunQuery::default() };
    let mut pages = Vec::new();
    loop {
        let page = house.scheduler.runs(&query).unwrap();
        pages.push(page.runs.iter().map(|r| r.head.id.to_string()).collect::<Vec<_>>().join(" "));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, ["d.5 d.4", "d.3 d.2", "d.1"]);
    house.stop();
}
