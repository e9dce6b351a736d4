//! Tables that are not made by a task: stubs, and what tests compare with.

use std::path::Path;

use serde_json::Value;
use tidemill_connector::{ConnectorError, Outputs, SourceContext};
use tidemill_model::{SmallTable, TableRef};

use crate::executor::Executor;
use crate::flag::StopFlag;
use crate::tables::AttemptOutputs;

impl Executor {
    /// Makes the table `table` of the task `task` (the empty name: the one named like the task)
    /// from what a connector reads. Its bytes come along when it is small.
    pub async fn import(
        &self,
        (task, table): (&str, &str),
        connector: &str,
        settings: Value,
        folder: &Path,
    ) -> Result<(TableRef, Option<SmallTable>), ConnectorError> {
        let shared = self.shared();
        let found = shared.registry.connector(connector).ok_or_else(|| {
            ConnectorError::misconfigured(format!("there is no connector `{connector}`"))
        })?;
        let cx = SourceContext {
            batch_rows: shared.limits.batch_rows,
            folder: folder.to_owned(),
            connection: None,
        };
        let outputs = AttemptOutputs::new(shared.tables.clone(), task, StopFlag::default());
        let mut source = found.open_source(settings, cx).await?;
        let mut writer = outputs.create(table, source.schema())?;
        while let Some(batch) = source.next_batch().await? {
            writer.write(&batch)?;
        }
        writer.finish()?;
        let (mut tables, mut small) = outputs.for_report();
        let table = tables.pop().ok_or_else(|| ConnectorError::internal("no table was made"))?;
        Ok((table, small.pop()))
    }
}
