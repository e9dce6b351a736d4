//! From a stream of text to records.
//!
//! Written by hand, where a library would do, for three reasons: cells of a record are slices of
//! the stream's buffer, so that nothing is copied; a quote that is never closed is noticed, and
//! cannot swallow a file of any size; and the raw row is at hand for the list of bad rows.

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr3};

use crate::files::window::{More, Window};

/// How cells and rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Between cells; ASCII.
    pub(crate) delimiter: u8,
    /// Around cells that hold delimiters or line ends; ASCII; `None` if quotes mean nothing.
    pub(crate) quote: Option<u8>,
    /// Whether white space around cells is dropped.
    pub(crate) trim: bool,
}

/// What is wrong with a record before its values are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Text between a closing quote and the next delimiter.
    TextAfterQuote,
    /// The file ends within quotes.
    OpenQuote,
}

/// One record, valid until the next is read.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// The row as it stands in the file, without its line end.
    pub(crate) raw: &'a [u8],
    /// The line it starts on, from 1.
    pub(crate) line: u64,
    /// What is wrong with it, and in which cell.
    pub(crate) fault: Option<(Fault, usize)>,
    cells: &'a [Cell],
    unescaped: &'a str,
    /// `raw` as text, if it is valid UTF-8.
    text: Option<&'a str>,
    trim: bool,
}

/// Where the text of a cell is.
#[derive(Debug, Clone)]
struct Cell {
    range: Range<usize>,
    /// In `unescaped` rather than in the raw row, because doubled quotes were undone.
    unescaped: bool,
    quoted: bool,
}

impl<'a> Record<'a> {
    /// Number of cells.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether the row is valid UTF-8.
    pub(crate) fn is_text(&self) -> bool {
        self.text.is_some()
    }

    /// The text of a cell, with signs for "unknown" where it is not valid UTF-8.
    pub(crate) fn cell_lossy(&self, index: usize) -> Cow<'a, str> {
        match self.cell(index) {
            Some((text, _)) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(&self.raw[self.cells[index].range.clone()]),
        }
    }

    /// The text of a cell and whether it stood in quotes; `None` if it is not valid UTF-8.
    pub(crate) fn cell(&self, index: usize) -> Option<(&'a str, bool)> {
        let cell = &self.cells[index];
        let from = if cell.unescaped { Some(self.unescaped) } else { self.text };
        let text = match from {
            Some(text) => text.get(cell.range.clone())?,
            None => std::str::from_utf8(&self.raw[cell.range.clone()]).ok()?,
        };
        Some((if self.trim { text.trim() } else { text }, cell.quoted))
    }
}

/// Why no record could be read.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// The stream broke off.
    Io(io::Error),
    /// A row that starts on this line does not end within the limit.
    TooLong {
        /// From 1.
        line: u64,
    },
}

/// Reads records off a stream.
pub(crate) struct Scanner<R> {
    window: Window<R>,
    dialect: Dialect,
    cells: Vec<Cell>,
    unescaped: String,
    fault: Option<(Fault, usize)>,
    /// Bytes that were taken last: blank lines, the record, its line end.
    taken: usize,
    /// The record within them.
    raw: Range<usize>,
    /// The line on which the record starts, and how many lines it takes.
    line: u64,
    lines: u64,
}

/// A look at the bytes in memory.
enum Look {
    /// The record goes on beyond them.
    Short,
    /// Nothing follows.
    End,
    Record {
        /// Blank lines before it.
        blank: Blank,
        /// Its end, from the start of the look.
        end: usize,
        /// The start of what follows.
        next: usize,
        /// Lines that it takes.
        lines: u64,
    },
}

/// Blank lines, which are no records.
#[derive(Clone, Copy)]
struct Blank {
    bytes: usize,
    lines: u64,
}

impl<R: Read> Scanner<R> {
    pub(crate) fn new(input: R, dialect: Dialect) -> Self {
        Self {
            window: Window::new(input),
            dialect,
            cells: Vec::new(),
            unescaped: String::new(),
            fault: None,
            taken: 0,
            raw: 0..0,
            line: 1,
            lines: 0,
        }
    }

