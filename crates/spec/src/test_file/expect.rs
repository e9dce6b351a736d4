//! What a test expects.

use tidemill_model::{Action, RunState, TaskState};

use super::{Expect, Expected, ExpectedTable, INSTANT_HELP, Reader};
use crate::codes;
use crate::keys;
use crate::read::value;
use crate::report::{Place, quoted};
use crate::yaml::node::{Data, Entry};

impl Reader<'_, '_, '_> {
    /// Reads the `expect` of `what`.
    pub(super) fn expect(&mut self, what: &str, entry: &Entry) -> Expect {
        let mut expect = Expect::default();
        if says_nothing(entry) {
            self.expects_nothing(what, entry.place);
            return expect;
        }
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
                    for (entry, name) in self.of_wholes("`tasks`", entry) {
                        let what = format!("the state of `{name}`");
                        let state = value::choice(&what, entry, &states, self.report);
                        let state = state.map(|state| (name, self.expected(entry, state)));
                        expect.tasks.extend(state);
                    }
                }
                "tables" => self.tables(entry, &mut expect),
                "outputs" => {
                    for (entry, name) in self.of_instances("`outputs`", entry) {
                        self.is_one(&name, "values", entry.place);
                        let values = self.object("`outputs`", entry);
                        expect.outputs.insert(name, self.expected(entry, values));
                    }
                }
                "rendered" => {
                    for (entry, name) in self.of_instances("`rendered`", entry) {
                        self.is_rendered(&name, entry.place);
                        let form = self.expected(entry, entry.node.to_json());
                        expect.rendered.insert(name, form);
                    }
                }
                "errors" => {
                    for (entry, name) in self.of_wholes("`errors`", entry) {
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
                            let message =
                                format!("a tick is {}, which is no instant", quoted(text));
                            self.report.error(&codes::INSTANT, place, message).help(INSTANT_HELP);
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

    /// Reports a test that would hold whatever happens.
    pub(super) fn expects_nothing(&mut self, what: &str, place: Place) {
        self.report
            .error(&codes::MISSING_KEY, place, format!("{what} expects nothing"))
            .help("say in `expect` how the run ends, for example `expect: {state: succeeded}`");
    }

    /// Reports a mapped task as a whole where each of its items has its own `what`.
    fn is_one(&mut self, name: &str, what: &str, place: Place) {
        let at = self.dag.find_instance(name).filter(|at| at.item.is_none());
        if at.is_some_and(|at| self.dag.task(at.task).mapping.is_some()) {
            let message = format!("`{name}` runs once for each item, and each has its own {what}");
            let help = format!("name an item, from 0 on: `{name}[0]`");
            self.report.error(&codes::NOT_HERE, place, message).help(help);
        }
    }

    /// Reports a task of which nothing is rendered in a test.
    fn is_rendered(&mut self, name: &str, place: Place) {
        let Some(at) = self.dag.find_instance(name) else { return };
        if !matches!(self.dag.task(at.task).action, Action::Group(_)) {
            return self.is_one(name, "settings", place);
        }
        let member = self.dag.members(at.task).first();
        let member = member.map(|member| self.dag.task(*member).name.as_str());
        let member = member.and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        let is_whole = at.item.is_none() && self.dag.task(at.task).mapping.is_some();
        let item = if is_whole { "[0]" } else { "" };
        self.report
            .error(
                &codes::NOT_HERE,
                place,
                format!("`{name}` is a group, so nothing of it is rendered"),
            )
            .help(format!("name a member: `{name}{item}.{member}`"));
    }

    fn expected<T>(&self, entry: &Entry, value: T) -> Expected<T> {
        Expected { value, line: self.line(entry.place), at: entry.place.start as usize }
    }

    fn tables(&mut self, entry: &Entry, expect: &mut Expect) {
        for entry in value::entries("`tables`", entry, self.report) {
            let name = entry.key.as_str();
            if !self.can_be_made(name, entry.place) {
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

/// Whether an `expect` holds in any run: there is nothing in it, or in what it holds.
fn says_nothing(expect: &Entry) -> bool {
    let is_empty = |entry: &Entry| entry.node.entries().is_some_and(<[Entry]>::is_empty);
    let holds_nothing = |entry: &Entry| match (entry.key.as_str(), &entry.node.data) {
        ("outputs", Data::Map(entries)) => entries.iter().all(is_empty),
        ("tasks" | "tables" | "rendered" | "errors", _) => is_empty(entry),
        ("next_ticks", Data::List(items)) => items.is_empty(),
        _ => false,
    };
    match &expect.node.data {
        Data::Null => true,
        Data::Map(entries) => entries.iter().all(holds_nothing),
        _ => false,
    }
}
