//! A home that is at work: store, scheduler, executor, profiles, joined.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidemill_connector::Registry;
use tidemill_connectors::dataset::NoDatasets;
use tidemill_executor::{ExecLimits, Executor, ExecutorConfig, HomePaths, SmallTables};
use tidemill_history::files::RealFiles;
use tidemill_history::{History, Retention};
use tidemill_model::words::counted;
use tidemill_model::{
    AttemptId, Dag, DagId, Effect, Event, Limits, RunEvent, RunId, Timestamp, Version,
};
use tidemill_profile::ProfileStore;
use tidemill_scheduler::{Carry, Clock, Live, Outlets, Resolver, Scheduler, Settings, Started};
use tidemill_spec::Catalog;
use tidemill_sql::{Engine, EngineConfig};
use tidemill_store::kv::{Kv, MemoryKv, SledKv};
use tidemill_store::projector::{self, Projector};
use tidemill_store::{DagSource, Home, Record, SledOptions, SledStore, Store};

use crate::beside::Beside;
use crate::catalog::{catalog, catalog_beside, registry};
use crate::commands::Globals;
use crate::failure::Failure;
use crate::folder::{Changes, DagFolder};
use crate::past::{KnownColumns, Past};
use crate::results::KeptResults;
use crate::secrets::SecretStore;

/// This release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a home is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To go on with everything that was begun, to keep schedules, and to begin more.
    Serve,
    /// To begin something and see it to its end. What others left unfinished, and schedules, wait
    /// for a server.
    Own,
    /// To end this run, and start nothing.
    End(RunId),
    /// To look at what is there; nothing is begun, ended or changed.
    Look,
}

impl Mode {
    /// What of the past is gone on with.
    fn carry(&self) -> Carry {
        match self {
            Self::Serve | Self::Look => Carry::Everything,
            Self::End(run) => Carry::ToEnd(run.clone()),
            Self::Own => Carry::Nothing,
        }
    }
}

/// Rows in a batch between tasks.
const BATCH_ROWS: usize = 8_192;

/// The wall clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

impl tidemill_executor::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }
}

/// Connectors, transforms and the engine: what tells what a DAG would do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Toolbox {
    /// Connectors and transforms.
    pub(crate) registry: Registry,
    /// For the columns of queries.
    pub(crate) engine: Arc<Engine>,
    /// What DAG files are checked against, wherever they stand.
    pub(crate) catalog: Catalog,
}

impl Toolbox {
    fn new(registry: Registry, engine: Arc<Engine>) -> Self {
        let catalog = catalog(&registry);
        Self { registry, engine, catalog }
    }

    /// Everything that can be named in a DAG, without a home: for commands that only look at files.
    pub(crate) fn open(globals: &Globals) -> Result<Self, Failure> {
        Self::without_home(globals.sql_memory)
    }

    fn without_home(sql_memory: usize) -> Result<Self, Failure> {
        let spill = std::env::temp_dir().join(format!("tidemill-{}", std::process::id()));
        let engine = engine(sql_memory, spill)?;
        let profiles = ProfileStore::open(
            Arc::new(MemoryKv::default()),
            tidemill_profile::StoreOptions::default(),
        )
        .map_err(Failure::home)?;
        let registry = registry(&engine, &Arc::new(profiles), Arc::new(NoDatasets));
        Ok(Self::new(registry, engine))
    }
}

fn engine(memory_bytes: usize, spill: PathBuf) -> Result<Arc<Engine>, Failure> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    Engine::new(EngineConfig { memory_bytes, threads, spill, batch_rows: BATCH_ROWS })
        .map_err(Failure::internal)
}

/// What a node is opened with.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    /// The home.
    pub(crate) home: PathBuf,
    /// The secrets file.
    pub(crate) secrets: Option<PathBuf>,
    /// Memory for SQL, in bytes.
    pub(crate) sql_memory: usize,
    /// The folder whose connections, pools and secrets hold.
    pub(crate) folder: Option<PathBuf>,
    /// How finished runs are kept.
    pub(crate) keep: Keep,
}

