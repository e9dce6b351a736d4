//! [`Backend`]: everything that the server looks at and asks for.
//!
//! The binary implements it over scheduler, store, logs and profiles. Calls that may touch a disk
//! are async, and the implementation moves blocking work off the async workers itself; the others
//! answer from memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_model::rerun::{MarkRequest, Marked, Rerun, RerunRequest};
use tidemill_model::run::StoredItem;
use tidemill_model::{
    Dag, DagId, DataInterval, Instance, RunHead, RunId, RunState, TableRef, TaskIx, TaskRun,
    Timestamp, Version,
};
use tidemill_spec::Diagnostic;
use tidemill_store::{RunPage, RunQuery, RunSummary};

use crate::error::ApiError;

/// Runs of a DAG that [`DagView::recent`] holds at most.
pub const RECENT_RUNS_MAX: usize = 14;

/// What the server serves.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Every DAG and every DAG file, sorted by id and then by file. A file without a usable DAG is
    /// here too, by its diagnostics.
    async fn dags(&self) -> Result<Vec<DagView>, ApiError>;

    /// A DAG with its definition; `None` when there is no such DAG and no file of that name.
    async fn dag(&self, id: &DagId) -> Result<Option<DagDetail>, ApiError>;

    /// Runs, newest first. `query.limit` is at most 200.
    async fn runs(&self, query: RunQuery) -> Result<RunPage, ApiError>;

    /// A run with its tasks.
    async fn run(&self, id: &RunId) -> Result<Option<RunDetail>, ApiError>;

    /// Items of a mapped task that have begun, from `first` on, in order. `limit` is at most 1,000.
    async fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, ApiError>;

    /// Starts a run of a DAG. The answer comes after it is durable. A DAG that is not there is
    /// `NotFound`, a wrong param `Invalid`, a DAG whose file does not load `Conflict`.
    async fn trigger(&self, request: TriggerRequest) -> Result<RunId, ApiError>;

    /// Loads a DAG file of this machine and starts a run of it. A file with errors is `Invalid`,
    /// with its diagnostics.
    async fn run_file(&self, request: RunFileRequest) -> Result<RunId, ApiError>;

    /// Copies everything that is kept to a new folder of this machine, while work goes on.
    async fn backup(&self, to: PathBuf) -> Result<BackupMade, ApiError>;

    /// Answers a query in SQL over the tables `runs` and `tasks`: everything that is kept of them.
    /// `limit` is at most 100,000.
    async fn history_sql(&self, sql: String, limit: usize) -> Result<SqlAnswer, ApiError>;

    /// How finished runs are kept.
    async fn history(&self) -> Result<Value, ApiError>;

    /// Folds finished runs into the history now, and drops what is too old.
    async fn tidy_history(&self) -> Result<Value, ApiError>;

    /// What is wrong with what is kept. Nothing is changed.
    async fn doctor(&self) -> Result<Value, ApiError>;

    /// Runs tasks of a run again, or says which those would be. Where one of them is under way, or
    /// nothing is to do, that is a `Conflict`, a task that is not there `Invalid`.
    async fn rerun(&self, request: RerunRequest) -> Result<Rerun, ApiError>;

    /// Asks to end a run. A finished one is a `Conflict`.
    async fn cancel(&self, run: &RunId, who: &str) -> Result<(), ApiError>;

    /// Lets a run stand still, or go on. A finished one is a `Conflict`.
    async fn hold(&self, run: &RunId, held: bool, who: &str) -> Result<(), ApiError>;

    /// Lets a retry begin at once. A task that does not wait for one is a `Conflict`.
    async fn hasten(&self, run: &RunId, task: Instance, who: &str) -> Result<(), ApiError>;

    /// Says of tasks how they ended, or what that would do. A task that cannot be marked is a
    /// `Conflict`, one that is not there `Invalid`.
    async fn mark(&self, request: MarkRequest) -> Result<Marked, ApiError>;

    /// Leaves a note on a run or on a task of it; an empty text takes it away.
    async fn note(&self, request: NoteRequest) -> Result<(), ApiError>;

    /// Answers the question of a task. One that does not wait for an answer is a `Conflict`, a wrong
    /// value `Invalid`.
    async fn answer(&self, run: &RunId, answer: AnswerRequest) -> Result<(), ApiError>;

    /// What waits for a person's answer, oldest first.
    fn questions(&self) -> Vec<Question>;

    /// Lets the schedule of a DAG stand still, or go on.
    async fn pause(&self, dag: &DagId, paused: bool, who: &str) -> Result<(), ApiError>;

    /// Waits until a run has ended, at most `timeout`; returns its state then.
    async fn wait(&self, run: &RunId, timeout: Duration) -> Result<RunState, ApiError>;

    /// Lines of an attempt's log. An attempt that has not written anything, or has no log, is an
    /// empty page. It answers at once; the server follows by asking again.
    async fn logs(&self, query: LogQuery) -> Result<LogPage, ApiError>;

    /// An attempt's log as it was written, byte for byte; `None` when there is none.
    async fn raw_log(
        &self,
        run: &RunId,
        task: &str,
        attempt: u32,
    ) -> Result<Option<RawLog>, ApiError>;

    /// The first rows of a table. The reference comes from a [`RunDetail`] of this backend.
    /// `limit` is at most 1,000.
    async fn table(&self, table: &TableRef, limit: usize) -> Result<TableSample, ApiError>;

    /// Profiles by id, ascending, after an id. `limit` is at most 200.
    async fn profiles(&self, after: Option<&str>, limit: usize) -> Result<ProfilePage, ApiError>;

    /// A profile by its id, or by an identity written `type:value`.
    fn profile(&self, id: &str) -> Option<ProfileDoc>;

    /// Whether everything works. It never touches a disk.
    fn health(&self) -> Health;

    /// What `/metrics` shows, besides what the server counts itself.
    fn metrics(&self) -> Vec<Metric>;
}

