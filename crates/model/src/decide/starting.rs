//! What a trigger makes of what has come: the params of a run, or none.

use serde_json::{Map, Value, json};

use crate::dag::{Dag, TriggerDef};
use crate::event::Trigger;
use crate::expr::Scope;
use crate::id::Instance;
use crate::run::DagRun;
use crate::table::{FailureKind, TaskError};
use crate::template::as_text;

use super::scope_from;

/// The names below `trigger.` that expressions may read. Those that do not belong to what started a
/// run are null.
pub const TRIGGER_FIELDS: &[&str] = &[
    "by", "tick", "who", "run", "dag", "state", "path", "size", "modified", "dataset", "rows",
    "count", "runs",
];

/// What expressions see as `trigger`.
pub fn trigger_value(trigger: &Trigger) -> Value {
    let mut value: Map<String, Value> =
        TRIGGER_FIELDS.iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
    let mut put = |field: &str, of: Value| _ = value.insert(field.to_owned(), of);
    put("by", trigger.label().into());
    match trigger {
        Trigger::Schedule { tick, .. } => put("tick", tick.to_string().into()),
        Trigger::Manual { who } => put("who", who.as_str().into()),
        Trigger::Call { run, .. } => {
            put("run", run.to_string().into());
            put("dag", run.dag.as_str().into());
        }
        Trigger::Dag { signal, .. } => {
            put("run", signal.run.to_string().into());
            put("dag", signal.run.dag.as_str().into());
            put("state", signal.state.label().into());
        }
        Trigger::Dataset { signals, count, .. } => {
            let rows: u64 = signals.iter().map(|signal| signal.rows).sum();
            put("rows", rows.into());
            put("count", (*count).into());
            // The newest stands for all where one is asked for.
            if let Some(newest) = signals.last() {
                put("run", newest.run.to_string().into());
                put("dag", newest.run.dag.as_str().into());
                put("dataset", newest.dataset.clone().into());
            }
            let mut runs: Vec<String> =
                signals.iter().map(|signal| signal.run.to_string()).collect();
            runs.dedup();
            put("runs", runs.into());
        }
    }
    value.into()
}

/// What a run has in common with those that share its limit, where its DAG has one.
pub fn lane_of_start(run: &DagRun) -> Result<Option<String>, TaskError> {
    let Some(concurrency) = &run.dag().concurrency else { return Ok(None) };
    let Some(key) = &concurrency.key else { return Ok(Some(String::new())) };
    let scope = scope_from(run, Instance::default(), None, &key.references());
    let value = key.eval(&scope).map_err(|error| {
        TaskError::new(FailureKind::Misconfigured, error.to_string())
            .at(Some("`concurrency.key`".to_owned()))
    })?;
    Ok(Some(as_text(&value)))
}

/// The params of the run that starts now, those that the trigger does not give aside; nothing where
/// its `when` says that none starts.
pub fn params_of_start(
    dag: &Dag,
    def: &TriggerDef,
    trigger: &Trigger,
) -> Result<Option<Map<String, Value>>, TaskError> {
    let wrong = |key: &str, message: String| {
        TaskError::new(FailureKind::Misconfigured, message)
            .at(Some(format!("`{key}` of trigger `{}`", def.key)))
    };
    let mut scope = Scope::new();
    scope.insert("trigger".to_owned(), trigger_value(trigger));
    scope.insert("params".to_owned(), json!(dag.params_by_default()));
    let params = match def.params.render(&scope).map_err(|e| wrong("params", e.to_string()))? {
        Value::Object(params) => params,
        Value::Null => Map::new(),
        other => return Err(wrong("params", format!("{other} is no mapping of params"))),
    };
    let params = dag.params_of(&params).map_err(|e| wrong("params", e.to_string()))?;
    let Some(when) = &def.when else { return Ok(Some(params)) };
    scope.insert("params".to_owned(), json!(params));
    let starts = when.eval_bool(&scope).map_err(|e| wrong("when", e.to_string()))?;
    Ok(starts.then_some(params))
}