/// How finished runs are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Keep {
    /// In segments.
    pub(crate) history: tidemill_history::Settings,
    /// For how long.
    pub(crate) retention: Retention,
}

/// A home at work.
pub(crate) struct Node {
    /// What it was opened for.
    pub(crate) mode: Mode,
    /// The home, locked by this process.
    pub(crate) home: Arc<Home>,
    /// What is kept.
    pub(crate) store: Arc<SledStore>,
    /// Finished runs that are not recent.
    pub(crate) history: Arc<History>,
    /// How long those are kept.
    pub(crate) retention: Retention,
    /// Answers questions in SQL about them.
    pub(crate) engine: Arc<Engine>,
    /// What goes on beside is to end.
    pub(crate) stopping: AtomicBool,
    /// Decides.
    pub(crate) scheduler: Scheduler,
    /// Runs attempts.
    pub(crate) executor: Executor,
    /// Customers.
    pub(crate) profiles: Arc<ProfileStore>,
    /// Where customers are kept, for backups.
    pub(crate) profiles_kv: Arc<dyn Kv>,
    /// What tasks with `cache` use again.
    pub(crate) results: Arc<KeptResults>,
    /// Files beside the DAGs.
    pub(crate) beside: Arc<Beside>,
    /// What DAG files are checked against.
    pub(crate) catalog: Catalog,
    /// DAG files, when a folder is served.
    pub(crate) folder: Mutex<Option<DagFolder>>,
    past: Past,
    projector: Option<Arc<Projector>>,
    scheduler_thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct SlabOf(Arc<SledStore>);

impl SmallTables for SlabOf {
    fn get(&self, hash: &str) -> Result<Option<bytes::Bytes>, String> {
        self.0.small_table(hash).map_err(|error| error.to_string())
    }
}

struct LiveRecords(Arc<Live>);

impl projector::Live for LiveRecords {
    fn records(
        &self,
        run: &tidemill_model::RunId,
        since: tidemill_model::Position,
    ) -> Option<Record> {
        self.0.run_record(run, since)
    }

    fn dag(&self, id: &tidemill_model::DagId) -> Option<Record> {
        self.0.dag_record(id)
    }

