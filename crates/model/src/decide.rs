//! What should happen next inside one run.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::dag::{Dag, Task};
use crate::event::{LostCause, RunEvent};
use crate::expr::{Path, Scope};
use crate::id::TaskIx;
use crate::outputs::Output;
use crate::retry::asked_wait;
use crate::run::{DagRun, LOST_ATTEMPTS_MAX};
use crate::state::{RunState, TaskState};
use crate::table::{FailureKind, TaskError, TaskResult};
use crate::template::Template;
use crate::time::Timestamp;
use crate::trigger_rule::Verdict;

/// The events that follow from the state of a run and the time. Apply them, then ask again: an
/// empty answer means that the run waits for an attempt, a slot or a timer.
///
/// It touches only what the last events changed, so a run of n tasks costs n steps in all: what is
/// ready or due, and, once, every task of a run that ends or is cancelled.
pub fn decide(run: &DagRun, now: Timestamp) -> Vec<RunEvent> {
    if run.head.state.is_final() {
        return Vec::new();
    }
    if run.head.cancel_requested {
        return wind_down(run, now);
    }
    if run.head.state == RunState::Queued {
        return Vec::new();
    }
    let mut events: Vec<RunEvent> =
        run.due(now).map(|task| RunEvent::TaskQueued { task, at: now }).collect();
    events.extend(run.ready().filter_map(|task| settle_pending(run, task, now)));
    if events.is_empty() && run.unfinished() == 0 {
        events.push(RunEvent::Finished { state: final_state(run), at: now });
    }
    events
}

/// Ends what is not running; running attempts end by their own report.
fn wind_down(run: &DagRun, now: Timestamp) -> Vec<RunEvent> {
    if run.unfinished() == 0 {
        return vec![RunEvent::Finished { state: final_state(run), at: now }];
    }
    if run.unfinished() as usize == run.running().len() {
        return Vec::new();
    }
    run.tasks()
        .iter()
        .enumerate()
        .filter(|(_, task)| !task.state.is_final() && task.state != TaskState::Running)
        .map(|(i, _)| RunEvent::TaskCancelled { task: TaskIx(i as u32), at: now })
        .collect()
}

fn settle_pending(run: &DagRun, task: TaskIx, now: Timestamp) -> Option<RunEvent> {
    let event = match run.verdict(task) {
        Verdict::Wait => return None,
        Verdict::Skip => RunEvent::TaskSkipped {
            task,
            reason: "its trigger rule cannot hold any more".to_owned(),
            at: now,
        },
        Verdict::UpstreamFailed => RunEvent::TaskUpstreamFailed { task, at: now },
        Verdict::Run => match run.dag().task(task).when.as_ref() {
            None => RunEvent::TaskQueued { task, at: now },
            Some(when) => match when.eval_bool(&scope_for(run, &when.references())) {
                Ok(true) => RunEvent::TaskQueued { task, at: now },
                Ok(false) => RunEvent::TaskSkipped {
                    task,
                    reason: format!("`when: {}` is false", when.source()),
                    at: now,
                },
                Err(error) => RunEvent::TaskFailed {
                    task,
                    error: TaskError::new(FailureKind::Expression, error.message)
                        .at(Some(format!("`when` of task `{}`", run.dag().task(task).name))),
                    at: now,
                },
            },
        },
    };
    Some(event)
}

/// The state of a run in which nothing is unfinished: its leaves decide. A leaf is a task that
/// nothing waits for; what a rerun removed waits for nothing.
fn final_state(run: &DagRun) -> RunState {
    let states = || run.tasks().iter().map(|task| task.state);
    if run.head.cancel_requested && states().any(|state| state == TaskState::Cancelled) {
        return RunState::Cancelled;
    }
    let removed = |ix: &TaskIx| run.task(*ix).state == TaskState::Removed;
    let failed = states().enumerate().any(|(i, state)| {
        matches!(state, TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled)
            && run.dag().downstream(TaskIx(i as u32)).iter().all(removed)
    });
    if failed { RunState::Failed } else { RunState::Succeeded }
}

/// The event for an attempt that failed: with a retry while the policy allows one.
pub fn settle_failure(run: &DagRun, task: TaskIx, error: TaskError, now: Timestamp) -> RunEvent {
    let spec = run.dag().task(task);
    let state = run.task(task);
    let retry_at = (error.kind.is_retryable()
        && state.retries < spec.retry.limit
        && !run.head.cancel_requested)
        .then(|| {
            let own = spec.retry.wait(&run.head.id, &spec.name, state.retries + 1);
            now.plus(asked_wait(own, error.retry_after))
        });
    RunEvent::AttemptFailed { task, attempt: state.attempts, error, retry_at, at: now }
}

