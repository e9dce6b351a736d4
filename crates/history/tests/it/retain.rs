//! What retention drops, and what it keeps.

use std::sync::Arc;
use std::time::Duration;

use tidemill_history::files::RealFiles;
use tidemill_history::{Retention, Settings};
use tidemill_store::{RunQuery, Store};

use crate::support::{Model, SETTINGS, World, id, reopen};

const NOTHING: Retention = Retention { age: None, runs: None, bytes: None };

fn left(world: &World) -> Vec<String> {
    let query = RunQuery { limit: 500, ..RunQuery::default() };
    let runs = world.store.runs(&query).unwrap().runs;
    let mut left: Vec<_> = runs.into_iter().map(|run| run.head.id).collect();
    left.sort();
    left.iter().map(ToString::to_string).collect()
}

fn numbers(dag: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{dag}.{number}")).collect()
}

/// 30 runs of `d`, of which only the third succeeded, one every 100 µs from 100 on.
fn thirty(world: &World) -> Model {
    let mut model = Model::with(&world.store, &[("d", 1)]);
    for n in 1..=30 {
        if n == 3 {
            model.succeed(&world.store, "d")
        } else {
            model.fail(&world.store, "d")
        };
        world.fold().unwrap();
    }
    model
}

#[test]
fn nothing_goes_without_a_limit_or_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let model = thirty(&world);
    for retention in [NOTHING, Retention::default()] {
        let (done, gone) = world.retain(&retention, 10_000).unwrap();
        assert_eq!((done.runs, gone.len()), (0, 0));
    }
    model.check(&world.store);
}

#[test]
fn old_runs_go_and_the_last_success_stays() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    thirty(&world);
    let age = Some(Duration::from_micros(500));
    let (done, mut gone) = world.retain(&Retention { age, ..NOTHING }, 3_450).unwrap();
    // Those that were created before 2,950: up to 29, which are recent in part.
    gone.sort();
    let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
    let wanted = numbers("d", (1..=29).filter(|n| *n != 3));
    assert_eq!((done.runs, gone), (28, wanted));
    assert_eq!(left(&world), ["d.3", "d.30"]);
    assert_eq!(world.history.check(Some(&world.store)), [], "what was dropped is not missing");
    drop(world);
    assert_eq!(left(&World::open(dir.path())), ["d.3", "d.30"]);
}

#[test]
fn the_newest_runs_of_each_dag_stay() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let mut model = thirty(&world);
    model.add(&world.store, tidemill_store::conformance::chain("rare", 1));
    model.succeed(&world.store, "rare");
    (0..20).for_each(|_| _ = model.succeed(&world.store, "d"));
    world.fold().unwrap();
    let (done, _) = world.retain(&Retention { runs: Some(10), ..NOTHING }, 9_000).unwrap();
    assert!(done.runs >= 35, "{done:?}");
    let left = left(&world);
    assert!(left.contains(&"rare.1".to_owned()), "{left:?}");
    let newest = numbers("d", 41..=50);
    assert!(newest.iter().all(|id| left.contains(id)), "{left:?}");
    // A few more stay where a segment is not worth being written again.
    assert!(left.len() <= 11 + 6, "{left:?}");
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment_runs: 6, ..SETTINGS };
    let world = World::open_on(dir.path(), Arc::new(RealFiles), settings);
    thirty(&world);
    let before = world.history.figures();
    assert!(before.segments > 2);
    let bytes = Some(before.bytes * 2 / 3);
    let (done, gone) = world.retain(&Retention { bytes, ..NOTHING }, 9_000).unwrap();
    assert!(done.runs > 0 && gone.contains(&id("d.1")) && !gone.contains(&id("d.26")));
    // What stays of a segment takes a little again.
    assert!(world.history.figures().bytes < before.bytes);
    let left = left(&world);
    assert!(left.contains(&"d.3".to_owned()), "the last success: {left:?}");
    let dropped = gone.iter().map(|id| id.number).max().unwrap();
    let wanted: Vec<String> = numbers("d", std::iter::once(3).chain(dropped + 1..=30));
    let mut wanted = wanted;
    wanted.sort_by_key(|id| id[2..].parse::<u64>().unwrap());
    let mut found = left.clone();
    found.sort_by_key(|id| id[2..].parse::<u64>().unwrap());
    assert_eq!(found, wanted);
}

#[test]
fn a_dropped_run_does_not_come_back_as_it_was_before_it_went_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("d", 1), ("other", 1)]);
    model.succeed(store, "d");
    (0..12).for_each(|_| _ = model.succeed(store, "other"));
    world.fold().unwrap();
    assert!(!store.holds(&id("d.1")).unwrap());
    model.go_on(store, &id("d.1"), |script| reopen(&[0])(script).finish());
    (0..6).for_each(|_| _ = model.succeed(store, "d"));
    // One run of a segment is not worth that it is written again.
    world.retain(&Retention { runs: Some(4), ..NOTHING }, 9_000).unwrap();
    assert!(store.run(&id("d.1")).unwrap().is_none());
    assert!(!left(&world).contains(&"d.1".to_owned()));
    drop(world);
    assert!(World::open(dir.path()).store.run(&id("d.1")).unwrap().is_none());
}

#[test]
fn an_older_run_that_succeeds_again_does_not_let_the_last_success_go() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("d", 1)]);
    (0..3).for_each(|_| _ = model.succeed(store, "d"));
    (0..5).for_each(|_| _ = model.fail(store, "d"));
    world.fold().unwrap();
    model.go_on(store, &id("d.1"), |script| reopen(&[0])(script).finish());
    (0..2).for_each(|_| _ = model.fail(store, "d"));
    world.retain(&Retention { runs: Some(3), ..NOTHING }, 9_000).unwrap();
    assert!(left(&world).contains(&"d.3".to_owned()), "{:?}", left(&world));
    // It went again and failed: the one before it is the last one then.
    model.go_on(store, &id("d.3"), |script| crate::support::fail_again(reopen(&[0])(script)));
    world.retain(&Retention { runs: Some(3), ..NOTHING }, 9_000).unwrap();
    assert!(left(&world).contains(&"d.1".to_owned()), "{:?}", left(&world));
}
