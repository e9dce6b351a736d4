//! What of a DAG should be looked at again, whatever the columns of its tables are.

use tidemill_model::dag::{Task, Tolerance};
use tidemill_model::{Action, Dag, TaskIx};
use tidemill_spec::codes::{self, Code};
use tidemill_spec::{Finding, Severity, keys_of};

use super::Planned;

/// Adds what is found.
pub(super) fn at(dag: &Dag, planned: &mut Planned) {
    for ix in dag.order() {
        planned.findings.extend(unread(dag, *ix).into_iter().chain(unbounded(dag, *ix)));
    }
}

/// A table that nobody reads, in a DAG that loads others.
fn unread(dag: &Dag, ix: TaskIx) -> Option<Finding> {
    let task = dag.task(ix);
    let makes = matches!(task.action, Action::Ingest { .. } | Action::Transform { .. });
    let loads = dag.tasks().iter().any(|task| matches!(task.action, Action::Load { .. }));
    if !makes || !loads || task.group.is_some() || task.is_finally {
        return None;
    }
    let is_used = dag.tasks().iter().any(|other| {
        other.reads.iter().any(|read| read.task == ix)
            || other.upstream.iter().any(|edge| edge.task == ix)
    });
    // A task that only checks has its use.
    if is_used || !task.checks.is_empty() {
        return None;
    }
    let message = format!("nothing reads the table of `{}`", task.name);
    Some(finding(&codes::UNUSED_TABLE, keys_of(dag, ix), message))
}

/// A list whose length only the data decide, with all limits left as they are.
fn unbounded(dag: &Dag, ix: TaskIx) -> Option<Finding> {
    let task: &Task = dag.task(ix);
    let mapping = task.mapping.as_ref()?;
    let of_data = mapping.list.references().iter().any(|path| path[0] == "tasks");
    let is_limited = mapping.max_parallel.is_some() || mapping.tolerate != Tolerance::Nothing;
    if !of_data || is_limited {
        return None;
    }
    let keys = keys_of(dag, ix).into_iter().chain(["for_each".to_owned()]).collect();
    let message = format!(
        "only the data decide how long the list of `{}` is; {} items are under way at once",
        task.name,
        mapping.at_once()
    );
    Some(finding(&codes::UNBOUNDED_MAP, keys, message))
}

fn finding(code: &'static Code, keys: Vec<String>, message: String) -> Finding {
    let severity = Severity::Warning;
    Finding { code, severity, keys, line_column: None, entry: None, message, help: None }
}
