//! `transform`: from tables to tables; and the checks of a task's table.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidemill_connector::{Connection, ConnectorError, Outputs, Table, TransformContext};
use tidemill_model::template::Template;
use tidemill_model::{Counts, FailureKind, TaskError};
use tidemill_sql::{CheckRequest, run_checks};

use super::{Attempt, Ended};
use crate::scope::{binds, expression_error, with_secrets};
use crate::tables::AttemptOutputs;

impl Attempt {
    pub(crate) async fn transform(&self, kind: &str, config: &Template) -> Ended {
        let task = self.task();
        let scope = match with_secrets(&self.order, task, &*self.shared.secrets) {
            Ok(scope) => scope,
            Err(error) => return Self::failed(&error),
        };
        let config = match config.render(&scope) {
            Ok(config) => config,
            Err(error) => return Ended::Failed(expression_error(task, "transform", &error)),
        };
        let binds = match binds(&self.order, task, &scope) {
            Ok(binds) => binds,
            Err(error) => return Ended::Failed(expression_error(task, "bind", &error)),
        };
        let outputs = self.outputs();
        match self.compute(kind, config, binds, &outputs).await {
            Ok(counts) => self.check(&outputs, counts).await,
            Err(error) => Self::failed(&error),
        }
    }

    async fn compute(
        &self,
        kind: &str,
        config: Value,
        binds: BTreeMap<String, Value>,
        outputs: &AttemptOutputs,
    ) -> Result<Counts, ConnectorError> {
        let found = self.shared.registry.transform(kind).ok_or_else(|| {
            ConnectorError::misconfigured(format!("there is no transform `{kind}`"))
        })?;
        let tables = self.inputs().await?;
        let rows_in = tables.values().map(|table| table.rows()).sum();
        let cx = TransformContext {
            tables,
            binds,
            outputs: Arc::new(outputs.clone()),
            folder: self.order.dag.folder.clone(),
        };
        self.stop.unless(found.run_any(config, cx)).await?;
        let finished = outputs.finished();
        let main = finished.iter().find(|(name, _)| name.is_empty());
        let rows_out = match main {
            Some((_, main)) => main.table.rows,
            None => finished.iter().map(|(_, finished)| finished.table.rows).sum(),
        };
        Ok(outputs.counts().unwrap_or(Counts { rows_in, rows_out, ..Counts::default() }))
    }

    /// Holds the task's table to its checks, and ends the attempt.
    pub(crate) async fn check(&self, outputs: &AttemptOutputs, mut counts: Counts) -> Ended {
        let task = self.task();
        if task.checks.is_empty() {
            return Self::done(outputs, counts, Vec::new());
        }
        match self.run_checks(outputs, &mut counts).await {
            Ok((warnings, None)) => Self::done(outputs, counts, warnings),
            Ok((_, Some(failure))) => Ended::Failed(
                TaskError::new(FailureKind::Check, failure)
                    .at(Some(format!("`checks` of task `{}`", task.name))),
            ),
            Err(error) => Self::failed(&error),
        }
    }

    async fn run_checks(
        &self,
        outputs: &AttemptOutputs,
        counts: &mut Counts,
    ) -> Result<(Vec<String>, Option<String>), ConnectorError> {
        let task = self.task();
        let table = outputs.open("")?.ok_or_else(|| {
            ConnectorError::misconfigured(format!("task `{}` has no table to check", task.name))
        })?;
        let scope = with_secrets(&self.order, task, &*self.shared.secrets)?;
        let binds = binds(&self.order, task, &scope)
            .map_err(|error| ConnectorError::misconfigured(error.message))?;
        let tables = self.inputs().await?;
        let request = CheckRequest {
            task: task.name.as_str(),
            table,
            tables: &tables,
            checks: &task.checks,
            binds: &binds,
            outputs,
        };
        let report = self.stop.unless(run_checks(&self.shared.engine, request)).await?;
        counts.rejected.extend(report.rejected);
        if let Some(survivors) = report.survivors.filter(|_| report.failure.is_none()) {
            outputs.withdraw("");
            counts.rows_out = survivors.rows();
            copy(&*survivors, outputs)?;
        }
        Ok((report.warnings, report.failure))
    }

    /// The outputs of this attempt.
    pub(crate) fn outputs(&self) -> AttemptOutputs {
        AttemptOutputs::new(
            self.shared.tables.clone(),
            self.task().name.as_str(),
            self.stop.clone(),
        )
    }

    /// The connection that rendered settings name, if they name one.
    pub(crate) fn connection(&self, config: &Value) -> Result<Option<Connection>, ConnectorError> {
        match config.get("connection").and_then(Value::as_str) {
            None => Ok(None),
            Some(name) => self.shared.connections.get(&self.order.dag.folder, name).map(Some),
        }
    }
}

fn copy(table: &dyn Table, outputs: &AttemptOutputs) -> Result<(), ConnectorError> {
    let mut writer = outputs.create("", table.schema())?;
    for batch in table.scan()? {
        writer.write(&batch?)?;
    }
    writer.finish()
}
