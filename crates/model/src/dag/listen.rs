//! Triggers by what other DAGs do: which ends of runs they wait for, and what a run takes of those
//! that have come.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DagId, RunId};
use crate::run::{DagRun, TaskRun};
use crate::state::{AttemptOutcome, RunState, TaskState};
use crate::table::TableRef;
use crate::time::DataInterval;

/// What a trigger waits for that other DAGs do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// Tables that their runs make.
    Datasets {
        /// By name: `crm.customers`.
        names: Vec<String>,
        /// All of them have to be made anew; otherwise one is enough.
        all: bool,
        /// What a run takes.
        consume: Consume,
    },
    /// The end of their runs.
    Dag {
        /// Of this DAG.
        name: DagId,
        /// In one of these states.
        states: Vec<RunState>,
    },
}

/// What a run takes of the tables that were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consume {
    /// One table that was made, or one of each where all are waited for: every one has a run.
    Each,
    /// All that came while the run before was there.
    Batch,
    /// Of what came while the run before was there, the newest of each.
    Latest,
}

/// A run of another DAG has ended, or has made a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub state: RunState,
    /// The dataset that its table is; nothing where the end alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The rows of the table.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub rows: u64,
    /// What its data are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<DataInterval>,
}

/// Signals that a trigger keeps while nothing takes them; beyond these, the oldest go.
pub const SIGNALS_MAX: usize = 10_000;

/// What has come and was not taken yet, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pending {
    /// The signals.
    pub signals: Vec<Signal>,
    /// Those that were let go because too many waited.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub lost: u64,
}

/// Places of signals in [`Pending::signals`], in order.
pub type Taken = Vec<u32>;

impl Listen {
    /// The DAGs whose runs it waits for, each once.
    pub fn producers(&self) -> Vec<DagId> {
        let mut found: Vec<DagId> = match self {
            Self::Dag { name, .. } => vec![name.clone()],
            Self::Datasets { names, .. } => {
                names.iter().filter_map(|name| dag_and_table(name)).map(|(dag, _)| dag).collect()
            }
        };
        found.sort();
        found.dedup();
        found
    }

    /// What the end of a run is for whoever waits so; nothing if it is of no concern.
    pub fn signals(&self, run: &DagRun) -> Vec<Signal> {
        let head = &run.head;
        let signal = |dataset: Option<String>, rows: u64| {
            let (run, state, interval) = (head.id.clone(), head.state, head.interval);
            Signal { run, state, dataset, rows, interval }
        };
        match self {
            Self::Dag { name, states } => {
                let counts = *name == head.id.dag && states.contains(&head.state);
                if counts { vec![signal(None, 0)] } else { Vec::new() }
            }
            Self::Datasets { .. } if head.state != RunState::Succeeded => Vec::new(),
            Self::Datasets { names, .. } => {
                let made = |name: &String| {
                    let (_, table) = dag_and_table(name).filter(|(dag, _)| *dag == head.id.dag)?;
                    let made = run.tasks().iter().flat_map(|task| made_now(task, head.generation));
                    let table = made.into_iter().find(|made| made.name == table)?;
                    Some(signal(Some(name.clone()), table.rows))
                };
                names.iter().filter_map(made).collect()
            }
        }
    }

    /// Whether only the end of the run before lets the next one begin.
    pub fn gathers(&self) -> bool {
        matches!(self, Self::Datasets { consume: Consume::Batch | Consume::Latest, .. })
    }

    /// What the next run takes, if there is enough for one.
    pub fn next(&self, pending: &Pending) -> Option<Taken> {
        let signals = &pending.signals;
        let all_places = || (0..signals.len() as u32).collect();
        let first = || (!signals.is_empty()).then(|| vec![0]);
        match self {
            Self::Dag { .. } => first(),
            Self::Datasets { all: false, consume: Consume::Each, .. } => first(),
            Self::Datasets { all: false, .. } => (!signals.is_empty()).then(all_places),
            Self::Datasets { names, all: true, consume } => {
                let place = |name: &String| {
                    signals.iter().position(|signal| signal.dataset.as_ref() == Some(name))
                };
                let mut firsts: Taken = names
                    .iter()
                    .map(|name| place(name).map(|at| at as u32))
                    .collect::<Option<_>>()?;
                firsts.sort_unstable();
                firsts.dedup();
                Some(if *consume == Consume::Each { firsts } else { all_places() })
            }
        }
    }
}

impl Pending {
    /// Takes in what has come. Where only the newest counts, it takes the place of what came before.
    pub(crate) fn push(&mut self, listen: Option<&Listen>, signals: &[Signal]) {
        for signal in signals {
            if let Some(Listen::Datasets { consume: Consume::Latest, .. }) = listen {
                self.signals.retain(|other| other.dataset != signal.dataset);
            }
            self.signals.push(signal.clone());
        }
        let excess = self.signals.len().saturating_sub(SIGNALS_MAX);
        self.signals.drain(..excess);
        self.lost += excess as u64;
    }

