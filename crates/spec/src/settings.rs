//! Settings of connectors and transforms, and values of keys of the language, held against their
//! JSON Schema.
//!
//! Only what `schemars` writes for config structs is understood. In settings, values that hold
//! `${{ … }}` are accepted for any type: what they become is known when the task runs.
//!
//! * [`checker`]: the walk through a schema; [`say`]: what is said; [`words`]: small questions.

mod checker;
mod say;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;
use serde_json::Value;
use tidemill_model::SettingProblem;

use crate::catalog::SettingsCheck;
use crate::codes::{self, Code};
use crate::report::{Place, Report};
use crate::yaml::node::{Entry, Node};
use checker::{Checker, Found};
pub(crate) use words::{BOOLEAN, type_help};

/// A text whose schema says by `format` what it means: see the table in `connector::config`.
#[derive(Debug, Clone)]
pub(crate) struct Mark<'n> {
    pub(crate) format: String,
    pub(crate) setting: String,
    pub(crate) node: &'n Node,
}

/// Regular expressions of schemas. There are a few, of the connectors of this installation, and to
/// build one takes as long as to read a small file. A clone of one would begin without the memory that
/// it has matched with.
static PATTERNS: LazyLock<Mutex<HashMap<String, Option<Arc<Regex>>>>> =
    LazyLock::new(Mutex::default);

/// Whether a text fits; a pattern that is none fits everything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = patterns.get(pattern).cloned();
    let regex = known.unwrap_or_else(|| {
        let regex = Regex::new(pattern).ok().map(Arc::new);
        patterns.insert(pattern.to_owned(), regex.clone());
        regex
    });
    drop(patterns);
    regex.is_none_or(|regex| regex.is_match(text))
}

/// Whose settings are checked.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'s> {
    /// For messages: ``source `csv` ``.
    pub(crate) name: &'s str,
    /// What they are, which decides how they are spoken of.
    pub(crate) kind: Kind,
    /// The key whose value the settings are.
    pub(crate) entry: &'s Entry,
    /// Settings as YAML, for help.
    pub(crate) example: &'s str,
}

/// What is held against a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Settings of a connector or a transform.
    Settings,
    /// The value of a key of the language, which is named by its path: `concurrency.limit`.
    Key,
    /// An entry of a file beside the DAGs: `roll` of calendar `ch`.
    Entry,
}

/// The codes of what can be wrong.
struct Codes {
    unknown: &'static Code,
    missing: &'static Code,
    wrong_type: &'static Code,
    wrong_value: &'static Code,
}

impl Kind {
    fn codes(self) -> &'static Codes {
        static SETTINGS: Codes = Codes {
            unknown: &codes::UNKNOWN_SETTING,
            missing: &codes::MISSING_SETTING,
            wrong_type: &codes::WRONG_SETTING,
            wrong_value: &codes::WRONG_SETTING,
        };
        static KEYS: Codes = Codes {
            unknown: &codes::UNKNOWN_KEY,
            missing: &codes::MISSING_KEY,
            wrong_type: &codes::WRONG_TYPE,
            wrong_value: &codes::NOT_ALLOWED,
        };
        if self == Self::Settings { &SETTINGS } else { &KEYS }
    }
}

/// References and alternatives are followed so many levels deep.
const DEPTH_MAX: usize = 64;

/// What settings are held against.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'s> {
    /// Their shape.
    pub(crate) schema: &'s Value,
    /// What their shape does not tell.
    pub(crate) check: &'s SettingsCheck,
}

/// Checks settings; what is wrong goes into the report, the marked texts come back.
pub(crate) fn check<'n>(rules: Rules<'_>, owner: Owner<'n>, report: &mut Report) -> Vec<Mark<'n>> {
    let (marks, places) = shape((rules.schema, rules.schema), owner, report);
    never_work(rules.check, owner, &places, report);
    marks
}

/// Holds a value to the shape that a schema gives it, whose references lead into `root`: what is
/// wrong goes into the report, its places and the marked texts come back.
pub(crate) fn shape<'n>(
    (root, schema): (&Value, &Value),
    owner: Owner<'n>,
    report: &mut Report,
) -> (Vec<Mark<'n>>, Vec<Place>) {
    let mut checker = Checker { root, owner, report };
    let mut found = Found::default();
    checker.value(schema, &owner.entry.node, "", 0, &mut found);
    for problem in &mut found.problems {
        problem.or_help(|| example(owner));
    }
    let places: Vec<Place> = found.problems.iter().map(|problem| problem.place).collect();
    for problem in found.problems {
        report.push(problem);
    }
    (found.marks, places)
}

/// Settings whose shape is right, and which can never work. What the shape was already blamed for
/// is not said again, and what an expression will give is left to the run.
fn never_work(check: &SettingsCheck, owner: Owner<'_>, said: &[Place], report: &mut Report) {
    let Entry { node, place: key, .. } = owner.entry;
    if node.entries().is_none() {
        return;
    }
    for SettingProblem { settings, message, help } in check.problems(&node.to_json()) {
        let blamed: Vec<(Place, &Node)> =
            settings.iter().filter_map(|keys| node.below(keys)).collect();
        if blamed.iter().any(|(_, node)| node.holds_expr_within()) {
            continue;
        }
        // Of a setting that is not there, the whole is shown by its key.
        let (place, whole) = match blamed.first() {
            Some((key, node)) => (node.place, [*key, node.place]),
            None => (*key, [node.place; 2]),
        };
        let overlap = |said: &Place| whole.iter().any(|part| part.overlaps(*said));
        if said.iter().any(|said| said == key || overlap(said)) {
            continue;
        }
        let message = format!("{}: {message}", owner.name);
        report
            .error(&codes::WRONG_SETTING, place, message)
            .maybe_help(help)
            .or_help(|| example(owner));
    }
}

/// Settings as they may be written.
fn example(owner: Owner<'_>) -> String {
    let key = &owner.entry.key;
    match owner.example.trim() {
        "" => format!("for example `{key}: {{}}`"),
        // A help is one line, and JSON is YAML.
        several if several.contains('\n') => match crate::yaml::example(several) {
            Some(value) => format!("for example `{key}: {value}`"),
            None => format!("its page has an example: `docs` of `{key}`"),
        },
        one => format!("for example `{key}: {one}`"),
    }
}
