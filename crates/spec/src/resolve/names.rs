//! What the names of a file mean: tasks and their tables.

use indexmap::IndexMap;
use serde_json::Value;
use tidemill_model::dag::{Action, OnFail};
use tidemill_model::outputs::Output;
use tidemill_model::{Dag, Task, TaskIx};

use crate::catalog::Catalog;
use crate::report::listed;
use crate::spec::{ActionSpec, DagSpec, TaskSpec};
use crate::yaml::node::{Data, Entry};

/// The tasks and tables of a file.
pub(crate) struct Names {
    tasks: IndexMap<String, usize>,
    tables: IndexMap<String, usize>,
    /// The group whose members are seen by their short names.
    inside: Option<String>,
}

impl Names {
    pub(crate) fn new(spec: &DagSpec<'_>, catalog: &Catalog) -> Self {
        let mut names = Self { tasks: IndexMap::new(), tables: IndexMap::new(), inside: None };
        for (at, task) in spec.tasks.iter().enumerate() {
            names.tasks.insert(task.name.clone(), at);
            for output in outputs_known(task, catalog) {
                names.tables.insert(table_name(&task.name, &output), at);
            }
        }
        names
    }

    /// From now on names are seen from inside of this group, or from outside of all.
    pub(crate) fn enter(&mut self, group: Option<&str>) {
        self.inside = group.map(str::to_owned);
    }

    /// The task of this name: a member of the group goes before others.
    pub(crate) fn task(&self, name: &str) -> Option<usize> {
        let member = self.member(name).and_then(|name| self.tasks.get(&name));
        member.or_else(|| self.tasks.get(name)).copied()
    }

    /// The task that makes this table, and the table's whole name.
    pub(crate) fn table(&self, name: &str) -> Option<(usize, String)> {
        let member = self.member(name).and_then(|name| Some((*self.tables.get(&name)?, name)));
        member.or_else(|| Some((*self.tables.get(name)?, name.to_owned())))
    }

    fn member(&self, name: &str) -> Option<String> {
        Some(format!("{}.{name}", self.inside.as_ref()?))
    }

    /// A whole name as it is written here: members of the group have their short names.
    pub(crate) fn seen<'s>(&self, name: &'s str) -> &'s str {
        let inner = self.inside.as_ref().and_then(|group| name.strip_prefix(group.as_str()));
        inner.and_then(|inner| inner.strip_prefix('.')).unwrap_or(name)
    }

    /// The names of the tasks as they are written here, in the order of the file.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &str> {
        let all = self.tasks.keys().map(|name| self.seen(name));
        all.filter(|name| !name.contains('.'))
    }

    /// The tasks there are, as a help.
    pub(crate) fn tasks_help(&self) -> String {
        format!("the DAG has {}", listed(self.tasks()))
    }

    /// The names of the tables as they are written here, in the order of the file.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(|name| self.seen(name))
    }
}

/// `orders` for the main output, `orders.rejects` for another one.
pub(crate) fn table_name(task: &str, output: &str) -> String {
    if output.is_empty() { task.to_owned() } else { format!("{task}.{output}") }
}

/// The outputs that a task's tables are named by. Of what cannot be read or run yet every table
/// is taken to exist, so that one mistake does not look like many.
fn outputs_known(task: &TaskSpec, catalog: &Catalog) -> Vec<String> {
    let both = || vec![String::new(), REJECTS.to_owned(), BAD_ROWS.to_owned()];
    match task.action {
        None => both(),
        Some(ActionSpec::Ingest(_)) => ingest_outputs(task),
        Some(ActionSpec::Transform(entry)) => transform_outputs(task, entry, catalog),
        Some(ActionSpec::Run(_)) => run_outputs(task),
        Some(ActionSpec::Group) => {
            let table = task.group_outputs.table.map(|_| String::new());
            table.into_iter().collect()
        }
        Some(ActionSpec::Load(_) | ActionSpec::Noop) => Vec::new(),
        Some(ActionSpec::Call(entry)) => {
            let table = entry.node.entry("table").map(|_| String::new());
            table.into_iter().collect()
        }
        Some(ActionSpec::Wait(_) | ActionSpec::Approve(_)) => Vec::new(),
        Some(ActionSpec::Later) => both(),
        Some(ActionSpec::Broken(entry)) => match entry.key.as_str() {
            "ingest" | "transform" => both(),
            _ => Vec::new(),
        },
    }
}

