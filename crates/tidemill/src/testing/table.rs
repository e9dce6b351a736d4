//! Rows against rows.

use serde_json::{Map, Value};
use tidemill_model::Timestamp;
use tidemill_model::template::as_text;

/// Rows that differ, at most, before the rest is only counted.
const SHOWN_MAX: usize = 10;

/// What differs between rows that are expected and those that there are, a line each; nothing when
/// they are the same. Only columns that some expected row names are looked at.
pub(crate) fn differences(
    expected: &[Map<String, Value>],
    (columns, actual): (&[String], &[Vec<Value>]),
    ordered: bool,
    tolerance: f64,
) -> Vec<String> {
    let mut named: Vec<&str> = Vec::new();
    for key in expected.iter().flat_map(Map::keys) {
        if !named.contains(&key.as_str()) {
            named.push(key);
        }
    }
    let lacking: Vec<&&str> =
        named.iter().filter(|name| !columns.iter().any(|column| column == *name)).collect();
    if !lacking.is_empty() {
        let lacking: Vec<String> = lacking.iter().map(|name| format!("`{name}`")).collect();
        return vec![format!(
            "there is no column {}; there are {}",
            lacking.join(", "),
            columns.join(", ")
        )];
    }
    // Without expected rows, there should be none at all.
    let looked_at: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| named.is_empty() || named.contains(&column.as_str()))
        .map(|(at, _)| at)
        .collect();
    let fits = |want: &Map<String, Value>, row: &Vec<Value>| {
        looked_at.iter().all(|at| {
            let want = want.get(&columns[*at]).unwrap_or(&Value::Null);
            same(want, &row[*at], tolerance)
        })
    };
    let (missing, surplus) = if ordered {
        in_order(expected, actual, fits)
    } else {
        in_any_order(expected, actual, fits)
    };
    let missing = missing.into_iter().map(|at| {
        let row = named.iter().map(|name| (*name, expected[at].get(*name).unwrap_or(&Value::Null)));
        format!("- {}", line(row))
    });
    let surplus = surplus.into_iter().map(|at| {
        let row = looked_at.iter().map(|column| (columns[*column].as_str(), &actual[at][*column]));
        format!("+ {}", line(row))
    });
    let mut lines: Vec<String> = missing.collect();
    let more_missing = cut(&mut lines);
    let mut others: Vec<String> = surplus.collect();
    let more_surplus = cut(&mut others);
    lines.extend(more_missing.map(|n| format!("- and {n} more")));
    lines.extend(others);
    lines.extend(more_surplus.map(|n| format!("+ and {n} more")));
    lines
}

fn cut(lines: &mut Vec<String>) -> Option<usize> {
    let more = lines.len().saturating_sub(SHOWN_MAX);
    lines.truncate(SHOWN_MAX);
    (more > 0).then_some(more)
}

type Rows = Vec<usize>;

fn in_order<A, B>(expected: &[A], actual: &[B], fits: impl Fn(&A, &B) -> bool) -> (Rows, Rows) {
    let paired = expected.len().min(actual.len());
    let differ = (0..paired).filter(|at| !fits(&expected[*at], &actual[*at]));
    let differ: Rows = differ.collect();
    let missing = differ.iter().copied().chain(paired..expected.len()).collect();
    let surplus = differ.iter().copied().chain(paired..actual.len()).collect();
    (missing, surplus)
}

fn in_any_order<A, B>(expected: &[A], actual: &[B], fits: impl Fn(&A, &B) -> bool) -> (Rows, Rows) {
    let mut left: Rows = (0..actual.len()).collect();
    let mut missing = Rows::new();
    for (at, want) in expected.iter().enumerate() {
        match left.iter().position(|row| fits(want, &actual[*row])) {
            Some(found) => {
                left.remove(found);
            }
            None => missing.push(at),
        }
    }
    (missing, left)
}

fn line<'r>(row: impl Iterator<Item = (&'r str, &'r Value)>) -> String {
    row.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

/// Whether a value is the expected one. Numbers are compared as numbers, whatever their types, and
/// instants as instants.
pub(crate) fn same(expected: &Value, actual: &Value, tolerance: f64) -> bool {
    match (expected, actual) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(_), Value::Number(_) | Value::String(_))
        | (Value::String(_), Value::Number(_)) => match (number(expected), number(actual)) {
            (Some(a), Some(b)) => (a - b).abs() <= tolerance,
            _ => false,
        },
        (Value::String(a), Value::String(b)) => {
            a == b
                || matches!((instant(a), instant(b)), (Some(a), Some(b)) if a == b)
                || tolerance > 0.0
                    && matches!((number(expected), number(actual)),
                        (Some(a), Some(b)) if (a - b).abs() <= tolerance)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, tolerance)))
        }
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    as_text(value).trim().parse().ok()
}

/// An instant in any of its forms; without a zone it is in UTC.
fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: &Value) -> Vec<Map<String, Value>> {
        value.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect()
    }

    fn diff(expected: &Value, actual: &Value, ordered: bool, tolerance: f64) -> Vec<String> {
        let columns = ["a".to_owned(), "b".to_owned()];
        let actual: Vec<Vec<Value>> =
            actual.as_array().unwrap().iter().map(|row| row.as_array().unwrap().clone()).collect();
        differences(&rows(expected), (&columns, &actual), ordered, tolerance)
    }

    #[test]
    fn rows_are_compared_by_the_columns_that_are_named() {
        let actual = json!([[1, "x"], [2, "y"]]);
        assert!(diff(&json!([{"a": 2}, {"a": 1}]), &actual, false, 0.0).is_empty());
        assert_eq!(diff(&json!([{"a": 2}, {"a": 1}]), &actual, true, 0.0).len(), 4);
        assert_eq!(
            diff(&json!([{"a": 1, "b": "x"}, {"a": 3}]), &actual, false, 0.0),
            ["- a: 3, b: null", r#"+ a: 2, b: "y""#]
        );
        assert_eq!(
            diff(&json!([{"c": 1}]), &actual, false, 0.0),
            ["there is no column `c`; there are a, b"]
        );
        assert_eq!(diff(&json!([]), &actual, false, 0.0).len(), 2);
        let many: Vec<Value> = (0..25).map(|n| json!([n, "z"])).collect();
        assert_eq!(diff(&json!([]), &json!(many), false, 0.0).last().unwrap(), "+ and 15 more");
    }

    #[test]
    fn values_are_the_same_whatever_their_types() {
        for (a, b) in [
            (json!(12.5), json!("12.50")),
            (json!("12.5"), json!(12.5)),
            (json!(1), json!(1.0)),
            (json!("2026-01-31T02:00:00Z"), json!("2026-01-31T02:00:00")),
            (json!(null), json!(null)),
            (json!([1, {"a": "b"}]), json!([1, {"a": "b"}])),
        ] {
            assert!(same(&a, &b, 0.0), "{a} {b}");
        }
        for (a, b) in [
            (json!(null), json!(0)),
            (json!("a"), json!("b")),
            (json!(true), json!(1)),
            (json!(1), json!("one")),
            (json!("1.0"), json!("1")),
        ] {
            assert!(!same(&a, &b, 0.0), "{a} {b}");
        }
        assert!(same(&json!(1.0), &json!(1.009), 0.01) && !same(&json!(1.0), &json!(1.02), 0.01));
    }
}
