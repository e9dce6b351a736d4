//! The workflow as meant: validated, immutable, versioned by its content.

mod action;
mod limit;
pub mod listen;
mod resources;
mod trigger;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::IndexMap;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Map, Value};

use crate::expr::{Expr, Path};
use crate::id::{DagId, Instance, PoolName, TaskIx, TaskName, VarName, Version};
use crate::outputs::{FileFormat, Output};
pub use crate::params::{BadParam, Param, ParamKind, settled_params};
use crate::retry::RetryPolicy;
use crate::schedule::Timer;
use crate::template::Template;
use crate::time::{DataInterval, Timestamp};
use crate::trigger_rule::TriggerRule;
pub use action::{Action, Approve, Call, Check, CheckRule, Command, Group, OnFail, Wait, leaves};
pub use limit::{Concurrency, Overlap, Pace, Rate};
pub use listen::{Consume, Listen, Signal};
pub use resources::{Resources, parse_size, written_size};
pub use trigger::{On, TriggerDef};

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
    families: Vec<Family>,
}

/// What a task has to do with groups and mapping.
#[derive(Debug, Clone, Default)]
struct Family {
    /// The mapped task that it is, or whose member it is.
    root: Option<TaskIx>,
    /// Its place among what its root repeats for each item: the root itself is 0.
    ordinal: usize,
    /// The members of a group.
    members: Vec<TaskIx>,
    /// Its ends that decide how a group ended.
    leaves: Vec<TaskIx>,
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
    /// What starts runs by itself.
    pub triggers: Vec<TriggerDef>,
    /// How many runs are under way at once; as many as there are, if nothing is said.
    pub concurrency: Option<Concurrency>,
    /// The longest that a run may take once it has begun.
    pub timeout: Option<Duration>,
    /// So many runs that failed one after the other pause it: of those that its triggers started.
    pub auto_pause: Option<u32>,
    /// What a run may be told.
    pub params: IndexMap<VarName, Param>,
    /// Values that its expressions share, each of which may use those before it.
    pub vars: IndexMap<VarName, Template>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// Keys of the file in their canonical form, as far as that is not written above: part of the
    /// version, shown and compared. A DAG with one that no code runs yet is refused where it would
    /// run.
    pub forms: Map<String, Value>,
}

impl DagHead {
    /// A head with nothing but its name and its version.
    pub fn new(id: DagId, version: Version) -> Self {
        Self {
            id,
            version,
            description: None,
            owner: None,
            tags: Vec::new(),
            timezone: Tz::UTC,
            start: None,
            triggers: Vec::new(),
            concurrency: None,
            timeout: None,
            auto_pause: None,
            params: IndexMap::new(),
            vars: IndexMap::new(),
            folder: PathBuf::from("."),
            forms: Map::new(),
        }
    }

    /// Everything by which runs are due at known instants.
    pub fn timers(&self) -> impl Iterator<Item = &Timer> {
        self.triggers.iter().filter_map(TriggerDef::timer)
    }

    /// The data that a run is about which nobody gave any: the last whole interval of its first
    /// trigger by the clock.
    pub fn last_interval(&self, now: Timestamp) -> Option<DataInterval> {
        let timer = self.timers().next()?;
        timer.data_of(timer.previous(now)?)
    }

    /// What starts runs by itself, in words; nothing where nothing does.
    pub fn schedule_words(&self) -> Option<String> {
        let words: Vec<String> = self.triggers.iter().map(ToString::to_string).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
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
    /// Where it gets its slots.
    pub pool: PoolName,
    /// How many of them an attempt takes.
    pub slots: u32,
    /// Of what waits for a slot, that with the highest goes first.
    pub priority: i32,
    /// How often its attempts may begin, over all runs.
    pub rate: Option<Rate>,
    /// The longest that it may wait for a slot.
    pub queue_timeout: Option<Duration>,
    /// Environment variables of its command.
    pub env: IndexMap<String, Template>,
    /// The folder in which its command runs, from that of the DAG; without it, that of the DAG.
    pub workdir: Option<Template>,
    /// How much of the machine its command may take.
    pub resources: Resources,
    /// When an earlier result is used again.
    pub cache: Option<Cache>,
    /// What its command leaves.
    pub outputs: IndexMap<VarName, Output>,
    /// The group that it is a member of.
    pub group: Option<TaskIx>,
    /// It runs once for each item of a list.
    pub mapping: Option<Mapping>,
    /// It comes after all other members of its group, however they ended, and has no say in how the
    /// group did.
    pub is_finally: bool,
    /// As [`DagHead::forms`].
    pub forms: Map<String, Value>,
}

/// When the result of an earlier attempt is used again: everything that it was made from is as it
/// was, and it is not too old.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// How old it may be.
    pub max_age: Duration,
    /// What must have been the same besides.
    pub key: Option<Expr>,
}

