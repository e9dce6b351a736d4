//! Files that are missing or damaged.

use std::fs;

use tidemill_store::doctor::Severity;
use tidemill_store::{Archive, RunQuery, Store, StoreError};

use crate::support::{Model, World, id};

fn four_segments(path: &std::path::Path) -> Model {
    let world = World::open(path);
    let mut model = Model::with(&world.store, &[("d", 2)]);
    for n in 1..=20 {
        model.succeed(&world.store, "d");
        if n % 4 == 0 {
            world.fold().unwrap();
        }
    }
    assert_eq!(world.history.figures().segments, 4);
    model
}

fn shown(world: &World, limit: usize) -> Vec<u64> {
    let mut query = RunQuery { limit, ..RunQuery::default() };
    let mut numbers = Vec::new();
    loop {
        let page = world.store.runs(&query).unwrap();
        numbers.extend(page.runs.iter().map(|run| run.head.id.number));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return numbers,
        }
    }
}

#[test]
fn a_damaged_segment_is_named_and_stops_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for (file, cut) in [("runs.parquet", None), ("runs.parquet", Some(40)), ("keys.json", None)] {
        let path = dir.path().join(format!("{file}-{cut:?}"));
        let model = four_segments(&path);
        let damaged = path.join("history/segments/00000002").join(file);
        match cut {
            None => fs::remove_file(&damaged).unwrap(),
            Some(len) => {
                fs::File::options().write(true).open(&damaged).unwrap().set_len(len).unwrap();
            }
        }
        let world = World::open(&path);
        assert_eq!(world.notes.len(), 1, "{:?}", world.notes);
        assert!(world.notes[0].contains(file) && world.notes[0].contains("4 runs of d.5 to d.8"));
        let rest: Vec<u64> = (9..=20).rev().chain((1..=4).rev()).collect();
        for limit in [1, 3, 50] {
            assert_eq!(shown(&world, limit), rest);
        }
        let lost = world.store.run(&id("d.6"));
        assert!(
            matches!(&lost, Err(StoreError::Damaged { path, .. }) if path.ends_with(file)),
            "{lost:?}"
        );
        assert!(world.store.run(&id("d.9")).unwrap().is_some());
        assert!(world.store.run(&id("d.99")).unwrap().is_none());
        // Runs go on being made, folded and found.
        let mut model = model;
        for _ in 0..40 {
            model.succeed(&world.store, "d");
            world.fold().unwrap();
        }
        assert_eq!(shown(&world, 7).len(), 56);
        // What cannot be read may need tables: none of them may be removed.
        if file == "runs.parquet" {
            let found = world.history.check(Some(&world.store));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].severity, Severity::Error);
            assert!(found[0].what.contains("4 runs (d.5 to 8)"), "{found:?}");
        }
        let done = world.history.set_damaged_aside().unwrap();
        assert_eq!(done.len(), 1);
        assert!(done[0].contains("are lost"), "{done:?}");
        assert!(world.store.run(&id("d.6")).unwrap().is_none());
        drop(world);
        let world = World::open(&path);
        assert_eq!(world.notes, Vec::<String>::new());
        assert_eq!(shown(&world, 7).len(), 56);
    }
}

#[test]
fn tables_are_not_told_where_some_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    four_segments(dir.path());
    fs::remove_file(dir.path().join("history/segments/00000003/tasks.parquet")).unwrap();
    let world = World::open(dir.path());
    assert!(world.history.visit_tables(&mut |_| ()).is_err());
    assert!(world.store.sweep_small_tables(|_| panic!("nothing is swept")).is_err());
}

#[test]
fn a_lost_manifest_is_made_again_from_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let model = four_segments(dir.path());
    let manifest = dir.path().join("history/manifest.json");
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    let world = World::open(dir.path());
    assert!(world.notes[0].contains("was made again"), "{:?}", world.notes);
    model.check(&world.store);
    assert_eq!(world.history.check(Some(&world.store)), []);
    drop(world);
    fs::remove_file(&manifest).unwrap();
    let world = World::open(dir.path());
    model.check(&world.store);
    // The next segment does not take the name of another.
    let mut model = model;
    (0..4).for_each(|_| _ = model.succeed(&world.store, "d"));
    world.fold().unwrap();
    model.check(&world.store);
}

#[test]
fn a_missing_run_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let model = four_segments(dir.path());
    let world = World::open(dir.path());
    let run = world.store.recent(&id("d.18")).unwrap().unwrap();
    assert_eq!(world.store.remove(&[(id("d.18"), run.position)]).unwrap().len(), 1);
    let found = world.history.check(Some(&world.store));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].what, "d.18 is neither recent nor in the history");
    drop(model);
}
