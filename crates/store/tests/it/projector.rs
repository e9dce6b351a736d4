//! The projector against a store whose calls are counted and can fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidemill_model::run::StoredItem;
use tidemill_model::{Event, Position, RunId, TaskIx, Version};
use tidemill_store::conformance::{Script, chain};
use tidemill_store::projector::Settings;
use tidemill_store::{
    Commit, DagSource, Live, MemoryStore, Projector, Record, Recovered, RunPage, RunQuery, Store,
    StoreError, StoredRunAt,
};

use crate::support::{Runs, wait_until};

#[derive(Default)]
struct Counted {
    store: MemoryStore,
    puts: AtomicU64,
    checkpoints: Mutex<Vec<u64>>,
    failing: AtomicBool,
}

impl Counted {
    fn check(&self) -> Result<(), StoreError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::Full { path: "test".into() });
        }
        Ok(())
    }
}

impl Store for Counted {
    fn commit(&self, commit: &Commit) -> Result<Position, StoreError> {
        self.store.commit(commit)
    }
    fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>, StoreError> {
        self.store.events(after, limit)
    }
    fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        self.check()?;
        self.puts.fetch_add(records.len() as u64, Ordering::Relaxed);
        self.store.put(records)
    }
    fn checkpoint(&self, position: Position) -> Result<(), StoreError> {
        self.check()?;
        self.checkpoints.lock().unwrap().push(position.0);
        self.store.checkpoint(position)
    }
    fn recover(&self) -> Result<Recovered, StoreError> {
        self.store.recover()
    }
    fn put_version(&self, version: &Version, source: &DagSource) -> Result<(), StoreError> {
        self.store.put_version(version, source)
    }
    fn version(&self, version: &Version) -> Result<Option<DagSource>, StoreError> {
        self.store.version(version)
    }
    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        self.store.run(id)
    }
    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        self.store.items(run, task, first, limit)
    }
    fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        self.store.runs(query)
    }
    fn small_table(&self, hash: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.small_table(hash)
    }
}

fn start(settings: Settings) -> (Arc<Counted>, Arc<Runs>, Projector) {
    let store = Arc::new(Counted::default());
    let runs = Arc::new(Runs::default());
    let live = Arc::clone(&runs) as Arc<dyn Live>;
    let projector = Projector::spawn(Arc::clone(&store) as _, live, settings);
    (store, runs, projector)
}

/// Never by itself.
fn only_when_told() -> Settings {
    let long = Duration::from_hours(1);
    Settings { put_every: long, checkpoint_every: long, ..Settings::default() }
}

#[test]
fn many_events_of_a_run_are_one_record_and_a_stop_puts_everything() {
    let (store, runs, projector) = start(only_when_told());
    let dag = chain("coalesced", 50);
    for number in 1..=4 {
        let mut script = Script::begin(&dag, number, 10).start();
        let (position, commit) = runs.commit(&*store, &script, 0);
        projector.mark(position, &commit.events);
        for task in 0..40 {
            let before = script.events.len();
            script = script.succeed(task, 1);
            let (position, commit) = runs.commit(&*store, &script, before);
            projector.mark(position, &commit.events);
        }
    }
    let last = store.recover().unwrap().last;
    assert_eq!(projector.lag().0, last.0);
    projector.stop();
    assert_eq!(store.puts.load(Ordering::Relaxed), 4);
    assert_eq!(*store.checkpoints.lock().unwrap(), [last.0]);
    assert_eq!(projector.lag(), (0, 0));
    let recovered = store.recover().unwrap();
    assert_eq!((recovered.tail.len(), recovered.unfinished.len()), (0, 4));
    assert!(runs.stored.lock().unwrap().values().max() == Some(&last), "the live state is told");
}

#[test]
fn enough_events_are_put_without_waiting() {
    let (store, runs, projector) = start(Settings { put_events: 100, ..only_when_told() });
    let dag = chain("enough", 1);
    for number in 1..=99 {
        let script = Script::begin(&dag, number, 10);
        let (position, commit) = runs.commit(&*store, &script, 0);
        projector.mark(position, &commit.events);
    }
    assert_eq!(store.puts.load(Ordering::Relaxed), 0);
    let script = Script::begin(&dag, 100, 10);
    let (position, commit) = runs.commit(&*store, &script, 0);
    projector.mark(position, &commit.events);
    wait_until("the hundredth event", || projector.health().put == Position(100));
    assert_eq!(store.puts.load(Ordering::Relaxed), 100);
    assert_eq!(projector.health().checkpoint, Position(0));
}

#[test]
fn errors_are_told_and_nothing_is_forgotten() {
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let on_error: Arc<dyn Fn(&StoreError) + Send + Sync> = Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let quick = Duration::from_millis(1);
    let settings = Settings {
        put_every: quick,
        checkpoint_every: quick,
        retry_after: quick,
        on_error,
        ..Settings::default()
    };
    let (store, runs, projector) = start(settings);
    store.failing.store(true, Ordering::Relaxed);
    let script = Script::begin(&chain("failing", 1), 1, 10);
    let (position, commit) = runs.commit(&*store, &script, 0);
    projector.mark(position, &commit.events);
    wait_until("three errors", || told.load(Ordering::Relaxed) >= 3);
    let health = projector.health();
    assert!(health.errors >= 1 && health.last_error.is_some(), "{health:?}");
    assert_eq!(projector.health().put, Position(0));
    store.failing.store(false, Ordering::Relaxed);
    wait_until("the checkpoint", || projector.health().checkpoint == position);
    wait_until("health", || projector.health().errors == 0);
    assert_eq!(projector.lag(), (0, 0));
    assert_eq!(store.recover().unwrap().unfinished.len(), 1);
}
