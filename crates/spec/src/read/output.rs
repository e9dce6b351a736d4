//! `outputs`: what a command leaves.

use indexmap::IndexMap;
use tidemill_model::VarName;
use tidemill_model::dag::ParamKind;
use tidemill_model::outputs::{FileFormat, Output, ValueKind};

use super::value;
use crate::codes;
use crate::keys;
use crate::report::{Report, quoted};
use crate::yaml::node::{Data, Entry};

/// What the word of a type stands for.
#[derive(Clone, Copy)]
enum Kind {
    Value(ValueKind),
    Table,
}

/// Reads `outputs`.
pub(crate) fn read_all(entry: &Entry, report: &mut Report) -> IndexMap<VarName, Output> {
    let entries = value::entries("`outputs`", entry, report);
    if entry.node.entries().is_some_and(<[Entry]>::is_empty) {
        report
            .error(&codes::WRONG_TYPE, entry.place, "`outputs` names nothing")
            .help("write for example `outputs: {total: integer}`, or leave it out");
    }
    let read = entries.iter().filter_map(|entry| {
        let name: Option<VarName> = value::name(&entry.key, entry.place, report);
        let output = read(entry, report);
        name.zip(output)
    });
    read.collect()
}

fn read(entry: &Entry, report: &mut Report) -> Option<Output> {
    let what = format!("output {}", quoted(&entry.key));
    let Data::Map(entries) = &entry.node.data else {
        return kind(&what, entry, report).map(|kind| output(kind, FileFormat::default()));
    };
    keys::check(entries, &[keys::OUTPUT], &what, report);
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let Some(type_entry) = find("type") else {
        let message = format!("{what} has no `type`");
        report
            .error(&codes::MISSING_KEY, entry.place, message)
            .help("give it one, for example `type: integer` or `type: table`");
        return None;
    };
    find("description").and_then(|entry| value::text("`description`", entry, report));
    let format = find("format").and_then(|entry| self::format(entry, report));
    let columns = find("columns").map(|entry| columns(entry, report));
    let kind = kind("`type`", type_entry, report)?;
    for key in ["format", "columns"] {
        if let (Kind::Value(_), Some(entry)) = (kind, find(key)) {
            let message = format!("`{key}` has no meaning for a value");
            report
                .error(&codes::NOT_HERE, entry.place, message)
                .help("only a table is a file: `type: table`");
        }
    }
    let format = format.unwrap_or_default();
    if let (Some(entry), FileFormat::Arrow | FileFormat::Parquet) = (find("columns"), format) {
        let message = format!("a file of {format} tells the types of its columns itself");
        report
            .error(&codes::NOT_HERE, entry.place, message)
            .help("remove `columns`, or write `format: csv` or `format: jsonl`");
    }
    match output(kind, format) {
        Output::Table { format, .. } => {
            Some(Output::Table { format, columns: columns.unwrap_or_default() })
        }
        value @ Output::Value(_) => Some(value),
    }
}

fn output(kind: Kind, format: FileFormat) -> Output {
    match kind {
        Kind::Value(kind) => Output::Value(kind),
        Kind::Table => Output::Table { format, columns: IndexMap::new() },
    }
}

fn kind(what: &str, entry: &Entry, report: &mut Report) -> Option<Kind> {
    let scalars = ParamKind::ALL.into_iter().filter(|kind| *kind != ParamKind::Json);
    let scalars = scalars.map(|kind| (kind.label(), Kind::Value(ValueKind::Scalar(kind))));
    let others = [("json", Kind::Value(ValueKind::Json)), ("table", Kind::Table)];
    let choices: Vec<(&str, Kind)> = scalars.chain(others).collect();
    value::choice(what, entry, &choices, report)
}

/// Reads the form of a file.
pub(crate) fn format(entry: &Entry, report: &mut Report) -> Option<FileFormat> {
    let choices = FileFormat::ALL.map(|format| (format.label(), format));
    value::choice("`format`", entry, &choices, report)
}

fn columns(entry: &Entry, report: &mut Report) -> IndexMap<String, String> {
    let entries = value::entries("`columns`", entry, report);
    let read = entries.iter().filter_map(|entry| {
        let what = format!("column {}", quoted(&entry.key));
        value::text(&what, entry, report).map(|kind| (entry.key.clone(), kind.to_owned()))
    });
    read.collect()
}
