//! The DAGs that are called, and where their own calls lead.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_model::dag::{Action, Call};
use tidemill_model::decide::waiting::CALL_DEPTH_MAX;
use tidemill_model::{Dag, DagId, TaskName};

use crate::{Neighbour, Neighbours};

/// What is known of other DAGs, each asked for once.
pub(crate) struct Calls<'c> {
    others: &'c dyn Neighbours,
    asked: HashMap<DagId, Neighbour>,
    /// Of DAGs whose calls end, the longest chain of them, from the DAG on.
    chains: HashMap<DagId, Vec<DagId>>,
}

/// Calls that do not end, or that end too late, from a DAG on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endless {
    /// The last one is the first one or another one before, and this task of the one before it
    /// calls it again.
    Circle(Vec<DagId>, TaskName),
    /// There are more of them than may be inside each other.
    Deep(Vec<DagId>),
}

impl<'c> Calls<'c> {
    pub(crate) fn new(others: &'c dyn Neighbours) -> Self {
        Self { others, asked: HashMap::new(), chains: HashMap::new() }
    }

    /// What is known of the DAG of this name.
    pub(crate) fn neighbour(&mut self, name: &DagId) -> &Neighbour {
        let Self { others, asked, .. } = self;
        asked.entry(name.clone()).or_insert_with(|| others.dag(name))
    }

    /// The DAG of this name, where it is there.
    pub(crate) fn known(&mut self, name: &DagId) -> Option<Arc<Dag>> {
        match self.neighbour(name) {
            Neighbour::Known(dag) => Some(Arc::clone(dag)),
            _ => None,
        }
    }

    /// What is wrong with a call of `callee` by the DAG `own`.
    pub(crate) fn endless(&mut self, own: Option<&DagId>, callee: &DagId) -> Option<Endless> {
        self.chain(callee, &mut own.into_iter().cloned().collect()).err()
    }

    /// The longest chain of calls that begins with `name`, which those of `path` lead to.
    fn chain(&mut self, name: &DagId, path: &mut Vec<DagId>) -> Result<Vec<DagId>, Endless> {
        // A chain of two DAGs is one call.
        let is_deep = |dags: usize| dags > CALL_DEPTH_MAX as usize + 1;
        let whole = |path: &[DagId], chain: &[DagId]| [path, chain].concat();
        if let Some(chain) = self.chains.get(name) {
            let all = whole(path, chain);
            return if is_deep(all.len()) { Err(Endless::Deep(all)) } else { Ok(chain.clone()) };
        }
        path.push(name.clone());
        if is_deep(path.len()) {
            return Err(Endless::Deep(path.clone()));
        }
        let mut longest = Vec::new();
        for (task, callee) in self.known(name).iter().flat_map(|dag| calls_of(dag)) {
            if path.contains(callee) {
                let circle = whole(path, std::slice::from_ref(callee));
                return Err(Endless::Circle(circle, task.clone()));
            }
            let chain = self.chain(callee, path)?;
            if chain.len() > longest.len() {
                longest = chain;
            }
        }
        path.pop();
        longest.insert(0, name.clone());
        self.chains.insert(name.clone(), longest.clone());
        Ok(longest)
    }
}

/// The DAGs that a DAG calls, and the tasks that call them.
fn calls_of(dag: &Dag) -> impl Iterator<Item = (&TaskName, &DagId)> {
    dag.tasks().iter().filter_map(|task| match &task.action {
        Action::Call(Call { dag, .. }) => Some((&task.name, dag)),
        _ => None,
    })
}