/// What is mapped over, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Gives the list.
    pub list: Expr,
    /// What was said about how many items are under way at once.
    pub max_parallel: Option<u32>,
    /// How many items may fail.
    pub tolerate: Tolerance,
}

impl Mapping {
    /// Items under way at once, at least 1. One that waits for its retry is under way.
    pub fn at_once(&self) -> u32 {
        self.max_parallel.unwrap_or(MAX_PARALLEL_DEFAULT).max(1)
    }
}

/// Items that may fail before a mapped task has failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Tolerance {
    /// So many.
    Items(Expr),
    /// At most this share of all items, in percent.
    Percent(f64),
    /// None.
    Nothing,
}

/// Items under way at once, where `max_parallel` does not say otherwise: half of the slots of the
/// default pool, so that other DAGs find some.
pub const MAX_PARALLEL_DEFAULT: u32 = 16;

/// The longest list that can be mapped over.
pub const ITEMS_MAX: usize = 1_000_000;

impl Task {
    /// A task that does this and has no modifiers.
    pub fn new(name: TaskName, pool: PoolName, action: Action) -> Self {
        Self {
            name,
            action,
            upstream: Vec::new(),
            reads: Vec::new(),
            reads_run_tasks: false,
            bind: IndexMap::new(),
            when: None,
            trigger_rule: TriggerRule::default(),
            slots: 1,
            priority: 0,
            rate: None,
            queue_timeout: None,
            retry: RetryPolicy::default(),
            timeout: None,
            checks: Vec::new(),
            pool,
            env: IndexMap::new(),
            workdir: None,
            resources: Resources::default(),
            cache: None,
            outputs: IndexMap::new(),
            group: None,
            mapping: None,
            is_finally: false,
            forms: Map::new(),
        }
    }

