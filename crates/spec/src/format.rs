//! The text of a file in its canonical form: [`format`].
//!
//! * `places`: the order of keys, and short forms, at each place; `arrange`: puts a tree so;
//! * `flow`: what stays in brackets; `quote`: how a scalar is written; `print`: the tree to text;
//! * `check`: that nothing was lost.
//!
//! The tree is that of `yaml::layout`, which has the comments. The rules:
//!
//! * **Keys** stand in the order of [`crate::keys::PLACES`]: of a task the action first, then its
//!   modifiers; of a group how it is run first, then `tasks`, `outputs` and `finally`. Unknown keys
//!   come last. Names, settings, columns, rows and values keep the order of their author. So does
//!   what has an anchor, since others may mean it otherwise, and all keys of a mapping in which an
//!   alias would come before its anchor. `x-` keys stay
//!   before everything that was written below them.
//! * **Short forms** become their long ones: `retry: 3`, `call: NAME`, `wait: 10m`, `cache: 1d`,
//!   `approve: TEXT`, `outputs: MEMBER` of a group, and `NAME: 4` of a pool a mapping; outputs and
//!   named inputs `{type: integer}` and `{table: NAME}`; a single column a list; `noop: {}` nothing.
//!   Not in files of tests, and not inside of what has an anchor.
//! * **Layout**: two spaces for each level, lists deeper than their key. What is in brackets stays
//!   so when it fits into 100 columns, a row behind a `-` into 120, and has no comments inside; what
//!   is not stays as it is.
//! * **Quotes** go where a text begins like a word or a path and cannot be misread; others are
//!   double, or single where that saves backslashes. What holds an expression has them always. What
//!   is no text stays letter by letter.
//! * **Blank lines**: one at most. Exactly one between two keys at the top, two tasks or two tests
//!   of which one takes several lines. None at the beginning of a block, unless a comment follows.
//! * **Comments** stay: above what they are above of, and move with it; beside what they are beside
//!   of, in their column where that is aligned; at the end of a block. What a file begins with
//!   stays at the top, up to the last blank line before the first key.

mod arrange;
mod check;
mod flow;
mod places;
mod print;
mod quote;

use std::borrow::Cow;
use std::path::Path;

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::files;
use crate::read;
use crate::report::{Place, Report, Source, SourceText};
use crate::yaml;
use crate::yaml::layout;
use crate::yaml::node::Node;
use places::Site;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A DAG.
    Dag,
    /// The tests of a DAG: `NAME.test.yaml`.
    Tests,
    /// What the DAGs of a folder have: `_defaults.yaml`.
    FolderDefaults,
    /// `connections.yaml`.
    Connections,
    /// `pools.yaml`.
    Pools,
    /// `calendars.yaml`.
    Calendars,
    /// A mapping of which nothing else is known: `secrets.yaml`.
    Other,
}

impl FileKind {
    /// What a file is for, by its name.
    pub fn of(path: &Path) -> Self {
        match path.file_name().unwrap_or_default().to_string_lossy().as_ref() {
            crate::FOLDER_DEFAULTS => Self::FolderDefaults,
            "connections.yaml" => Self::Connections,
            "pools.yaml" => Self::Pools,
            "calendars.yaml" => Self::Calendars,
            "secrets.yaml" => Self::Other,
            name if name.ends_with(".test.yaml") || name.ends_with(".test.yml") => Self::Tests,
            _ => Self::Dag,
        }
    }

    fn site(self) -> &'static Site {
        match self {
            Self::Dag => &places::DAG,
            Self::Tests => &places::TESTS,
            Self::FolderDefaults => &places::FOLDER,
            Self::Pools => &places::POOLS,
            Self::Calendars => &places::CALENDARS,
            Self::Connections | Self::Other => &places::NAMES,
        }
    }

    /// Whether a file may hold nothing but comments.
    fn may_be_empty(self) -> bool {
        !matches!(self, Self::Dag | Self::Tests)
    }
}

/// The text of a file in its canonical long form, which means the same; formatted again, it stays
/// as it is. A text that cannot be read comes back as the errors that say why. Keys that are not
/// known, and values that are not allowed, are no reason: they are formatted too.
pub fn format(source: SourceText, kind: FileKind) -> Result<String, Vec<Diagnostic>> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(source.text);
    let is_empty = kind.may_be_empty() && files::is_empty(text);
    let before = if is_empty { readable(source).map(|()| None) } else { parse(source).map(Some) }?;
    // Line breaks of other systems are none of the text: every reader takes them for `\n`.
    let unified = unified(text);
    let source = SourceText { text: &unified, ..source };
    let written = match &before {
        None => comments(source),
        Some(before) => rewritten(source, before, kind),
    };
    written.ok_or_else(|| vec![refusal(source)])
}

/// The text with line breaks of one kind.
fn unified(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        return Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"));
    }
    Cow::Borrowed(text)
}

/// Whether a file of comments is a text.
fn readable(source: SourceText) -> Result<(), Vec<Diagnostic>> {
    let mut report = Report::new(source);
    yaml::parse(&mut report);
    let found = report.finish();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The tree of a text, which is a mapping without errors of YAML.
fn parse(source: SourceText) -> Result<Node, Vec<Diagnostic>> {
    let mut report = Report::new(source);
    let root = yaml::parse(&mut report);
    if root.as_ref().is_some_and(Node::is_empty_file) {
        read::empty_file("write keys with values", &mut report);
    } else if let Some(root) = root.as_ref().filter(|root| root.entries().is_none()) {
        let message = format!("the file is {}, not a mapping", root.kind());
        report.error(&codes::WRONG_TYPE, root.place, message).help("write keys with values");
    }
    let found = report.finish();
    let is_good = !found.iter().any(|found| found.severity == Severity::Error);
    root.filter(|_| is_good).ok_or(found)
}

/// The text of a file of comments.
fn comments(source: SourceText) -> Option<String> {
    let path = source.path;
    let source = Source::new(source);
    let text = print::print(&layout::read(&source, None)?);
    let written = Source::new(SourceText { path, text: &text });
    check::has_the_same_marks(&source, &written).then_some(text)
}

/// The text written anew; `None` when that lost anything.
fn rewritten(source: SourceText, before: &Node, kind: FileKind) -> Option<String> {
    let path = source.path;
    let source = Source::new(source);
    let node = parse(SourceText { path, text: source.text }).ok()?;
    let mut document = layout::read(&source, Some(&node))?;
    let root = document.root.as_mut()?;
    arrange::arrange(root, kind.site());
    flow::settle(root);
    let text = print::print(&document);
    let written = SourceText { path, text: &text };
    let after = parse(written).ok()?;
    let is_whole = check::means_the_same(before, &after, kind.site())
        && check::has_the_same_marks(&source, &Source::new(written));
    is_whole.then_some(text)
}

/// What is said when the safety net held.
fn refusal(source: SourceText) -> Diagnostic {
    let mut report = Report::new(source);
    let message = "the file cannot be formatted without changing what it says";
    report.error(&codes::FORMAT, Place::default(), message);
    report.finish().swap_remove(0)
}
