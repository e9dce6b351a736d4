//! Schedules fire unattended.

use std::sync::Arc;

use tidemill_store::memory::MemoryStore;

use crate::house::{House, dag};

async fn runs(house: &House, n: u64) {
    house
        .until("the runs exist", |s| {
            s.live().dag(&"d".parse().unwrap()).is_some_and(|dag| dag.record.last_run == n)
        })
        .await;
}

#[tokio::test]
async fn each_tick_fires_once() {
    let dag = dag("d", "a", Some("0 * * * *"), 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 8, "2026-03-01T11:50:00Z");
    let view = house.scheduler.live().dag(&"d".parse().unwrap()).unwrap();
    assert_eq!(view.next.map(|at| at.to_string()).as_deref(), Some("2026-03-01T12:00:00Z"));
    house.clock.put("2026-03-01T12:00:01Z");
    runs(&house, 1).await;
    // A clock that goes back does not fire the tick again.
    house.clock.put("2026-03-01T11:59:00Z");
    house.clock.put("2026-03-01T13:00:01Z");
    runs(&house, 2).await;
    let run = house.scheduler.run(&"d.2".parse().unwrap()).unwrap().unwrap();
    let interval = run.head.interval.unwrap();
    assert_eq!(
        (interval.start.to_string(), interval.end.to_string()),
        ("2026-03-01T12:00:00Z".to_owned(), "2026-03-01T13:00:00Z".to_owned())
    );
    house.stop();
}

#[tokio::test]
async fn a_paused_dag_fires_nothing() {
    let dag = dag("d", "a", Some("0 * * * *"), 0);
    let house = House::start(Arc::new(MemoryStore::default()), &[dag], 8, "2026-03-01T11:50:00Z");
    let id: tidemill_model::DagId = "d".parse().unwrap();
    house.scheduler.pause(id.clone(), true, "ada".to_owned()).await.unwrap();
    assert_eq!(house.scheduler.live().dag(&id).unwrap().next, None);
    house.clock.put("2026-03-01T15:30:00Z");
    house.scheduler.pause(id.clone(), false, "ada".to_owned()).await.unwrap();
    house
        .until("it goes on", |s| {
            s.live()
                .dag(&id)
                .and_then(|d| d.next)
                .is_some_and(|at| at.to_string() == "2026-03-01T16:00:00Z")
        })
        .await;
    assert_eq!(house.scheduler.live().dag(&id).unwrap().record.last_run, 0);
    house.stop();
}
