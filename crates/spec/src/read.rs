//! From the tree of a file to a [`DagSpec`]: keys and types.
//!
//! * [`value`]: single values; [`head`]: the keys of the DAG; [`task`]: the keys of a task;
//! * [`check`]: `checks`; [`output`]: `outputs`; [`retry`]: `retry`.

mod check;
mod head;
mod output;
mod retry;
mod task;
pub(crate) mod value;

use crate::codes;
use crate::report::{Place, Report};
use crate::spec::DagSpec;
use crate::yaml::node::Node;

/// Reads the whole file.
pub(crate) fn dag<'n>(root: &'n Node, stem: &str, report: &mut Report) -> Option<DagSpec<'n>> {
    let Some(entries) = root.entries() else {
        let message = format!("a DAG file is a mapping, this one is {}", root.kind());
        report
            .error(&codes::WRONG_TYPE, root.place, message)
            .help("it has at least `tasks:` with one task");
        return None;
    };
    let head = head::read(entries, stem, report);
    let defaults = task::defaults(root.entry("defaults"), report);
    let tasks = match root.entry("tasks") {
        None => {
            report
                .error(&codes::MISSING_KEY, Place::new(0, 0), "the file has no `tasks`")
                .help("a DAG has at least one task");
            Vec::new()
        }
        Some(entry) => match entry.node.entries() {
            None => {
                value::wrong_type("`tasks`", &["a mapping"], &entry.node, entry.place, report)
                    .help("write each task as a key with its name");
                Vec::new()
            }
            Some([]) => {
                report
                    .error(&codes::MISSING_KEY, entry.place, "`tasks` is empty")
                    .help("a DAG has at least one task");
                Vec::new()
            }
            Some(tasks) => tasks.iter().map(|entry| task::read(entry, &defaults, report)).collect(),
        },
    };
    Some(DagSpec { tasks, ..head })
}
