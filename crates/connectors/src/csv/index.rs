//! Where the cells of a chunk are: found in one pass over its bytes.
//!
//! A chunk holds whole records. What is well shaped is indexed; a record that is not (too many or
//! too few cells, quotes gone wrong, no UTF-8) is only told where it is, and is for the careful
//! [`super::scan`] to judge.

use std::borrow::Cow;
use std::ops::Range;

use super::marks::Marks;
use super::scan::Dialect;

/// The cells of a chunk.
pub(crate) struct Index<'a> {
    bytes: &'a [u8],
    /// Whether all of them are UTF-8.
    is_text: bool,
    dialect: Dialect,
    /// Cells of a record.
    width: usize,
    /// The well-shaped records.
    records: Vec<Start>,
    /// The ends of their cells, `width` for each; [`QUOTED`] is set where a cell is in quotes.
    /// A cell starts where its record does, or after the delimiter that ends the one before it.
    ends: Vec<u32>,
    odd: Vec<Odd>,
    /// Lines of the chunk.
    lines: u64,
}

/// Where a record starts: the byte, and the line from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    byte: u32,
    line: u32,
}

/// A record that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Odd {
    /// The records indexed before it.
    pub(crate) after: usize,
    start: Start,
}

/// A chunk is far shorter than 1 GiB, so that the end of a cell leaves room for two signs: that it
/// is in quotes, and that quotes within it are doubled.
const QUOTED: u32 = 1 << 31;
const DOUBLED: u32 = 1 << 30;
const POSITION: u32 = DOUBLED - 1;

impl<'a> Index<'a> {
    /// Indexes a chunk of records of `width` cells.
    pub(crate) fn of(bytes: &'a [u8], dialect: Dialect, width: usize) -> Self {
        let mut index = Self {
            bytes,
            // Most are plain ASCII, which is seen several times faster.
            is_text: bytes.is_ascii() || std::str::from_utf8(bytes).is_ok(),
            dialect,
            width,
            records: Vec::new(),
            ends: Vec::with_capacity(bytes.len() / 6),
            odd: Vec::new(),
            lines: 0,
        };
        index.scan();
        index
    }

    /// Well-shaped records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Lines of the chunk.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// The records that are not well shaped, in order.
    pub(crate) fn odd(&self) -> &[Odd] {
        &self.odd
    }

    /// The bytes from a well-shaped record on, and its line from 0.
    pub(crate) fn record(&self, record: usize) -> (&'a [u8], u64) {
        self.from(self.records[record])
    }

    /// The bytes from an odd record on, and its line from 0.
    pub(crate) fn odd_record(&self, odd: &Odd) -> (&'a [u8], u64) {
        self.from(odd.start)
    }

    fn from(&self, start: Start) -> (&'a [u8], u64) {
        (&self.bytes[start.byte as usize..], u64::from(start.line))
    }

    /// Gives the cells of a column of some records to `see`: the text, which is UTF-8, and whether
    /// it stood in quotes.
    #[inline]
    pub(crate) fn column(
        &self,
        column: usize,
        records: Range<usize>,
        mut see: impl FnMut(&[u8], bool),
    ) {
        let ends = &self.ends[records.start * self.width..records.end * self.width];
        for (start, ends) in self.records[records].iter().zip(ends.chunks_exact(self.width)) {
            let end = ends[column];
            let start = match column {
                0 => start.byte,
                _ => (ends[column - 1] & POSITION) + 1,
            };
            let range = start as usize..(end & POSITION) as usize;
            // Records that are no text are odd, and delimiters are whole characters.
            let text = self.bytes.get(range).unwrap_or_default();
            let is_quoted = end & QUOTED != 0;
            let unquoted;
            let text = if is_quoted {
                unquoted = self.unquote(text, end & DOUBLED != 0);
                &unquoted
            } else {
                text
            };
            // Called in one place, so that the compiler takes it into the loop.
            see(self.trimmed(text), is_quoted);
        }
    }

