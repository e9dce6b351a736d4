//! `NAME.test.yaml`: tests of the DAG in `NAME.yaml`.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use tidemill_model::{Action, Dag, DataInterval, RunState, Task, TaskState, Timestamp};

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::read::{self, value};
use crate::report::{Place, Report, SourceText, quoted};
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

/// Reads a file of tests of `dag`; `None` when there is an error.
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
        let tests = value::entries("`tests`", tests, self.report);
        TestFile { tests: tests.iter().map(|entry| self.test(entry)).collect() }
    }

    fn line(&self, place: Place) -> usize {
        self.report.source.line_of(place.start as usize) + 1
    }

    fn test(&mut self, entry: &Entry) -> DagTest {
        let what = format!("test {}", quoted(&entry.key));
        let entries = value::entries(&what, entry, self.report);
        keys::check(entries, &[keys::test_file::TEST], &what, self.report);
        let mut test =
            DagTest { name: entry.key.clone(), line: self.line(entry.place), ..DagTest::default() };
        for entry in entries {
            match entry.key.as_str() {
                "params" => test.params = self.params(entry),
                "interval" => test.interval = self.parsed("`interval`", entry, "`START/END`"),
                "now" => test.now = self.instant("`now`", entry),
                "stubs" => {
                    for (entry, name) in self.of_tasks("`stubs`", entry) {
                        self.can_be_stubbed(&name, entry.place);
                        let stub = self.stub(&format!("stub of `{name}`"), entry);
                        test.stubs.insert(name, stub);
                    }
                }
                "connectors" => {
                    for entry in value::entries("`connectors`", entry, self.report) {
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
                "expect" => test.expect = self.expect(entry),
                _ => {}
            }
        }
        if !entries.iter().any(|entry| entry.key == "expect") {
            self.report
                .error(&codes::MISSING_KEY, entry.place, format!("{what} expects nothing"))
                .help("give it an `expect`, for example `expect: {state: succeeded}`");
        }
        test
    }

    fn params(&mut self, entry: &Entry) -> Map<String, Value> {
        let mut params = Map::new();
        for entry in value::entries("`params`", entry, self.report) {
            if !self.dag.params.contains_key(entry.key.as_str()) {
                let known = self.dag.params.keys().map(tidemill_model::VarName::as_str);
                let near = self.report.did_you_mean(&entry.key, known);
                let message = format!("`{}` has no param {}", self.dag.id, quoted(&entry.key));
                self.report.error(&codes::NOT_ALLOWED, entry.place, message).maybe_help(near);
            }
            params.insert(entry.key.clone(), entry.node.to_json());
        }
        if let Err(error) = self.dag.params_of(&params) {
            self.report.error(&codes::NOT_ALLOWED, entry.place, error.to_string());
        }
        params
    }

    fn parsed<T: std::str::FromStr>(&mut self, what: &str, entry: &Entry, form: &str) -> Option<T> {
        let text = value::text(what, entry, self.report)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!("{what} is no {}", form.trim_matches('`'));
            self.report
                .error(&codes::NOT_ALLOWED, entry.node.place, message)
                .help(format!("write {form}, dates or instants"));
        }
        parsed
    }

    fn instant(&mut self, what: &str, entry: &Entry) -> Option<Timestamp> {
        self.parsed(what, entry, "`2026-01-31T02:00:00Z`")
    }

    /// The entries of a mapping whose keys are tasks.
    fn of_tasks<'n>(&mut self, what: &str, entry: &'n Entry) -> Vec<(&'n Entry, String)> {
        let entries = value::entries(what, entry, self.report);
        let known = entries.iter().filter(|entry| self.is_task(&entry.key, entry.place));
        known.map(|entry| (entry, entry.key.clone())).collect()
    }

    /// The entries of a mapping whose keys are tasks, or items of mapped ones.
    fn of_instances<'n>(&mut self, what: &str, entry: &'n Entry) -> Vec<(&'n Entry, String)> {
        let entries = value::entries(what, entry, self.report);
        let known = entries.iter().filter(|entry| {
            self.dag.find_instance(&entry.key).is_some() || self.is_task(&entry.key, entry.place)
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

    /// Reports a stub of what does nothing that a stub could stand for.
    fn can_be_stubbed(&mut self, name: &str, place: Place) {
        let help = match self.find(name).map(|task| &task.action) {
            Some(Action::Wait(_)) => "a wait takes no time on the clock of a test",
            Some(Action::Approve(_)) => "write what a person says in `answers`",
            Some(Action::Group(_)) => "write stubs of its members, `GROUP.MEMBER`",
            Some(Action::Noop) => "it does nothing",
            _ => return,
        };
        let message = format!("a stub of `{name}` has no meaning");
        self.report.error(&codes::NOT_HERE, place, message).help(help);
    }

    fn stub(&mut self, what: &str, entry: &Entry) -> Stub {
        let mut stub = Stub::default();
        if let Data::List(_) = entry.node.data {
            stub.tables
                .extend(self.rows(what, &entry.node, entry.place).map(|t| (String::new(), t)));
            return stub;
        }
        let entries = value::entries(what, entry, self.report);
        keys::check(entries, &[keys::test_file::STUB, keys::test_file::ROWS], what, self.report);
        if entries.iter().any(|entry| matches!(entry.key.as_str(), "rows" | "file")) {
            let table = self.rows(what, &entry.node, entry.place);
            stub.tables.extend(table.map(|table| (String::new(), table)));
        }
        for entry in entries {
            match entry.key.as_str() {
                "tables" => {
                    for entry in value::entries("`tables`", entry, self.report) {
                        let rows = self.rows(&entry.key, &entry.node, entry.place);
                        stub.tables.extend(rows.map(|rows| (entry.key.clone(), rows)));
                    }
                }
                "outputs" => stub.outputs = self.object("`outputs`", entry),
                "fails" => {
                    stub.fails = value::text("`fails`", entry, self.report).map(str::to_owned);
                }
                "times" => {
                    let times = value::integer("`times`", entry, 1_000_000, self.report);
                    stub.times = times.map(|times| times as u32);
                }
                "takes" => {
                    let takes = value::duration("`takes`", entry, self.report);
                    stub.takes = takes.unwrap_or_default();
                }
                "skips" => stub.skips = self.truth("`skips`", entry).unwrap_or_default(),
                _ => {}
            }
        }
        stub
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
            _ => {
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

    fn expect(&mut self, entry: &Entry) -> Expect {
        let mut expect = Expect::default();
        let entries = value::entries("`expect`", entry, self.report);
        keys::check(entries, &[keys::test_file::EXPECT], "`expect`", self.report);
        for entry in entries {
            match entry.key.as_str() {
                "state" => {
                    let states = [RunState::Succeeded, RunState::Failed, RunState::Cancelled];
                    let states = states.map(|state| (state.label(), state));
                    let state = value::choice("`state`", entry, &states, self.report);
                    expect.state = state.map(|state| self.expected(entry, state));
                }
                "tasks" => {
                    let states = TaskState::ALL.map(|state| (state.label(), state));
                    for (entry, name) in self.of_instances("`tasks`", entry) {
                        let what = format!("the state of `{name}`");
                        let state = value::choice(&what, entry, &states, self.report);
                        let state = state.map(|state| (name, self.expected(entry, state)));
                        expect.tasks.extend(state);
                    }
                }
                "tables" => self.tables(entry, &mut expect),
                "outputs" => {
                    for (entry, name) in self.of_instances("`outputs`", entry) {
                        let values = self.object("`outputs`", entry);
                        expect.outputs.insert(name, self.expected(entry, values));
                    }
                }
                "rendered" => {
                    for (entry, name) in self.of_instances("`rendered`", entry) {
                        let form = self.expected(entry, entry.node.to_json());
                        expect.rendered.insert(name, form);
                    }
                }
                "errors" => {
                    for (entry, name) in self.of_instances("`errors`", entry) {
                        let text = value::text("an error", entry, self.report);
                        let text = text.map(|text| (name, self.expected(entry, text.to_owned())));
                        expect.errors.extend(text);
                    }
                }
                "next_ticks" => {
                    let texts = value::texts("`next_ticks`", entry, self.report);
                    let ticks = texts.into_iter().filter_map(|(text, place)| {
                        let tick = text.parse().ok();
                        if tick.is_none() {
                            self.report
                                .error(&codes::NOT_ALLOWED, place, "a tick is no instant")
                                .help("write for example `2026-01-31T02:00:00Z`");
                        }
                        tick
                    });
                    let ticks = ticks.collect();
                    expect.next_ticks = Some(self.expected(entry, ticks));
                }
                _ => {}
            }
        }
        expect
    }

    fn expected<T>(&self, entry: &Entry, value: T) -> Expected<T> {
        Expected { value, line: self.line(entry.place), at: entry.place.start as usize }
    }

    fn tables(&mut self, entry: &Entry, expect: &mut Expect) {
        for entry in value::entries("`tables`", entry, self.report) {
            let name = entry.key.as_str();
            let longest = [Some(name), name.rsplit_once('.').map(|(task, _)| task)];
            let names = |known: &str| longest.iter().flatten().any(|name| *name == known);
            let is_known = (0..self.dag.tasks().len() as u32)
                .any(|at| names(&self.dag.name_of(tidemill_model::TaskIx(at).into())));
            if !is_known && !self.is_task(name, entry.place) {
                continue;
            }
            let what = format!("the expected table `{name}`");
            let Some(rows) = self.rows(&what, &entry.node, entry.place) else { continue };
            let mut table = ExpectedTable { rows, ordered: false, tolerance: 0.0 };
            if let Some(entries) = entry.node.entries() {
                keys::check(
                    entries,
                    &[keys::test_file::ROWS, keys::test_file::EXPECTED_TABLE],
                    &what,
                    self.report,
                );
            }
            if let Some(entry) = entry.node.entry("ordered") {
                table.ordered = self.truth("`ordered`", entry).unwrap_or_default();
            }
            if let Some(entry) = entry.node.entry("tolerance") {
                let number = value::number("`tolerance`", entry, 0.0..=f64::MAX, self.report);
                table.tolerance = number.unwrap_or_default();
            }
            let table = self.expected(entry, table);
            expect.tables.insert(name.to_owned(), table);
        }
    }
}
