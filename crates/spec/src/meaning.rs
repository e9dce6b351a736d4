//! A DAG as it is meant: every key with its value, defaults applied, names resolved; and what
//! changed between two.
//!
//! This is for people and programs to read. What a version is the hash of, is for `resolve` to say.

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidemill_model::Dag;
use tidemill_model::dag::{
    Action, Approve, Cache, Call, Check, CheckRule, Command, Group, Mapping, Resources, Task,
    Tolerance, Wait, written_size,
};
use tidemill_model::expr::Expr;
use tidemill_model::outputs::{FileFormat, Output};
use tidemill_model::retry::RetryPolicy;
use tidemill_model::template::{Piece, Template};
use tidemill_model::time::written_duration;

/// A DAG in the words of the language.
pub fn meaning(dag: &Dag) -> Value {
    let tasks = dag.tasks().iter().map(|task| (task.name.to_string(), task_meaning(dag, task)));
    let vars = dag.vars.iter().map(|(name, var)| (name.to_string(), written(var)));
    let mut form = json!({
        "dag": dag.id.as_str(),
        "description": dag.description,
        "owner": dag.owner,
        "tags": dag.tags,
        "timezone": dag.timezone.name(),
        "start": dag.start.map(|start| start.to_string()),
        "schedule": dag.schedule_words().filter(|_| !dag.forms.contains_key("triggers")),
        "params": dag.params,
        "vars": vars.collect::<Map<_, _>>(),
        "tasks": tasks.collect::<Map<_, _>>(),
    });
    if let Value::Object(fields) = &mut form {
        fields.extend(dag.forms.clone());
    }
    form
}

