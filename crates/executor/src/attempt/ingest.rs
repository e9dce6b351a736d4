//! `ingest`: from a source to the task's table.

use tidemill_connector::{ConnectorError, Outputs, SourceContext};
use tidemill_model::Counts;
use tidemill_model::template::Template;

use super::rejects::BadRows;
use super::schemas::BAD_ROWS;
use super::{Attempt, Ended};
use crate::retry::patiently;
use crate::scope::{expression_error, with_secrets};
use crate::tables::AttemptOutputs;

/// A long ingest says how far it is every so many rows.
const SAY_EVERY_ROWS: u64 = 1_000_000;

impl Attempt {
    pub(crate) async fn ingest(&self, connector: &str, config: &Template) -> Ended {
        let task = self.task();
        let scope = match with_secrets(&self.order, task, &*self.shared.secrets) {
            Ok(scope) => scope,
            Err(error) => return Self::failed(&error),
        };
        let config = match config.render(&scope) {
            Ok(config) => config,
            Err(error) => return Ended::Failed(expression_error(task, "ingest", &error)),
        };
        let outputs = self.outputs();
        match self.read(connector, config, &outputs).await {
            Ok(counts) => self.check(&outputs, counts).await,
            Err(error) => Self::failed(&error),
        }
    }

    async fn read(
        &self,
        connector: &str,
        config: serde_json::Value,
        outputs: &AttemptOutputs,
    ) -> Result<Counts, ConnectorError> {
        let found = self.shared.registry.connector(connector).ok_or_else(|| {
            ConnectorError::misconfigured(format!("there is no connector `{connector}`"))
        })?;
        let cx = SourceContext {
            batch_rows: self.shared.limits.batch_rows,
            folder: self.order.dag.folder.clone(),
            connection: self.connection(&config)?,
        };
        let mut source = patiently!(
            "open the source",
            &self.log,
            &self.stop,
            found.open_source(config.clone(), cx.clone())
        )?;
        if let Some(table) = source.stored() {
            let rows = table.rows;
            outputs.adopt("", table)?;
            return Ok(Counts { rows_in: rows, rows_out: rows, ..Counts::default() });
        }
        let mut writer = outputs.create("", source.schema())?;
        let mut bad = if self.is_read(BAD_ROWS) {
            // Who reads the table must find it, even if it has no rows.
            BadRows::create(outputs)?
        } else {
            BadRows::default()
        };
        let mut counts = Counts::default();
        loop {
            self.stop.check()?;
            let batch = patiently!("read", &self.log, &self.stop, source.next_batch())?;
            bad.add(&source.take_rejects(), outputs)?;
            let Some(batch) = batch else { break };
            let before = counts.rows_out;
            counts.rows_out += batch.num_rows() as u64;
            if before / SAY_EVERY_ROWS != counts.rows_out / SAY_EVERY_ROWS {
                self.log.note(&format!("{} rows so far", counts.rows_out));
            }
            writer.write(&batch)?;
        }
        writer.finish()?;
        counts.rejected = bad.finish()?;
        counts.rows_in = counts.rows_out + counts.rejected_total();
        Ok(counts)
    }

    /// Whether another task reads a table of this one.
    fn is_read(&self, output: &str) -> bool {
        let table = format!("{}.{output}", self.task().name);
        self.order.dag.tasks().iter().any(|task| task.reads.iter().any(|read| read.table == table))
    }
}