/// A DAG, or a DAG file that does not load.
#[derive(Debug, Clone)]
pub struct DagView {
    /// Its name; `None` for a file from which not even that can be read.
    pub id: Option<DagId>,
    /// The file, as a person would name it.
    pub file: PathBuf,
    /// The definition that new runs take; `None` while the file does not load and nothing was
    /// loaded before.
    pub dag: Option<Arc<Dag>>,
    /// When it is due next, unless it is paused.
    pub next_tick: Option<Timestamp>,
    /// Its schedule stands still.
    pub paused: bool,
    /// Who lets it, as far as is known.
    pub paused_by: Option<String>,
    /// Its file is gone.
    pub retired: bool,
    /// What is wrong with the file as it is now.
    pub diagnostics: Vec<Diagnostic>,
    /// Its newest runs, newest first, at most [`RECENT_RUNS_MAX`].
    pub recent: Vec<RunSummary>,
}

/// A DAG with what its page shows.
#[derive(Debug, Clone)]
pub struct DagDetail {
    /// The DAG.
    pub view: DagView,
    /// The text of its file.
    pub source: String,
    /// When its version was deployed.
    pub deployed_at: Option<Timestamp>,
}

/// A run with its tasks.
#[derive(Debug, Clone)]
pub struct RunDetail {
    /// The run.
    pub head: RunHead,
    /// Its DAG version, if that still loads.
    pub dag: Option<Arc<Dag>>,
    /// Its tasks, in the order of the version.
    pub tasks: Vec<TaskRun>,
    /// Why each waiting task waits, and with `None` why the run itself does, in words.
    pub waits: Vec<(Option<TaskIx>, String)>,
}

/// Asks for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerRequest {
    /// Of this DAG.
    pub dag: DagId,
    /// With these params.
    pub params: Map<String, Value>,
    /// About these data; `None`: the last whole interval of the schedule.
    pub interval: Option<DataInterval>,
    /// Who asks, as far as is known.
    pub who: String,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRequest {
    /// The task that asks, or an item of it.
    pub task: Instance,
    /// Yes or no.
    pub approved: bool,
    /// What was asked for besides.
    pub values: Map<String, Value>,
    /// Why, in their words.
    pub note: Option<String>,
    /// Who answers, as far as is known.
    pub who: String,
}

/// A note on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRequest {
    /// The run.
    pub run: RunId,
    /// The task that it is about, if it is about one.
    pub task: Option<String>,
    /// The note.
    pub text: String,
    /// Who leaves it, as far as is known.
    pub who: String,
}

/// A task that waits for a person.
#[derive(Debug, Clone)]
pub struct Question {
    /// The run.
    pub run: RunId,
    /// Its DAG version.
    pub dag: Arc<Dag>,
    /// The task, or an item of it.
    pub at: Instance,
    /// The task in the run: what is asked is its `reason`.
    pub task: TaskRun,
    /// The runs that called for the run, from the nearest on.
    pub callers: Vec<RunId>,
}

/// Asks for a part of a DAG. Tasks are named as in its file; nothing given is the whole DAG.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartRequest {
    /// This task alone.
    pub only: Option<String>,
    /// This task and all that come after it.
    pub from: Option<String>,
    /// Files with the rows of tables, by the tables' names; their tasks do not go.
    pub stubs: BTreeMap<String, PathBuf>,
}

/// Asks for a run of a file of this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFileRequest {
    /// The file; absolute.
    pub path: PathBuf,
    /// With these params.
    pub params: Map<String, Value>,
    /// About these data.
    pub interval: Option<DataInterval>,
    /// Who asks, as far as is known.
    pub who: String,
    /// This part of it.
    pub part: PartRequest,
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupMade {
    /// Files in it.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// The last event that is in it.
    pub position: u64,
}

/// The answer to a query.
#[derive(Debug, Clone, Serialize)]
pub struct SqlAnswer {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, values in the order of the columns.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than were asked for.
    pub more: bool,
}