    /// The signals in these places, oldest first.
    pub fn at(&self, taken: &[u32]) -> Vec<Signal> {
        taken.iter().filter_map(|place| self.signals.get(*place as usize).cloned()).collect()
    }

    /// Takes them out.
    pub(crate) fn take(&mut self, taken: &[u32]) {
        let mut place = 0;
        self.signals.retain(|_| {
            place += 1;
            taken.binary_search(&(place - 1)).is_err()
        });
    }
}

/// The tables that a task has made in this generation of its run: those of an earlier one were told
/// of then.
fn made_now(task: &TaskRun, generation: u32) -> &[TableRef] {
    let is_of_now = task.history.last().is_some_and(|last| {
        last.generation == generation && last.outcome == AttemptOutcome::Succeeded
    });
    let result = task.result.as_ref().filter(|_| is_of_now && task.state == TaskState::Succeeded);
    result.map_or(&[], |result| &result.tables)
}

/// What the data of several signals are about, together.
pub fn interval_of(signals: &[Signal]) -> Option<DataInterval> {
    let mut intervals = signals.iter().filter_map(|signal| signal.interval);
    let first = intervals.next()?;
    Some(intervals.fold(first, |whole, other| DataInterval {
        start: whole.start.min(other.start),
        end: whole.end.max(other.end),
    }))
}

/// The DAG and the table that a dataset is, `crm.customers`.
pub fn dag_and_table(dataset: &str) -> Option<(DagId, &str)> {
    let (dag, table) = dataset.split_once('.')?;
    Some((dag.parse().ok()?, table))
}

impl fmt::Display for Listen {
    /// What is waited for: what its progress is kept under.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datasets { names, all, .. } => {
                let between = if *all { " and " } else { " or " };
                write!(f, "dataset {}", names.join(between))
            }
            Self::Dag { name, states } => {
                let states: Vec<&str> = states.iter().map(|state| state.label()).collect();
                write!(f, "dag {name} {}", states.join(" or "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(number: u64, dataset: &str) -> Signal {
        let run = format!("crm.{number}").parse().expect("a run");
        let (state, dataset) = (RunState::Succeeded, Some(dataset.to_owned()));
        Signal { run, state, dataset, rows: 1, interval: None }
    }

    fn datasets(all: bool, consume: Consume) -> Listen {
        let names = vec!["crm.a".to_owned(), "crm.b".to_owned()];
        Listen::Datasets { names, all, consume }
    }

    /// The numbers of the runs that each run takes, until nothing is left for one.
    fn taken(listen: &Listen, came: &[(u64, &str)]) -> (Vec<Vec<u64>>, usize) {
        let mut pending = Pending::default();
        for (number, name) in came {
            pending.push(Some(listen), &[signal(*number, name)]);
        }
        let mut runs = Vec::new();
        while let Some(taken) = listen.next(&pending) {
            runs.push(pending.at(&taken).iter().map(|signal| signal.run.number).collect());
            pending.take(&taken);
        }
        (runs, pending.signals.len())
    }

    const CAME: &[(u64, &str)] =
        &[(1, "crm.a"), (2, "crm.a"), (3, "crm.b"), (4, "crm.a"), (5, "crm.b")];

    #[test]
    fn each_that_came_has_a_run() {
        let any = datasets(false, Consume::Each);
        assert_eq!(taken(&any, CAME), (vec![vec![1], vec![2], vec![3], vec![4], vec![5]], 0));
        let all = datasets(true, Consume::Each);
        assert_eq!(taken(&all, CAME), (vec![vec![1, 3], vec![2, 5]], 1));
    }

    #[test]
    fn all_that_came_have_one_run() {
        let any = datasets(false, Consume::Batch);
        assert_eq!(taken(&any, CAME), (vec![vec![1, 2, 3, 4, 5]], 0));
        let all = datasets(true, Consume::Batch);
        assert_eq!(taken(&all, CAME), (vec![vec![1, 2, 3, 4, 5]], 0));
        assert_eq!(taken(&all, &CAME[..2]), (vec![], 2));
    }

    #[test]
    fn the_newest_of_each_have_one_run() {
        let any = datasets(false, Consume::Latest);
        assert_eq!(taken(&any, CAME), (vec![vec![4, 5]], 0));
        let all = datasets(true, Consume::Latest);
        assert_eq!(taken(&all, &CAME[..2]), (vec![], 1));
    }

    #[test]
    fn too_many_are_counted() {
        let mut pending = Pending::default();
        let signals = vec![signal(1, "crm.a"); SIGNALS_MAX + 3];
        pending.push(None, &signals);
        assert_eq!((pending.signals.len(), pending.lost), (SIGNALS_MAX, 3));
    }
}
