//! What should happen next inside one run; of groups and mapped tasks, in [`container`]; what a
//! trigger makes of what has come, in [`starting`].

mod container;
mod starting;
pub mod waiting;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::dag::{Action, Dag};
use crate::event::{LostCause, MapPlan, RunEvent};
use crate::expr::{Expr, ExprError, Path, Scope};
use crate::id::{Instance, TaskIx};
use crate::retry::asked_wait;
use crate::run::apply::NOT_PART;
use crate::run::{DagRun, LOST_ATTEMPTS_MAX, MapRun};
use crate::state::{RunState, TaskState};
use crate::table::{FailureKind, TaskError, TaskResult};
use crate::template::Template;
use crate::time::{Timestamp, human_duration};
use crate::trigger_rule::Verdict;
use container::{plan_of, settle_container};

pub(crate) use container::{items_of, tolerated};
pub use starting::{TRIGGER_FIELDS, lane_of_start, params_of_start, trigger_value};

/// The events that follow from the state of a run and the time. Apply them, then ask again: an
/// empty answer means that the run waits for an attempt, a slot or a timer.
///
/// It touches only what the last events changed, so a run of n tasks costs n steps in all: what is
/// ready or due, and, once, every task of a run that ends or is cancelled.
pub fn decide(run: &DagRun, now: Timestamp) -> Vec<RunEvent> {
    if run.head.state.is_final() {
        return Vec::new();
    }
    let is_late = run.ends_at().is_some_and(|at| at <= now);
    if is_late && !run.head.cancel_requested && run.head.held_by.is_none() {
        return vec![RunEvent::TimedOut { at: now }];
    }
    // What a group that is to end holds does not begin any more, so that comes first.
    let late = run.due(now).filter(|_| run.head.held_by.is_none());
    let stopped: Vec<RunEvent> = late.filter_map(|at| stop_late(run, at, now)).collect();
    if !stopped.is_empty() {
        return stopped;
    }
    if run.head.cancel_requested {
        return wind_down(run, now);
    }
    if run.head.state == RunState::Queued {
        return Vec::new();
    }
    if run.head.held_by.is_some() && run.unfinished() > 0 {
        return Vec::new();
    }
    let again = run.due(now).filter(|at| !run.is_stopping(*at));
    let mut events: Vec<RunEvent> = again.map(|at| settle_due(run, at, now)).collect();
    events.extend(run.ready().filter_map(|at| settle_pending(run, at, now)));
    events.extend(run.stirred().flat_map(|at| settle_container(run, at, now)));
    if events.is_empty() && run.unfinished() == 0 {
        events.push(RunEvent::Finished { state: final_state(run), at: now });
    }
    events
}

/// Ends what is not running; running attempts end by their own report, and groups when all that
/// they hold has ended.
fn wind_down(run: &DagRun, now: Timestamp) -> Vec<RunEvent> {
    if run.unfinished() == 0 {
        return vec![RunEvent::Finished { state: final_state(run), at: now }];
    }
    if run.idle() > 0 {
        let open = run.open_instances();
        return open.filter_map(|task| take_back(run, task, now)).collect();
    }
    run.stirred().flat_map(|at| settle_container(run, at, now)).collect()
}

/// Takes back what nothing works on.
pub(crate) fn take_back(run: &DagRun, task: Instance, now: Timestamp) -> Option<RunEvent> {
    let state = run.instance(task).filter(|state| run.is_idle(task, state))?;
    Some(match state.state {
        TaskState::Waiting if !run.takes_slot(task) => {
            RunEvent::AttemptCancelled { task, attempt: state.attempts, at: now }
        }
        _ => RunEvent::TaskCancelled { task, at: now },
    })
}

/// A group that has taken longer than it may is to end.
fn stop_late(run: &DagRun, task: Instance, now: Timestamp) -> Option<RunEvent> {
    let state = run.instance(task).filter(|state| state.state == TaskState::Running)?;
    Some(RunEvent::GroupStopped { task, attempt: state.attempts, at: now })
}

