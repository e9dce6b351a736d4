//! What should happen next to a group, or to a mapped task as a whole.

use serde_json::Value;

use super::{begin, fail, is_bad, scope_for, scope_from, take_back};
use crate::dag::{Action, Group, ITEMS_MAX, Tolerance};
use crate::event::{MapPlan, RunEvent};
use crate::expr::{Expr, ExprError};
use crate::id::{Instance, TaskIx};
use crate::run::{DagRun, MapRun, TaskRun};
use crate::state::TaskState;
use crate::table::{Counts, FailureKind, TableRef, TaskError, TaskResult};
use crate::time::{Timestamp, human_duration};
use crate::words::counted;

/// The events that follow for a container that goes on.
pub(super) fn settle_container(run: &DagRun, at: Instance, now: Timestamp) -> Vec<RunEvent> {
    let Some(task) = run.instance(at) else { return Vec::new() };
    if run.is_map(at) {
        let next = run.next_items(at.task);
        if !next.is_empty() {
            return next.map(|item| begin(run, Instance::of_item(at.task, item), now)).collect();
        }
    }
    if run.open_inside(at) > 0 {
        return if task.stopping || run.is_stopping(at) {
            wind_down_inside(run, at, now)
        } else {
            Vec::new()
        };
    }
    vec![if run.is_map(at) { end_map(run, at, task, now) } else { end_group(run, at, task, now) }]
}

/// A group that is to end takes back what is not under way; `finally` goes on.
fn wind_down_inside(run: &DagRun, at: Instance, now: Timestamp) -> Vec<RunEvent> {
    let inside = run.inside(at).into_iter().filter(|at| run.is_stopping(*at));
    inside.filter_map(|task| take_back(run, task, now)).collect()
}

// ---- mapping ----------------------------------------------------------------------------------

/// The list that a task maps over.
pub(crate) fn items_of(run: &DagRun, root: TaskIx, list: &Expr) -> Result<Vec<Value>, ExprError> {
    match list.eval(&scope_for(run, root.into(), &list.references()))? {
        Value::Array(items) if items.len() > ITEMS_MAX => Err(ExprError::value(format!(
            "`{}` gives a list of {} items, at most {ITEMS_MAX} can be mapped over",
            list.source().trim(),
            items.len()
        ))),
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        other => {
            let kind = match other {
                Value::Object(_) => "a mapping",
                Value::String(_) => "a text",
                Value::Bool(_) => "a truth value",
                _ => "a number",
            };
            Err(ExprError::value(format!("`{}` gives {kind}, not a list", list.source().trim())))
        }
    }
}

/// What a mapped task is to do; an error comes with the key to blame.
pub(super) fn plan_of(run: &DagRun, root: TaskIx) -> Result<MapPlan, (&'static str, ExprError)> {
    let Some(mapping) = run.dag().task(root).mapping.as_ref() else {
        return Ok(MapPlan { items: 0, tolerated: 0 });
    };
    let list = items_of(run, root, &mapping.list).map_err(|error| ("for_each", error))?;
    let items = list.len() as u32;
    let tolerated = match &mapping.tolerate {
        Tolerance::Nothing => 0,
        Tolerance::Percent(share) => (f64::from(items) * share / 100.0).floor() as u32,
        Tolerance::Items(count) => {
            let scope = scope_for(run, root.into(), &count.references());
            let value = count.eval(&scope).map_err(|error| ("tolerate", error))?;
            let count = value.as_u64().ok_or_else(|| {
                let message =
                    format!("`{}` gives {value}, not a number of items", count.source().trim());
                ("tolerate", ExprError::value(message))
            })?;
            u32::try_from(count).unwrap_or(u32::MAX)
        }
    };
    Ok(MapPlan { items, tolerated })
}

/// All items have ended that had begun, and none begins any more.
fn end_map(run: &DagRun, at: Instance, task: &TaskRun, now: Timestamp) -> RunEvent {
    let attempt = task.attempts;
    let counts = task.map.as_deref().cloned().unwrap_or_default();
    let cut_short = run.head.cancel_requested || run.is_stopping(at);
    if cut_short && (counts.begun < counts.items || counts.of(TaskState::Cancelled) > 0) {
        return RunEvent::AttemptCancelled { task: at, attempt, at: now };
    }
    if counts.failed() > counts.tolerated {
        let mut message =
            format!("{} of {} failed", counts.failed(), counted(counts.items, "item"));
        if counts.tolerated > 0 {
            let are = if counts.tolerated == 1 { "is" } else { "are" };
            message.push_str(&format!(", {} {are} tolerated", counts.tolerated));
        }
        if counts.begun < counts.items {
            let left = counts.items - counts.begun;
            message.push_str(&format!("; {} did not begin any more", counted(left, "item")));
        }
        message.push_str(&first_failure(run, at.task));
        let error = TaskError::new(FailureKind::Inside, message);
        return fail(run, at, error, false, now);
    }
    if counts.of(TaskState::Skipped) == counts.items {
        let reason = "every item was skipped".to_owned();
        return RunEvent::AttemptSkipped { task: at, attempt, reason, at: now };
    }
    let ended = || run.map(at.task).into_iter().flat_map(MapRun::ended);
    let results = || ended().filter_map(|(_, _, result)| result);
    let has_tables = results().any(|result| !result.tables.is_empty());
    if has_tables && cut_short {
        return RunEvent::AttemptCancelled { task: at, attempt, at: now };
    }
    if has_tables {
        return RunEvent::AttemptGathers { task: at, attempt, at: now };
    }
    let result = TaskResult {
        counts: results().fold(Counts::default(), |sum, result| sum.plus(&result.counts)),
        warnings: tolerated(run, at.task).into_iter().collect(),
        ..TaskResult::default()
    };
    RunEvent::AttemptSucceeded { task: at, attempt, result, at: now }
}

