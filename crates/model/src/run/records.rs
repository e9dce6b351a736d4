//! What is stored of a run: the run without its tasks, and each task.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::Trigger;
use crate::id::{RunId, Version};
use crate::state::{AttemptOutcome, RunState, TaskState};
use crate::table::{TaskError, TaskResult};
use crate::time::{DataInterval, Timestamp};

/// Finished attempts that a task remembers; older ones live in the journal alone.
pub const ATTEMPTS_KEPT_MAX: usize = 12;

/// A run without its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHead {
    /// Which run.
    pub id: RunId,
    /// The DAG version of the current generation.
    pub version: Version,
    /// Its state.
    pub state: RunState,
    /// Counts reruns: 1 at first.
    pub generation: u32,
    /// Why it exists.
    pub trigger: Trigger,
    /// Its params.
    pub params: Map<String, Value>,
    /// What its data are about.
    pub interval: Option<DataInterval>,
    /// Somebody asked to end it.
    pub cancel_requested: bool,
    /// When it was called for.
    pub created_at: Timestamp,
    /// When its current generation was admitted.
    pub started_at: Option<Timestamp>,
    /// When its current generation ended.
    pub finished_at: Option<Timestamp>,
}

impl RunHead {
    /// The instant that the run is about: its tick, or when it was called for.
    pub fn logical_time(&self) -> Timestamp {
        match self.trigger {
            Trigger::Cron { tick } => tick,
            Trigger::Manual { .. } => self.created_at,
        }
    }
}

/// One task in one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskRun {
    /// Its state.
    pub state: TaskState,
    /// Attempts started, over all generations: the number of the newest is its fencing token.
    #[serde(default)]
    pub attempts: u32,
    /// Retries used in this generation.
    #[serde(default)]
    pub retries: u32,
    /// Attempts lost in this generation.
    #[serde(default)]
    pub lost: u32,
    /// When it last became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When its newest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When its next attempt may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Why it was skipped or waits, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why its newest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<TaskError>>,
    /// What its successful attempt gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<TaskResult>>,
    /// Its finished attempts, oldest first, at most [`ATTEMPTS_KEPT_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptRecord>,
}

/// A finished attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number.
    pub attempt: u32,
    /// The run's generation.
    pub generation: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How.
    pub outcome: AttemptOutcome,
    /// Why it failed, cut to a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Records of a run as they were stored, from which it is put together again.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The run itself.
    pub head: RunHead,
    /// Its tasks, in the order of the DAG version.
    pub tasks: Vec<TaskRun>,
}
