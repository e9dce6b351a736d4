//! A group: its members, what it gives, and what comes after them.

use std::borrow::Cow;

use tidemill_model::VarName;
use tidemill_model::trigger_rule::TriggerRule;

use super::task::{self, Defaults, Written};
use super::value;
use crate::codes;
use crate::keys::{self, MODIFIERS};
use crate::report::{Report, quoted};
use crate::spec::{GroupOutputsSpec, TaskSpec};
use crate::yaml::node::{Data, Entry};

/// Modifiers that this version cannot run, and that groups have as tasks do.
const LATER_OF_GROUPS: [&str; 4] = ["priority", "depends_on_past", "on_success", "on_failure"];

/// What is read after the group itself.
#[derive(Default)]
pub(crate) struct Parts<'n> {
    members: Vec<&'n Entry>,
    finally: Vec<Written<'n>>,
}

/// Reads a key that a group has in its own form, or not at all; false for one that is read as that
/// of any task.
pub(crate) fn read_modifier<'n>(
    task: &mut TaskSpec<'n>,
    parts: &mut Parts<'n>,
    entry: &'n Entry,
    report: &mut Report,
) -> bool {
    match entry.key.as_str() {
        "tasks" => parts.members = entry.node.entries().into_iter().flatten().collect(),
        "outputs" => {
            task.group_outputs = outputs(entry, report);
            task.outputs_place = Some(entry.place);
        }
        "finally" => parts.finally = finally(entry, report),
        key => {
            let of_task = MODIFIERS.iter().any(|modifier| modifier.name == key);
            let of_group = keys::GROUP.iter().any(|modifier| modifier.name == key)
                || LATER_OF_GROUPS.contains(&key);
            if of_group || !of_task {
                return false;
            }
            let message = format!("`{key}` has no meaning beside `tasks`");
            report
                .error(&codes::NOT_HERE, entry.place, message)
                .help("give it to the members of the group");
        }
    }
    true
}

/// Reads the members of the group at a place, and adds them to `tasks`.
pub(crate) fn read_members<'n>(
    parts: &Parts<'n>,
    group: (usize, &str),
    tasks: &mut Vec<TaskSpec<'n>>,
    defaults: &Defaults<'n>,
    report: &mut Report,
) {
    for entry in &parts.members {
        member_name(entry, report);
        let (member, inner) = task::read(Written::of(entry), Some(group), defaults, report);
        if inner.is_some() {
            let message = format!("group {} holds another group", quoted(group.1));
            report
                .error(&codes::NESTED, entry.place, message)
                .help("make one group of both, or put the inner one into a DAG of its own");
        }
        check_mapping(&tasks[group.0], &member, report);
        tasks.push(member);
    }
    for written in &parts.finally {
        let (mut member, inner) = task::read(written.clone(), Some(group), defaults, report);
        if inner.is_some() {
            report
                .error(&codes::NESTED, written.place, "`finally` holds a group")
                .help("write each action as an entry of the list");
        }
        if let Some(member) = parts.members.iter().find(|member| member.key == written.name) {
            let message =
                format!("the name {} is that of what `finally` does", quoted(&member.key));
            report
                .error(&codes::NAME_TAKEN, member.place, message)
                .help("give the member another name");
        }
        refuse_in_finally(written, report);
        member.is_finally = true;
        member.trigger_rule = TriggerRule::AllDone;
        tasks.push(member);
    }
}

/// Names that `tasks.GROUP.…` has itself, so that no member can have them.
fn member_name(entry: &Entry, report: &mut Report) {
    task::name(entry, report);
    let fields = tidemill_model::decide::TASK_FIELDS;
    let taken = fields.iter().chain(tidemill_model::decide::MAP_FIELDS);
    if taken.into_iter().any(|field| *field == entry.key) {
        let message = format!("a member of a group cannot have the name {}", quoted(&entry.key));
        report
            .error(&codes::NAME_TAKEN, entry.place, message)
            .help("expressions read that of the group itself: choose another name");
    }
}

fn check_mapping(group: &TaskSpec<'_>, member: &TaskSpec<'_>, report: &mut Report) {
    if let (Some(_), Some((_, place))) = (group.mapping.for_each, member.mapping.for_each) {
        let message = format!("`{}` is mapped inside of a group that is mapped", member.name);
        report
            .error(&codes::NESTED, place, message)
            .help("make one list of both, or put the inner one into a DAG of its own");
    }
}

fn refuse_in_finally(written: &Written<'_>, report: &mut Report) {
    let entries = written.node.entries().unwrap_or_default();
    for key in ["depends_on", "trigger_rule", "for_each", "on_success", "on_failure", "finally"] {
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            let message = format!("`{key}` has no meaning in `finally`");
            report
                .error(&codes::NOT_HERE, entry.place, message)
                .help("it is done after all members have ended, once");
        }
    }
}

/// `outputs: MEMBER`, or `outputs: {table: MEMBER, NAME: EXPRESSION}`.
fn outputs<'n>(entry: &'n Entry, report: &mut Report) -> GroupOutputsSpec<'n> {
    let mut outputs = GroupOutputsSpec::default();
    match &entry.node.data {
        Data::Text(member) => outputs.table = Some((member, entry.node.place)),
        Data::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                if entry.key == "table" {
                    let member = value::text("`table`", entry, report);
                    outputs.table = member.map(|member| (member, entry.node.place));
                } else if value::name::<VarName>(&entry.key, entry.place, report).is_some() {
                    outputs.values.push(entry);
                }
            }
        }
        _ => {
            let wanted = ["a member", "a mapping"];
            value::wrong_type("`outputs`", &wanted, &entry.node, entry.place, report)
                .help("write `outputs: MEMBER`, or `outputs: {table: MEMBER, NAME: EXPRESSION}`");
        }
    }
    outputs
}

/// `finally: [{run: …}]`: each entry is a task, named by its place.
fn finally<'n>(entry: &'n Entry, report: &mut Report) -> Vec<Written<'n>> {
    let Data::List(items) = &entry.node.data else {
        value::wrong_type("`finally`", &["a list"], &entry.node, entry.place, report)
            .help("write for example `finally: [{run: [./clean-up]}]`");
        return Vec::new();
    };
    let written = items.iter().enumerate().map(|(i, node)| {
        let name = match i {
            0 => Cow::Borrowed("finally"),
            i => Cow::Owned(format!("finally_{}", i + 1)),
        };
        Written { name, place: node.place, node }
    });
    written.collect()
}
