//! What people do with runs besides starting and ending them: let them stand still, say how tasks
//! ended, hasten retries, leave notes.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tidemill_model::rerun::{MarkRequest, Marked};
use tidemill_model::run::NOTE_CHARS_MAX;
use tidemill_model::{RunId, TaskState};

use crate::app::App;
use crate::backend::NoteRequest;
use crate::error::ApiError;
use crate::extract::{Body, Nothing, Path};
use crate::routes::Caller;

pub(super) async fn pause(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, ApiError> {
    hold(&app, &id, true, caller).await
}

pub(super) async fn resume(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, ApiError> {
    hold(&app, &id, false, caller).await
}

async fn hold(app: &App, id: &RunId, held: bool, caller: Caller) -> Result<Json<Value>, ApiError> {
    super::runs::find(app, id).await?;
    app.backend.hold(id, held, caller.who()).await?;
    Ok(Json(json!({ "id": id, "paused": held })))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkBody {
    state: Mark,
    #[serde(default)]
    tasks: Vec<String>,
    note: Option<String>,
    #[serde(default)]
    preview: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Succeeded,
    Failed,
    Skipped,
}

impl MarkBody {
    pub(super) fn of(self, run: RunId, caller: Caller) -> Result<MarkRequest, ApiError> {
        let Self { state, tasks, note, preview } = self;
        let state = match state {
            Mark::Succeeded => TaskState::Succeeded,
            Mark::Failed => TaskState::Failed,
            Mark::Skipped => TaskState::Skipped,
        };
        let note = note.map(|note| checked(&note)).transpose()?.filter(|note| !note.is_empty());
        Ok(MarkRequest { run, tasks, state, note, preview, who: caller.who().to_owned() })
    }
}

pub(super) async fn mark(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(body): Body<MarkBody>,
) -> Result<Json<Marked>, ApiError> {
    Ok(Json(app.backend.mark(body.of(id, caller)?).await?))
}

pub(super) async fn retry(
    State(app): State<App>,
    Path((id, task)): Path<(RunId, String)>,
    caller: Caller,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, ApiError> {
    let (_, subject) = super::subject::find(&app, &id, &task).await?;
    app.backend.hasten(&id, subject.at, caller.who()).await?;
    Ok(Json(json!({ "run": id, "task": subject.name })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteBody {
    text: String,
    task: Option<String>,
}

pub(super) async fn note(
    State(app): State<App>,
    Path(id): Path<RunId>,
    caller: Caller,
    Body(body): Body<NoteBody>,
) -> Result<Json<Value>, ApiError> {
    let NoteBody { text, task } = body;
    let text = checked(&text)?;
    let answer = json!({ "run": id, "task": task, "text": text });
    app.backend.note(NoteRequest { run: id, task, text, who: caller.who().to_owned() }).await?;
    Ok(Json(answer))
}

/// A note as it is kept.
fn checked(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars > NOTE_CHARS_MAX {
        let detail =
            format!("a note has at most {NOTE_CHARS_MAX} characters, this one has {chars}");
        return Err(ApiError::invalid(detail).help("say it shorter, or link to where it is said"));
    }
    Ok(text.to_owned())
}
