//! Small questions to a schema, and the words of the answers.

use serde_json::{Map, Value};

use super::Mark;
use crate::report::{Source, as_help};
use crate::yaml::node::{Data, Node};

/// What to write instead, when the type of a value is a common slip.
pub(crate) fn type_help(wanted: &[&str], node: &Node, source: &Source) -> Option<String> {
    match &node.data {
        Data::Text(text) if wanted.contains(&BOOLEAN) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`".to_owned()),
            _ => Some("write `true` or `false`".to_owned()),
        },
        Data::Text(text) if wanted.contains(&"a list") && !wanted.contains(&"a string") => {
            Some(format!("write `[{}]`", text.trim()))
        }
        Data::Text(_) if node.beyond_numbers().is_some() => {
            Some(format!("whole numbers go from {} to {}", i64::MIN, u64::MAX))
        }
        Data::Text(text) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Some(format!("write `{}` without quotes", text.trim()))
        }
        Data::Number(_) | Data::Bool(_) if wanted.contains(&"a string") => {
            let written = source.text.get(node.place.start as usize..node.place.end as usize);
            written.map(|text| format!("put it in quotes: `\"{}\"`", text.trim()))
        }
        _ => None,
    }
}

/// How a boolean is called in messages.
pub(crate) const BOOLEAN: &str = "`true` or `false`";

pub(super) fn mark<'n>(format: &str, path: &str, node: &'n Node) -> Mark<'n> {
    Mark { format: format.to_owned(), setting: path.to_owned(), node }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The first sentence of a description, as the start of a help.
pub(super) fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    as_help(text.split(". ").next().unwrap_or_default())
}

/// The values of `const` or `enum`.
pub(super) fn constants(keywords: &Map<String, Value>) -> Option<Vec<&Value>> {
    if let Some(only) = keywords.get("const") {
        return Some(vec![only]);
    }
    keywords.get("enum").and_then(Value::as_array).map(|all| all.iter().collect())
}

/// The names in `type`, those that other keywords imply included; empty = any.
pub(super) fn types(keywords: &Map<String, Value>) -> Vec<&str> {
    match keywords.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => match constants(keywords) {
            Some(values) => values.into_iter().map(type_of).collect(),
            None if keywords.contains_key("properties") => vec!["object"],
            None => Vec::new(),
        },
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub(super) fn admits(keywords: &Map<String, Value>, node: &Node) -> bool {
    let types = types(keywords);
    let is = match &node.data {
        Data::Null => "null",
        Data::Bool(_) => "boolean",
        Data::Number(n) if n.is_f64() => "number",
        Data::Number(_) => "integer",
        Data::Text(_) => "string",
        Data::List(_) => "array",
        Data::Map(_) => "object",
    };
    types.is_empty() || types.contains(&is) || (is == "integer" && types.contains(&"number"))
}

pub(super) fn wanted_types(keywords: &Map<String, Value>) -> Vec<&'static str> {
    types(keywords)
        .into_iter()
        .filter_map(|name| match name {
            "string" => Some("a string"),
            "integer" => Some("an integer"),
            "number" => Some("a number"),
            "boolean" => Some(BOOLEAN),
            "array" => Some("a list"),
            "object" => Some("a mapping"),
            _ => None,
        })
        .collect()
}

/// What the type of a number can hold at all, if that is less than any number here.
pub(super) fn range_of(format: &str) -> (Option<Value>, Option<Value>) {
    let both = |least: i64, most: i64| (Some(least.into()), Some(most.into()));
    match format {
        "int8" => both(i8::MIN.into(), i8::MAX.into()),
        "int16" => both(i16::MIN.into(), i16::MAX.into()),
        "int32" => both(i32::MIN.into(), i32::MAX.into()),
        "int64" => both(i64::MIN, i64::MAX),
        "uint8" => both(0, u8::MAX.into()),
        "uint16" => both(0, u16::MAX.into()),
        "uint32" => both(0, u32::MAX.into()),
        "uint" | "uint64" => (Some(0.into()), None),
        _ => (None, None),
    }
}

/// The one key that an alternative needs, if it allows no other: how an enum with data is written.
pub(super) fn only_key(alternative: &Value) -> Option<&str> {
    let required = alternative.get("required")?.as_array()?;
    let closed = alternative.get("additionalProperties") == Some(&Value::Bool(false));
    let properties = alternative.get("properties")?.as_object()?;
    match required.as_slice() {
        [one] if closed && properties.len() == 1 => one.as_str(),
        _ => None,
    }
}

/// The alternative whose `const` property has the value that the mapping gives it.
pub(super) fn discriminated<'s>(several: &[&'s Value], node: &Node) -> Option<&'s Value> {
    several.iter().copied().find(|alternative| {
        let properties = alternative.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().any(|(key, schema)| {
            let value = schema.get("const").and_then(Value::as_str);
            value.is_some() && node.entry(key).and_then(|entry| entry.node.text()) == value
        })
    })
}
