//! A part of a DAG: which tasks of a run go, which have their results from elsewhere, which it does
//! without; and which tasks of a run that has ended go again.

use std::collections::BTreeSet;

use crate::dag::{Action, Dag};
use crate::id::TaskIx;
use crate::run::DagRun;
use crate::state::TaskState;

/// Which tasks are wanted. All of them stand for themselves and for what they hold: members of
/// groups are not chosen one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All.
    All,
    /// One.
    Only(TaskIx),
    /// One, and all that come after it.
    From(TaskIx),
}

/// What becomes of the tasks of a DAG in a run of a part of it; tasks that are in neither go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Those that need a result from elsewhere: who goes waits for them.
    pub given: BTreeSet<TaskIx>,
    /// Those that the run does without.
    pub left_out: BTreeSet<TaskIx>,
}

/// The parts of a DAG for a choice. `stubbed` tasks have a result, whatever is chosen.
pub fn parts(dag: &Dag, choice: Choice, stubbed: &BTreeSet<TaskIx>) -> Parts {
    let all = (0..dag.tasks().len()).map(|at| TaskIx(at as u32));
    let top: BTreeSet<TaskIx> = all.filter(|ix| dag.task(*ix).group.is_none()).collect();
    let mut going = match choice {
        Choice::All => top.clone(),
        Choice::Only(ix) => BTreeSet::from([ix]),
        Choice::From(ix) => with_all_after(dag, ix),
    };
    going.retain(|ix| !stubbed.contains(ix));
    let mut given = stubbed.clone();
    for ix in &going {
        given.extend(before(dag, *ix).into_iter().filter(|before| !going.contains(before)));
    }
    let left_out = top.into_iter().filter(|ix| !going.contains(ix) && !given.contains(ix));
    Parts { left_out: left_out.collect(), given }
}

fn with_all_after(dag: &Dag, ix: TaskIx) -> BTreeSet<TaskIx> {
    let mut found = BTreeSet::from([ix]);
    let mut open = vec![ix];
    while let Some(ix) = open.pop() {
        let own = std::iter::once(&ix).chain(dag.members(ix));
        for after in own.flat_map(|ix| dag.downstream(*ix)) {
            let after = dag.outermost(*after);
            if found.insert(after) {
                open.push(after);
            }
        }
    }
    found
}

/// What comes before a task, or before a member of it.
fn before(dag: &Dag, ix: TaskIx) -> BTreeSet<TaskIx> {
    let own = std::iter::once(&ix).chain(dag.members(ix));
    let edges = own.flat_map(|ix| &dag.task(*ix).upstream);
    edges.map(|edge| dag.outermost(edge.task)).filter(|before| *before != ix).collect()
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