    fn stored(&self, run: &tidemill_model::RunId, position: tidemill_model::Position) {
        self.0.forget(run, position);
    }
}

impl Node {
    /// Opens the home and brings back what was there. Blocks; call it inside the runtime, on a
    /// thread that may.
    pub(crate) fn open(settings: &NodeSettings, mode: Mode) -> Result<Arc<Self>, Failure> {
        let home = Arc::new(Home::open(&settings.home).map_err(Failure::home)?);
        if mode != Mode::Look {
            upgrade(&home, settings.sql_memory)?;
        }
        let paths = paths_of(&home);
        let carry = mode.carry();
        let secrets = SecretStore::open(settings.secrets.as_deref(), settings.folder.as_deref())
            .map_err(Failure::files)?;
        let secrets = Arc::new(secrets);
        let folder = settings.folder.clone().unwrap_or_else(|| ".".into());
        let engine = engine(settings.sql_memory, home.spill())?;
        let profiles_kv: Arc<dyn Kv> =
            Arc::new(SledKv::open(&home.profiles()).map_err(Failure::home)?);
        let options = tidemill_profile::StoreOptions::default();
        let profiles =
            ProfileStore::open(Arc::clone(&profiles_kv), options).map_err(Failure::home)?;
        let profiles = Arc::new(profiles);
        let past = Past::default();
        let registry = registry(&engine, &profiles, Arc::new(past.clone()));
        let beside = Arc::new(Beside::read(&folder, &registry, Arc::clone(&secrets)));
        let toolbox = Toolbox::new(registry.clone(), Arc::clone(&engine));
        // A stored version is loaded again without regard to the connections of today.
        let resolver = resolver(toolbox.catalog.clone());
        let catalog = catalog_beside(&toolbox.catalog, &beside);

        let (files, look) = (Arc::new(RealFiles), mode == Mode::Look);
        let (history, notes) = History::open(&home.history(), files, settings.keep.history, look)
            .map_err(Failure::home)?;
        for note in &notes {
            tracing::warn!("{note}");
        }
        let archive = Some(Arc::clone(&history) as _);
        let options = SledOptions { look: look_beside(&mode), archive, ..SledOptions::default() };
        let (store, notes) =
            SledStore::open(&home, Arc::clone(&resolver), options).map_err(Failure::home)?;
        let store = Arc::new(store);
        for note in &notes {
            tracing::warn!("{note}");
        }

        let results = Arc::new(KeptResults::new(home.results()));
        let to_scheduler: Arc<OnceLock<Scheduler>> = Arc::default();
        let reply = Arc::clone(&to_scheduler);
        let executor = Executor::new(
            ExecutorConfig {
                registry,
                engine: Arc::clone(&engine),
                home: paths,
                small: Arc::new(SlabOf(Arc::clone(&store))),
                connections: Arc::clone(&beside) as _,
                secrets,
                results: Arc::clone(&results) as _,
                columns: Arc::new(KnownColumns::new(toolbox, Some(past.clone()))),
                program: own_program()?,
                // What one begins by hand ends with Ctrl-C, and with the terminal.
                keep_commands: mode == Mode::Serve,
                limits: ExecLimits::default(),
                clock: Arc::new(SystemClock),
            },
            Arc::new(move |report| reply.wait().report(report)),
        )
        .map_err(Failure::internal)?;

        let retention = settings.keep.retention;
        let held = if mode == Mode::Look { Vec::new() } else { take_up(&executor, &carry)? };
        let settings = Settings {
            limits: Limits::default(),
            pools: beside.pools(),
            resolver,
            clock: Arc::new(SystemClock),
            carry,
            held,
        };
        let work = match &mode {
            Mode::Look => Working {
                scheduler: Scheduler::look(Arc::clone(&store) as _, settings)
                    .map_err(Failure::home)?,
                thread: None,
                projector: None,
            },
            Mode::Serve | Mode::Own | Mode::End(_) => start(&store, settings, &executor)?,
        };
        let _ = to_scheduler.set(work.scheduler.clone());
        past.open(work.scheduler.clone(), executor.tables().clone());
        Ok(Arc::new(Self {
            mode,
            home,
            store,
            history,
            retention,
            engine,
            stopping: AtomicBool::new(false),
            scheduler: work.scheduler,
            executor,
            profiles,
            profiles_kv,
            results,
            beside,
            catalog,
            folder: Mutex::new(None),
            past,
            projector: work.projector,
            scheduler_thread: Mutex::new(work.thread),
        }))
    }

    /// How far the records are behind the journal: events, milliseconds.
    pub(crate) fn lag(&self) -> (u64, u64) {
        self.projector.as_ref().map_or((0, 0), |projector| projector.lag())
    }

    /// Loads a folder of DAG files for the first time.
    pub(crate) fn load_folder(&self, root: &Path) -> Result<(), Failure> {
        let mut folder = DagFolder::new(root.to_owned());
        let mut changes = folder.load_all(&self.catalog, &self.served_files()).map_err(|error| {
            Failure::files(format!(
                "cannot read the folder `{}`: {error}; give a folder of DAG files with `--dags`",
                root.display()
            ))
        })?;
        for (dag, source) in folder.wrong().filter_map(|id| self.served_before(id)) {
            let (id, path) = (&dag.id, source.path.display());
            tracing::warn!(
                "`{path}` cannot run; the version of `{id}` that was deployed before stays"
            );
            changes.deploy.push((dag, source));
        }
        self.carry_out(changes)?;
        let here =
            folder.files().values().filter_map(|file| file.id.clone()).collect::<HashSet<_>>();
        let gone = self.scheduler.live().dags().into_iter().map(|dag| dag.id);
        let gone: Vec<_> = gone.filter(|id| !here.contains(id)).collect();
        if !gone.is_empty() {
            self.scheduler.retire(gone).map_err(Failure::home)?;
        }
        *self.lock_folder() = Some(folder);
        Ok(())
    }

