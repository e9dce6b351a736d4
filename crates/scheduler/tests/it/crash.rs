//! Kill the scheduler between any two commits: what was acknowledged is there, and goes on.

use std::sync::Arc;

use tidemill_model::RunState;
use tidemill_store::memory::MemoryStore;

use crate::house::{House, dag};

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
