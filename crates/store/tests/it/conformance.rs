//! Both stores pass the suite; the store in memory also as a power cut leaves it.

use std::sync::Arc;

use tidemill_store::conformance::{Subject, exercise};
use tidemill_store::{Fault, Home, MemoryStore, SledStore, Store, StoreError};

use crate::support::open;

struct OnDisk {
    dir: tempfile::TempDir,
    home: Option<Home>,
    store: Option<Arc<SledStore>>,
}

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut subject = Self { dir, home: None, store: None };
        subject.restart();
        subject
    }
}

impl Subject for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap()) as _
    }

    fn restart(&mut self) {
        if let Some(store) = self.store.take() {
            assert_eq!(Arc::strong_count(&store), 1, "the suite let go of the store");
        }
        self.home = None;
        let home = Home::open(self.dir.path()).unwrap();
        let (store, notes) = open(&home);
        assert_eq!(notes, Vec::<String>::new());
        self.store = Some(Arc::new(store));
        self.home = Some(home);
    }
}

#[test]
fn the_store_on_disk() {
    exercise(|| Box::new(OnDisk::new()));
}

struct InMemory {
    store: Arc<MemoryStore>,
    seed: u64,
}

impl Subject for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    fn restart(&mut self) {
        self.seed += 1;
        self.store = Arc::new(self.store.durable_copy(self.seed));
    }
}

#[test]
fn the_store_in_memory_after_power_cuts() {
    for seed in 0..100 {
        exercise(|| Box::new(InMemory { store: Arc::default(), seed: seed * 1_000 }));
    }
}

#[test]
fn faults_strike_once_or_for_ever() {
    let script = tidemill_store::conformance::Script::begin(
        &tidemill_store::conformance::chain("faults", 1),
        1,
        10,
    );
    let store = MemoryStore::new();
    store.fail_commit_at(2, Fault::Full);
    store.fail_commit_at(4, Fault::Broken);
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        outcomes.push(match store.commit(&script.commit()) {
            Ok(position) => position.0.to_string(),
            Err(StoreError::Full { .. }) => "full".to_owned(),
            Err(StoreError::Broken { .. }) => "broken".to_owned(),
            Err(other) => other.to_string(),
        });
    }
    assert_eq!(outcomes, ["1", "full", "2", "broken", "broken", "broken"]);
    let after: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| store.durable_copy(seed).recover().unwrap().last.0).collect();
    assert_eq!(
        after.into_iter().collect::<Vec<_>>(),
        [2, 3],
        "the doubtful commit is there or not"
    );
}
