//! The workflow as meant: validated, immutable, versioned by its content.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::IndexMap;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

use crate::expr::{Expr, Path};
use crate::id::{DagId, PoolName, TaskIx, TaskName, VarName, Version};
use crate::outputs::{FileFormat, Output};
pub use crate::params::{BadParam, Param, ParamKind};
use crate::retry::RetryPolicy;
use crate::schedule::Schedule;
use crate::template::Template;
use crate::time::Timestamp;
use crate::trigger_rule::TriggerRule;

/// A workflow. It cannot be cyclic, and every [`TaskIx`] in it is known.
///
/// It reads like its [`DagHead`], which nobody can change once the tasks are joined to it.
#[derive(Debug, Clone)]
pub struct Dag {
    head: DagHead,
    tasks: Vec<Task>,
    index: HashMap<TaskName, TaskIx>,
    downstream: Vec<Vec<TaskIx>>,
    order: Vec<TaskIx>,
}

/// The parts of a DAG besides its tasks.
#[derive(Debug, Clone)]
pub struct DagHead {
    /// Its name.
    pub id: DagId,
    /// The hash of its canonical form.
    pub version: Version,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// For filters.
    pub tags: Vec<String>,
    /// The zone of its schedule and its pages.
    pub timezone: Tz,
    /// No run is scheduled before this instant.
    pub start: Option<Timestamp>,
    /// When runs are due by themselves.
    pub schedule: Option<Schedule>,
    /// What a run may be told.
    pub params: IndexMap<VarName, Param>,
    /// Values that its expressions share, each of which may use those before it.
    pub vars: IndexMap<VarName, Template>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
}

impl std::ops::Deref for Dag {
    type Target = DagHead;

    fn deref(&self) -> &DagHead {
        &self.head
    }
}

/// One step: an action and its modifiers.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name, and that of its table.
    pub name: TaskName,
    /// What it does.
    pub action: Action,
    /// The tasks that come before it.
    pub upstream: Vec<Edge>,
    /// Tables of other tasks that it reads, by the name its settings use.
    pub reads: Vec<Read>,
    /// Whether it reads the built-in table `run_tasks`.
    pub reads_run_tasks: bool,
    /// Values for the `$names` of its SQL.
    pub bind: IndexMap<VarName, Expr>,
    /// It runs only when this holds.
    pub when: Option<Expr>,
    /// What it wants of its upstreams.
    pub trigger_rule: TriggerRule,
    /// How often it is tried again.
    pub retry: RetryPolicy,
    /// The longest an attempt may take.
    pub timeout: Option<Duration>,
    /// What must hold of its table.
    pub checks: Vec<Check>,
    /// Where it gets its slot.
    pub pool: PoolName,
    /// Environment variables of its command.
    pub env: IndexMap<String, Template>,
    /// What its command leaves.
    pub outputs: IndexMap<VarName, Output>,
}

impl Task {
    /// Every place that its expressions read while an attempt runs. Its `when` is read before that,
    /// so it is not among them.
    pub fn references(&self) -> BTreeSet<Path> {
        let mut paths: BTreeSet<Path> = self.bind.values().flat_map(Expr::references).collect();
        paths.extend(self.env.values().flat_map(Template::references));
        match &self.action {
            Action::Ingest { config, .. }
            | Action::Transform { config, .. }
            | Action::Load { config, .. } => paths.extend(config.references()),
            Action::Run(Command::Argv(words)) => {
                paths.extend(words.iter().flat_map(Template::references));
            }
            Action::Run(Command::Shell { variables, .. }) => {
                paths.extend(variables.iter().flat_map(|(_, expr)| expr.references()));
            }
            Action::Noop => {}
        }
        paths
    }
}

/// An upstream, and why it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The upstream task.
    pub task: TaskIx,
    /// Why, in words: `reads table orders`, `depends_on`, `when`.
    pub why: Vec<String>,
}

/// A table of another task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// The name that this task's settings use.
    pub alias: String,
    /// The table's name in the DAG: `orders`, `orders.rejects`.
    pub table: String,
    /// The task that makes it.
    pub task: TaskIx,
    /// The form in which a command is handed it.
    pub format: FileFormat,
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Reads rows from a connector into the task's table.
    Ingest {
        /// The connector.
        connector: String,
        /// Its settings.
        config: Template,
    },
    /// Makes tables from tables.
    Transform {
        /// The transform.
        kind: String,
        /// Its settings.
        config: Template,
        /// The tables it makes: `""` is the one named like the task.
        outputs: Vec<String>,
    },
    /// Writes a table to a connector.
    Load {
        /// The connector.
        connector: String,
        /// Its settings.
        config: Template,
    },
    /// Runs a command.
    Run(Command),
    /// Does nothing: a place where branches meet.
    Noop,
}

impl Action {
    /// The key of the language.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ingest { .. } => "ingest",
            Self::Transform { .. } => "transform",
            Self::Load { .. } => "load",
            Self::Run(_) => "run",
            Self::Noop => "noop",
        }
    }

    /// The key below it: the connector, the transform, or the command's form.
    pub fn kind(&self) -> &str {
        match self {
            Self::Ingest { connector, .. } | Self::Load { connector, .. } => connector,
            Self::Transform { kind, .. } => kind,
            Self::Run(Command::Argv(_)) => "command",
            Self::Run(Command::Shell { .. }) => "shell",
            Self::Noop => "noop",
        }
    }
}