    /// Every place that its expressions read while an attempt runs. Its `when` is read before that,
    /// so it is not among them.
    pub fn references(&self) -> BTreeSet<Path> {
        let mut paths: BTreeSet<Path> = self.bind.values().flat_map(Expr::references).collect();
        paths.extend(self.env.values().chain(&self.workdir).flat_map(Template::references));
        let cache_key = self.cache.iter().flat_map(|cache| &cache.key);
        paths.extend(cache_key.flat_map(Expr::references));
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
            // What a group gives is put together when its members have ended, and what is waited
            // for is read when the wait begins.
            Action::Group(_)
            | Action::Wait(_)
            | Action::Approve(_)
            | Action::Call(_)
            | Action::Noop => {}
        }
        paths
    }

    /// The values that it says it leaves for expressions; of a mapped task, those of each item.
    pub fn output_names(&self) -> Box<dyn Iterator<Item = &VarName> + '_> {
        match &self.action {
            Action::Group(group) => Box::new(group.outputs.keys()),
            Action::Approve(approve) => Box::new(approve.params.keys()),
            _ => {
                let values = self.outputs.iter().filter(|(_, output)| output.is_value());
                Box::new(values.map(|(name, _)| name))
            }
        }
    }

    /// Whether it is nothing but what it holds: a group, or a mapped task as a whole. Such a task
    /// takes no slot.
    pub fn is_container(&self) -> bool {
        self.mapping.is_some() || self.is_group()
    }

    /// Whether its attempts wait, for an instant, a person or another run, and hold no worker.
    pub fn waits(&self) -> bool {
        matches!(self.action, Action::Wait(_) | Action::Approve(_) | Action::Call(_))
    }

    /// Whether it is a group of tasks.
    pub fn is_group(&self) -> bool {
        matches!(self.action, Action::Group(_))
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
        let families = families_of(&tasks, &downstream);
        Ok(Self { head, tasks, index, downstream, order, families })
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

    /// Every task after its upstreams and its group; ties in the order of the file.
    pub fn order(&self) -> &[TaskIx] {
        &self.order
    }

    /// The task itself, or the group that it is a member of.
    pub fn outermost(&self, ix: TaskIx) -> TaskIx {
        self.task(ix).group.unwrap_or(ix)
    }

    /// The members of a group, in the order of the file.
    pub fn members(&self, ix: TaskIx) -> &[TaskIx] {
        &self.families[ix.at()].members
    }

    /// The members of a group that decide how it ended: those that no other waits for.
    pub fn leaves(&self, ix: TaskIx) -> &[TaskIx] {
        &self.families[ix.at()].leaves
    }

    /// The mapped task that a task is, or whose member it is: what has instances for items.
    pub fn root(&self, ix: TaskIx) -> Option<TaskIx> {
        self.families[ix.at()].root
    }

    /// The place of a task among what its [`Dag::root`] repeats for each item: 0 for the root, then
    /// its members in order.
    pub fn ordinal(&self, ix: TaskIx) -> usize {
        self.families[ix.at()].ordinal
    }

    /// Whether a task exists for each item alone: it is a member of a mapped group.
    pub fn is_repeated(&self, ix: TaskIx) -> bool {
        self.families[ix.at()].ordinal > 0
    }

    /// The name of an instance: `load`, `load[17]`, `regions[3].fetch`.
    pub fn name_of(&self, at: Instance) -> String {
        let task = self.task(at.task);
        match (at.item, self.root(at.task)) {
            (None, _) | (_, None) => task.name.to_string(),
            (Some(item), Some(root)) => {
                let root = &self.task(root).name;
                let member = task.name.as_str().strip_prefix(root.as_str()).unwrap_or_default();
                format!("{root}[{item}]{member}")
            }
        }
    }

    /// The instance that is written like that: the other way round than [`Dag::name_of`]. Whether
    /// the item exists is for the run to say.
    pub fn find_instance(&self, written: &str) -> Option<Instance> {
        let Some((root, rest)) = written.split_once('[') else {
            return self.find(written).map(Instance::from);
        };
        let (item, member) = rest.split_once(']')?;
        let is_number =
            item.bytes().all(|b| b.is_ascii_digit()) && (item == "0" || !item.starts_with('0'));
        let item = item.parse().ok().filter(|_| is_number)?;
        let task = self.find(&format!("{root}{member}"))?;
        let mapped = self.root(task)?;
        (self.task(mapped).name.as_str() == root).then(|| Instance::of_item(task, item))
    }

    /// The task that a name means for one in this group, or for one outside of all: members of the
    /// group go before other tasks.
    pub fn find_from(&self, group: Option<TaskIx>, name: &str) -> Option<TaskIx> {
        let member = group.and_then(|group| self.find(&member_name(&self.task(group).name, name)));
        member.or_else(|| self.find(name))
    }
}

/// The whole name of a member of a group.
pub fn member_name(group: &TaskName, member: &str) -> String {
    format!("{group}.{member}")
}

fn families_of(tasks: &[Task], downstream: &[Vec<TaskIx>]) -> Vec<Family> {
    let mut families = vec![Family::default(); tasks.len()];
    for (i, task) in tasks.iter().enumerate() {
        let ix = TaskIx(i as u32);
        if let Some(group) = task.group {
            let family = &mut families[group.at()];
            family.members.push(ix);
            let ends = downstream[i].iter().all(|down| tasks[down.at()].is_finally);
            family.leaves.extend((ends && !task.is_finally).then_some(ix));
            let ordinal = family.members.len();
            if tasks[group.at()].mapping.is_some() {
                families[i].root = Some(group);
                families[i].ordinal = ordinal;
            }
        }
        if task.mapping.is_some() {
            families[i].root = Some(ix);
        }
    }
    families
}

/// Every task after its upstreams, or a whole cycle. Linear in tasks and edges, and no recursion: a
/// chain of a hundred thousand tasks is a DAG like any other.
fn order_of(tasks: &[Task]) -> Result<Vec<TaskIx>, Cycle> {
    let mut graph = DiGraph::<(), ()>::with_capacity(tasks.len(), tasks.len());
    for _ in tasks {
        graph.add_node(());
    }
    for (i, task) in tasks.iter().enumerate() {
        let upstream = task.upstream.iter().map(|edge| edge.task).chain(task.group);
        for before in upstream {
            graph.add_edge(NodeIndex::new(before.at()), NodeIndex::new(i), ());
        }
    }
    // Kahn's algorithm with a sorted set, so that ties keep the order of the file.
    let missing = |task: &Task| task.upstream.len() + usize::from(task.group.is_some());
    let mut missing: Vec<usize> = tasks.iter().map(missing).collect();
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
