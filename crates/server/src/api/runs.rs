//! Runs: list, look, start, wait, cancel.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidemill_model::rerun::{Rerun, RerunRequest, What};
use tidemill_model::time::BadInterval;
use tidemill_model::{DagId, DataInterval, RunId, RunState};
use tidemill_store::RunQuery;

use super::view::{Page, Run, RunWithTasks};
use super::{idempotency, limit_of};
use crate::app::App;
use crate::backend::{PartRequest, RunDetail, RunFileRequest, TriggerRequest};
use crate::cursor;
use crate::error::{ApiError, ErrorCode};
use crate::extract::{Body, Nothing, Path, Query};
use crate::routes::Caller;

/// The longest wait of one request; clients ask again.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// A run, or 404.
pub(crate) async fn find(app: &App, id: &RunId) -> Result<RunDetail, ApiError> {
    app.backend.run(id).await?.ok_or_else(|| {
        ApiError::not_found(format!("there is no run `{id}`"))
            .help(format!("`tidemill runs --dag {}` lists those that are kept", id.dag))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    dag: Option<DagId>,
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Reads states divided by commas.
pub(crate) fn states_of(text: Option<&str>) -> Result<Vec<RunState>, ApiError> {
    let known = |word: &str| RunState::ALL.into_iter().find(|state| state.label() == word);
    text.unwrap_or("")
        .split(',')
        .filter(|word| !word.is_empty())
        .map(|word| {
            known(word).ok_or_else(|| {
                let all: Vec<&str> = RunState::ALL.iter().map(|state| state.label()).collect();
                ApiError::bad_request(format!("`{word}` is no state of a run"))
                    .help(format!("use: {}", all.join(", ")))
            })
        })
        .collect()
}

async fn page(app: &App, query: RunQuery) -> Result<Json<Page<Run>>, ApiError> {
    let page = app.backend.runs(query).await?;
    let next = page.next.as_ref().map(cursor::write_run);
    Ok(Json(Page { items: page.runs.iter().map(Run::from).collect(), next }))
}

pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Run>>, ApiError> {
    let after = query.after.as_deref().map(cursor::read_run).transpose()?;
    let states = states_of(query.state.as_deref())?;
    page(&app, RunQuery { dag: query.dag, states, after, limit: limit_of(query.limit)? }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DagRunsQuery {
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list_of_dag(
    State(app): State<App>,
    Path(dag): Path<DagId>,
    Query(query): Query<DagRunsQuery>,
) -> Result<Json<Page<Run>>, ApiError> {
    let after = query.after.as_deref().map(cursor::read_run).transpose()?;
    let states = states_of(query.state.as_deref())?;
    page(&app, RunQuery { dag: Some(dag), states, after, limit: limit_of(query.limit)? }).await
}

pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<RunId>,
) -> Result<Json<RunWithTasks>, ApiError> {
    Ok(Json(RunWithTasks::from(&find(&app, &id).await?)))
}

#[derive(Debug, Deserialize, Hash)]
#[serde(deny_unknown_fields)]
pub(super) struct TriggerBody {
    #[serde(default)]
    params: Map<String, Value>,
    /// `START/END`
    interval: Option<String>,
}

fn interval_of(text: Option<&str>) -> Result<Option<DataInterval>, ApiError> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|bad: BadInterval| {
        ApiError::invalid(format!("`{}` is no interval: {bad}", text.unwrap_or("")))
            .help(bad.help())
    })
}

/// 201 with the run and its address.
fn created(run: &RunId) -> Response {
    let api = format!("/api/v1/runs/{run}");
    let body = json!({ "id": run, "url": format!("/runs/{run}"), "api": api });
    (StatusCode::CREATED, [(header::LOCATION, api)], Json(body)).into_response()
}

pub(super) async fn trigger(
    State(app): State<App>,
    Path(dag): Path<DagId>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<TriggerBody>,
) -> Result<Response, ApiError> {
    let key = idempotency::key_of(&headers)?;
    let content = idempotency::digest(&(&dag, &body));
    let interval = interval_of(body.interval.as_deref())?;
    let request =
        TriggerRequest { dag, params: body.params, interval, who: caller.who().to_owned() };
    let run = app.keys.once(key, content, app.backend.trigger(request)).await?;
    Ok(created(&run))
}

#[derive(Debug, Deserialize, Hash)]
#[serde(deny_unknown_fields)]
pub(super) struct RunFileBody {
    path: PathBuf,
    #[serde(default)]
    params: Map<String, Value>,
    /// `START/END`
    interval: Option<String>,
    #[serde(default)]
    part: PartRequest,
}

pub(super) async fn run_file(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<RunFileBody>,
) -> Result<Response, ApiError> {
    if !body.path.is_absolute() {
        let detail = format!("`{}` is not an absolute path", body.path.display());
        return Err(ApiError::invalid(detail).help("the server's folder is not yours"));
    }
    let key = idempotency::key_of(&headers)?;
    let content = idempotency::digest(&body);
    let interval = interval_of(body.interval.as_deref())?;
    let RunFileBody { path, params, part, .. } = body;
    let who = caller.who().to_owned();
    let request = RunFileRequest { path, params, interval, who, part };
    let run = app.keys.once(key, content, app.backend.run_file(request)).await?;
    Ok(created(&run))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RerunBody {
    tasks: Option<Tasks>,
    from: Option<String>,
    #[serde(default)]
    latest: bool,
    #[serde(default)]
    preview: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tasks {
    Failed,
    All,
}

pub(super) async fn rerun(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(body): Body<RerunBody>,
) -> Result<Json<Rerun>, ApiError> {
    Ok(Json(app.backend.rerun(body.of(id, caller)?).await?))
}

impl RerunBody {
    pub(super) fn of(self, run: RunId, caller: Caller) -> Result<RerunRequest, ApiError> {
        let Self { tasks, from, latest, preview } = self;
        let what = match (tasks, from) {
            (Some(_), Some(_)) => {
                let detail = "`tasks` and `from` say two things";
                return Err(ApiError::invalid(detail).help("give one of the two"));
            }
            (_, Some(task)) => What::From(task),
            (Some(Tasks::All), None) => What::All,
            (Some(Tasks::Failed) | None, None) => What::Failed,
        };
        Ok(RerunRequest { run, what, latest, preview, who: caller.who().to_owned() })
    }
}

pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, ApiError> {
    let run = find(&app, &id).await?;
    if run.head.state.is_final() {
        let detail = format!("run `{id}` has already ended: {}", run.head.state.label());
        return Err(ApiError::new(ErrorCode::Conflict, detail));
    }
    app.backend.cancel(&id, caller.who()).await?;
    let body = json!({ "id": id, "cancel_requested": true });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    /// `10s`; at most 25 s.
    timeout: Option<String>,
}

pub(super) async fn wait(
    State(app): State<App>,
    Path(id): Path<RunId>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<Value>, ApiError> {
    let timeout = match query.timeout.as_deref() {
        None => WAIT_MAX,
        Some(text) => tidemill_model::time::parse_duration(text)
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
    };
    find(&app, &id).await?;
    let state = app.backend.wait(&id, timeout.min(WAIT_MAX)).await?;
    Ok(Json(json!({ "id": id, "state": state.label(), "finished": state.is_final() })))
}
