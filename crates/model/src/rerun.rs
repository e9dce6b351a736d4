//! Runs of which a part goes again, or counts as ended in another way: a new generation of the same
//! run.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::dag::{Action, Dag};
use crate::id::{RunId, TaskIx, Version};
use crate::run::DagRun;
use crate::state::TaskState;

/// Somebody wants a run that has ended to go again.
#[derive(Debug, Clone)]
pub struct RerunRequest {
    /// The run.
    pub run: RunId,
    /// What of it.
    pub what: What,
    /// With the version that the DAG has now, in place of its own.
    pub latest: bool,
    /// Nothing is done: the answer says what would be.
    pub preview: bool,
    /// Who asks, as far as is known.
    pub who: String,
}

/// What of a run goes again, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// As [`Again::Failed`].
    Failed,
    /// As [`Again::From`], by name.
    From(String),
    /// As [`Again::All`].
    All,
}

/// What goes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rerun {
    /// The run.
    pub id: RunId,
    /// Whether it has been started; otherwise this is a preview.
    pub started: bool,
    /// Its generation from now on.
    pub generation: u32,
    /// The version that it goes on with.
    pub version: Version,
    /// The tasks that go again, in the order of the DAG.
    pub again: Vec<String>,
    /// Those whose results stay.
    pub kept: Vec<String>,
    /// Those among the tasks that go again which write to another system.
    pub loads: Vec<String>,
}

impl Rerun {
    /// What it means that these tasks of a run go again, with this version of its DAG.
    pub fn of(run: &DagRun, dag: &Dag, tasks: &BTreeSet<TaskIx>, started: bool) -> Self {
        let named = |of: &dyn Fn(TaskIx) -> bool| -> Vec<String> {
            let wanted = dag.order().iter().filter(|ix| of(**ix));
            wanted.map(|ix| dag.task(*ix).name.to_string()).collect()
        };
        let is_load = |ix| matches!(dag.task(ix).action, Action::Load { .. });
        Self {
            id: run.head.id.clone(),
            started,
            generation: run.head.generation + 1,
            version: dag.version.clone(),
            again: named(&|ix| tasks.contains(&ix)),
            kept: named(&|ix| !tasks.contains(&ix)),
            loads: named(&|ix| tasks.contains(&ix) && is_load(ix)),
        }
    }
}

/// Which tasks of a run that has ended go again. All that comes after them goes, too: it was made
/// from what they gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Those that failed, could not run or were cancelled.
    Failed,
    /// This one.
    From(TaskIx),
    /// All.
    All,
}

/// The tasks of a version of the DAG that go again. In another version than that of the run, so do
/// tasks that it did not have, or had as something else.
pub fn again(run: &DagRun, dag: &Dag, choice: Again) -> BTreeSet<TaskIx> {
    let all = || (0..dag.tasks().len()).map(|at| TaskIx(at as u32));
    let seeds: Vec<TaskIx> = match choice {
        Again::All => return all().collect(),
        Again::From(ix) => std::iter::once(ix).chain(dag.members(ix).iter().copied()).collect(),
        Again::Failed => all().filter(|ix| is_to_blame(run, dag, *ix)).collect(),
    };
    let is_other = run.head.version != dag.version && !seeds.is_empty();
    let unlike = all().filter(|ix| is_other && !is_like_before(run, dag, *ix));
    let seeds: Vec<TaskIx> = seeds.into_iter().chain(unlike).collect();
    let mut found: BTreeSet<TaskIx> = seeds.iter().copied().collect();
    let mut open = seeds;
    while let Some(ix) = open.pop() {
        let mut after: Vec<TaskIx> = dag.downstream(ix).to_vec();
        after.extend(dag.task(ix).group);
        if let Some(root) = dag.root(ix) {
            // Items go again as a whole, or not at all.
            after.extend(std::iter::once(root).chain(dag.members(root).iter().copied()));
        }
        for ix in after {
            if found.insert(ix) {
                open.push(ix);
                // What comes after goes with all that it holds; around a member, the others stay.
                let is_around = dag.members(ix).iter().any(|member| found.contains(member));
                if !is_around {
                    open.extend(dag.members(ix).iter().filter(|member| found.insert(**member)));
                }
            }
        }
    }
    found
}

/// Somebody says how tasks of a run ended.
#[derive(Debug, Clone)]
pub struct MarkRequest {
    /// The run.
    pub run: RunId,
    /// The tasks, by name; none is every one that is in another state.
    pub tasks: Vec<String>,
    /// How: succeeded, failed or skipped.
    pub state: TaskState,
    /// Why, in their words.
    pub note: Option<String>,
    /// Nothing is done: the answer says what would be.
    pub preview: bool,
    /// Who, as far as is known.
    pub who: String,
}

