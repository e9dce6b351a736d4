//! Runs of a part of a DAG: what its other tasks give, from earlier runs and from files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tidemill_connector::ConnectorError;
use tidemill_model::near::did_you_mean;
use tidemill_model::outputs::OUTPUT_BYTES_MAX;
use tidemill_model::run::MapCounts;
use tidemill_model::selection::{Choice, Parts, parts};
use tidemill_model::{Dag, ItemsMade, Reused, RunId, TaskIx, TaskResult, TaskState, VarName};
use tidemill_scheduler::Part;
use tidemill_server::backend::PartRequest;
use tidemill_server::error::ApiError;
use tidemill_store::RunQuery;

use crate::node::Node;

/// Earlier runs in which results are looked for.
const RUNS_LOOKED_AT: usize = 50;

/// Items that are read at once.
const ITEMS_READ: usize = 4_096;

/// What the tasks of a run give that do not go.
pub(crate) async fn part(node: &Node, dag: &Dag, request: &PartRequest) -> Result<Part, ApiError> {
    let choice = match (&request.only, &request.from) {
        (None, None) => Choice::All,
        (Some(only), None) => Choice::Only(chosen(dag, only)?),
        (None, Some(from)) => Choice::From(chosen(dag, from)?),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("`only` and `from` exclude each other"));
        }
    };
    let mut stubs: BTreeMap<TaskIx, Vec<(&str, &Path)>> = BTreeMap::new();
    for (name, file) in &request.stubs {
        let (ix, table) = stubbed(dag, name)?;
        stubs.entry(ix).or_default().push((table, file));
    }
    let stubbed: BTreeSet<TaskIx> = stubs.keys().copied().collect();
    let Parts { given, left_out } = parts(dag, choice, &stubbed);
    let mut part = Part { left_out: left_out.iter().copied().collect(), ..Part::default() };
    for (ix, files) in stubs {
        let (result, reason) = of_files(node, dag, ix, &files, &mut part).await?;
        part.given.push((ix, result, reason));
    }
    let earlier: Vec<TaskIx> = given.into_iter().filter(|ix| !stubbed.contains(ix)).collect();
    let going = |ix: TaskIx| !left_out.contains(&ix) && !earlier.contains(&ix);
    for (ix, found) in of_runs(node, dag, &earlier)? {
        let (result, reason) = match found {
            Some((result, small)) => {
                part.small_tables.extend(small);
                let of = result.reused.as_ref().map(|reused| reused.run.to_string());
                (result, format!("its result is that of run {}", of.unwrap_or_default()))
            }
            None if is_used(dag, ix, going) => return Err(nothing_yet(dag, ix)),
            None => (TaskResult::default(), "nothing of it is used".to_owned()),
        };
        part.given.push((ix, result, reason));
    }
    Ok(part)
}

/// A task that can be chosen by itself.
fn chosen(dag: &Dag, name: &str) -> Result<TaskIx, ApiError> {
    let ix = dag.find(name).ok_or_else(|| no_task(dag, name))?;
    match dag.task(ix).group {
        None => Ok(ix),
        Some(group) => Err(ApiError::invalid(format!("`{name}` is a member of a group"))
            .help(format!("name the group: `{}`", dag.task(group).name))),
    }
}

/// The task that makes a table, and what stands behind its name in the table's.
fn stubbed<'n>(dag: &Dag, name: &'n str) -> Result<(TaskIx, &'n str), ApiError> {
    if dag.find(name).is_some() {
        return Ok((chosen(dag, name)?, ""));
    }
    match name.rsplit_once('.') {
        Some((task, table)) if dag.find(task).is_some() => Ok((chosen(dag, task)?, table)),
        _ => Err(no_task(dag, name)),
    }
}

fn no_task(dag: &Dag, name: &str) -> ApiError {
    let names = || dag.tasks().iter().map(|task| task.name.as_str());
    let error = ApiError::invalid(format!("`{}` has no task `{name}`", dag.id));
    match did_you_mean(name, names()) {
        Some(help) => error.help(help),
        None => error.help(format!("it has: {}", names().collect::<Vec<_>>().join(", "))),
    }
}

/// The result that files stand for.
async fn of_files(
    node: &Node,
    dag: &Dag,
    ix: TaskIx,
    files: &[(&str, &Path)],
    part: &mut Part,
) -> Result<(TaskResult, String), ApiError> {
    let task = dag.task(ix).name.as_str();
    let mut result = TaskResult::default();
    let mut names = Vec::new();
    for (table, file) in files {
        let connector = connector_of(file).map_err(|error| refused(&error))?;
        if !file.is_file() {
            return Err(ApiError::invalid(format!("there is no file `{}`", file.display()))
                .help("relative paths start at the folder in which the command is typed"));
        }
        let settings = json!({"path": file});
        let folder = file.parent().unwrap_or(Path::new("/"));
        let imported = node.executor.import((task, table), connector, settings, folder).await;
        let (table, small) = imported.map_err(|error| refused(&error))?;
        result.counts.rows_in += table.rows;
        result.counts.rows_out += table.rows;
        result.tables.push(table);
        part.small_tables.extend(small);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        names.push(format!("`{name}`"));
    }
    Ok((result, format!("its rows are those of {}", names.join(", "))))
}

