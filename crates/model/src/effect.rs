//! Orders to the outside world, derived from committed events: the same answer after a crash.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dag::Dag;
use crate::decide::{scope_for, tolerated};
use crate::event::{LostCause, RunEvent};
use crate::expr::Scope;
use crate::id::{Instance, RunId};
use crate::run::{DagRun, MapRun};
use crate::state::TaskState;
use crate::table::{Counts, TableRef, TaskError, TaskResult};
use crate::time::{DataInterval, Timestamp};

/// What the world must do because an event is committed.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Start an attempt.
    StartAttempt(Arc<AttemptOrder>),
    /// Take up an attempt whose command went on while no server was there.
    AdoptAttempt(Arc<AttemptOrder>),
    /// End an attempt: its process tree, or its work in this process. Nobody waits for its result
    /// if it is not known.
    CancelAttempt(AttemptId),
    /// Tell who waits for the run.
    RunFinished(RunId),
}

/// One attempt of one task of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// The task, or an item of it.
    pub task: Instance,
    /// Its number: the fencing token.
    pub attempt: u32,
}

/// Everything that an attempt needs to know, as values.
#[derive(Debug, Clone)]
pub struct AttemptOrder {
    /// Which attempt.
    pub id: AttemptId,
    /// The DAG version of the run.
    pub dag: Arc<Dag>,
    /// What its expressions may see, `secrets` and `connections` apart.
    pub scope: Scope,
    /// The run's params, for `$names`.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// What the run's data are about.
    pub interval: Option<DataInterval>,
    /// The instant that the run is about.
    pub logical_time: Timestamp,
    /// The tables it reads, by the name that its settings use.
    pub inputs: Vec<(String, TableRef)>,
    /// The tables that it would read, but the tasks that make them were skipped: by the name that
    /// its settings use, the name of the table. They have no rows.
    pub skipped: Vec<(String, String)>,
    /// The rows of the built-in table `run_tasks`, when it reads that.
    pub run_tasks: Option<Vec<RunTask>>,
    /// The attempt is that of a mapped task as a whole: it puts the tables of the items together.
    pub gather: Option<Gather>,
}

/// What a mapped task puts together once its items have ended.
#[derive(Debug, Clone, Default)]
pub struct Gather {
    /// The items that made tables, in order, with their tables.
    pub items: Vec<(u32, Vec<TableRef>)>,
    /// The items' rows together.
    pub counts: Counts,
    /// The items' warnings, at most [`WARNINGS_MAX`], and a warning about failed items.
    pub warnings: Vec<String>,
}

/// Warnings of items that a mapped task repeats.
pub const WARNINGS_MAX: usize = 20;

/// A row of the built-in table `run_tasks`.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTask {
    /// The task's name.
    pub task: String,
    /// Its state.
    pub state: TaskState,
    /// Attempts started.
    pub attempts: u32,
    /// Where its rows went.
    pub counts: Counts,
}

/// How an attempt ended, as the executor reports it.
#[derive(Debug, Clone)]
pub struct AttemptReport {
    /// Which attempt. A report whose token is not the current one is refused.
    pub id: AttemptId,
    /// How it ended.
    pub outcome: ReportOutcome,
    /// Its tables of at most [`SLAB_TABLE_BYTES_MAX`](crate::table::SLAB_TABLE_BYTES_MAX) bytes.
    /// They become durable in the commit of the report; larger ones are files that are already
    /// synced.
    pub small_tables: Vec<SmallTable>,
}

/// The outcome that the executor saw.
#[derive(Debug, Clone)]
pub enum ReportOutcome {
    /// It gave a result.
    Succeeded(TaskResult),
    /// It gave an error.
    Failed(TaskError),
    /// It said that there was nothing to do, and why.
    Skipped(String),
    /// It was ended on an operator's word, and its end was verified.
    Cancelled,
    /// It was ended because the server was asked to stop, and its end was verified.
    Interrupted,
    /// Nobody knows how it would have ended. What it had started was ended.
    Lost(LostCause),
}

/// The bytes of a small table, an Arrow IPC file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallTable {
    /// Its [`TableRef::hash`].
    pub hash: String,
    /// The Arrow IPC bytes.
    pub bytes: bytes::Bytes,
}

