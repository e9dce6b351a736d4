//! Values that stand for those of a run: which ones they are does not matter for columns, only
//! their types do.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidemill_connector::Binds;
use tidemill_executor::run_binds;
use tidemill_model::dag::{ParamKind, Task};
use tidemill_model::decide::scope_for;
use tidemill_model::expr::{Expr, Path, Scope, Type};
use tidemill_model::outputs::Output;
use tidemill_model::template::Template;
use tidemill_model::{
    AttemptOrder, Dag, DagRun, DataInterval, RunEvent, RunId, TaskIx, Timestamp, Trigger,
};

/// A run that nobody asked for, to take values from.
pub(super) struct Values {
    dag: Arc<Dag>,
    /// `None` when the DAG cannot be run at all, which its diagnostics say.
    run: Option<DagRun>,
    binds: Binds,
    /// Params without a default: their values are made up.
    made_up: BTreeSet<String>,
}

/// How sure a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sure {
    /// A run that is asked for without params has this one.
    Value,
    /// It is of the type that a run will have.
    Type,
    /// It is null, and anything may come.
    Nothing,
}

/// The items of a mapped task.
pub(super) enum Items {
    /// It is not mapped.
    None,
    /// The first ones of its list.
    First(Vec<Value>),
    /// Its list is empty.
    Empty,
    /// Its list is not known before a run.
    Unknown,
}

/// Items of a list that are looked at.
const ITEMS_LOOKED_AT: usize = 8;

impl Values {
    /// The values that a run would have now.
    pub(super) fn new(dag: &Arc<Dag>, now: Timestamp) -> Self {
        let made_up: Map<String, Value> = (dag.params.iter())
            .filter(|(_, param)| param.default.is_none())
            .map(|(name, param)| {
                let value = param.allowed.first().cloned();
                (name.to_string(), value.unwrap_or_else(|| sample(param.kind)))
            })
            .collect();
        let params = dag.params_of(&made_up).unwrap_or_default();
        let interval = dag.last_interval(now);
        let id = RunId { dag: dag.id.clone(), number: 1 };
        let made_up = made_up.into_iter().map(|(name, _)| name).collect();
        Self { made_up, ..Self::with(dag, &id, &params, interval, now) }
    }

    /// The values of a run that is under way.
    pub(super) fn of_run(order: &AttemptOrder) -> Self {
        let (id, params) = (&order.id.run, &order.params);
        Self::with(&order.dag, id, params, order.interval, order.logical_time)
    }

    fn with(
        dag: &Arc<Dag>,
        id: &RunId,
        params: &Map<String, Value>,
        interval: Option<DataInterval>,
        at: Timestamp,
    ) -> Self {
        let created = RunEvent::Created {
            version: dag.version.clone(),
            trigger: Trigger::Manual { who: "plan".to_owned() },
            params: params.clone(),
            interval,
            lane: None,
            at,
        };
        let run = DagRun::create(Arc::clone(dag), id.clone(), &created).ok();
        let time = run.as_ref().map_or(at, |run| run.head.logical_time());
        let binds = run_binds(dag, (params, interval), (time, id));
        Self { dag: Arc::clone(dag), run, binds, made_up: BTreeSet::new() }
    }

    /// Settings as an attempt would be given them; why not, if they are not known before a run.
    pub(super) fn render(
        &self,
        ix: TaskIx,
        item: Option<&Value>,
        config: &Template,
    ) -> Result<Value, String> {
        let paths = config.references();
        if let Some(why) = self.unknown(&paths, item) {
            return Err(why);
        }
        config.render(&self.scope(ix, item, &paths)).map_err(|error| error.message)
    }

    /// Values for the `$names` of a task's SQL, each with how sure it is.
    pub(super) fn binds(
        &self,
        ix: TaskIx,
        task: &Task,
        item: Option<&Value>,
    ) -> (Binds, Vec<(String, Sure)>) {
        let mut binds = self.binds.clone();
        let mut sure = Vec::new();
        for name in &self.made_up {
            let is_json = self.dag.params[name.as_str()].kind == ParamKind::Json;
            if is_json {
                binds.insert(name.clone(), Value::Null);
            }
            sure.push((name.clone(), if is_json { Sure::Nothing } else { Sure::Type }));
        }
        for (name, expr) in &task.bind {
            let paths = expr.references();
            let (value, how) = match self.unknown(&paths, item) {
                None => match expr.eval(&self.scope(ix, item, &paths)) {
                    Ok(value) => (value, Sure::Value),
                    Err(_) => (Value::Null, Sure::Nothing),
                },
                Some(_) => self.of_type(expr),
            };
            binds.insert(name.to_string(), value);
            sure.push((name.to_string(), how));
        }
        (binds, sure)
    }

