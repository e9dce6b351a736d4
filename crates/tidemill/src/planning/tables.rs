//! The tables of a task: as it makes them, and as others see them.

use std::sync::Arc;

use arrow::datatypes::Schema;
use indexmap::IndexMap;
use tidemill_connector::{ConnectorError, MemoryTable, SchemaRef, Table};
use tidemill_executor::schemas::{Union, with_item};
use tidemill_model::dag::Task;
use tidemill_model::lineage::{ColumnName, Origins, TableLineage};

use super::{Known, PlannedTable};

/// A table as a task makes it.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) schema: SchemaRef,
    pub(super) known: Known,
    /// In the names that the task's settings use.
    pub(super) lineage: Option<TableLineage>,
}

/// Tables by what stands behind the task's name.
pub(super) type Tables = IndexMap<String, Made>;

/// A table as others see it.
pub(super) fn table_of(task: &Task, made: Made) -> PlannedTable {
    let Made { schema, known, lineage } = made;
    let lineage = lineage.map(|lineage| in_tables(&lineage, task));
    let schema = match task.mapping {
        Some(_) => with_item(schema.fields().iter().map(|field| field.as_ref().clone())),
        None => schema,
    };
    PlannedTable { schema, known, lineage }
}

/// The tables of a source.
pub(super) fn read(schema: SchemaRef, known: Known) -> Tables {
    let lineage = Some(TableLineage::default());
    Tables::from([(String::new(), Made { schema, known, lineage })])
}

/// The tables of items, put together as a run does it.
pub(super) fn together(
    task: &str,
    items: Vec<(u32, Tables)>,
) -> Result<Tables, Box<ConnectorError>> {
    let mut unions: IndexMap<String, (Union<'_>, Made)> = IndexMap::new();
    for (number, tables) in items {
        for (name, made) in tables {
            let (union, all) =
                unions.entry(name).or_insert_with(|| (Union::new(task), made.clone()));
            union.add(&made.schema, number)?;
            all.known = all.known.max(made.known);
        }
    }
    let whole = |(name, (union, made)): (String, (Union<'_>, Made))| {
        let schema = Arc::new(Schema::new(union.fields().collect::<Vec<_>>()));
        (name, Made { schema, ..made })
    };
    Ok(unions.into_iter().map(whole).collect())
}

/// The name in the DAG of a table of a task.
pub(super) fn table_name(task: &Task, output: &str) -> String {
    if output.is_empty() { task.name.to_string() } else { format!("{}.{output}", task.name) }
}

/// Tables of these columns without rows.
pub(super) fn empty_tables(
    schemas: &IndexMap<String, SchemaRef>,
) -> IndexMap<String, Arc<dyn Table>> {
    let empty = |schema: &SchemaRef| Arc::new(MemoryTable::new(schema.clone(), Vec::new())) as _;
    schemas.iter().map(|(name, schema)| (name.clone(), empty(schema))).collect()
}

/// The same lineage in the names of the DAG's tables.
pub(super) fn in_tables(lineage: &TableLineage, task: &Task) -> TableLineage {
    let table = |name: &ColumnName| {
        let read = task.reads.iter().find(|read| read.alias == name.table)?;
        Some(Origins::identity(&read.table, &name.column))
    };
    let columns = lineage.columns.iter();
    TableLineage {
        columns: columns.map(|(name, origins)| (name.clone(), origins.through(table))).collect(),
        rows: lineage.rows.through(table),
    }
}
