//! `json_get`.

use std::sync::Arc;

use arrow::array::{Array, StringBuilder};
use datafusion::common::Result;
use datafusion::common::cast::as_string_array;
use serde_json::Value;
use tidemill_connector::ConnectorError;

use super::{ArrayRef, FunctionDoc, Kind, RowFunction};
use crate::error::pass;

pub(super) static JSON_GET: RowFunction = RowFunction {
    doc: FunctionDoc {
        name: "json_get",
        signature: "json_get(json text, path text) → text",
        doc: "The value at a path of a JSON text. A path is keys and places, as in \
              `customer.emails[0]`; a key that holds dots or brackets is quoted, as in \
              `[\"a.b\"]`; a leading `$.` is allowed. A text comes without its quotes, anything \
              else as JSON. Null when there is no such value, when it is null, and when the text \
              is no JSON.",
        example: r#"json_get('{"customer": {"emails": ["ada@example.com"]}}', 'customer.emails[0]')"#,
        gives: "ada@example.com",
    },
    takes: &[Kind::Text, Kind::Text],
    gives: Kind::Text,
    call: json_get,
};

fn json_get(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, paths) = (as_string_array(&columns[0])?, as_string_array(&columns[1])?);
    let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * 16);
    let mut read: Option<(&str, Vec<Step>)> = None;
    for (text, path) in texts.iter().zip(paths) {
        let (Some(text), Some(path)) = (text, path) else {
            out.append_null();
            continue;
        };
        let steps = match &read {
            Some((same, steps)) if *same == path => steps,
            _ => &read.insert((path, steps(path).map_err(pass)?)).1,
        };
        out.append_option(value_at(text, steps));
    }
    Ok(Arc::new(out.finish()))
}

#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Place(usize),
}

fn value_at(text: &str, steps: &[Step]) -> Option<String> {
    let whole: Value = serde_json::from_str(text).ok()?;
    let value = steps.iter().try_fold(&whole, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Place(place) => value.get(place),
    })?;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Reads a path. The empty path, and `$`, are the whole value.
fn steps(path: &str) -> Result<Vec<Step>, ConnectorError> {
    let bad = || {
        ConnectorError::misconfigured(format!("`{path}` is no path into JSON"))
            .help("write it as in `customer.emails[0]` or `[\"a.b\"].c`")
    };
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    let mut first = !path.starts_with('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("[\"") {
            let (key, after) = inner.split_once("\"]").ok_or_else(bad)?;
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (place, after) = inner.split_once(']').ok_or_else(bad)?;
            steps.push(Step::Place(place.parse().map_err(|_| bad())?));
            rest = after;
        } else {
            let key = if first { rest } else { rest.strip_prefix('.').ok_or_else(bad)? };
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return Err(bad());
            }
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
        first = false;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, path: &str, expected: Result<Option<&str>, &str>) {
        let value = steps(path).map(|steps| value_at(text, &steps)).map_err(|e| e.message);
        assert_eq!(
            value,
            expected.map(|o| o.map(str::to_owned)).map_err(str::to_owned),
            "{path} of {text}"
        );
    }

    #[test]
    fn values_are_found_by_path() {
        let text = r#"{"a": {"b": [1, {"c": "x"}]}, "d.e": 2.50, "n": null, "t": true}"#;
        check(text, "a.b[1].c", Ok(Some("x")));
        check(text, "$.a.b[0]", Ok(Some("1")));
        check(text, "a.b", Ok(Some(r#"[1,{"c":"x"}]"#)));
        check(text, "[\"d.e\"]", Ok(Some("2.5")));
        check(text, "t", Ok(Some("true")));
        check(text, "n", Ok(None));
        check(text, "a.x", Ok(None));
        check(text, "a[0]", Ok(None));
        check("[10, 20]", "[1]", Ok(Some("20")));
        check("7", "$", Ok(Some("7")));
        check("7", "", Ok(Some("7")));
        check("not json", "a", Ok(None));
        check("{\"a\": 1} trailing", "a", Ok(None));
    }

    #[test]
    fn bad_paths_are_errors() {
        for path in ["a..b", ".a", "a[", "a[x]", "a[-1]", "$a", "a.[0]"] {
            check("{}", path, Err(&format!("`{path}` is no path into JSON")));
        }
    }
}
