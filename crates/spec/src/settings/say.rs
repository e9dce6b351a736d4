//! What is said of a value that does not fit.

use serde_json::Value;

use super::checker::{Checker, Found};
use super::words::first_sentence;
use super::{Codes, Kind, Owner, example, type_help};
use crate::read::value::NO_EXPR;
use crate::report::{Draft, listed, quoted};
use crate::yaml::node::{Data, Entry, Node};

impl Owner<'_> {
    /// The value at a path: ``setting `a.b` of source `csv` ``, `` `concurrency.limit` ``.
    pub(crate) fn named(&self, path: &str) -> String {
        match (self.kind, path) {
            (_, "") => self.name.to_owned(),
            (Kind::Settings, path) => format!("setting {} of {}", quoted(path), self.name),
            (Kind::Key, path) if path.starts_with('[') => format!("`{}{path}`", self.entry.key),
            (Kind::Key, path) => format!("`{}.{path}`", self.entry.key),
            (Kind::Entry, path) => format!("{} of {}", quoted(path), self.name),
        }
    }
}

impl<'n> Checker<'_, '_, '_, 'n> {
    /// ``setting `a.b` of source `csv` ``, or ``source `csv` `` for the whole.
    pub(super) fn named(&self, path: &str) -> String {
        self.owner.named(path)
    }

    pub(super) fn codes(&self) -> &'static Codes {
        self.owner.kind.codes()
    }

    pub(super) fn unknown(
        &mut self,
        entry: &Entry,
        names: &[&str],
        path: &str,
        found: &mut Found<'n>,
    ) {
        let message = match path {
            "" if self.owner.kind == Kind::Settings => {
                format!("{} has no setting {}", self.owner.name, quoted(&entry.key))
            }
            _ => format!("{} has no key {}", self.named(path), quoted(&entry.key)),
        };
        let help = self.report.did_you_mean(&entry.key, names.iter().copied());
        let mut draft = Draft::error(self.codes().unknown, entry.place, message);
        draft.help(match (help, names) {
            (Some(help), _) => help,
            (None, []) => "it takes no settings: write `{}`".to_owned(),
            (None, names) => format!("it takes {}", listed(names.iter().copied())),
        });
        found.problems.push(draft);
    }

    pub(super) fn missing(
        &mut self,
        key: &str,
        doc: Option<&str>,
        node: &Node,
        path: &str,
        found: &mut Found<'n>,
    ) {
        let message = match path {
            "" if self.owner.kind == Kind::Settings => {
                format!("{} needs the setting `{key}`", self.owner.name)
            }
            _ => format!("{} needs the key `{key}`", self.named(path)),
        };
        let place = if path.is_empty() { self.owner.entry.place } else { node.place };
        let mut draft = Draft::error(self.codes().missing, place, message);
        if path.is_empty() {
            draft.help(example(self.owner));
        } else {
            draft.maybe_help(doc.map(|doc| format!("`{key}`: {}", first_sentence(doc))));
        }
        found.problems.push(draft);
    }

    pub(super) fn wrong_type(
        &mut self,
        wanted: &[&str],
        node: &Node,
        path: &str,
        found: &mut Found<'n>,
    ) {
        let is_key = self.owner.kind != Kind::Settings;
        if path.is_empty() && node.is_null() && !is_key {
            let message = format!("{} has no settings", self.owner.name);
            let mut draft = Draft::error(self.codes().missing, self.owner.entry.place, message);
            draft.help(example(self.owner));
            found.problems.push(draft);
            return;
        }
        let mut draft = Draft::error(
            self.codes().wrong_type,
            if path.is_empty() && node.is_null() { self.owner.entry.place } else { node.place },
            format!("{} must be {}, not {}", self.named(path), wanted.join(" or "), node.kind()),
        );
        draft.maybe_help(type_help(wanted, node, &self.report.source));
        if node.holds_expr() {
            draft.help(NO_EXPR);
        }
        found.problems.push(draft);
    }

    pub(super) fn not_allowed(
        &mut self,
        allowed: &[&Value],
        node: &Node,
        path: &str,
        found: &mut Found<'n>,
    ) {
        let texts: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let names = || texts.iter().map(String::as_str);
        let written = match &node.data {
            Data::Text(_) if node.holds_expr() => node.kind().to_owned(),
            Data::Text(text) => quoted(text),
            Data::Bool(_) | Data::Number(_) => format!("`{}`", node.to_json()),
            _ => node.kind().to_owned(),
        };
        let one_of = if texts.len() == 1 { "" } else { "one of " };
        let message =
            format!("{} must be {one_of}{}, not {written}", self.named(path), listed(names()));
        let help = node.text().and_then(|text| self.report.did_you_mean(text, names()));
        let mut draft = Draft::error(self.codes().wrong_value, node.place, message);
        draft.maybe_help(help);
        if node.holds_expr() {
            draft.help(NO_EXPR);
        }
        found.problems.push(draft);
    }

    pub(super) fn wrong<'f>(
        &self,
        node: &Node,
        path: &str,
        what: &str,
        found: &'f mut Found<'n>,
    ) -> &'f mut Draft {
        let message = format!("{} {what}", self.named(path));
        found.problems.push(Draft::error(self.codes().wrong_value, node.place, message));
        let last = found.problems.len() - 1;
        &mut found.problems[last]
    }
}
