//! The columns of runs and tasks: those that SQL sees, and behind them the record as it was.
//!
//! The record is kept as JSON in a column of its own, so that a run comes back exactly, also with
//! fields that a later release adds; the other columns are made from it, and are for questions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use tidemill_model::run::{RunHead, StoredItem};
use tidemill_model::{Position, RunId, TaskRun, TaskState, Timestamp, Trigger};
use tidemill_store::{RunSummary, StoreError};

use crate::files::damaged;

/// The column of the record.
pub(crate) const RECORD: &str = "record";

/// The column of the tables that a task or its items made: their hashes, joined.
pub(crate) const TABLES: &str = "tables";

/// Task states that have a column of their own among those of a run.
const COUNTED: [TaskState; 6] = [
    TaskState::Succeeded,
    TaskState::Failed,
    TaskState::Skipped,
    TaskState::UpstreamFailed,
    TaskState::Cancelled,
    TaskState::Removed,
];

/// A run's record, and where its tasks and items are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) position: Position,
    pub(crate) summary: Box<RunSummary>,
    /// The row of its first task; the others follow.
    pub(crate) tasks_from: u64,
    /// The row of its first items, and how many rows of items it has.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) items: (u64, u32),
}

fn is_none(items: &(u64, u32)) -> bool {
    items.1 == 0
}

/// A task of a run.
#[derive(Debug, Clone)]
pub(crate) struct TaskRow {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) task: TaskRun,
}

/// Items of a mapped task that follow each other.
#[derive(Debug, Clone)]
pub(crate) struct ItemsRow {
    pub(crate) task: u32,
    pub(crate) first: u32,
    pub(crate) items: Vec<StoredItem>,
}

/// How many tasks a run has: its counts cover all of them.
pub(crate) fn task_count(summary: &RunSummary) -> usize {
    summary.counts.iter().map(|count| *count as usize).sum()
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn instant(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true)
}

fn float(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

fn binary(name: &str) -> Field {
    Field::new(name, DataType::Binary, true)
}

/// The columns of the table `runs`.
pub(crate) fn runs_schema() -> SchemaRef {
    let mut fields = vec![
        text("dag"),
        int("number"),
        text("state"),
        text("trigger"),
        text("who"),
        int("generation"),
        text("version"),
        instant("created_at"),
        instant("started_at"),
        instant("finished_at"),
        float("seconds"),
        instant("interval_start"),
        instant("interval_end"),
        text("reason"),
        text("params"),
        int("tasks"),
    ];
    fields.extend(COUNTED.iter().map(|state| int(state.label())));
    Arc::new(Schema::new(fields))
}

/// The columns of the table `tasks`.
pub(crate) fn tasks_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text("dag"),
        int("number"),
        text("task"),
        text("state"),
        int("attempts"),
        int("retries"),
        instant("queued_at"),
        instant("started_at"),
        instant("finished_at"),
        float("seconds"),
        int("items"),
        int("items_failed"),
        int("rows_in"),
        int("rows_out"),
        int("duplicates"),
        int("rejected"),
        text("error_kind"),
        text("error"),
        text("reason"),
    ]))
}

/// The columns of a file: those that SQL sees, and those behind them.
fn with_more(schema: &SchemaRef, more: impl IntoIterator<Item = Field>) -> SchemaRef {
    let seen = schema.fields().iter().map(|field| field.as_ref().clone());
    Arc::new(Schema::new(seen.chain(more).collect::<Vec<_>>()))
}

/// The columns of the file of runs.
pub(crate) fn runs_file() -> SchemaRef {
    with_more(&runs_schema(), [binary(RECORD)])
}

/// The columns of the file of tasks.
pub(crate) fn tasks_file() -> SchemaRef {
    with_more(&tasks_schema(), [text(TABLES), binary(RECORD)])
}

