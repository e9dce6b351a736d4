//! Rows of a table as JSON.

use std::sync::Arc;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, WriterBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde_json::Value;
use tidemill_connector::{ConnectorError, Table};

/// The first rows of a table, values in the order of its columns. Decimals are texts: as numbers of
/// JSON they would lose digits.
pub(crate) fn rows_of(table: &dyn Table, limit: usize) -> Result<Vec<Vec<Value>>, ConnectorError> {
    let schema = table.schema();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for batch in table.scan()? {
        let batch = batch?;
        let batch = exact(&batch.slice(0, batch.num_rows().min(limit - rows.len())))?;
        let mut writer =
            WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
        writer.write(&batch).and_then(|()| writer.finish())?;
        let objects: Vec<serde_json::Map<String, Value>> =
            serde_json::from_slice(&writer.into_inner()).unwrap_or_default();
        rows.extend(objects.into_iter().map(|mut object| {
            let columns = schema.fields().iter();
            columns.map(|c| object.remove(c.name()).unwrap_or(Value::Null)).collect()
        }));
        if rows.len() >= limit {
            break;
        }
    }
    Ok(rows)
}

fn exact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_decimal() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(cast(column, &DataType::Utf8)?);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}
