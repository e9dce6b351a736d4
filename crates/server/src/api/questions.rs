//! Questions to people: list, answer.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidemill_model::RunId;
use tidemill_model::dag::Action;

use super::view::{At, Page};
use crate::app::App;
use crate::backend::{AnswerRequest, Question};
use crate::error::ApiError;
use crate::extract::{Body, Path};
use crate::routes::Caller;

/// A task that waits for a person.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    run: RunId,
    task: String,
    message: Option<String>,
    /// What the person is asked for besides, by name.
    params: Map<String, Value>,
    since: Option<At>,
    /// The runs that called for the run, from the nearest on.
    callers: Vec<RunId>,
}

impl From<&Question> for Asked {
    fn from(question: &Question) -> Self {
        let Question { run, dag, at, task, callers } = question;
        let params = match &dag.task(at.task).action {
            Action::Approve(approve) => {
                let json = |param| serde_json::to_value(param).unwrap_or_default();
                approve.params.iter().map(|(name, param)| (name.to_string(), json(param))).collect()
            }
            _ => Map::new(),
        };
        Self {
            run: run.clone(),
            task: dag.name_of(*at),
            message: task.reason.clone(),
            params,
            since: task.started_at.map(At),
            callers: callers.clone(),
        }
    }
}

pub(super) async fn list(State(app): State<App>) -> Json<Page<Asked>> {
    let items = app.backend.questions().iter().map(Asked::from).collect();
    Json(Page { items, next: None })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerBody {
    approved: bool,
    #[serde(default)]
    values: Map<String, Value>,
    note: Option<String>,
}

pub(super) async fn answer(
    State(app): State<App>,
    Path((run, task)): Path<(RunId, String)>,
    caller: Caller,
    Body(body): Body<AnswerBody>,
) -> Result<Response, ApiError> {
    let (_, subject) = super::subject::find(&app, &run, &task).await?;
    let AnswerBody { approved, values, note } = body;
    let note = note.filter(|note| !note.trim().is_empty());
    let who = caller.who().to_owned();
    let answer = AnswerRequest { task: subject.at, approved, values, note, who };
    app.backend.answer(&run, answer).await?;
    let body = json!({ "run": run, "task": subject.name, "approved": approved });
    Ok((StatusCode::OK, Json(body)).into_response())
}
