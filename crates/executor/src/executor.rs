//! [`Executor`]: starts and ends attempts, and reports how they ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemill_connector::Registry;
use tidemill_model::{
    Action, AttemptId, AttemptOrder, AttemptReport, FailureKind, ReportOutcome, RunId, Secret,
    TaskError, TaskResult,
};
use tidemill_sql::Engine;
use tokio::sync::Notify;
use tracing::Instrument;

use crate::attempt::files::FILES;
use crate::attempt::{Attempt, summary};
use crate::flag::{Stop, StopFlag};
use crate::logs::{AttemptLog, LogLimits, path_of};
use crate::mask::Masker;
use crate::outside::{Clock, Columns, Connections, HomePaths, Results, Secrets, SmallTables};
use crate::process::client::Supervisor;
use crate::process::leftover::Leftover;
use crate::process::make_folder;
use crate::tables::TableStore;

/// Limits of attempts.
#[derive(Debug, Clone, Copy)]
pub struct ExecLimits {
    /// Rows that a source gives at once.
    pub batch_rows: usize,
    /// The time between TERM and KILL.
    pub grace: Duration,
    /// How large a log may grow.
    pub log: LogLimits,
}

impl Default for ExecLimits {
    fn default() -> Self {
        Self { batch_rows: 8_192, grace: Duration::from_secs(10), log: LogLimits::default() }
    }
}

/// What an executor works with.
pub struct ExecutorConfig {
    /// Connectors and transforms.
    pub registry: Registry,
    /// The SQL engine.
    pub engine: Arc<Engine>,
    /// Where things go.
    pub home: HomePaths,
    /// Small tables.
    pub small: Arc<dyn SmallTables>,
    /// Named endpoints.
    pub connections: Arc<dyn Connections>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Earlier results.
    pub results: Arc<dyn Results>,
    /// Columns of tables that were not made.
    pub columns: Arc<dyn Columns>,
    /// This program's own file, whose `main` begins with [`crate::process::entry`].
    pub program: PathBuf,
    /// Whether commands go on when this process is gone, for the next one to take them up.
    pub keep_commands: bool,
    /// Limits.
    pub limits: ExecLimits,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// An executor that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A folder cannot be made.
    #[error("cannot create the folder `{}`: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The supervisor of commands cannot be reached.
    #[error("cannot reach the supervisor of commands: {0}")]
    Supervisor(std::io::Error),
    /// It was made outside a runtime.
    #[error("there is no runtime to run attempts on: {0}")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

/// Takes reports. Called once for each attempt that was started.
pub type OnReport = Arc<dyn Fn(AttemptReport) + Send + Sync>;

/// What all attempts share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) engine: Arc<Engine>,
    pub(crate) home: HomePaths,
    pub(crate) tables: TableStore,
    pub(crate) connections: Arc<dyn Connections>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) results: Arc<dyn Results>,
    pub(crate) columns: Arc<dyn Columns>,
    pub(crate) supervisor: Supervisor,
    pub(crate) limits: ExecLimits,
    pub(crate) clock: Arc<dyn Clock>,
    report: OnReport,
    runtime: tokio::runtime::Handle,
    under_way: Mutex<UnderWay>,
    idle: Notify,
    /// Commands that go on without this process.
    go_on: AtomicUsize,
}

/// Where an attempt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It begins.
    New,
    /// Its command was started by an earlier server.
    Adopted,
}

/// The attempts that have not been reported.
#[derive(Default)]
struct UnderWay {
    stops: HashMap<AttemptId, StopFlag>,
    /// No further one begins.
    closed: bool,
}

/// Runs attempts. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

