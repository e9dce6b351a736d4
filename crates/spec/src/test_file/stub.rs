//! What tasks give in a test instead of doing what they would.

use tidemill_model::Action;

use super::{Reader, Stub};
use crate::codes;
use crate::keys;
use crate::read::value;
use crate::report::{Place, quoted};
use crate::yaml::node::{Data, Entry};

impl Reader<'_, '_, '_> {
    /// Whether there is something that a stub can stand for; reports one that has no meaning.
    pub(super) fn can_be_stubbed(&mut self, name: &str, place: Place) -> bool {
        let help = match self.find(name).map(|task| &task.action) {
            Some(Action::Wait(_)) => "a wait takes no time on the clock of a test",
            Some(Action::Approve(_)) => "write what a person says in `answers`",
            Some(Action::Group(_)) => "write stubs of its members, `GROUP.MEMBER`",
            Some(Action::Noop) => "it does nothing",
            _ => return true,
        };
        let message = format!("a stub of `{name}` has no meaning");
        self.report.error(&codes::NOT_HERE, place, message).help(help);
        false
    }

    pub(super) fn stub(&mut self, what: &str, entry: &Entry) -> Stub {
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
        self.goes_together(entries, stub.skips);
        stub
    }

    /// Reports keys of a stub that change nothing beside the others.
    fn goes_together(&mut self, entries: &[Entry], skips: bool) {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        if let (Some(times), None) = (find("times"), find("fails")) {
            self.report
                .error(&codes::NOT_HERE, times.place, "`times` has no meaning without `fails`")
                .help("say how so many attempts fail, `fails: no route`, or remove it");
        }
        let beside = |entry: &&Entry| !matches!(entry.key.as_str(), "skips" | "takes" | "times");
        for entry in entries.iter().filter(beside).filter(|_| skips) {
            let message = format!("{} has no meaning beside `skips`", quoted(&entry.key));
            self.report
                .error(&codes::NOT_HERE, entry.place, message)
                .help("a task that skips does nothing else: remove one of the two");
        }
    }
}
