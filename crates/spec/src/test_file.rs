//! `NAME.test.yaml`: tests of the DAG in `NAME.yaml`.

mod expect;
mod stub;
mod tables;

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tidemill_model::time::BadInterval;
use tidemill_model::{Action, Dag, DataInterval, RunState, Task, TaskState, Timestamp};

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::read::{self, given, value};
use crate::report::{Place, Report, SourceText, listed, quoted};
use crate::yaml;
use crate::yaml::node::{Data, Entry, Node};

/// The tests of a DAG.
#[derive(Debug, Clone, Default)]
pub struct TestFile {
    /// The tests, in the order written.
    pub tests: Vec<DagTest>,
}

/// A run under given circumstances, and what is expected of it.
#[derive(Debug, Clone, Default)]
pub struct DagTest {
    /// Its name.
    pub name: String,
    /// The line of its name, from 1.
    pub line: usize,
    /// The run's params.
    pub params: Map<String, Value>,
    /// What the run's data are about.
    pub interval: Option<DataInterval>,
    /// When the run is triggered.
    pub now: Option<Timestamp>,
    /// What tasks give instead of doing what they would, by task.
    pub stubs: IndexMap<String, Stub>,
    /// What every ingest of a connector gives, by connector.
    pub connectors: IndexMap<String, Stub>,
    /// Commands that are run.
    pub real: Vec<String>,
    /// The answers to questions, by task.
    pub answers: IndexMap<String, TestAnswer>,
    /// What is expected.
    pub expect: Expect,
}

/// What a task gives.
#[derive(Debug, Clone, Default)]
pub struct Stub {
    /// Its tables by name; the empty name is the table that is named like the task.
    pub tables: IndexMap<String, Rows>,
    /// Its values.
    pub outputs: Map<String, Value>,
    /// It fails, with this message.
    pub fails: Option<String>,
    /// So many attempts fail; after that it gives the rest. Without it, all of them fail.
    pub times: Option<u32>,
    /// How long an attempt takes, on the clock of the test.
    pub takes: Duration,
    /// It has nothing to do.
    pub skips: bool,
}

/// Rows of a table.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Where they are.
    pub from: RowSource,
    /// Types of columns, as for the connectors that read files.
    pub columns: Option<Value>,
}

/// Where rows are.
#[derive(Debug, Clone)]
pub enum RowSource {
    /// In the test.
    Inline(Vec<Value>),
    /// In a file beside it: `.csv`, `.jsonl` or `.parquet`.
    File(String),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct TestAnswer {
    /// Yes or no.
    pub approved: bool,
    /// What was asked for besides.
    pub values: Map<String, Value>,
}

/// What is expected of a run.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// The end of the run.
    pub state: Option<Expected<RunState>>,
    /// The ends of tasks.
    pub tasks: IndexMap<String, Expected<TaskState>>,
    /// Tables: `TASK` or `TASK.TABLE`.
    pub tables: IndexMap<String, Expected<ExpectedTable>>,
    /// Values by task, then by name.
    pub outputs: IndexMap<String, Expected<Map<String, Value>>>,
    /// Settings of tasks with their expressions evaluated; what is not named may be anything.
    pub rendered: IndexMap<String, Expected<Value>>,
    /// A part of the error of a task.
    pub errors: IndexMap<String, Expected<String>>,
    /// The next instants of the schedule after the test's `now`.
    pub next_ticks: Option<Expected<Vec<Timestamp>>>,
}

/// An expected value, and where it is written.
#[derive(Debug, Clone)]
pub struct Expected<T> {
    /// The value.
    pub value: T,
    /// The line of its key, from 1.
    pub line: usize,
    /// The first byte of its key, in bytes of the file.
    pub at: usize,
}

/// An expected table.
#[derive(Debug, Clone)]
pub struct ExpectedTable {
    /// Its rows.
    pub rows: Rows,
    /// Whether their order counts.
    pub ordered: bool,
    /// By how much numbers may differ.
    pub tolerance: f64,
}

/// How an instant is written.
const INSTANT_HELP: &str = "write for example `2026-01-31T02:00:00Z`, or a day, `2026-01-31`";

/// Reads a file of tests of `dag`; `None` when there is an error. Of the connectors that a test
/// stands in for, those of DAGs that are called are not known here.
pub fn parse_tests(source: SourceText, dag: &Dag) -> (Option<TestFile>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let file = yaml::parse(&mut report).map(|root| {
        let mut reader = Reader { dag, report: &mut report };
        reader.file(&root)
    });
    let diagnostics = report.finish();
    let good = !diagnostics.iter().any(|d| d.severity == Severity::Error);
    (file.filter(|_| good), diagnostics)
}