    /// The items that a task runs for, or its group.
    pub(super) fn items(&self, ix: TaskIx) -> Items {
        let Some(root) = self.dag.root(ix) else { return Items::None };
        let Some(mapping) = &self.dag.task(root).mapping else { return Items::None };
        let paths = mapping.list.references();
        if self.unknown(&paths, None).is_some() {
            return Items::Unknown;
        }
        match mapping.list.eval(&self.scope(root, None, &paths)) {
            Ok(Value::Array(items)) if items.is_empty() => Items::Empty,
            Ok(Value::Array(mut items)) => {
                items.truncate(ITEMS_LOOKED_AT);
                Items::First(items)
            }
            _ => Items::Unknown,
        }
    }

    /// Whether the list that a task is mapped over has more items than are looked at.
    pub(super) fn has_more_items(&self, ix: TaskIx) -> bool {
        let root = self.dag.root(ix);
        let list = root.and_then(|root| Some(&self.dag.task(root).mapping.as_ref()?.list));
        let items = list.and_then(|list| list.eval(&self.scope(ix, None, &list.references())).ok());
        items.and_then(|items| Some(items.as_array()?.len())).is_some_and(|n| n > ITEMS_LOOKED_AT)
    }

    /// Why what is read at these places is not known before a run, if that is so.
    fn unknown(&self, paths: &BTreeSet<Path>, item: Option<&Value>) -> Option<String> {
        let of = |path: &Path| match path[0].as_str() {
            "tasks" => Some("its settings depend on what other tasks give".to_owned()),
            "secrets" => Some("its settings name secrets".to_owned()),
            "item" if item.is_none() => {
                Some("its settings depend on an item of a list that is not known".to_owned())
            }
            "params" => {
                let name = path.get(1).filter(|name| self.made_up.contains(*name))?;
                Some(format!("its settings depend on param `{name}`, which has no default"))
            }
            "vars" => {
                let template = self.dag.vars.get(path.get(1)?.as_str())?;
                self.unknown(&template.references(), item)
            }
            _ => None,
        };
        paths.iter().find_map(of)
    }

    /// A value of the type that an expression gives.
    fn of_type(&self, expr: &Expr) -> (Value, Sure) {
        let type_of = |path: &[String]| match path {
            [root, task, field, name] if root == "tasks" && field == "outputs" => {
                self.type_of_output(task, name)
            }
            [root, _, field] if root == "tasks" && field.starts_with("rows") => Type::Int,
            [root, name] if root == "params" => {
                let param = self.dag.params.get(name.as_str());
                param.map_or(Type::Dynamic, |param| param.kind.type_in_expr())
            }
            _ => Type::Dynamic,
        };
        let value = match expr.check(&type_of).kind {
            Type::Int => json!(1),
            Type::Double => json!(1.0),
            Type::Bool => json!(true),
            Type::Text => json!("text"),
            _ => return (Value::Null, Sure::Nothing),
        };
        (value, Sure::Type)
    }

    fn type_of_output(&self, task: &str, name: &str) -> Type {
        let ix = self.dag.find(task);
        match ix.and_then(|ix| self.dag.task(ix).outputs.get(name)) {
            Some(Output::Value(kind)) => kind.type_in_expr(),
            _ => Type::Dynamic,
        }
    }

    fn scope(&self, ix: TaskIx, item: Option<&Value>, paths: &BTreeSet<Path>) -> Scope {
        let Some(run) = &self.run else { return Scope::new() };
        let mut scope = scope_for(run, ix.into(), paths);
        match item {
            Some(item) => scope.insert("item".to_owned(), item.clone()),
            None => scope.remove("item"),
        };
        scope
    }
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
