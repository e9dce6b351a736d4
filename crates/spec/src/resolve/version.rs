//! The version of a DAG: the hash of its canonical form.
//!
//! The canonical form is the DAG as meant: defaults applied, names resolved, keys sorted, the file's
//! place left out. So the version stays when the text is laid out anew, and changes when the
//! meaning does. Settings of connectors and transforms keep their order of keys, because for some
//! of them it means something (the columns of a table, for example).

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tidemill_model::dag::{
    Action, Approve, Cache, Call, Command, DagHead, Group, Mapping, Read, Resources, Task,
    Tolerance, Wait,
};
use tidemill_model::outputs::FileFormat;
use tidemill_model::template::Template;
use tidemill_model::{Timestamp, Version};

use crate::read::handlers;

/// The version of a DAG with this head and these tasks.
pub(crate) fn of(head: &DagHead, schedule: Option<&str>, tasks: &[Task]) -> Version {
    let vars = head.vars.iter().map(|(name, template)| json!([name, template])).collect();
    let form = Canonical {
        dag: head.id.as_str(),
        description: head.description.as_deref(),
        language: 1,
        owner: head.owner.as_deref(),
        params: sorted(&json!(head.params)),
        schedule,
        start: head.start,
        tags: &head.tags,
        tasks: Tasks(tasks),
        timezone: head.timezone.name(),
        vars,
        later: later_form(&head.forms),
    };
    let mut text = Vec::new();
    // Writing to a vector cannot fail, and no key in here is anything but a text.
    let _ = serde_json::to_writer(&mut text, &form);
    Version::of(&text)
}

#[derive(Serialize)]
struct Canonical<'d> {
    dag: &'d str,
    description: Option<&'d str>,
    /// Changes when the language gives an old text a new meaning.
    language: u32,
    owner: Option<&'d str>,
    params: Value,
    schedule: Option<&'d str>,
    start: Option<Timestamp>,
    tags: &'d [String],
    tasks: Tasks<'d>,
    timezone: &'d str,
    // What came later is left out where it is not used, so that versions stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vars: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    later: Option<Value>,
}

/// The forms of tasks, made one by one: those of all at once would take kilobytes for each.
struct Tasks<'d>(&'d [Task]);

impl Serialize for Tasks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|task| task_form(task, self.0)))
    }
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

/// Keys that are kept in their canonical form, where there are any. (They stood for what comes later
/// once; the word stays, so that versions do.)
fn later_form(later: &Map<String, Value>) -> Option<Value> {
    let mut keys: Vec<&String> = later.keys().collect();
    keys.sort_unstable();
    let value = |key: &str| match &later[key] {
        Value::Array(items) if handlers::KEYS.contains(&key) => {
            items.iter().map(handler_form).collect()
        }
        value => sorted(value),
    };
    let form: Map<_, _> = keys.into_iter().map(|key| (key.clone(), value(key))).collect();
    (!form.is_empty()).then(|| form.into())
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
    if let Some(workdir) = &task.workdir {
        form["workdir"] = json!(workdir);
    }
    if task.resources != Resources::default() {
        form["resources"] = json!(task.resources);
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
    if let Some(later) = later_form(&task.forms) {
        form["later"] = later;
    }
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
