//! Health and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;
use crate::backend::Health;
use crate::error::ApiError;
use crate::metrics;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    status: &'static str,
    version: &'a str,
    #[serde(flatten)]
    health: Health,
}

/// 200 when everything works, else 503; the body says what does not.
pub(super) async fn health(State(app): State<App>) -> Response {
    let health = app.backend.health();
    let (code, status) = if health.ok {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    };
    (code, Json(Answer { status, version: &app.version, health })).into_response()
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = metrics::text(&app).map_err(|_| ApiError::internal("cannot write the metrics"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
