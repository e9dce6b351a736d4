//! [`Scheduler`]: the handle to the one thread that decides. Commands and reports go in by it, and
//! what is committed is read by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tidemill_model::run::StoredItem;
use tidemill_model::{
    AttemptId, AttemptReport, Dag, DagId, Effect, Event, Instance, Limits, PoolName, Position,
    RunId, RunState, TaskIx, Timestamp, Version,
};
use tidemill_store::{DagSource, RunPage, RunQuery, Store, StoreError};
use tokio::sync::{oneshot, watch};

use crate::kernel::{Answer, CommandError, Kernel, TriggerRequest};
use crate::live::{Live, RunView, view_of};
use crate::restore::{Carry, Past, Restored, restore};
use crate::versions::{Resolver, Versions};
use crate::writer::Writer;

pub use crate::stats::{COMMIT_BUCKETS_US, Stats};

/// The wall clock, so that tests can bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// What a scheduler is started with.
pub struct Settings {
    /// Limits over all runs.
    pub limits: Limits,
    /// Pools and their slots.
    pub pools: Vec<(PoolName, u32)>,
    /// Loads a DAG version from its stored text.
    pub resolver: Resolver,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What of the past is gone on with.
    pub carry: Carry,
    /// Attempts that went on without a server, or ended with a result that waits.
    pub held: Vec<AttemptId>,
}

/// The scheduler stopped, or its store broke: nothing is taken in any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Halted(pub String);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It makes no sense now.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The scheduler stands still.
    #[error(transparent)]
    Halted(#[from] Halted),
    /// The text of a DAG version that came with it could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells a caller that its command is durable.
pub(crate) type Ack = Box<dyn FnOnce() + Send>;
type Call = Box<dyn FnOnce(&mut Kernel, Timestamp) -> Ack + Send>;

/// What the thread takes in.
pub(crate) enum Input {
    /// An attempt has ended.
    Report(Box<AttemptReport>),
    /// A command.
    Call(Call),
    /// The end of the thread.
    Stop,
}

/// What the thread and its handles share.
pub(crate) struct Shared {
    inputs: Sender<Input>,
    pub(crate) live: Arc<Live>,
    pub(crate) store: Arc<dyn Store>,
    versions: Versions,
    /// One rerun at a time: each begins with what is stored of its run's end.
    pub(crate) reruns: Mutex<()>,
    pub(crate) waiters: Mutex<HashMap<RunId, Vec<oneshot::Sender<RunState>>>>,
    pub(crate) stats: Stats,
    pub(crate) stopping: AtomicBool,
    pub(crate) halted: watch::Sender<Option<Halted>>,
    pub(crate) position: watch::Sender<Position>,
}

/// A handle to the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) shared: Arc<Shared>,
}

/// Called with each effect.
pub type OnEffect = Box<dyn FnMut(Effect) + Send>;

/// Called with the position of a commit's last event and its events.
pub type OnCommit = Box<dyn FnMut(Position, &[Event]) + Send>;

/// Where committed things go.
pub struct Outlets {
    /// Called for each effect, in order, after its commit. Must not block.
    pub effect: OnEffect,
    /// Called after each commit. Must not block.
    pub committed: OnCommit,
}

/// A started scheduler.
pub struct Started {
    /// The handle.
    pub scheduler: Scheduler,
    /// Joins when the thread has ended.
    pub thread: JoinHandle<()>,
    /// What the operator should know about how the state came back.
    pub notes: Vec<String>,
}

impl Shared {
    fn new(store: Arc<dyn Store>, resolver: Resolver) -> (Arc<Self>, Receiver<Input>) {
        let (inputs, receiver) = channel();
        let shared = Self {
            inputs,
            live: Arc::default(),
            versions: Versions::new(Arc::clone(&store), resolver),
            store,
            reruns: Mutex::default(),
            waiters: Mutex::default(),
            stats: Stats::default(),
            stopping: AtomicBool::new(false),
            halted: watch::channel(None).0,
            position: watch::channel(Position::default()).0,
        };
        (Arc::new(shared), receiver)
    }

