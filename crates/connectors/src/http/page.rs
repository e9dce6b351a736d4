//! From the body of a page to rows.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidemill_connector::ConnectorError;

use super::answer::cut_short;
use super::{Format, HttpSourceConfig, Pagination};
use crate::columns::guess::Guess;
use crate::columns::rename::rename_all;
use crate::columns::rows::Rows;
use crate::columns::types::type_name;
use crate::columns::{Rename, clip};
use crate::csv::input::{read_header, scan_error};
use crate::csv::read::check_record;
use crate::csv::scan::{Dialect, Record, Scanner};
use crate::json::Json;
use crate::jsonl::table::{Inference, Keys};
use crate::rejects::{Reason, Reject};

const DIALECT: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), trim: false };

/// What a page tells about the next one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageEnd {
    /// Rows in the page.
    pub(super) rows: u64,
    /// What to ask for next, if the page says so.
    pub(super) next: Option<String>,
}

/// How a body is taken apart.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) format: Format,
    rows: Option<String>,
    next: Option<String>,
    rename: Option<Rename>,
    /// The address, for messages.
    name: String,
}

/// Refuses keys that lead to the rows in a format that has none.
pub(super) fn check_rows(config: &HttpSourceConfig) -> Result<(), ConnectorError> {
    if config.rows.is_some() && config.format != Format::Json {
        return Err(ConnectorError::misconfigured("`rows` needs `format: json`")
            .help("in the other formats the whole answer is rows"));
    }
    Ok(())
}

type Object<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

impl Layout {
    pub(super) fn new(config: &HttpSourceConfig, name: String) -> Result<Self, ConnectorError> {
        check_rows(config)?;
        let next = match &config.pagination {
            Some(Pagination::Cursor(cursor)) => Some(cursor.next.clone()),
            _ => None,
        };
        let rename = config.rename.clone();
        Ok(Self { format: config.format, rows: config.rows.clone(), next, rename, name })
    }

    /// The objects of a JSON or JSON-lines page. Nothing is given on before all of it was read,
    /// since a page that turns out to be cut short is fetched again.
    fn objects<'a>(
        &self,
        body: &'a str,
        page: u64,
    ) -> Result<(Vec<Object<'a>>, PageEnd), ConnectorError> {
        let (rows, next) = match self.format {
            Format::Json if body.trim().is_empty() => (Vec::new(), None),
            Format::Json => self.json_rows(body, page)?,
            _ => (self.lines(body, page)?, None),
        };
        let objects = rows
            .into_iter()
            .enumerate()
            .map(|(index, row)| match row {
                Json::Object(entries) => Ok(entries),
                other => {
                    let message = format!("the row is {} instead of an object", other.kind());
                    Err(ConnectorError::data(message).at(self.place(page, index)))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let end = PageEnd { rows: objects.len() as u64, next };
        Ok((objects, end))
    }

    fn json_rows<'a>(
        &self,
        body: &'a str,
        page: u64,
    ) -> Result<(Vec<Json<'a>>, Option<String>), ConnectorError> {
        let json = Json::parse(body).map_err(|error| {
            if error.cut {
                return cut_short(&self.name, &error.message);
            }
            let (line, column) = error.place(body);
            ConnectorError::data(format!("the answer is no JSON: {}", error.message))
                .at(format!("{} page {page}, line {line}, column {column}", self.name))
                .help("look whether `format` is right")
        })?;
        let next = match self.next.as_deref().and_then(|path| json.at(path)) {
            Some(Json::Text(text)) if !text.is_empty() => Some(text.clone().into_owned()),
            Some(Json::Number(text)) => Some((*text).to_owned()),
            _ => None,
        };
        let found = match &self.rows {
            Some(path) => json.at(path),
            None => Some(&json),
        };
        let place = format!("{} page {page}", self.name);
        match (found, &self.rows) {
            (Some(Json::List(items)), _) => Ok((items.clone(), next)),
            (Some(other), None) => Err(ConnectorError::data(format!(
                "the answer is {} instead of a list",
                other.kind()
            ))
            .at(place)
            .help("set `rows` to the keys that lead to the list, for example `rows: data.items`")),
            (Some(other), Some(path)) => Err(ConnectorError::data(format!(
                "`rows` is `{path}`, where the answer has {} instead of a list",
                other.kind()
            ))
            .at(place)),
            (None, path) => Err(ConnectorError::data(format!(
                "`rows` is `{}`, where the answer has nothing",
                path.as_deref().unwrap_or_default()
            ))
            .at(place)
            .help(format!("the answer has: {}", keys_of(&json)))),
        }
    }

    fn lines<'a>(&self, body: &'a str, page: u64) -> Result<Vec<Json<'a>>, ConnectorError> {
        let lines = body.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                Json::parse(line).map_err(|error| {
                    let (_, column) = error.place(line);
                    let place =
                        format!("{} page {page}, line {}, column {column}", self.name, index + 1);
                    ConnectorError::data(format!("this is no JSON: {}", error.message)).at(place)
                })
            })
            .collect()
    }

    fn place(&self, page: u64, row: usize) -> String {
        format!("{} page {page}, row {}", self.name, row + 1)
    }

    fn error(&self, reject: Reject, page: u64, row: usize) -> ConnectorError {
        let place = self.place(page, row);
        ConnectorError::data(reject.message).at(match reject.column {
            Some(column) => format!("{place}, column {column}"),
            None => place,
        })
    }

    /// Goes through the records of a CSV page: `header` once, then `row` for each.
    fn records(
        &self,
        body: &str,
        page: u64,
        mut header: impl FnMut(Vec<String>) -> Result<(), ConnectorError>,
        mut row: impl FnMut(&Record<'_>) -> Result<(), Reject>,
    ) -> Result<PageEnd, ConnectorError> {
        let mut rows = 0;
        if !body.trim().is_empty() {
            let source = format!("{} page {page}", self.name);
            let mut scanner = Scanner::new(body.as_bytes(), DIALECT);
            let old = read_header(&mut scanner, &source)?;
            let names = rename_all(&old, self.rename.as_ref(), &source)?;
            header(names.clone())?;
            while scanner.advance().map_err(|e| scan_error(&source, e))? {
                let record = scanner.record();
                check_record(&record, &names)
                    .and_then(|()| row(&record))
                    .map_err(|reject| self.error(reject, page, rows))?;
                rows += 1;
            }
        }
        Ok(PageEnd { rows: rows as u64, next: None })
    }
}

