//! The tables that an attempt reads, and the built-in one.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use tidemill_connector::{ConnectorError, MemoryTable, Table};
use tidemill_model::effect::RunTask;

use super::Attempt;
use super::schemas::{RUN_TASKS, of_run_tasks};

impl Attempt {
    /// Tables by the names that the task's settings use. One whose task was skipped has no rows.
    pub(crate) async fn inputs(&self) -> Result<IndexMap<String, Arc<dyn Table>>, ConnectorError> {
        let mut tables: IndexMap<String, Arc<dyn Table>> = IndexMap::new();
        for (alias, table) in &self.order.inputs {
            tables.insert(alias.clone(), self.shared.tables.open(table)?);
        }
        for (alias, table) in &self.order.skipped {
            let schema = self.shared.columns.of(&self.order, table).await.ok_or_else(|| {
                ConnectorError::misconfigured(format!(
                    "table `{table}` has no rows, because its task was skipped, and nothing tells \
                     its columns"
                ))
                .help(
                    "declare them with `columns` of the source or of `outputs`, or give this task \
                     a `when`; once a run has made the table, its columns are known",
                )
            })?;
            self.log.note(&format!("`{table}` has no rows: its task was skipped"));
            tables.insert(alias.clone(), Arc::new(MemoryTable::new(schema, Vec::new())));
        }
        for read in &self.task().reads {
            if !tables.contains_key(&read.alias) {
                return Err(ConnectorError::misconfigured(format!(
                    "table `{}` is not there: its task failed, has not ended, or made no such table",
                    read.table
                ))
                .help("give this task a `when`, or a `trigger_rule` that waits for the table"));
            }
        }
        if let Some(rows) = &self.order.run_tasks {
            tables.insert(RUN_TASKS.to_owned(), Arc::new(run_tasks(rows)?));
        }
        Ok(tables)
    }
}

/// `run_tasks(task, state, attempts, rows_in, rows_out, duplicates, rejected, reasons)`: the tasks
/// of this run that have ended; `reasons` is a JSON object from reason to rows.
fn run_tasks(rows: &[RunTask]) -> Result<MemoryTable, ConnectorError> {
    let schema = of_run_tasks();
    let texts = |of: fn(&RunTask) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let numbers = |of: fn(&RunTask) -> u64| -> Result<ArrayRef, ConnectorError> {
        let values: UInt64Array = rows.iter().map(|row| Some(of(row))).collect();
        Ok(arrow::compute::cast(&values, &DataType::Int64)?)
    };
    let reasons = |row: &RunTask| {
        let pairs = row.counts.rejected.iter().map(|(reason, n)| (reason.clone(), (*n).into()));
        serde_json::Value::Object(pairs.collect()).to_string()
    };
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            texts(|row| row.task.clone()),
            texts(|row| row.state.label().to_owned()),
            numbers(|row| row.attempts.into())?,
            numbers(|row| row.counts.rows_in)?,
            numbers(|row| row.counts.rows_out)?,
            numbers(|row| row.counts.duplicates)?,
            numbers(|row| row.counts.rejected_total())?,
            texts(reasons),
        ],
    )?;
    Ok(MemoryTable::new(schema, vec![batch]))
}
