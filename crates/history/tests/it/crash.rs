//! The process ends at every call of a fold and of retention.

use std::path::Path;
use std::sync::Arc;

use tidemill_history::Retention;

use crate::support::{Model, MortalFiles, SETTINGS, World, id, reopen};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A home with segments, reruns of folded runs, and runs that wait to be folded: with those, there
/// are so many segments that they are put together.
fn prepare(path: &Path) -> Model {
    let world = World::open(path);
    let store = &world.store;
    let mut model = Model::with(store, &[("orders", 2), ("b", 1)]);
    for n in 0.. {
        if n % 3 == 0 {
            model.fail(store, "orders")
        } else {
            model.succeed(store, "b")
        };
        world.fold().unwrap();
        if world.history.figures().segments == 7 {
            break;
        }
    }
    for run in ["orders.2", "b.3"] {
        model.go_on(store, &id(run), |script| reopen(&[0])(script).finish());
    }
    (0..9).for_each(|_| _ = model.succeed(store, "orders"));
    model.check(store);
    model
}

#[test]
fn a_fold_that_ends_anywhere_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let model = prepare(&base);
    let mut calls = 0;
    for call in 1.. {
        let path = dir.path().join(format!("crash-{call}"));
        copy(&base, &path);
        let files = MortalFiles::dying_at(call);
        // Opening calls the disk, too; it is the same each time.
        let opened =
            std::panic::catch_unwind(|| World::open_on(&path, Arc::clone(&files) as _, SETTINGS));
        let ended = match opened {
            Ok(world) => {
                let folded = world.fold();
                // A folder that is not listed any more may stay until the next start.
                assert!(folded.is_ok() || files.is_dead(), "{folded:?}");
                // Readers of the process that failed see everything still.
                model.check_runs(&world.store);
                files.is_dead()
            }
            Err(_) => true,
        };
        let world = World::open(&path);
        model.check(&world.store);
        world.fold().unwrap();
        model.check(&world.store);
        assert_eq!(world.history.check(Some(&world.store)), []);
        assert_eq!(world.store.run_count().unwrap(), 4);
        assert!(world.history.figures().segments < 7);
        drop(world);
        std::fs::remove_dir_all(&path).unwrap();
        if !ended {
            calls = call - 1;
            break;
        }
    }
    assert!(calls > 25, "{calls} calls");
}

#[test]
fn retention_that_ends_anywhere_drops_what_it_may_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let mut model = prepare(&base);
    World::open(&base).fold().unwrap();
    let retention = Retention { age: None, runs: Some(6), bytes: None };
    let may_go = |id: &tidemill_model::RunId, model: &Model| {
        let last = model.runs.keys().filter(|other| other.dag == id.dag).count() as u64;
        id.number + 6 <= last
    };
    let old: Vec<_> = model.runs.keys().filter(|id| may_go(id, &model)).cloned().collect();
    let old: Vec<_> = old.into_iter().map(|id| model.runs.remove_entry(&id).unwrap()).collect();
    assert!(old.len() > 15);
    let mut calls = 0;
    for call in 1.. {
        let path = dir.path().join(format!("crash-{call}"));
        copy(&base, &path);
        let files = MortalFiles::dying_at(call);
        let opened =
            std::panic::catch_unwind(|| World::open_on(&path, Arc::clone(&files) as _, SETTINGS));
        let ended = match opened {
            Ok(world) => {
                _ = world.retain(&retention, 1_000_000);
                files.is_dead()
            }
            Err(_) => true,
        };
        let world = World::open(&path);
        model.check_runs(&world.store);
        for (id, script) in &old {
            if let Some(stored) = tidemill_store::Store::run(&*world.store, id).unwrap() {
                assert_eq!(
                    stored.run.tasks,
                    script.run.tasks(),
                    "{id} is there whole or not at all"
                );
            }
        }
        world.retain(&retention, 1_000_000).unwrap();
        model.check_runs(&world.store);
        assert_eq!(world.history.check(Some(&world.store)), []);
        drop(world);
        std::fs::remove_dir_all(&path).unwrap();
        if !ended {
            calls = call - 1;
            break;
        }
    }
    assert!(calls > 8, "{calls} calls");
}
