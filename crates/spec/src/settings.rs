//! Settings of connectors and transforms, held against their JSON Schema.
//!
//! Only what `schemars` writes for config structs is understood. Values that hold `${{ … }}` are
//! accepted for any type: what they become is known when the task runs.

mod words;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;
use serde_json::{Map, Value};
use tidemill_model::SettingProblem;
use tidemill_model::words::counted;

use crate::catalog::SettingsCheck;
use crate::codes;
use crate::report::{Draft, Place, Report, listed, quoted};
use crate::yaml::node::{Data, Entry, Node};
pub(crate) use words::{BOOLEAN, type_help};
use words::{
    admits, constants, discriminated, first_sentence, join, mark, only_key, range_of, wanted_types,
};

/// A text whose schema says by `format` what it means: see the table in `connector::config`.
#[derive(Debug, Clone)]
pub(crate) struct Mark<'n> {
    pub(crate) format: String,
    pub(crate) setting: String,
    pub(crate) node: &'n Node,
}

/// Regular expressions of schemas. There are a few, of the connectors of this installation, and to
/// build one takes as long as to read a small file.
static PATTERNS: LazyLock<Mutex<HashMap<String, Option<Regex>>>> = LazyLock::new(Mutex::default);

/// Whether a text fits; a pattern that is none fits everything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = patterns.get(pattern).cloned();
    let regex = known.unwrap_or_else(|| {
        let regex = Regex::new(pattern).ok();
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
    /// The key whose value the settings are.
    pub(crate) entry: &'s Entry,
    /// Settings as YAML, for help.
    pub(crate) example: &'s str,
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
    let mut checker = Checker { root: rules.schema, owner, report };
    let mut found = Found::default();
    checker.value(rules.schema, &owner.entry.node, "", 0, &mut found);
    for problem in &mut found.problems {
        problem.or_help(|| example(owner));
    }
    let places: Vec<Place> = found.problems.iter().map(|problem| problem.place).collect();
    for problem in found.problems {
        report.push(problem);
    }
    never_work(rules.check, owner, &places, report);
    found.marks
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

#[derive(Default)]
struct Found<'n> {
    problems: Vec<Draft>,
    marks: Vec<Mark<'n>>,
}

struct Checker<'c, 'r, 's, 'n> {
    root: &'s Value,
    owner: Owner<'n>,
    report: &'c mut Report<'r>,
}

impl<'s, 'n> Checker<'_, '_, 's, 'n> {
    fn value(
        &mut self,
        schema: &'s Value,
        node: &'n Node,
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        let Some(keywords) = schema.as_object() else { return };
        if depth > DEPTH_MAX {
            return;
        }
        if node.holds_expr() {
            if let Some(format) = self.text_format(schema, depth) {
                found.marks.push(mark(format, path, node));
            }
            return;
        }
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str) {
            self.value(self.resolve(target), node, path, depth + 1, found);
        }
        for part in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, node, path, depth + 1, found);
        }
        for key in ["anyOf", "oneOf"] {
            if keywords.contains_key(key) {
                self.alternatives(schema, node, path, depth + 1, found);
                break;
            }
        }
        if let Some(allowed) = constants(keywords) {
            if !allowed.contains(&&node.to_json()) {
                self.not_allowed(&allowed, node, path, found);
            }
            return;
        }
        if !admits(keywords, node) {
            let numbers = ["an integer", "a number"];
            if let Some(digits) = node.beyond_numbers()
                && wanted_types(keywords).iter().any(|wanted| numbers.contains(wanted))
                && self.number(keywords, digits, node, path, found)
            {
                return;
            }
            let format = keywords.get("format").and_then(Value::as_str);
            if let (Some("duration"), Data::Number(number)) = (format, &node.data) {
                let message = format!("{} needs a unit", self.named(path));
                let mut draft = Draft::error(&codes::DURATION, node.place, message);
                draft.help(format!("write `{number}s` for seconds"));
                found.problems.push(draft);
                return;
            }
            let wanted = wanted_types(keywords);
            self.wrong_type(&wanted, node, path, found);
            return;
        }
        match &node.data {
            Data::Text(text) => self.string(keywords, text, node, path, found),
            Data::Number(number) => {
                self.number(keywords, &number.to_string(), node, path, found);
            }
            Data::List(items) => self.list(keywords, node, items, path, depth, found),
            Data::Map(entries) => self.mapping(keywords, node, entries, path, depth, found),
            Data::Null | Data::Bool(_) => {}
        }
    }

    fn resolve(&self, target: &str) -> &'s Value {
        target.strip_prefix('#').and_then(|path| self.root.pointer(path)).unwrap_or(&Value::Null)
    }

    /// The alternatives of a schema, those inside of alternatives included.
    fn flatten(&self, schema: &'s Value, depth: usize, into: &mut Vec<&'s Value>) {
        if depth > DEPTH_MAX {
            return;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.flatten(self.resolve(target), depth + 1, into);
        }
        let lists: Vec<_> = ["anyOf", "oneOf"]
            .iter()
            .filter_map(|key| schema.get(*key).and_then(Value::as_array))
            .collect();
        if lists.is_empty() || schema.get("type").is_some() || schema.get("properties").is_some() {
            into.push(schema);
            return;
        }
        for alternative in lists.into_iter().flatten() {
            self.flatten(alternative, depth + 1, into);
        }
    }

    /// The `format` that a text would have under this schema.
    fn text_format(&self, schema: &'s Value, depth: usize) -> Option<&'s str> {
        let mut alternatives = Vec::new();
        self.flatten(schema, depth, &mut alternatives);
        alternatives.into_iter().find_map(|alternative| alternative.get("format")?.as_str())
    }

    fn alternatives(
        &mut self,
        schema: &'s Value,
        node: &'n Node,
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        let mut all = Vec::new();
        for key in ["anyOf", "oneOf"] {
            for part in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.flatten(part, depth, &mut all);
            }
        }
        let keywords = |alternative: &&'s Value| alternative.as_object();
        if node.is_null() && all.iter().filter_map(keywords).any(|k| admits(k, node)) {
            return;
        }
        let fitting: Vec<&'s Value> = all
            .iter()
            .copied()
            .filter(|alternative| alternative.as_object().is_none_or(|k| admits(k, node)))
            .collect();
        let allowed: Option<Vec<&Value>> = fitting
            .iter()
            .map(|alternative| alternative.as_object().and_then(constants))
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.into_iter().flatten().collect());
        match (fitting.as_slice(), allowed) {
            ([], _) => {
                let mut wanted: Vec<&str> =
                    all.iter().filter_map(keywords).flat_map(wanted_types).collect();
                wanted.dedup();
                wanted.retain(|word| *word != "nothing");
                self.wrong_type(&wanted, node, path, found);
            }
            (_, Some(allowed)) => {
                if !allowed.contains(&&node.to_json()) {
                    self.not_allowed(&allowed, node, path, found);
                }
            }
            ([one], _) => self.value(one, node, path, depth + 1, found),
            (several, None) => self.several(several, node, path, depth, found),
        }
    }

    /// Several alternatives have the right type: a key tells which is meant, or the one with the
    /// fewest problems is.
    fn several(
        &mut self,
        several: &[&'s Value],
        node: &'n Node,
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        if let Some(entries) = node.entries() {
            let tags: Option<Vec<&str>> = several.iter().map(|a| only_key(a)).collect();
            if let Some(tags) = tags {
                return self.tagged(several, &tags, node, entries, path, depth, found);
            }
            if let Some(chosen) = discriminated(several, node) {
                return self.value(chosen, node, path, depth + 1, found);
            }
        }
        let mut best: Option<Found<'n>> = None;
        for alternative in several {
            let mut tried = Found::default();
            self.value(alternative, node, path, depth + 1, &mut tried);
            let better =
                best.as_ref().is_none_or(|best| tried.problems.len() < best.problems.len());
            if better {
                best = Some(tried);
            }
        }
        if let Some(best) = best {
            found.problems.extend(best.problems);
            found.marks.extend(best.marks);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `several`, which has them all")]
    fn tagged(
        &mut self,
        several: &[&'s Value],
        tags: &[&str],
        node: &'n Node,
        entries: &'n [Entry],
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        if let [entry] = entries
            && let Some(at) = tags.iter().position(|tag| *tag == entry.key)
        {
            return self.value(several[at], node, path, depth + 1, found);
        }
        let names = listed(tags.iter().copied());
        let owner = self.named(path);
        let unknown = entries.iter().find(|entry| !tags.contains(&entry.key.as_str()));
        let draft = match unknown {
            Some(entry) => {
                let message = format!("{owner} has no key {}", quoted(&entry.key));
                let mut draft = Draft::error(&codes::UNKNOWN_SETTING, entry.place, message);
                let near = self.report.did_you_mean(&entry.key, tags.iter().copied());
                draft.help(near.unwrap_or_else(|| format!("it takes one of {names}")));
                draft
            }
            None => {
                let message = format!("{owner} must have exactly one of the keys {names}");
                let mut draft = Draft::error(&codes::WRONG_SETTING, node.place, message);
                if entries.is_empty() {
                    draft.help(format!("write one of {names}"));
                } else {
                    draft.label(format!("it has {}", entries.len())).help("keep one of them");
                }
                draft
            }
        };
        found.problems.push(draft);
    }

    fn string(
        &mut self,
        keywords: &'s Map<String, Value>,
        text: &str,
        node: &'n Node,
        path: &str,
        found: &mut Found<'n>,
    ) {
        if let Some(format) = keywords.get("format").and_then(Value::as_str) {
            found.marks.push(mark(format, path, node));
        }
        let letters = text.chars().count() as u64;
        let limit = |key: &str| keywords.get(key).and_then(Value::as_u64);
        if limit("minLength").is_some_and(|min| letters < min) {
            let what = if text.is_empty() { "must not be empty" } else { "is too short" };
            self.wrong(node, path, what, found);
        } else if let Some(max) = limit("maxLength").filter(|max| letters > *max) {
            self.wrong(node, path, &format!("must have at most {}", counted(max, "letter")), found);
        }
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
            && !fits(pattern, text)
        {
            const PATTERN_MAX: usize = 40;
            let doc = keywords.get("description").and_then(Value::as_str).map(first_sentence);
            let help = doc
                .filter(|_| pattern.len() > PATTERN_MAX)
                .unwrap_or_else(|| format!("it must match `{pattern}`"));
            self.wrong(node, path, &format!("cannot be {}", quoted(text)), found).help(help);
        }
    }

    /// Holds a number to the bounds of its setting; whether it was out of them.
    fn number(
        &mut self,
        keywords: &'s Map<String, Value>,
        number: &str,
        node: &'n Node,
        path: &str,
        found: &mut Found<'n>,
    ) -> bool {
        let value: f64 = number.parse().unwrap_or(0.0);
        let format = keywords.get("format").and_then(Value::as_str).unwrap_or_default();
        let (least, most) = range_of(format);
        let of_type = |key: &str| match key {
            "minimum" => least.as_ref(),
            "maximum" => most.as_ref(),
            _ => None,
        };
        let bound =
            |key: &str| keywords.get(key).filter(|b| b.is_number()).or_else(|| of_type(key));
        let beyond = [
            ("minimum", "must be at least"),
            ("maximum", "must be at most"),
            ("exclusiveMinimum", "must be more than"),
            ("exclusiveMaximum", "must be less than"),
        ]
        .into_iter()
        .find_map(|(key, words)| {
            let bound = bound(key)?;
            let limit = bound.as_f64()?;
            let wrong = match key {
                "minimum" => value < limit,
                "maximum" => value > limit,
                "exclusiveMinimum" => value <= limit,
                _ => value >= limit,
            };
            wrong.then(|| format!("{words} {bound}, not {number}"))
        });
        let Some(what) = beyond else { return false };
        self.wrong(node, path, &what, found);
        true
    }

    fn list(
        &mut self,
        keywords: &'s Map<String, Value>,
        node: &'n Node,
        items: &'n [Node],
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        let count = items.len() as u64;
        let limit = |key: &str| keywords.get(key).and_then(Value::as_u64);
        if limit("minItems").is_some_and(|min| count < min) {
            let what = if items.is_empty() { "must not be empty" } else { "has too few items" };
            self.wrong(node, path, what, found);
        }
        if let Some(max) = limit("maxItems").filter(|max| count > *max) {
            self.wrong(node, path, &format!("must have at most {}", counted(max, "item")), found);
        }
        let Some(schema) = keywords.get("items") else { return };
        for (at, item) in items.iter().enumerate() {
            self.value(schema, item, &format!("{path}[{at}]"), depth + 1, found);
        }
    }

    fn mapping(
        &mut self,
        keywords: &'s Map<String, Value>,
        node: &'n Node,
        entries: &'n [Entry],
        path: &str,
        depth: usize,
        found: &mut Found<'n>,
    ) {
        let properties = keywords.get("properties").and_then(Value::as_object);
        let others = keywords.get("additionalProperties");
        let least = keywords.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if (entries.len() as u64) < least {
            self.wrong(node, path, "must not be empty", found);
        }
        for entry in entries {
            let below = join(path, &entry.key);
            match (properties.and_then(|p| p.get(&entry.key)), others) {
                (Some(schema), _) => {
                    let before = found.problems.len();
                    self.value(schema, &entry.node, &below, depth + 1, found);
                    // What a setting is for tells what to write, where nothing else does.
                    if let Some(doc) = schema.get("description").and_then(Value::as_str) {
                        for problem in &mut found.problems[before..] {
                            problem.or_help(|| format!("`{}`: {}", entry.key, first_sentence(doc)));
                        }
                    }
                }
                (None, Some(Value::Bool(false))) => {
                    let names: Vec<&str> =
                        properties.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
                    self.unknown(entry, &names, path, found);
                }
                (None, Some(schema)) => self.value(schema, &entry.node, &below, depth + 1, found),
                (None, None) => {}
            }
        }
        let required = keywords.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|entry| entry.key == key) {
                let schema = properties.and_then(|properties| properties.get(key));
                let doc = schema.and_then(|schema| schema.get("description")?.as_str());
                self.missing(key, doc, node, path, found);
            }
        }
    }

    /// ``setting `a.b` of source `csv` ``, or ``source `csv` `` for the whole.
    fn named(&self, path: &str) -> String {
        match path {
            "" => self.owner.name.to_owned(),
            path => format!("setting {} of {}", quoted(path), self.owner.name),
        }
    }

    fn unknown(&mut self, entry: &Entry, names: &[&str], path: &str, found: &mut Found<'n>) {
        let message = match path {
            "" => format!("{} has no setting {}", self.owner.name, quoted(&entry.key)),
            _ => format!("{} has no key {}", self.named(path), quoted(&entry.key)),
        };
        let help = self.report.did_you_mean(&entry.key, names.iter().copied());
        let mut draft = Draft::error(&codes::UNKNOWN_SETTING, entry.place, message);
        draft.help(match (help, names) {
            (Some(help), _) => help,
            (None, []) => "it takes no settings: write `{}`".to_owned(),
            (None, names) => format!("it takes {}", listed(names.iter().copied())),
        });
        found.problems.push(draft);
    }

    fn missing(
        &mut self,
        key: &str,
        doc: Option<&str>,
        node: &Node,
        path: &str,
        found: &mut Found<'n>,
    ) {
        let message = match path {
            "" => format!("{} needs the setting `{key}`", self.owner.name),
            _ => format!("{} needs the key `{key}`", self.named(path)),
        };
        let place = if path.is_empty() { self.owner.entry.place } else { node.place };
        let mut draft = Draft::error(&codes::MISSING_SETTING, place, message);
        if path.is_empty() {
            draft.help(example(self.owner));
        } else {
            draft.maybe_help(doc.map(|doc| format!("`{key}`: {}", first_sentence(doc))));
        }
        found.problems.push(draft);
    }

    fn wrong_type(&mut self, wanted: &[&str], node: &Node, path: &str, found: &mut Found<'n>) {
        if path.is_empty() && node.is_null() {
            let message = format!("{} has no settings", self.owner.name);
            let mut draft = Draft::error(&codes::MISSING_SETTING, self.owner.entry.place, message);
            draft.help(example(self.owner));
            found.problems.push(draft);
            return;
        }
        let mut draft = Draft::error(
            &codes::WRONG_SETTING,
            node.place,
            format!("{} must be {}, not {}", self.named(path), wanted.join(" or "), node.kind()),
        );
        draft.maybe_help(type_help(wanted, node, &self.report.source));
        found.problems.push(draft);
    }

    fn not_allowed(&mut self, allowed: &[&Value], node: &Node, path: &str, found: &mut Found<'n>) {
        let texts: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let names = || texts.iter().map(String::as_str);
        let written = match &node.data {
            Data::Text(text) => quoted(text),
            Data::Bool(_) | Data::Number(_) => format!("`{}`", node.to_json()),
            _ => node.kind().to_owned(),
        };
        let one_of = if texts.len() == 1 { "" } else { "one of " };
        let message =
            format!("{} must be {one_of}{}, not {written}", self.named(path), listed(names()));
        let help = node.text().and_then(|text| self.report.did_you_mean(text, names()));
        let mut draft = Draft::error(&codes::WRONG_SETTING, node.place, message);
        draft.maybe_help(help);
        found.problems.push(draft);
    }

    fn wrong<'f>(
        &self,
        node: &Node,
        path: &str,
        what: &str,
        found: &'f mut Found<'n>,
    ) -> &'f mut Draft {
        let message = format!("{} {what}", self.named(path));
        found.problems.push(Draft::error(&codes::WRONG_SETTING, node.place, message));
        let last = found.problems.len() - 1;
        &mut found.problems[last]
    }
}
