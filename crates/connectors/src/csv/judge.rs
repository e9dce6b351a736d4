//! What is wrong with a row.
//!
//! Few rows are bad, so here nothing is fast: the row is scanned again, cell by cell.

use std::io::Cursor;

use tidemill_connector::{ConnectorError, RejectedRow};

use super::read::{check_record, reject_error};
use super::scan::{Dialect, Record, Scanner};
use super::split::first_end;
use crate::columns::clip;
use crate::rejects::{Reason, Reject, rejected};

/// A row that is bad.
#[derive(Debug)]
pub(crate) struct BadRow {
    reject: Reject,
    /// Its line, from 0 at the start of the chunk.
    line: u64,
    cells: usize,
    raw: Vec<u8>,
}

impl BadRow {
    /// The error that it is, unless it is set aside; `before` is the number of lines before the
    /// chunk.
    pub(crate) fn into_error(self, file: &str, before: u64, names: &[String]) -> ConnectorError {
        reject_error(self.reject, self.cells, file, before + self.line + 1, names)
    }

    /// The row set aside, with its line from 0 at the start of the chunk.
    pub(crate) fn into_rejected(self, file: &str) -> RejectedRow {
        rejected(self.reject, file, self.line, &self.raw)
    }
}

/// Tells what is wrong.
pub(crate) struct Judge<'a> {
    scanner: Scanner<Cursor<Vec<u8>>>,
    dialect: Dialect,
    names: &'a [String],
}

impl<'a> Judge<'a> {
    pub(crate) fn new(dialect: Dialect, names: &'a [String]) -> Self {
        Self { scanner: Scanner::new(Cursor::new(Vec::new()), dialect), dialect, names }
    }

    /// Judges the shape of the record that `from` starts with, on this line.
    pub(crate) fn shape(&mut self, from: &[u8], line: u64) -> BadRow {
        let names = self.names;
        self.judge(from, line, |record| check_record(record, names).err())
    }

    /// Judges the value in a column of the record that `from` starts with.
    pub(crate) fn value(
        &mut self,
        from: &[u8],
        line: u64,
        column: usize,
        expected: &str,
    ) -> BadRow {
        let name = &self.names[column];
        self.judge(from, line, |record| {
            let (text, _) = record.cell(column)?;
            Some(Reject {
                reason: Reason::BadValue,
                message: format!("`{}` is no {expected}", clip(text, 200)),
                column: Some(name.clone()),
                value: Some(clip(text, 200)),
            })
        })
    }

    fn judge(
        &mut self,
        from: &[u8],
        line: u64,
        what: impl FnOnce(&Record<'_>) -> Option<Reject>,
    ) -> BadRow {
        let end = first_end(from, self.dialect);
        self.scanner.restart(Cursor::new(from[..end].to_vec()));
        let found = self.scanner.advance().unwrap_or(false);
        let record = self.scanner.record();
        let reject = found.then(|| what(&record)).flatten().unwrap_or(Reject {
            reason: Reason::BadRow,
            message: "the row cannot be read".to_owned(),
            column: None,
            value: None,
        });
        BadRow { reject, line, cells: record.len(), raw: record.raw.to_vec() }
    }
}