/// What the world must do because `event` is committed and `run` has it applied.
pub fn effects(run: &DagRun, event: &RunEvent) -> Vec<Effect> {
    let cancel = |task: Instance| {
        let attempt = run.attempts_of(task);
        Effect::CancelAttempt(AttemptId { run: run.head.id.clone(), task, attempt })
    };
    match event {
        // A group, or a mapped task as a whole, is nothing but what it holds; and what waits for a
        // person or an instant has nobody to work on it.
        RunEvent::AttemptStarted { task, .. } if !run.takes_slot(*task) => Vec::new(),
        RunEvent::AttemptStarted { task, .. } => {
            vec![Effect::StartAttempt(Arc::new(order(run, *task)))]
        }
        RunEvent::AttemptGathers { task, .. } => {
            let gather = Some(gather(run, *task));
            vec![Effect::StartAttempt(Arc::new(AttemptOrder { gather, ..order(run, *task) }))]
        }
        RunEvent::TaskMarked { task, .. } => {
            run.running().filter(|running| running == task).map(cancel).collect()
        }
        RunEvent::CancelRequested { .. } | RunEvent::TimedOut { .. } => {
            run.running().map(cancel).collect()
        }
        RunEvent::GroupStopped { .. } => {
            run.running().filter(|task| run.is_stopping(*task)).map(cancel).collect()
        }
        RunEvent::Finished { .. } => vec![Effect::RunFinished(run.head.id.clone())],
        _ => Vec::new(),
    }
}

/// The orders to take up an attempt that is under way already, and to end it if that is wanted.
pub fn adopt(run: &DagRun, task: Instance) -> Vec<Effect> {
    let order = Arc::new(order(run, task));
    let id = order.id.clone();
    let is_marked = run.instance(task).is_some_and(|task| task.marked.is_some());
    let unwanted = is_marked || run.head.cancel_requested || run.is_stopping(task);
    let cancel = unwanted.then_some(Effect::CancelAttempt(id));
    std::iter::once(Effect::AdoptAttempt(order)).chain(cancel).collect()
}

fn gather(run: &DagRun, task: Instance) -> Gather {
    let mut gather = Gather::default();
    let ended = run.map(task.task).into_iter().flat_map(MapRun::ended);
    for (item, _, result) in ended {
        let Some(result) = result else { continue };
        gather.counts = std::mem::take(&mut gather.counts).plus(&result.counts);
        let left = WARNINGS_MAX.saturating_sub(gather.warnings.len());
        gather.warnings.extend(result.warnings.iter().take(left).cloned());
        if !result.tables.is_empty() {
            gather.items.push((item, result.tables.clone()));
        }
    }
    gather.warnings.extend(tolerated(run, task.task));
    gather
}

fn order(run: &DagRun, at: Instance) -> AttemptOrder {
    let dag = run.dag();
    let task = dag.task(at.task);
    let (mut inputs, mut skipped) = (Vec::new(), Vec::new());
    for read in &task.reads {
        // A member of a mapped group reads what the others made for the same item.
        let same_item = dag.is_repeated(read.task) && dag.root(read.task) == dag.root(at.task);
        let maker = if same_item { Instance { task: read.task, ..at } } else { read.task.into() };
        let Some(maker) = run.instance(maker) else { continue };
        let mut made = maker.result.iter().flat_map(|result| &result.tables);
        match made.find(|table| table.name == read.table) {
            Some(table) => inputs.push((read.alias.clone(), table.clone())),
            // Who marks a task as succeeded says that those after it go on without what it would
            // have given.
            None if maker.state == TaskState::Skipped || maker.marked.is_some() => {
                skipped.push((read.alias.clone(), read.table.clone()));
            }
            None => {}
        }
    }
    let run_tasks = task.reads_run_tasks.then(|| {
        run.tasks()
            .iter()
            .zip(dag.tasks())
            .filter(|(state, _)| state.state.is_final())
            .map(|(state, task)| RunTask {
                task: task.name.to_string(),
                state: state.state,
                attempts: state.attempts,
                counts: state.result.as_ref().map(|r| r.counts.clone()).unwrap_or_default(),
            })
            .collect()
    });
    let attempt = run.attempts_of(at);
    AttemptOrder {
        id: AttemptId { run: run.head.id.clone(), task: at, attempt },
        scope: scope_for(run, at, &task.references()),
        params: run.head.params.clone(),
        interval: run.head.interval,
        logical_time: run.head.logical_time(),
        inputs,
        skipped,
        run_tasks,
        gather: None,
        dag: Arc::clone(dag),
    }
}
