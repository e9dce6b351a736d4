//! Rows that a source could not read: the table `TASK.bad_rows`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use tidemill_connector::{ConnectorError, Outputs, RejectedRow, TableWriter};

use super::schemas::{BAD_ROWS, of_bad_rows};

/// Counts and keeps rejected rows.
#[derive(Default)]
pub(crate) struct BadRows {
    writer: Option<Box<dyn TableWriter>>,
    counts: Vec<(String, u64)>,
}

impl BadRows {
    /// Begins the table before there are rows.
    pub(crate) fn create(outputs: &dyn Outputs) -> Result<Self, ConnectorError> {
        Ok(Self { writer: Some(outputs.create(BAD_ROWS, of_bad_rows())?), counts: Vec::new() })
    }

    /// Takes rows in.
    pub(crate) fn add(
        &mut self,
        rows: &[RejectedRow],
        outputs: &dyn Outputs,
    ) -> Result<(), ConnectorError> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            match self.counts.iter_mut().find(|(reason, _)| *reason == row.reason) {
                Some((_, count)) => *count += 1,
                None => self.counts.push((row.reason.clone(), 1)),
            }
        }
        let texts = |of: fn(&RejectedRow) -> Option<&str>| -> ArrayRef {
            Arc::new(rows.iter().map(of).collect::<StringArray>())
        };
        let lines: Int64Array = rows.iter().map(|row| i64::try_from(row.line).ok()).collect();
        let batch = RecordBatch::try_new(
            of_bad_rows(),
            vec![
                texts(|row| Some(&row.source)),
                Arc::new(lines),
                texts(|row| row.column.as_deref()),
                texts(|row| row.value.as_deref()),
                texts(|row| Some(&row.row)),
                texts(|row| Some(&row.reason)),
            ],
        )?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(outputs.create(BAD_ROWS, of_bad_rows())?),
        };
        writer.write(&batch)
    }

    /// Ends the table; gives the rows by reason.
    pub(crate) fn finish(self) -> Result<Vec<(String, u64)>, ConnectorError> {
        if let Some(writer) = self.writer {
            writer.finish()?;
        }
        Ok(self.counts)
    }
}
