//! The projector: one thread that follows the journal with records.
//!
//! The writer only marks what changed; the thread takes the newest state of each marked run and
//! DAG, so a hundred events of one run between two looks are one record. A checkpoint follows every
//! few seconds; only then does the replay of a restart get shorter.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill_model::{DagId, Event, Position, RunEvent, RunId};

use crate::store::{Record, Store, StoreError};

/// The committed state, as far as the projector reads it.
pub trait Live: Send + Sync + 'static {
    /// The record of a run with the tasks that changed after `since`; `None` when it is not held.
    fn records(&self, run: &RunId, since: Position) -> Option<Record>;

    /// The record of a DAG.
    fn dag(&self, id: &DagId) -> Option<Record>;

    /// The records hold a run up to `position`; a finished one need not be held any longer.
    fn stored(&self, run: &RunId, position: Position) {
        let _ = (run, position);
    }
}

/// When the projector works.
#[derive(Clone)]
pub struct Settings {
    /// Records are put at most this long after the first event they are about.
    pub put_every: Duration,
    /// Records are put sooner when this many events wait.
    pub put_events: u64,
    /// A checkpoint follows at most this long after the first record that it covers.
    pub checkpoint_every: Duration,
    /// A checkpoint follows sooner after this many events.
    pub checkpoint_events: u64,
    /// The pause after an error, before the same is tried again.
    pub retry_after: Duration,
    /// Told about each error, from the projector's thread.
    pub on_error: Arc<dyn Fn(&StoreError) + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("put_every", &self.put_every)
            .field("put_events", &self.put_events)
            .field("checkpoint_every", &self.checkpoint_every)
            .field("checkpoint_events", &self.checkpoint_events)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            put_every: Duration::from_millis(50),
            // A put costs something of its own, on the disk that the journal's syncs wait for: with a
            // fifth as many, a map of 100,000 items takes three quarters of the time.
            put_events: 5_000,
            checkpoint_every: Duration::from_secs(2),
            checkpoint_events: 10_000,
            retry_after: Duration::from_millis(250),
            on_error: Arc::new(|error| tracing::warn!(%error, "the records fall behind")),
        }
    }
}

/// What the projector did and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Every event up to here is in a record.
    pub put: Position,
    /// Every event up to here outlasts a restart without replay.
    pub checkpoint: Position,
    /// Errors in a row; 0 when the last try went well.
    pub errors: u64,
    /// The last error in words, while `errors` is not 0.
    pub last_error: Option<String>,
}

/// Records that go into one call of [`Store::put`].
const PUT_RECORDS_MAX: usize = 256;

/// A handle to the projector's thread.
#[derive(Debug)]
pub struct Projector {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    put_events: u64,
}

