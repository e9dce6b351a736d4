//! `load`: from a table to a sink.

use tidemill_connector::{ConnectorError, SinkContext, Written};
use tidemill_model::template::Template;
use tidemill_model::words::counted;
use tidemill_model::{Counts, TaskResult};

use super::{Attempt, Ended};
use crate::retry::patiently;
use crate::scope::{expression_error, with_secrets};

impl Attempt {
    pub(crate) async fn load(&self, connector: &str, config: &Template) -> Ended {
        let task = self.task();
        let scope = match with_secrets(&self.order, task, &*self.shared.secrets) {
            Ok(scope) => scope,
            Err(error) => return Self::failed(&error),
        };
        let config = match config.render(&scope) {
            Ok(config) => config,
            Err(error) => return Ended::Failed(expression_error(task, "load", &error)),
        };
        match self.write(connector, config).await {
            Ok(counts) => {
                let result = TaskResult { counts, ..TaskResult::default() };
                Ended::Done(result, Vec::new())
            }
            Err(error) => Self::failed(&error),
        }
    }

    async fn write(
        &self,
        connector: &str,
        config: serde_json::Value,
    ) -> Result<Counts, ConnectorError> {
        let found = self.shared.registry.connector(connector).ok_or_else(|| {
            ConnectorError::misconfigured(format!("there is no connector `{connector}`"))
        })?;
        let tables = self.inputs().await?;
        let (_, table) = tables.first().ok_or_else(|| {
            ConnectorError::misconfigured("this load has no table to write")
                .help("name one with `from: TABLE`")
        })?;
        let order = &self.order;
        let cx = SinkContext {
            schema: table.schema(),
            folder: order.dag.folder.clone(),
            connection: self.connection(&config)?,
            idempotency_key: format!(
                "{}/{}/{}",
                order.id.run.dag,
                order.id.run.number,
                self.task().name
            ),
        };
        let mut sink = patiently!(
            "open the sink",
            &self.log,
            &self.stop,
            found.open_sink(config.clone(), cx.clone())
        )?;
        for batch in table.scan()? {
            self.stop.check()?;
            let batch = batch?;
            patiently!("write", &self.log, &self.stop, sink.write(&batch))?;
        }
        self.stop.check()?;
        let Written { rows, bytes } = self.stop.unless(sink.finish()).await?;
        self.log.note(&format!("published {}, {}", counted(rows, "row"), counted(bytes, "byte")));
        Ok(Counts { rows_in: table.rows(), rows_out: rows, ..Counts::default() })
    }
}