/// The columns of the file of items.
pub(crate) fn items_file() -> SchemaRef {
    Arc::new(Schema::new(vec![int("task"), int("first"), text(TABLES), binary(RECORD)]))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn ints(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn instants(values: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let micros = values.map(|at| at.map(Timestamp::as_micros));
    Arc::new(micros.collect::<TimestampMicrosecondArray>())
}

fn seconds(values: impl Iterator<Item = (Option<Timestamp>, Option<Timestamp>)>) -> ArrayRef {
    let span = |(from, to): (Option<Timestamp>, Option<Timestamp>)| {
        Some((to?.as_micros() - from?.as_micros()) as f64 / 1e6)
    };
    Arc::new(values.map(span).collect::<Float64Array>())
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, StoreError> {
    RecordBatch::try_new(schema, columns).map_err(|error| damaged("the history".as_ref(), error))
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| damaged("the history".as_ref(), error))
}

fn who(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Manual { who } => who.clone(),
        Trigger::Schedule { trigger, .. } => trigger.clone(),
        Trigger::Call { run, .. } => run.to_string(),
        Trigger::Dag { signal, .. } => signal.run.to_string(),
        Trigger::Dataset { signals, .. } => {
            signals.last().map(|signal| signal.run.to_string()).unwrap_or_default()
        }
    }
}

/// Runs as SQL sees them.
pub(crate) fn runs_batch(runs: &[RunSummary]) -> Result<RecordBatch, StoreError> {
    batch(runs_schema(), runs_columns(&runs.iter().collect::<Vec<_>>()))
}

fn runs_columns(runs: &[&RunSummary]) -> Vec<ArrayRef> {
    let heads = || runs.iter().map(|run| &run.head);
    let owned = |of: &dyn Fn(&RunHead) -> String| -> ArrayRef {
        Arc::new(heads().map(|head| Some(of(head))).collect::<StringArray>())
    };
    let mut columns = vec![
        texts(heads().map(|head| Some(head.id.dag.as_str()))),
        ints(heads().map(|head| Some(head.id.number as i64))),
        texts(heads().map(|head| Some(head.state.label()))),
        texts(heads().map(|head| Some(head.trigger.label()))),
        owned(&|head| who(&head.trigger)),
        ints(heads().map(|head| Some(i64::from(head.generation)))),
        texts(heads().map(|head| Some(head.version.as_str()))),
        instants(heads().map(|head| Some(head.created_at))),
        instants(heads().map(|head| head.started_at)),
        instants(heads().map(|head| head.finished_at)),
        seconds(heads().map(|head| (head.started_at, head.finished_at))),
        instants(heads().map(|head| head.interval.map(|interval| interval.start))),
        instants(heads().map(|head| head.interval.map(|interval| interval.end))),
        texts(heads().map(|head| head.reason.as_deref())),
        owned(&|head| serde_json::Value::Object(head.params.clone()).to_string()),
        ints(runs.iter().map(|run| Some(task_count(run) as i64))),
    ];
    columns.extend(
        COUNTED
            .iter()
            .map(|state| ints(runs.iter().map(|run| Some(i64::from(run.counts[*state as usize]))))),
    );
    columns
}

/// Runs as they lie in a file.
pub(crate) fn runs_rows(runs: &[RunRecord]) -> Result<RecordBatch, StoreError> {
    let summaries: Vec<&RunSummary> = runs.iter().map(|run| &*run.summary).collect();
    let mut columns = runs_columns(&summaries);
    let records = runs.iter().map(json).collect::<Result<Vec<_>, _>>()?;
    columns.push(Arc::new(BinaryArray::from_iter_values(records)));
    batch(runs_file(), columns)
}

/// Tasks as SQL sees them.
pub(crate) fn tasks_batch(tasks: &[TaskRow]) -> Result<RecordBatch, StoreError> {
    batch(tasks_schema(), tasks_columns(tasks))
}

fn tasks_columns(rows: &[TaskRow]) -> Vec<ArrayRef> {
    let tasks = || rows.iter().map(|row| &row.task);
    let counts = |of: fn(&tidemill_model::Counts) -> u64| {
        ints(tasks().map(|task| task.result.as_ref().map(|result| of(&result.counts) as i64)))
    };
    let maps = |of: &dyn Fn(&tidemill_model::run::MapCounts) -> u32| {
        ints(tasks().map(|task| task.map.as_ref().map(|map| i64::from(of(map)))))
    };
    let kinds = tasks().map(|task| task.error.as_ref().map(|error| word(&error.kind)));
    vec![
        texts(rows.iter().map(|row| Some(row.run.dag.as_str()))),
        ints(rows.iter().map(|row| Some(row.run.number as i64))),
        texts(rows.iter().map(|row| Some(row.name.as_str()))),
        texts(tasks().map(|task| Some(task.state.label()))),
        ints(tasks().map(|task| Some(i64::from(task.attempts)))),
        ints(tasks().map(|task| Some(i64::from(task.retries)))),
        instants(tasks().map(|task| task.queued_at)),
        instants(tasks().map(|task| task.started_at)),
        instants(tasks().map(|task| task.finished_at)),
        seconds(tasks().map(|task| (task.started_at, task.finished_at))),
        maps(&|map| map.items),
        maps(&|map| map.of(TaskState::Failed)),
        counts(|counts| counts.rows_in),
        counts(|counts| counts.rows_out),
        counts(|counts| counts.duplicates),
        counts(|counts| counts.rejected.iter().map(|(_, rows)| rows).sum()),
        Arc::new(kinds.collect::<StringArray>()),
        texts(tasks().map(|task| task.error.as_ref().map(|error| error.message.as_str()))),
        texts(tasks().map(|task| task.reason.as_deref())),
    ]
}

/// The word that a value is written with.
fn word<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    text.and_then(|text| text.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn tables_of<'a>(tasks: impl Iterator<Item = &'a TaskRun>) -> Option<String> {
    let results = tasks.filter_map(|task| task.result.as_ref());
    let hashes: Vec<&str> =
        results.flat_map(|result| &result.tables).map(|table| table.hash.as_str()).collect();
    (!hashes.is_empty()).then(|| hashes.join(","))
}

/// Tasks as they lie in a file.
pub(crate) fn tasks_rows(rows: &[TaskRow]) -> Result<RecordBatch, StoreError> {
    let mut columns = tasks_columns(rows);
    let tables = rows.iter().map(|row| tables_of(std::iter::once(&row.task)));
    columns.push(Arc::new(tables.collect::<StringArray>()));
    let records = rows.iter().map(|row| json(&row.task)).collect::<Result<Vec<_>, _>>()?;
    columns.push(Arc::new(BinaryArray::from_iter_values(records)));
    batch(tasks_file(), columns)
}

/// Items as they lie in a file.
pub(crate) fn items_rows(rows: &[ItemsRow]) -> Result<RecordBatch, StoreError> {
    let tables = rows.iter().map(|row| tables_of(row.items.iter().flat_map(|item| &item.runs)));
    let records = rows.iter().map(|row| json(&row.items)).collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<ArrayRef> = vec![
        ints(rows.iter().map(|row| Some(i64::from(row.task)))),
        ints(rows.iter().map(|row| Some(i64::from(row.first)))),
        Arc::new(tables.collect::<StringArray>()),
        Arc::new(BinaryArray::from_iter_values(records)),
    ];
    batch(items_file(), columns)
}
