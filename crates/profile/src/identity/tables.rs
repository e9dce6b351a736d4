//! The tables of `identity`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use tidemill_connector::{ConnectorError, TransformContext};

use super::config::IdentityConfig;
use super::graph::{Conflict, Groups, Resolved};
use crate::cells::{BATCH_ROWS, distinct_names};

/// Writes both tables.
pub(super) fn write(
    groups: &Groups,
    config: &IdentityConfig,
    cx: &TransformContext,
) -> Result<(), ConnectorError> {
    let id = config.column();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![
        text("identity"),
        text("type"),
        text("value"),
        text(&id),
        Field::new("conflict", DataType::Boolean, true),
        Field::new("group_size", DataType::Int64, true),
    ]));
    distinct_names(
        schema.fields().iter().map(|field| field.name().as_str()),
        "give the column of the id another name with `as`",
    )?;
    let mut writer = cx.outputs.create("", schema.clone())?;
    for some in groups.identities.chunks(BATCH_ROWS) {
        writer.write(&RecordBatch::try_new(schema.clone(), identity_columns(some))?)?;
    }
    writer.finish()?;
    let schema = Arc::new(Schema::new(vec![
        text("identity"),
        text("reason"),
        Field::new("group_size", DataType::Int64, true),
        text("ids"),
    ]));
    let mut writer = cx.outputs.create("conflicts", schema.clone())?;
    for some in groups.conflicts.chunks(BATCH_ROWS) {
        writer.write(&RecordBatch::try_new(schema.clone(), conflict_columns(some))?)?;
    }
    writer.finish()
}

fn identity_columns(rows: &[Resolved]) -> Vec<ArrayRef> {
    let text = |of: &dyn Fn(&Resolved) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    vec![
        text(&|row| row.identity.clone()),
        text(&|row| row.identity[..row.type_bytes].to_owned()),
        text(&|row| row.identity[row.type_bytes + 1..].to_owned()),
        text(&|row| row.id.clone()),
        Arc::new(rows.iter().map(|row| Some(row.conflict)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| Some(row.group_size as i64)).collect::<Int64Array>()),
    ]
}

fn conflict_columns(rows: &[Conflict]) -> Vec<ArrayRef> {
    let text = |of: &dyn Fn(&Conflict) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    vec![
        text(&|row| row.identity.clone()),
        text(&|row| row.reason.to_owned()),
        Arc::new(rows.iter().map(|row| Some(row.group_size as i64)).collect::<Int64Array>()),
        text(&|row| serde_json::Value::from(row.ids.clone()).to_string()),
    ]
}