/// The connector that reads a file of rows.
pub(crate) fn connector_of(file: &Path) -> Result<&'static str, ConnectorError> {
    let connectors = [(".csv", "csv"), (".jsonl", "jsonl"), (".parquet", "parquet")];
    let name = file.to_string_lossy();
    let found = connectors.iter().find(|(extension, _)| name.ends_with(extension));
    found.map(|(_, connector)| *connector).ok_or_else(|| {
        ConnectorError::misconfigured(format!("`{name}` is no `.csv`, `.jsonl` or `.parquet`"))
    })
}

fn refused(error: &ConnectorError) -> ApiError {
    let message = match &error.place {
        Some(place) => format!("{} ({place})", error.message),
        None => error.message.clone(),
    };
    let refused = ApiError::invalid(message);
    match &error.help {
        Some(help) => refused.help(help.clone()),
        None => refused,
    }
}

type Found = Option<(TaskResult, Vec<tidemill_model::SmallTable>)>;

/// The newest results of tasks in earlier runs of the DAG.
fn of_runs(node: &Node, dag: &Dag, tasks: &[TaskIx]) -> Result<Vec<(TaskIx, Found)>, ApiError> {
    let mut found: BTreeMap<TaskIx, Found> = tasks.iter().map(|ix| (*ix, None)).collect();
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let query =
        RunQuery { dag: Some(dag.id.clone()), limit: RUNS_LOOKED_AT, ..RunQuery::default() };
    let runs = node.scheduler.runs(&query).map_err(|error| internal(&error))?;
    for run in &runs.runs {
        if found.values().all(Option::is_some) {
            break;
        }
        let view = node.scheduler.run(&run.head.id).map_err(|error| internal(&error))?;
        let Some((view, version)) = view.and_then(|view| view.dag.clone().map(|dag| (view, dag)))
        else {
            continue;
        };
        for (ix, slot) in found.iter_mut().filter(|(_, slot)| slot.is_none()) {
            let task = dag.task(*ix);
            let Some(at) = version.find(task.name.as_str()) else { continue };
            let state = view.tasks.get(at.at());
            let Some(state) = state.filter(|task| task.state == TaskState::Succeeded) else {
                continue;
            };
            let mut result = state.result.as_deref().cloned().unwrap_or_default();
            // What the janitor has taken is no result any more.
            let Ok(small) = node.executor.tables().again(&result.tables) else { continue };
            if let Some(counts) = state.map.as_deref() {
                let names: Vec<&str> = task.output_names().map(VarName::as_str).collect();
                of_items(node, (&run.head.id, at, counts), &names, &mut result)?;
            }
            let made = Reused { run: run.head.id.clone(), at: run.head.created_at };
            result.reused = result.reused.or(Some(Box::new(made)));
            *slot = Some((result, small));
        }
    }
    Ok(found.into_iter().collect())
}

/// Adds to the result of a mapped task what expressions may read of its items. `at` is where the
/// run has the task, `names` are the values that an item leaves.
fn of_items(
    node: &Node,
    (run, at, counts): (&RunId, TaskIx, &MapCounts),
    names: &[&str],
    result: &mut TaskResult,
) -> Result<(), ApiError> {
    result.items = Some(ItemsMade { items: counts.items, failed: counts.failed() });
    let mut lists: Vec<Vec<Value>> = names.iter().map(|_| Vec::new()).collect();
    let (mut next, mut bytes) = ((!names.is_empty()).then_some(0), 0);
    while let Some(first) = next {
        let page = node.scheduler.items(run, at, first, ITEMS_READ).map_err(|e| internal(&e))?;
        next = page.last().map(|item| item.item + 1).filter(|_| page.len() == ITEMS_READ);
        for result in page.iter().filter_map(|item| item.runs.first()?.result.as_deref()) {
            for (name, list) in names.iter().zip(&mut lists) {
                if let Some(value) = result.outputs.get(*name) {
                    bytes += value.to_string().len();
                    list.push(value.clone());
                }
            }
        }
        if bytes > OUTPUT_BYTES_MAX {
            let message = format!("the items left more than {OUTPUT_BYTES_MAX} bytes of values");
            return Err(ApiError::invalid(message)
                .help("that is too much to take over: let the mapped task run again"));
        }
    }
    let names = names.iter().map(|name| (*name).to_owned());
    result.outputs = names.zip(lists.into_iter().map(Value::Array)).collect();
    Ok(())
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

/// Whether a task that goes wants more of this one than to come after it.
fn is_used(dag: &Dag, ix: TaskIx, going: impl Fn(TaskIx) -> bool) -> bool {
    let all = (0..dag.tasks().len()).map(|at| TaskIx(at as u32));
    let goes = all.filter(|task| going(dag.outermost(*task)));
    goes.flat_map(|task| &dag.task(task).upstream).any(|edge| {
        dag.outermost(edge.task) == ix && edge.why.iter().any(|why| why != "depends_on")
    })
}

fn nothing_yet(dag: &Dag, ix: TaskIx) -> ApiError {
    let name = &dag.task(ix).name;
    let error = ApiError::invalid(format!("`{name}` has no result yet that could be used"));
    error.help(format!(
        "run the whole DAG first, or give the rows of `{name}`: `--stub {name}=FILE`"
    ))
}
