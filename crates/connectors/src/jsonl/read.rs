//! The source: lines into batches.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use encoding_rs::Encoding;
use tidemill_connector::{ConnectorError, RejectedRow, Source, SourceContext};

use super::JsonlSourceConfig;
use super::table::{Inference, Keys, add_file_column, written};
use crate::columns::rows::Rows;
use crate::columns::select::Known;
use crate::columns::{ColumnTypes, OnBadRow, clip};
use crate::files::find::{InputFile, find};
use crate::files::open::{Stream, encoding, open_text, unreadable};
use crate::files::window::{More, ROW_BYTES_MAX, Window};
use crate::json::Json;
use crate::rejects::{Reason, Reject, Rejects};

/// Reads the files of a pattern, line by line.
pub(crate) struct JsonlSource {
    lines: Lines,
    keys: Keys,
    rows: Rows,
    on_bad_row: OnBadRow,
    has_file_column: bool,
    rejects: Rejects,
}

impl JsonlSource {
    /// Finds the files, settles the columns, and stands before the first line.
    pub(crate) fn open(
        config: &JsonlSourceConfig,
        cx: &SourceContext,
    ) -> Result<Self, ConnectorError> {
        let files: Arc<[InputFile]> = find(&config.path, &cx.folder)?.into();
        let encoding = encoding(config.encoding.as_deref())?;
        let mut fields = match &config.columns {
            Some(columns) => chosen(columns, config)?,
            None => infer(Lines::new(files.clone(), encoding), config)?,
        };
        let keys = Keys::new(&fields, config.rename.clone());
        add_file_column(&mut fields, config.file_column.as_deref())?;
        Ok(Self {
            lines: Lines::new(files, encoding),
            keys,
            rows: Rows::new(Arc::new(Schema::new(fields)), cx.batch_rows)?,
            on_bad_row: config.on_bad_row,
            has_file_column: config.file_column.is_some(),
            rejects: Rejects::default(),
        })
    }