    /// A cell without the white space around it, if that is to go.
    fn trimmed<'t>(&self, cell: &'t [u8]) -> &'t [u8] {
        if !self.dialect.trim {
            return cell;
        }
        std::str::from_utf8(cell).map_or(cell, |text| text.trim().as_bytes())
    }

    /// What stands between the quotes, with doubled ones made single.
    fn unquote<'t>(&self, cell: &'t [u8], doubled: bool) -> Cow<'t, [u8]> {
        let mut cell = cell;
        if self.dialect.trim {
            while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = cell {
                cell = rest;
            }
        }
        let inner = cell.get(1..cell.len().saturating_sub(1)).unwrap_or_default();
        match self.dialect.quote.filter(|_| doubled) {
            None => Cow::Borrowed(inner),
            Some(quote) => {
                let mut single = Vec::with_capacity(inner.len());
                let mut bytes = inner.iter();
                while let Some(byte) = bytes.next() {
                    single.push(*byte);
                    if *byte == quote {
                        // Its twin.
                        bytes.next();
                    }
                }
                Cow::Owned(single)
            }
        }
    }

    fn scan(&mut self) {
        let bytes = self.bytes;
        let stops = [b'\n', b'\r', quote_of(self.dialect).unwrap_or(b'\n')];
        let mut marks = Marks::new(bytes, stops, Some(self.dialect.delimiter));
        let mut row = RowSoFar { start: 0, line: 0, quoted: 0, first: 0, odd: false };
        let mut line: u32 = 0;
        loop {
            let cell = self.ends.len();
            let at = marks.next_after(|at| self.ends.push(at as u32));
            if let Some(end) = self.ends.get_mut(cell) {
                *end |= std::mem::take(&mut row.quoted);
            }
            let Some(&byte) = bytes.get(at) else { break };
            if byte == b'\n' || byte == b'\r' {
                let two = byte == b'\r' && bytes.get(at + 1) == Some(&b'\n');
                if two {
                    marks.next();
                }
                line += 1;
                if at > row.start {
                    self.end_row(&row, at);
                }
                let start = at + 1 + usize::from(two);
                row = RowSoFar { start, line, quoted: 0, first: self.ends.len(), odd: false };
            } else if self.opens(self.cell_start(&row), at) {
                row.quoted = QUOTED;
                match skip_quoted(bytes, &mut marks, byte, &mut line) {
                    Some((after, doubled)) => {
                        row.quoted |= if doubled { DOUBLED } else { 0 };
                        row.odd |= !self.ends_cell(after);
                    }
                    None => row.odd = true,
                }
            }
        }
        if row.start < bytes.len() {
            line += 1;
            self.end_row(&row, bytes.len());
        }
        self.lines = u64::from(line);
    }

    /// Where the cell at hand starts.
    fn cell_start(&self, row: &RowSoFar) -> usize {
        self.ends[row.first..].last().map_or(row.start, |end| (end & POSITION) as usize + 1)
    }

    /// Whether a quote at `at` opens the cell that starts at `cell`.
    fn opens(&self, cell: usize, at: usize) -> bool {
        cell == at || (self.dialect.trim && self.bytes[cell..at].iter().all(|b| space(*b)))
    }

    /// Whether the cell is over where its quote was closed.
    fn ends_cell(&self, after: usize) -> bool {
        let delimiter = self.dialect.delimiter;
        let mut rest = &self.bytes[after..];
        while self.dialect.trim
            && let [first, more @ ..] = rest
            && space(*first)
            && *first != delimiter
        {
            rest = more;
        }
        rest.first().is_none_or(|b| *b == delimiter || matches!(b, b'\n' | b'\r'))
    }

    fn end_row(&mut self, row: &RowSoFar, end: usize) {
        self.ends.push(end as u32 | row.quoted);
        let start = Start { byte: row.start as u32, line: row.line };
        let text = self.is_text || std::str::from_utf8(&self.bytes[row.start..end]).is_ok();
        if row.odd || self.ends.len() - row.first != self.width || !text {
            self.ends.truncate(row.first);
            self.odd.push(Odd { after: self.records.len(), start });
        } else {
            self.records.push(start);
        }
    }
}

struct RowSoFar {
    start: usize,
    line: u32,
    /// Whether the cell at hand is in quotes.
    quoted: u32,
    /// Where the ends of its cells begin.
    first: usize,
    odd: bool,
}

/// The byte that opens quotes, if one can: white space that is dropped never does.
pub(crate) fn quote_of(dialect: Dialect) -> Option<u8> {
    dialect.quote.filter(|quote| !(dialect.trim && space(*quote)))
}

fn space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Goes to the quote that closes a cell, counting lines; gives the position after it,
/// and whether quotes within it are doubled.
fn skip_quoted(
    bytes: &[u8],
    marks: &mut Marks<'_, 3>,
    quote: u8,
    line: &mut u32,
) -> Option<(usize, bool)> {
    let mut doubled = false;
    loop {
        let at = marks.next();
        let byte = *bytes.get(at)?;
        if byte == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return Some((at + 1, doubled));
            }
            marks.next();
            doubled = true;
        }
        *line += u32::from(byte == b'\n');
    }
}
