//! The source: from a config to batches, and what a bad row is called.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::{ConnectorError, RejectedRow, Source, SourceContext};
use tidemill_model::words::counted;

use super::CsvSourceConfig;
use super::batches::Batches;
use super::chunks::Chunks;
use super::infer;
use super::input::Input;
use super::parse::{Parse, Parsed};
use super::scan::{Fault, Record};
use crate::columns::clip;
use crate::rejects::{Reason, Reject, Rejects};

/// Which texts mean "no value".
#[derive(Debug, Clone)]
pub(crate) struct Nulls {
    texts: Vec<String>,
    quoted: bool,
    /// Whether the empty text is the only one: what nearly every file means.
    only_empty: bool,
}

impl Nulls {
    pub(crate) fn new(texts: Vec<String>, quoted: bool) -> Self {
        let only_empty = matches!(texts.as_slice(), [text] if text.is_empty());
        Self { texts, quoted, only_empty }
    }

    pub(crate) fn contain(&self, text: &[u8], quoted: bool) -> bool {
        if self.only_empty {
            return text.is_empty() && (!quoted || self.quoted);
        }
        (!quoted || self.quoted) && self.texts.iter().any(|null| null.as_bytes() == text)
    }
}

/// Reads the files of a pattern.
pub(crate) struct CsvSource {
    input: Arc<Input>,
    parse: Arc<Parse>,
    /// Started with the first batch: a source may be opened just to know its columns.
    chunks: Option<Chunks<Arc<Parse>>>,
    batches: Batches,
    rejects: Rejects,
    failed: bool,
}

impl CsvSource {
    /// Finds the files, settles the columns, and stands before the first row.
    pub(crate) fn open(
        config: CsvSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let input = Arc::new(Input::find(&config, cx)?);
        let names = input.names(&config)?;
        let nulls = Nulls::new(config.nulls, config.quoted_nulls);
        let used = used(config.select.as_deref(), &names);
        let mut fields =
            infer::fields(&input, &names, &config.columns, &nulls, config.on_bad_row, &used)?;
        if let Some(name) = &config.file_column {
            if names.contains(name) {
                return Err(ConnectorError::misconfigured(format!(
                    "`file_column` is `{name}`, but the input has a column of that name"
                )));
            }
            fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
        }
        let schema = Arc::new(Schema::new(fields));
        let parse = Arc::new(Parse {
            dialect: input.dialect,
            names,
            used,
            schema: schema.clone(),
            nulls,
            on_bad_row: config.on_bad_row,
            has_file_column: config.file_column.is_some(),
            files: input.files.iter().map(|file| file.name.clone()).collect(),
        });
        let batches = Batches::new(schema, cx.batch_rows);
        let rejects = Rejects::default();
        Ok(Self { input, parse, chunks: None, batches, rejects, failed: false })
    }

    /// The next chunk, if there is one; `None` if not.
    fn next_chunk(&mut self) -> Result<Option<Parsed>, ConnectorError> {
        let start = || Chunks::start(self.input.clone(), self.parse.clone());
        let Some((at, parsed)) = self.chunks.get_or_insert_with(start).next()? else {
            return Ok(None);
        };
        let mut parsed = parsed?;
        if let Some(bad) = parsed.bad {
            return Err(bad.into_error(&self.parse.files[at.file], at.line, &self.parse.names));
        }
        for (_, reject) in &mut parsed.rejects {
            reject.line += at.line + 1;
        }
        Ok(Some(parsed))
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        loop {
            if let Some(batch) = self.batches.cut(&mut self.rejects)? {
                return Ok(Some(batch));
            }
            match self.next_chunk()? {
                Some(parsed) => self.batches.add(parsed),
                None => return self.batches.take(),
            }
        }
    }
}

#[async_trait]
impl Source for CsvSource {
    fn schema(&self) -> SchemaRef {
        self.parse.schema.clone()
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        if self.failed {
            return Err(ConnectorError::internal("the source has failed and cannot be read on"));
        }
        let next = self.next();
        if next.is_err() {
            // Its threads end here.
            (self.failed, self.chunks) = (true, None);
        }
        next
    }

    fn take_rejects(&mut self) -> Vec<RejectedRow> {
        self.rejects.take()
    }
}

/// The columns that are kept, as positions in the file; `select` names none that is not there.
fn used(select: Option<&[String]>, names: &[String]) -> Vec<usize> {
    let place = |name| names.iter().position(|known| known == name);
    match select {
        None => (0..names.len()).collect(),
        Some(select) => select.iter().filter_map(place).collect(),
    }
}

/// What is wrong with a record whatever the types of its columns.
pub(crate) fn check_record(record: &Record<'_>, names: &[String]) -> Result<(), Reject> {
    if let Some((fault, index)) = record.fault {
        return Err(fault_reject(record, names, fault, index));
    }
    if record.len() != names.len() {
        let reason =
            if record.len() < names.len() { Reason::TooFewFields } else { Reason::TooManyFields };
        let message =
            format!("the row has {} instead of {}", counted(record.len(), "cell"), names.len());
        return Err(Reject { reason, message, column: None, value: None });
    }
    if record.is_text() {
        return Ok(());
    }
    let index = (0..record.len()).find(|index| record.cell(*index).is_none()).unwrap_or(0);
    Err(bad_encoding(record, &names[index], index))
}

fn fault_reject(record: &Record<'_>, names: &[String], fault: Fault, index: usize) -> Reject {
    let (reason, message) = match fault {
        Fault::TextAfterQuote => (Reason::BadQuote, "text follows a closing quote"),
        Fault::OpenQuote => (Reason::OpenQuote, "a quote is opened and never closed"),
    };
    let value = (index < record.len()).then(|| record.cell(index)).flatten();
    Reject {
        reason,
        message: message.to_owned(),
        column: names.get(index).cloned(),
        value: value.map(|(text, _)| clip(text, 200)),
    }
}

fn bad_encoding(record: &Record<'_>, name: &str, index: usize) -> Reject {
    Reject {
        reason: Reason::BadEncoding,
        message: "the cell is no UTF-8 text".to_owned(),
        column: Some(name.to_owned()),
        value: Some(clip(&record.cell_lossy(index), 200)),
    }
}

/// The error that a bad row is, unless it is set aside.
pub(crate) fn reject_error(
    reject: Reject,
    cells: usize,
    source: &str,
    line: u64,
    names: &[String],
) -> ConnectorError {
    let remedy = match reject.reason {
        Reason::BadValue => "give the column another type in `columns`",
        Reason::BadEncoding => "set `encoding`, for example `encoding: windows-1252`",
        Reason::BadQuote | Reason::OpenQuote => {
            "set `quote: \"\"` if quotes mean nothing in this file"
        }
        _ if cells == 1 && names.len() > 1 => "set `delimiter`",
        _ => "correct the file",
    };
    reject
        .into_error(source, line)
        .help(format!("{remedy}, or set such rows aside with `on_bad_row: quarantine`"))
}
