//! What may go wrong at the edge, in the classes that decide what happens next.

use std::fmt;
use std::time::Duration;

/// The class of a [`ConnectorError`]. It alone decides whether the executor tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A fault that may pass by itself: a connection reset, a 503, a lock. The call may be
    /// repeated on the same source or sink; `after` is what the other side asked for.
    Retryable {
        /// How long the other side asked us to wait (`Retry-After`), if it did.
        after: Option<Duration>,
    },
    /// The other side understood and said no: a 403, a constraint. Trying again changes nothing.
    Refused,
    /// The DAG, the connection or the environment is wrong: a missing file, an unknown column.
    Misconfigured,
    /// The data are wrong: a value that does not parse, a check that does not hold.
    Data,
    /// This machine is in trouble: disk full, out of memory, a broken file of our own.
    Internal,
    /// The attempt was cancelled while the call was under way.
    Cancelled,
}

/// An error of a connector or a transform: the thing, the place and the remedy.
///
/// The message is lowercase, without a full stop, with backticks around what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorError {
    /// What may happen next.
    pub kind: ErrorKind,
    /// What is wrong, in one line.
    pub message: String,
    /// Where, as precisely as is known: `orders.csv:17, column price`.
    pub place: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// The part of the settings that is to blame, if one is known.
    pub blame: Option<Box<Blame>>,
}

/// A part of settings: what an error is about, for those who can show the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blame {
    /// Keys, and positions in lists, from the top of the settings on.
    pub keys: Vec<String>,
    /// A line and a column in the text that stands there, both from 1.
    pub line_column: Option<(u64, u64)>,
    /// The column that is named and is not there, if that is what is wrong.
    pub missing: Option<String>,
}

impl ConnectorError {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None, blame: None }
    }

    /// A passing fault; the call may be repeated.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retryable { after: None }, message)
    }

    /// A passing fault, with the wait that the other side asked for.
    pub fn retry_after(message: impl Into<String>, after: Duration) -> Self {
        Self::new(ErrorKind::Retryable { after: Some(after) }, message)
    }

    /// The other side said no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// The DAG, the connection or the environment is wrong.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misconfigured, message)
    }

    /// The data are wrong.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// This machine is in trouble.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The attempt was cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Adds the place in the text of a setting, as a query: line and column, from 1.
    #[must_use]
    pub fn at_line(mut self, line: u64, column: u64) -> Self {
        self.blame.get_or_insert_default().line_column = Some((line, column));
        self.at(format!("line {line}, column {column}"))
    }

    /// Blames the setting under these keys. What was blamed before is below them.
    #[must_use]
    pub fn blame(mut self, keys: &[&str]) -> Self {
        let blame = self.blame.get_or_insert_default();
        blame.keys.splice(..0, keys.iter().map(ToString::to_string));
        self
    }

    /// Says that a column which is named is not there.
    #[must_use]
    pub fn missing(mut self, column: &str) -> Self {
        self.blame.get_or_insert_default().missing = Some(column.to_owned());
        self
    }

    /// Puts `part`, which is where the error came up, before its place.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        let place = match &self.place {
            Some(place) => format!("{part}, {place}"),
            None => part.to_owned(),
        };
        self.at(place)
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// An IO error on `path`, classified: a missing file is a misconfiguration, a full disk is
    /// trouble of this machine, an interrupted call may be repeated.
    pub fn io(what: &str, path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound | Io::PermissionDenied | Io::NotADirectory | Io::IsADirectory => {
                ErrorKind::Misconfigured
            }
            Io::Interrupted | Io::WouldBlock | Io::TimedOut => ErrorKind::Retryable { after: None },
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Data,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, format!("cannot {what} `{}`: {error}", path.as_ref().display()))
    }
}

impl fmt::Display for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectorError {}

impl From<arrow::error::ArrowError> for ConnectorError {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        match error {
            A::IoError(_, e) => Self::internal(format!("cannot read or write a table: {e}")),
            A::MemoryError(e) => Self::internal(format!("out of memory: {e}")),
            other => Self::data(other.to_string()),
        }
    }
}
