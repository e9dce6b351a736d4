//! What an address means by a task: the task, or an item of a mapped one.

use tidemill_model::{Instance, RunId, TableRef, TaskIx, TaskRun};

use super::runs::find as find_run;
use crate::app::App;
use crate::backend::RunDetail;
use crate::error::ApiError;

/// A task of a run, or an item of it: `load`, `load[17]`, `regions[3].fetch`.
pub(crate) struct Subject {
    /// Which.
    pub(crate) at: Instance,
    /// As it is written.
    pub(crate) name: String,
    /// What became of it.
    pub(crate) task: TaskRun,
}

/// A run and the task of it that is written so, or 404.
pub(crate) async fn find(
    app: &App,
    run: &RunId,
    written: &str,
) -> Result<(RunDetail, Subject), ApiError> {
    let detail = find_run(app, run).await?;
    let subject = subject(app, &detail, written).await?;
    Ok((detail, subject))
}

/// The task of a run that is written so, or 404.
pub(crate) async fn subject(
    app: &App,
    run: &RunDetail,
    written: &str,
) -> Result<Subject, ApiError> {
    let unknown = || ApiError::not_found(format!("run `{}` has no task `{written}`", run.head.id));
    let dag = run.dag.as_ref().ok_or_else(unknown)?;
    let at = dag.find_instance(written).ok_or_else(unknown)?;
    let whole = run.tasks.get(at.task.at()).ok_or_else(unknown)?;
    let name = dag.name_of(at);
    let (Some(item), Some(root)) = (at.item, dag.root(at.task)) else {
        return Ok(Subject { at, name, task: whole.clone() });
    };
    let counts = run.tasks[root.at()].map.as_deref().cloned().unwrap_or_default();
    let found = app.backend.items(&run.head.id, root, item, 1).await?;
    let found = found.into_iter().find(|found| found.item == item);
    let of_item = found.and_then(|found| found.runs.get(dag.ordinal(at.task)).cloned());
    match of_item {
        Some(task) => Ok(Subject { at, name, task }),
        None if item < counts.items => Ok(Subject { at, name, task: TaskRun::default() }),
        None => Err(unknown().help(format!("the list has {} items, from 0", counts.items))),
    }
}

/// A table of a run by its name, `orders`, or that of an item, `load[17]`, `load[17].rejects`; with
/// the task that made it.
pub(crate) async fn find_table(
    app: &App,
    run: &RunDetail,
    written: &str,
) -> Result<Option<(String, TableRef)>, ApiError> {
    if let Some((task, table)) = run.table(written) {
        return Ok(Some((run.task_name(task), table.clone())));
    }
    let Some((root, rest)) = written.split_once('[') else { return Ok(None) };
    let Some((item, below)) = rest.split_once(']') else { return Ok(None) };
    // What stands behind may be a member, a table, or both: the longest that is a task counts.
    let ends = below.match_indices('.').map(|(at, _)| at).chain([below.len()]);
    let ends: Vec<usize> = ends.collect();
    for end in ends.into_iter().rev() {
        let Ok(found) = subject(app, run, &format!("{root}[{item}]{}", &below[..end])).await else {
            continue;
        };
        let name = format!("{root}{below}");
        let tables = found.task.result.iter().flat_map(|result| &result.tables);
        if let Some(table) = tables.into_iter().find(|table| table.name == name) {
            return Ok(Some((found.name, table.clone())));
        }
    }
    Ok(None)
}

/// The mapped task of this name, or why its items cannot be looked at.
pub(crate) fn mapped(run: &RunDetail, name: &str) -> Result<TaskIx, ApiError> {
    let ix = run.find(name).ok_or_else(|| {
        ApiError::not_found(format!("run `{}` has no task `{name}`", run.head.id))
    })?;
    let is_mapped = run.dag.as_ref().is_some_and(|dag| dag.root(ix) == Some(ix));
    if is_mapped {
        return Ok(ix);
    }
    Err(ApiError::not_found(format!("task `{name}` is not mapped over a list, so it has no items")))
}
