//! An executor to test with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidemill_connector::connector::SharedConnector;
use tidemill_connectors::connectors;
use tidemill_connectors::dataset::NoDatasets;
use tidemill_executor::Executor;
use tidemill_executor::logs::{self, LogLimits, Stream};
use tidemill_model::{
    AttemptId, AttemptReport, FailureKind, ReportOutcome, RunId, TableRef, TaskResult,
};
use tokio::sync::{Mutex, mpsc};

use crate::orders::{Job, Slab, config, paths};

/// Longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct House {
    pub(crate) executor: Executor,
    pub(crate) folder: TempDir,
    slab: Arc<Slab>,
    reports: Mutex<mpsc::UnboundedReceiver<AttemptReport>>,
    number: AtomicU64,
}

/// How a house differs from the usual one.
pub(crate) struct Plan {
    pub(crate) secrets: &'static [(&'static str, &'static str)],
    pub(crate) grace: Duration,
    pub(crate) log: LogLimits,
    pub(crate) connectors: Vec<SharedConnector>,
    /// Whether commands go on without the executor.
    pub(crate) keep: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            secrets: &[],
            grace: Duration::from_millis(200),
            log: LogLimits::default(),
            connectors: Vec::new(),
            keep: false,
        }
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::of(Plan::default())
    }

    pub(crate) fn of(plan: Plan) -> Self {
        Self::at(tempfile::tempdir().unwrap(), plan)
    }

    /// In a folder that another executor may have worked in.
    pub(crate) fn at(folder: TempDir, plan: Plan) -> Self {
        let slab = Arc::new(Slab::default());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_tidemill-exec-test"));
        let mut config = config(folder.path(), &program, &slab, plan.secrets, plan.grace, plan.log);
        config.registry.connectors = connectors(Arc::new(NoDatasets));
        config.registry.connectors.extend(plan.connectors);
        config.keep_commands = plan.keep;
        let (sender, reports) = mpsc::unbounded_channel();
        let executor =
            Executor::new(config, Arc::new(move |report| sender.send(report).unwrap())).unwrap();
        let (reports, number) = (Mutex::new(reports), AtomicU64::new(0));
        Self { executor, folder, slab, reports, number }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its folder, for the next executor.
    pub(crate) fn into_folder(self) -> TempDir {
        self.folder
    }

    /// How many commands are recorded.
    pub(crate) fn records(&self) -> usize {
        records(self.path())
    }

    /// Writes a file into the folder of the DAG.
    pub(crate) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Starts a task in a run of its own.
    pub(crate) fn start(&self, job: Job) -> AttemptId {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let order = job.order(self.path(), number);
        self.executor.start(Arc::clone(&order));
        order.id.clone()
    }

    /// The next report.
    pub(crate) async fn report(&self) -> AttemptReport {
        let mut reports = self.reports.lock().await;
        let report =
            tokio::time::timeout(PATIENCE, reports.recv()).await.expect("a report").unwrap();
        let mut slab = self.slab.0.lock().unwrap();
        slab.extend(report.small_tables.iter().map(|t| (t.hash.clone(), t.bytes.clone())));
        drop(slab);
        self.executor.committed(&report.id);
        report
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&self, job: Job) -> (AttemptId, ReportOutcome) {
        let id = self.start(job);
        let report = self.report().await;
        assert_eq!(report.id, id, "one attempt at a time");
        (id, report.outcome)
    }

    /// Runs a task that must succeed.
    pub(crate) async fn done(&self, job: Job) -> (AttemptId, TaskResult) {
        match self.run(job).await {
            (id, ReportOutcome::Succeeded(result)) => (id, result),
            (id, other) => panic!("{other:?}\n{}", self.log(&id)),
        }
    }

    pub(crate) fn log_path(&self, id: &AttemptId) -> PathBuf {
        logs::log_path(&paths(self.path()).logs, &id.run, "work", id.attempt)
    }

    /// What a command wrote, byte for byte.
    pub(crate) fn output(&self, id: &AttemptId, stream: Stream) -> Vec<u8> {
        let mut all = Vec::new();
        logs::raw(&self.log_path(id), Some(stream), |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        all
    }

    pub(crate) fn stdout(&self, id: &AttemptId) -> String {
        String::from_utf8(self.output(id, Stream::Stdout)).unwrap()
    }

    /// Every line of a log, and whether it has ended.
    pub(crate) fn lines(&self, id: &AttemptId) -> (Vec<String>, bool) {
        let page = logs::read(&self.log_path(id), 0, usize::MAX).unwrap();
        (page.lines.into_iter().map(|line| line.text).collect(), page.ended)
    }

    pub(crate) fn log(&self, id: &AttemptId) -> String {
        self.lines(id).0.join("\n")
    }

    /// The rows of a table, cells with ` | ` between.
    pub(crate) fn rows(&self, table: &TableRef) -> Vec<String> {
        let table = self.executor.tables().open(table).unwrap();
        let mut rows = Vec::new();
        for batch in table.scan().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = (batch.columns().iter())
                    .map(|c| arrow::util::display::array_value_to_string(c, row).unwrap())
                    .collect();
                rows.push(cells.join(" | "));
            }
        }
        rows
    }
}

/// How many commands are recorded in a home.
pub(crate) fn records(home: &Path) -> usize {
    let entries = std::fs::read_dir(home.join("processes")).unwrap().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json")).count()
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId { dag: "shop".parse().unwrap(), number }
}

/// The kind and the words of a failure.
pub(crate) fn failure(outcome: ReportOutcome) -> (FailureKind, String) {
    match outcome {
        ReportOutcome::Failed(error) => (error.kind, error.to_string()),
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Whether a process runs. One that has ended and was not collected does not.
pub(crate) fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| text.rsplit(')').next().map(|rest| !rest.starts_with(" Z")))
        .unwrap_or(false)
}

/// Waits for a condition. It looks often and gives up late.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The process ids in a file, one a line.
pub(crate) fn pids(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