    /// Starts again with another stream.
    pub(crate) fn restart(&mut self, input: R) {
        self.window.restart(input);
        (self.line, self.lines, self.taken) = (1, 0, 0);
        self.raw = 0..0;
        self.cells.clear();
    }

    /// Goes to the next record; `false` at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, ScanError> {
        self.line += std::mem::take(&mut self.lines);
        self.raw = 0..0;
        loop {
            match self.look() {
                Look::End => return Ok(false),
                Look::Short => match self.window.more().map_err(ScanError::Io)? {
                    More::Seen => {}
                    More::TooLong => return Err(ScanError::TooLong { line: self.line }),
                },
                Look::Record { blank, end, next, lines } => {
                    self.window.take(next);
                    self.taken = next;
                    self.raw = blank.bytes..end;
                    self.line += blank.lines;
                    self.lines = lines;
                    return Ok(true);
                }
            }
        }
    }

    /// The record at hand, if the last [`Scanner::advance`] found one.
    pub(crate) fn record(&self) -> Record<'_> {
        let raw = &self.window.taken(self.taken)[self.raw.clone()];
        Record {
            raw,
            line: self.line,
            fault: self.fault,
            cells: &self.cells,
            unescaped: &self.unescaped,
            text: std::str::from_utf8(raw).ok(),
            trim: self.dialect.trim,
        }
    }

    fn look(&mut self) -> Look {
        let (bytes, ended) = self.window.view();
        self.cells.clear();
        self.unescaped.clear();
        self.fault = None;
        let Some(blank) = skip_blank_lines(bytes, ended) else { return Look::Short };
        if blank.bytes == bytes.len() {
            return if ended { Look::End } else { Look::Short };
        }
        let mut row = Row {
            bytes: &bytes[blank.bytes..],
            ended,
            dialect: self.dialect,
            cells: &mut self.cells,
            unescaped: &mut self.unescaped,
            fault: &mut self.fault,
            lines: 0,
        };
        match row.scan() {
            None => Look::Short,
            Some((end, next)) => Look::Record {
                blank,
                end: blank.bytes + end,
                next: blank.bytes + next,
                lines: row.lines,
            },
        }
    }
}

/// The blank lines at the front; `None` if it cannot be told yet.
fn skip_blank_lines(bytes: &[u8], ended: bool) -> Option<Blank> {
    let mut blank = Blank { bytes: 0, lines: 0 };
    loop {
        let length = match &bytes[blank.bytes..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r'] if !ended => return None,
            [b'\n' | b'\r', ..] => 1,
            _ => return Some(blank),
        };
        blank.bytes += length;
        blank.lines += 1;
    }
}

/// One row under scan; every step gives `None` when it needs bytes that are not there yet.
struct Row<'a> {
    bytes: &'a [u8],
    ended: bool,
    dialect: Dialect,
    cells: &'a mut Vec<Cell>,
    unescaped: &'a mut String,
    fault: &'a mut Option<(Fault, usize)>,
    lines: u64,
}

