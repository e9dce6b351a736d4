//! From a stream to chunks of whole records.
//!
//! Where a chunk ends depends on the bytes alone: on neither the number of threads nor the pieces
//! in which a stream arrives. So the batches of a source are the same on every machine.

use std::io::{self, Read};

use memchr::{memchr, memrchr2};

use super::index::quote_of;
use super::marks::Marks;
use super::scan::Dialect;
use crate::files::window::ROW_BYTES_MAX;

/// Bytes of a chunk, unless a row is longer.
pub(crate) const CHUNK_BYTES: usize = 2 << 20;

/// Cuts a stream into chunks.
pub(crate) struct Splitter<R> {
    stream: R,
    dialect: Dialect,
    chunk_bytes: usize,
    /// Read, and beyond the last chunk.
    rest: Vec<u8>,
    ended: bool,
    failed: Option<io::Error>,
}

/// Why there is no chunk.
#[derive(Debug)]
pub(crate) enum SplitError {
    /// The stream broke off.
    Io(io::Error),
    /// The row after so many lines does not end within the limit.
    TooLong,
}

impl<R: Read> Splitter<R> {
    pub(crate) fn new(stream: R, dialect: Dialect, chunk_bytes: usize) -> Self {
        Self { stream, dialect, chunk_bytes, rest: Vec::new(), ended: false, failed: None }
    }

    /// The next chunk, in the memory of `buffer`; `None` at the end.
    pub(crate) fn next(&mut self, mut buffer: Vec<u8>) -> Result<Option<Vec<u8>>, SplitError> {
        buffer.clear();
        buffer.append(&mut self.rest);
        let mut wanted = self.chunk_bytes.max(buffer.len());
        loop {
            self.fill(&mut buffer, wanted);
            if self.ended {
                return Ok((!buffer.is_empty()).then_some(buffer));
            }
            if let Some(end) = last_end(&buffer, self.dialect) {
                self.rest.extend_from_slice(&buffer[end..]);
                buffer.truncate(end);
                return Ok(Some(buffer));
            }
            if let Some(error) = self.failed.take() {
                return Err(SplitError::Io(error));
            }
            if buffer.len() >= ROW_BYTES_MAX {
                return Err(SplitError::TooLong);
            }
            wanted = (buffer.len() * 2).min(ROW_BYTES_MAX);
        }
    }

    /// Reads until there are so many bytes, or no more.
    fn fill(&mut self, buffer: &mut Vec<u8>, wanted: usize) {
        let missing = wanted - buffer.len();
        if self.ended || self.failed.is_some() || missing == 0 {
            return;
        }
        buffer.reserve(missing);
        match self.stream.by_ref().take(missing as u64).read_to_end(buffer) {
            Ok(read) => self.ended = read < missing,
            // What came before stands in the buffer.
            Err(error) => self.failed = Some(error),
        }
    }
}

/// The end of the first record, with its line end and the blank lines before it; the end of the
/// text if it goes on to there.
pub(crate) fn first_end(bytes: &[u8], dialect: Dialect) -> usize {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    let mut ends = Ends::new(&bytes[blank..], dialect);
    ends.next().map_or(bytes.len(), |end| blank + end)
}

/// The end of the last record that is known to be over, since more may follow.
fn last_end(bytes: &[u8], dialect: Dialect) -> Option<usize> {
    // Whether a `\n` follows cannot be told.
    let sure = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let quotes = quote_of(dialect).is_some_and(|quote| memchr(quote, bytes).is_some());
    if quotes {
        Ends::new(bytes, dialect).take_while(|end| *end <= sure.len()).last()
    } else {
        memrchr2(b'\n', b'\r', sure).map(|at| at + 1)
    }
}

/// The ends of records; blank lines count as such.
struct Ends<'a> {
    bytes: &'a [u8],
    dialect: Dialect,
    quote: Option<u8>,
    marks: Marks<'a, 3>,
    /// The start of the record at hand.
    start: usize,
}

impl<'a> Ends<'a> {
    fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        let quote = quote_of(dialect);
        let marks = Marks::new(bytes, [quote.unwrap_or(b'\n'), b'\n', b'\r'], None);
        Self { bytes, dialect, quote, marks, start: 0 }
    }

    /// Whether the quote at `at` opens a cell.
    fn opens(&self, at: usize) -> bool {
        let before = &self.bytes[self.start..at];
        let spaces = |byte: &&u8| {
            self.dialect.trim && matches!(byte, b' ' | b'\t') && **byte != self.dialect.delimiter
        };
        let spaces = before.iter().rev().take_while(spaces).count();
        before[..before.len() - spaces].last().is_none_or(|byte| *byte == self.dialect.delimiter)
    }

    /// Goes to the quote that closes a cell.
    fn close(&mut self, quote: u8) -> Option<()> {
        loop {
            let at = self.marks.next();
            if *self.bytes.get(at)? == quote {
                if self.bytes.get(at + 1) != Some(&quote) {
                    return Some(());
                }
                self.marks.next();
            }
        }
    }
}

impl Iterator for Ends<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let at = self.marks.next();
            let byte = *self.bytes.get(at)?;
            if self.quote == Some(byte) {
                if self.opens(at) {
                    self.close(byte)?;
                }
                continue;
            }
            self.start = at + 1;
            if byte == b'\r' && self.bytes.get(at + 1) == Some(&b'\n') {
                self.marks.next();
                self.start += 1;
            }
            return Some(self.start);
        }
    }
}