    /// The files that served DAGs were loaded from last.
    fn served_files(&self) -> BTreeMap<PathBuf, DagId> {
        let dags = self.scheduler.live().dags().into_iter();
        dags.filter(|dag| dag.record.served)
            .filter_map(|dag| {
                let source = self.store.version(&dag.record.version?).ok().flatten()?;
                Some((source.path, dag.id))
            })
            .collect()
    }

    /// The version of a DAG that was served last, if it still loads.
    fn served_before(&self, id: &DagId) -> Option<(Arc<Dag>, DagSource)> {
        let record = self.scheduler.live().dag(id).map(|dag| dag.record).filter(|r| r.served)?;
        let version = record.version?;
        Some((self.scheduler.version(&version)?, self.store.version(&version).ok().flatten()?))
    }

    /// Looks for changed DAG files; those at these absolute paths are known to be whole.
    pub(crate) fn look_at_folder(&self, whole: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let changes = match self.lock_folder().as_mut() {
            Some(folder) => folder.look(&self.catalog, whole),
            None => return Ok(()),
        };
        match changes {
            Ok(changes) => {
                for line in &changes.wrong {
                    tracing::warn!("{line}; a version that was deployed before stays");
                }
                self.carry_out(changes)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the folder of DAGs");
                Ok(())
            }
        }
    }

    fn carry_out(&self, changes: Changes) -> Result<(), Failure> {
        if !changes.deploy.is_empty() {
            self.scheduler.deploy(changes.deploy).map_err(Failure::home)?;
        }
        if !changes.retire.is_empty() {
            self.scheduler.retire(changes.retire).map_err(Failure::home)?;
        }
        Ok(())
    }

    /// The folder of DAG files.
    pub(crate) fn lock_folder(&self) -> std::sync::MutexGuard<'_, Option<DagFolder>> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends attempts, commits what has happened, brings the records up to date.
    pub(crate) async fn stop(&self) {
        self.scheduler.drain();
        self.executor.shutdown().await;
        self.close().await;
    }

    /// As [`Node::stop`], but commands go on under their supervisor. Gives their number.
    pub(crate) async fn hand_over(&self) -> usize {
        self.scheduler.drain();
        let go_on = self.executor.hand_over().await;
        self.close().await;
        go_on
    }

    async fn close(&self) {
        self.scheduler.stop();
        let thread = self.scheduler_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let projector = self.projector.clone();
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread {
                let _ = thread.join();
            }
            if let Some(projector) = projector {
                projector.stop();
            }
        });
        let _ = ended.await;
        // Only now: what was reported is committed.
        self.executor.leave().await;
        self.past.close();
    }
}

/// Brings a home of an earlier release to this one's format. A backup is taken first, and stays.
fn upgrade(home: &Home, sql_memory: usize) -> Result<(), Failure> {
    if home.format_now() == tidemill_store::home::FORMAT {
        return Ok(());
    }
    let toolbox = Toolbox::without_home(sql_memory)?;
    let upgraded = tidemill_store::upgrade::upgrade(home, resolver(toolbox.catalog));
    if let Some(done) = upgraded.map_err(Failure::home)? {
        tracing::warn!(
            "upgraded `{}` from format {} to {}; a backup of before lies in `{}`",
            home.root().display(),
            done.from,
            done.to,
            done.backup.display()
        );
    }
    Ok(())
}

