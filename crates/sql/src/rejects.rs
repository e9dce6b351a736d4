//! Rows set aside, with the reason why.

use std::sync::Arc;

use arrow::array::{BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_connector::{ConnectorError, TableWriter};

use crate::error::from_arrow;

/// The column of `TASK.rejects` that says why.
const REASON: &str = "reason";

/// A table of rows set aside: the columns they had, and `reason`.
pub(crate) struct Rejects {
    schema: SchemaRef,
    writer: Box<dyn TableWriter>,
}

impl Rejects {
    /// Creates the table for rows of `input`. If no row can come, a column `reason` of the input's
    /// own does no harm.
    pub(crate) fn create(
        input: &SchemaRef,
        rows_may_come: bool,
        create: impl FnOnce(SchemaRef) -> Result<Box<dyn TableWriter>, ConnectorError>,
    ) -> Result<Self, ConnectorError> {
        let has_reason = input.index_of(REASON).is_ok();
        if has_reason && rows_may_come {
            return Err(ConnectorError::misconfigured(
                "rows cannot be set aside with a reason: they have a column `reason` already",
            )
            .help("give that column another name first"));
        }
        let mut fields: Vec<_> = input.fields().iter().cloned().collect();
        if !has_reason {
            fields.push(Arc::new(Field::new(REASON, DataType::Utf8, true)));
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { writer: create(schema.clone())?, schema })
    }

    /// Writes the rows of a batch that were given a reason, in row order.
    pub(crate) fn write<'a>(
        &mut self,
        batch: &RecordBatch,
        given: &[Option<usize>],
        word: impl Fn(usize) -> &'a str,
    ) -> Result<(), ConnectorError> {
        let mask: BooleanArray = given.iter().map(|g| Some(g.is_some())).collect();
        if mask.true_count() == 0 {
            return Ok(());
        }
        let reasons: StringArray = given.iter().flatten().map(|r| Some(word(*r))).collect();
        let mut columns = filtered(batch, &mask)?.columns().to_vec();
        columns.push(Arc::new(reasons));
        let batch =
            RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| from_arrow(&e))?;
        self.writer.write(&batch)
    }

    pub(crate) fn finish(self) -> Result<(), ConnectorError> {
        self.writer.finish()
    }
}

/// The rows of a batch where `keep` is true.
pub(crate) fn filtered(
    batch: &RecordBatch,
    keep: &BooleanArray,
) -> Result<RecordBatch, ConnectorError> {
    filter_record_batch(batch, keep).map_err(|e| from_arrow(&e))
}

/// A batch under a schema of the same types.
pub(crate) fn with_schema(
    schema: &SchemaRef,
    batch: &RecordBatch,
) -> Result<RecordBatch, ConnectorError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
        .map_err(|e| from_arrow(&e))
}
