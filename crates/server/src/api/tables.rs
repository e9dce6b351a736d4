//! Sample rows of tables.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tidemill_model::RunId;

use crate::app::App;
use crate::backend::{RunDetail, TableSample};
use crate::error::ApiError;
use crate::extract::{Path, Query};

/// Rows of a sample without `limit`.
const ROWS_DEFAULT: usize = 50;
/// Rows of a sample at most.
const ROWS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleQuery {
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct TableAnswer {
    run: RunId,
    table: String,
    task: String,
    /// Rows of the whole table.
    total_rows: u64,
    #[serde(flatten)]
    sample: TableSample,
}

/// 404 for a table, with the names that there are.
pub(crate) fn no_table(run: &RunDetail, name: &str) -> ApiError {
    let names: Vec<&str> = run
        .tasks
        .iter()
        .filter_map(|task| task.result.as_ref())
        .flat_map(|result| result.tables.iter().map(|table| table.name.as_str()))
        .collect();
    let error = ApiError::not_found(format!("run `{}` has no table `{name}`", run.head.id));
    if names.is_empty() { error } else { error.help(format!("it has: {}", names.join(", "))) }
}

pub(super) async fn sample(
    State(app): State<App>,
    Path((run, table)): Path<(RunId, String)>,
    Query(query): Query<SampleQuery>,
) -> Result<Json<TableAnswer>, ApiError> {
    let limit = match query.limit {
        None => ROWS_DEFAULT,
        Some(limit @ 1..=ROWS_MAX) => limit,
        Some(limit) => {
            let detail = format!("`limit` must be 1 to {ROWS_MAX}, not {limit}");
            return Err(ApiError::bad_request(detail));
        }
    };
    let detail = super::runs::find(&app, &run).await?;
    // Only names that the run itself wrote down are looked up.
    let found = super::subject::find_table(&app, &detail, &table).await?;
    let (task, found) = found.ok_or_else(|| no_table(&detail, &table))?;
    let sample = app.backend.table(&found, limit).await?;
    Ok(Json(TableAnswer { run, table, task, total_rows: found.rows, sample }))
}
