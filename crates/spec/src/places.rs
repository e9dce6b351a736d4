//! Findings about a DAG that come up after it was read, put back into the file.

use tidemill_model::{Dag, TaskIx};

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::report::{Draft, Place, Report, SourceText};
use crate::yaml;
use crate::yaml::node::{Data, Entry, Node, Style};

/// A finding about a part of a DAG file.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its kind.
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// The keys, and positions in lists, that lead to the part, from the top of the file on. Where
    /// some of them are not there, the part is the last that is.
    pub keys: Vec<String>,
    /// A line and a column in the text that stands there, both from 1.
    pub line_column: Option<(u64, u64)>,
    /// What is named and is not there, if that is what is wrong: an entry of the list or mapping
    /// that stands there.
    pub entry: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it; without it, the remedy of the code is shown.
    pub help: Option<String>,
}

/// Gives findings the places that they have in the text of their file, in its order.
pub fn place(source: SourceText, findings: Vec<Finding>) -> Vec<Diagnostic> {
    // The file was read before: what this reading finds is known.
    let tree = yaml::parse(&mut Report::new(source));
    let mut report = Report::new(source);
    for finding in findings {
        let place = tree.as_ref().map(|tree| place_of(tree, &finding, &report)).unwrap_or_default();
        let Finding { code, severity, message, help, .. } = finding;
        let mut draft = Draft::error(code, place, message);
        draft.maybe_help(help);
        match severity {
            Severity::Error => report.push(draft),
            Severity::Warning => report.push(draft.into_warning()),
        };
    }
    let mut found = report.finish();
    // A run does not know of them.
    for finding in &mut found {
        finding.blocks_run = false;
    }
    found
}

fn place_of(tree: &Node, finding: &Finding, report: &Report) -> Place {
    let found = (0..=finding.keys.len()).rev().find_map(|taken| {
        let keys = &finding.keys[..taken];
        Some((tree.below(keys)?, taken == finding.keys.len()))
    });
    let Some(((key, node), is_whole)) = found else { return Place::default() };
    let entry = finding.entry.as_deref().filter(|_| is_whole);
    if let Some(place) = entry.and_then(|name| entry_of(node, name)) {
        return place;
    }
    let Some(text) = node.text().filter(|_| is_whole) else { return key };
    match finding.line_column.and_then(|place| offset(text, place)) {
        Some(at) => node.part(&report.source, at, word(&text[at..])),
        None if node.style == Style::Literal => key,
        None => node.place,
    }
}

/// Where a list or a mapping names something.
fn entry_of(node: &Node, name: &str) -> Option<Place> {
    let is_it = |node: &Node| node.text() == Some(name);
    let in_list = |items: &[Node]| items.iter().find(|item| is_it(item)).map(|item| item.place);
    match &node.data {
        Data::List(items) => in_list(items),
        Data::Map(entries) => {
            let key = entries.iter().find(|entry| entry.key == name).map(|entry| entry.place);
            let value = |entry: &Entry| match &entry.node.data {
                Data::List(items) => in_list(items),
                _ => is_it(&entry.node).then_some(entry.node.place),
            };
            key.or_else(|| entries.iter().find_map(value))
        }
        _ => None,
    }
}

/// The byte at which a line and a column of a text are.
fn offset(text: &str, (line, column): (u64, u64)) -> Option<usize> {
    let before: usize = text
        .split_inclusive('\n')
        .take(usize::try_from(line).ok()?.checked_sub(1)?)
        .map(str::len)
        .sum();
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    text.get(before..)?.char_indices().nth(column).map(|(at, _)| before + at)
}

/// How long the word is that a text begins with, in bytes.
fn word(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '"');
    text.find(|c| !is_part(c)).unwrap_or(text.len()).max(1)
}

/// The keys that lead to a task of a DAG.
pub fn keys_of(dag: &Dag, ix: TaskIx) -> Vec<String> {
    let task = dag.task(ix);
    let name = task.name.as_str();
    let own = |keys: &[&str]| keys.iter().map(ToString::to_string).collect();
    match (task.group, name.split_once('.')) {
        (Some(group), Some((_, member))) => {
            let group = dag.task(group).name.as_str();
            if task.is_finally {
                // `finally`, `finally_2`: named by their places.
                let number = member.rsplit_once('_').and_then(|(_, n)| n.parse::<usize>().ok());
                let at = number.map_or(0, |number| number.saturating_sub(1));
                own(&["tasks", group, "finally", &at.to_string()])
            } else {
                own(&["tasks", group, "tasks", member])
            }
        }
        _ => own(&["tasks", name]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::codes;

    const TEXT: &str = "tasks:\n  a:\n    transform:\n      sql: |\n        select x\n        from nowhere\n  b:\n    noop:\n";

    fn check(keys: &[&str], line_column: Option<(u64, u64)>, expected: (u32, u32, u32)) {
        let finding = Finding {
            code: &codes::SQL_TABLES,
            severity: Severity::Warning,
            keys: keys.iter().map(ToString::to_string).collect(),
            line_column,
            entry: None,
            message: "no".to_owned(),
            help: None,
        };
        let source = SourceText { path: Path::new("a.yaml"), text: TEXT };
        let placed = place(source, vec![finding]);
        let found = &placed[0];
        assert_eq!((found.line, found.column, found.length), expected);
        assert!(!found.blocks_run);
    }

    #[test]
    fn a_place_in_a_text_a_key_and_the_nearest_key() {
        check(&["tasks", "a", "transform", "sql"], Some((2, 6)), (6, 14, 7));
        check(&["tasks", "a", "transform", "sql"], None, (4, 7, 3));
        check(&["tasks", "a", "transform", "sql"], Some((9, 9)), (4, 7, 3));
        check(&["tasks", "b", "checks", "0"], Some((1, 1)), (7, 3, 1));
        check(&["elsewhere"], None, (1, 1, 1));
    }
}
