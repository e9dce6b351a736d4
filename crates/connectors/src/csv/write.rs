//! The sink: batches into a file that appears when it is whole.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use memchr::memchr;
use tidemill_connector::{ConnectorError, Sink, SinkContext, Written};

use super::{CsvSinkConfig, one_character};
use crate::cells::PlainBatch;
use crate::files::compress::NewFile;

const QUOTE: u8 = b'"';

/// Writes one file.
pub(crate) struct CsvSink {
    file: NewFile,
    format: Format,
    /// The text of the batch at hand; kept for its memory.
    text: Vec<u8>,
    /// The text of the cell at hand, likewise.
    cell: Vec<u8>,
}

struct Format {
    delimiter: u8,
    nulls: String,
}

/// The character between cells.
pub(super) fn delimiter(config: &CsvSinkConfig) -> Result<u8, ConnectorError> {
    match one_character("delimiter", &config.delimiter)? {
        QUOTE => Err(ConnectorError::misconfigured("`delimiter` must not be a double quote")
            .help("cells that need it are put in double quotes")),
        delimiter => Ok(delimiter),
    }
}

impl CsvSink {
    /// Starts the file and writes its header.
    pub(crate) fn create(config: &CsvSinkConfig, cx: &SinkContext) -> Result<Self, ConnectorError> {
        let delimiter = delimiter(config)?;
        let mut file = NewFile::create(&cx.resolve(&config.path), &cx.idempotency_key)?;
        let format = Format { delimiter, nulls: config.nulls.clone() };
        let mut text = Vec::new();
        if config.header {
            let single = cx.schema.fields().len() == 1;
            for (index, field) in cx.schema.fields().iter().enumerate() {
                format.begin(index, &mut text);
                format.value(field.name().as_bytes(), single, &mut text);
            }
            text.extend_from_slice(b"\n");
            file.write(&text, 0)?;
        }
        Ok(Self { file, format, text, cell: Vec::new() })
    }
}

#[async_trait]
impl Sink for CsvSink {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let plain = PlainBatch::new(batch)?;
        let mut columns = plain.cells()?;
        let single = columns.len() == 1;
        self.text.clear();
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter_mut().enumerate() {
                self.format.begin(index, &mut self.text);
                if column.is_null(row) {
                    self.format.null(single, &mut self.text);
                    continue;
                }
                if let Some(text) = column.text(row) {
                    self.format.value(text.as_bytes(), single, &mut self.text);
                } else {
                    self.cell.clear();
                    column.write(row, &mut self.cell);
                    self.format.value(&self.cell, single, &mut self.text);
                }
            }
            self.text.push(b'\n');
        }
        self.file.write(&self.text, batch.num_rows())
    }

    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError> {
        self.file.publish()
    }
}

impl Format {
    fn begin(&self, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(self.delimiter);
        }
    }

    fn null(&self, single: bool, out: &mut Vec<u8>) {
        // A row of one empty cell would be a blank line, which readers skip.
        if single && self.nulls.is_empty() {
            out.extend_from_slice(b"\"\"");
        } else if self.needs_quotes(self.nulls.as_bytes()) {
            quoted(self.nulls.as_bytes(), out);
        } else {
            out.extend_from_slice(self.nulls.as_bytes());
        }
    }

    /// Quotes what would be read as something else: a delimiter, a line end, a quote, white space
    /// at the ends, or the text that stands for "no value".
    fn value(&self, text: &[u8], single: bool, out: &mut Vec<u8>) {
        let null = text == self.nulls.as_bytes() || (single && text.is_empty());
        if null || self.needs_quotes(text) {
            quoted(text, out);
        } else {
            out.extend_from_slice(text);
        }
    }

    fn needs_quotes(&self, text: &[u8]) -> bool {
        let special = |byte: &u8| *byte == self.delimiter || matches!(*byte, QUOTE | b'\n' | b'\r');
        let space = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        text.iter().any(special) || space(text.first()) || space(text.last())
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(QUOTE);
    let mut rest = text;
    while let Some(found) = memchr(QUOTE, rest) {
        out.extend_from_slice(&rest[..=found]);
        out.push(QUOTE);
        rest = &rest[found + 1..];
    }
    out.extend_from_slice(rest);
    out.push(QUOTE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_when_they_must_be() {
        let check = |text: &str, expected: &str| {
            let format = Format { delimiter: b';', nulls: "NULL".to_owned() };
            let mut out = Vec::new();
            format.value(text.as_bytes(), false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check("plain", "plain");
        check("a,b", "a,b");
        check("a;b", "\"a;b\"");
        check("say \"hi\"", "\"say \"\"hi\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("cr\r", "\"cr\r\"");
        check(" space", "\" space\"");
        check("NULL", "\"NULL\"");
        check("", "");
    }

    #[test]
    fn no_value() {
        let check = |nulls: &str, single, expected: &str| {
            let format = Format { delimiter: b',', nulls: nulls.to_owned() };
            let mut out = Vec::new();
            format.null(single, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check("", false, "");
        check("", true, "\"\"");
        check("NULL", true, "NULL");
        check("n,a", false, "\"n,a\"");
    }
}
