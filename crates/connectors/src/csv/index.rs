//! Where the cells of a chunk are: found in one pass over its bytes, eight at a time.
//!
//! A chunk holds whole records. What is well shaped is indexed; a record that is not (too many or
//! too few cells, quotes gone wrong, no UTF-8) is only told where it is, and is for the careful
//! [`super::scan`] to judge.

use std::borrow::Cow;

use super::scan::Dialect;

/// The cells of a chunk.
pub(crate) struct Index<'a> {
    bytes: &'a [u8],
    /// `bytes`, if all of them are text.
    text: Option<&'a str>,
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

/// A chunk is far shorter than 2 GiB.
const QUOTED: u32 = 1 << 31;

impl<'a> Index<'a> {
    /// Indexes a chunk of records of `width` cells.
    pub(crate) fn of(bytes: &'a [u8], dialect: Dialect, width: usize) -> Self {
        let mut index = Self {
            bytes,
            text: std::str::from_utf8(bytes).ok(),
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

    /// Gives the cells of a column to `see`: the text, and whether it stood in quotes.
    pub(crate) fn column(&self, column: usize, mut see: impl FnMut(&str, bool)) {
        for (record, start) in self.records.iter().enumerate() {
            let at = record * self.width + column;
            let start = match column {
                0 => start.byte,
                _ => (self.ends[at - 1] & !QUOTED) + 1,
            };
            let end = self.ends[at];
            let range = start as usize..(end & !QUOTED) as usize;
            // Records that are no text are odd, and delimiters are whole characters.
            let text = match self.text {
                Some(text) => text.get(range),
                None => std::str::from_utf8(&self.bytes[range]).ok(),
            }
            .unwrap_or_default();
            if end & QUOTED == 0 {
                see(if self.dialect.trim { text.trim() } else { text }, false);
            } else {
                let text = self.unquote(text);
                see(if self.dialect.trim { text.trim() } else { &text }, true);
            }
        }
    }

    /// What stands between the quotes, with doubled ones made single.
    fn unquote<'t>(&self, cell: &'t str) -> Cow<'t, str> {
        let Some(quote) = self.dialect.quote.map(char::from) else { return Cow::Borrowed(cell) };
        let cell = if self.dialect.trim { cell.trim_matches([' ', '\t']) } else { cell };
        let cell = cell.strip_prefix(quote).unwrap_or(cell);
        let cell = cell.strip_suffix(quote).unwrap_or(cell);
        match memchr::memchr(quote as u8, cell.as_bytes()) {
            None => Cow::Borrowed(cell),
            Some(_) => Cow::Owned(cell.replace(&format!("{quote}{quote}"), &quote.to_string())),
        }
    }

    fn scan(&mut self) {
        let bytes = self.bytes;
        let quote = quote_of(self.dialect);
        let mut marks = Marks::new(bytes, self.dialect.delimiter, quote);
        let mut row = RowSoFar { start: 0, line: 0, cell: 0, quoted: 0, first: 0, odd: false };
        let mut line: u32 = 0;
        loop {
            let at = marks.next();
            let Some(&byte) = bytes.get(at) else { break };
            if byte == self.dialect.delimiter {
                self.ends.push(at as u32 | row.quoted);
                (row.cell, row.quoted) = (at + 1, 0);
            } else if byte == b'\n' || byte == b'\r' {
                let two = byte == b'\r' && bytes.get(at + 1) == Some(&b'\n');
                if two {
                    marks.next();
                }
                line += 1;
                if at > row.start {
                    self.end_row(&row, at);
                }
                let start = at + 1 + usize::from(two);
                row = RowSoFar {
                    start,
                    line,
                    cell: start,
                    quoted: 0,
                    first: self.ends.len(),
                    odd: false,
                };
            } else if self.opens(row.cell, at) {
                row.quoted = QUOTED;
                let closed = skip_quoted(bytes, &mut marks, byte, &mut line);
                row.odd |= closed.is_none_or(|after| !self.ends_cell(after));
            }
        }
        if row.start < bytes.len() {
            line += 1;
            self.end_row(&row, bytes.len());
        }
        self.lines = u64::from(line);
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
        let text = self.text.is_some() || std::str::from_utf8(&self.bytes[row.start..end]).is_ok();
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
    /// The start of the cell at hand, and whether it is in quotes.
    cell: usize,
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

/// Goes to the quote that closes a cell, counting lines; gives the position after it.
fn skip_quoted(bytes: &[u8], marks: &mut Marks<'_>, quote: u8, line: &mut u32) -> Option<usize> {
    loop {
        let at = marks.next();
        let byte = *bytes.get(at)?;
        if byte == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return Some(at + 1);
            }
            marks.next();
        }
        *line += u32::from(byte == b'\n');
    }
}

/// Finds the bytes that mean something: delimiters, quotes, line ends.
pub(crate) struct Marks<'a> {
    bytes: &'a [u8],
    delimiter: u64,
    quote: u64,
    /// The word at hand, and its marks that were not given yet: the high bit of each such byte.
    word: usize,
    left: u64,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = ONES * 0x7f;
const HIGH: u64 = ONES * 0x80;

impl<'a> Marks<'a> {
    pub(crate) fn new(bytes: &'a [u8], delimiter: u8, quote: Option<u8>) -> Self {
        let quote = quote.unwrap_or(b'\n');
        let (delimiter, quote) = (ONES * u64::from(delimiter), ONES * u64::from(quote));
        let mut marks = Self { bytes, delimiter, quote, word: 0, left: 0 };
        marks.left = marks.look(0);
        marks
    }

    /// The position of the next mark; the length of the text when there are no more.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        while self.left == 0 {
            if self.word + 8 >= self.bytes.len() {
                return self.bytes.len();
            }
            self.word += 8;
            self.left = self.look(self.word);
        }
        let at = self.word + self.left.trailing_zeros() as usize / 8;
        self.left &= self.left - 1;
        at
    }

    #[inline]
    fn look(&self, at: usize) -> u64 {
        match self.bytes[at..].first_chunk::<8>() {
            Some(word) => self.marks_of(u64::from_le_bytes(*word)),
            None => {
                let rest = &self.bytes[at..];
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                self.marks_of(u64::from_le_bytes(word)) & !(u64::MAX << (8 * rest.len()))
            }
        }
    }

    /// The high bit of each byte that is a mark, exactly.
    #[inline]
    fn marks_of(&self, word: u64) -> u64 {
        // Of a byte that is zero, neither itself nor its low bits plus 0x7f reach the high bit.
        let differs = |byte: u64| {
            let x = word ^ byte;
            ((x & LOW) + LOW) | x
        };
        let newline = differs(ONES * u64::from(b'\n'));
        let no_mark = newline
            & differs(ONES * u64::from(b'\r'))
            & differs(self.delimiter)
            & differs(self.quote);
        !no_mark & HIGH
    }
}