fn task_meaning(dag: &Dag, task: &Task) -> Value {
    let mut upstream: Vec<&str> =
        task.upstream.iter().map(|edge| dag.task(edge.task).name.as_str()).collect();
    upstream.sort_unstable();
    let mut form = Map::new();
    form.insert(task.action.key().to_owned(), action(&task.action));
    let mut put = |key: &str, value: Value| {
        let is_nothing = match &value {
            Value::Null => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !is_nothing {
            form.insert(key.to_owned(), value);
        }
    };
    put("after", json!(upstream));
    if let Some(mapping) = &task.mapping {
        let Mapping { list, tolerate, .. } = mapping;
        put("for_each", source(list));
        put("max_parallel", json!(mapping.at_once()));
        put(
            "tolerate",
            match tolerate {
                Tolerance::Nothing => Value::Null,
                Tolerance::Items(count) => source(count),
                Tolerance::Percent(share) => json!(format!("{share}%")),
            },
        );
    }
    put("finally", if task.is_finally { json!(true) } else { Value::Null });
    put("from", reads(task));
    put("bind", task.bind.iter().map(|(name, e)| (name.to_string(), source(e))).collect());
    put("when", task.when.as_ref().map_or(Value::Null, source));
    put("trigger_rule", json!(task.trigger_rule));
    put("retry", retry(&task.retry));
    put("timeout", json!(task.timeout.map(written_duration)));
    put("resources", resources(&task.resources));
    put("pool", json!(task.pool));
    put("env", task.env.iter().map(|(name, value)| (name.clone(), written(value))).collect());
    put("checks", task.checks.iter().map(check).collect());
    if let Some(Cache { max_age, key }) = &task.cache {
        put("cache", json!({"for": written_duration(*max_age), "key": key.as_ref().map(source)}));
    }
    put("outputs", task.outputs.iter().map(|(name, o)| (name.to_string(), output(o))).collect());
    for (key, value) in &task.forms {
        put(key, value.clone());
    }
    Value::Object(form)
}

fn resources(resources: &Resources) -> Value {
    let Resources { memory_bytes, cpu_millis, processes, files } = *resources;
    let mut form = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        form.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("memory", memory_bytes.map(|bytes| json!(written_size(bytes))));
    put("cpu", cpu_millis.map(|millis| json!(f64::from(millis) / 1_000.0)));
    put("processes", processes.map(|count| json!(count)));
    put("files", files.map(|count| json!(count)));
    if form.is_empty() { Value::Null } else { form.into() }
}

fn source(expr: &Expr) -> Value {
    Value::from(expr.source().trim())
}

fn action(action: &Action) -> Value {
    match action {
        Action::Ingest { connector, config } | Action::Load { connector, config } => {
            json!({ connector: written(config) })
        }
        Action::Transform { kind, config, .. } => json!({ kind: written(config) }),
        Action::Run(Command::Argv(words)) => words.iter().map(written).collect(),
        Action::Run(Command::Shell { script, variables }) => {
            let variables = variables.iter().map(|(name, expr)| (name.clone(), source(expr)));
            json!({"script": script, "variables": variables.collect::<Map<_, _>>()})
        }
        Action::Noop => json!({}),
        Action::Group(Group { table, outputs }) => {
            let mut form = Map::new();
            if let Some((_, name)) = table {
                form.insert("table".to_owned(), json!(name));
            }
            form.extend(outputs.iter().map(|(name, expr)| (name.to_string(), source(expr))));
            json!({"outputs": form})
        }
        Action::Wait(Wait::For(span)) => json!({"for": written(span)}),
        Action::Wait(Wait::Until(instant)) => json!({"until": written(instant)}),
        Action::Approve(Approve { message, params }) => {
            json!({"message": message.as_ref().map(written), "params": params})
        }
        Action::Call(Call { dag, params, table }) => {
            json!({"dag": dag, "params": written(params), "table": table})
        }
    }
}

fn reads(task: &Task) -> Value {
    let read = |read: &tidemill_model::dag::Read| {
        let value = match read.format {
            FileFormat::Arrow => json!(read.table),
            format => json!({"table": read.table, "format": format}),
        };
        (read.alias.clone(), value)
    };
    task.reads.iter().map(read).collect()
}

/// A policy in the words of the language.
pub(crate) fn retry(retry: &RetryPolicy) -> Value {
    if retry.limit == 0 {
        return json!(0);
    }
    json!({
        "limit": retry.limit,
        "delay": written_duration(retry.delay),
        "factor": retry.factor,
        "max_delay": written_duration(retry.max_delay),
        "jitter": retry.jitter,
    })
}

fn check(check: &Check) -> Value {
    let mut form = match &check.rule {
        CheckRule::NotNull(columns) => json!({"not_null": columns}),
        CheckRule::Unique(columns) => json!({"unique": columns}),
        CheckRule::Rows { min, max } => {
            let bounds = [("min", min), ("max", max)].into_iter();
            let given = bounds.filter_map(|(key, bound)| Some((key.to_owned(), json!((*bound)?))));
            json!({"rows": given.collect::<Map<_, _>>()})
        }
        CheckRule::Where(condition) => json!({"where": condition}),
        CheckRule::Sql(query) => json!({"sql": query}),
    };
    form["on_fail"] = json!(check.on_fail);
    form
}

fn output(output: &Output) -> Value {
    match output {
        Output::Value(kind) => json!(kind.label()),
        Output::Table { format, columns } if columns.is_empty() => {
            json!({"type": "table", "format": format})
        }
        Output::Table { format, columns } => {
            json!({"type": "table", "format": format, "columns": columns})
        }
    }
}

/// A value as it is written in a file.
fn written(template: &Template) -> Value {
    match template {
        Template::Literal(value) => value.clone(),
        Template::Whole(expr) => json!(format!("${{{{ {} }}}}", expr.source().trim())),
        Template::Text(pieces) => {
            let piece = |piece: &Piece| match piece {
                Piece::Plain(text) => text.clone(),
                Piece::Expr(expr) => format!("${{{{ {} }}}}", expr.source().trim()),
            };
            Value::String(pieces.iter().map(piece).collect())
        }
        Template::List(items) => items.iter().map(written).collect(),
        Template::Map(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), written(value))).collect()
        }
    }
}

/// Something that changed between two meanings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: `tasks.score.retry.limit`.
    pub path: String,
    /// What was there; nothing if it is new.
    pub before: Option<Value>,
    /// What is there now; nothing if it is gone.
    pub after: Option<Value>,
}

/// What changed from one meaning to another, in the order of the later one; what is gone comes
/// last. Lists are compared as a whole.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), before, after, &mut found);
    found
}

fn compare<'v>(
    path: &mut Vec<&'v str>,
    before: &'v Value,
    after: &'v Value,
    found: &mut Vec<Change>,
) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let there = |value: &Value| (!value.is_null()).then(|| value.clone());
        found.push(Change { path: path.join("."), before: there(before), after: there(after) });
        return;
    };
    for (key, value) in new {
        path.push(key);
        compare(path, old.get(key).unwrap_or(&Value::Null), value, found);
        path.pop();
    }
    for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        path.push(key);
        compare(path, value, &Value::Null, found);
        path.pop();
    }
}