#[derive(Debug, Default)]
struct State {
    runs: HashSet<RunId>,
    dags: HashSet<DagId>,
    /// Events marked and not yet taken, and when the first of them came.
    waiting: u64,
    since: Option<Instant>,
    /// The last marked event.
    marked: Position,
    /// Events taken, but not put yet.
    taken: u64,
    taken_since: Option<Instant>,
    stopping: bool,
    health: Health,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Projector {
    /// Starts the thread. If the system gives none, its health says so and the records stay
    /// behind: the journal loses nothing, and the next start replays more.
    pub fn spawn(store: Arc<dyn Store>, live: Arc<dyn Live>, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            put_events: settings.put_events,
        });
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            store,
            live,
            settings,
            put_at: HashMap::new(),
            put: Position(0),
            checkpoint: Position(0),
            first_unflushed: None,
        };
        let thread =
            std::thread::Builder::new().name("projector".to_owned()).spawn(move || worker.run());
        if let Err(error) = &thread {
            let health = &mut shared.lock().health;
            health.errors = 1;
            health.last_error = Some(format!("the projector's thread did not start: {error}"));
        }
        Self { shared, thread: Mutex::new(thread.ok()) }
    }

    /// Says that these events are committed and visible in the live state; `position` is that of
    /// the last. Never blocks on disk.
    ///
    /// After a restart, mark the events of [`Recovered::tail`](crate::Recovered::tail) once: their
    /// runs may have records that do not contain them.
    pub fn mark(&self, position: Position, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        for event in events {
            match event {
                Event::Run(id, event) => {
                    if matches!(event, RunEvent::Created { .. }) && !state.dags.contains(&id.dag) {
                        state.dags.insert(id.dag.clone());
                    }
                    if !state.runs.contains(id) {
                        state.runs.insert(id.clone());
                    }
                }
                Event::Dag(id, _) => {
                    if !state.dags.contains(id) {
                        state.dags.insert(id.clone());
                    }
                }
            }
        }
        let first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        state.waiting += events.len() as u64;
        state.marked = state.marked.max(position);
        // The thread looks by itself after its pause; only the first event and a full load wake it.
        if first || state.waiting >= self.shared.put_events {
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// How far the records are behind the journal: events that no record contains yet, and
    /// milliseconds since the oldest of them was marked.
    pub fn lag(&self) -> (u64, u64) {
        let state = self.shared.lock();
        let since = state.taken_since.or(state.since);
        let millis = since.map_or(0, |since| since.elapsed().as_millis() as u64);
        (state.waiting + state.taken, millis)
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.lock().health.clone()
    }

    /// Puts what is marked, makes a checkpoint and ends the thread. An error in this last round is
    /// told like any other, and leaves the rest to the replay of the next start.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Worker {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    live: Arc<dyn Live>,
    settings: Settings,
    /// The position at which each unfinished run was last put.
    put_at: HashMap<RunId, Position>,
    put: Position,
    checkpoint: Position,
    first_unflushed: Option<Instant>,
}

/// What one look takes.
struct Load {
    runs: HashSet<RunId>,
    dags: HashSet<DagId>,
    upto: Position,
    stopping: bool,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let load = self.take();
            let stopping = load.stopping;
            let done = self.project(load).and_then(|()| {
                if stopping || self.checkpoint_due() { self.make_checkpoint() } else { Ok(()) }
            });
            self.report(done.as_ref().err());
            if let Err(error) = &done {
                (self.settings.on_error)(error);
            }
            if stopping {
                return;
            }
            if done.is_err() {
                self.pause();
            }
        }
    }

    /// Waits until there is something to put or to flush, and takes it.
    fn take(&self) -> Load {
        let mut state = self.shared.lock();
        loop {
            let until_put = state.since.map(|since| {
                if state.waiting >= self.settings.put_events {
                    Duration::ZERO
                } else {
                    self.settings.put_every.saturating_sub(since.elapsed())
                }
            });
            let until_flush = (self.first_unflushed)
                .map(|since| self.settings.checkpoint_every.saturating_sub(since.elapsed()));
            let wait = until_put.into_iter().chain(until_flush).min();
            if state.stopping || wait == Some(Duration::ZERO) {
                break;
            }
            let wake = &self.shared.wake;
            state = match wait {
                None => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.taken = std::mem::take(&mut state.waiting);
        state.taken_since = state.since.take();
        Load {
            runs: std::mem::take(&mut state.runs),
            dags: std::mem::take(&mut state.dags),
            upto: state.marked,
            stopping: state.stopping,
        }
    }

    fn project(&mut self, load: Load) -> Result<(), StoreError> {
        let done = self.put_all(&load);
        let mut state = self.shared.lock();
        if done.is_err() {
            // Nothing is forgotten: what was not put is marked as before.
            state.runs.extend(load.runs);
            state.dags.extend(load.dags);
            state.waiting += state.taken;
            state.since = state.taken_since.or(state.since);
        } else if load.upto > self.put {
            self.put = load.upto;
            self.first_unflushed.get_or_insert_with(Instant::now);
        }
        state.taken = 0;
        state.taken_since = None;
        done
    }

    fn put_all(&mut self, load: &Load) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for id in &load.dags {
            records.extend(self.live.dag(id));
            self.put_some(&mut records, PUT_RECORDS_MAX)?;
        }
        for id in &load.runs {
            let since = self.put_at.get(id).copied().unwrap_or_default();
            records.extend(self.live.records(id, since));
            self.put_some(&mut records, PUT_RECORDS_MAX)?;
        }
        self.put_some(&mut records, 1)
    }

    /// Puts the records once there are `at_least` of them.
    fn put_some(&mut self, records: &mut Vec<Record>, at_least: usize) -> Result<(), StoreError> {
        if records.len() < at_least {
            return Ok(());
        }
        self.store.put(records)?;
        for record in records.drain(..) {
            let Record::Run { position, summary, .. } = record else { continue };
            let id = summary.head.id;
            self.live.stored(&id, position);
            if summary.head.state.is_final() {
                // A rerun is put whole again; nothing is kept for runs that are over.
                self.put_at.remove(&id);
            } else {
                self.put_at.insert(id, position);
            }
        }
        Ok(())
    }

    fn checkpoint_due(&self) -> bool {
        self.put.0 - self.checkpoint.0 >= self.settings.checkpoint_events
            || self
                .first_unflushed
                .is_some_and(|since| since.elapsed() >= self.settings.checkpoint_every)
    }

    fn make_checkpoint(&mut self) -> Result<(), StoreError> {
        if self.put > self.checkpoint {
            self.store.checkpoint(self.put)?;
            self.checkpoint = self.put;
        }
        self.first_unflushed = None;
        Ok(())
    }

    fn report(&self, error: Option<&StoreError>) {
        let health = &mut self.shared.lock().health;
        health.put = self.put;
        health.checkpoint = self.checkpoint;
        health.errors = if error.is_some() { health.errors + 1 } else { 0 };
        health.last_error = error.map(ToString::to_string);
    }

    /// Waits before the next try; a stop ends the wait.
    fn pause(&self) {
        let state = self.shared.lock();
        let _ = self
            .shared
            .wake
            .wait_timeout_while(state, self.settings.retry_after, |state| !state.stopping);
    }
}
