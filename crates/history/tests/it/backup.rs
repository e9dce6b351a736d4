//! Backups while runs are made, folded and put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_model::{DagRun, Event, Position, RunId};
use tidemill_store::backup::{backup, restore, verify};
use tidemill_store::conformance::chain;
use tidemill_store::{Home, Store};

use crate::support::{Model, World};

#[test]
fn a_backup_under_load_is_the_state_at_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(&dir.path().join("home"));
    let store = &world.store;
    let mut model = Model::with(store, &[("orders", 3), ("b", 1)]);
    let more = |model: &mut Model, n: usize| {
        if n.is_multiple_of(3) {
            model.fail(store, "orders")
        } else {
            model.succeed(store, "b")
        };
    };
    (0..60).for_each(|n| more(&mut model, n));
    world.fold().unwrap();
    let done = AtomicBool::new(false);
    let dest = dir.path().join("backup");
    let manifest = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                more(&mut model, n);
            }
        });
        let folding = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                world.fold().unwrap();
            }
        });
        let manifest = backup(store, &world.home, None, &dest).unwrap();
        done.store(true, Ordering::Relaxed);
        load.join().unwrap();
        folding.join().unwrap();
        manifest
    });
    assert!(manifest.files.iter().any(|file| file.path.starts_with("history/segments")));
    assert_eq!(verify(&dest).unwrap(), manifest);
    // What the journal says of every run up to there.
    let dags = [chain("orders", 3), chain("b", 1)];
    let mut wanted: BTreeMap<RunId, DagRun> = BTreeMap::new();
    for (position, event) in store.events(Position(0), usize::MAX).unwrap() {
        let Event::Run(id, event) = event else { continue };
        if position > manifest.to {
            break;
        }
        match wanted.get_mut(&id) {
            Some(run) => run.apply(&event).unwrap(),
            None => {
                let dag = dags.iter().find(|dag| dag.id == id.dag).unwrap();
                let run = DagRun::create(Arc::clone(dag), id.clone(), &event).unwrap();
                wanted.insert(id, run);
            }
        }
    }
    drop(world);
    let target = dir.path().join("restored");
    let home = Home::open(&target).unwrap();
    restore(&dest, &home, false).unwrap();
    drop(home);
    let world = World::open(&target);
    assert_eq!(world.notes, Vec::<String>::new());
    assert_eq!(world.store.recover().unwrap().last, manifest.to);
    let mut found = 0;
    let mut query = tidemill_store::RunQuery { limit: 100, ..Default::default() };
    loop {
        let page = world.store.runs(&query).unwrap();
        for run in &page.runs {
            let of_journal = &wanted[&run.head.id];
            assert_eq!(run.head, of_journal.head);
            let stored = world.store.run(&run.head.id).unwrap().unwrap();
            assert_eq!(stored.run.tasks, of_journal.tasks());
        }
        found += page.runs.len();
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, wanted.len());
    assert_eq!(world.history.check(Some(&world.store)), []);
}

#[test]
fn a_backup_with_a_damaged_segment_is_refused_before_anything_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(&dir.path().join("home"));
    let mut model = Model::with(&world.store, &[("d", 1)]);
    (0..12).for_each(|_| _ = model.succeed(&world.store, "d"));
    world.fold().unwrap();
    let dest = dir.path().join("backup");
    let manifest = backup(&world.store, &world.home, None, &dest).unwrap();
    let runs = manifest.files.iter().find(|file| file.path.ends_with("runs.parquet")).unwrap();
    // The backup shares the file with the home: a copy is damaged, not the home's.
    let (path, copy) = (dest.join(&runs.path), dest.join("copy"));
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = Home::open(dir.path().join("restored")).unwrap();
    let refused = restore(&dest, &target, false).unwrap_err().to_string();
    assert!(refused.contains("runs.parquet") && refused.contains("nothing was changed"));
    assert!(!target.history().exists());
    model.check(&world.store);
}
