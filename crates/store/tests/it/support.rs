//! What several tests need.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_model::{DagId, Position, RunId};
use tidemill_store::conformance::{Script, chain, resolver, source_of};
use tidemill_store::{Commit, Home, Live, Record, SledOptions, SledStore, Store};

/// Small files, so that a test meets every boundary.
pub(crate) fn small() -> SledOptions {
    SledOptions {
        segment_bytes: 16 << 10,
        slab_bytes: 16 << 10,
        snapshot_bytes: 64 << 10,
        cache_bytes: 8 << 20,
        ..SledOptions::default()
    }
}

pub(crate) fn open(home: &Home) -> (SledStore, Vec<String>) {
    SledStore::open(home, resolver(), small()).unwrap()
}

pub(crate) fn open_at(path: &Path) -> (Home, SledStore, Vec<String>) {
    let home = Home::open(path).unwrap();
    let (store, notes) = open(&home);
    (home, store, notes)
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Commits finished runs with their records; `n` are their numbers.
pub(crate) fn fill(store: &SledStore, numbers: std::ops::RangeInclusive<u64>) -> Position {
    let dag = chain("filled", 3);
    store.put_version(&dag.version, &source_of(&dag)).unwrap();
    let mut last = Position(0);
    for number in numbers {
        let script = Script::begin(&dag, number, number as i64).start().finish();
        last = store.commit(&script.commit()).unwrap();
        store.put(&[script.record(last)]).unwrap();
    }
    last
}

/// Whether these runs are all there, with every task.
pub(crate) fn check_filled(store: &SledStore, numbers: std::ops::RangeInclusive<u64>) {
    let dag = chain("filled", 3);
    for number in numbers {
        let script = Script::begin(&dag, number, number as i64).start().finish();
        let stored = store.run(&script.run.head.id).unwrap();
        let stored = stored.unwrap_or_else(|| panic!("run {number} is gone"));
        assert_eq!(stored.run.head, script.run.head);
        assert_eq!(stored.run.tasks, script.run.tasks());
    }
}

/// Waits for a condition that a thread is bound to bring about.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The committed state of a few runs, as a scheduler would hold it.
#[derive(Default)]
pub(crate) struct Runs {
    records: Mutex<HashMap<RunId, Record>>,
    pub(crate) stored: Mutex<HashMap<RunId, Position>>,
}

impl Runs {
    pub(crate) fn set(&self, script: &Script, position: Position) {
        let id = script.run.head.id.clone();
        self.records.lock().unwrap().insert(id, script.record(position));
    }

    /// Commits the events of a script after the first `skip` and shows them.
    pub(crate) fn commit(
        self: &Arc<Self>,
        store: &dyn Store,
        script: &Script,
        skip: usize,
    ) -> (Position, Commit) {
        let commit = script.commit_from(skip);
        let position = store.commit(&commit).unwrap();
        self.set(script, position);
        (position, commit)
    }
}

impl Live for Runs {
    fn records(&self, run: &RunId, _: Position) -> Option<Record> {
        self.records.lock().unwrap().get(run).cloned()
    }

    fn dag(&self, _: &DagId) -> Option<Record> {
        None
    }

    fn stored(&self, run: &RunId, position: Position) {
        self.stored.lock().unwrap().insert(run.clone(), position);
    }
}
