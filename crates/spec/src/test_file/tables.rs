//! Tables of a test, held to those that the DAG makes.

use std::collections::HashSet;

use serde_json::Value;
use tidemill_model::template::Template;
use tidemill_model::{Action, Task};

use super::Reader;
use crate::codes;
use crate::report::{Place, listed, quoted};
use crate::resolve::names::{outputs_of, table_name, tables_of};
use crate::yaml::node::{Data, Entry, Node};

/// Connectors that read the columns which their settings declare, and no others.
const OF_COLUMNS: [&str; 2] = ["http", "jsonl"];

impl Reader<'_, '_, '_> {
    /// Reports tables of a task's stub that the task does not make.
    pub(super) fn stub_of_task(&mut self, name: &str, stub: &Entry) {
        let Some(task) = self.find(name).cloned() else { return };
        let known = outputs_of(&task);
        for (table, place) in tables_in(stub) {
            if known.iter().any(|known| known == table) {
                continue;
            }
            let short = name.rsplit('.').next().unwrap_or(name);
            let names = || known.iter().map(String::as_str).filter(|known| !known.is_empty());
            let near = self.report.did_you_mean(table, names());
            let is_own = known.first().is_some_and(String::is_empty);
            let help = match &task.action {
                _ if table == short && is_own => "its own table is written as `rows`".to_owned(),
                _ if near.is_some() => near.unwrap_or_default(),
                _ if !known.is_empty() => it_makes(name, &known),
                Action::Run(_) => say_output(name, table),
                _ => "take its rows out: nobody can read them".to_owned(),
            };
            let message = match table {
                _ if known.is_empty() => format!("`{name}` makes no table"),
                "" => format!("`{name}` makes no table of its own name"),
                table => format!("`{name}` makes no table {}", quoted(table)),
            };
            self.report.error(&codes::UNKNOWN_TABLE, place, message).help(help);
        }
        let columns = columns_of(&task);
        self.columns_known(&format!("`{name}`"), columns.as_deref(), stub);
    }

    /// Reports what a connector's stub gives and none of the tasks that read from it takes.
    pub(super) fn stub_of_connector(&mut self, stub: &Entry) {
        let dag = self.dag;
        let tasks: Vec<&Task> = dag
            .tasks()
            .iter()
            .filter(|task| {
                matches!(&task.action, Action::Ingest { connector, .. } if *connector == stub.key)
            })
            .collect();
        // Of what only a called DAG reads from, nothing is known.
        if tasks.is_empty() {
            return;
        }
        let known: HashSet<String> = tasks.iter().flat_map(|task| outputs_of(task)).collect();
        for (table, place) in tables_in(stub) {
            if !known.contains(table) {
                let near = self.report.did_you_mean(table, known.iter().map(String::as_str));
                let message =
                    format!("an ingest from `{}` makes no table {}", stub.key, quoted(table));
                let help = || "its own table is written as `rows`".to_owned();
                self.report
                    .error(&codes::UNKNOWN_TABLE, place, message)
                    .maybe_help(near)
                    .or_help(help);
            }
        }
        let columns: Option<Vec<Vec<String>>> = tasks.iter().map(|task| columns_of(task)).collect();
        let columns: Option<Vec<String>> = columns.map(|all| all.concat());
        let what = format!("what is read from `{}`", stub.key);
        self.columns_known(&what, columns.as_deref(), stub);
    }

    /// Warns of columns in the rows of a stub that its task does not read.
    fn columns_known(&mut self, what: &str, columns: Option<&[String]>, stub: &Entry) {
        let Some(columns) = columns else { return };
        let node = stub.node.entry("rows").map_or(&stub.node, |rows| &rows.node);
        let Data::List(rows) = &node.data else { return };
        let mut seen = HashSet::new();
        for entry in rows.iter().filter_map(Node::entries).flatten() {
            let name = entry.key.as_str();
            if columns.iter().any(|column| column == name) || !seen.insert(name) {
                continue;
            }
            let names = || columns.iter().map(String::as_str);
            let near = self.report.did_you_mean(name, names());
            let message = format!("{what} has no column {}", quoted(name));
            self.report
                .warning(&codes::NOT_HERE, entry.place, message)
                .maybe_help(near)
                .or_help(|| format!("its settings declare {}", listed(names())));
        }
    }

    /// Whether a table that is expected can be there; reports one that cannot.
    pub(super) fn can_be_made(&mut self, name: &str, place: Place) -> bool {
        let dag = self.dag;
        let tables = tables_of(dag);
        if tables.iter().any(|table| table == name) {
            return true;
        }
        let (task, output) = match dag.find_instance(name) {
            Some(at) => (Some(at), ""),
            None => match name.rsplit_once('.') {
                Some((task, output)) => (dag.find_instance(task), output),
                None => (None, ""),
            },
        };
        match task {
            Some(at) if at.item.is_some() || dag.is_repeated(at.task) => {
                let root = &dag.task(dag.root(at.task).unwrap_or(at.task)).name;
                let message = format!("{} is there for each item of `{root}`", quoted(name));
                let help = "which has the rows of all items, with `_item`";
                self.report
                    .error(&codes::NOT_HERE, place, message)
                    .help(format!("expect the table `{root}`, {help}"));
            }
            Some(at) => self.not_made(dag.task(at.task), output, place),
            None => {
                let near = self.report.did_you_mean(name, tables.iter().map(String::as_str));
                let message = format!("`{}` has no task {}", dag.id, quoted(name));
                self.report.error(&codes::UNKNOWN_TASK, place, message).maybe_help(near).or_help(
                    || match tables.as_slice() {
                        [] => "its tasks make no tables".to_owned(),
                        all => format!("its tables are {}", listed(all.iter().map(String::as_str))),
                    },
                );
            }
        }
        false
    }

    /// Reports a table that a task does not make.
    fn not_made(&mut self, task: &Task, output: &str, place: Place) {
        let name = task.name.as_str();
        let known = outputs_of(task);
        let message = match output {
            _ if known.is_empty() => format!("`{name}` makes no table"),
            "" => format!("`{name}` makes no table of its own name"),
            output => format!("`{name}` makes no table {}", quoted(output)),
        };
        let near = self.report.nearest(output, known.iter().map(String::as_str));
        let near = near.filter(|near| !near.is_empty()).map(|near| table_name(name, near));
        let help = match (near, &task.action) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, _) if !known.is_empty() => it_makes(name, &known),
            (None, Action::Run(_)) => say_output(name, output),
            (None, Action::Group(_)) => {
                format!("name a table of a member in the `outputs` of `{name}`")
            }
            (None, Action::Call(_)) => {
                format!("name a table of the called DAG in `{name}`: `call: {{table: …}}`")
            }
            _ => "expect its end in `tasks`, or its settings in `rendered`".to_owned(),
        };
        self.report.error(&codes::UNKNOWN_TABLE, place, message).help(help);
    }
}

