//! A table without the rows that were set aside.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::SchemaRef;
use tidemill_connector::{BatchIter, ConnectorError, Table};

use crate::rejects::filtered;

/// A view of a table: one bit per row says whether it stayed.
#[derive(Debug)]
pub(super) struct Survivors {
    table: Arc<dyn Table>,
    keep: BooleanBuffer,
    rows: u64,
}

impl Survivors {
    /// The rows of `table` where `keep` is set.
    pub(super) fn new(table: Arc<dyn Table>, keep: BooleanBuffer) -> Self {
        let rows = keep.count_set_bits() as u64;
        Self { table, keep, rows }
    }
}

impl Table for Survivors {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn bytes(&self) -> u64 {
        let (bytes, all) = (u128::from(self.table.bytes()), u128::from(self.table.rows().max(1)));
        u64::try_from(bytes * u128::from(self.rows) / all).unwrap_or(u64::MAX)
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        let keep = self.keep.clone();
        let mut row = 0;
        let batches = self.table.scan()?.filter_map(move |batch| {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let rows = batch.num_rows();
            if row + rows > keep.len() {
                return Some(Err(ConnectorError::internal(
                    "a table has grown since it was checked",
                )));
            }
            let mask = BooleanArray::new(keep.slice(row, rows), None);
            row += rows;
            match mask.true_count() {
                0 => None,
                all if all == rows => Some(Ok(batch)),
                _ => Some(filtered(&batch, &mask)),
            }
        });
        Ok(Box::new(batches))
    }
}
