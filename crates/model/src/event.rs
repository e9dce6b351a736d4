//! Facts. The journal holds nothing else, and the state of everything is the fold of them.
//!
//! An event is written once and read for years: fields are added with a default, variants are
//! added at the end, none is changed or removed.

mod dag;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dag::listen::{Listen, Signal};
use crate::id::{DagId, Instance, RunId, TaskIx, Version};
use crate::state::{RunState, TaskState};
use crate::table::{TaskError, TaskResult};
use crate::time::{DataInterval, Timestamp};

pub use dag::{DagEvent, DagRecord};

/// A place in the journal: the number of the event, from 1. `Position(0)` is before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// To a run.
    Run(RunId, RunEvent),
    /// To a DAG.
    Dag(DagId, DagEvent),
}

/// Why a run exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Trigger {
    /// It was due.
    #[serde(alias = "cron")]
    Schedule {
        /// The instant at which it was due.
        tick: Timestamp,
        /// The trigger: [`crate::dag::TriggerDef::key`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        trigger: String,
    },
    /// A person or a program asked.
    Manual {
        /// Who, as far as is known.
        who: String,
    },
    /// A task of another run called for it, and waits for its end.
    Call {
        /// The other run.
        run: RunId,
        /// Its task.
        task: Instance,
        /// The task's attempt.
        attempt: u32,
        /// How many calls lead to it: 1 when the other run was not called itself.
        depth: u32,
    },
    /// Runs of other DAGs made tables that it takes.
    Dataset {
        /// The trigger: [`crate::dag::TriggerDef::key`].
        trigger: String,
        /// The newest of them, oldest first, at most [`SIGNALS_TOLD_MAX`].
        signals: Vec<Signal>,
        /// How many there are in all.
        count: u32,
    },
    /// A run of another DAG has ended.
    Dag {
        /// The trigger.
        trigger: String,
        /// The run, and how it ended.
        signal: Signal,
    },
}

/// Signals that a run knows of what started it.
pub const SIGNALS_TOLD_MAX: usize = 100;

impl Trigger {
    /// Every word that [`Trigger::label`] gives.
    pub const LABELS: [&'static str; 5] = ["schedule", "manual", "call", "dataset", "dag"];

    /// The word of expressions, of the API and the UI.
    pub fn label(&self) -> &'static str {
        let [schedule, manual, call, dataset, dag] = Self::LABELS;
        match self {
            Self::Schedule { .. } => schedule,
            Self::Manual { .. } => manual,
            Self::Call { .. } => call,
            Self::Dataset { .. } => dataset,
            Self::Dag { .. } => dag,
        }
    }

    /// The key of the trigger, where one of the DAG's own triggers started the run.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Schedule { trigger, .. }
            | Self::Dataset { trigger, .. }
            | Self::Dag { trigger, .. } => Some(trigger),
            Self::Manual { .. } | Self::Call { .. } => None,
        }
    }

    /// By what other DAGs did.
    pub fn by_signals(key: &str, listen: &Listen, mut signals: Vec<Signal>) -> Option<Self> {
        let trigger = key.to_owned();
        match listen {
            Listen::Dag { .. } => Some(Self::Dag { trigger, signal: signals.pop()? }),
            Listen::Datasets { .. } => {
                let count = u32::try_from(signals.len()).unwrap_or(u32::MAX);
                let told = signals.len().saturating_sub(SIGNALS_TOLD_MAX);
                Some(Self::Dataset { trigger, signals: signals.split_off(told), count })
            }
        }
    }
}