/// A retry is due, or a wait is over, well or badly.
fn settle_due(run: &DagRun, task: Instance, now: Timestamp) -> RunEvent {
    let queued = run.instance(task).filter(|state| state.state == TaskState::Queued);
    if queued.is_some() {
        let spec = run.dag().task(task.task);
        let limit = human_duration(spec.queue_timeout.unwrap_or_default());
        let (pool, owner) = (&spec.pool, run.dag().name_of(task));
        let text = format!("waited longer than its queue_timeout of {limit} for pool `{pool}`");
        let help = "raise `queue_timeout`, or give the pool more slots".to_owned();
        let error = TaskError::new(FailureKind::Timeout, text)
            .at(Some(format!("`queue_timeout` of task `{owner}`")))
            .help(Some(help));
        return RunEvent::TaskFailed { task, error, at: now };
    }
    let Some(state) = run.instance(task).filter(|state| state.state == TaskState::Waiting) else {
        return start(run, task, now);
    };
    if state.until.is_some_and(|until| until <= now) {
        let (attempt, result) = (state.attempts, TaskResult::default());
        return RunEvent::AttemptSucceeded { task, attempt, result, at: now };
    }
    let limit = run.dag().task(task.task).timeout.unwrap_or_default();
    let message = format!("waited longer than its timeout of {}", human_duration(limit));
    settle_failure(run, task, TaskError::new(FailureKind::Timeout, message), now)
}

/// What begins the next attempt of an instance whose turn it is.
fn start(run: &DagRun, task: Instance, now: Timestamp) -> RunEvent {
    if run.takes_slot(task) {
        return RunEvent::TaskQueued { task, at: now };
    }
    let attempt = run.attempts_of(task) + 1;
    let until = match (&run.dag().task(task.task).action, run.is_container(task)) {
        (Action::Wait(wait), false) => match waiting::until(run, task, wait, now) {
            Ok(until) => Some(until),
            Err(error) => return RunEvent::TaskFailed { task, error, at: now },
        },
        _ => None,
    };
    RunEvent::AttemptStarted { task, attempt, map: None, until, at: now }
}

fn settle_pending(run: &DagRun, task: Instance, now: Timestamp) -> Option<RunEvent> {
    if run.is_stopping(task) {
        return None;
    }
    let event = match run.verdict(task) {
        Verdict::Wait => return None,
        Verdict::Skip => RunEvent::TaskSkipped { task, reason: why_not(run, task), at: now },
        Verdict::UpstreamFailed => RunEvent::TaskUpstreamFailed { task, at: now },
        Verdict::Run => begin(run, task, now),
    };
    Some(event)
}

/// Why an instance's turn will not come.
fn why_not(run: &DagRun, task: Instance) -> String {
    let dag = run.dag();
    let group = dag.task(task.task).group.map(|group| Instance { task: group, ..task });
    if let Some(group) = group {
        match run.instance(group).map(|group| group.state) {
            Some(TaskState::Skipped) => return format!("`{}` was skipped", dag.name_of(group)),
            Some(TaskState::Removed) => return NOT_PART.to_owned(),
            _ => {}
        }
    }
    let of = |state| {
        let upstream = dag.task(task.task).upstream.iter().map(|edge| Instance::from(edge.task));
        // Members of a mapped group come after those of the same item.
        let same = upstream.map(|before| Instance { item: task.item, ..before });
        same.chain(dag.task(task.task).upstream.iter().map(|edge| edge.task.into()))
            .find(|before| run.instance(*before).is_some_and(|t| t.state == state))
    };
    match of(TaskState::Skipped) {
        Some(before) => format!("`{}` was skipped", dag.name_of(before)),
        None => "its trigger rule cannot hold any more".to_owned(),
    }
}

/// What begins an instance whose turn it is: unless its `when` says no.
pub(crate) fn begin(run: &DagRun, task: Instance, now: Timestamp) -> RunEvent {
    let dag = run.dag();
    let spec = dag.task(task.task);
    let failed = |key: &str, error: ExprError| RunEvent::TaskFailed {
        task,
        error: TaskError::new(FailureKind::Expression, error.message)
            .at(Some(format!("`{key}` of task `{}`", dag.name_of(task)))),
        at: now,
    };
    let skipped = |reason: String| RunEvent::TaskSkipped { task, reason, at: now };
    if let Some(when) = spec.when.as_ref().filter(|when| is_asked(run, task, when)) {
        match when.eval_bool(&scope_for(run, task, &when.references())) {
            Ok(true) => {}
            Ok(false) => return skipped(format!("`when: {}` is false", when.source().trim())),
            Err(error) => return failed("when", error),
        }
    }
    if run.is_map(task) {
        let attempt = run.attempts_of(task) + 1;
        return match plan_of(run, task.task) {
            Ok(MapPlan { items: 0, .. }) => skipped("the list of `for_each` is empty".to_owned()),
            Ok(plan) => {
                let map = Some(plan);
                RunEvent::AttemptStarted { task, attempt, map, until: None, at: now }
            }
            Err((key, error)) => failed(key, error),
        };
    }
    start(run, task, now)
}

