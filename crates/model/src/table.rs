//! What an attempt leaves behind, as facts: references to tables, counts, errors. Never rows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::RunId;
use crate::time::Timestamp;

/// A finished table, by the hash of its bytes. The rows lie in the slab or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRef {
    /// Its name in the DAG: `orders`, `orders.rejects`.
    pub name: String,
    /// First 16 bytes of the SHA-256 of its Arrow IPC bytes, in hex.
    pub hash: String,
    /// Rows.
    pub rows: u64,
    /// Size as stored.
    pub bytes: u64,
    /// First 8 bytes of the SHA-256 of its column names and types, in hex.
    pub schema: String,
}

/// Tables up to this size go to the slab, larger ones to files of their own.
pub const SLAB_TABLE_BYTES_MAX: u64 = 64 * 1024;

/// Where a task's rows went. `rows_in = rows_out + duplicates + Σ rejected` for tasks that clean.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read: from the source, or from the tables that the action names.
    #[serde(rename = "in")]
    pub rows_in: u64,
    /// Rows of the main table, or rows handed to the sink.
    #[serde(rename = "out")]
    pub rows_out: u64,
    /// Rows dropped because an equal row came before.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub duplicates: u64,
    /// Rows set aside, by reason, in the order in which the reasons first occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<(String, u64)>,
}

impl Counts {
    /// These and others together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.duplicates += other.duplicates;
        for (reason, rows) in &other.rejected {
            match self.rejected.iter_mut().find(|(known, _)| known == reason) {
                Some((_, sum)) => *sum += rows,
                None => self.rejected.push((reason.clone(), *rows)),
            }
        }
        self
    }

    /// Rows set aside, whatever the reason.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|(_, rows)| rows).sum()
    }
}

/// What a successful attempt gives.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskResult {
    /// Its tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableRef>,
    /// Where its rows went.
    #[serde(default)]
    pub counts: Counts,
    /// Checks that did not hold but only warn, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Small values for other tasks.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// The attempt that all of this is from, when the task took over an earlier result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<Box<Reused>>,
    /// Of a mapped task that did not go, the items that its result is of. Its outputs are then
    /// lists of what those left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsMade>,
}

/// The items that a result was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemsMade {
    /// How many there were.
    pub items: u32,
    /// How many of them failed.
    pub failed: u32,
}

/// Where and when a result was made that is used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// The run.
    pub run: RunId,
    /// When the attempt began.
    pub at: Timestamp,
}

/// The class of a failure, which decides on retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A command ended with a code other than 0.
    Exit,
    /// A command was ended by a signal from outside.
    Signal,
    /// The attempt took longer than its timeout.
    Timeout,
    /// A passing fault of another system outlasted the retries inside the attempt.
    Transient,
    /// Another system said no.
    Refused,
    /// The DAG, a connection or the environment is wrong.
    Misconfigured,
    /// The data are wrong.
    Data,
    /// A check with `on_fail: stop` did not hold.
    Check,
    /// An expression has no value.
    Expression,
    /// This machine is in trouble.
    Internal,
    /// The server ended while the attempt ran, and its outcome cannot be known.
    Lost,
    /// A member of the group, or an item of the list, failed.
    Inside,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Exit,
        Self::Signal,
        Self::Timeout,
        Self::Transient,
        Self::Refused,
        Self::Misconfigured,
        Self::Data,
        Self::Check,
        Self::Expression,
        Self::Internal,
        Self::Lost,
        Self::Inside,
    ];

    /// Its code, under which the manual explains it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Exit => "TM1001",
            Self::Signal => "TM1002",
            Self::Timeout => "TM1003",
            Self::Transient => "TM1004",
            Self::Refused => "TM1005",
            Self::Misconfigured => "TM1006",
            Self::Data => "TM1007",
            Self::Check => "TM1008",
            Self::Expression => "TM1009",
            Self::Internal => "TM1010",
            Self::Lost => "TM1011",
            Self::Inside => "TM1012",
        }
    }

    /// Whether another try can help. What another system refused, and what the author got wrong,
    /// stays refused and wrong.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Refused | Self::Misconfigured | Self::Expression)
    }
}

/// Why an attempt failed: the thing, the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// The class.
    pub kind: FailureKind,
    /// What is wrong, at most [`ERROR_CHARS_MAX`] characters.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// How long the other side asked not to be bothered again, counted from the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

/// Longer error messages are cut, so that a run's records stay small.
pub const ERROR_CHARS_MAX: usize = 1_000;

impl TaskError {
    /// An error with a message, cut to its limit.
    pub fn new(kind: FailureKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: cut(message.as_ref()), place: None, help: None, retry_after: None }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: Option<String>) -> Self {
        self.place = place.map(|text| cut(&text));
        self
    }

    /// Adds how long the other side asked to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The wait that the other side asked for, in words, if it asked for one.
    pub fn asked_wait(&self) -> Option<String> {
        let wait = self.retry_after.filter(|wait| !wait.is_zero())?;
        let wait = crate::time::human_duration(wait);
        Some(format!("the other side asked to wait {}", wait.strip_suffix(" 0 s").unwrap_or(&wait)))
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help.map(|text| cut(&text));
        self
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl std::fmt::Display for TaskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        if let Some(asked) = self.asked_wait() {
            write!(f, "; {asked}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}
