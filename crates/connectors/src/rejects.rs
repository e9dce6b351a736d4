//! Rows that a source could not read: as errors, or set aside.

use tidemill_connector::{ConnectorError, RejectedRow};

use crate::columns::clip;

/// This many rows set aside without a single good one between them are an error: the settings
/// are wrong, not the rows, and the list would not fit into memory.
const REJECTS_IN_A_ROW_MAX: usize = 100_000;
/// A batch is cut short when this many rows wait to be collected.
const REJECTS_WAITING_MAX: usize = 10_000;
/// Characters of a row that are kept.
const ROW_CHARS_MAX: usize = 2_000;

/// Why a row is bad, apart from its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    /// As a word that can be counted.
    pub(crate) reason: &'static str,
    /// As a sentence.
    pub(crate) message: String,
    /// The column to blame, if one is.
    pub(crate) column: Option<String>,
    /// The value to blame, if one is.
    pub(crate) value: Option<String>,
}

impl Reject {
    /// The error that names file, line and column.
    pub(crate) fn into_error(self, source: &str, line: u64) -> ConnectorError {
        ConnectorError::data(self.message).at(match self.column {
            Some(column) => format!("{source}:{line}, column {column}"),
            None => format!("{source}:{line}"),
        })
    }
}

/// Rows set aside and not yet collected.
#[derive(Debug, Default)]
pub(crate) struct Rejects(Vec<RejectedRow>);

impl Rejects {
    /// Sets a row aside.
    pub(crate) fn push(&mut self, reject: Reject, source: &str, line: u64, raw: &[u8]) {
        self.add(rejected(reject, source, line, raw));
    }

    /// Sets a row aside that was described already.
    pub(crate) fn add(&mut self, row: RejectedRow) {
        self.0.push(row);
    }

    /// Whether they must be collected before more rows are read.
    pub(crate) fn are_due(&self, good_rows: usize) -> Result<bool, ConnectorError> {
        if self.0.len() >= REJECTS_IN_A_ROW_MAX {
            let last = self.0.last().map(|r| format!("{}:{}", r.source, r.line));
            return Err(ConnectorError::data(format!(
                "{REJECTS_IN_A_ROW_MAX} rows in a row are bad"
            ))
            .at(last.unwrap_or_default())
            .help("look at the settings: the delimiter, the names and types of columns"));
        }
        Ok(good_rows > 0 && self.0.len() >= REJECTS_WAITING_MAX)
    }

    /// The rows set aside since the last call.
    pub(crate) fn take(&mut self) -> Vec<RejectedRow> {
        std::mem::take(&mut self.0)
    }
}

/// The description of a row that is set aside.
pub(crate) fn rejected(reject: Reject, source: &str, line: u64, raw: &[u8]) -> RejectedRow {
    // Four bytes make at most one character.
    let raw = &raw[..raw.len().min(ROW_CHARS_MAX * 4)];
    RejectedRow {
        reason: reject.reason.to_owned(),
        source: source.to_owned(),
        line,
        column: reject.column,
        value: reject.value,
        row: clip(&String::from_utf8_lossy(raw), ROW_CHARS_MAX),
    }
}
