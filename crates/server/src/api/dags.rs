//! DAGs: look, pause, resume.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tidemill_model::DagId;

use super::limit_of;
use super::view::{Dag, DagWithTasks, Page};
use crate::app::App;
use crate::cursor;
use crate::error::ApiError;
use crate::extract::{Body, Nothing, Path, Query};
use crate::routes::Caller;

/// 404 for a DAG.
pub(crate) fn no_dag(id: &DagId) -> ApiError {
    ApiError::not_found(format!("there is no DAG `{id}`")).help(
        "a DAG is known once its file is in the folder of `tidemill serve --dags`, or has been run",
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Dag>>, ApiError> {
    let after = query.after.as_deref().map(cursor::read_dag).transpose()?;
    let limit = limit_of(query.limit)?;
    let (dags, next) = cursor::page_of_dags(app.backend.dags().await?, after.as_ref(), limit);
    Ok(Json(Page { items: dags.iter().map(Dag::from).collect(), next }))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<DagId>,
) -> Result<Json<DagWithTasks>, ApiError> {
    let detail = app.backend.dag(&id).await?.ok_or_else(|| no_dag(&id))?;
    Ok(Json(DagWithTasks::from(&detail)))
}

pub(super) async fn pause(
    State(app): State<App>,
    Path(id): Path<DagId>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<serde_json::Value>, ApiError> {
    set_paused(&app, &id, true, caller).await
}

pub(super) async fn resume(
    State(app): State<App>,
    Path(id): Path<DagId>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<serde_json::Value>, ApiError> {
    set_paused(&app, &id, false, caller).await
}

async fn set_paused(
    app: &App,
    id: &DagId,
    paused: bool,
    caller: Caller,
) -> Result<Json<serde_json::Value>, ApiError> {
    app.backend.pause(id, paused, caller.who()).await?;
    Ok(Json(serde_json::json!({ "dag": id, "paused": paused })))
}