impl Executor {
    /// An executor on the runtime of the caller.
    pub fn new(config: ExecutorConfig, report: OnReport) -> Result<Self, ExecutorError> {
        let runtime = tokio::runtime::Handle::try_current()?;
        let home = absolute(&config.home)?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| ExecutorError::Folder { path, error }
        };
        for path in [&home.tables, &home.logs, &home.spill] {
            std::fs::create_dir_all(path).map_err(at(path))?;
        }
        make_folder(&home.processes).map_err(at(&home.processes))?;
        // What a crash left. A home belongs to one process, so nobody writes there now.
        crate::tables::sweep(&home.tables);
        let supervisor = Supervisor::new(
            config.program,
            home.processes.clone(),
            config.limits.grace,
            config.keep_commands,
        );
        Ok(Self {
            shared: Arc::new(Shared {
                registry: config.registry,
                engine: config.engine,
                tables: TableStore::new(home.tables.clone(), config.small),
                connections: config.connections,
                secrets: config.secrets,
                results: config.results,
                columns: config.columns,
                supervisor,
                home,
                limits: config.limits,
                clock: config.clock,
                report,
                runtime,
                under_way: Mutex::default(),
                idle: Notify::new(),
                go_on: AtomicUsize::new(0),
            }),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where tables are.
    pub fn tables(&self) -> &TableStore {
        &self.shared.tables
    }

    /// Finds what a process before this one left: gives the attempts whose commands went on, or
    /// ended with a result that waits. What nobody looks after any more and is of `wanted` runs is
    /// ended, and given as well. Call it before anything starts.
    pub async fn take_up(
        &self,
        wanted: impl Fn(&RunId) -> bool,
    ) -> Result<(Vec<AttemptId>, Vec<Leftover>), ExecutorError> {
        let taken = self.shared.supervisor.take_up(|id| wanted(&id.run)).await;
        let home = &self.shared.home;
        // Files of attempts that are recorded are still in use.
        for folder in std::fs::read_dir(home.spill.join(FILES)).into_iter().flatten().flatten() {
            let mut record = folder.file_name();
            record.push(".json");
            if !home.processes.join(record).exists() {
                let _ = std::fs::remove_dir_all(folder.path());
            }
        }
        taken.map_err(ExecutorError::Supervisor)
    }

    /// Starts an attempt. Never blocks; its end is reported.
    pub fn start(&self, order: Arc<AttemptOrder>) {
        self.begin(order, Origin::New);
    }

    /// Takes up an attempt that [`Executor::take_up`] gave. Its end is reported as that of any other.
    pub fn adopt(&self, order: Arc<AttemptOrder>) {
        self.begin(order, Origin::Adopted);
    }

    fn begin(&self, order: Arc<AttemptOrder>, origin: Origin) {
        let shared = &self.shared;
        let task = order.dag.task(order.id.task.task);
        if matches!(task.action, Action::Noop) && order.gather.is_none() {
            let outcome = ReportOutcome::Succeeded(TaskResult::default());
            let id = order.id.clone();
            (shared.report)(AttemptReport { id, outcome, small_tables: Vec::new() });
            return;
        }
        let stop = StopFlag::default();
        if !shared.begin(&order.id, &stop) {
            let (id, outcome) = (order.id.clone(), ReportOutcome::Interrupted);
            (shared.report)(AttemptReport { id, outcome, small_tables: Vec::new() });
            return;
        }
        let span = tracing::info_span!("dag_run", run = %order.id.run).in_scope(
            || tracing::info_span!("task_run", task = %order.dag.name_of(order.id.task), attempt = order.id.attempt),
        );
        // A command's tables are written to files and read from them, and that may take its time.
        let has_files = !task.reads.is_empty()
            || task.reads_run_tasks
            || !task.outputs.is_empty()
            || task.cache.is_some();
        let is_command = matches!(task.action, Action::Run(_)) && order.gather.is_none();
        let blocking = has_files || !is_command;
        let this = self.clone();
        shared.runtime.spawn(
            async move {
                let id = order.id.clone();
                let elapsed = match origin {
                    Origin::New => Duration::ZERO,
                    Origin::Adopted => this.shared.supervisor.elapsed(&id),
                };
                let clock = this.watch_time(&order, &stop, elapsed);
                let work = this.work(order, stop.clone(), origin, blocking).await;
                if let Some(clock) = clock {
                    clock.abort();
                }
                this.shared.ended(&id, work);
            }
            .instrument(span),
        );
    }

    /// Raises the flag when the task's time is over.
    fn watch_time(
        &self,
        order: &AttemptOrder,
        stop: &StopFlag,
        elapsed: Duration,
    ) -> Option<tokio::task::JoinHandle<()>> {
        // A mapped task's time limit is that of each of its items.
        let task = order.dag.task(order.id.task.task);
        let limit = task.timeout.filter(|_| order.gather.is_none())?;
        let stop = stop.clone();
        Some(self.shared.runtime.spawn(async move {
            tokio::time::sleep(limit.saturating_sub(elapsed)).await;
            stop.raise(Stop::Timeout);
        }))
    }

    /// The attempt's work, on a thread of its own where it may block.
    async fn work(
        &self,
        order: Arc<AttemptOrder>,
        stop: StopFlag,
        origin: Origin,
        blocking: bool,
    ) -> Option<AttemptReport> {
        let shared = Arc::clone(&self.shared);
        let id = order.id.clone();
        let path = path_of(&shared.home.logs, &order.id, &order.dag.name_of(order.id.task));
        let clock = Arc::clone(&shared.clock);
        let begun = Instant::now();
        let (limits, secrets) = (shared.limits.log, Arc::clone(&shared.secrets));
        let log = match origin {
            Origin::New => AttemptLog::create(&path, limits, &*secrets, clock),
            Origin::Adopted => AttemptLog::elsewhere(&path, limits, &*secrets, clock),
        };
        let work = Attempt { shared, order, stop, log: log.clone(), origin, begun }.run();
        let joined = if blocking {
            let runtime = self.shared.runtime.clone();
            let span = tracing::Span::current();
            tokio::task::spawn_blocking(move || runtime.block_on(work.instrument(span))).await
        } else {
            self.shared.runtime.spawn(work.in_current_span()).await
        };
        joined.unwrap_or_else(|error| {
            let report = panic_report(id, error);
            log.note(&summary(&report.outcome));
            log.finish();
            Some(report)
        })
    }

    /// Asks an attempt to end. When it has, that is reported.
    pub fn cancel(&self, id: &AttemptId) {
        let under_way = self.shared.lock().stops.get(id).cloned();
        match under_way {
            Some(stop) => stop.raise(Stop::Cancel),
            // It is of an earlier server, or its report was refused.
            None => self.shared.supervisor.discard(id),
        }
    }

    /// Whether results of commands wait for their commit.
    pub fn has_results(&self) -> bool {
        self.shared.supervisor.has_results()
    }

    /// The end of an attempt is committed: nothing of it is needed any more. Never blocks.
    pub fn committed(&self, id: &AttemptId) {
        self.shared.supervisor.committed(id);
    }

    /// Whether an attempt is under way here.
    pub fn knows(&self, id: &AttemptId) -> bool {
        self.shared.lock().stops.contains_key(id)
    }

    /// How many attempts are under way.
    pub fn under_way(&self) -> usize {
        self.shared.lock().stops.len()
    }

    /// Ends all attempts, and waits until they have ended and are reported as interrupted. No
    /// further one begins.
    pub async fn shutdown(&self) {
        self.close(|_| true).await;
    }

    /// As [`Executor::shutdown`], but commands go on, for the next process to take them up. Gives
    /// their number.
    pub async fn hand_over(&self) -> usize {
        self.shared.supervisor.let_go();
        self.close(|stop| !stop.is_supervised()).await;
        self.shared.go_on.load(Ordering::Relaxed)
    }

    async fn close(&self, ends: impl Fn(&StopFlag) -> bool) {
        {
            let mut under_way = self.shared.lock();
            under_way.closed = true;
            let ended = under_way.stops.values().filter(|stop| ends(stop));
            ended.for_each(|stop| stop.raise(Stop::Shutdown));
        }
        loop {
            let idle = self.shared.idle.notified();
            if self.under_way() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Lets the supervisor of commands go, once what was reported is committed. If it has nothing
    /// to look after it ends.
    pub async fn leave(&self) {
        self.shared.supervisor.leave().await;
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an attempt; `false` when none may begin any more.
    fn begin(&self, id: &AttemptId, stop: &StopFlag) -> bool {
        let mut under_way = self.lock();
        if !under_way.closed {
            under_way.stops.insert(id.clone(), stop.clone());
        }
        !under_way.closed
    }

    /// Reports first: whoever waits for the last attempt may rely on its report being on its way.
    /// An attempt that goes on without this process has no report.
    fn ended(&self, id: &AttemptId, report: Option<AttemptReport>) {
        match report {
            Some(mut report) => {
                mask(&mut report, &self.secrets.values());
                (self.report)(report);
            }
            None => _ = self.go_on.fetch_add(1, Ordering::Relaxed),
        }
        self.lock().stops.remove(id);
        self.idle.notify_waiters();
    }
}

/// The same folders, whatever the folder that a command runs in.
fn absolute(home: &HomePaths) -> Result<HomePaths, ExecutorError> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .map_err(|error| ExecutorError::Folder { path: path.clone(), error })
    };
    Ok(HomePaths {
        tables: absolute(&home.tables)?,
        logs: absolute(&home.logs)?,
        processes: absolute(&home.processes)?,
        spill: absolute(&home.spill)?,
    })
}

/// Errors may quote what another side said, secrets included.
fn mask(report: &mut AttemptReport, secrets: &[Secret]) {
    if let ReportOutcome::Failed(error) = &mut report.outcome
        && !secrets.is_empty()
    {
        error.message = Masker::text(secrets, &error.message);
        error.place = error.place.take().map(|text| Masker::text(secrets, &text));
        error.help = error.help.take().map(|text| Masker::text(secrets, &text));
    }
}

/// A panic ends its attempt and nothing else.
fn panic_report(id: AttemptId, error: tokio::task::JoinError) -> AttemptReport {
    let what = match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned()),
        Err(error) => error.to_string(),
    };
    let error = TaskError::new(FailureKind::Internal, format!("this program has a bug: {what}"))
        .help(Some("please report it with the run's log".to_owned()));
    let outcome = ReportOutcome::Failed(error);
    AttemptReport { id, outcome, small_tables: Vec::new() }
}
