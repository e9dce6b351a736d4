//! A value, held against a JSON Schema.

use serde_json::{Map, Value};
use tidemill_model::words::counted;

use super::words::{
    admits, constants, discriminated, first_sentence, join, mark, only_key, range_of, wanted_types,
};
use super::{DEPTH_MAX, Kind, Mark, Owner, fits};
use crate::codes;
use crate::report::{Draft, Report, as_help, listed, quoted};
use crate::yaml::node::{Data, Entry, Node};

/// What was found in a value.
#[derive(Default)]
pub(super) struct Found<'n> {
    pub(super) problems: Vec<Draft>,
    pub(super) marks: Vec<Mark<'n>>,
}

/// A schema, and whose value is held against it.
pub(super) struct Checker<'c, 'r, 's, 'n> {
    pub(super) root: &'s Value,
    pub(super) owner: Owner<'n>,
    pub(super) report: &'c mut Report<'r>,
}

impl<'s, 'n> Checker<'_, '_, 's, 'n> {
    /// Holds a value against a schema.
    pub(super) fn value(
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
        if node.holds_expr() && self.owner.kind == Kind::Settings {
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
                let mut draft = Draft::error(self.codes().unknown, entry.place, message);
                let near = self.report.did_you_mean(&entry.key, tags.iter().copied());
                draft.help(near.unwrap_or_else(|| format!("it takes one of {names}")));
                draft
            }
            None => {
                let message = format!("{owner} must have exactly one of the keys {names}");
                let mut draft = Draft::error(self.codes().wrong_value, node.place, message);
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
        let format = keywords.get("format").and_then(Value::as_str);
        if let Some(format) = format {
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
        // Whoever reads a text of the language by its format says more than a pattern can.
        let is_read = format.is_some() && self.owner.kind != Kind::Settings;
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
            && !is_read
            && !fits(pattern, text)
        {
            const PATTERN_MAX: usize = 40;
            let words = |key: &str| keywords.get(key).and_then(Value::as_str);
            let doc = words("description").filter(|_| pattern.len() > PATTERN_MAX);
            let help = words("patternErrorMessage").map(as_help).or(doc.map(first_sentence));
            let help = help.unwrap_or_else(|| format!("it must match `{pattern}`"));
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
}
