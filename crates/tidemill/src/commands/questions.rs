//! `tidemill questions`, `approve`, `reject`: what waits for a person, and the answers.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidemill_model::RunId;
use tidemill_model::dag::ParamKind;

use crate::access::Access;
use crate::cli::{Approve, Questions, Reject};
use crate::commands::run::{put_param, split_param};
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::view::Timestamped;

/// A task that waits for a person.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Question {
    pub(crate) run: String,
    pub(crate) task: String,
    pub(crate) message: Option<String>,
    pub(crate) params: Map<String, Value>,
    pub(crate) since: Option<Timestamped>,
    #[serde(default)]
    pub(crate) callers: Vec<String>,
}

/// What waits for a person now.
pub(crate) async fn asked(access: &Access) -> Result<Vec<Question>, Failure> {
    let mut answer = access.get("/api/v1/questions").await?;
    serde_json::from_value(answer["items"].take())
        .map_err(|error| Failure::server(format!("the server's answer cannot be read: {error}")))
}

pub(crate) fn list(globals: &Globals, command: &Questions) -> Result<(), Failure> {
    with_home(globals, None, Mode::Look, async |access| print(access, command).await)
}

async fn print(access: &Access, command: &Questions) -> Result<(), Failure> {
    if command.json {
        println!("{:#}", access.get("/api/v1/questions").await?["items"]);
        return Ok(());
    }
    let questions = asked(access).await?;
    if questions.is_empty() {
        println!("nothing waits for an answer");
    }
    for Question { run, task, message, params, since, .. } in questions {
        let since = since.map(|at| at.0.to_seconds_text()).unwrap_or_default();
        println!("{run} {task}  since {since}");
        if let Some(message) = message {
            println!("  {message}");
        }
        for (name, param) in params {
            let kind = param["type"].as_str().unwrap_or_default();
            let default = match &param["default"] {
                Value::Null => "needed".to_owned(),
                default => format!("default {default}"),
            };
            println!("  {name}: {kind}, {default}");
        }
    }
    Ok(())
}

pub(crate) fn approve(globals: &Globals, command: &Approve) -> Result<(), Failure> {
    with_home(globals, None, Mode::Look, async |access| say_yes(access, command).await)
}

async fn say_yes(access: &Access, command: &Approve) -> Result<(), Failure> {
    let Approve { run, task, params, note } = command;
    let questions = asked(access).await?;
    let id = run.to_string();
    let question = questions.iter().find(|asked| asked.run == id && asked.task == *task);
    let mut values = Map::new();
    for text in params {
        let (name, value) = split_param(text)?;
        let kind = question.and_then(|question| question.params.get(name)?.get("type").cloned());
        let kind = kind.and_then(|kind| serde_json::from_value::<ParamKind>(kind).ok());
        let value = kind.map_or_else(|| Value::from(value), |kind| kind.read_or_text(value));
        put_param(&mut values, name, value)?;
    }
    let body = json!({"approved": true, "values": values, "note": note});
    answer(access, run, task, &body).await?;
    println!("{run} {task}: yes");
    Ok(())
}

pub(crate) fn reject(globals: &Globals, command: &Reject) -> Result<(), Failure> {
    let Reject { run, task, note } = command;
    let body = json!({"approved": false, "note": note});
    with_home(globals, None, Mode::Look, async |access| answer(access, run, task, &body).await)?;
    println!("{run} {task}: no");
    Ok(())
}

/// Gives an answer.
pub(crate) async fn answer(
    access: &Access,
    run: &RunId,
    task: &str,
    body: &Value,
) -> Result<(), Failure> {
    access.post(&format!("/api/v1/runs/{run}/tasks/{task}/answer"), body).await.map(|_| ())
}