/// What makes a home work.
struct Working {
    scheduler: Scheduler,
    thread: Option<std::thread::JoinHandle<()>>,
    projector: Option<Arc<Projector>>,
}

/// Finds the commands that go on without a server, and ends what nobody looks after any more.
fn take_up(executor: &Executor, carry: &Carry) -> Result<Vec<AttemptId>, Failure> {
    let runtime = tokio::runtime::Handle::try_current().map_err(Failure::internal)?;
    let taken = runtime.block_on(executor.take_up(|run| carry.includes(run)));
    let (held, ended) = taken.map_err(Failure::home)?;
    for leftover in ended {
        let (attempt, pid) = (&leftover.attempt, leftover.pid);
        tracing::warn!(%attempt, pid, "ended what a crash left running");
    }
    let ours = held.iter().filter(|id| carry.includes(&id.run)).count();
    if ours > 0 {
        tracing::info!("took up {} of the server before", counted(ours, "command"));
    }
    Ok(held)
}

/// The attempt that an event ends.
fn ended_attempt(event: &Event) -> Option<AttemptId> {
    let Event::Run(run, event) = event else { return None };
    let (task, attempt) = match event {
        RunEvent::AttemptSucceeded { task, attempt, .. }
        | RunEvent::AttemptSkipped { task, attempt, .. }
        | RunEvent::AttemptFailed { task, attempt, .. }
        | RunEvent::AttemptCancelled { task, attempt, .. }
        | RunEvent::AttemptLost { task, attempt, .. } => (*task, *attempt),
        _ => return None,
    };
    Some(AttemptId { run: run.clone(), task, attempt })
}

/// Starts the scheduler, with the projector behind it and the executor before it.
fn start(
    store: &Arc<SledStore>,
    settings: Settings,
    executor: &Executor,
) -> Result<Working, Failure> {
    let mut projector = None;
    let (hands, clerk) = (executor.clone(), executor.clone());
    let started = Scheduler::start(Arc::clone(store) as _, settings, |live| {
        let live: Arc<dyn projector::Live> = Arc::new(LiveRecords(Arc::clone(live)));
        let behind = Arc::new(Projector::spawn(
            Arc::clone(store) as _,
            live,
            projector::Settings::default(),
        ));
        projector = Some(Arc::clone(&behind));
        Outlets {
            effect: Box::new(move |effect| match effect {
                Effect::StartAttempt(order) => hands.start(order),
                Effect::AdoptAttempt(order) => hands.adopt(order),
                Effect::CancelAttempt(id) => hands.cancel(&id),
                Effect::RunFinished(_) => {}
            }),
            committed: Box::new(move |position, events| {
                behind.mark(position, events);
                if clerk.has_results() {
                    events.iter().filter_map(ended_attempt).for_each(|id| clerk.committed(&id));
                }
            }),
        }
    });
    let Started { scheduler, thread, notes } = started.map_err(Failure::home)?;
    for note in &notes {
        tracing::warn!("{note}");
    }
    Ok(Working { scheduler, thread: Some(thread), projector })
}

/// Where one who only looks makes what the home's disk has no space for.
fn look_beside(mode: &Mode) -> Option<PathBuf> {
    let name = format!("tidemill-look-{}", std::process::id());
    (*mode == Mode::Look).then(|| std::env::temp_dir().join(name))
}

/// Loads a stored version again.
pub(crate) fn resolver(catalog: Catalog) -> Resolver {
    Arc::new(move |version: &Version, source: &DagSource| -> Option<Arc<Dag>> {
        crate::folder::load(source, &catalog).dag.filter(|dag| dag.version == *version)
    })
}

/// Where the executor finds things.
pub(crate) fn paths_of(home: &Home) -> HomePaths {
    HomePaths {
        tables: home.tables(),
        logs: home.logs(),
        processes: home.processes(),
        spill: home.spill(),
    }
}

/// This program, which is started again for each command of a task.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::files(format!("cannot find this program's own file: {error}")))
}
