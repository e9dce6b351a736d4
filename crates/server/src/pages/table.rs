//! The first rows of a table.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use tidemill_model::RunId;

use super::parts::plain;
use super::{Frame, html};
use crate::api::{find_run, find_table, no_table};
use crate::app::App;
use crate::backend::{Column, TableSample};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::say;

/// Excerpt of the page.
const ROWS: usize = 200;
/// Characters of a cell; the rest is in its tooltip.
const CELL_CHARS: usize = 80;
/// Characters of a tooltip.
const TIP_CHARS: usize = 1_000;

#[derive(Template)]
#[template(path = "table.html")]
struct Page {
    frame: Frame,
    run: String,
    dag: String,
    number: u64,
    task: String,
    table: String,
    total: String,
    size: String,
    shown: usize,
    rows: Excerpt,
}

/// Excerpt to show, or why there are none.
pub(super) struct Excerpt {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) trouble: Option<String>,
}

/// A value.
pub(super) struct Cell {
    pub(super) text: String,
    /// The whole text, when the cell shows a part.
    pub(super) whole: Option<String>,
    pub(super) class: &'static str,
}

impl Excerpt {
    pub(super) fn new(sample: Result<TableSample, String>) -> Self {
        match sample {
            Ok(sample) => Self {
                rows: sample.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
                columns: sample.columns,
                trouble: None,
            },
            Err(trouble) => Self { columns: Vec::new(), rows: Vec::new(), trouble: Some(trouble) },
        }
    }
}

fn cell(value: &Value) -> Cell {
    let class = match value {
        Value::Null => "null",
        Value::Number(_) => "num",
        _ => "",
    };
    let text = if value.is_null() { "null".to_owned() } else { plain(value) };
    let cut = |chars: usize| text.char_indices().nth(chars).map(|(end, _)| end);
    let whole = cut(CELL_CHARS).map(|_| text[..cut(TIP_CHARS).unwrap_or(text.len())].to_owned());
    let short = cut(CELL_CHARS).map(|end| format!("{}…", &text[..end]));
    Cell { text: short.unwrap_or(text), whole, class }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableQuery {}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Path((run, table)): Path<(RunId, String)>,
    Query(TableQuery {}): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let detail = find_run(&app, &run).await?;
    let found = find_table(&app, &detail, &table).await?;
    let (task, found) = found.ok_or_else(|| no_table(&detail, &table))?;
    let rows = Excerpt::new(app.backend.table(&found, ROWS).await.map_err(|error| error.detail));
    html(&Page {
        frame: Frame::new(&app, format!("{table} · {} #{}", run.dag, run.number), "runs"),
        run: run.to_string(),
        dag: run.dag.to_string(),
        number: run.number,
        task,
        total: say::plural(found.rows, "row"),
        size: say::bytes(found.bytes),
        shown: rows.rows.len(),
        table,
        rows,
    })
}
