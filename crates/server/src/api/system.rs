//! Health, metrics, backup, doctor.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::backend::{BackupMade, Health};
use crate::error::ApiError;
use crate::extract::Body;
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    path: PathBuf,
}

/// Copies what is kept to a folder of the server's machine, so it needs the token of its user.
pub(super) async fn backup(
    State(app): State<App>,
    Body(BackupBody { path }): Body<BackupBody>,
) -> Result<Json<BackupMade>, ApiError> {
    if !path.is_absolute() {
        let detail = format!("`{}` is not an absolute path", path.display());
        return Err(ApiError::invalid(detail).help("the server's folder is not yours"));
    }
    app.backend.backup(path).await.map(Json)
}

pub(super) async fn doctor(State(app): State<App>) -> Result<Json<serde_json::Value>, ApiError> {
    app.backend.doctor().await.map(Json)
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = metrics::text(&app).map_err(|_| ApiError::internal("cannot write the metrics"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
