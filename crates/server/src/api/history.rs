//! The history of runs: questions in SQL, and how it is kept.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::app::App;
use crate::backend::SqlAnswer;
use crate::error::ApiError;
use crate::extract::Body;

/// Rows of an answer without `limit`.
const ROWS_DEFAULT: usize = 1_000;
/// Rows of an answer at most.
const ROWS_MAX: usize = 100_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SqlBody {
    sql: String,
    limit: Option<usize>,
}

pub(super) async fn sql(
    State(app): State<App>,
    Body(SqlBody { sql, limit }): Body<SqlBody>,
) -> Result<Json<SqlAnswer>, ApiError> {
    let limit = limit.unwrap_or(ROWS_DEFAULT);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("`limit` must be 1 to {ROWS_MAX}, not {limit}")));
    }
    app.backend.history_sql(sql, limit).await.map(Json)
}

pub(super) async fn show(State(app): State<App>) -> Result<Json<serde_json::Value>, ApiError> {
    app.backend.history().await.map(Json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TidyBody {}

pub(super) async fn tidy(
    State(app): State<App>,
    Body(TidyBody {}): Body<TidyBody>,
) -> Result<Json<serde_json::Value>, ApiError> {
    app.backend.tidy_history().await.map(Json)
}
