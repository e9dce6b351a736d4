//! `on_success`, `on_failure`, `finally` of a task or a DAG: what is done after it.

use std::borrow::Cow;

use super::task::{self, Defaults, Written};
use super::value;
use crate::codes;
use crate::keys::{self, ACTIONS, MODIFIERS, runs};
use crate::report::{Report, listed, quoted};
use crate::spec::{HandlerAction, HandlerSpec};
use crate::yaml::node::{Data, Entry, Node};

/// The keys that hold handlers.
pub(crate) const KEYS: [&str; 3] = ["on_success", "on_failure", "finally"];

/// Reads the handlers among these keys.
pub(crate) fn read_all<'n>(
    entries: impl IntoIterator<Item = &'n Entry>,
    defaults: &Defaults<'n>,
    report: &mut Report,
) -> Vec<HandlerSpec<'n>> {
    let mut handlers = Vec::new();
    for entry in entries.into_iter().filter(|entry| KEYS.contains(&entry.key.as_str())) {
        let items = match &entry.node.data {
            Data::List(items) if !items.is_empty() => items,
            Data::List(_) => {
                let message = format!("`{}` must not be empty", entry.key);
                report
                    .error(&codes::NOT_ALLOWED, entry.node.place, message)
                    .help(example(&entry.key));
                continue;
            }
            _ => {
                let what = format!("`{}`", entry.key);
                value::wrong_type(&what, &["a list"], &entry.node, entry.place, report)
                    .help(example(&entry.key));
                continue;
            }
        };
        for (at, node) in items.iter().enumerate() {
            handlers.extend(read(entry, (at, node), defaults, report));
        }
    }
    handlers
}

fn example(key: &str) -> String {
    format!("write for example `{key}: [{{notify: ops-chat}}]`")
}

fn read<'n>(
    list: &'n Entry,
    (at, node): (usize, &'n Node),
    defaults: &Defaults<'n>,
    report: &mut Report,
) -> Option<HandlerSpec<'n>> {
    let key = list.key.as_str();
    let owner = format!("an entry of `{key}`");
    let Some(entries) = node.entries() else {
        value::wrong_type(&owner, &["a mapping"], node, list.place, report).help(example(key));
        return None;
    };
    let find = |name: &str| entries.iter().find(|entry| entry.key == name);
    let mut actions =
        entries.iter().filter(|entry| ACTIONS.iter().any(|action| action.name == entry.key));
    let what = match (find("notify"), actions.next()) {
        (Some(notify), None) => {
            keys::check(entries, &[runs::HANDLER], &owner, report);
            notify_name(notify, report)?;
            HandlerAction::Notify(find("when").map(|entry| &entry.node))
        }
        (Some(notify), Some(action)) => {
            let message = format!("{owner} has two actions, `{}` and `{}`", notify.key, action.key);
            report
                .error(&codes::ACTION, notify.place.max(action.place), message)
                .help("each does one thing: make a second entry of the list");
            return None;
        }
        (None, None) => {
            keys::check(entries, &[runs::HANDLER, ACTIONS, MODIFIERS], &owner, report);
            let actions = runs::handler_actions().map(|key| key.name);
            let message = format!("{owner} has no action");
            report
                .error(&codes::ACTION, node.place, message)
                .help(format!("give it `notify`, or one of {}", listed(actions)));
            return None;
        }
        (None, Some(_)) => {
            let name = match at {
                0 => Cow::Borrowed(key),
                at => Cow::Owned(format!("{key}_{}", at + 1)),
            };
            let written = Written { name, place: node.place, node };
            let (task, inner) = task::read(written, None, defaults, report);
            if inner.is_some() {
                let message = format!("`{key}` holds a group");
                report
                    .error(&codes::NESTED, node.place, message)
                    .help("write each action as an entry of the list");
            }
            refuse(key, entries, report);
            HandlerAction::Task(Box::new(task))
        }
    };
    Some(HandlerSpec { key, what })
}

/// The name of a channel.
fn notify_name(entry: &Entry, report: &mut Report) -> Option<()> {
    let text = value::text("`notify`", entry, report)?;
    let what = Some("channel name");
    value::name_of::<tidemill_model::DagId>(what, text, entry.node.place, report).map(|_| ())
}

fn refuse(key: &str, entries: &[Entry], report: &mut Report) {
    for entry in entries.iter().filter(|e| runs::NOT_IN_HANDLERS.contains(&e.key.as_str())) {
        let message = format!("{} has no meaning in `{key}`", quoted(&entry.key));
        report
            .error(&codes::NOT_HERE, entry.place, message)
            .help("what is done there comes after what it belongs to, once");
    }
}
