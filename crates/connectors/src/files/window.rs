//! A sliding view of a stream, of which whole rows are taken.

use std::io::{self, Read};

/// Bytes of a stream that are in memory: what was read and not yet taken. Holds at least the row
/// at hand in one piece, so that a row can be looked at without copying.
pub(crate) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    ended: bool,
}

/// A row may not be longer than this.
pub(crate) const ROW_BYTES_MAX: usize = 16 << 20;

const BUFFER_BYTES: usize = 256 << 10;

/// What [`Window::more`] could do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// There is more to see, or the stream has ended.
    Seen,
    /// The row at hand is longer than [`ROW_BYTES_MAX`].
    TooLong,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, filled: 0, ended: false }
    }

    /// Starts again with another stream, in the same memory.
    pub(crate) fn restart(&mut self, input: R) {
        self.input = input;
        (self.start, self.filled, self.ended) = (0, 0, false);
    }

    /// What is there, and whether it reaches to the end of the stream.
    pub(crate) fn view(&self) -> (&[u8], bool) {
        (&self.buffer[self.start..self.filled], self.ended)
    }

    /// Takes `length` bytes off the front.
    pub(crate) fn take(&mut self, length: usize) {
        self.start += length;
    }

    /// The `length` bytes that were taken last.
    pub(crate) fn taken(&self, length: usize) -> &[u8] {
        &self.buffer[self.start - length..self.start]
    }

    /// Reads on, so that the view grows or reaches the end.
    pub(crate) fn more(&mut self) -> io::Result<More> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.start = 0;
        }
        if self.filled >= ROW_BYTES_MAX {
            return Ok(More::TooLong);
        }
        if self.filled * 2 > self.buffer.len() || self.buffer.is_empty() {
            let larger = (self.buffer.len() * 2).clamp(BUFFER_BYTES, ROW_BYTES_MAX + BUFFER_BYTES);
            self.buffer.resize(larger, 0);
        }
        // Filled up as far as possible: unpacking gives small pieces, and every look at the view
        // starts at the front of the row at hand.
        while self.filled < self.buffer.len() && !self.ended {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(More::Seen)
    }
}
