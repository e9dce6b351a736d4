//! The states of runs and tasks. Each says how one gets in, how one gets out, and who moves it: in
//! one table, [`RunState::guide`] and [`TaskState::guide`], from which the manual is made.

use serde::{Deserialize, Serialize};

/// What the manual says about a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guide {
    /// What it means.
    pub means: &'static str,
    /// How one gets in.
    pub enters: &'static str,
    /// How one gets out; empty for a final state, which only a rerun leaves.
    pub leaves: &'static str,
    /// Who moves it on.
    pub moved_by: &'static str,
}

/// The state of a DAG run. From `Succeeded` on they are final within the run's generation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits to be admitted.
    #[default]
    Queued,
    /// Its tasks may run.
    Running,
    /// Every leaf succeeded or was skipped.
    Succeeded,
    /// A leaf failed, or never ran because something above it failed.
    Failed,
    /// An operator ended it before every task had.
    Cancelled,
}

impl RunState {
    /// Every state, in order.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Nothing moves it any more in this generation.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }

    /// What the manual says about it.
    pub fn guide(self) -> Guide {
        let (means, enters, leaves, moved_by) = match self {
            Self::Queued => (
                "It waits to be admitted",
                "Somebody or a schedule called for it, or a rerun opened it again",
                "Admission lets it begin; or it is cancelled, and ends without having begun",
                "Admission, oldest run first, within the limit on running runs",
            ),
            Self::Running => (
                "Its tasks may run",
                "Admission let it begin",
                "The last of its tasks reaches a final state",
                "Its tasks",
            ),
            Self::Succeeded => (
                "Every leaf succeeded or was skipped",
                "All tasks are final, and no leaf is to blame",
                "",
                "A rerun",
            ),
            Self::Failed => (
                "A leaf failed, was cancelled, or never ran because something above it failed",
                "All tasks are final, and a leaf is to blame",
                "",
                "A rerun",
            ),
            Self::Cancelled => (
                "An operator ended it before every task had",
                "It was being cancelled, all tasks are final, and one of them was cancelled",
                "",
                "A rerun",
            ),
        };
        Guide { means, enters, leaves, moved_by }
    }

    /// The word of the API and the UI.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state of a task in a run. From `Succeeded` on they are final within the run's generation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for its upstreams.
    #[default]
    Pending,
    /// It is ready and waits for a slot.
    Queued,
    /// An attempt is under way.
    Running,
    /// An attempt failed, and another will start at its instant.
    UpForRetry,
    /// It waits for a condition or a person, and holds no slot.
    Waiting,
    /// An attempt succeeded.
    Succeeded,
    /// The last attempt that was allowed failed.
    Failed,
    /// It did not need to run.
    Skipped,
    /// It could not run, because something above it failed.
    UpstreamFailed,
    /// An operator ended it.
    Cancelled,
    /// The DAG version of a rerun no longer has it.
    Removed,
}

impl TaskState {
    /// Every state, in order.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::UpForRetry,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::UpstreamFailed,
        Self::Cancelled,
        Self::Removed,
    ];

    /// Nothing moves it any more in this generation.
    pub fn is_final(self) -> bool {
        self >= Self::Succeeded
    }

    /// What the manual says about it.
    pub fn guide(self) -> Guide {
        let (means, enters, leaves, moved_by) = match self {
            Self::Pending => (
                "It waits for its upstreams",
                "The run was called for, or a rerun chose the task",
                "Its trigger rule decides: it is queued, skipped, or cannot run; or its `when` has \
                 no value, and it fails",
                "The end of an upstream, or the begin of the run",
            ),
            Self::Queued => (
                "It is ready and waits for a slot",
                "Its trigger rule holds, its retry is due, or its attempt was lost",
                "It gets a slot; or it is cancelled",
                "Admission, oldest run first, within the slots of its pool",
            ),
            Self::Running => (
                "An attempt is under way",
                "Admission gave it a slot",
                "The attempt ends",
                "The attempt's report, under the attempt's number; after a crash, the next start",
            ),
            Self::UpForRetry => (
                "An attempt failed, and another will start at its instant",
                "An attempt failed, and the retry policy allows another",
                "Its instant comes; or it is cancelled",
                "Time",
            ),
            Self::Waiting => (
                "It waits for a condition or a person, and holds no slot",
                "Its action says so",
                "What it waits for happens, or can no longer happen; or it is cancelled",
                "Whoever watches the condition, or a person",
            ),
            Self::Succeeded => ("An attempt succeeded", "The attempt gave a result", "", "A rerun"),
            Self::Failed => (
                "The last attempt that was allowed failed",
                "An attempt failed or was lost, and no other is allowed; or its `when` has no value",
                "",
                "A rerun",
            ),
            Self::Skipped => (
                "It did not need to run",
                "Its trigger rule or its `when` says no, or its attempt had nothing to do",
                "",
                "A rerun",
            ),
            Self::UpstreamFailed => (
                "It could not run, because something above it failed",
                "Its trigger rule can no longer hold",
                "",
                "A rerun",
            ),
            Self::Cancelled => {
                ("An operator ended it", "Its run was being cancelled", "", "A rerun")
            }
            Self::Removed => (
                "The DAG version of a rerun no longer has it",
                "The rerun's version lacks it",
                "",
                "A rerun",
            ),
        };
        Guide { means, enters, leaves, moved_by }
    }

    /// The word of the API and the UI.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::UpForRetry => "up_for_retry",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
            Self::Cancelled => "cancelled",
            Self::Removed => "removed",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It gave a result.
    Succeeded,
    /// It gave an error.
    Failed,
    /// It said that there was nothing to do.
    Skipped,
    /// It was ended on an operator's word.
    Cancelled,
    /// The server ended while it ran; its outcome cannot be known.
    Lost,
}

impl AttemptOutcome {
    /// The word of the API and the UI.
    pub fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}
