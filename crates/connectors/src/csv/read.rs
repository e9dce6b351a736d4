//! The source: records into batches.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::{ConnectorError, RejectedRow, Source, SourceContext};
use tidemill_model::words::counted;

use super::CsvSourceConfig;
use super::infer;
use super::input::{Input, Position};
use super::scan::{Fault, Record};
use crate::columns::rows::Rows;
use crate::columns::types::type_name;
use crate::columns::{OnBadRow, clip};
use crate::rejects::{Reject, Rejects};

/// Which texts mean "no value".
#[derive(Debug, Clone)]
pub(crate) struct Nulls {
    texts: Vec<String>,
    quoted: bool,
}

impl Nulls {
    pub(crate) fn new(texts: Vec<String>, quoted: bool) -> Self {
        Self { texts, quoted }
    }

    pub(crate) fn contain(&self, text: &str, quoted: bool) -> bool {
        (!quoted || self.quoted) && self.texts.iter().any(|null| null == text)
    }
}

/// Reads the files of a pattern, row by row.
pub(crate) struct CsvSource {
    input: Input,
    position: Position,
    names: Vec<String>,
    rows: Rows,
    nulls: Nulls,
    on_bad_row: OnBadRow,
    has_file_column: bool,
    rejects: Rejects,
}

impl CsvSource {
    /// Finds the files, settles the columns, and stands before the first row.
    pub(crate) fn open(
        config: CsvSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let input = Input::find(&config, cx)?;
        let names = input.names(&config)?;
        let nulls = Nulls::new(config.nulls, config.quoted_nulls);
        let mut fields = infer::fields(&input, &names, &config.columns, &nulls, config.on_bad_row)?;
        if let Some(name) = &config.file_column {
            if names.contains(name) {
                return Err(ConnectorError::misconfigured(format!(
                    "`file_column` is `{name}`, but the input has a column of that name"
                )));
            }
            fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
        }
        Ok(Self {
            position: Position::start(),
            input,
            names,
            rows: Rows::new(Arc::new(Schema::new(fields)), cx.batch_rows)?,
            nulls,
            on_bad_row: config.on_bad_row,
            has_file_column: config.file_column.is_some(),
            rejects: Rejects::default(),
        })
    }

    /// Reads until a batch is full or the input ends.
    fn fill(&mut self) -> Result<(), ConnectorError> {
        while !self.rows.is_full() && !self.rejects.are_due(self.rows.len())? {
            let Some((file, record)) = self.position.next(&self.input)? else { return Ok(()) };
            let file_column = self.has_file_column.then_some(file.name.as_str());
            match push_record(&mut self.rows, &record, &self.names, &self.nulls, file_column) {
                Ok(()) => self.rows.keep(),
                Err(reject) => {
                    self.rows.undo();
                    if self.on_bad_row == OnBadRow::Stop {
                        return Err(reject_error(reject, &record, &file.name, &self.names));
                    }
                    self.rejects.push(reject, &file.name, record.line, record.raw);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Source for CsvSource {
    fn schema(&self) -> SchemaRef {
        self.rows.schema().clone()
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        self.fill()?;
        self.rows.take()
    }

    fn take_rejects(&mut self) -> Vec<RejectedRow> {
        self.rejects.take()
    }
}

/// Appends a record to the columns; after an error parts of it may stand there.
pub(crate) fn push_record(
    rows: &mut Rows,
    record: &Record<'_>,
    names: &[String],
    nulls: &Nulls,
    file_name: Option<&str>,
) -> Result<(), Reject> {
    check_record(record, names)?;
    let columns = rows.columns();
    for (index, column) in columns[..names.len()].iter_mut().enumerate() {
        let Some((text, quoted)) = record.cell(index) else {
            return Err(bad_encoding(record, &names[index], index));
        };
        if nulls.contain(text, quoted) {
            column.push_null();
        } else if !column.push_text(text) {
            let expected = rows.schema().field(index).data_type();
            return Err(Reject {
                reason: "bad_value",
                message: format!("`{}` is no {}", clip(text, 200), type_name(expected)),
                column: Some(names[index].clone()),
                value: Some(clip(text, 200)),
            });
        }
    }
    if let (Some(name), Some(column)) = (file_name, rows.columns().last_mut()) {
        column.push_text(name);
    }
    Ok(())
}

/// What is wrong with a record whatever the types of its columns.
pub(crate) fn check_record(record: &Record<'_>, names: &[String]) -> Result<(), Reject> {
    if let Some((fault, index)) = record.fault {
        return Err(fault_reject(record, names, fault, index));
    }
    if record.len() != names.len() {
        let reason = if record.len() < names.len() { "too_few_fields" } else { "too_many_fields" };
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
        Fault::TextAfterQuote => ("bad_quote", "text follows a closing quote"),
        Fault::OpenQuote => ("open_quote", "a quote is opened and never closed"),
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
        reason: "bad_encoding",
        message: "the cell is no UTF-8 text".to_owned(),
        column: Some(name.to_owned()),
        value: Some(clip(&record.cell_lossy(index), 200)),
    }
}

/// The error that a bad row is, unless it is set aside.
pub(crate) fn reject_error(
    reject: Reject,
    record: &Record<'_>,
    source: &str,
    names: &[String],
) -> ConnectorError {
    let remedy = match reject.reason {
        "bad_value" => "give the column another type in `columns`",
        "bad_encoding" => "set `encoding`, for example `encoding: windows-1252`",
        "bad_quote" | "open_quote" => "set `quote: \"\"` if quotes mean nothing in this file",
        _ if record.len() == 1 && names.len() > 1 => "set `delimiter`",
        _ => "correct the file",
    };
    reject
        .into_error(source, record.line)
        .help(format!("{remedy}, or set such rows aside with `on_bad_row: quarantine`"))
}