    /// Shows a restored state to readers.
    fn show(&self, restored: &Restored, last: Position, now: Timestamp) {
        self.live.adopt(restored, last);
        self.live.publish_waits(&restored.kernel, now);
    }
}

struct StoredPast<'a>(&'a Shared);

impl Past for StoredPast<'_> {
    fn dag(&self, version: &Version) -> Option<Arc<Dag>> {
        self.0.versions.get(version)
    }

    fn store(&self) -> &dyn Store {
        &*self.0.store
    }
}

impl Scheduler {
    /// Restores the state and starts the thread. Blocks until the state is back; DAGs are then
    /// deployed by [`Scheduler::deploy`].
    ///
    /// `outlets` is given the live state, which the projector behind `committed` reads.
    pub fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        outlets: impl FnOnce(&Arc<Live>) -> Outlets,
    ) -> Result<Started, StoreError> {
        let (shared, receiver) = Shared::new(store, Arc::clone(&settings.resolver));
        let recovered = shared.store.recover()?;
        let last = recovered.last;
        // What the records do not contain yet has to be marked for the projector again.
        let tail: Vec<Event> = recovered.tail.iter().map(|(_, event)| event.clone()).collect();
        let Settings { limits, pools, clock, carry, mut held, .. } = settings;
        held.retain(|id| carry.includes(&id.run));
        let restored = restore(recovered, &StoredPast(&shared), limits, pools, &carry)?;
        shared.show(&restored, last, clock.now());
        let Restored { kernel, notes, .. } = restored;
        let mut outlets = outlets(&shared.live);
        if !tail.is_empty() {
            (outlets.committed)(last, &tail);
        }
        let writer = Writer {
            shared: Arc::clone(&shared),
            kernel,
            clock,
            outlets,
            receiver,
            held,
            next: last.next(),
        };
        let thread = std::thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Broken {
                path: "the scheduler's thread".into(),
                error: error.to_string(),
            })?;
        Ok(Started { scheduler: Self { shared }, thread, notes })
    }

    /// Brings the state back to look at it. Nothing is decided, committed or started; commands are
    /// refused.
    pub fn look(store: Arc<dyn Store>, settings: Settings) -> Result<Self, StoreError> {
        let (shared, _) = Shared::new(store, Arc::clone(&settings.resolver));
        let recovered = shared.store.recover()?;
        let last = recovered.last;
        let Settings { limits, pools, carry, clock, .. } = settings;
        let restored = restore(recovered, &StoredPast(&shared), limits, pools, &carry)?;
        shared.show(&restored, last, clock.now());
        let reason = "this home is only looked at; start a server with `tidemill serve`";
        shared.halted.send_replace(Some(Halted(reason.to_owned())));
        Ok(Self { shared })
    }

    // ---- commands -----------------------------------------------------------------------------

    /// Makes these versions the ones that new runs take. Blocks while their texts become durable.
    pub fn deploy(&self, dags: Vec<(Arc<Dag>, DagSource)>) -> Result<(), Refused> {
        self.shared.versions.put(&dags)?;
        self.call_blocking(move |kernel, now| {
            for (dag, _) in dags {
                kernel.deploy(dag, now);
            }
        })?;
        Ok(())
    }

    /// The files of these DAGs are gone.
    pub fn retire(&self, ids: Vec<DagId>) -> Result<(), Halted> {
        self.call_blocking(move |kernel, now| ids.iter().for_each(|id| kernel.retire(id, now)))
    }

    /// Creates a run; on return it is durable.
    pub async fn trigger(&self, request: TriggerRequest) -> Result<RunId, Refused> {
        Ok(self.call(move |kernel, now| kernel.trigger(&request, now)).await??)
    }

    /// Creates a run of a version that is brought along, with those that it may call; on return it
    /// is durable. A DAG that is served keeps its version and its schedule.
    pub async fn run_version(
        &self,
        dag: Arc<Dag>,
        source: DagSource,
        called: Vec<(Arc<Dag>, DagSource)>,
        request: TriggerRequest,
    ) -> Result<RunId, Refused> {
        let shared = Arc::clone(&self.shared);
        let others: Vec<Arc<Dag>> = called.iter().map(|(dag, _)| Arc::clone(dag)).collect();
        let versions: Vec<_> = std::iter::once((Arc::clone(&dag), source)).chain(called).collect();
        tokio::task::spawn_blocking(move || shared.versions.put(&versions))
            .await
            .map_err(|error| Halted(error.to_string()))??;
        let call = move |kernel: &mut Kernel, now| {
            for dag in others {
                kernel.bring(dag, now);
            }
            kernel.run_version(&dag, &request, now)
        };
        Ok(self.call(call).await??)
    }

    /// Asks to end a run; on return the wish is durable.
    pub async fn cancel(&self, run: RunId, who: String) -> Result<(), Refused> {
        Ok(self.call(move |kernel, now| kernel.cancel(&run, &who, now)).await??)
    }

    /// Lets a run stand still, or go on; on return that is durable.
    pub async fn hold(&self, run: RunId, held: bool, who: String) -> Result<(), Refused> {
        Ok(self.call(move |kernel, now| kernel.hold(&run, held, &who, now)).await??)
    }

    /// Lets a retry begin at once; on return that is durable.
    pub async fn hasten(&self, run: RunId, task: Instance, who: String) -> Result<(), Refused> {
        Ok(self.call(move |kernel, now| kernel.hasten(&run, task, &who, now)).await??)
    }

    /// Answers the question of a task; on return the answer is durable.
    pub async fn answer(&self, run: RunId, task: Instance, answer: Answer) -> Result<(), Refused> {
        Ok(self.call(move |kernel, now| kernel.answer(&run, task, answer, now)).await??)
    }

    /// Stops a DAG's schedule, or lets it go on.
    pub async fn pause(&self, dag: DagId, paused: bool, who: String) -> Result<(), Refused> {
        Ok(self.call(move |kernel, now| kernel.pause(&dag, paused, &who, now)).await??)
    }

    /// Changes the slots of pools.
    pub fn set_pools(&self, pools: Vec<(PoolName, u32)>) -> Result<(), Halted> {
        self.call_blocking(move |kernel, _| kernel.set_pools(pools))
    }

    /// Takes in how an attempt ended. Never blocks.
    pub fn report(&self, report: AttemptReport) {
        let _ = self.shared.inputs.send(Input::Report(Box::new(report)));
    }

    /// Starts nothing any more; what is under way may still report. The first part of a stop.
    pub fn drain(&self) {
        let _ = self.send(|kernel, _| kernel.drain(), |()| {});
    }

    /// Ends the thread when what was sent before is committed.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = self.shared.inputs.send(Input::Stop);
    }

    /// Resolves when the scheduler has halted by itself, with the reason.
    pub async fn halted(&self) -> Halted {
        let mut halted = self.shared.halted.subscribe();
        loop {
            if let Some(reason) = halted.borrow_and_update().clone() {
                return reason;
            }
            if halted.changed().await.is_err() {
                return Halted("the scheduler is gone".to_owned());
            }
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Kernel, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Halted> {
        let (reply, answer) = oneshot::channel();
        self.send(command, move |value| _ = reply.send(value))?;
        answer.await.map_err(|_| self.why_halted())
    }

    pub(crate) fn call_blocking<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Kernel, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Halted> {
        let (reply, answer) = channel();
        self.send(command, move |value| _ = reply.send(value))?;
        answer.recv().map_err(|_| self.why_halted())
    }

    /// Sends a command; `reply` is called with its answer once that is durable.
    fn send<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Kernel, Timestamp) -> T + Send + 'static,
        reply: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), Halted> {
        let call = move |kernel: &mut Kernel, now: Timestamp| -> Ack {
            let value = command(kernel, now);
            Box::new(move || reply(value))
        };
        self.shared.inputs.send(Input::Call(Box::new(call))).map_err(|_| self.why_halted())
    }

    fn why_halted(&self) -> Halted {
        let reason = self.shared.halted.borrow().clone();
        reason.unwrap_or_else(|| Halted("the scheduler has stopped".to_owned()))
    }

    // ---- questions ----------------------------------------------------------------------------

    /// The committed state.
    pub fn live(&self) -> &Arc<Live> {
        &self.shared.live
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// The position of the last commit, and every change of it.
    pub fn position(&self) -> watch::Receiver<Position> {
        self.shared.position.subscribe()
    }

    /// A run, live or stored. May block on disk.
    pub fn run(&self, id: &RunId) -> Result<Option<RunView>, StoreError> {
        if let Some(view) = self.shared.live.run(id) {
            return Ok(Some(view));
        }
        let stored = self.shared.store.run(id)?;
        Ok(stored.map(|stored| {
            let dag = self.shared.versions.get(&stored.run.head.version);
            view_of(stored.run, dag)
        }))
    }

    /// Items of a mapped task that have begun, from `first` on, in order. May block on disk.
    pub fn items(
        &self,
        id: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        // Live ones are read first: one that is let go meanwhile is found in the records.
        let live = self.shared.live.items(id, task, first);
        let stored = self.shared.store.items(id, task, first, limit)?;
        let mut items: BTreeMap<u32, StoredItem> =
            stored.into_iter().map(|item| (item.item, item)).collect();
        items.extend(live.into_iter().map(|item| (item.item, item)));
        // Records of an attempt that is over may be there behind those of the current one.
        let current = self.run(id)?.and_then(|run| run.tasks.get(task.at())?.map.clone());
        let Some(current) = current else { return Ok(Vec::new()) };
        let is_current =
            |item: &StoredItem| item.attempt == current.attempt && item.item < current.begun;
        Ok(items.into_values().filter(is_current).take(limit).collect())
    }

    /// Runs, newest first, live and stored. May block on disk.
    pub fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        // Live ones are read first. A run that ends meanwhile is then shown as it was; the other way
        // round it could be shown from a record that is older than what was shown before. One that
        // was let go by then has a record that says how it ended.
        // One more than asked for tells whether there is a further page.
        let wanted = RunQuery { limit: query.limit + 1, ..query.clone() };
        let (live, held) = self.shared.live.runs(&wanted);
        let mut page = self.shared.store.runs(query)?;
        // A stored record may be older than the live run, and no longer match.
        page.runs.retain(|run| !held.contains(&run.head.id));
        let more = page.next.is_some() || page.runs.len() + live.len() > query.limit;
        page.runs.extend(live);
        page.runs
            .sort_by(|a, b| (b.head.created_at, &b.head.id).cmp(&(a.head.created_at, &a.head.id)));
        page.runs.truncate(query.limit);
        page.next =
            page.runs.last().filter(|_| more).map(|run| (run.head.created_at, run.head.id.clone()));
        Ok(page)
    }

    /// A DAG version, if its text still loads. May block on disk.
    pub fn version(&self, version: &Version) -> Option<Arc<Dag>> {
        self.shared.versions.get(version)
    }

    /// The final state of a run, as soon as it has one; `None` when there is no such run.
    pub async fn wait(&self, id: &RunId) -> Result<Option<RunState>, Halted> {
        let (reply, answer) = oneshot::channel();
        self.lock_waiters().entry(id.clone()).or_default().push(reply);
        // The run may have finished before the waiter was there.
        let shared = Arc::clone(&self.shared);
        let run = id.clone();
        let now = tokio::task::spawn_blocking(move || -> Option<RunState> {
            shared.live.run_state(&run).or_else(|| {
                shared.store.run(&run).ok().flatten().map(|stored| stored.run.head.state)
            })
        })
        .await
        .unwrap_or_default();
        match now {
            None => Ok(None),
            Some(state) if state.is_final() => Ok(Some(state)),
            Some(_) => answer.await.map(Some).map_err(|_| self.why_halted()),
        }
    }

    fn lock_waiters(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<RunId, Vec<oneshot::Sender<RunState>>>> {
        self.shared.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