/// Rows that a check set aside.
pub(crate) const REJECTS: &str = "rejects";

/// Rows that a source could not read.
pub(crate) const BAD_ROWS: &str = "bad_rows";

fn quarantines(task: &TaskSpec) -> bool {
    task.checks.iter().any(|check| check.check.on_fail == OnFail::Quarantine)
}

/// The outputs of an ingest: `""` is the table named like the task.
fn ingest_outputs(task: &TaskSpec) -> Vec<String> {
    let mut outputs = vec![String::new(), BAD_ROWS.to_owned()];
    outputs.extend(quarantines(task).then(|| REJECTS.to_owned()));
    outputs
}

/// The tables that a command leaves: one with the name of the task is the task's own.
pub(crate) fn run_outputs(task: &TaskSpec) -> Vec<String> {
    let tables = task.outputs.iter().filter(|(_, output)| is_table(output));
    let mut outputs: Vec<String> =
        tables.map(|(name, _)| of_short(&task.short, name.as_str())).collect();
    if quarantines(task) {
        outputs.push(REJECTS.to_owned());
    }
    outputs
}

fn is_table(output: &Output) -> bool {
    matches!(output, Output::Table { .. })
}

/// The table of a command that has the name of its task is the task's own.
fn of_short(task: &str, name: &str) -> String {
    if name == task { String::new() } else { name.to_owned() }
}

/// The outputs of a transform: `""` is the table named like the task.
pub(crate) fn transform_outputs(task: &TaskSpec, entry: &Entry, catalog: &Catalog) -> Vec<String> {
    let mut outputs = vec![String::new()];
    let info = catalog.transform(&entry.key);
    match (info.and_then(|info| info.schema.get("x-outputs")), &entry.node.data) {
        (Some(Value::String(keys)), Data::Map(entries)) if keys == "keys" => {
            return entries.iter().map(|entry| entry.key.clone()).collect();
        }
        (Some(Value::Array(names)), _) => {
            outputs.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        _ => {}
    }
    if (quarantines(task) || info.is_none()) && !outputs.iter().any(|output| output == REJECTS) {
        outputs.push(REJECTS.to_owned());
    }
    outputs
}

/// The tables that a task can make: `""` is the one named like the task.
pub(crate) fn outputs_of(task: &Task) -> Vec<String> {
    let own = |has: bool| has.then(String::new).into_iter().collect();
    let mut outputs = match &task.action {
        Action::Ingest { .. } => vec![String::new(), BAD_ROWS.to_owned()],
        Action::Transform { outputs, .. } => outputs.clone(),
        Action::Run(_) => {
            let short = task.name.as_str().rsplit('.').next().unwrap_or_default();
            let tables = task.outputs.iter().filter(|(_, output)| is_table(output));
            tables.map(|(name, _)| of_short(short, name.as_str())).collect()
        }
        Action::Group(group) => own(group.table.is_some()),
        Action::Call(call) => own(call.table.is_some()),
        Action::Load { .. } | Action::Noop | Action::Wait(_) | Action::Approve(_) => Vec::new(),
    };
    let quarantines = task.checks.iter().any(|check| check.on_fail == OnFail::Quarantine);
    if quarantines && !outputs.iter().any(|output| output == REJECTS) {
        outputs.push(REJECTS.to_owned());
    }
    outputs
}

/// The tables that a run of a DAG can make. What a mapped group repeats for each item is not seen
/// from outside.
pub(crate) fn tables_of(dag: &Dag) -> Vec<String> {
    let tasks = dag.tasks().iter().enumerate();
    let seen = tasks.filter(|(at, _)| !dag.is_repeated(TaskIx(*at as u32)));
    let tables = seen.flat_map(|(_, task)| {
        outputs_of(task).into_iter().map(|output| table_name(task.name.as_str(), &output))
    });
    tables.collect()
}