fn keys_of(json: &Json<'_>) -> String {
    match json {
        Json::Object(entries) => {
            let keys: Vec<&str> = entries.iter().take(20).map(|(key, _)| key.as_ref()).collect();
            clip(&keys.join(", "), 200)
        }
        other => other.kind().to_owned(),
    }
}

/// The columns of a source that names none, found by looking at all pages.
pub(super) enum Findings {
    Objects(Inference),
    Csv(Option<Vec<(String, Guess)>>),
}

impl Findings {
    pub(super) fn new(layout: &Layout) -> Self {
        match layout.format {
            Format::Csv => Self::Csv(None),
            _ => Self::Objects(Inference::new(layout.rename.clone(), None)),
        }
    }

    /// Takes in one more page.
    pub(super) fn see(
        &mut self,
        layout: &Layout,
        body: &str,
        page: u64,
    ) -> Result<PageEnd, ConnectorError> {
        match self {
            Self::Objects(inference) => {
                let (objects, end) = layout.objects(body, page)?;
                objects.iter().try_for_each(|object| inference.see(object))?;
                Ok(end)
            }
            Self::Csv(columns) => {
                let known = std::cell::RefCell::new(columns);
                layout.records(
                    body,
                    page,
                    |names| see_header(&mut known.borrow_mut(), names, &layout.name, page),
                    |record| {
                        for (index, (_, guess)) in
                            known.borrow_mut().iter_mut().flatten().enumerate()
                        {
                            match record.cell(index) {
                                Some((text, _)) if !text.is_empty() => guess.see(text),
                                _ => {}
                            }
                        }
                        Ok(())
                    },
                )
            }
        }
    }

    /// The columns.
    pub(super) fn finish(self, layout: &Layout) -> Result<Vec<FieldRef>, ConnectorError> {
        match self {
            Self::Objects(inference) => inference.finish(&layout.name),
            Self::Csv(None) => {
                Err(ConnectorError::data("there are no columns: the answer is empty")
                    .at(&layout.name)
                    .help("to read an answer that may be empty, name its columns in `columns`"))
            }
            Self::Csv(Some(columns)) => Ok(columns
                .into_iter()
                .map(|(name, guess)| Arc::new(Field::new(name, guess.data_type(), true)))
                .collect()),
        }
    }
}

