//! The shapes of the answers.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tidemill_model::dag::{Param, Signal};
use tidemill_model::run::{MapCounts, Note, StoredItem};
use tidemill_model::{
    DataInterval, Instance, RunHead, TaskError, TaskIx, TaskRun, TaskState, Timestamp, Trigger,
};
use tidemill_spec::Diagnostic;
use tidemill_store::RunSummary;

use crate::backend::{DagDetail, DagView, RunDetail};

/// An instant, as RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) Timestamp);

/// Why a task failed, and the code under which that is explained.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    code: &'static str,
    #[serde(flatten)]
    error: TaskError,
}

impl From<&TaskError> for Failed {
    fn from(error: &TaskError) -> Self {
        Self { code: error.kind.code(), error: error.clone() }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn at(instant: Option<Timestamp>) -> Option<At> {
    instant.map(At)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long something took that has a start and an end.
fn took(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<u64> {
    Some(millis(end?.since(start?)))
}

#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Ask with this as `after`.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Interval {
    start: At,
    end: At,
}

impl From<DataInterval> for Interval {
    fn from(interval: DataInterval) -> Self {
        Self { start: At(interval.start), end: At(interval.end) }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
enum Why {
    Schedule { tick: At, trigger: String },
    Manual { who: String },
    Call { run: String },
    Dataset { trigger: String, updates: Vec<Update>, count: u32 },
    Dag { trigger: String, run: String, state: &'static str },
}

/// A table of another DAG that was made.
#[derive(Debug, Serialize)]
struct Update {
    dataset: Option<String>,
    run: String,
    rows: u64,
}

impl From<&Signal> for Update {
    fn from(signal: &Signal) -> Self {
        let Signal { dataset, run, rows, .. } = signal;
        Self { dataset: dataset.clone(), run: run.to_string(), rows: *rows }
    }
}

/// A note.
#[derive(Debug, Serialize)]
struct Said {
    text: String,
    who: String,
    at: At,
}

impl From<&Note> for Said {
    fn from(note: &Note) -> Self {
        Self { text: note.text.clone(), who: note.who.clone(), at: At(note.at) }
    }
}

/// A run in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    id: String,
    dag: String,
    number: u64,
    state: &'static str,
    version: String,
    generation: u32,
    trigger: Why,
    params: Map<String, Value>,
    interval: Option<Interval>,
    logical_time: At,
    cancel_requested: bool,
    reason: Option<String>,
    paused_by: Option<String>,
    note: Option<Said>,
    created_at: At,
    started_at: Option<At>,
    finished_at: Option<At>,
    duration_ms: Option<u64>,
    /// How many tasks are in which state; states without tasks are left out.
    tasks_by_state: Map<String, Value>,
}

impl Run {
    fn new(head: &RunHead, counts: &[u32; 11]) -> Self {
        let by_state = TaskState::ALL.iter().zip(counts).filter(|(_, n)| **n > 0);
        Self {
            id: head.id.to_string(),
            dag: head.id.dag.to_string(),
            number: head.id.number,
            state: head.state.label(),
            version: head.version.to_string(),
            generation: head.generation,
            trigger: match &head.trigger {
                Trigger::Schedule { tick, trigger } => {
                    Why::Schedule { tick: At(*tick), trigger: trigger.clone() }
                }
                Trigger::Manual { who } => Why::Manual { who: who.clone() },
                Trigger::Call { run, .. } => Why::Call { run: run.to_string() },
                Trigger::Dataset { trigger, signals, count } => Why::Dataset {
                    trigger: trigger.clone(),
                    updates: signals.iter().map(Update::from).collect(),
                    count: *count,
                },
                Trigger::Dag { trigger, signal } => Why::Dag {
                    trigger: trigger.clone(),
                    run: signal.run.to_string(),
                    state: signal.state.label(),
                },
            },
            params: head.params.clone(),
            interval: head.interval.map(Into::into),
            logical_time: At(head.logical_time()),
            cancel_requested: head.cancel_requested,
            reason: head.reason.clone(),
            paused_by: head.held_by.clone(),
            note: head.note.as_deref().map(Said::from),
            created_at: At(head.created_at),
            started_at: at(head.started_at),
            finished_at: at(head.finished_at),
            duration_ms: took(head.started_at, head.finished_at),
            tasks_by_state: by_state.map(|(s, n)| (s.label().to_owned(), (*n).into())).collect(),
        }
    }
}

impl From<&RunSummary> for Run {
    fn from(summary: &RunSummary) -> Self {
        Self::new(&summary.head, &summary.counts)
    }
}

/// A run by itself.
#[derive(Debug, Serialize)]
pub(crate) struct RunWithTasks {
    #[serde(flatten)]
    run: Run,
    /// Why the run itself waits.
    waits_for: Option<String>,
    tasks: Vec<Task>,
}

/// A task, or an item of it.
#[derive(Debug, Serialize)]
struct Task {
    name: String,
    /// The group that it is a member of.
    group: Option<String>,
    action: Option<&'static str>,
    kind: Option<String>,
    upstream: Vec<String>,
    state: &'static str,
    attempts: u32,
    retries: u32,
    lost: u32,
    queued_at: Option<At>,
    started_at: Option<At>,
    finished_at: Option<At>,
    retry_at: Option<At>,
    duration_ms: Option<u64>,
    reason: Option<String>,
    /// The state that somebody gave it.
    marked: Option<&'static str>,
    note: Option<Said>,
    waits_for: Option<String>,
    /// The run that its newest attempt called for.
    called: Option<String>,
    /// Where its result is from, when it used an earlier one again.
    reused: Option<Reused>,
    error: Option<Failed>,
    rows_in: Option<u64>,
    rows_out: Option<u64>,
    duplicates: Option<u64>,
    rejected: Vec<Rejected>,
    tables: Vec<Table>,
    warnings: Vec<String>,
    outputs: Map<String, Value>,
    history: Vec<PastAttempt>,
    /// How its items are doing, when it is mapped over a list or a member of a group that is.
    items: Option<Items>,
}

/// Where and when a result was made that is used again.
#[derive(Debug, Serialize)]
struct Reused {
    run: String,
    at: At,
}

impl From<&tidemill_model::Reused> for Reused {
    fn from(reused: &tidemill_model::Reused) -> Self {
        Self { run: reused.run.to_string(), at: At(reused.at) }
    }
}

/// The items of a mapped task, counted.
#[derive(Debug, Serialize)]
struct Items {
    total: u32,
    begun: u32,
    tolerated: u32,
    /// Those that have begun, by state; states without items are left out.
    by_state: Map<String, Value>,
}

impl From<&MapCounts> for Items {
    fn from(map: &MapCounts) -> Self {
        let by_state = TaskState::ALL.iter().zip(map.counts).filter(|(_, n)| *n > 0);
        Self {
            total: map.items,
            begun: map.begun,
            tolerated: map.tolerated,
            by_state: by_state.map(|(s, n)| (s.label().to_owned(), n.into())).collect(),
        }
    }
}

/// An item of a mapped task.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    #[serde(rename = "item")]
    number: u32,
    #[serde(flatten)]
    task: Task,
    /// Of a mapped group: its members, once the item has begun.
    members: Vec<Task>,
}

impl Item {
    pub(crate) fn new(detail: &RunDetail, stored: &StoredItem) -> Self {
        let (item, root) = (stored.item, stored.task);
        let members = detail.dag.as_ref().map(|dag| dag.members(root).to_vec()).unwrap_or_default();
        let mut tasks = std::iter::once(root)
            .chain(members)
            .zip(&stored.runs)
            .map(|(ix, task)| Task::of_instance(detail, Instance::of_item(ix, item), task));
        let whole = tasks.next();
        let whole = whole.unwrap_or_else(|| {
            Task::of_instance(detail, Instance::of_item(root, item), &TaskRun::default())
        });
        let members = tasks.collect();
        Self { number: item, task: whole, members }
    }
}

#[derive(Debug, Serialize)]
struct Rejected {
    reason: String,
    rows: u64,
}

#[derive(Debug, Serialize)]
struct Table {
    name: String,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PastAttempt {
    attempt: u32,
    generation: u32,
    outcome: tidemill_model::AttemptOutcome,
    started_at: At,
    finished_at: At,
    duration_ms: u64,
    error: Option<String>,
}

/// How many tasks are in which state, in the order of [`TaskState::ALL`].
fn counts_of(tasks: &[TaskRun]) -> [u32; 11] {
    let mut counts = [0; 11];
    for task in tasks {
        counts[task.state as usize] += 1;
    }
    counts
}

impl From<&RunDetail> for RunWithTasks {
    fn from(detail: &RunDetail) -> Self {
        let tasks = (0..detail.tasks.len()).map(|ix| Task::new(detail, TaskIx(ix as u32)));
        Self {
            run: Run::new(&detail.head, &counts_of(&detail.tasks)),
            waits_for: wait_of(detail, None),
            tasks: tasks.collect(),
        }
    }
}

fn wait_of(detail: &RunDetail, task: Option<TaskIx>) -> Option<String> {
    detail.waits.iter().find(|(of, _)| *of == task).map(|(_, why)| why.clone())
}

impl Task {
    fn new(detail: &RunDetail, ix: TaskIx) -> Self {
        Self::of_instance(detail, ix.into(), &detail.tasks[ix.at()])
    }

    fn of_instance(detail: &RunDetail, at_task: Instance, task: &TaskRun) -> Self {
        let ix = at_task.task;
        let spec = detail.dag.as_ref().and_then(|dag| dag.tasks().get(ix.at()));
        let result = task.result.as_deref();
        let counts = result.map(|result| &result.counts);
        Self {
            name: match &detail.dag {
                Some(dag) => dag.name_of(at_task),
                None => detail.task_name(ix),
            },
            group: spec.and_then(|spec| spec.group).map(|group| detail.task_name(group)),
            action: spec.map(|spec| spec.action.key()),
            kind: spec.map(|spec| spec.action.kind().to_owned()),
            upstream: spec
                .map(|spec| spec.upstream.iter().map(|e| detail.task_name(e.task)).collect())
                .unwrap_or_default(),
            state: task.state.label(),
            attempts: task.attempts,
            retries: task.retries,
            lost: task.lost,
            queued_at: at(task.queued_at),
            started_at: at(task.started_at),
            finished_at: at(task.finished_at),
            retry_at: at(task.retry_at),
            duration_ms: took(task.started_at, task.finished_at),
            reason: task.reason.clone(),
            marked: task.marked.map(TaskState::label),
            note: task.note.as_deref().map(Said::from),
            waits_for: wait_of(detail, Some(ix)).filter(|_| at_task.item.is_none()),
            called: task.called.as_ref().map(ToString::to_string),
            reused: result.and_then(|result| result.reused.as_deref()).map(Reused::from),
            error: task.error.as_deref().map(Failed::from),
            rows_in: counts.map(|counts| counts.rows_in),
            rows_out: counts.map(|counts| counts.rows_out),
            duplicates: counts.map(|counts| counts.duplicates),
            rejected: counts.map(|c| rejected(&c.rejected)).unwrap_or_default(),
            tables: result.map(|result| tables(&result.tables)).unwrap_or_default(),
            warnings: result.map(|result| result.warnings.clone()).unwrap_or_default(),
            outputs: result.map(|result| result.outputs.clone()).unwrap_or_default(),
            history: task.history.iter().map(PastAttempt::from).collect(),
            items: task.map.as_deref().map(Items::from),
        }
    }
}

fn rejected(by_reason: &[(String, u64)]) -> Vec<Rejected> {
    by_reason
        .iter()
        .map(|(reason, rows)| Rejected { reason: reason.clone(), rows: *rows })
        .collect()
}

fn tables(tables: &[tidemill_model::TableRef]) -> Vec<Table> {
    tables
        .iter()
        .map(|table| Table { name: table.name.clone(), rows: table.rows, bytes: table.bytes })
        .collect()
}

impl From<&tidemill_model::run::AttemptRecord> for PastAttempt {
    fn from(record: &tidemill_model::run::AttemptRecord) -> Self {
        Self {
            attempt: record.attempt,
            generation: record.generation,
            outcome: record.outcome,
            started_at: At(record.started_at),
            finished_at: At(record.finished_at),
            duration_ms: millis(record.finished_at.since(record.started_at)),
            error: record.error.clone(),
        }
    }
}

/// A DAG in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Dag {
    /// Missing for a file from which not even the name can be read.
    id: Option<String>,
    file: String,
    version: Option<String>,
    description: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    timezone: Option<String>,
    schedule: Option<String>,
    next_tick: Option<At>,
    paused: bool,
    paused_by: Option<String>,
    retired: bool,
    tasks: usize,
    diagnostics: Vec<Diagnostic>,
    recent: Vec<Recent>,
}

#[derive(Debug, Serialize)]
struct Recent {
    id: String,
    state: &'static str,
    created_at: At,
    duration_ms: Option<u64>,
}

impl From<&DagView> for Dag {
    fn from(view: &DagView) -> Self {
        let dag = view.dag.as_deref();
        Self {
            id: view.id.as_ref().map(ToString::to_string),
            file: view.file.display().to_string(),
            version: view.version().map(ToString::to_string),
            description: dag.and_then(|dag| dag.description.clone()),
            owner: dag.and_then(|dag| dag.owner.clone()),
            tags: dag.map(|dag| dag.tags.clone()).unwrap_or_default(),
            timezone: dag.map(|dag| dag.timezone.to_string()),
            schedule: dag.and_then(|dag| dag.schedule_words()),
            next_tick: at(view.next_tick),
            paused: view.paused,
            paused_by: view.paused_by.clone(),
            retired: view.retired,
            tasks: dag.map_or(0, |dag| dag.tasks().len()),
            diagnostics: view.diagnostics.clone(),
            recent: view
                .recent
                .iter()
                .map(|run| Recent {
                    id: run.head.id.to_string(),
                    state: run.head.state.label(),
                    created_at: At(run.head.created_at),
                    duration_ms: took(run.head.started_at, run.head.finished_at),
                })
                .collect(),
        }
    }
}

/// A DAG by itself.
#[derive(Debug, Serialize)]
pub(crate) struct DagWithTasks {
    #[serde(flatten)]
    dag: Dag,
    deployed_at: Option<At>,
    params: Map<String, Value>,
    definition: Vec<Step>,
    meaning: Option<Value>,
    source: String,
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    group: Option<String>,
    for_each: Option<String>,
    action: &'static str,
    kind: String,
    upstream: Vec<Upstream>,
    pool: String,
    timeout_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Upstream {
    task: String,
    why: Vec<String>,
}

impl From<&DagDetail> for DagWithTasks {
    fn from(detail: &DagDetail) -> Self {
        let dag = detail.view.dag.as_deref();
        Self {
            dag: Dag::from(&detail.view),
            deployed_at: at(detail.deployed_at),
            params: dag.map(params).unwrap_or_default(),
            definition: dag.map(steps).unwrap_or_default(),
            meaning: dag.map(tidemill_spec::meaning),
            source: detail.source.clone(),
        }
    }
}

fn params(dag: &tidemill_model::Dag) -> Map<String, Value> {
    let json = |param: &Param| serde_json::to_value(param).unwrap_or_default();
    dag.params.iter().map(|(name, param)| (name.to_string(), json(param))).collect()
}

fn steps(dag: &tidemill_model::Dag) -> Vec<Step> {
    dag.tasks()
        .iter()
        .map(|task| Step {
            name: task.name.to_string(),
            group: task.group.map(|group| dag.task(group).name.to_string()),
            for_each: task.mapping.as_ref().map(|mapping| mapping.list.source().to_owned()),
            action: task.action.key(),
            kind: task.action.kind().to_owned(),
            upstream: task
                .upstream
                .iter()
                .map(|edge| Upstream {
                    task: dag.task(edge.task).name.to_string(),
                    why: edge.why.clone(),
                })
                .collect(),
            pool: task.pool.to_string(),
            timeout_ms: task.timeout.map(millis),
        })
        .collect()
}