    /// Reads until a batch is full or the input ends.
    fn fill(&mut self) -> Result<(), ConnectorError> {
        while !self.rows.is_full() && !self.rejects.are_due(self.rows.len())? {
            let Some(line) = self.lines.next()? else { return Ok(()) };
            let pushed = line.object().and_then(|object| match object {
                Json::Object(entries) => self.keys.push(&mut self.rows, &entries),
                other => Err(no_object(&other)),
            });
            match pushed {
                Ok(()) => {
                    if self.has_file_column
                        && let Some(column) = self.rows.columns().last_mut()
                    {
                        column.push_text(&line.file.name);
                    }
                    self.rows.keep();
                }
                Err(reject) => {
                    self.rows.undo();
                    if self.on_bad_row == OnBadRow::Stop {
                        return Err(reject_error(reject, &line));
                    }
                    self.rejects.push(reject, &line.file.name, line.number, line.bytes);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Source for JsonlSource {
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

fn infer(mut lines: Lines, config: &JsonlSourceConfig) -> Result<Vec<FieldRef>, ConnectorError> {
    let mut inference = Inference::new(config.rename.clone(), config.select.clone());
    while let Some(line) = lines.next()? {
        let object = match line.object() {
            Ok(Json::Object(entries)) => Ok(entries),
            Ok(other) => Err(no_object(&other)),
            Err(reject) => Err(reject),
        };
        match object {
            Ok(entries) => inference.see(&entries)?,
            Err(reject) if config.on_bad_row == OnBadRow::Stop => {
                return Err(reject_error(reject, &line));
            }
            Err(_) => {}
        }
    }
    inference.finish(&config.path)
}

/// The columns that `columns` names, or those of them that `select` keeps.
pub(super) fn chosen(
    columns: &ColumnTypes,
    config: &JsonlSourceConfig,
) -> Result<Vec<FieldRef>, ConnectorError> {
    let fields = written(columns);
    let names: Vec<String> = columns.0.keys().cloned().collect();
    let known =
        Known { names: &names, renamed: false, owner: "`columns` does", place: &"`columns`" };
    let kept = known.select(config.select.as_deref())?;
    Ok(kept.into_iter().map(|at| fields[at].clone()).collect())
}

fn no_object(value: &Json<'_>) -> Reject {
    Reject {
        reason: Reason::NoObject,
        message: format!("the line holds {} instead of an object", value.kind()),
        column: None,
        value: Some(clip(&value.to_string(), 200)),
    }
}

fn reject_error(reject: Reject, line: &Line<'_>) -> ConnectorError {
    let remedy = match reject.reason {
        Reason::BadValue => "give the column another type in `columns`",
        Reason::BadEncoding => "set `encoding`, for example `encoding: windows-1252`",
        Reason::BadJson => "correct the line; an object may not be spread over several lines",
        _ => "correct the line",
    };
    reject
        .into_error(&line.file.name, line.number)
        .help(format!("{remedy}, or set such rows aside with `on_bad_row: quarantine`"))
}

/// The lines of several files, without the blank ones.
struct Lines {
    files: Arc<[InputFile]>,
    encoding: &'static Encoding,
    window: Option<Window<Stream>>,
    file: usize,
    open: bool,
    number: u64,
}

/// A line, without its end.
struct Line<'a> {
    file: &'a InputFile,
    /// From 1.
    number: u64,
    bytes: &'a [u8],
}

impl<'a> Line<'a> {
    fn object(&self) -> Result<Json<'a>, Reject> {
        let text = std::str::from_utf8(self.bytes).map_err(|error| Reject {
            reason: Reason::BadEncoding,
            message: format!("the line is no UTF-8 text from byte {} on", error.valid_up_to() + 1),
            column: None,
            value: None,
        })?;
        Json::parse(text).map_err(|error| Reject {
            reason: Reason::BadJson,
            message: format!("this is no JSON: {} (letter {})", error.message, error.place(text).1),
            // No column is to blame; what stands where the parser stopped shows the fault.
            column: None,
            value: Some(clip(text.get(error.offset..).unwrap_or_default(), 200)),
        })
    }
}

impl Lines {
    fn new(files: Arc<[InputFile]>, encoding: &'static Encoding) -> Self {
        Self { files, encoding, window: None, file: 0, open: false, number: 0 }
    }

    /// The next line; `None` after the last line of the last file.
    fn next(&mut self) -> Result<Option<Line<'_>>, ConnectorError> {
        let mut found = None;
        while found.is_none() {
            let Some(file) = self.files.get(self.file) else { return Ok(None) };
            if !self.open {
                let stream = open_text(file, self.encoding)?;
                match &mut self.window {
                    Some(window) => window.restart(stream),
                    none => *none = Some(Window::new(stream)),
                }
                (self.open, self.number) = (true, 0);
            }
            let Some(window) = &mut self.window else { return Ok(None) };
            found = next_line(window, file, &mut self.number)?;
            if found.is_none() {
                self.open = false;
                self.file += 1;
            }
        }
        let taken = self.window.as_ref().zip(found);
        let line = taken.map(|(window, (taken, length))| Line {
            file: &self.files[self.file],
            number: self.number,
            bytes: &window.taken(taken)[..length],
        });
        Ok(line)
    }
}

/// Takes the next line that is not blank: bytes taken, and bytes of them before the line end.
fn next_line(
    window: &mut Window<Stream>,
    file: &InputFile,
    number: &mut u64,
) -> Result<Option<(usize, usize)>, ConnectorError> {
    loop {
        let (bytes, ended) = window.view();
        let end = memchr::memchr(b'\n', bytes);
        let (taken, length) = match end {
            Some(end) => (end + 1, end),
            None if !ended => match window.more().map_err(|e| unreadable(&file.name, &e))? {
                More::Seen => continue,
                More::TooLong => return Err(too_long(file, *number + 1)),
            },
            None if bytes.is_empty() => return Ok(None),
            None => (bytes.len(), bytes.len()),
        };
        let blank = bytes[..length].trim_ascii().is_empty();
        window.take(taken);
        *number += 1;
        if !blank {
            return Ok(Some((taken, length)));
        }
    }
}

fn too_long(file: &InputFile, number: u64) -> ConnectorError {
    ConnectorError::data(format!("a line is longer than {} MiB", ROW_BYTES_MAX >> 20))
        .at(format!("{}:{number}", file.name))
        .help("write one object a line")
}
