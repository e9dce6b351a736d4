//! What is stored of a run: the run without its tasks, and each task.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::Trigger;
use crate::id::{RunId, TaskIx, Version};
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
    /// What it has in common with the runs that share the limit of its DAG's `concurrency`: the text
    /// of the key, empty where there is none. Nothing for a run without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Somebody asked to end it.
    pub cancel_requested: bool,
    /// It took longer than it may, and is ended for it.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub timed_out: bool,
    /// Why it was ended, where that was not just asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who lets it stand still, as far as is known: nothing of it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// What somebody had to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<Note>>,
    /// The most attempts that a task, or an item, has had in other versions of the DAG: numbers that
    /// tasks are counted on from which stand in this version where those stood.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub past_attempts: u32,
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
            Trigger::Schedule { tick, .. } => tick,
            _ => self.created_at,
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
    /// The most attempts that one of its items has had. Items of a next time are counted on from
    /// here, so that no two attempts of a place in the list have one number.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub item_attempts: u32,
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
    /// How its items are doing, once it is known how many there are. A member of a mapped group has
    /// this too: its state is then that of all its instances together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<Box<MapCounts>>,
    /// When the wait of its attempt is over, if it waits for time alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The run that its newest attempt called for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<RunId>,
    /// A group that is to end: none of its members starts any more, `finally` apart.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub stopping: bool,
    /// A mapped task whose items have ended, and whose tables are being put together.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub gathering: bool,
    /// The final state that somebody gave it in this generation, whatever it did; of a running one,
    /// the state that it will be in when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<TaskState>,
    /// What somebody had to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<Note>>,
}

/// What somebody had to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Their words, at most [`NOTE_CHARS_MAX`].
    pub text: String,
    /// Who, as far as is known.
    pub who: String,
    /// When.
    pub at: Timestamp,
}

/// Characters of a note.
pub const NOTE_CHARS_MAX: usize = 500;

impl TaskRun {
    /// The same, pending again, with what is counted over all generations.
    pub(super) fn begun_anew(&mut self) -> Self {
        let (attempts, item_attempts) = (self.attempts, self.item_attempts);
        Self {
            attempts,
            item_attempts,
            history: std::mem::take(&mut self.history),
            note: self.note.take(),
            ..Self::default()
        }
    }
}

/// The items of a mapped task, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MapCounts {
    /// The attempt of the mapped task that they belong to: records of items that carry another
    /// number are of the past.
    pub attempt: u32,
    /// How many there are.
    pub items: u32,
    /// How many may fail.
    #[serde(default)]
    pub tolerated: u32,
    /// The number that the attempts of each are counted on from.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub base: u32,
    /// How many have begun: those with the lowest numbers.
    #[serde(default)]
    pub begun: u32,
    /// Those that have begun, by state, in the order of [`TaskState::ALL`].
    #[serde(default)]
    pub counts: [u32; 11],
}

impl MapCounts {
    /// Items in a state.
    pub fn of(&self, state: TaskState) -> u32 {
        self.counts[state as usize]
    }

    /// Items that have begun and not ended.
    pub fn open(&self) -> u32 {
        TaskState::ALL.into_iter().filter(|state| !state.is_final()).map(|s| self.of(s)).sum()
    }

    /// Items to blame when the whole fails.
    pub fn failed(&self) -> u32 {
        self.of(TaskState::Failed)
            + self.of(TaskState::UpstreamFailed)
            + self.of(TaskState::Cancelled)
    }

    /// Whether another item may begin, as far as the items themselves are concerned.
    pub fn has_next(&self) -> bool {
        self.begun < self.items && self.failed() <= self.tolerated
    }
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
    /// Items of its mapped tasks: of an unfinished run all that have begun.
    pub items: Vec<StoredItem>,
}

/// An item of a mapped task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredItem {
    /// The mapped task.
    pub task: TaskIx,
    /// Its place in the list, from 0.
    pub item: u32,
    /// The attempt of the mapped task, as in [`MapCounts::attempt`].
    pub attempt: u32,
    /// What became of it; of a group the group first, then its members in order.
    pub runs: Vec<TaskRun>,
}
