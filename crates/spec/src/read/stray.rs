//! What stands beside its key, not below it, because its lines have too few spaces.

use crate::codes;
use crate::keys::{ACTIONS, Key, MODIFIERS};
use crate::report::{Place, Report, quoted};
use crate::yaml::node::{Data, Entry};

/// The place of `tasks` when nothing is below it, so that tasks may stand beside it.
fn empty_tasks(entries: &[Entry]) -> Option<Place> {
    let tasks = entries.iter().find(|entry| entry.key == "tasks")?;
    tasks.node.is_null().then_some(tasks.place)
}

/// The entries that are none of the tasks that were meant to stand below `tasks`.
pub(super) fn others<'n>(
    entries: &'n [Entry],
    known: &[&[Key]],
) -> impl Iterator<Item = &'n Entry> {
    let is_empty = empty_tasks(entries).is_some();
    entries.iter().filter(move |entry| !(is_empty && is_task(entry, known)))
}

/// Whether an entry would be a task if it stood below `tasks`: it has the form of one, and is no key
/// of the language at this place. In which order they stand says nothing.
fn is_task(entry: &Entry, known: &[&[Key]]) -> bool {
    let mut keys = known.iter().flat_map(|table| table.iter());
    let is_known = entry.key.starts_with("x-") || keys.any(|key| key.name == entry.key);
    !is_known && matches!(entry.node.data, Data::Map(_) | Data::Null)
}

/// Reports the first task that stands beside `tasks`; false when there is none.
pub(super) fn tell_tasks(entries: &[Entry], known: &[&[Key]], report: &mut Report) -> bool {
    let Some(tasks) = empty_tasks(entries) else { return false };
    let strays = || entries.iter().filter(|entry| is_task(entry, known));
    let after = strays().find(|entry| entry.place > tasks);
    let Some(first) = after.or_else(|| strays().next()) else { return false };
    tell("`tasks`", "the tasks", ("tasks", first), report);
    true
}

/// How many of the entries after a task that is nothing are its own keys: they stand beside it, and
/// the first is reported.
pub(super) fn keys_of(task: &Entry, after: &[Entry], report: &mut Report) -> usize {
    let is_key = |entry: &&Entry| {
        let mut keys = ACTIONS.iter().chain(MODIFIERS);
        task.node.is_null() && keys.any(|key| key.name == entry.key)
    };
    let count = after.iter().take_while(is_key).count();
    if let Some(first) = after.first().filter(|_| count > 0) {
        report.refuse(task.node.place, Some(task.place), true);
        let what = format!("task {}", quoted(&task.key));
        tell(&what, "its keys", (&task.key, first), report);
    }
    count
}

/// Reports the first of what stands beside a key.
fn tell(what: &str, all: &str, (key, first): (&str, &Entry), report: &mut Report) {
    let start = first.place.start;
    let begins_line =
        report.source.line_place(report.source.line_of(start as usize)).start == start;
    let name = quoted(&first.key);
    // In brackets, spaces mean nothing.
    let (message, help) = if begins_line {
        (
            format!("{what} has nothing below it: {name} stands too far left"),
            format!("indent {all} under `{key}:`, each line by two spaces"),
        )
    } else {
        (
            format!("{what} has nothing inside: {name} stands beside it"),
            format!("put {all} inside: `{key}: {{{}: …}}`", first.key),
        )
    };
    report
        .error(&codes::WRONG_TYPE, first.place, message)
        .label(format!("this stands beside `{key}`"))
        .help(help);
}
