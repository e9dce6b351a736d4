//! What the names of a file mean: tasks and their tables.

use indexmap::IndexMap;
use serde_json::Value;
use tidemill_model::dag::OnFail;
use tidemill_model::outputs::Output;

use crate::catalog::Catalog;
use crate::report::listed;
use crate::spec::{ActionSpec, DagSpec, TaskSpec};
use crate::yaml::node::{Data, Entry};

/// The tasks and tables of a file.
pub(crate) struct Names<'n> {
    tasks: IndexMap<&'n str, usize>,
    tables: IndexMap<String, usize>,
    /// Groups, whose members are not known to this version.
    groups: Vec<&'n str>,
}

impl<'n> Names<'n> {
    pub(crate) fn new(spec: &DagSpec<'n>, catalog: &Catalog) -> Self {
        let mut names =
            Self { tasks: IndexMap::new(), tables: IndexMap::new(), groups: Vec::new() };
        for (at, task) in spec.tasks.iter().enumerate() {
            names.tasks.insert(task.name, at);
            if matches!(task.action, Some(ActionSpec::Later(entry)) if entry.key == "tasks") {
                names.groups.push(task.name);
            }
            for output in outputs_known(task, catalog) {
                names.tables.insert(table_name(task.name, &output), at);
            }
        }
        names
    }

    /// The task of this name; a member of a group is its group.
    pub(crate) fn task(&self, name: &str) -> Option<usize> {
        self.tasks.get(name).or_else(|| self.group(name)).copied()
    }

    /// The task that makes this table; a member of a group is its group.
    pub(crate) fn table(&self, name: &str) -> Option<usize> {
        self.tables.get(name).or_else(|| self.group(name)).copied()
    }

    fn group(&self, name: &str) -> Option<&usize> {
        let (group, _) = name.split_once('.')?;
        self.groups.contains(&group).then(|| self.tasks.get(group))?
    }

    /// The names of the tasks, in the order of the file.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().copied()
    }

    /// The tasks there are, as a help.
    pub(crate) fn tasks_help(&self) -> String {
        format!("the DAG has {}", listed(self.tasks()))
    }

    /// The names of the tables, in the order of the file.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
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
        Some(ActionSpec::Load(_) | ActionSpec::Noop) => Vec::new(),
        Some(ActionSpec::Later(_)) => both(),
        Some(ActionSpec::Broken(entry)) => match entry.key.as_str() {
            "ingest" | "transform" => both(),
            _ => Vec::new(),
        },
    }
}

/// Rows that a check set aside.
const REJECTS: &str = "rejects";

/// Rows that a source could not read.
const BAD_ROWS: &str = "bad_rows";

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
    let tables = task.outputs.iter().filter(|(_, output)| matches!(output, Output::Table { .. }));
    let mut outputs: Vec<String> = tables
        .map(|(name, _)| if name.as_str() == task.name { String::new() } else { name.to_string() })
        .collect();
    if quarantines(task) {
        outputs.push(REJECTS.to_owned());
    }
    outputs
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
