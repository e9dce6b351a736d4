//! The file of tests, with what happened in the place of what was expected. Only the lines of the
//! values change; comments and all else stay.

use std::ops::Range;

use serde_json::{Map, Value};

use super::compare::{Actual, Difference};

/// The text with what there is, and how many values it took over. A value stays as it is when it
/// stands on one line with others, `{a: 1}`, or nothing can be written for it.
pub(crate) fn updated(text: &str, differences: &[Difference]) -> (String, usize) {
    // Places are told without the mark that a file may begin with.
    let mark = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut edits: Vec<(Range<usize>, String)> = differences
        .iter()
        .filter_map(|difference| edit(text, difference.at + mark, difference.actual.as_ref()?))
        .collect();
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    // What stands once and is meant twice, by an alias, cannot be right for both.
    let twice: Vec<usize> = edits
        .windows(2)
        .filter(|pair| pair[0].0.start < pair[1].0.end)
        .flat_map(|pair| [pair[0].0.start, pair[1].0.start])
        .collect();
    edits.retain(|(range, _)| !twice.contains(&range.start));
    let mut text = text.to_owned();
    let count = edits.len();
    for (range, new) in edits {
        text.replace_range(range, &new);
    }
    (text, count)
}

fn edit(text: &str, at: usize, actual: &Actual) -> Option<(Range<usize>, String)> {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = at - line;
    if !text[line..at].bytes().all(|byte| byte == b' ') {
        return None;
    }
    let end = end_of(text, at, indent);
    let colon = at + text[at..end].find(':')?;
    let key = &text[at..colon];
    // An anchor is meant elsewhere too.
    if text[colon + 1..].trim_start_matches(' ').starts_with(['&', '*']) {
        return None;
    }
    match actual {
        Actual::Value(value) => Some((at..end, format!("{key}: {}", flow(value)))),
        Actual::Rows(rows) => {
            // Rows with settings beside them: only the rows are written anew.
            let own = text[colon + 1..end].lines().next().unwrap_or("").trim();
            if own.starts_with('{') {
                return None;
            }
            let below = text[at..end].match_indices("rows:").map(|(found, _)| at + found);
            for found in below {
                let start = text[..found].rfind('\n').map_or(0, |end| end + 1);
                let inner = found - start;
                if inner > indent && text[start..found].bytes().all(|byte| byte == b' ') {
                    let end = end_of(text, found, inner);
                    return Some((found..end, rows_entry("rows", rows, inner)));
                }
            }
            Some((at..end, rows_entry(key, rows, indent)))
        }
    }
}

/// Where the value of a key ends: before the next line that is not part of it.
fn end_of(text: &str, at: usize, indent: usize) -> usize {
    let mut end = at + text[at..].find('\n').unwrap_or(text.len() - at);
    let mut next = end + 1;
    while next < text.len() {
        let stop = text[next..].find('\n').map_or(text.len(), |length| next + length);
        let line = &text[next..stop];
        let body = line.trim_start_matches(' ');
        let depth = line.len() - body.len();
        let is_item = depth == indent && (body == "-" || body.starts_with("- "));
        if body.is_empty() || body.starts_with('#') {
            // Part of the value only if the value goes on below.
        } else if depth > indent || is_item {
            end = stop;
        } else {
            break;
        }
        next = stop + 1;
    }
    end
}

fn rows_entry(key: &str, rows: &[Map<String, Value>], indent: usize) -> String {
    if rows.is_empty() {
        return format!("{key}: []");
    }
    let mut text = format!("{key}:");
    for row in rows {
        let fields = row.iter();
        let fields: Vec<String> =
            fields.map(|(column, value)| format!("{}: {}", name(column), flow(value))).collect();
        text.push_str(&format!("\n{:indent$}  - {{{}}}", "", fields.join(", ")));
    }
    text
}

/// A value in YAML's form for one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(key, value)| format!("{}: {}", name(key), flow(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) if is_plain(text) => text.clone(),
        // A text of JSON is one of YAML.
        other => other.to_string(),
    }
}

fn name(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { Value::from(key).to_string() }
}

/// Whether a text means itself without quotes, in every YAML.
fn is_plain(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !["yes", "no", "on", "off", "true", "false", "null"]
            .contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "\
tests:
  one:
    expect:
      state: succeeded   # as always
      tables:
        # revenue of all
        revenue:
          - {region: eu, amount: 1}
          # the second
          - {region: us, amount: 2}

        other: {rows: []}
        last:
          tolerance: 0.1
          rows:
          - {a: 1}
          ordered: true
";

    fn difference(key: &str, actual: Actual) -> Difference {
        let at = FILE.find(key).unwrap();
        Difference { what: String::new(), line: 0, at, lines: Vec::new(), actual: Some(actual) }
    }

    fn rows(value: &Value) -> Actual {
        let rows = value.as_array().unwrap().iter();
        Actual::Rows(rows.map(|row| row.as_object().unwrap().clone()).collect())
    }

    #[test]
    fn what_is_meant_elsewhere_too_stays() {
        let file = "\u{feff}a: &x 1\nb:\n  - 2\nc: 3\n";
        let at = |key: &str, value: i32| {
            let at = file.find(key).unwrap() - '\u{feff}'.len_utf8();
            let actual = Some(Actual::Value(json!(value)));
            Difference { what: String::new(), line: 0, at, lines: Vec::new(), actual }
        };
        let (text, count) = updated(file, &[at("a:", 7), at("b:", 8), at("b:", 9), at("c:", 10)]);
        assert_eq!((text.as_str(), count), ("\u{feff}a: &x 1\nb:\n  - 2\nc: 10\n", 1));
    }

    #[test]
    fn only_the_values_change() {
        let (text, count) = updated(
            FILE,
            &[
                difference("state:", Actual::Value(json!("failed"))),
                difference("revenue:", rows(&json!([{"region": "apac north", "amount": "3.50"}]))),
                difference("other:", rows(&json!([{"a": 1}]))),
                difference("last:", rows(&json!([{"a": null}, {"a": "yes"}]))),
            ],
        );
        assert_eq!(count, 3, "what stands on one line stays");
        assert_eq!(
            text,
            "\
tests:
  one:
    expect:
      state: failed
      tables:
        # revenue of all
        revenue:
          - {region: \"apac north\", amount: \"3.50\"}

        other: {rows: []}
        last:
          tolerance: 0.1
          rows:
            - {a: null}
            - {a: \"yes\"}
          ordered: true
"
        );
    }
}