/// Something that happened to a run. [`crate::DagRun::apply`] says what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// It was called for. Always the first event of a run.
    Created {
        /// The version of the DAG that it runs.
        version: Version,
        /// Why.
        trigger: Trigger,
        /// Its params, complete and checked.
        params: Map<String, Value>,
        /// What its data are about.
        interval: Option<DataInterval>,
        /// What it has in common with the runs that share its limit: see [`RunHead::lane`](crate::RunHead).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lane: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// Admission let it run.
    Started {
        /// When.
        at: Timestamp,
    },
    /// A task is ready and waits for a slot. A group or a mapped task never does.
    TaskQueued {
        /// Which.
        task: Instance,
        /// When.
        at: Timestamp,
    },
    /// A task waits for a condition or a person.
    TaskWaiting {
        /// Which.
        task: Instance,
        /// For what, in words.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// A task does not need to run.
    TaskSkipped {
        /// Which.
        task: Instance,
        /// Why, in words.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// A task cannot run, because something above it failed.
    TaskUpstreamFailed {
        /// Which.
        task: Instance,
        /// When.
        at: Timestamp,
    },
    /// A task failed before an attempt could start.
    TaskFailed {
        /// Which.
        task: Instance,
        /// Why.
        error: TaskError,
        /// When.
        at: Timestamp,
    },
    /// A task that was not running is not wanted any more.
    TaskCancelled {
        /// Which.
        task: Instance,
        /// When.
        at: Timestamp,
    },
    /// A task does not need to run: it has its result from elsewhere. Comes before its run starts.
    TaskGiven {
        /// Which.
        task: Instance,
        /// The result; its tables are durable already.
        result: Box<TaskResult>,
        /// From where, in words.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The run does without the task: its DAG version no longer has it, or only a part of the DAG
    /// was asked for.
    TaskRemoved {
        /// Which.
        task: Instance,
        /// When.
        at: Timestamp,
    },
    /// Admission gave a task a slot; or a group or a mapped task begins, which takes none. The
    /// attempt with this number is the only one that may report.
    AttemptStarted {
        /// Which task.
        task: Instance,
        /// Counts the task's attempts from 1, over all generations: the fencing token.
        attempt: u32,
        /// What a mapped task is to do: such a task as a whole has this, nothing else does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map: Option<MapPlan>,
        /// When a wait for time alone is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// When.
        at: Timestamp,
    },
    /// An attempt gave a result.
    AttemptSucceeded {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// What it gave.
        result: TaskResult,
        /// When.
        at: Timestamp,
    },
    /// An attempt gave an error.
    AttemptFailed {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// Why.
        error: TaskError,
        /// When the next attempt may start; without one the task has failed.
        retry_at: Option<Timestamp>,
        /// When.
        at: Timestamp,
    },
    /// An attempt said that there was nothing to do.
    AttemptSkipped {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// Why, in words.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// An attempt was ended on an operator's word, and its end was verified.
    AttemptCancelled {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// The server ended while the attempt ran; what it started has been ended.
    AttemptLost {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// Whether the server fell, or was stopped.
        #[serde(default)]
        cause: LostCause,
        /// Whether the task may run again. Attempts lost in crashes have a budget of their own.
        again: bool,
        /// When.
        at: Timestamp,
    },
    /// Somebody asked to end the run.
    CancelRequested {
        /// Who, as far as is known.
        who: String,
        /// Why, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// No task is unfinished.
    Finished {
        /// The final state.
        state: RunState,
        /// When.
        at: Timestamp,
    },
    /// A rerun: a new generation, in which these tasks are pending again.
    Reopened {
        /// The tasks that run again, in the version of the new generation.
        tasks: Vec<TaskIx>,
        /// The version of the new generation.
        version: Version,
        /// Who asked for it, as far as is known.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// When.
        at: Timestamp,
    },
    /// A group took longer than its timeout: its members are ended, and when they have, it fails.
    GroupStopped {
        /// Which.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// The run that a task calls for is there.
    AttemptCalled {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// The called run.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// A person gave the answer that a task waits for.
    AttemptAnswered {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// Yes or no.
        approved: bool,
        /// The values that were asked for; empty when the answer is no.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        values: Map<String, Value>,
        /// Who, as far as is known.
        who: String,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// All items of a mapped task have ended, and their tables are put together.
    AttemptGathers {
        /// Which task.
        task: Instance,
        /// Which attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// Somebody lets the run stand still, or go on: while it stands, nothing of it begins.
    Held {
        /// Still or on.
        held: bool,
        /// Who, as far as is known.
        who: String,
        /// When.
        at: Timestamp,
    },
    /// It takes longer than it may: what runs of it is ended, and then it has failed.
    TimedOut {
        /// When.
        at: Timestamp,
    },
    /// Somebody says how a task ended. One that is running is ended first, and then is what was said.
    TaskMarked {
        /// Which.
        task: Instance,
        /// How: succeeded, failed or skipped.
        state: TaskState,
        /// Who, as far as is known.
        who: String,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// Somebody does not want to wait for a retry: it is due at once.
    RetryHastened {
        /// Of which task.
        task: Instance,
        /// Who, as far as is known.
        who: String,
        /// When.
        at: Timestamp,
    },
    /// Somebody leaves a note on the run, or on a task of it. An empty one takes the note away.
    Noted {
        /// On which task; `None`: on the run.
        about: Option<TaskIx>,
        /// Their words.
        text: String,
        /// Who, as far as is known.
        who: String,
        /// When.
        at: Timestamp,
    },
}

/// What a mapped task is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPlan {
    /// How many items there are.
    pub items: u32,
    /// How many of them may fail.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub tolerated: u32,
}

impl RunEvent {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Created { at, .. }
            | Self::Started { at }
            | Self::TaskQueued { at, .. }
            | Self::TaskWaiting { at, .. }
            | Self::TaskSkipped { at, .. }
            | Self::TaskUpstreamFailed { at, .. }
            | Self::TaskFailed { at, .. }
            | Self::TaskCancelled { at, .. }
            | Self::TaskGiven { at, .. }
            | Self::TaskRemoved { at, .. }
            | Self::AttemptStarted { at, .. }
            | Self::AttemptSucceeded { at, .. }
            | Self::AttemptFailed { at, .. }
            | Self::AttemptSkipped { at, .. }
            | Self::AttemptCancelled { at, .. }
            | Self::AttemptLost { at, .. }
            | Self::GroupStopped { at, .. }
            | Self::AttemptGathers { at, .. }
            | Self::AttemptCalled { at, .. }
            | Self::AttemptAnswered { at, .. }
            | Self::CancelRequested { at, .. }
            | Self::Finished { at, .. }
            | Self::Held { at, .. }
            | Self::TimedOut { at }
            | Self::TaskMarked { at, .. }
            | Self::RetryHastened { at, .. }
            | Self::Noted { at, .. }
            | Self::Reopened { at, .. } => *at,
        }
    }

    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<Instance> {
        match self {
            Self::TaskQueued { task, .. }
            | Self::TaskWaiting { task, .. }
            | Self::TaskSkipped { task, .. }
            | Self::TaskUpstreamFailed { task, .. }
            | Self::TaskFailed { task, .. }
            | Self::TaskCancelled { task, .. }
            | Self::TaskGiven { task, .. }
            | Self::TaskRemoved { task, .. }
            | Self::AttemptStarted { task, .. }
            | Self::AttemptSucceeded { task, .. }
            | Self::AttemptFailed { task, .. }
            | Self::AttemptSkipped { task, .. }
            | Self::AttemptCancelled { task, .. }
            | Self::AttemptLost { task, .. }
            | Self::GroupStopped { task, .. }
            | Self::AttemptGathers { task, .. }
            | Self::AttemptCalled { task, .. }
            | Self::TaskMarked { task, .. }
            | Self::RetryHastened { task, .. }
            | Self::AttemptAnswered { task, .. } => Some(*task),
            Self::Noted { about, .. } => about.map(Instance::from),
            Self::Created { .. }
            | Self::Started { .. }
            | Self::CancelRequested { .. }
            | Self::Finished { .. }
            | Self::Held { .. }
            | Self::TimedOut { .. }
            | Self::Reopened { .. } => None,
        }
    }

    /// The variant's name, for messages and the matrix.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Started { .. } => "started",
            Self::TaskQueued { .. } => "task_queued",
            Self::TaskWaiting { .. } => "task_waiting",
            Self::TaskSkipped { .. } => "task_skipped",
            Self::TaskUpstreamFailed { .. } => "task_upstream_failed",
            Self::TaskFailed { .. } => "task_failed",
            Self::TaskCancelled { .. } => "task_cancelled",
            Self::TaskGiven { .. } => "task_given",
            Self::TaskRemoved { .. } => "task_removed",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptSucceeded { .. } => "attempt_succeeded",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::AttemptSkipped { .. } => "attempt_skipped",
            Self::AttemptCancelled { .. } => "attempt_cancelled",
            Self::AttemptLost { .. } => "attempt_lost",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Finished { .. } => "finished",
            Self::Reopened { .. } => "reopened",
            Self::GroupStopped { .. } => "group_stopped",
            Self::AttemptGathers { .. } => "attempt_gathers",
            Self::AttemptCalled { .. } => "attempt_called",
            Self::AttemptAnswered { .. } => "attempt_answered",
            Self::Held { .. } => "held",
            Self::TimedOut { .. } => "timed_out",
            Self::TaskMarked { .. } => "task_marked",
            Self::RetryHastened { .. } => "retry_hastened",
            Self::Noted { .. } => "noted",
        }
    }
}

/// Why nobody knows how an attempt would have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostCause {
    /// The server fell: killed, out of memory, without power. Perhaps the task brought it down, so
    /// this happens to one task only so often.
    #[default]
    Crash,
    /// The server was asked to stop. That is nobody's fault.
    Shutdown,
    /// The supervisor of commands fell. Perhaps the task brought it down, as with the server.
    Supervisor,
}
