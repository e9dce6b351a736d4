//! A JSON object as something to read: headings, facts, small tables. Nothing here knows the
//! fields of a particular profile, because the DAG that loads profiles chooses them.

use serde_json::{Map, Value};

use super::parts::{Fact, plain};

/// Rows of a small table.
const ROWS_MAX: usize = 50;

/// A part of a document.
pub(super) struct Block {
    pub(super) title: String,
    pub(super) facts: Vec<Fact>,
    pub(super) table: Option<Table>,
}

/// A list of objects.
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
    /// The rows say what they add to a score.
    pub(super) contributes: bool,
    pub(super) more: usize,
}

pub(super) struct Row {
    pub(super) cells: Vec<Value2>,
    /// What the row adds, in words and in thousandths of the largest.
    pub(super) adds: String,
    pub(super) share: u64,
    pub(super) negative: bool,
}

/// A cell: its text, and whether it is a number.
pub(super) struct Value2 {
    pub(super) text: String,
    pub(super) number: bool,
}

/// The parts of a document, scalars of the top level first.
pub(super) fn blocks(document: &Map<String, Value>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let scalars: Vec<Fact> = document.iter().filter_map(|(name, v)| scalar(name, v)).collect();
    if !scalars.is_empty() {
        blocks.push(Block { title: "Profile".to_owned(), facts: scalars, table: None });
    }
    for (name, value) in document {
        add(&mut blocks, name, value, 0);
    }
    blocks
}

/// Depth at which a value is shown as JSON.
const DEPTH_MAX: usize = 3;

fn add(blocks: &mut Vec<Block>, title: &str, value: &Value, depth: usize) {
    let title = title.to_owned();
    match value {
        Value::Object(map) if depth < DEPTH_MAX => {
            let facts: Vec<Fact> = map.iter().filter_map(|(name, v)| scalar(name, v)).collect();
            if !facts.is_empty() {
                blocks.push(Block { title: title.clone(), facts, table: None });
            }
            for (name, value) in map {
                add(blocks, &format!("{title} · {name}"), value, depth + 1);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            blocks.push(Block { title, facts: Vec::new(), table: Some(table(items)) });
        }
        _ => {}
    }
}

/// A value that fits a line; lists of plain values do.
fn scalar(name: &str, value: &Value) -> Option<Fact> {
    let value = match value {
        Value::Object(_) => return None,
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) if items.iter().any(Value::is_object) => return None,
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => number(value),
    };
    Some(Fact { name: name.to_owned(), value })
}

/// Numbers with many digits after the point are cut to four.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 => {
            let text = format!("{number:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => plain(value),
    }
}

fn table(items: &[Value]) -> Table {
    let mut columns: Vec<String> = Vec::new();
    for item in items.iter().filter_map(Value::as_object) {
        for name in item.keys().filter(|name| !columns.contains(name)).collect::<Vec<_>>() {
            columns.push(name.clone());
        }
    }
    let adds: Vec<Option<f64>> = items.iter().map(contribution).collect();
    let contributes = !adds.is_empty() && adds.iter().all(Option::is_some);
    let most = adds.iter().flatten().fold(0.0_f64, |most, adds| most.max(adds.abs()));
    let rows = items.iter().zip(&adds).take(ROWS_MAX).map(|(item, adds)| Row {
        cells: columns
            .iter()
            .map(|name| {
                let value = item.get(name).unwrap_or(&Value::Null);
                Value2 { text: number(value), number: value.is_number() }
            })
            .collect(),
        adds: adds.map(|adds| format!("{adds:+.1}")).unwrap_or_default(),
        share: adds.map_or(0, |adds| (adds.abs() / most.max(1e-9) * 1000.0) as u64),
        negative: adds.is_some_and(|adds| adds < 0.0),
    });
    Table { rows: rows.collect(), contributes, more: items.len().saturating_sub(ROWS_MAX), columns }
}

/// What a line of an explanation adds: its points.
fn contribution(item: &Value) -> Option<f64> {
    item.get("points")?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(document: &Value, expected: &[&str]) {
        let empty = Map::new();
        let blocks = blocks(document.as_object().unwrap_or(&empty));
        let lines: Vec<String> = blocks
            .iter()
            .map(|block| {
                let facts: Vec<String> =
                    block.facts.iter().map(|f| format!("{}={}", f.name, f.value)).collect();
                let table = block.table.as_ref().map(|table| {
                    let adds: Vec<&str> = table.rows.iter().map(|row| row.adds.as_str()).collect();
                    format!("[{}] {}", table.columns.join(","), adds.join(","))
                });
                format!("{}: {}{}", block.title, facts.join(" "), table.unwrap_or_default())
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn documents_become_blocks() {
        check(&json!({}), &[]);
        check(
            &json!({"id": "7", "tags": ["a", "b"], "rfm": {"r": 5, "x": 0.123_456}, "none": []}),
            &["Profile: id=7 tags=a, b none=none", "rfm: r=5 x=0.1235"],
        );
        check(
            &json!({"score": {"intent": 61.5, "explained": [
                {"term": "rfm", "points": 37.5, "value": 0.75},
                {"term": "complained", "points": -10},
            ]}}),
            &["score: intent=61.5", "score · explained: [term,points,value] +37.5,-10.0"],
        );
    }
}