/// Whether a `when` is asked for this instance: of a mapped task for each item if it reads the
/// item, and else once for the whole.
fn is_asked(run: &DagRun, task: Instance, when: &Expr) -> bool {
    let is_root = run.dag().task(task.task).mapping.is_some();
    let reads_item = || when.references().iter().any(|path| path[0] == "item");
    !is_root || reads_item() == task.item.is_some()
}

/// The state of a run in which nothing is unfinished: its leaves decide. A leaf is a task that
/// nothing waits for; what a rerun removed waits for nothing. Members of groups speak through their
/// group.
fn final_state(run: &DagRun) -> RunState {
    let dag = run.dag();
    let states = || run.tasks().iter().map(|task| task.state);
    if run.head.timed_out {
        return RunState::Failed;
    }
    if run.head.cancel_requested && states().any(|state| state == TaskState::Cancelled) {
        return RunState::Cancelled;
    }
    let removed = |ix: &TaskIx| run.task(*ix).state == TaskState::Removed;
    let failed = states().enumerate().any(|(i, state)| {
        is_bad(state)
            && dag.tasks()[i].group.is_none()
            && dag.downstream(TaskIx(i as u32)).iter().all(removed)
    });
    if failed { RunState::Failed } else { RunState::Succeeded }
}

/// Whether a task in this state is to blame for what depends on it.
pub(crate) fn is_bad(state: TaskState) -> bool {
    matches!(state, TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled)
}

/// The event for an attempt that failed: with a retry while the policy allows one.
pub fn settle_failure(
    run: &DagRun,
    task: impl Into<Instance>,
    error: TaskError,
    now: Timestamp,
) -> RunEvent {
    let task = task.into();
    let again = error.kind.is_retryable();
    fail(run, task, error, again, now)
}

/// The event for a failed attempt that may be made again, if the policy allows it.
pub(crate) fn fail(
    run: &DagRun,
    task: Instance,
    error: TaskError,
    again: bool,
    now: Timestamp,
) -> RunEvent {
    let spec = run.dag().task(task.task);
    let (attempt, retries) =
        run.instance(task).map_or((0, 0), |state| (state.attempts, state.retries));
    let is_marked = run.instance(task).is_some_and(|state| state.marked.is_some());
    let retry_at = (again
        && !is_marked
        && retries < spec.retry.limit
        && !run.is_map(task)
        && !run.head.cancel_requested
        && !run.is_stopping(task))
    .then(|| {
        let own = spec.retry.wait(&run.head.id, &run.dag().name_of(task), retries + 1);
        now.plus(asked_wait(own, error.retry_after))
    });
    RunEvent::AttemptFailed { task, attempt, error, retry_at, at: now }
}

/// The event for an attempt that was under way when the server ended.
pub fn settle_lost(
    run: &DagRun,
    task: impl Into<Instance>,
    cause: LostCause,
    now: Timestamp,
) -> RunEvent {
    let task = task.into();
    let (attempt, lost) = run.instance(task).map_or((0, 0), |state| (state.attempts, state.lost));
    let budget = cause == LostCause::Shutdown || lost < LOST_ATTEMPTS_MAX;
    let is_marked = run.instance(task).is_some_and(|state| state.marked.is_some());
    let again = budget && !is_marked && !run.head.cancel_requested && !run.is_stopping(task);
    RunEvent::AttemptLost { task, attempt, cause, again, at: now }
}

/// What expressions of an instance may see of its run: only the places they name are put together.
pub fn scope_for<'a>(
    run: &DagRun,
    at: Instance,
    paths: impl IntoIterator<Item = &'a Path>,
) -> Scope {
    scope_from(run, at, run.dag().task(at.task).group, paths)
}

