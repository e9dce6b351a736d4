//! Tasks whose attempts wait: for an instant, for a person, for another run.

use serde_json::{Map, Value};

use super::scope_for;
use crate::dag::{Action, Call, Wait};
use crate::event::RunEvent;
use crate::id::{Instance, TaskIx};
use crate::run::DagRun;
use crate::state::{RunState, TaskState};
use crate::table::{Counts, FailureKind, TableRef, TaskError, TaskResult};
use crate::template::Template;
use crate::time::{Timestamp, parse_duration};

/// Calls that may lead to a run, one inside the other.
pub const CALL_DEPTH_MAX: u32 = 16;

fn rendered(
    run: &DagRun,
    at: Instance,
    key: &str,
    template: &Template,
) -> Result<Value, TaskError> {
    let value = template.render(&scope_for(run, at, &template.references()));
    value.map_err(|error| wrong(run, at, key, error.message))
}

fn wrong(run: &DagRun, at: Instance, key: &str, message: impl AsRef<str>) -> TaskError {
    TaskError::new(FailureKind::Expression, message)
        .at(Some(format!("`{key}` of task `{}`", run.dag().name_of(at))))
}

/// When a wait is over that begins now.
pub(super) fn until(
    run: &DagRun,
    at: Instance,
    wait: &Wait,
    now: Timestamp,
) -> Result<Timestamp, TaskError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    match wait {
        Wait::For(span) => {
            let value = rendered(run, at, "wait.for", span)?;
            let span = parse_duration(&text(&value)).map_err(|_| {
                wrong(run, at, "wait.for", format!("{value} is no span of time such as `10m`"))
            })?;
            Ok(now.plus(span))
        }
        Wait::Until(instant) => {
            let value = rendered(run, at, "wait.until", instant)?;
            text(&value).parse().map_err(|_| {
                let message = format!("{value} is no instant such as `2026-01-31T02:00:00Z`");
                wrong(run, at, "wait.until", message)
            })
        }
    }
}

/// The params of the run that an instance calls for.
pub fn params_of_call(
    run: &DagRun,
    at: Instance,
    call: &Call,
) -> Result<Map<String, Value>, TaskError> {
    match rendered(run, at, "call.params", &call.params)? {
        Value::Object(params) => Ok(params),
        Value::Null => Ok(Map::new()),
        other => Err(wrong(run, at, "call.params", format!("{other} is no mapping of params"))),
    }
}

/// The question that an instance asks, once its attempt is under way.
pub fn question_of(run: &DagRun, at: Instance) -> Option<String> {
    let Action::Approve(approve) = &run.dag().task(at.task).action else { return None };
    let message = approve.message.as_ref()?;
    match rendered(run, at, "approve.message", message) {
        Ok(Value::String(text)) => Some(text),
        Ok(other) => Some(other.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// The event for an instance whose called run has ended.
pub fn settle_call(run: &DagRun, at: Instance, called: &DagRun, now: Timestamp) -> RunEvent {
    let attempt = run.attempts_of(at);
    let id = &called.head.id;
    match called.head.state {
        RunState::Succeeded => match result_of_call(run, at, called) {
            Ok(result) => RunEvent::AttemptSucceeded { task: at, attempt, result, at: now },
            Err(error) => super::settle_failure(run, at, error, now),
        },
        RunState::Cancelled if run.head.cancel_requested || run.is_stopping(at) => {
            RunEvent::AttemptCancelled { task: at, attempt, at: now }
        }
        RunState::Cancelled => {
            let error = TaskError::new(FailureKind::Refused, format!("run {id} was cancelled"));
            super::settle_failure(run, at, error, now)
        }
        _ => {
            let (what, again) = blame(called);
            let error = TaskError::new(FailureKind::Inside, format!("run {id} failed: {what}"));
            super::fail(run, at, error, again, now)
        }
    }
}

/// The first task to blame for a failed run, and whether trying it again can help.
fn blame(called: &DagRun) -> (String, bool) {
    let dag = called.dag();
    let failed = called.tasks().iter().enumerate().filter(|(i, task)| {
        let is_inside = dag.tasks()[*i].group.is_some();
        task.state == TaskState::Failed && !is_inside
    });
    let mut failed = failed.peekable();
    let first = failed.peek().map(|(i, task)| {
        let line = task.error.as_ref().map_or("", |error| error.message.as_str());
        format!("`{}`: {}", dag.task(TaskIx(*i as u32)).name, line.lines().next().unwrap_or(""))
    });
    let again =
        failed.any(|(_, task)| task.error.as_ref().is_none_or(|error| error.kind.is_retryable()));
    (first.unwrap_or_else(|| "its tasks did not run".to_owned()), again)
}

/// What a call gives: the outputs of the called run's tasks, by task, and one of its tables.
fn result_of_call(run: &DagRun, at: Instance, called: &DagRun) -> Result<TaskResult, TaskError> {
    let task = run.dag().task(at.task);
    let mut result = TaskResult::default();
    for (state, spec) in called.tasks().iter().zip(called.dag().tasks()) {
        let outputs = state.result.as_ref().map(|result| &result.outputs);
        if let Some(outputs) = outputs.filter(|outputs| !outputs.is_empty()) {
            result.outputs.insert(spec.name.to_string(), Value::Object(outputs.clone()));
        }
    }
    result.outputs.insert("run".to_owned(), called.head.id.to_string().into());
    let Action::Call(Call { table: Some(wanted), .. }) = &task.action else { return Ok(result) };
    let made = called.tasks().iter().flat_map(|task| &task.result).flat_map(|r| &r.tables);
    let Some(found) = made.into_iter().find(|table| table.name == *wanted) else {
        let message = format!("run {} made no table `{wanted}`", called.head.id);
        return Err(TaskError::new(FailureKind::Misconfigured, message)
            .at(Some(format!("`call.table` of task `{}`", run.dag().name_of(at)))));
    };
    result.counts = Counts { rows_in: found.rows, rows_out: found.rows, ..Counts::default() };
    result.tables = vec![TableRef { name: task.name.to_string(), ..found.clone() }];
    Ok(result)
}
