//! One operation on every run that a filter chooses.

use std::future::Future;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tidemill_model::{DagId, RunId, Timestamp};
use tidemill_store::RunQuery;

use super::operations::MarkBody;
use super::runs::{RerunBody, states_of};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Body, Nothing};
use crate::routes::Caller;

/// Runs that one call deals with at most.
const RUNS_MAX: usize = 1_000;
/// Runs that are looked up at once.
const PAGE: usize = 200;
/// Refusals that are told one by one.
const REFUSED_MAX: usize = 100;

/// Which runs: all that fit everything that is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    dag: Option<DagId>,
    /// States, divided by commas.
    state: Option<String>,
    /// Instants.
    created_after: Option<String>,
    created_before: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkBody<T> {
    filter: Filter,
    #[serde(default)]
    preview: bool,
    with: Option<T>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Bulk {
    /// The runs that the filter chose, newest first.
    runs: Vec<RunId>,
    /// How many of them it was done to.
    done: usize,
    /// Those that it could not be done to, and why.
    refused: Vec<Refusal>,
    /// There are more: ask again.
    more: bool,
}

#[derive(Debug, Serialize)]
struct Refusal {
    id: RunId,
    detail: String,
}

impl Filter {
    /// The runs, newest first, and whether there are more.
    async fn runs(&self, app: &App) -> Result<(Vec<RunId>, bool), ApiError> {
        let states = states_of(self.state.as_deref())?;
        if self.dag.is_none() && states.is_empty() && self.created_after.is_none() {
            let detail = "the filter chooses every run there is";
            return Err(
                ApiError::invalid(detail).help("name a `dag`, a `state` or a `created_after`")
            );
        }
        let after_this = self.created_after.as_deref().map(instant).transpose()?;
        let before_this = self.created_before.as_deref().map(instant).transpose()?;
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let (dag, states) = (self.dag.clone(), states.clone());
            let page = app.backend.runs(RunQuery { dag, states, after, limit: PAGE }).await?;
            for run in &page.runs {
                if after_this.is_some_and(|at| run.head.created_at < at) {
                    return Ok((found, false));
                }
                if before_this.is_none_or(|at| run.head.created_at < at) {
                    if found.len() == RUNS_MAX {
                        return Ok((found, true));
                    }
                    found.push(run.head.id.clone());
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((found, false)),
            }
        }
    }
}

fn instant(text: &str) -> Result<Timestamp, ApiError> {
    text.parse().map_err(|_| {
        ApiError::invalid(format!("`{text}` is no instant"))
            .help("write it with its offset, as 2026-01-31T08:00:00Z")
    })
}

/// Does it to one run after the other: oldest first, as they would have gone.
async fn each<T: Clone, F>(
    app: &App,
    body: BulkBody<T>,
    without: Option<T>,
    act: impl Fn(RunId, T) -> F,
) -> Result<Json<Bulk>, ApiError>
where
    F: Future<Output = Result<(), ApiError>>,
{
    let Some(with) = body.with.or(without) else {
        return Err(ApiError::invalid("`with` is missing")
            .help("put there what the operation on one run takes"));
    };
    let (runs, more) = body.filter.runs(app).await?;
    let mut bulk = Bulk { runs, done: 0, refused: Vec::new(), more };
    if body.preview {
        return Ok(Json(bulk));
    }
    for id in bulk.runs.iter().rev() {
        match act(id.clone(), with.clone()).await {
            Ok(()) => bulk.done += 1,
            Err(error) if bulk.refused.len() < REFUSED_MAX => {
                bulk.refused.push(Refusal { id: id.clone(), detail: error.detail });
            }
            Err(_) => {}
        }
    }
    Ok(Json(bulk))
}

pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BulkBody<Nothing>>,
) -> Result<Json<Bulk>, ApiError> {
    let act = async |id: RunId, Nothing {}| app.backend.cancel(&id, caller.who()).await;
    each(&app, body, Some(Nothing {}), act).await
}

pub(super) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BulkBody<Nothing>>,
) -> Result<Json<Bulk>, ApiError> {
    hold(&app, body, true, caller).await
}

pub(super) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BulkBody<Nothing>>,
) -> Result<Json<Bulk>, ApiError> {
    hold(&app, body, false, caller).await
}

async fn hold(
    app: &App,
    body: BulkBody<Nothing>,
    held: bool,
    caller: Caller,
) -> Result<Json<Bulk>, ApiError> {
    let act = async |id: RunId, Nothing {}| app.backend.hold(&id, held, caller.who()).await;
    each(app, body, Some(Nothing {}), act).await
}

pub(super) async fn rerun(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BulkBody<RerunBody>>,
) -> Result<Json<Bulk>, ApiError> {
    let act = async |id: RunId, with: RerunBody| {
        app.backend.rerun(with.of(id, caller)?).await.map(|_| ())
    };
    each(&app, body, Some(RerunBody::default()), act).await
}

pub(super) async fn mark(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<BulkBody<MarkBody>>,
) -> Result<Json<Bulk>, ApiError> {
    let act =
        async |id: RunId, with: MarkBody| app.backend.mark(with.of(id, caller)?).await.map(|_| ());
    each(&app, body, None, act).await
}
