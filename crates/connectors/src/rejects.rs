//! Rows that a source could not read: as errors, or set aside.

use tidemill_connector::{ConnectorError, RejectedRow};

use crate::columns::clip;
use crate::files::window::ROW_BYTES_MAX;

/// This many rows set aside without a single good one between them are an error: the settings
/// are wrong, not the rows, and the list would not fit into memory.
const REJECTS_IN_A_ROW_MAX: usize = 100_000;
/// A batch is cut short when this many rows wait to be collected.
const REJECTS_WAITING_MAX: usize = 10_000;
/// Characters of a row that are kept.
const ROW_CHARS_MAX: usize = 2_000;

/// The limits of a source that sets rows aside, as the documentation has them.
pub(crate) fn row_limits() -> Vec<String> {
    let mib = ROW_BYTES_MAX >> 20;
    vec![
        format!(
            "A row has at most {mib} MiB, line ends inside of quotes included. A longer one ends the \
             task whatever `on_bad_row` says, since where the next row begins is not known."
        ),
        format!(
            "{REJECTS_IN_A_ROW_MAX} bad rows without a good one between them end the task as well: \
             then the settings are wrong, not the rows."
        ),
        format!("Of a bad row, `row` keeps {ROW_CHARS_MAX} characters."),
    ]
}

/// Why a row is bad, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    TooFewFields,
    TooManyFields,
    BadQuote,
    OpenQuote,
    BadEncoding,
    BadValue,
    BadJson,
    NoObject,
    DuplicateKey,
    /// What was found wrong with the row is not found again; no file is known that does it.
    BadRow,
}

impl Reason {
    /// Those of rows of separated values.
    pub(crate) const CSV: &[Self] = &[
        Self::TooFewFields,
        Self::TooManyFields,
        Self::BadQuote,
        Self::OpenQuote,
        Self::BadEncoding,
        Self::BadValue,
    ];
    /// Those of lines of JSON.
    pub(crate) const JSONL: &[Self] =
        &[Self::BadJson, Self::NoObject, Self::DuplicateKey, Self::BadEncoding, Self::BadValue];

    /// As a word that can be counted.
    pub(crate) const fn word(self) -> &'static str {
        self.said().0
    }

    /// The word, and what it means.
    const fn said(self) -> (&'static str, &'static str) {
        match self {
            Self::TooFewFields => {
                ("too_few_fields", "the row has fewer cells than there are columns")
            }
            Self::TooManyFields => {
                ("too_many_fields", "the row has more cells than there are columns")
            }
            Self::BadQuote => ("bad_quote", "text follows the quote that closes a cell"),
            Self::OpenQuote => (
                "open_quote",
                "a quote is opened and never closed, so the row goes on to the end of the file",
            ),
            Self::BadEncoding => ("bad_encoding", "a text is no UTF-8, which the file is read as"),
            Self::BadValue => ("bad_value", "the column's type does not read the value"),
            Self::BadJson => ("bad_json", "the line is no JSON"),
            Self::NoObject => ("no_object", "the line is JSON, but no object"),
            Self::DuplicateKey => (
                "duplicate_key",
                "the object has the key of a column twice, or two keys of that name",
            ),
            Self::BadRow => ("bad_row", "the row cannot be read"),
        }
    }

    /// Words and what they mean, as the documentation has them.
    pub(crate) fn table(reasons: &[Self]) -> serde_json::Map<String, serde_json::Value> {
        reasons
            .iter()
            .map(|it| it.said())
            .map(|(word, about)| (word.to_owned(), about.into()))
            .collect()
    }
}

/// Why a row is bad, apart from its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    /// As a word.
    pub(crate) reason: Reason,
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
        reason: reject.reason.word().to_owned(),
        source: source.to_owned(),
        line,
        column: reject.column,
        value: reject.value,
        row: clip(&String::from_utf8_lossy(raw), ROW_CHARS_MAX),
    }
}