/// A command, in one of its two forms.
#[derive(Debug, Clone)]
pub enum Command {
    /// A program and its arguments. No shell reads them.
    Argv(Vec<Template>),
    /// A script for `/bin/sh -eu`. Expressions are never part of its text: they travel in these
    /// environment variables, and stand in the text as quoted variables.
    Shell {
        /// The script.
        script: String,
        /// The variables it uses.
        variables: Vec<(String, Expr)>,
    },
}

/// Something that must hold of a task's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub rule: CheckRule,
    /// What happens when it does not.
    pub on_fail: OnFail,
}

/// The rule of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckRule {
    /// These columns hold no null.
    NotNull(Vec<String>),
    /// These columns together are different in every row.
    Unique(Vec<String>),
    /// The table has so many rows.
    Rows {
        /// At least.
        min: Option<u64>,
        /// At most.
        max: Option<u64>,
    },
    /// This SQL expression holds in every row.
    Where(String),
    /// This query gives no row.
    Sql(String),
}

/// What happens when a check does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The task fails.
    #[default]
    Stop,
    /// The rows to blame go to `TASK.rejects`, with the reason; the others go on.
    Quarantine,
    /// The task succeeds with a warning.
    Warn,
}

/// Tasks that wait for each other, in order; the last waits for the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<TaskName>);

impl Dag {
    /// Puts a DAG together. The upstreams of `tasks` are places in the same list.
    pub fn new(head: DagHead, tasks: Vec<Task>) -> Result<Self, Cycle> {
        let order = order_of(&tasks)?;
        let mut downstream = vec![Vec::new(); tasks.len()];
        for (i, task) in tasks.iter().enumerate() {
            for edge in &task.upstream {
                downstream[edge.task.at()].push(TaskIx(i as u32));
            }
        }
        let index =
            tasks.iter().enumerate().map(|(i, t)| (t.name.clone(), TaskIx(i as u32))).collect();
        Ok(Self { head, tasks, index, downstream, order })
    }

    /// The tasks, in the order of the file.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// A task by its place.
    pub fn task(&self, ix: TaskIx) -> &Task {
        &self.tasks[ix.at()]
    }

    /// A task's place by its name.
    pub fn find(&self, name: &str) -> Option<TaskIx> {
        self.index.get(name).copied()
    }

    /// The tasks that wait for this one.
    pub fn downstream(&self, ix: TaskIx) -> &[TaskIx] {
        &self.downstream[ix.at()]
    }

    /// Every task after its upstreams; ties in the order of the file.
    pub fn order(&self) -> &[TaskIx] {
        &self.order
    }
}

/// Every task after its upstreams, or a whole cycle. Linear in tasks and edges, and no recursion: a
/// chain of a hundred thousand tasks is a DAG like any other.
fn order_of(tasks: &[Task]) -> Result<Vec<TaskIx>, Cycle> {
    let mut graph = DiGraph::<(), ()>::with_capacity(tasks.len(), tasks.len());
    for _ in tasks {
        graph.add_node(());
    }
    for (i, task) in tasks.iter().enumerate() {
        for edge in &task.upstream {
            graph.add_edge(NodeIndex::new(edge.task.at()), NodeIndex::new(i), ());
        }
    }
    // Kahn's algorithm with a sorted set, so that ties keep the order of the file.
    let mut missing: Vec<usize> = tasks.iter().map(|t| t.upstream.len()).collect();
    let mut ready: BTreeSet<usize> = (0..tasks.len()).filter(|i| missing[*i] == 0).collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(i) = ready.pop_first() {
        order.push(TaskIx(i as u32));
        for next in graph.neighbors(NodeIndex::new(i)) {
            missing[next.index()] -= 1;
            if missing[next.index()] == 0 {
                ready.insert(next.index());
            }
        }
    }
    if order.len() == tasks.len() {
        return Ok(order);
    }
    let cycle = cycle_in(&graph);
    Err(Cycle(cycle.into_iter().map(|n| tasks[n.index()].name.clone()).collect()))
}

/// A shortest cycle through the first task that is on one, from that task on.
fn cycle_in(graph: &DiGraph<(), ()>) -> Vec<NodeIndex> {
    // Kosaraju's algorithm, because petgraph's other one recurses.
    let knot: HashSet<NodeIndex> = kosaraju_scc(graph)
        .into_iter()
        .filter(|c| c.len() > 1 || c.iter().any(|n| graph.contains_edge(*n, *n)))
        .min_by_key(|c| c.iter().min().copied())
        .unwrap_or_default()
        .into_iter()
        .collect();
    let Some(start) = knot.iter().min().copied() else { return Vec::new() };
    // Breadth first from `start` to itself.
    let mut from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut nexts: Vec<_> = graph.neighbors(node).filter(|n| knot.contains(n)).collect();
        nexts.sort_unstable();
        for next in nexts {
            if next == start {
                let mut path = vec![node];
                while let Some(before) = path.last().and_then(|n| from.get(n)) {
                    path.push(*before);
                }
                path.reverse();
                return path;
            }
            if let Entry::Vacant(unseen) = from.entry(next) {
                unseen.insert(node);
                queue.push_back(next);
            }
        }
    }
    vec![start]
}