/// `it makes a, b.c`
fn it_makes(task: &str, outputs: &[String]) -> String {
    let whole: Vec<String> = outputs.iter().map(|output| table_name(task, output)).collect();
    format!("it makes {}", listed(whole.iter().map(String::as_str)))
}

/// How a command says that it leaves a table.
fn say_output(task: &str, table: &str) -> String {
    let short = task.rsplit('.').next().unwrap_or(task);
    let table = if table.is_empty() { short } else { table };
    format!("say in the `outputs` of `{task}` that it leaves one: `{table}: table`")
}

/// The tables that a stub gives, and where; the empty name is the task's own.
fn tables_in(stub: &Entry) -> Vec<(&str, Place)> {
    if let Data::List(_) = stub.node.data {
        return vec![("", stub.place)];
    }
    let entries = stub.node.entries().unwrap_or_default();
    let own = entries.iter().find(|entry| matches!(entry.key.as_str(), "rows" | "file"));
    let own = own.map(|entry| ("", entry.place));
    let others = entries.iter().filter(|entry| entry.key == "tables");
    let others = others.flat_map(|entry| entry.node.entries().unwrap_or_default());
    own.into_iter().chain(others.map(|entry| (entry.key.as_str(), entry.place))).collect()
}

/// The only columns that an ingest can have, where its settings say so.
fn columns_of(task: &Task) -> Option<Vec<String>> {
    let Action::Ingest { connector, config } = &task.action else { return None };
    if !OF_COLUMNS.contains(&connector.as_str()) {
        return None;
    }
    let names = |columns: &Value| Some(columns.as_object()?.keys().cloned().collect());
    match config {
        Template::Literal(settings) => names(settings.get("columns")?),
        Template::Map(settings) => match settings.get("columns")? {
            Template::Literal(columns) => names(columns),
            Template::Map(columns) => Some(columns.keys().cloned().collect()),
            _ => None,
        },
        _ => None,
    }
}
