//! A part of a DAG: which tasks of a run go, which have their results from elsewhere, which it does
//! without.

use std::collections::BTreeSet;

use crate::dag::Dag;
use crate::id::TaskIx;

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
