//! Folds, and reads over records and segments together.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, StringArray};
use tidemill_connector::Table;
use tidemill_history::table::{About, HistoryTable};
use tidemill_model::TaskIx;
use tidemill_store::conformance::{Script, mapped};
use tidemill_store::{Archive, Store};

use crate::support::{Model, World, id, reopen};

#[test]
fn old_runs_fold_and_are_found_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("orders", 3), ("orders-eu", 1), ("a", 2)]);
    assert_eq!(world.fold().unwrap(), 0);
    let live = model.run(store, "orders", |script| script);
    for n in 0..90 {
        match n % 4 {
            0 => _ = model.fail(store, "orders"),
            1 => _ = model.succeed(store, "a"),
            _ => _ = model.succeed(store, ["orders", "orders-eu"][n % 2]),
        }
        if n % 9 == 8 {
            assert!(world.fold().unwrap() >= 3);
            model.check(store);
        }
    }
    // The oldest is unfinished, and stays.
    assert_eq!(store.run_count().unwrap(), 5);
    assert!(store.holds(&live).unwrap());
    let figures = world.history.figures();
    assert_eq!(figures.runs, 86);
    assert!((2..=9).contains(&figures.segments), "small ones are put together: {figures:?}");
    assert_eq!(world.history.check(Some(store)), []);
    // It ends long after those that were created after it.
    model.go_on(store, &live, Script::finish);
    (0..4).for_each(|_| _ = model.succeed(store, "a"));
    world.fold().unwrap();
    model.check(store);
    assert!(!store.holds(&live).unwrap());
    drop(world);
    model.check(&World::open(dir.path()).store);
}

#[test]
fn a_run_that_went_again_is_shown_as_it_ended_last() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("d", 3)]);
    (0..8).for_each(|_| _ = model.fail(store, "d"));
    world.fold().unwrap();
    let again = id("d.2");
    assert!(!store.holds(&again).unwrap());
    model.go_on(store, &again, reopen(&[2]));
    model.check(store);
    world.fold().unwrap();
    assert!(store.holds(&again).unwrap(), "it is not finished");
    model.go_on(store, &again, Script::finish);
    model.check(store);
    (0..8).for_each(|_| _ = model.succeed(store, "d"));
    world.fold().unwrap();
    assert!(!store.holds(&again).unwrap());
    model.check(store);
    assert_eq!(world.history.figures().runs, 12);
    assert_eq!(world.history.check(Some(store)), []);
    assert_eq!(rows(&world, About::Runs).0, 16);
    drop(world);
    model.check(&World::open(dir.path()).store);
}

#[test]
fn a_run_whose_rerun_only_the_journal_knows_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let mut model = Model::with(&world.store, &[("d", 3)]);
    (0..8).for_each(|_| _ = model.fail(&world.store, "d"));
    world.fold().unwrap();
    model.go_on_in_journal(&world.store, &id("d.3"), reopen(&[1, 2]));
    drop(world);
    let world = World::open(dir.path());
    model.check(&world.store);
    model.go_on(&world.store, &id("d.3"), Script::finish);
    (0..3).for_each(|_| _ = model.succeed(&world.store, "d"));
    world.fold().unwrap();
    model.check(&world.store);
}

#[test]
fn items_fold_with_their_run_and_stay_when_it_goes_again() {
    const ITEMS: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("d", 1)]);
    model.add(store, mapped("each", ITEMS));
    let run = model.run(store, "each", |script| {
        (0..ITEMS).fold(script.map_over(ITEMS), Script::item).gather().finish()
    });
    let items = |first, limit| store.items(&run, TaskIx(0), first, limit).unwrap();
    let before = items(0, usize::MAX);
    assert_eq!(before.len(), ITEMS as usize);
    let check = || {
        assert_eq!(items(0, usize::MAX), before);
        assert_eq!(items(63, 3), before[63..66]);
        assert_eq!(items(299, 9), before[299..]);
        assert_eq!(items(300, 9), []);
        assert_eq!(store.items(&run, TaskIx(1), 0, 9).unwrap(), []);
        model_tables(&world.history);
    };
    for _ in 0..2 {
        (0..6).for_each(|_| _ = model.succeed(store, "d"));
        world.fold().unwrap();
        assert!(!store.holds(&run).unwrap());
        check();
    }
    model.go_on_without_items(store, &run, |script| reopen(&[1])(script).finish());
    assert!(store.holds(&run).unwrap());
    check();
    // Folded again, and put together with others.
    for _ in 0..8 {
        (0..6).for_each(|_| _ = model.succeed(store, "d"));
        world.fold().unwrap();
    }
    assert!(!store.holds(&run).unwrap());
    check();
    model.check(store);
}

fn model_tables(history: &Arc<tidemill_history::History>) {
    let mut seen = std::collections::BTreeSet::new();
    history.visit_tables(&mut |hash| _ = seen.insert(hash.to_owned())).unwrap();
    assert!(seen.contains(&format!("{:032x}", 299)), "tables of items are needed, too");
}

/// The rows of a table as it is counted, and as it is scanned in parts: DAG, number, state.
fn rows(world: &World, about: About) -> (u64, Vec<(String, i64, String)>) {
    let table = HistoryTable::new(about, Arc::clone(&world.history), Arc::clone(&world.store));
    table.ready().unwrap();
    let parts = table.parts_max();
    let mut found = Vec::new();
    let state = table.schema().index_of("state").unwrap();
    for part in 0..parts {
        for batch in table.scan_part(&[state, 1, 0], part, parts).unwrap() {
            let batch = batch.unwrap();
            let text = |at: usize| batch.column(at).as_any().downcast_ref::<StringArray>().unwrap();
            let numbers = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
            for row in 0..batch.num_rows() {
                let (state, dag) = (text(0).value(row), text(2).value(row));
                found.push((dag.to_owned(), numbers.value(row), state.to_owned()));
            }
        }
    }
    let whole: usize = table.scan().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(whole, found.len());
    found.sort();
    (table.rows(), found)
}

#[test]
fn sql_sees_every_run_once() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path());
    let store = &world.store;
    let mut model = Model::with(store, &[("orders", 3), ("a", 2)]);
    for n in 0..40 {
        if n % 3 == 0 {
            model.fail(store, "orders")
        } else {
            model.succeed(store, "a")
        };
        world.fold().unwrap();
    }
    // One that is in a segment and in the records, and one that is in two segments.
    model.go_on(store, &id("orders.2"), |script| reopen(&[1])(script).finish());
    (0..9).for_each(|_| _ = model.succeed(store, "a"));
    world.fold().unwrap();
    model.go_on(store, &id("orders.3"), reopen(&[1]));
    let (count, found) = rows(&world, About::Runs);
    let wanted: Vec<(String, i64, String)> = (model.runs.iter())
        .map(|(id, script)| {
            let state = script.run.head.state.label();
            (id.dag.to_string(), id.number as i64, state.to_owned())
        })
        .collect();
    assert_eq!((count, &found), (wanted.len() as u64, &wanted));
    let (count, found) = rows(&world, About::Tasks);
    let mut wanted: Vec<(String, i64, String)> = Vec::new();
    for (id, script) in &model.runs {
        let tasks = script.run.tasks().iter();
        wanted.extend(
            tasks.map(|task| (id.dag.to_string(), id.number as i64, task.state.label().to_owned())),
        );
    }
    wanted.sort();
    assert_eq!((count, found), (wanted.len() as u64, wanted));
}
