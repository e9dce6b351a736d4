//! What an attempt's expressions may see: the order's scope, and the secrets they name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidemill_connector::{Binds, ConnectorError};
use tidemill_model::dag::{ParamKind, Task};
use tidemill_model::expr::{ExprError, Scope};
use tidemill_model::{AttemptOrder, Dag, DataInterval, FailureKind, RunId, TaskError, Timestamp};

use crate::outside::Secrets;

/// The scope with the secrets that the task's expressions name.
pub(crate) fn with_secrets(
    order: &AttemptOrder,
    task: &Task,
    secrets: &dyn Secrets,
) -> Result<Scope, ConnectorError> {
    let mut scope = order.scope.clone();
    let mut named = Map::new();
    for path in task.references() {
        if let [root, name, ..] = path.as_slice()
            && root == "secrets"
            && !named.contains_key(name)
        {
            let secret = secrets.get(name)?;
            named.insert(name.clone(), Value::from(secret.expose()));
        }
    }
    if !named.is_empty() {
        scope.insert("secrets".to_owned(), Value::Object(named));
    }
    Ok(scope)
}

/// The scope with the name of each secret in the place of its value.
pub(crate) fn without_secrets(order: &AttemptOrder, task: &Task) -> Scope {
    let mut scope = order.scope.clone();
    let mut secrets = Map::new();
    for path in task.references() {
        if let [root, name, ..] = path.as_slice()
            && root == "secrets"
        {
            secrets.insert(name.clone(), Value::from(format!("secret {name}")));
        }
    }
    scope.insert("secrets".to_owned(), Value::Object(secrets));
    scope
}

/// The values of `$names` in SQL: params, the run's own, and what the task binds.
pub(crate) fn binds(order: &AttemptOrder, task: &Task, scope: &Scope) -> Result<Binds, ExprError> {
    let mut binds =
        run_binds(&order.dag, (&order.params, order.interval), (order.logical_time, &order.id.run));
    for (name, expr) in &task.bind {
        binds.insert(name.to_string(), expr.eval(scope)?);
    }
    Ok(binds)
}

/// Those of the `$names` that every SQL of a run may use: its params, and what it is about.
pub fn run_binds(
    dag: &Dag,
    (params, interval): (&Map<String, Value>, Option<DataInterval>),
    (logical_time, run): (Timestamp, &RunId),
) -> Binds {
    let instant = |at: Timestamp| json!({"$timestamp": at.as_micros()});
    let mut binds = BTreeMap::new();
    for (name, value) in params {
        let kind = dag.params.get(name.as_str()).map(|param| param.kind);
        let text = value.as_str().unwrap_or_default();
        let value = match kind {
            Some(ParamKind::Timestamp) => text.parse().map_or(Value::Null, instant),
            Some(ParamKind::Date) => json!({"$date": text}),
            _ => value.clone(),
        };
        binds.insert(name.clone(), value);
    }
    let interval = interval.map_or((logical_time, logical_time), |i| (i.start, i.end));
    binds.insert("interval_start".to_owned(), instant(interval.0));
    binds.insert("interval_end".to_owned(), instant(interval.1));
    binds.insert("logical_time".to_owned(), instant(logical_time));
    binds.insert("run_id".to_owned(), Value::from(run.to_string()));
    binds
}

/// The error of an expression that has no value.
pub(crate) fn expression_error(task: &Task, key: &str, error: &ExprError) -> TaskError {
    TaskError::new(FailureKind::Expression, &error.message)
        .at(Some(format!("`{key}` of task `{}`", task.name)))
        .help(error.help.clone())
}

/// A connector's error as the run keeps it.
pub(crate) fn task_error(error: &ConnectorError) -> TaskError {
    use tidemill_connector::ErrorKind;
    let mut retry_after = None;
    let kind = match error.kind {
        ErrorKind::Retryable { after } => {
            retry_after = after;
            FailureKind::Transient
        }
        ErrorKind::Refused => FailureKind::Refused,
        ErrorKind::Misconfigured => FailureKind::Misconfigured,
        ErrorKind::Data => FailureKind::Data,
        ErrorKind::Internal | ErrorKind::Cancelled => FailureKind::Internal,
    };
    TaskError::new(kind, &error.message)
        .at(error.place.clone())
        .help(error.help.clone())
        .retry_after(retry_after)
}