impl Row<'_> {
    /// The end of the row and the start of what follows.
    fn scan(&mut self) -> Option<(usize, usize)> {
        let mut at = 0;
        loop {
            at = self.cell(at)?;
            match self.bytes.get(at) {
                Some(&byte) if byte == self.dialect.delimiter => at += 1,
                Some(_) => {
                    let next = self.after_line_end(at)?;
                    self.lines += 1;
                    return Some((at, next));
                }
                None => return Some((at, at)),
            }
        }
    }

    /// Scans one cell; gives the position of the delimiter, the line end or the end after it.
    fn cell(&mut self, start: usize) -> Option<usize> {
        let open = if self.dialect.trim { self.skip_spaces(start)? } else { start };
        match (self.bytes.get(open), self.dialect.quote) {
            (None, _) if !self.ended => None,
            (Some(byte), Some(quote)) if *byte == quote => self.quoted_cell(open + 1, quote),
            _ => {
                let end = self.plain_end(start)?;
                self.cells.push(Cell { range: start..end, unescaped: false, quoted: false });
                Some(end)
            }
        }
    }

    fn quoted_cell(&mut self, start: usize, quote: u8) -> Option<usize> {
        let mut at = start;
        let mut doubled = false;
        let close = loop {
            let Some(found) = memchr(quote, &self.bytes[at..]) else {
                if !self.ended {
                    return None;
                }
                self.flag(Fault::OpenQuote);
                break self.bytes.len();
            };
            let found = at + found;
            match self.bytes.get(found + 1) {
                None if !self.ended => return None,
                Some(next) if *next == quote => {
                    doubled = true;
                    at = found + 2;
                }
                _ => break found,
            }
        };
        self.lines += memchr_iter(b'\n', &self.bytes[start..close]).count() as u64;
        let cell = if doubled {
            self.undouble(start..close, quote)
        } else {
            Cell { range: start..close, unescaped: false, quoted: true }
        };
        let mut after = (close + 1).min(self.bytes.len());
        if self.dialect.trim {
            after = self.skip_spaces(after)?;
        }
        let end = self.plain_end(after)?;
        if end > after {
            self.flag(Fault::TextAfterQuote);
        }
        self.cells.push(cell);
        Some(end)
    }

    /// Copies a cell with its doubled quotes made single.
    fn undouble(&mut self, range: Range<usize>, quote: u8) -> Cell {
        let Ok(text) = std::str::from_utf8(&self.bytes[range.clone()]) else {
            // Reported by whoever asks for the cell.
            return Cell { range, unescaped: false, quoted: true };
        };
        let start = self.unescaped.len();
        let mut rest = text;
        while let Some(found) = memchr(quote, rest.as_bytes()) {
            self.unescaped.push_str(&rest[..=found]);
            rest = &rest[found + 2..];
        }
        self.unescaped.push_str(rest);
        Cell { range: start..self.unescaped.len(), unescaped: true, quoted: true }
    }

    /// The position of the next delimiter or line end, or the end.
    fn plain_end(&self, from: usize) -> Option<usize> {
        match memchr3(self.dialect.delimiter, b'\n', b'\r', &self.bytes[from..]) {
            Some(found) => Some(from + found),
            None => self.ended.then_some(self.bytes.len()),
        }
    }

    /// The position after `\n`, `\r\n` or `\r`.
    fn after_line_end(&self, at: usize) -> Option<usize> {
        match self.bytes[at..] {
            [b'\r', b'\n', ..] => Some(at + 2),
            [b'\r'] if !self.ended => None,
            _ => Some(at + 1),
        }
    }

    fn skip_spaces(&self, from: usize) -> Option<usize> {
        let delimiter = self.dialect.delimiter;
        let space = |byte: &&u8| matches!(byte, b' ' | b'\t') && **byte != delimiter;
        let end = from + self.bytes[from..].iter().take_while(space).count();
        (end < self.bytes.len() || self.ended).then_some(end)
    }

    fn flag(&mut self, fault: Fault) {
        self.fault.get_or_insert((fault, self.cells.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::files::window::ROW_BYTES_MAX;

    const PLAIN: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), trim: false };

    /// Gives its bytes in pieces, as an unpacker does.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(self.1).min(out.len());
            let (piece, rest) = self.0.split_at(length);
            out[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    /// Line, cells, fault.
    type Row = (u64, Vec<String>, Option<(Fault, usize)>);

    fn scan(text: &[u8], dialect: Dialect) -> Vec<Row> {
        let mut scanner = Scanner::new(Pieces(text, 3), dialect);
        let mut records = Vec::new();
        while scanner.advance().unwrap() {
            let record = scanner.record();
            let cells = (0..record.len())
                .map(|i| record.cell(i).map_or("invalid".to_owned(), |(text, _)| text.to_owned()))
                .collect();
            records.push((record.line, cells, record.fault));
        }
        records
    }

    fn check_with(dialect: Dialect, text: &str, expected: &[(u64, &[&str])]) {
        let got = scan(text.as_bytes(), dialect);
        let got: Vec<(u64, Vec<&str>)> = got
            .iter()
            .map(|(line, cells, fault)| {
                assert_eq!(*fault, None, "{text:?}");
                (*line, cells.iter().map(String::as_str).collect())
            })
            .collect();
        let expected: Vec<(u64, Vec<&str>)> =
            expected.iter().map(|(line, cells)| (*line, cells.to_vec())).collect();
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn records_of_every_kind() {
        let check = |text, expected| check_with(PLAIN, text, expected);
        check("", &[]);
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("a,b\r\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("a,b\r1,2\r", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\n\r\na\n\n\nb\n\n", &[(3, &["a"]), (6, &["b"])]);
        check("a,\n,b\n,\n", &[(1, &["a", ""]), (2, &["", "b"]), (3, &["", ""])]);
        check("a,", &[(1, &["a", ""])]);
        check("\"a\nb\",c\n\"\"\n", &[(1, &["a\nb", "c"]), (3, &[""])]);
        check("\"a\"\"b\",\"\"\"\"\n", &[(1, &["a\"b", "\""])]);
        check("\"a,b\",c", &[(1, &["a,b", "c"])]);
        check("a\"b,c", &[(1, &["a\"b", "c"])]);
        check(" a , \"b\"\n", &[(1, &[" a ", " \"b\""])]);
    }

    #[test]
    fn other_dialects() {
        let trim = Dialect { trim: true, ..PLAIN };
        check_with(trim, " a ,  \"b,c\"  \n", &[(1, &["a", "b,c"])]);
        let tab = Dialect { delimiter: b'\t', trim: true, ..PLAIN };
        check_with(tab, "a\t\t b\n", &[(1, &["a", "", "b"])]);
        let no_quotes = Dialect { quote: None, ..PLAIN };
        check_with(no_quotes, "\"a,b\n", &[(1, &["\"a", "b"])]);
        let single = Dialect { delimiter: b';', quote: Some(b'\''), trim: false };
        check_with(single, "'a;b';\"c\n", &[(1, &["a;b", "\"c"])]);
    }

    #[test]
    fn faults_are_seen_and_reading_goes_on() {
        assert_eq!(
            scan(b"a,\"b\"x,c\nd\n\"e\n", PLAIN),
            [
                (
                    1,
                    vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
                    Some((Fault::TextAfterQuote, 1))
                ),
                (2, vec!["d".to_owned()], None),
                (3, vec!["e\n".to_owned()], Some((Fault::OpenQuote, 0))),
            ]
        );
    }

    #[test]
    fn invalid_text_is_told_cell_by_cell() {
        let cells = scan(b"a,\xff,c\n\"x\"\"\xfe\"\n", PLAIN);
        assert_eq!(cells[0].1, ["a", "invalid", "c"]);
        assert_eq!(cells[1].1, ["invalid"]);
    }

    #[test]
    fn a_row_without_end_is_refused() {
        let mut text = b"a\nb,\"".to_vec();
        text.resize(ROW_BYTES_MAX * 2, b'x');
        let mut scanner = Scanner::new(&text[..], PLAIN);
        assert!(scanner.advance().unwrap());
        assert!(matches!(scanner.advance(), Err(ScanError::TooLong { line: 2 })));
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_again(
            rows in prop::collection::vec(prop::collection::vec("[a-z\",\n\r é]{0,6}", 1..4), 0..5),
            piece in 1..9_usize,
        ) {
            let text: String = rows
                .iter()
                .map(|row| {
                    let cells: Vec<_> =
                        row.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
                    cells.join(",") + "\r\n"
                })
                .collect();
            let mut scanner = Scanner::new(Pieces(text.as_bytes(), piece), PLAIN);
            let mut line = 1;
            for row in &rows {
                prop_assert!(scanner.advance().unwrap());
                let record = scanner.record();
                let cells: Vec<&str> = (0..record.len()).map(|i| record.cell(i).unwrap().0).collect();
                prop_assert_eq!(&cells, row);
                prop_assert_eq!(record.line, line);
                line += 1 + row.iter().map(|c| c.matches('\n').count() as u64).sum::<u64>();
            }
            prop_assert!(!scanner.advance().unwrap());
        }

        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            scan(&bytes, Dialect { trim: true, ..PLAIN });
            scan(&bytes, PLAIN);
        }
    }
}
