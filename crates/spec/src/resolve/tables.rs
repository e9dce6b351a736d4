//! Tables that something reads, and what to do about those that nothing makes.

use super::groups::is_group;
use super::names::{BAD_ROWS, REJECTS, table_name, tables_of};
use super::uses::Uses;
use super::{RUN_TASKS, Resolver};
use crate::codes;
use crate::read::value::NO_EXPR;
use crate::report::{Place, listed, quoted};
use crate::spec::{ActionSpec, TaskSpec};
use crate::yaml::node::{Entry, Node};

/// Which tables a text may read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Those of other tasks.
    Refused,
    /// Those of the task itself, too: it is a check.
    Allowed,
}

impl Resolver<'_, '_, '_, '_> {
    /// A table that something reads.
    pub(crate) fn table(&mut self, name: &str, place: Place, own: Own, uses: &mut Uses) {
        if self.reader(uses).from.iter().any(|input| input.alias == name) {
            return;
        }
        self.table_as(name, name, place, own, uses);
    }

    /// A table, and the name by which the task's settings call it.
    pub(crate) fn table_as(
        &mut self,
        alias: &str,
        name: &str,
        place: Place,
        own: Own,
        uses: &mut Uses,
    ) {
        if name == RUN_TASKS {
            uses.run_tasks = true;
            return;
        }
        match self.names.table(name) {
            Some((at, _)) if at == uses.at && own == Own::Allowed => {}
            Some((at, _)) if at == uses.at => {
                let message = format!("task `{}` reads its own table {}", uses.name, quoted(name));
                self.report
                    .error(&codes::READS_ITSELF, place, message)
                    .help("name the table of another task");
            }
            Some((at, _)) if self.reader(uses).group == Some(at) => {
                let message = format!("`{}` reads the table of its own group", uses.name);
                self.report
                    .error(&codes::READS_ITSELF, place, message)
                    .help("what a group gives is known when its members have ended");
            }
            Some((at, table)) if !self.is_seen_outside(at, uses.at) => {
                let group = self.spec.tasks[at].group.map_or("", |g| &self.spec.tasks[g].name);
                let message = format!("table {} is there for each item of `{group}`", quoted(name));
                let help = self.read_the_group(at, &table);
                self.report.error(&codes::NOT_OUTSIDE, place, message).help(help);
            }
            Some((at, table)) => {
                let upstream = &self.spec.tasks[at].name;
                uses.edge(at, upstream, format!("reads table {name}"), place);
                self.may_have_rows(at, &table, place);
                uses.read(alias, &table, at);
            }
            None => self.unknown_table(name, place, uses),
        }
    }

    /// Warns of a table of bad rows whose source sets none aside.
    fn may_have_rows(&mut self, at: usize, table: &str, place: Place) {
        let task = &self.spec.tasks[at];
        let is_of_bad_rows = table == table_name(&task.name, BAD_ROWS);
        let Some(ActionSpec::Ingest(source)) = task.action.filter(|_| is_of_bad_rows) else {
            return;
        };
        let schema = self.catalog.connector(&source.key).and_then(|info| info.source.as_ref());
        let Some(settings) = schema.and_then(|schema| schema.get("properties")) else { return };
        let given = source.node.entry("on_bad_row").map(|entry| &entry.node);
        let is_open = |node: &Node| node.holds_expr() || node.text() == Some("quarantine");
        if source.node.holds_expr() || given.is_some_and(is_open) {
            return;
        }
        let help = match settings.get("on_bad_row") {
            Some(_) => format!("add `on_bad_row: quarantine` to the settings of `{}`", task.name),
            None => format!("source `{}` sets no rows aside", source.key),
        };
        let message = format!("table {} is always empty", quoted(table));
        self.report.warning(&codes::EMPTY_TABLE, place, message).help(help);
    }

    fn unknown_table(&mut self, name: &str, place: Place, uses: &Uses) {
        if self.report.is_full() {
            let message = format!("there is no table {}", quoted(name));
            self.report.error(&codes::UNKNOWN_TABLE, place, message);
            return;
        }
        if let Some(at) = self.names.task(name) {
            return self.no_own_table(name, at, place);
        }
        if name.contains("${{") {
            let message = format!("there is no table {}", quoted(name));
            self.report.error(&codes::UNKNOWN_TABLE, place, message).help(NO_EXPR);
            return;
        }
        let of_task = name.rsplit_once('.').and_then(|(task, _)| self.names.task(task));
        if let Some(at) = of_task {
            return self.no_such_output(name, at, place);
        }
        let inputs = self.reader(uses).from.iter().map(|input| input.alias);
        let inputs = inputs.filter(|alias| *alias != name);
        let own = table_name(&self.reader(uses).short, "");
        let known = self.names.tables().filter(|table| *table != own).chain(inputs);
        let near = self.report.did_you_mean(name, known.chain([RUN_TASKS]));
        let others = |table: &&str| table.split('.').next() != Some(own.as_str());
        let all: Vec<&str> = self.names.tables().filter(others).collect();
        let message = format!("there is no table {}", quoted(name));
        self.report
            .error(&codes::UNKNOWN_TABLE, place, message)
            .label("no task makes this table")
            .maybe_help(near)
            .or_help(|| match all.as_slice() {
                [] => {
                    "no other task makes a table; add one with `ingest` or `transform`".to_owned()
                }
                all => format!("there are {}", listed(all.iter().copied())),
            });
    }

