//! Values that stand for those of a run: which ones they are does not matter for columns, only
//! their types do.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidemill_connector::Binds;
use tidemill_executor::run_binds;
use tidemill_model::dag::{ParamKind, Task};
use tidemill_model::decide::scope_for;
use tidemill_model::expr::{Path, Scope};
use tidemill_model::template::Template;
use tidemill_model::{Dag, DagRun, RunEvent, RunId, TaskIx, Timestamp, Trigger};

/// A run that nobody asked for, to take values from.
pub(super) struct Values {
    /// `None` when the DAG cannot be run at all, which its diagnostics say.
    run: Option<DagRun>,
    binds: Binds,
    /// Whether params without a default were made up.
    made_up: bool,
}

/// Why an expression has no value before a run.
const LATER: &str = "its settings depend on what other tasks give";

impl Values {
    /// The values that a run would have now.
    pub(super) fn new(dag: &Arc<Dag>, now: Timestamp) -> Self {
        let required = |name: &str| dag.params[name].default.is_none();
        let made_up: Map<String, Value> = (dag.params.iter())
            .filter(|(name, _)| required(name.as_str()))
            .map(|(name, param)| {
                let value = param.allowed.first().cloned();
                (name.to_string(), value.unwrap_or_else(|| sample(param.kind)))
            })
            .collect();
        let has_made_up = !made_up.is_empty();
        let params = dag.params_of(&made_up).unwrap_or_default();
        let tick = dag.schedule.as_ref().and_then(|schedule| schedule.previous(now));
        let interval = dag.schedule.as_ref().zip(tick).map(|(s, tick)| s.interval_of(tick));
        let id = RunId { dag: dag.id.clone(), number: 1 };
        let created = RunEvent::Created {
            version: dag.version.clone(),
            trigger: Trigger::Manual { who: "plan".to_owned() },
            params: params.clone(),
            interval,
            at: now,
        };
        let run = DagRun::create(Arc::clone(dag), id.clone(), &created).ok();
        let time = run.as_ref().map_or(now, |run| run.head.logical_time());
        let binds = run_binds(dag, (&params, interval), (time, &id));
        Self { run, binds, made_up: has_made_up }
    }

    /// Settings as an attempt would be given them; why not, if they are not known before a run.
    pub(super) fn render(&self, ix: TaskIx, config: &Template) -> Result<Value, String> {
        config.render(&self.scope(ix, config.references())).map_err(|_| LATER.to_owned())
    }

    /// Values for the `$names` of a task's SQL, and whether all of them are those of a run: a name
    /// that cannot be known is null.
    pub(super) fn binds(&self, ix: TaskIx, task: &Task) -> (Binds, bool) {
        let mut binds = self.binds.clone();
        let mut certain = !self.made_up;
        for (name, expr) in &task.bind {
            let value = expr.eval(&self.scope(ix, expr.references())).ok();
            certain &= value.is_some();
            binds.insert(name.to_string(), value.unwrap_or_default());
        }
        (binds, certain)
    }

    fn scope(&self, ix: TaskIx, paths: impl IntoIterator<Item = Path>) -> Scope {
        let Some(run) = &self.run else { return Scope::new() };
        let paths: Vec<Path> = paths.into_iter().collect();
        let mut scope = scope_for(run, ix.into(), &paths);
        if scope.contains_key("item") {
            match first_item(run, ix) {
                Some(item) => scope.insert("item".to_owned(), item),
                None => scope.remove("item"),
            };
        }
        scope
    }
}

/// The first item of the list that a task is mapped over, if the list is known.
fn first_item(run: &DagRun, ix: TaskIx) -> Option<Value> {
    let dag = run.dag();
    let root = dag.root(ix)?;
    let list = &dag.task(root).mapping.as_ref()?.list;
    let paths: Vec<Path> = list.references().into_iter().collect();
    let list = list.eval(&scope_for(run, root.into(), &paths)).ok()?;
    list.as_array()?.first().cloned()
}

/// A value of a type.
fn sample(kind: ParamKind) -> Value {
    match kind {
        ParamKind::String => json!("text"),
        ParamKind::Integer => json!(1),
        ParamKind::Number => json!(1.0),
        ParamKind::Boolean => json!(true),
        ParamKind::Timestamp => json!("2026-01-01T00:00:00Z"),
        ParamKind::Date => json!("2026-01-01"),
        ParamKind::Json => json!({}),
    }
}
