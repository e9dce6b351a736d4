//! A record batch under construction, row by row.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_connector::ConnectorError;

use super::builder::ColumnBuilder;

/// A batch is cut before its text exceeds this, however few rows it has.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Columns that grow together.
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    len: usize,
    len_max: usize,
}

impl Rows {
    /// No rows yet; at most `rows_max` in a batch.
    pub(crate) fn new(schema: SchemaRef, rows_max: usize) -> Result<Self, ConnectorError> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| ColumnBuilder::new(field.data_type()))
            .collect::<Result<_, _>>()?;
        Ok(Self { schema, columns, len: 0, len_max: rows_max.max(1) })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The columns, to append one cell to each; then [`Rows::keep`] or [`Rows::undo`] the row.
    pub(crate) fn columns(&mut self) -> &mut [ColumnBuilder] {
        &mut self.columns
    }

    /// Counts the row that was appended.
    pub(crate) fn keep(&mut self) {
        self.len += 1;
    }

    /// Takes back what was appended of a row.
    pub(crate) fn undo(&mut self) {
        for column in &mut self.columns {
            column.truncate(self.len);
        }
    }

    /// Whether the batch must be taken before the next row.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.len_max || self.text_bytes() >= BATCH_BYTES_MAX
    }

    fn text_bytes(&self) -> usize {
        // Looking at every column for every row would show in a profile.
        if self.len.is_multiple_of(64) || self.len < 64 {
            self.columns.iter().map(ColumnBuilder::text_bytes).sum()
        } else {
            0
        }
    }

    /// The rows so far as a batch, if there are any.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        if self.len == 0 {
            return Ok(None);
        }
        let columns =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        self.len = 0;
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }
}