struct Reader<'d, 'r, 's> {
    dag: &'d Dag,
    report: &'r mut Report<'s>,
}

impl Reader<'_, '_, '_> {
    fn file(&mut self, root: &Node) -> TestFile {
        if root.is_empty_file() {
            read::empty_file("write `tests:`, and below it the tests by name", self.report);
            return TestFile::default();
        }
        let Some(entries) = root.entries() else {
            self.report
                .error(&codes::WRONG_TYPE, root.place, "a file of tests is a mapping")
                .help("write `tests:`, and below it the tests by name");
            return TestFile::default();
        };
        keys::check(
            entries.iter().filter(|e| !e.key.starts_with("x-")),
            &[keys::test_file::TESTS],
            "a file of tests",
            self.report,
        );
        let Some(tests) = entries.iter().find(|entry| entry.key == "tests") else {
            self.report
                .error(&codes::MISSING_KEY, root.place, "the file has no `tests`")
                .help("write `tests:`, and below it the tests by name");
            return TestFile::default();
        };
        let is_empty = tests.node.entries().is_some_and(<[Entry]>::is_empty);
        if is_empty || tests.node.is_null() {
            self.report
                .error(&codes::MISSING_KEY, tests.place, "`tests` is empty")
                .help("write below it the tests by name, each with an `expect`");
            return TestFile::default();
        }
        let Some(tests) = tests.node.entries() else {
            value::wrong_type("`tests`", &["a mapping"], &tests.node, tests.place, self.report)
                .help("write each test as a key with its name");
            return TestFile::default();
        };
        TestFile { tests: tests.iter().map(|entry| self.test(entry)).collect() }
    }

    fn line(&self, place: Place) -> usize {
        self.report.source.line_of(place.start as usize) + 1
    }

    fn test(&mut self, entry: &Entry) -> DagTest {
        let what = format!("test {}", quoted(&entry.key));
        let entries = value::entries(&what, entry, self.report);
        keys::check(entries, &[keys::test_file::TEST], &what, self.report);
        let mut connectors = Vec::new();
        let mut test =
            DagTest { name: entry.key.clone(), line: self.line(entry.place), ..DagTest::default() };
        for entry in entries {
            match entry.key.as_str() {
                "params" => test.params = self.params(entry),
                "interval" => test.interval = self.interval(entry),
                "now" => test.now = self.instant(entry),
                "stubs" => {
                    for (entry, name) in self.of_tasks("`stubs`", entry) {
                        if self.can_be_stubbed(&name, entry.place) {
                            self.stub_of_task(&name, entry);
                        }
                        let stub = self.stub(&format!("stub of `{name}`"), entry);
                        test.stubs.insert(name, stub);
                    }
                }
                "connectors" => {
                    for entry in value::entries("`connectors`", entry, self.report) {
                        connectors.push(entry);
                        self.stub_of_connector(entry);
                        let stub = self.stub(&format!("stub of `{}`", entry.key), entry);
                        test.connectors.insert(entry.key.clone(), stub);
                    }
                }
                "real" => {
                    for (name, place) in value::texts("`real`", entry, self.report) {
                        if self.is_task(name, place) {
                            self.must(
                                name,
                                place,
                                "is no command, so it cannot be run",
                                |action| matches!(action, Action::Run(_)),
                            );
                            test.real.push(name.to_owned());
                        }
                    }
                }
                "answers" => {
                    for (entry, name) in self.of_tasks("`answers`", entry) {
                        self.must(&name, entry.place, "asks nothing", |action| {
                            matches!(action, Action::Approve(_))
                        });
                        if let Some(answer) = self.answer(entry) {
                            test.answers.insert(name, answer);
                        }
                    }
                }
                "expect" => test.expect = self.expect(&what, entry),
                _ => {}
            }
        }
        if entry.node.entries().is_some() && !entries.iter().any(|entry| entry.key == "expect") {
            self.expects_nothing(&what, entry.place);
        }
        for entry in connectors {
            self.is_read_from(entry, &test);
        }
        if entry.node.entries().is_some() {
            self.owed(&what, entry);
        }
        test
    }

    /// Reports a connector that a test stands in for, and that no task reads from.
    fn is_read_from(&mut self, connector: &Entry, test: &DagTest) {
        let mut known = Vec::new();
        for (at, task) in self.dag.tasks().iter().enumerate() {
            match &task.action {
                Action::Ingest { connector, .. } => known.push(connector.as_str()),
                // What the called DAG reads from is not known here.
                Action::Call(_) => {
                    let name = self.dag.name_of(tidemill_model::TaskIx(at as u32).into());
                    if !test.stubs.contains_key(&name) {
                        return;
                    }
                }
                _ => {}
            }
        }
        if known.contains(&connector.key.as_str()) {
            return;
        }
        known.sort_unstable();
        known.dedup();
        let near = self.report.did_you_mean(&connector.key, known.iter().copied());
        let help = near.unwrap_or_else(|| match known.as_slice() {
            [] => "remove it: the DAG has no `ingest`".to_owned(),
            known => format!("its tasks read from {}", listed(known.iter().copied())),
        });
        let message = format!("no task of `{}` reads from {}", self.dag.id, quoted(&connector.key));
        self.report.error(&codes::UNKNOWN_CONNECTOR, connector.place, message).help(help);
    }

    fn params(&mut self, entry: &Entry) -> Map<String, Value> {
        let owner = format!("`{}`", self.dag.id);
        let entries = value::entries("`params`", entry, self.report);
        for entry in entries {
            // A test says its values as they are: it has no expressions.
            if let Some(param) = given::find(&owner, &self.dag.params, entry, self.report) {
                given::fits(param, entry, self.report);
            }
        }
        entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
    }

    /// Reports params that the run must be given, and is not.
    fn owed(&mut self, what: &str, test: &Entry) {
        let params = test.node.entry("params");
        let owed = given::owed(&self.dag.params, params.map(|params| &params.node));
        if let Some(first) = owed.first() {
            let message = format!("{what} must give {}", listed(owed.iter().copied()));
            let place = params.map_or(test.place, |params| params.place);
            self.report
                .error(&codes::PARAM, place, message)
                .help(format!("write `params: {{{first}: …}}`: it has no default"));
        }
    }

    fn instant(&mut self, entry: &Entry) -> Option<Timestamp> {
        let what = format!("`{}`", entry.key);
        let Some(text) = entry.node.text() else {
            value::wrong_type(&what, &["an instant"], &entry.node, entry.place, self.report)
                .help(INSTANT_HELP);
            return None;
        };
        let instant = text.parse().ok();
        if instant.is_none() {
            let message = format!("{what} is {}, which is no instant", quoted(text));
            self.report.error(&codes::INSTANT, entry.node.place, message).help(INSTANT_HELP);
        }
        instant
    }

    fn interval(&mut self, entry: &Entry) -> Option<DataInterval> {
        let text = value::text("`interval`", entry, self.report)?;
        text.parse()
            .map_err(|error: BadInterval| {
                let message = format!("`interval`: {error}");
                self.report.error(&codes::INSTANT, entry.node.place, message).help(error.help());
            })
            .ok()
    }

    /// The entries of a mapping whose keys are tasks.
    fn of_tasks<'n>(&mut self, what: &str, entry: &'n Entry) -> Vec<(&'n Entry, String)> {
        let entries = value::entries(what, entry, self.report);
        let known = entries.iter().filter(|entry| self.is_task(&entry.key, entry.place));
        known.map(|entry| (entry, entry.key.clone())).collect()
    }

    /// The entries of a mapping whose keys are tasks that there are once in a run. What single items
    /// came to is not remembered to its end.
    fn of_wholes<'n>(&mut self, what: &str, entry: &'n Entry) -> Vec<(&'n Entry, String)> {
        let entries = value::entries(what, entry, self.report);
        let known = entries.iter().filter(|entry| match self.dag.find_instance(&entry.key) {
            Some(at) if at.item.is_some() || self.dag.is_repeated(at.task) => {
                let root = self.dag.task(self.dag.root(at.task).unwrap_or(at.task)).name.clone();
                let message =
                    format!("what becomes of single items of `{root}` is not kept to the end");
                let help = format!(
                    "expect what becomes of `{root}` as a whole; of an item, what is `rendered`"
                );
                self.report.error(&codes::NOT_HERE, entry.place, message).help(help);
                false
            }
            at => at.is_some() || self.is_task(&entry.key, entry.place),
        });
        known.map(|entry| (entry, entry.key.clone())).collect()
    }

    /// The entries of a mapping whose keys are tasks, or items of mapped ones. A member of a mapped
    /// group is there only for an item.
    fn of_instances<'n>(&mut self, what: &str, entry: &'n Entry) -> Vec<(&'n Entry, String)> {
        let entries = value::entries(what, entry, self.report);
        let known = entries.iter().filter(|entry| match self.dag.find_instance(&entry.key) {
            Some(at) if at.item.is_none() && self.dag.is_repeated(at.task) => {
                let (group, member) = entry.key.split_once('.').unwrap_or((&entry.key, ""));
                let message = format!("`{}` is there once for each item", entry.key);
                let help = format!("name an item, from 0 on: `{group}[0].{member}`");
                self.report.error(&codes::NOT_HERE, entry.place, message).help(help);
                false
            }
            at => at.is_some() || self.is_task(&entry.key, entry.place),
        });
        known.map(|entry| (entry, entry.key.clone())).collect()
    }

    fn is_task(&mut self, name: &str, place: Place) -> bool {
        let tasks = self.dag.tasks().iter().enumerate();
        let names: Vec<String> = tasks
            .map(|(at, _)| self.dag.name_of(tidemill_model::TaskIx(at as u32).into()))
            .collect();
        if names.iter().any(|known| known == name) {
            return true;
        }
        let near = self.report.did_you_mean(name, names.iter().map(String::as_str));
        let message = format!("`{}` has no task {}", self.dag.id, quoted(name));
        self.report.error(&codes::UNKNOWN_TASK, place, message).maybe_help(near);
        false
    }

    fn find(&self, name: &str) -> Option<&Task> {
        self.dag.find_instance(name).map(|at| self.dag.task(at.task))
    }

    /// Reports a task whose action is not one of those that are meant.
    fn must(&mut self, name: &str, place: Place, what: &str, is: impl Fn(&Action) -> bool) {
        if self.find(name).is_some_and(|task| !is(&task.action)) {
            self.report.error(&codes::NOT_HERE, place, format!("`{name}` {what}"));
        }
    }

    fn object(&mut self, what: &str, entry: &Entry) -> Map<String, Value> {
        let entries = value::entries(what, entry, self.report);
        entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
    }

    fn truth(&mut self, what: &str, entry: &Entry) -> Option<bool> {
        match entry.node.data {
            Data::Bool(truth) => Some(truth),
            _ => {
                let wanted = ["`true` or `false`"];
                value::wrong_type(what, &wanted, &entry.node, entry.place, self.report);
                None
            }
        }
    }

    /// Rows: a list of them, or `{rows: […], columns: …}`, or `{file: …, columns: …}`.
    fn rows(&mut self, what: &str, node: &Node, place: Place) -> Option<Rows> {
        if let Data::List(_) = node.data {
            let from = RowSource::Inline(self.list(what, node, place));
            return Some(Rows { from, columns: None });
        }
        let columns = node.entry("columns").map(|entry| entry.node.to_json());
        let from = match (node.entry("rows"), node.entry("file")) {
            (Some(rows), None) => {
                RowSource::Inline(self.list(&format!("`rows` of {what}"), &rows.node, rows.place))
            }
            (None, Some(file)) => {
                let name = value::text("`file`", file, self.report)?;
                RowSource::File(name.to_owned())
            }
            (Some(_), Some(file)) => {
                self.report
                    .error(&codes::NOT_ALLOWED, file.place, format!("{what} has `rows` and `file`"))
                    .help("its rows are in one place: remove one of the two");
                return None;
            }
            (None, None) => {
                self.report
                    .error(&codes::MISSING_KEY, place, format!("{what} has no rows"))
                    .help("write a list of rows, or `{rows: […]}`, or `{file: orders.csv}`");
                return None;
            }
        };
        Some(Rows { from, columns })
    }

    fn list(&mut self, what: &str, node: &Node, place: Place) -> Vec<Value> {
        let Data::List(items) = &node.data else {
            value::wrong_type(what, &["a list of rows"], node, place, self.report);
            return Vec::new();
        };
        for item in items.iter().filter(|item| item.entries().is_none()) {
            value::wrong_type("a row", &["a mapping"], item, item.place, self.report)
                .help("a row names its columns: `{order_id: a-1, amount: 12.5}`");
        }
        items.iter().map(Node::to_json).collect()
    }

    fn answer(&mut self, entry: &Entry) -> Option<TestAnswer> {
        if let Data::Bool(approved) = entry.node.data {
            return Some(TestAnswer { approved, values: Map::new() });
        }
        let entries = value::entries("an answer", entry, self.report);
        keys::check(entries, &[keys::test_file::ANSWER], "an answer", self.report);
        let mut answer = TestAnswer { approved: true, values: Map::new() };
        for entry in entries {
            match entry.key.as_str() {
                "approved" => answer.approved = self.truth("`approved`", entry)?,
                "values" => answer.values = self.object("`values`", entry),
                _ => {}
            }
        }
        Some(answer)
    }
}
