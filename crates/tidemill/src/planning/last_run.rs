//! The tables of the last run of a DAG that succeeded.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;
use tidemill_connector::SchemaRef;
use tidemill_connectors::ColumnType;
use tidemill_model::DagId;

use crate::access::Access;

/// The last run of a DAG that succeeded.
pub(crate) struct LastRun<'a> {
    access: &'a Access,
    run: String,
}

impl<'a> LastRun<'a> {
    /// Finds it, if there is one.
    pub(crate) async fn of(access: &'a Access, dag: &DagId) -> Option<Self> {
        let runs = access.get(&format!("/api/v1/runs?dag={dag}&state=succeeded&limit=1")).await;
        let run = runs.ok()?["items"][0]["id"].as_str()?.to_owned();
        Some(Self { access, run })
    }

    /// The columns of a table, if the run has it and all its types have names.
    pub(crate) async fn schema(&self, table: &str) -> Option<SchemaRef> {
        let path = format!("/api/v1/runs/{}/tables/{table}?limit=1", self.run);
        let sample = self.access.get(&path).await.ok()?;
        let columns = sample["columns"].as_array()?.iter().map(field);
        Some(Arc::new(Schema::new(columns.collect::<Option<Vec<_>>>()?)))
    }
}

fn field(column: &Value) -> Option<Field> {
    let name = column["name"].as_str()?;
    let of: ColumnType = column["type"].as_str()?.parse().ok()?;
    let data_type: DataType = of.data_type();
    Some(Field::new(name, data_type, true))
}
