//! Answers of the API as values: what the commands print.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_model::{RunState, TaskError, TaskState, Timestamp};

/// A run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) dag: String,
    pub(crate) state: RunState,
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
    pub(crate) trigger: Value,
    /// Why its end was asked for, where a rule of its DAG did.
    pub(crate) reason: Option<String>,
    /// Why it waits, if it does.
    pub(crate) waits_for: Option<String>,
    pub(crate) note: Option<Note>,
    pub(crate) created_at: Timestamped,
    pub(crate) started_at: Option<Timestamped>,
    pub(crate) finished_at: Option<Timestamped>,
    #[serde(default)]
    pub(crate) tasks: Vec<Task>,
}

/// What somebody had to say.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) who: String,
    pub(crate) at: Timestamped,
}

impl Note {
    /// On one line.
    pub(crate) fn line(&self) -> String {
        let text = self.text.replace('\n', " ");
        format!("note: {text} ({}, {})", self.who, self.at.0.to_seconds_text())
    }
}

/// A task in a run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) action: Option<String>,
    pub(crate) state: TaskState,
    pub(crate) attempts: u32,
    pub(crate) queued_at: Option<Timestamped>,
    pub(crate) started_at: Option<Timestamped>,
    pub(crate) finished_at: Option<Timestamped>,
    pub(crate) rows_in: Option<u64>,
    pub(crate) rows_out: Option<u64>,
    pub(crate) duplicates: Option<u64>,
    #[serde(default)]
    pub(crate) rejected: Vec<Rejected>,
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) outputs: Map<String, Value>,
    pub(crate) reused: Option<Reused>,
    pub(crate) error: Option<TaskError>,
    pub(crate) reason: Option<String>,
    pub(crate) waits_for: Option<String>,
    pub(crate) note: Option<Note>,
    /// The run that it called for.
    #[serde(default)]
    pub(crate) called: Option<String>,
    /// How its items are doing.
    pub(crate) items: Option<Items>,
}

/// Where a result is from that is used again.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reused {
    pub(crate) run: String,
}

/// The items of a mapped task, counted.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Items {
    pub(crate) total: u64,
    pub(crate) begun: u64,
    pub(crate) by_state: Map<String, Value>,
}

/// An item of a mapped task.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Item {
    #[serde(flatten)]
    pub(crate) task: Task,
    /// Of a mapped group.
    #[serde(default)]
    pub(crate) members: Vec<Task>,
}

/// A page of items.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ItemPage {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<String>,
}

/// Where a task's rows went. Every field is always written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counts {
    #[serde(rename = "in")]
    pub(crate) rows_in: u64,
    #[serde(rename = "out")]
    pub(crate) rows_out: u64,
    pub(crate) duplicates: u64,
    /// By reason.
    pub(crate) rejected: Map<String, Value>,
}

/// Rows set aside for a reason.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rejected {
    pub(crate) reason: String,
    pub(crate) rows: u64,
}

/// An instant as the API writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Timestamped(pub(crate) Timestamp);

impl TryFrom<String> for Timestamped {
    type Error = tidemill_model::time::BadTimestamp;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Run {
    /// The last instant that is recorded of it.
    pub(crate) fn last_event(&self) -> Timestamp {
        let own = [Some(self.created_at), self.started_at, self.finished_at];
        let tasks = self.tasks.iter();
        let tasks = tasks.flat_map(|task| [task.queued_at, task.started_at, task.finished_at]);
        let all = own.into_iter().chain(tasks).flatten().map(|at| at.0);
        all.max().unwrap_or(self.created_at.0)
    }

    /// How long its current generation took, or takes until now.
    pub(crate) fn seconds(&self, now: Timestamp) -> Option<f64> {
        seconds(self.started_at, self.finished_at, now)
    }
}

impl Task {
    /// Where its rows went, once it has succeeded.
    pub(crate) fn counts(&self) -> Option<Counts> {
        Some(Counts {
            rows_in: self.rows_in?,
            rows_out: self.rows_out?,
            duplicates: self.duplicates.unwrap_or_default(),
            rejected: (self.rejected.iter())
                .map(|r| (r.reason.clone(), Value::from(r.rows)))
                .collect(),
        })
    }

    /// How long its newest attempt took, or takes until now.
    pub(crate) fn seconds(&self, now: Timestamp) -> Option<f64> {
        seconds(self.started_at, self.finished_at, now)
    }
}

fn seconds(from: Option<Timestamped>, to: Option<Timestamped>, now: Timestamp) -> Option<f64> {
    let to = to.map_or(now, |to| to.0);
    from.map(|from| to.since(from.0).as_secs_f64())
}
