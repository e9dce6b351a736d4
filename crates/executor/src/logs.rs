//! What attempts say: every byte of a command's output, and the executor's own notes, with times.
//!
//! A log is two files: `.log` holds the bytes, `.idx` says for each piece where it is, when it came
//! and from which stream. So the output can be had byte for byte, and be shown line by line.
//! A log that grows past its limit keeps its head and its tail, and says how much is missing.

mod read;
mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;
use tidemill_model::{AttemptId, RunId, Timestamp};

pub use read::{LogPage, latest_attempt, pieces, raw, read};
pub use write::{AttemptLog, LogLimits};

/// Where a piece of a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// The executor.
    Tidemill,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When it came.
    pub at: Timestamp,
    /// From where.
    pub stream: Stream,
    /// The text, with replacement characters where it is no UTF-8.
    pub text: String,
    /// The piece it is part of: a place to read from.
    pub piece: u64,
}

/// The log of an attempt: `logs/DAG/NUMBER/TASK.ATTEMPT.log`, and `.idx` beside it.
pub fn log_path(logs: &Path, run: &RunId, task: &str, attempt: u32) -> PathBuf {
    logs.join(run.dag.as_str()).join(run.number.to_string()).join(format!("{task}.{attempt}.log"))
}

/// The log of an attempt by its id.
pub fn path_of(logs: &Path, id: &AttemptId, task: &str) -> PathBuf {
    log_path(logs, &id.run, task, id.attempt)
}

/// An entry of the index: 24 bytes, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Where the piece begins in the log.
    offset: u64,
    /// When it came, in microseconds since 1970.
    micros: i64,
    /// Its length in bytes.
    len: u32,
    /// 0 stdout, 1 stderr, 2 the executor; 255: the log ends here, and `offset` is the number of
    /// bytes that were not kept.
    kind: u8,
}

const ENTRY_BYTES: usize = 24;
const END: u8 = 255;

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.micros.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.len.to_le_bytes());
        bytes[20] = self.kind;
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            offset: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            micros: i64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?),
            len: u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?),
            kind: *bytes.get(20)?,
        })
    }

    fn stream(self) -> Option<Stream> {
        match self.kind {
            0 => Some(Stream::Stdout),
            1 => Some(Stream::Stderr),
            2 => Some(Stream::Tidemill),
            _ => None,
        }
    }
}