/// A warning about failed items that do not fail the whole.
pub(crate) fn tolerated(run: &DagRun, task: TaskIx) -> Option<String> {
    let counts = run.task(task).map.as_deref()?;
    let (failed, items) = (counts.failed(), counted(counts.items, "item"));
    let first = first_failure(run, task);
    (failed > 0).then(|| format!("{failed} of {items} failed, which is tolerated{first}"))
}

/// What the first failed item of a mapped task said, for the end of a sentence.
fn first_failure(run: &DagRun, task: TaskIx) -> String {
    let first = run.map(task).and_then(|map| map.first_failure());
    first.map_or_else(String::new, |(item, line)| {
        format!("; `{}`: {line}", run.dag().name_of(Instance::of_item(task, *item)))
    })
}

// ---- groups -----------------------------------------------------------------------------------

/// All members of a group have ended: its leaves decide how it did.
fn end_group(run: &DagRun, at: Instance, task: &TaskRun, now: Timestamp) -> RunEvent {
    let dag = run.dag();
    let attempt = task.attempts;
    let state = |member: &TaskIx| {
        let member = Instance { task: *member, ..at };
        run.instance(member).map_or(TaskState::Pending, |task| task.state)
    };
    if task.stopping {
        let limit = dag.task(at.task).timeout.unwrap_or_default();
        let message = format!("took longer than its timeout of {}", human_duration(limit));
        let error = TaskError::new(FailureKind::Timeout, message)
            .help(Some("give the group more time with `timeout`, or less to do".to_owned()));
        return fail(run, at, error, true, now);
    }
    let leaves = dag.leaves(at.task);
    let was_cancelled = dag.members(at.task).iter().any(|m| state(m) == TaskState::Cancelled);
    if was_cancelled && (run.head.cancel_requested || run.is_stopping(at)) {
        return RunEvent::AttemptCancelled { task: at, attempt, at: now };
    }
    if leaves.iter().any(|leaf| is_bad(state(leaf))) {
        let (error, again) = blame(run, at);
        return fail(run, at, error, again, now);
    }
    if leaves.iter().all(|leaf| state(leaf) == TaskState::Skipped) {
        let reason = "every member that decides was skipped".to_owned();
        return RunEvent::AttemptSkipped { task: at, attempt, reason, at: now };
    }
    match result_of(run, at) {
        Ok(result) => RunEvent::AttemptSucceeded { task: at, attempt, result, at: now },
        Err((name, error)) => {
            let error = TaskError::new(FailureKind::Expression, error.message)
                .at(Some(format!("`outputs.{name}` of group `{}`", dag.name_of(at))));
            fail(run, at, error, false, now)
        }
    }
}

/// Why a group failed, and whether trying it again can help.
fn blame(run: &DagRun, group: Instance) -> (TaskError, bool) {
    let dag = run.dag();
    let members = dag.members(group.task).iter().filter(|task| !dag.task(**task).is_finally);
    let failed: Vec<(Instance, &TaskRun)> = members
        .map(|task| Instance { task: *task, ..group })
        .filter_map(|at| Some((at, run.instance(at)?)))
        .filter(|(_, task)| task.state == TaskState::Failed)
        .collect();
    let again = failed
        .iter()
        .any(|(_, task)| task.error.as_ref().is_none_or(|error| error.kind.is_retryable()));
    let message = match failed.as_slice() {
        [] => "its members did not run".to_owned(),
        [(at, task), others @ ..] => {
            let line = task.error.as_ref().map_or("", |error| error.message.as_str());
            let line = line.lines().next().unwrap_or_default();
            let more = match others.len() {
                0 => String::new(),
                1 => " (and another member failed)".to_owned(),
                n => format!(" (and {n} other members failed)"),
            };
            format!("`{}` failed: {line}{more}", dag.name_of(*at))
        }
    };
    (TaskError::new(FailureKind::Inside, message), again)
}

/// What a group gives: a table of a member, under its own name, and values.
fn result_of(run: &DagRun, at: Instance) -> Result<TaskResult, (String, ExprError)> {
    let dag = run.dag();
    let Action::Group(Group { table, outputs }) = &dag.task(at.task).action else {
        return Ok(TaskResult::default());
    };
    let mut result = TaskResult::default();
    if let Some((member, name)) = table {
        let member = run.instance(Instance { task: *member, ..at });
        if let Some(of_member) = member.and_then(|member| member.result.as_deref()) {
            let name_here = dag.task(at.task).name.to_string();
            let found = of_member.tables.iter().find(|table| table.name == *name);
            result.tables =
                found.map(|t| TableRef { name: name_here, ..t.clone() }).into_iter().collect();
            let rows = found.map_or(0, |table| table.rows);
            result.counts = Counts { rows_in: rows, rows_out: rows, ..Counts::default() };
        }
    }
    // What its members set aside counts for the group, whatever table it gives.
    for member in dag.members(at.task) {
        let member = run.instance(Instance { task: *member, ..at });
        if let Some(counts) = member.and_then(|m| m.result.as_deref()).map(|r| &r.counts) {
            let aside = Counts { rows_in: 0, rows_out: 0, ..counts.clone() };
            result.counts = std::mem::take(&mut result.counts).plus(&aside);
        }
    }
    for (name, expr) in outputs {
        let value = expr.eval(&scope_from(run, at, Some(at.task), &expr.references()));
        result.outputs.insert(name.to_string(), value.map_err(|e| (name.to_string(), e))?);
    }
    Ok(result)
}