    /// How the group of a member gives a table of it: the group's name, and what to write.
    fn let_give(&self, member: usize, table: &str) -> (&str, String) {
        let tasks = &self.spec.tasks;
        let Some(group) = tasks[member].group.map(|group| &tasks[group]) else {
            return ("", String::new());
        };
        let inner = table.strip_prefix(group.name.as_str()).unwrap_or(table);
        let table = inner.trim_start_matches('.');
        let outputs = match group.group_outputs.values.as_slice() {
            [] => format!("`outputs: {table}`"),
            _ => format!("`outputs: {{table: {table}}}`"),
        };
        (&group.name, outputs)
    }

    /// What to do about a table that is there for each item of a group.
    fn read_the_group(&self, member: usize, table: &str) -> String {
        let (group, outputs) = self.let_give(member, table);
        format!("read `{group}`, and let it give that table: {outputs}")
    }

    /// Reports a task that makes no table of its own name.
    fn no_own_table(&mut self, name: &str, at: usize, place: Place) {
        let task = &self.spec.tasks[at];
        let prefix = format!("{name}.");
        let others: Vec<&str> =
            self.names.tables().filter(|table| table.starts_with(&prefix)).collect();
        let (message, help) = match (task.action, others.as_slice()) {
            (Some(ActionSpec::Group), others) => {
                let help = match others.first().and_then(|table| self.names.table(table)) {
                    Some((member, table)) => {
                        let (_, outputs) = self.let_give(member, &table);
                        format!("let it give one that a member makes: {outputs}")
                    }
                    None => {
                        "its members make none; only to wait for it, use `depends_on`".to_owned()
                    }
                };
                (format!("group {} gives no table", quoted(name)), help)
            }
            (Some(ActionSpec::Call(entry)), _) => {
                (format!("task {} makes no table", quoted(name)), self.take_table(entry, None))
            }
            (_, []) => (
                format!("task {} makes no table", quoted(name)),
                "tables come from `ingest`, `transform` and the `outputs` of `run`; only to \
                 wait for it, use `depends_on`"
                    .to_owned(),
            ),
            (_, others) => (
                format!("task {} makes no table of its own name", quoted(name)),
                format!("it makes {}", listed(others.iter().copied())),
            ),
        };
        self.report.error(&codes::UNKNOWN_TABLE, place, message).help(help);
    }

    /// Reports a table that its task does not make: what was meant is one of that task's.
    fn no_such_output(&mut self, name: &str, at: usize, place: Place) {
        let task = &self.spec.tasks[at];
        let (owner, output) = name.rsplit_once('.').unwrap_or((name, ""));
        let prefix = format!("{owner}.");
        let own = |table: &&str| *table == owner || table.starts_with(&prefix);
        let own: Vec<String> = self.names.tables().filter(own).map(str::to_owned).collect();
        let names = || own.iter().map(String::as_str);
        let of_member = names().find(|table| table.rsplit('.').next() == Some(output));
        let near = of_member.or_else(|| self.report.nearest(name, names()));
        let is_mapped = is_group(task) && task.mapping.for_each.is_some();
        let help = match (task.action, near.and_then(|near| self.names.table(near))) {
            (Some(ActionSpec::Call(entry)), _) => self.take_table(entry, Some(output)),
            (_, Some((member, table))) if is_mapped && member != at => {
                self.read_the_group(member, &table)
            }
            (_, Some((_, table))) => format!("did you mean `{}`?", self.names.seen(&table)),
            (_, None) if output == REJECTS && can_quarantine(task) => {
                format!("a check of `{owner}` with `on_fail: quarantine` makes it")
            }
            (_, None) if own.is_empty() => format!("`{owner}` makes no table"),
            (_, None) if is_mapped => {
                let inner = names().filter_map(|table| table.strip_prefix(&prefix));
                format!("let `{owner}` give one in its `outputs`: {}", listed(inner))
            }
            (_, None) => {
                format!("`{owner}` has no table `{output}`; it makes {}", listed(names()))
            }
        };
        let message = format!("there is no table {}", quoted(name));
        self.report
            .error(&codes::UNKNOWN_TABLE, place, message)
            .label("no task makes this table")
            .help(help);
    }

    /// How a call takes a table of the called run.
    fn take_table(&mut self, call: &Entry, wanted: Option<&str>) -> String {
        let dag = call.node.text().or_else(|| call.node.entry("dag")?.node.text());
        let dag = dag.unwrap_or("DAG");
        let callee = dag.parse().ok().and_then(|dag| self.calls.known(&dag));
        let known = callee.map(|callee| tables_of(&callee)).unwrap_or_default();
        let written = |table: &str| format!("`call: {{dag: {dag}, table: {table}}}`");
        let help = "let it take a table of the called run:";
        match (wanted, known.as_slice()) {
            (Some(wanted), known) if known.is_empty() || known.iter().any(|t| t == wanted) => {
                format!("{help} {}", written(wanted))
            }
            (_, [only]) => format!("{help} {}", written(only)),
            (_, []) => format!("{help} {}", written("TABLE")),
            (_, known) => {
                let known = listed(known.iter().map(String::as_str));
                format!("{help} {}, one of {known}", written("TABLE"))
            }
        }
    }
}

/// Whether checks of a task can set rows aside.
fn can_quarantine(task: &TaskSpec<'_>) -> bool {
    matches!(
        task.action,
        Some(ActionSpec::Ingest(_) | ActionSpec::Transform(_) | ActionSpec::Run(_))
    )
}