/// Which lines of which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// The run.
    pub run: RunId,
    /// The task as its DAG writes it, or an item of it: `load`, `load[17]`.
    pub task: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// From where.
    pub from: LogFrom,
    /// At most so many lines: 1 to 5,000.
    pub limit: usize,
}

/// Where to begin in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At an offset that a page gave, or 0.
    Offset(u64),
    /// So that the page ends at the last line written.
    Tail,
}

/// Lines of a log.
#[derive(Debug, Clone, Default)]
pub struct LogPage {
    /// There is a log. A `noop` writes none, and logs go with old runs.
    pub kept: bool,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// The offset of the first line after these.
    pub next: u64,
    /// The attempt has ended and these lines reach the end: nothing comes after.
    pub ended: bool,
    /// Bytes that were not kept, because the log reached its cap.
    pub dropped: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A line of a log.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When it was written.
    pub at: Option<Timestamp>,
    /// Who wrote it.
    pub stream: LogStream,
    /// The text without its line break; invalid UTF-8 is replaced. It may hold ANSI escapes.
    pub text: String,
    /// Where it begins in the log.
    pub offset: u64,
}

/// Who wrote a line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// A command, to its standard output.
    Stdout,
    /// A command, to its standard error.
    Stderr,
    /// Tidemill itself: retries, rows so far, the end.
    Tidemill,
}

impl LogStream {
    /// The word of the API and the UI.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Tidemill => "tidemill",
        }
    }
}

/// A log as it was written.
pub struct RawLog {
    /// Its size, when it is known and does not grow any more.
    pub bytes: Option<u64>,
    /// Its bytes.
    pub stream: BoxStream<'static, std::io::Result<Bytes>>,
}

/// The first rows of a table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableSample {
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The rows: one value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// A column of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in the words of the language: `string`, `timestamp`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Profiles.
#[derive(Debug, Clone, Default)]
pub struct ProfilePage {
    /// In ascending order of their ids.
    pub profiles: Vec<ProfileDoc>,
    /// Ask with this as `after` for the next page; `None` at the end.
    pub next: Option<String>,
    /// How many there are in all.
    pub total: u64,
}

/// A profile as it is stored.
#[derive(Debug, Clone)]
pub struct ProfileDoc {
    /// Its id.
    pub id: String,
    /// The JSON object.
    pub json: Bytes,
    /// Changes exactly when the object does; without quotes.
    pub etag: String,
}

/// Whether everything works.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Everything works.
    pub ok: bool,
    /// Each part, in the order in which they are shown.
    pub parts: Vec<HealthPart>,
}

/// Whether one part works.
#[derive(Debug, Clone, Serialize)]
pub struct HealthPart {
    /// Its name: `scheduler`, `store`, `executor`.
    pub name: String,
    /// It works.
    pub ok: bool,
    /// In words: `3 runs`, `the disk is full`.
    pub detail: String,
}

/// A metric with all its samples.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its name without a suffix: `tidemill_commits`, not `tidemill_commits_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Its values.
    pub samples: Samples,
}

/// The values of a metric, each with its labels.
#[derive(Debug, Clone)]
pub enum Samples {
    /// They only grow.
    Counter(Vec<(Labels, u64)>),
    /// They go up and down.
    Gauge(Vec<(Labels, f64)>),
    /// Sum, count and buckets: upper bound and how many are in this bucket alone. The last bound
    /// is infinity.
    Histogram {
        /// Of all observations.
        sum: f64,
        /// Observations.
        count: u64,
        /// Upper bound and observations, ascending.
        buckets: Vec<(f64, u64)>,
    },
}

/// Names and values. Values are states and names of pools, never data.
pub type Labels = Vec<(&'static str, String)>;

impl DagView {
    /// What a person calls it: its name, or its file.
    pub fn title(&self) -> String {
        self.id.as_ref().map_or_else(|| self.file.display().to_string(), ToString::to_string)
    }

    /// The version that new runs take.
    pub fn version(&self) -> Option<&Version> {
        self.dag.as_ref().map(|dag| &dag.version)
    }
}

impl RunDetail {
    /// The name of a task, or its number when the version does not load any more.
    pub fn task_name(&self, ix: TaskIx) -> String {
        self.dag
            .as_ref()
            .and_then(|dag| dag.tasks().get(ix.at()))
            .map_or_else(|| format!("task_{}", ix.0), |task| task.name.to_string())
    }

    /// The place of a task by its name.
    pub fn find(&self, name: &str) -> Option<TaskIx> {
        self.dag.as_ref()?.find(name).filter(|ix| ix.at() < self.tasks.len())
    }

    /// A table of this run by its name, with the task that made it.
    pub fn table(&self, name: &str) -> Option<(TaskIx, &TableRef)> {
        self.tasks.iter().enumerate().find_map(|(at, task)| {
            let tables = &task.result.as_ref()?.tables;
            let table = tables.iter().find(|table| table.name == name)?;
            Some((TaskIx(at as u32), table))
        })
    }
}