/// What is made of tasks of a run because somebody says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// The run.
    pub id: RunId,
    /// Whether it is done; otherwise this is a preview.
    pub done: bool,
    /// The state that the tasks are in from now on.
    pub state: TaskState,
    /// The tasks.
    pub marked: Vec<String>,
    /// Those among them that run, and are ended first.
    pub ended_first: Vec<String>,
    /// Tasks that could not run because of them, and can now.
    pub again: Vec<String>,
}

/// What has to happen so that tasks of a run count as ended in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marking {
    /// Those that begin anew, because they had ended otherwise or could not run: for them the run
    /// has a new generation.
    pub again: BTreeSet<TaskIx>,
    /// Those that count as ended.
    pub marked: BTreeSet<TaskIx>,
}

impl Marking {
    /// What has to happen so that these tasks of a run count as ended in `state`; none is every task
    /// that is in another state.
    pub fn of(run: &DagRun, tasks: &[TaskIx], state: TaskState) -> Self {
        let dag = run.dag();
        let can = |ix: &TaskIx| {
            let is_plain_group = dag.task(*ix).is_group() && dag.task(*ix).mapping.is_none();
            !dag.is_repeated(*ix) && !is_plain_group && run.task(*ix).state != state
        };
        let marked: BTreeSet<TaskIx> = match tasks {
            [] => (0..dag.tasks().len() as u32).map(TaskIx).filter(can).collect(),
            tasks => tasks.iter().copied().collect(),
        };
        let is_final = |ix: &TaskIx| run.task(*ix).state.is_final();
        let mut again: BTreeSet<TaskIx> = marked.iter().copied().filter(is_final).collect();
        let mut open: Vec<TaskIx> = again.iter().copied().collect();
        while let Some(ix) = open.pop().filter(|_| state != TaskState::Failed) {
            let group = dag.task(ix).group.into_iter();
            let after = dag.downstream(ix).iter().copied();
            let after = after.chain(group.flat_map(|group| dag.downstream(group).to_vec()));
            let after = after.chain(dag.members(ix).iter().copied());
            for ix in after {
                if run.task(ix).state == TaskState::UpstreamFailed && again.insert(ix) {
                    open.push(ix);
                }
            }
        }
        again.retain(|ix| !dag.is_repeated(*ix));
        Self { again, marked }
    }

    /// The answer to who asks.
    pub fn answer(&self, run: &DagRun, state: TaskState, done: bool) -> Marked {
        let dag = run.dag();
        let named = |of: &dyn Fn(TaskIx) -> bool| -> Vec<String> {
            let wanted = dag.order().iter().filter(|ix| of(**ix));
            wanted.map(|ix| dag.task(*ix).name.to_string()).collect()
        };
        let runs = |ix: TaskIx| run.task(ix).state == TaskState::Running;
        Marked {
            id: run.head.id.clone(),
            done,
            state,
            marked: named(&|ix| self.marked.contains(&ix)),
            ended_first: named(&|ix| self.marked.contains(&ix) && runs(ix)),
            again: named(&|ix| self.again.contains(&ix) && !self.marked.contains(&ix)),
        }
    }
}

/// Whether what a task gave in another version of the DAG can stand for what it would give in this:
/// it was there, and was as much a group or mapped as it is. The values that items leave for others
/// are kept with their version.
fn is_like_before(run: &DagRun, dag: &Dag, ix: TaskIx) -> bool {
    let Some(before) = run.dag().find(dag.task(ix).name.as_str()) else { return false };
    let shape = |dag: &Dag, ix: TaskIx| {
        let task = dag.task(ix);
        (task.mapping.is_some(), matches!(task.action, Action::Group(_)), dag.root(ix).is_some())
    };
    let leaves_lists = dag.root(ix).is_some() && dag.task(ix).output_names().next().is_some();
    shape(run.dag(), before) == shape(dag, ix) && !leaves_lists
}

/// Whether a task is why its run did not succeed. Of a group the members are, if any is.
fn is_to_blame(run: &DagRun, dag: &Dag, ix: TaskIx) -> bool {
    let state = |ix: TaskIx| {
        let before = run.dag().find(dag.task(ix).name.as_str());
        before.map(|before| run.task(before).state)
    };
    let failed = |ix: TaskIx| {
        use TaskState::{Cancelled, Failed, UpstreamFailed};
        state(ix).is_none_or(|state| matches!(state, Failed | UpstreamFailed | Cancelled))
    };
    let is_plain_group =
        matches!(dag.task(ix).action, Action::Group(_)) && dag.task(ix).mapping.is_none();
    failed(ix) && !(is_plain_group && dag.members(ix).iter().any(|member| failed(*member)))
}