/// The event for an attempt that was under way when the server ended.
pub fn settle_lost(run: &DagRun, task: TaskIx, cause: LostCause, now: Timestamp) -> RunEvent {
    let state = run.task(task);
    let budget = cause == LostCause::Shutdown || state.lost < LOST_ATTEMPTS_MAX;
    RunEvent::AttemptLost {
        task,
        attempt: state.attempts,
        cause,
        again: budget && !run.head.cancel_requested,
        at: now,
    }
}

/// What expressions may see of a run: only the places they name are put together.
pub fn scope_for<'a>(run: &DagRun, paths: impl IntoIterator<Item = &'a Path>) -> Scope {
    let mut scope = Scope::new();
    let mut tasks = Map::new();
    for path in paths {
        match path.first().map(String::as_str) {
            Some("params") => {
                scope.entry("params").or_insert_with(|| Value::Object(run.head.params.clone()));
            }
            Some("run") => {
                scope.entry("run").or_insert_with(|| run_value(run));
            }
            Some("vars") => {
                scope.entry("vars").or_insert_with(|| vars_value(run));
            }
            Some("tasks") => {
                if let Some((name, value)) = path.get(1).and_then(|n| task_value(run, n, path)) {
                    tasks.insert(name, value);
                }
            }
            _ => {}
        }
    }
    if !tasks.is_empty() {
        scope.insert("tasks".to_owned(), Value::Object(tasks));
    }
    scope
}

/// The values of `vars`, each seen by those after it. What has no value is left out, and whoever
/// reads it has none either.
fn vars_value(run: &DagRun) -> Value {
    let dag = run.dag();
    let paths: Vec<Path> = dag.vars.values().flat_map(Template::references).collect();
    let others = paths.iter().filter(|path| path.first().is_some_and(|root| root != "vars"));
    let mut scope = scope_for(run, others);
    let mut vars = Map::new();
    for (name, template) in &dag.vars {
        scope.insert("vars".to_owned(), Value::Object(vars.clone()));
        if let Ok(value) = template.render(&scope) {
            vars.insert(name.to_string(), value);
        }
    }
    Value::Object(vars)
}

fn run_value(run: &DagRun) -> Value {
    let head = &run.head;
    let time = head.logical_time();
    let interval = head.interval.map_or((time, time), |i| (i.start, i.end));
    json!({
        "id": head.id.to_string(),
        "dag": head.id.dag.as_str(),
        "number": head.id.number,
        "version": head.version.as_str(),
        "trigger": head.trigger.label(),
        "logical_time": time.to_string(),
        "interval": {"start": interval.0.to_string(), "end": interval.1.to_string()},
    })
}

fn task_value(run: &DagRun, name: &str, path: &Path) -> Option<(String, Value)> {
    let dag: &Arc<Dag> = run.dag();
    // `tasks.group.member.rows` names a member of a group, `tasks.orders.rows` a plain task.
    let ix = dag.find(name).or_else(|| dag.find(&format!("{name}.{}", path.get(2)?)))?;
    let task = run.task(ix);
    let result = task.result.as_deref();
    let rows = result.map_or(0, |r| r.counts.rows_out);
    let value = json!({
        "state": task.state.label(),
        "rows": rows,
        "rejected": result.map_or(0, |r| r.counts.rejected_total()),
        "duplicates": result.map_or(0, |r| r.counts.duplicates),
        "attempts": task.attempts,
        "outputs": outputs(dag.task(ix), result),
    });
    Some((name.to_owned(), value))
}

/// The values that a task left; null for each that it says it leaves and did not, because it was
/// skipped or failed.
fn outputs(task: &Task, result: Option<&TaskResult>) -> Map<String, Value> {
    let is_value = |output: &&Output| matches!(output, Output::Value(_));
    let declared = task.outputs.iter().filter(|(_, output)| is_value(output));
    let mut values: Map<String, Value> =
        declared.map(|(name, _)| (name.to_string(), Value::Null)).collect();
    values.extend(result.map(|result| result.outputs.clone()).unwrap_or_default());
    values
}

/// The names below `run.` that expressions may read.
pub const RUN_FIELDS: &[&str] =
    &["id", "dag", "number", "version", "trigger", "logical_time", "interval"];

/// The names below `tasks.NAME.` that expressions may read.
pub const TASK_FIELDS: &[&str] =
    &["state", "rows", "rejected", "duplicates", "attempts", "outputs"];
