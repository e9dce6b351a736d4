//! Where the columns of a DAG's tables come from, over all its tasks.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tidemill_model::Dag;
use tidemill_model::lineage::{ColumnName, Origins, TableLineage, Way};

use super::Planned;

impl Planned {
    /// The lineage of a table, if it can be told.
    pub(crate) fn lineage_of(&self, table: &str) -> Option<&TableLineage> {
        self.tables.get(table)?.lineage.as_ref()
    }

    /// What a column is made from, followed back to tables that are read from outside, or whose
    /// columns cannot be followed further.
    pub(crate) fn sources(&self, column: &ColumnName) -> Origins {
        let own = Origins::identity(&column.table, &column.column);
        // Tasks make no cycle, so this ends.
        self.followed(&own)
    }

    fn followed(&self, origins: &Origins) -> Origins {
        origins.through(|name| {
            let lineage = self.lineage_of(&name.table)?;
            let direct = lineage.columns.get(&name.column)?;
            // What an ingest reads comes from outside.
            let is_source = lineage.columns.values().all(Origins::is_empty);
            (!is_source).then(|| self.followed(direct))
        })
    }
}

/// The lineage of all tables: direct parents of each column, and its sources.
pub(crate) fn to_json(dag: &Dag, planned: &Planned) -> Value {
    let tables = planned.tables.iter().map(|(name, table)| {
        let columns = table.schema.fields().iter().map(|field| {
            let column = ColumnName { table: name.clone(), column: field.name().clone() };
            let from = table.lineage.as_ref().map(|lineage| {
                lineage.columns.get(field.name()).map_or_else(|| json!([]), origins_json)
            });
            let sources = from.is_some().then(|| origins_json(&planned.sources(&column)));
            (field.name().clone(), json!({"from": from, "sources": sources}))
        });
        let rows = table.lineage.as_ref().map(|lineage| origins_json(&lineage.rows));
        let columns: Map<String, Value> = columns.collect();
        (name.clone(), json!({"task": task_of(dag, name), "columns": columns, "rows": rows}))
    });
    json!({"dag": dag.id, "version": dag.version, "tables": tables.collect::<Map<_, _>>()})
}

/// The lineage of all tables, or of one, or of one column, for people.
pub(crate) fn to_text(planned: &Planned, only: Option<&str>) -> Option<String> {
    let mut text = String::new();
    for (name, table) in &planned.tables {
        let of_table = only.is_none_or(|only| only == name);
        let of_column = only.and_then(|only| only.strip_prefix(name.as_str())?.strip_prefix('.'));
        let columns: Vec<&str> = (table.schema.fields().iter())
            .map(|field| field.name().as_str())
            .filter(|column| of_table || of_column == Some(column))
            .collect();
        if columns.is_empty() {
            continue;
        }
        let Some(lineage) = &table.lineage else {
            text.push_str(&format!("{name}: what its columns come from cannot be told\n"));
            continue;
        };
        text.push_str(&format!("{name}\n"));
        for column in columns {
            text.push_str(&column_text(planned, lineage, (name, column), only.is_some()));
        }
        if of_table && !lineage.rows.is_empty() {
            text.push_str(&format!("  rows ← {}\n", origins_text(&lineage.rows)));
        }
    }
    (!text.is_empty()).then_some(text)
}

fn column_text(
    planned: &Planned,
    lineage: &TableLineage,
    (table, column): (&str, &str),
    is_whole: bool,
) -> String {
    let from = lineage.columns.get(column).filter(|origins| !origins.is_empty());
    let Some(from) = from else { return format!("  {column}\n") };
    let mut text = format!("  {column} ← {}\n", origins_text(from));
    let own = ColumnName { table: table.to_owned(), column: column.to_owned() };
    let sources = planned.sources(&own);
    if is_whole && sources != *from {
        text.push_str(&format!(
            "  {:width$} ⇐ {}\n",
            "",
            origins_text(&sources),
            width = column.len()
        ));
    }
    text
}

fn origins_text(origins: &Origins) -> String {
    let part = |(name, ways): (&ColumnName, &BTreeSet<Way>)| {
        let ways: Vec<String> = (ways.iter().filter(|way| **way != Way::Identity))
            .map(|way| label(*way).to_lowercase().replace('_', " "))
            .collect();
        let ways = if ways.is_empty() { String::new() } else { format!(" ({})", ways.join(", ")) };
        format!("{}.{}{ways}", name.table, name.column)
    };
    origins.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn origins_json(origins: &Origins) -> Value {
    let part = |(name, ways): (&ColumnName, &BTreeSet<Way>)| json!({"table": name.table, "column": name.column, "ways": ways});
    Value::Array(origins.iter().map(part).collect())
}

/// The word of a way, as `OpenLineage` has it.
pub(super) fn label(way: Way) -> String {
    serde_json::to_value(way).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The task that makes a table.
pub(super) fn task_of<'d>(dag: &'d Dag, table: &str) -> Option<&'d str> {
    let named = |name: &str| dag.find(name).map(|ix| dag.task(ix).name.as_str());
    named(table).or_else(|| table.rsplit_once('.').and_then(|(task, _)| named(task)))
}
