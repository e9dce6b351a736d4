//! Where the columns of a DAG's tables come from, over all its tasks.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use tidemill_model::Dag;
use tidemill_model::lineage::{ColumnName, Origins, TableLineage, Way};

use super::Planned;
use crate::failure::Failure;

/// What each column is made from, followed back to tables that are read from outside, or whose
/// columns cannot be followed further.
pub(crate) struct Sources(HashMap<ColumnName, Origins>);

impl Sources {
    /// The sources of all columns.
    pub(crate) fn of(planned: &Planned) -> Self {
        let mut all: HashMap<ColumnName, Origins> = HashMap::new();
        // A table stands behind those that it is made from.
        for (table, planned) in &planned.tables {
            let Some(lineage) = &planned.lineage else { continue };
            // What an ingest reads comes from outside.
            if lineage.columns.values().all(Origins::is_empty) {
                continue;
            }
            for (column, origins) in &lineage.columns {
                let name = ColumnName { table: table.clone(), column: column.clone() };
                let sources = origins.through(|from| all.get(from).cloned());
                all.insert(name, sources);
            }
        }
        Self(all)
    }

    fn get(&self, table: &str, column: &str) -> Origins {
        let name = ColumnName { table: table.to_owned(), column: column.to_owned() };
        self.0.get(&name).cloned().unwrap_or_else(|| Origins::identity(table, column))
    }
}

/// Which tables are shown, and which of their columns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'a> {
    All,
    Table(&'a str),
    Column(&'a str, &'a str),
}

impl<'a> Shown<'a> {
    /// What `TABLE` or `TABLE.COLUMN` names; what there is, if it names nothing.
    pub(crate) fn of(planned: &'a Planned, only: Option<&'a str>) -> Result<Self, Failure> {
        let Some(only) = only else { return Ok(Self::All) };
        if planned.tables.contains_key(only) {
            return Ok(Self::Table(only));
        }
        // A table's name may hold points, and so may a column's.
        let split = only.match_indices('.').map(|(at, _)| (&only[..at], &only[at + 1..]));
        let known = split
            .filter_map(|(table, column)| Some((planned.tables.get_key_value(table)?, column)));
        let mut nearest = None;
        for ((table, planned), column) in known {
            if planned.schema.field_with_name(column).is_ok() {
                return Ok(Self::Column(table, column));
            }
            nearest = Some((table, column, planned));
        }
        Err(match nearest {
            Some((table, column, planned)) => {
                let names = planned.schema.fields().iter().map(|field| field.name().as_str());
                Failure::missing(format!(
                    "`{table}` has no column `{column}`; it has: {}",
                    names.collect::<Vec<_>>().join(", ")
                ))
            }
            None => {
                let names: Vec<&str> = planned.tables.keys().map(String::as_str).collect();
                let known = if names.is_empty() {
                    "no table is known before a run".to_owned()
                } else {
                    format!("known are the tables: {}", names.join(", "))
                };
                Failure::missing(format!("there is no table or column `{only}`; {known}"))
            }
        })
    }

    fn has_table(self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Table(only) | Self::Column(only, _) => only == table,
        }
    }

    fn has(self, table: &str, column: &str) -> bool {
        match self {
            Self::Column(_, only) => self.has_table(table) && only == column,
            _ => self.has_table(table),
        }
    }
}

/// The lineage of tables: direct parents of each column, and its sources.
pub(crate) fn to_json(dag: &Dag, planned: &Planned, shown: Shown<'_>) -> Value {
    let all = Sources::of(planned);
    let tables = planned.tables.iter().filter(|(name, _)| shown.has_table(name));
    let tables = tables.map(|(name, table)| {
        let columns = table.schema.fields().iter();
        let columns = columns.filter(|field| shown.has(name, field.name())).map(|field| {
            let from = table.lineage.as_ref().map(|lineage| {
                lineage.columns.get(field.name()).map_or_else(|| json!([]), origins_json)
            });
            let sources = from.is_some().then(|| origins_json(&all.get(name, field.name())));
            (field.name().clone(), json!({"from": from, "sources": sources}))
        });
        let rows = table.lineage.as_ref().map(|lineage| origins_json(&lineage.rows));
        let columns: Map<String, Value> = columns.collect();
        (name.clone(), json!({"task": task_of(dag, name), "columns": columns, "rows": rows}))
    });
    json!({"dag": dag.id, "version": dag.version, "tables": tables.collect::<Map<_, _>>()})
}

/// The lineage of tables, for people.
pub(crate) fn to_text(planned: &Planned, shown: Shown<'_>) -> String {
    let all = Sources::of(planned);
    let mut text = String::new();
    for (name, table) in planned.tables.iter().filter(|(name, _)| shown.has_table(name)) {
        let Some(lineage) = &table.lineage else {
            text.push_str(&format!("{name}: what its columns come from cannot be told\n"));
            continue;
        };
        text.push_str(&format!("{name}\n"));
        for field in table.schema.fields().iter().filter(|field| shown.has(name, field.name())) {
            let sources = match shown {
                Shown::All => None,
                _ => Some(all.get(name, field.name())),
            };
            text.push_str(&column_text(field.name(), lineage, sources));
        }
        if !matches!(shown, Shown::Column(..)) && !lineage.rows.is_empty() {
            text.push_str(&format!("  rows ← {}\n", origins_text(&lineage.rows)));
        }
    }
    text
}

fn column_text(column: &str, lineage: &TableLineage, sources: Option<Origins>) -> String {
    let from = lineage.columns.get(column).filter(|origins| !origins.is_empty());
    let Some(from) = from else { return format!("  {column}\n") };
    let mut text = format!("  {column} ← {}\n", origins_text(from));
    if let Some(sources) = sources.filter(|sources| sources != from) {
        let indent = " ".repeat(column.chars().count());
        text.push_str(&format!("  {indent} ⇐ {}\n", origins_text(&sources)));
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