/// As [`scope_for`], seen from inside of a group, or from outside of all.
fn scope_from<'a>(
    run: &DagRun,
    at: Instance,
    group: Option<TaskIx>,
    paths: impl IntoIterator<Item = &'a Path>,
) -> Scope {
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
            Some("trigger") => {
                scope.entry("trigger").or_insert_with(|| trigger_value(&run.head.trigger));
            }
            Some("vars") => {
                scope.entry("vars").or_insert_with(|| vars_value(run));
            }
            Some("item") => {
                scope.entry("item").or_insert_with(|| item_value(run, at));
            }
            Some("tasks") => {
                if let Some((name, value)) =
                    path.get(1).and_then(|n| task_value(run, at, group, n, path))
                {
                    put_task(&mut tasks, name, value);
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

/// `group.member` goes into what is there of its group.
fn put_task(tasks: &mut Map<String, Value>, name: String, value: Value) {
    match name.split_once('.') {
        Some((group, member)) => {
            let group = tasks.entry(group).or_insert_with(|| json!({}));
            group[member] = value;
        }
        None => match (tasks.get_mut(&name), value) {
            // Members may have been put there before the group itself.
            (Some(Value::Object(there)), Value::Object(fields)) => there.extend(fields),
            (_, value) => _ = tasks.insert(name, value),
        },
    }
}

fn item_value(run: &DagRun, at: Instance) -> Value {
    let map = run.dag().root(at.task).and_then(|root| run.map(root));
    map.zip(at.item).map_or(Value::Null, |(map, item)| map.value(item))
}

/// The values of `vars`, each seen by those after it. What has no value is left out, and whoever
/// reads it has none either.
fn vars_value(run: &DagRun) -> Value {
    let dag = run.dag();
    let paths: Vec<Path> = dag.vars.values().flat_map(Template::references).collect();
    let others = paths.iter().filter(|path| path.first().is_some_and(|root| root != "vars"));
    let mut scope = scope_from(run, Instance::default(), None, others);
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

fn task_value(
    run: &DagRun,
    at: Instance,
    group: Option<TaskIx>,
    name: &str,
    path: &Path,
) -> Option<(String, Value)> {
    let dag: &Arc<Dag> = run.dag();
    // `tasks.group.member.rows` names a member of a group, `tasks.orders.rows` a plain task.
    let named = path.get(2).map(|member| format!("{name}.{member}"));
    let (ix, name) = match named.and_then(|named| Some((dag.find(&named)?, named))) {
        Some(member) => member,
        None => (dag.find_from(group, name)?, name.to_owned()),
    };
    // Inside a mapped group, a member sees the others of its own item.
    let same_item = dag.is_repeated(ix) && dag.root(ix) == dag.root(at.task);
    let seen = if same_item { Instance { task: ix, ..at } } else { ix.into() };
    let task = run.instance(seen)?;
    let result = task.result.as_deref();
    let rows = result.map_or(0, |r| r.counts.rows_out);
    let mut value = json!({
        "state": task.state.label(),
        "rows": rows,
        "rejected": result.map_or(0, |r| r.counts.rejected_total()),
        "duplicates": result.map_or(0, |r| r.counts.duplicates),
        "attempts": task.attempts,
        "outputs": outputs(run, seen, result),
    });
    if run.is_map(seen) {
        let made = result.and_then(|result| result.items);
        let (items, failed) = match (made, task.map.as_deref()) {
            (Some(made), _) => (made.items, made.failed),
            (None, Some(counts)) => (counts.items, counts.failed()),
            (None, None) => (0, 0),
        };
        value["items"] = json!(items);
        value["failed"] = json!(failed);
    }
    Some((name, value))
}

/// The values that a task left; null for each that it says it leaves and did not, because it was
/// skipped or failed. Of a mapped task, lists of what its items left, those aside that left nothing.
fn outputs(run: &DagRun, at: Instance, result: Option<&TaskResult>) -> Map<String, Value> {
    let task = run.dag().task(at.task);
    let names = task.output_names();
    let made_elsewhere = result.is_some_and(|result| result.items.is_some());
    if run.is_map(at) && !made_elsewhere {
        let results = || run.map(at.task).into_iter().flat_map(MapRun::ended);
        let of = |name: &str| {
            let values = results().filter_map(|(_, _, result)| result?.outputs.get(name));
            values.cloned().collect::<Vec<_>>().into()
        };
        return names.map(|name| (name.to_string(), of(name.as_str()))).collect();
    }
    let mut values: Map<String, Value> =
        names.map(|name| (name.to_string(), Value::Null)).collect();
    values.extend(result.map(|result| result.outputs.clone()).unwrap_or_default());
    values
}

/// The names below `run.` that expressions may read.
pub const RUN_FIELDS: &[&str] =
    &["id", "dag", "number", "version", "trigger", "logical_time", "interval"];

/// The names below `tasks.NAME.` that expressions may read.
pub const TASK_FIELDS: &[&str] =
    &["state", "rows", "rejected", "duplicates", "attempts", "outputs"];

/// The further names below `tasks.NAME.` of a mapped task: how many items there are, and how many
/// of them failed.
pub const MAP_FIELDS: &[&str] = &["items", "failed"];