fn see_header(
    columns: &mut Option<Vec<(String, Guess)>>,
    names: Vec<String>,
    name: &str,
    page: u64,
) -> Result<(), ConnectorError> {
    match columns {
        None => *columns = Some(names.into_iter().map(|name| (name, Guess::default())).collect()),
        Some(known) if known.iter().map(|(name, _)| name).eq(&names) => {}
        Some(_) => {
            return Err(ConnectorError::data("the page has another header than the pages before")
                .at(format!("{name} page {page}")));
        }
    }
    Ok(())
}

/// Batches under construction.
pub(super) struct Builder {
    rows: Rows,
    keys: Keys,
    ready: VecDeque<RecordBatch>,
}

impl Builder {
    pub(super) fn new(
        fields: Vec<FieldRef>,
        layout: &Layout,
        batch_rows: usize,
    ) -> Result<Self, ConnectorError> {
        let keys = Keys::new(&fields, layout.rename.clone());
        let rows = Rows::new(Arc::new(Schema::new(fields)), batch_rows)?;
        Ok(Self { rows, keys, ready: VecDeque::new() })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// The next full batch.
    pub(super) fn next_full(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    /// What is left after the last page.
    pub(super) fn rest(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        self.rows.take()
    }

    /// Appends the rows of a page.
    pub(super) fn push(
        &mut self,
        layout: &Layout,
        body: &str,
        page: u64,
    ) -> Result<PageEnd, ConnectorError> {
        if layout.format == Format::Csv {
            return self.push_csv(layout, body, page);
        }
        let (objects, end) = layout.objects(body, page)?;
        for (index, object) in objects.iter().enumerate() {
            self.keys
                .push(&mut self.rows, object)
                .map_err(|reject| layout.error(reject, page, index))?;
            keep(&mut self.rows, &mut self.ready)?;
        }
        Ok(end)
    }

    fn push_csv(
        &mut self,
        layout: &Layout,
        body: &str,
        page: u64,
    ) -> Result<PageEnd, ConnectorError> {
        let Self { rows, ready, .. } = self;
        let schema = rows.schema().clone();
        // For each column, its position in the page.
        let places = std::cell::RefCell::new(Vec::new());
        let mut failure = None;
        let end = layout.records(
            body,
            page,
            |names| {
                *places.borrow_mut() = find_columns(&schema, &names, &layout.name, page)?;
                Ok(())
            },
            |record| {
                push_cells(rows, record, &schema, &places.borrow())?;
                if failure.is_none() {
                    failure = keep(rows, ready).err();
                }
                Ok(())
            },
        )?;
        failure.map_or(Ok(end), Err)
    }
}

fn keep(rows: &mut Rows, ready: &mut VecDeque<RecordBatch>) -> Result<(), ConnectorError> {
    rows.keep();
    if rows.is_full() {
        ready.extend(rows.take()?);
    }
    Ok(())
}

fn find_columns(
    schema: &SchemaRef,
    names: &[String],
    source: &str,
    page: u64,
) -> Result<Vec<usize>, ConnectorError> {
    let place = |field: &FieldRef| {
        names.iter().position(|name| name == field.name()).ok_or_else(|| {
            ConnectorError::data(format!("the answer has no column `{}`", field.name()))
                .at(format!("{source} page {page}"))
                .help(format!("it has: {}", names.join(", ")))
        })
    };
    schema.fields().iter().map(place).collect()
}

fn push_cells(
    rows: &mut Rows,
    record: &Record<'_>,
    schema: &SchemaRef,
    places: &[usize],
) -> Result<(), Reject> {
    for (index, (column, place)) in rows.columns().iter_mut().zip(places).enumerate() {
        let text = record.cell(*place).map_or("", |(text, _)| text);
        if text.is_empty() {
            column.push_null();
        } else if !column.push_text(text) {
            let field = schema.field(index);
            return Err(Reject {
                reason: Reason::BadValue,
                message: format!("`{}` is no {}", clip(text, 200), type_name(field.data_type())),
                column: Some(field.name().clone()),
                value: Some(clip(text, 200)),
            });
        }
    }
    Ok(())
}
