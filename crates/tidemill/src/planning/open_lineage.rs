//! The lineage of a DAG as events of `OpenLineage`: what jobs read and write, and where columns come
//! from, before anything runs (<https://openlineage.io/docs/spec/object-model>).
//!
//! A task is a job, its tables are datasets named `DAG.TABLE`. Each job is a `JobEvent`, which is
//! the event for what is known by design rather than from a run.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_connectors::type_name;
use tidemill_model::dag::Task;
use tidemill_model::lineage::{ColumnName, Origins, TableLineage, Way};
use tidemill_model::{Dag, Timestamp};

use super::lineage::{label, task_of};
use super::outside::Outside;
use super::{Planned, PlannedTable};

const PRODUCER: &str = concat!("urn:tidemill:", env!("CARGO_PKG_VERSION"));
const EVENT_SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent";
const SCHEMA_FACET: &str =
    "https://openlineage.io/spec/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet";
const LINEAGE_FACET: &str = "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet";
const JOB_TYPE_FACET: &str =
    "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet";

/// Names datasets and jobs.
pub(crate) struct Names<'a> {
    pub(crate) dag: &'a Dag,
    /// What they are unique in.
    pub(crate) namespace: &'a str,
}

/// An event for each task.
pub(crate) fn events(names: &Names<'_>, planned: &Planned, now: Timestamp) -> Vec<Value> {
    names.dag.order().iter().map(|ix| event(names, planned, names.dag.task(*ix), now)).collect()
}

fn event(names: &Names<'_>, planned: &Planned, task: &Task, now: Timestamp) -> Value {
    let read: BTreeSet<&str> = task.reads.iter().map(|read| read.table.as_str()).collect();
    let inputs = read.iter().map(|table| names.dataset(table, planned.tables.get(*table), false));
    let own = planned
        .tables
        .iter()
        .filter(|(table, _)| task_of(names.dag, table) == Some(task.name.as_str()));
    let outputs = own.map(|(table, planned)| names.dataset(table, Some(planned), true));
    let dataset = |all: &IndexMap<String, Outside>| {
        let outside = all.get(task.name.as_str())?;
        let namespace = outside.namespace.as_deref().unwrap_or(names.namespace);
        Some(json!({"namespace": namespace, "name": outside.name, "facets": {}}))
    };
    let (from, to) = (dataset(&planned.sources), dataset(&planned.targets));
    json!({
        "eventTime": now.to_string(),
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "job": {
            "namespace": names.namespace,
            "name": format!("{}.{}", names.dag.id, task.name),
            "facets": {"jobType": {
                "_producer": PRODUCER,
                "_schemaURL": JOB_TYPE_FACET,
                "processingType": "BATCH",
                "integration": "TIDEMILL",
                "jobType": task.action.key().to_uppercase(),
            }},
        },
        "inputs": inputs.chain(from).collect::<Vec<_>>(),
        "outputs": outputs.chain(to).collect::<Vec<_>>(),
    })
}

impl Names<'_> {
    fn dataset(&self, table: &str, planned: Option<&PlannedTable>, is_output: bool) -> Value {
        let mut facets = Map::new();
        if let Some(planned) = planned {
            facets.insert("schema".to_owned(), schema(planned));
            if let Some(lineage) = planned.lineage.as_ref().filter(|_| is_output) {
                facets.insert("columnLineage".to_owned(), self.lineage(lineage));
            }
        }
        json!({"namespace": self.namespace, "name": self.name(table), "facets": facets})
    }

    fn name(&self, table: &str) -> String {
        format!("{}.{table}", self.dag.id)
    }

    fn lineage(&self, lineage: &TableLineage) -> Value {
        let fields = lineage
            .columns
            .iter()
            .map(|(name, origins)| (name.clone(), json!({"inputFields": self.fields(origins)})));
        json!({
            "_producer": PRODUCER,
            "_schemaURL": LINEAGE_FACET,
            "fields": fields.collect::<Map<_, _>>(),
            "dataset": self.fields(&lineage.rows),
        })
    }

    fn fields(&self, origins: &Origins) -> Vec<Value> {
        let field = |(name, ways): (&ColumnName, &BTreeSet<Way>)| {
            let ways: Vec<Value> = ways.iter().map(|way| transformation(*way)).collect();
            json!({
                "namespace": self.namespace,
                "name": self.name(&name.table),
                "field": name.column,
                "transformations": ways,
            })
        };
        origins.iter().map(field).collect()
    }
}

fn transformation(way: Way) -> Value {
    let kind = if way.is_direct() { "DIRECT" } else { "INDIRECT" };
    json!({"type": kind, "subtype": label(way), "description": "", "masking": false})
}

fn schema(planned: &PlannedTable) -> Value {
    let fields = planned
        .schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": type_name(field.data_type())}));
    json!({
        "_producer": PRODUCER,
        "_schemaURL": SCHEMA_FACET,
        "fields": fields.collect::<Vec<_>>(),
    })
}
