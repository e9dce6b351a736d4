//! The version of a DAG: the hash of its canonical form.
//!
//! The canonical form is the DAG as meant: defaults applied, names resolved, keys sorted, the file's
//! place left out. So the version stays when the text is laid out anew, and changes when the
//! meaning does. Settings of connectors and transforms keep their order of keys, because for some
//! of them it means something (the columns of a table, for example).

use serde_json::{Map, Value, json};
use tidemill_model::Version;
use tidemill_model::dag::{
    Action, Approve, Cache, Call, Command, DagHead, Group, Mapping, Read, Task, Tolerance, Wait,
};
use tidemill_model::outputs::FileFormat;
use tidemill_model::template::Template;

use crate::read::handlers;

/// The version of a DAG with this head and these tasks.
pub(crate) fn of(head: &DagHead, schedule: Option<&str>, tasks: &[Task]) -> Version {
    Version::of(canonical(head, schedule, tasks).to_string().as_bytes())
}

fn canonical(head: &DagHead, schedule: Option<&str>, tasks: &[Task]) -> Value {
    // The outermost number changes when the language gives an old text a new meaning.
    let mut form = json!({
        "dag": head.id.as_str(),
        "description": head.description,
        "language": 1,
        "owner": head.owner,
        "params": sorted(&json!(head.params)),
        "schedule": schedule,
        "start": head.start,
        "tags": head.tags,
        "tasks": tasks.iter().map(|task| task_form(task, tasks)).collect::<Vec<_>>(),
        "timezone": head.timezone.name(),
    });
    // What came later is left out where it is not used, so that versions stay.
    if !head.vars.is_empty() {
        let vars: Vec<Value> =
            head.vars.iter().map(|(name, template)| json!([name, template])).collect();
        form["vars"] = json!(vars);
    }
    put_later(&head.later, &mut form);
    form
}

/// Something that is done after a task or a run: as written, but for the order of keys, except in
/// settings, where it may mean something, and with short forms written out.
fn handler_form(handler: &Value) -> Value {
    let Value::Object(fields) = handler else { return handler.clone() };
    let long = |key: &str, value: &Value| match (key, value) {
        ("retry", Value::Number(limit)) => json!({"limit": limit}),
        ("call", Value::String(dag)) => json!({"dag": dag}),
        ("wait", Value::String(span)) => json!({"for": span}),
        ("approve", Value::String(message)) => json!({"message": message}),
        ("noop", _) => json!({}),
        ("ingest" | "transform" | "load", settings) => settings.clone(),
        (_, value) => sorted(value),
    };
    let mut keys: Vec<&String> = fields.keys().collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| (key.clone(), long(key, &fields[key]))).collect::<Map<_, _>>().into()
}

/// Keys that no code runs yet, where there are any.
fn put_later(later: &Map<String, Value>, form: &mut Value) {
    if later.is_empty() {
        return;
    }
    let mut keys: Vec<&String> = later.keys().collect();
    keys.sort_unstable();
    let value = |key: &str| match &later[key] {
        Value::Array(items) if handlers::KEYS.contains(&key) => {
            items.iter().map(handler_form).collect()
        }
        value => sorted(value),
    };
    form["later"] =
        keys.into_iter().map(|key| (key.clone(), value(key))).collect::<Map<_, _>>().into();
}

fn task_form(task: &Task, tasks: &[Task]) -> Value {
    let mut upstream: Vec<&str> =
        task.upstream.iter().map(|edge| tasks[edge.task.at()].name.as_str()).collect();
    upstream.sort_unstable();
    let reads: Vec<Vec<&str>> = task.reads.iter().map(read_form).collect();
    let mut form = json!({
        "action": action_form(&task.action),
        "bind": sorted(&json!(task.bind)),
        "checks": task.checks,
        "env": sorted(&json!(task.env)),
        "name": task.name.as_str(),
        "pool": task.pool.as_str(),
        "reads": reads,
        "reads_run_tasks": task.reads_run_tasks,
        "retry": task.retry,
        "timeout": task.timeout,
        "trigger_rule": task.trigger_rule,
        "upstream": upstream,
        "when": task.when,
    });
    if let Some(Cache { max_age, key }) = &task.cache {
        form["cache"] = json!([max_age, key]);
    }
    if !task.outputs.is_empty() {
        form["outputs"] = sorted(&json!(task.outputs));
    }
    if let Some(group) = task.group {
        form["group"] = json!([tasks[group.at()].name.as_str(), task.is_finally]);
    }
    if let Some(mapping) = &task.mapping {
        let Mapping { list, tolerate, .. } = mapping;
        form["for_each"] = json!([list, mapping.at_once(), tolerance_form(tolerate)]);
    }
    put_later(&task.later, &mut form);
    form
}

fn tolerance_form(tolerate: &Tolerance) -> Value {
    match tolerate {
        Tolerance::Nothing => json!(null),
        Tolerance::Items(count) => json!(count),
        Tolerance::Percent(share) => json!({"percent": share}),
    }
}

fn read_form(read: &Read) -> Vec<&str> {
    let mut form = vec![read.alias.as_str(), read.table.as_str()];
    if read.format != FileFormat::default() {
        form.push(read.format.label());
    }
    form
}

fn action_form(action: &Action) -> Value {
    let settings = |kind: &str, config: &Template| json!([action.key(), kind, config]);
    match action {
        Action::Ingest { connector, config } | Action::Load { connector, config } => {
            settings(connector, config)
        }
        Action::Transform { kind, config, outputs } => {
            json!([action.key(), kind, config, outputs])
        }
        Action::Run(Command::Argv(words)) => json!(["run", words]),
        Action::Run(Command::Shell { script, variables }) => json!(["run", script, variables]),
        Action::Noop => json!(["noop"]),
        Action::Group(Group { table, outputs }) => {
            let table = table.as_ref().map(|(_, name)| name);
            json!(["tasks", table, sorted(&json!(outputs))])
        }
        Action::Wait(Wait::For(span)) => json!(["wait", "for", span]),
        Action::Wait(Wait::Until(instant)) => json!(["wait", "until", instant]),
        Action::Approve(Approve { message, params }) => {
            json!(["approve", message, sorted(&json!(params))])
        }
        Action::Call(Call { dag, params, table }) => json!(["call", dag.as_str(), params, table]),
    }
}

/// The same value with the keys of all mappings sorted.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&fields[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
