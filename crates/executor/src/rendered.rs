//! What an attempt would do, with every expression evaluated and secrets by their names.

use serde_json::{Map, Value, json};
use tidemill_model::dag::{Command, Task};
use tidemill_model::expr::{ExprError, Scope};
use tidemill_model::template::as_text;
use tidemill_model::{Action, AttemptOrder, TaskError};

use crate::scope::{expression_error, without_secrets};

/// The settings or the words of an attempt's task, as a DAG file has them: `{ingest: {csv: {…}}}`,
/// `{run: […], env: {…}}`. The variables of a script are among `env`.
pub fn rendered(order: &AttemptOrder) -> Result<Value, TaskError> {
    let task = order.dag.task(order.id.task.task);
    let scope = without_secrets(order, task);
    let wrong = |error: ExprError| expression_error(task, task.action.key(), &error);
    let mut form = Map::new();
    let mut env = Map::new();
    let does = match &task.action {
        Action::Ingest { connector: kind, config }
        | Action::Transform { kind, config, .. }
        | Action::Load { connector: kind, config } => {
            json!({(kind.as_str()): config.render(&scope).map_err(wrong)?})
        }
        Action::Run(command) => {
            if let Command::Shell { variables, .. } = command {
                for (name, expr) in variables {
                    env.insert(name.clone(), expr.eval(&scope).map_err(wrong)?);
                }
            }
            match rendered_command(command, &scope).map_err(wrong)? {
                Value::Array(mut parts) if matches!(command, Command::Shell { .. }) => {
                    parts.swap_remove(0)
                }
                words => words,
            }
        }
        _ => json!({}),
    };
    form.insert(task.action.key().to_owned(), does);
    if let Some(workdir) = workdir(task, &scope).map_err(wrong)? {
        form.insert("workdir".to_owned(), workdir.into());
    }
    for (name, value) in &task.env {
        env.insert(name.clone(), value.render(&scope).map_err(wrong)?);
    }
    let bind: Result<Map<String, Value>, ExprError> =
        task.bind.iter().map(|(name, expr)| Ok((name.to_string(), expr.eval(&scope)?))).collect();
    for (key, values) in [("env", env), ("bind", bind.map_err(wrong)?)] {
        if !values.is_empty() {
            form.insert(key.to_owned(), Value::Object(values));
        }
    }
    Ok(Value::Object(form))
}

/// The folder in which the command of a task runs, from that of the DAG, if it is not that one.
pub(crate) fn workdir(task: &Task, scope: &Scope) -> Result<Option<String>, ExprError> {
    let workdir = task.workdir.as_ref().map(|workdir| workdir.render(scope)).transpose()?;
    Ok(workdir.as_ref().map(as_text))
}

/// The words of a command; of a script, its text and the values of its variables.
pub(crate) fn rendered_command(command: &Command, scope: &Scope) -> Result<Value, ExprError> {
    match command {
        Command::Argv(words) => {
            let words: Result<Vec<_>, _> =
                words.iter().map(|word| word.render(scope).map(|word| as_text(&word))).collect();
            Ok(json!(words?))
        }
        Command::Shell { script, variables } => {
            let values: Result<Vec<_>, _> =
                variables.iter().map(|(_, expr)| expr.eval(scope)).collect();
            Ok(json!([script, values?]))
        }
    }
}
