//! `tidemill history`: finished runs, and how they are kept.

use serde_json::{Value, json};
use tidemill_model::words::counted;

use crate::access::Access;
use crate::cli::{History, HistorySegments, HistorySql, HistoryTidy};
use crate::commands::{Globals, runtime, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::print::{Align, number, table};

pub(crate) fn run(globals: &Globals, command: &History) -> Result<(), Failure> {
    match command {
        History::Sql(command) => sql(globals, command),
        History::Segments(command) => segments(globals, command),
        History::Tidy(command) => tidy(globals, command),
    }
}

fn sql(globals: &Globals, command: &HistorySql) -> Result<(), Failure> {
    let body = json!({"sql": command.sql, "limit": command.limit});
    let answer = with_home(globals, None, Mode::Look, async |access| {
        access.post("/api/v1/history/sql", &body).await
    })?;
    if command.json {
        println!("{answer:#}");
        return Ok(());
    }
    let columns: Vec<(&str, &str)> = list(&answer["columns"])
        .map(|column| (text(&column["name"]), text(&column["type"])))
        .collect();
    let rows = list(&answer["rows"]).map(|row| list(row).map(cell).collect::<Vec<_>>());
    if command.csv {
        println!("{}", line(columns.iter().map(|(name, _)| *name)));
        rows.for_each(|row| println!("{}", line(row.iter().map(String::as_str))));
    } else {
        let is_number =
            |kind: &str| ["int", "uint", "float", "decimal"].iter().any(|n| kind.starts_with(n));
        let head: Vec<(&str, Align)> = columns
            .iter()
            .map(|(name, kind)| (*name, if is_number(kind) { Align::Right } else { Align::Left }))
            .collect();
        print!("{}", table(&head, &rows.collect::<Vec<_>>()));
    }
    if answer["more"] == true {
        eprintln!("there are more rows; `--limit` gives up to 100,000");
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A value as people write it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A line of CSV.
fn line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

fn segments(globals: &Globals, command: &HistorySegments) -> Result<(), Failure> {
    let answer =
        with_home(globals, None, Mode::Look, async |access| access.get("/api/v1/history").await)?;
    if command.json {
        println!("{answer:#}");
        return Ok(());
    }
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let rows: Vec<Vec<String>> = list(&answer["segments"])
        .map(|segment| {
            let bytes: u64 = list(&segment["files"]).map(|file| count(&file["bytes"])).sum();
            vec![
                text(&segment["name"]).to_owned(),
                number(count(&segment["runs"])),
                number(count(&segment["tasks"])),
                day(&segment["created"][0]),
                day(&segment["created"][1]),
                number(bytes),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let head = [
            ("segment", Align::Left),
            ("runs", Align::Right),
            ("tasks", Align::Right),
            ("oldest", Align::Left),
            ("newest", Align::Left),
            ("bytes", Align::Right),
        ];
        println!("{}", table(&head, &rows));
    }
    println!(
        "{} in {} of history, {}; {} recent",
        counted(count(&answer["runs"]), "run"),
        counted(rows.len(), "segment"),
        counted(count(&answer["bytes"]), "byte"),
        number(count(&answer["recent"])),
    );
    Ok(())
}

/// The second of an instant.
fn day(value: &Value) -> String {
    let at: Option<tidemill_model::Timestamp> = serde_json::from_value(value.clone()).ok();
    at.map(tidemill_model::Timestamp::to_seconds_text).unwrap_or_default()
}

fn tidy(globals: &Globals, command: &HistoryTidy) -> Result<(), Failure> {
    let done = runtime()?.block_on(async {
        let access = Access::open_keeping(globals, Mode::Own, command.keep.settings()).await?;
        let done = access.post("/api/v1/history/tidy", &json!({})).await;
        access.close().await;
        done
    })?;
    let count = |key: &str, one| counted(done[key].as_u64().unwrap_or_default(), one);
    println!(
        "folded {}, dropped {} and {} of history",
        count("folded", "run"),
        count("dropped", "run"),
        count("bytes", "byte")
    );
    Ok(())
}
