//! From the tree of a file to a [`DagSpec`]: keys and types.
//!
//! * [`value`]: single values; [`head`]: the keys of the DAG; [`task`]: the keys of a task;
//! * [`check`]: `checks`; [`output`]: `outputs`; [`retry`]: `retry`; [`resources`]:
//!   `resources`; [`group`]: groups; [`map`]:
//!   `for_each`; [`handlers`]: what is done after a task or a run;
//! * [`given`]: params that a run is given; [`stray`]: what stands beside its key, not below it.

mod cache;
mod check;
pub(crate) mod given;
mod group;
pub(crate) mod handlers;
mod head;
mod map;
mod output;
mod resources;
pub(crate) mod retry;
mod stray;
mod task;
pub(crate) mod value;

use chrono_tz::Tz;

use crate::codes;
use crate::keys;
use crate::report::{Place, Report};
use crate::spec::DagSpec;
use crate::yaml::node::{Data, Node};

/// What the DAGs of a folder have unless they say otherwise.
#[derive(Default)]
pub(crate) struct Folder<'n> {
    pub(crate) owner: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) timezone: Option<Tz>,
    pub(crate) defaults: task::Defaults<'n>,
}

/// Reads `_defaults.yaml`.
pub(crate) fn folder<'n>(root: &Node, report: &mut Report) -> Folder<'n> {
    let entries = match &root.data {
        Data::Map(entries) => entries.as_slice(),
        // Nothing but comments, or `null`.
        Data::Null => &[],
        _ => {
            let message = format!("the file is {}, not a mapping", root.kind());
            report
                .error(&codes::WRONG_TYPE, root.place, message)
                .help("write for example `defaults: {retry: 3}`");
            &[]
        }
    };
    head::folder(entries, report)
}

/// Reports a file in which nothing is written.
pub(crate) fn empty_file(help: &str, report: &mut Report) {
    report.error(&codes::EMPTY, Place::default(), "the file is empty").help(help);
}

/// Reads the whole file.
pub(crate) fn dag<'n>(
    root: &'n Node,
    stem: &str,
    folder: Folder<'n>,
    report: &mut Report,
) -> Option<DagSpec<'n>> {
    if root.is_empty_file() {
        empty_file("a DAG has at least `tasks:` with one task", report);
        return None;
    }
    let Some(entries) = root.entries() else {
        let message = format!("a DAG file is a mapping, this one is {}", root.kind());
        report
            .error(&codes::WRONG_TYPE, root.place, message)
            .help("it has at least `tasks:` with one task");
        return None;
    };
    head::check(entries, report);
    let head = head::read(entries, stem, &folder, report);
    let defaults = task::defaults(root.entry("defaults"), folder.defaults, report);
    let tasks = match root.entry("tasks") {
        None => {
            report
                .error(&codes::MISSING_KEY, Place::new(0, 0), "the file has no `tasks`")
                .help("a DAG has at least one task");
            Vec::new()
        }
        Some(entry) => match entry.node.entries() {
            None => {
                if !stray::tell_tasks(entries, &[keys::TOP], report) {
                    value::wrong_type("`tasks`", &["a mapping"], &entry.node, entry.place, report)
                        .help("write each task as a key with its name");
                }
                Vec::new()
            }
            Some([]) => {
                report
                    .error(&codes::MISSING_KEY, entry.place, "`tasks` is empty")
                    .help("a DAG has at least one task");
                Vec::new()
            }
            Some(tasks) => task::read_all(tasks, &defaults, report),
        },
    };
    let handlers = handlers::read_all(entries, &defaults, report);
    Some(DagSpec { tasks, handlers, ..head })
}
