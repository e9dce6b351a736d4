//! What is known of a DAG's tables before anything runs: their columns, where those come from, and
//! what of the DAG does not fit them.
//!
//! Tasks are gone through in their order. A source is opened as an attempt would open it, but no
//! row is read; a transform runs on tables of the known columns without rows, so what it says of
//! them is what it would say in a run. Where nothing can be known, the table of the last run that
//! succeeded tells.
//!
//! * [`desk`]: files and the home; [`values`]: the params, binds and item that stand for those of a run;
//! * [`tasks`]: one task; [`checks`]: its checks; [`tables`]: its tables; [`sources`]: what an
//!   ingest reads; [`last_run`]: tables of the last run; [`look`]: what needs no columns;
//! * [`lineage`]: where columns come from, over all tasks; [`open_lineage`]: in that format;
//!   [`outside`]: what is read and written elsewhere.

mod checks;
pub(crate) mod desk;
pub(crate) mod last_run;
pub(crate) mod lineage;
mod look;
pub(crate) mod open_lineage;
mod outside;
mod sources;
mod tables;
mod tasks;
mod values;

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_connector::SchemaRef;
use tidemill_connectors::type_name;
use tidemill_model::lineage::TableLineage;
use tidemill_model::{AttemptOrder, Dag, Timestamp};
use tidemill_spec::Finding;

use self::outside::Outside;
use self::tasks::Planner;
use self::values::Values;
use crate::access::Access;
use crate::node::Toolbox;

/// Connectors whose columns can be told without asking another system.
const FILES: [&str; 3] = ["csv", "jsonl", "parquet"];

/// How the columns of a table are known, the surest first. A table is known as surely as those that
/// it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Known {
    /// From its source as it is now.
    #[default]
    Now,
    /// As its task declares them.
    Declared,
    /// From the last run that succeeded, and the next one may differ.
    LastRun,
    /// As it is now, but for types that only a run knows.
    Guessed,
    /// As its task declares some of them; there may be others.
    Partly,
}

/// A table of a DAG, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTable {
    pub(crate) schema: SchemaRef,
    pub(crate) known: Known,
    /// Where its columns come from, in names of the DAG's tables; `None` if that cannot be told.
    pub(crate) lineage: Option<TableLineage>,
}

/// What is known of a DAG before it runs.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// The tables by their names in the DAG.
    pub(crate) tables: IndexMap<String, PlannedTable>,
    /// What tasks read from outside, by their names.
    pub(crate) sources: IndexMap<String, Outside>,
    /// What tasks write to outside, by their names.
    pub(crate) targets: IndexMap<String, Outside>,
    /// What does not fit, or should be looked at.
    pub(crate) findings: Vec<Finding>,
    /// Tasks that could not be looked at, and why.
    pub(crate) unknown: Vec<(String, String)>,
}

/// Plans a DAG as of `now`, with what the last runs in the home left where nothing else is known.
pub(crate) async fn plan(
    dag: &Arc<Dag>,
    toolbox: &Toolbox,
    home: Option<&Access>,
    now: Timestamp,
) -> Planned {
    let mut planned = gone_through(dag, toolbox, home, Values::new(dag, now)).await;
    look::at(dag, &mut planned);
    planned
}

/// What is known of a table that a run under way did not make.
pub(crate) async fn columns_in_run(
    order: &AttemptOrder,
    table: &str,
    toolbox: &Toolbox,
) -> Option<PlannedTable> {
    let values = Values::of_run(order);
    gone_through(&order.dag, toolbox, None, values).await.tables.shift_remove(table)
}

async fn gone_through(
    dag: &Arc<Dag>,
    toolbox: &Toolbox,
    home: Option<&Access>,
    values: Values,
) -> Planned {
    let mut tasks = Planner::new(dag, toolbox, home, values).await;
    for ix in dag.order() {
        tasks.task(*ix).await;
    }
    tasks.planned
}

impl PlannedTable {
    /// Whether there can be no other columns.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self.known, Known::Partly | Known::Guessed)
    }
}

impl Planned {
    /// As JSON: tables, and under each its columns with their types; and what is not known.
    pub(crate) fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|(name, table)| {
            let columns = table
                .schema
                .fields()
                .iter()
                .map(|field| (field.name().clone(), Value::from(type_name(field.data_type()))));
            (name.clone(), Value::Object(columns.collect()))
        });
        let unknown: Vec<Value> =
            self.unknown.iter().map(|(task, why)| json!({"task": task, "why": why})).collect();
        json!({"schemas": Value::Object(tables.collect::<Map<_, _>>()), "unknown": unknown})
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.tables.is_empty() {
            text.push_str("\ntables, as far as they are known before a run:\n");
        }
        for (name, table) in &self.tables {
            let columns: Vec<String> = (table.schema.fields().iter())
                .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
                .collect();
            let from = match table.known {
                Known::Now | Known::Guessed => "",
                Known::Declared => " (as declared)",
                Known::Partly => ", … (as declared)",
                Known::LastRun => " (of the last run)",
            };
            text.push_str(&format!("  {name}: {}{from}\n", columns.join(", ")));
        }
        if !self.unknown.is_empty() {
            text.push_str("\nnot known before a run:\n");
        }
        for (task, why) in &self.unknown {
            text.push_str(&format!("  {task}: {why}\n"));
        }
        text
    }
}
