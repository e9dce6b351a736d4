//! The JSON Schema of a DAG file, for editors: made of the keys of the language and the schemas of
//! this installation's connectors and transforms.

mod editors;
mod expressions;

use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::keys::{self, Key, runs};

/// The JSON Schema (draft 2020-12) of a DAG file.
pub fn json_schema(catalog: &Catalog) -> Value {
    let mut definitions = definitions();
    put_editors_own(&mut definitions);
    for (action, title) in [("ingest", "source"), ("load", "sink")] {
        let mut ends = Map::new();
        for info in catalog.connectors.iter() {
            let (schema, example) = match action {
                "ingest" => (&info.source, &info.source_example),
                _ => (&info.sink, &info.sink_example),
            };
            let Some(schema) = schema else { continue };
            let name = format!("{title}.{}", info.name);
            add_settings(&name, schema, &info.summary, example, &mut definitions);
            ends.insert(info.name.clone(), reference(&name));
        }
        let message = format!("`{action}` has exactly one connector.");
        definitions.insert(action.to_owned(), one_of(&message, closed(ends)));
    }
    let mut transforms = Map::new();
    for info in catalog.transforms.iter() {
        let name = format!("transform.{}", info.name);
        add_settings(&name, &info.schema, &info.summary, &info.example, &mut definitions);
        transforms.insert(info.name.clone(), reference(&name));
    }
    let message = "`transform` has exactly one transform.";
    definitions.insert("transform".to_owned(), one_of(message, closed(transforms)));
    let mut root = required(mapping(keys::TOP), &["tasks"]);
    root["$schema"] = json!(DRAFT);
    root["title"] = json!("Tidemill DAG");
    root["description"] = json!("A DAG of tasks that ingest, transform and load tables.");
    root["patternProperties"] = json!({"^x-": {"description": "Notes and anchors; not read."}});
    root["$defs"] = Value::Object(definitions);
    editors::adapt(&mut root);
    for (name, definition) in root["$defs"].as_object_mut().into_iter().flatten() {
        if let Some((_, of)) = name.split_once('.') {
            // Settings as a whole are a mapping; what is in them may be an expression.
            expressions::admit(definition, of.contains('.'));
        }
    }
    root
}

/// The mappings of the language by the names that references have, each with its keys, and those
/// of them that must be there.
///
/// This much is held against what a file says; what is exclusive is told by those who read it.
pub(crate) fn definitions() -> Map<String, Value> {
    let all: [(&str, &[Key], &[&str]); 24] = [
        ("defaults", keys::DEFAULTS, &[]),
        ("retry", keys::RETRY, &[]),
        ("cache", keys::CACHE, &["for"]),
        ("resources", keys::RESOURCES, &[]),
        ("param", keys::PARAM, &["type"]),
        ("call", keys::CALL, &["dag"]),
        ("wait", keys::WAIT, &[]),
        ("approve", keys::APPROVE, &[]),
        ("input", keys::INPUT, &["table"]),
        ("output", keys::OUTPUT, &["type"]),
        ("trigger", runs::TRIGGER, &[]),
        ("trigger_dataset", runs::TRIGGER_DATASET, &[]),
        ("trigger_file", runs::TRIGGER_FILE, &["path"]),
        ("trigger_dag", runs::TRIGGER_DAG, &["name"]),
        ("trigger_webhook", runs::TRIGGER_WEBHOOK, &["source"]),
        ("trigger_stream", runs::TRIGGER_STREAM, &["kafka"]),
        ("stream_kafka", runs::STREAM_KAFKA, &["connection", "topic"]),
        ("batch", runs::BATCH, &[]),
        ("blackout", runs::BLACKOUT, &["from", "to"]),
        ("concurrency", runs::CONCURRENCY, &[]),
        ("deadline", runs::DEADLINE, &["within"]),
        ("auto_pause", runs::AUTO_PAUSE, &["after_failures"]),
        ("rate", runs::RATE, &["limit", "per"]),
        ("engine", runs::ENGINE, &["connection"]),
    ];
    let definition = |(name, keys, must): (&str, &[Key], &[&str])| {
        let schema = mapping(keys);
        let schema = if must.is_empty() { schema } else { required(schema, must) };
        (name.to_owned(), schema)
    };
    all.into_iter().map(definition).collect()
}

/// What is exclusive, said in the way that editors understand; and the mappings that only they are
/// told of in this way.
fn put_editors_own(definitions: &mut Map<String, Value>) {
    let mut edit = |name: &str, edit: &dyn Fn(Value) -> Value| {
        if let Some(schema) = definitions.get_mut(name) {
            *schema = edit(schema.take());
        }
    };
    let param = "A param: its type, and what else there is to say.";
    edit("param", &|schema| described(schema, param));
    edit("wait", &|schema| one_of("`wait` has exactly one key.", schema));
    edit("trigger", &|mut schema| {
        let kinds = runs::TRIGGER[..runs::TRIGGER_KINDS].iter();
        let kinds: Vec<String> = kinds.map(|key| key.name.to_owned()).collect();
        exactly_one(&mut schema, &kinds, ("A trigger", "kind"));
        described(schema, "A trigger: its kind, and what else there is to say.")
    });
    edit("trigger_dataset", &|mut schema| {
        let ways = ["any".to_owned(), "all".to_owned()];
        exactly_one(&mut schema, &ways, ("`dataset`", "way to name tables"));
        schema
    });
    definitions.insert("task".to_owned(), task());
    definitions.insert("handler".to_owned(), handler());
    definitions.insert("check".to_owned(), check());
}

/// What is done after a task or a run: a message, or an action with its modifiers.
fn handler() -> Value {
    let properties = runs::handler_keys().map(|key| (key.name.to_owned(), property(key)));
    let mut schema = closed(properties.collect());
    let actions = runs::handler_actions().map(|key| key.name.to_owned());
    let actions: Vec<String> = std::iter::once("notify".to_owned()).chain(actions).collect();
    exactly_one(&mut schema, &actions, ("A handler", "action"));
    let of_message = |key: &Key| runs::HANDLER.iter().any(|own| own.name == key.name);
    let others = runs::handler_keys().filter(|key| !of_message(key));
    let others: Map<String, Value> =
        others.map(|key| (key.name.to_owned(), json!(false))).collect();
    schema["dependentSchemas"]["notify"] =
        json!({"properties": others, "errorMessage": "A message takes `when` alone."});
    described(schema, "What is done: a message, or an action with its modifiers.")
}

/// What is said of a key that this version cannot run.
const LATER: &str = "This version cannot run it yet.";

/// The JSON Schema (draft 2020-12) of a file of tests.
pub fn tests_schema() -> Value {
    let both = |one: &[Key], other: &[Key]| {
        let mut schema = mapping(one);
        for key in other {
            schema["properties"][key.name] = property(key);
        }
        schema
    };
    let mut root = required(mapping(keys::test_file::TESTS), &["tests"]);
    root["$schema"] = json!(DRAFT);
    root["title"] = json!("Tests of a Tidemill DAG");
    root["description"] = json!("Runs of the DAG beside the file, and what is expected of them.");
    root["patternProperties"] = json!({"^x-": {"description": "Notes and anchors; not read."}});
    root["$defs"] = json!({
        "test": described(required(mapping(keys::test_file::TEST), &["expect"]), "A test."),
        "stub": both(keys::test_file::STUB, keys::test_file::ROWS),
        "rows": mapping(keys::test_file::ROWS),
        "answer": mapping(keys::test_file::ANSWER),
        "expect": not_empty(mapping(keys::test_file::EXPECT)),
        "expected_table": both(keys::test_file::EXPECTED_TABLE, keys::test_file::ROWS),
    });
    editors::adapt(&mut root);
    root
}

/// The kind of schema.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// A mapping with these keys and no others.
pub(crate) fn mapping(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    closed(properties)
}

fn closed(properties: Map<String, Value>) -> Value {
    let properties = Value::Object(properties);
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn not_empty(mut schema: Value) -> Value {
    schema["minProperties"] = json!(1);
    schema
}

fn described(mut schema: Value, about: &str) -> Value {
    schema["description"] = json!(about);
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = (key.schema)();
    let doc = if key.later {
        // An editor marks such a key, and does not offer it; beside a reference it would not see
        // the mark.
        if let Some(reference) = schema.get("$ref").cloned() {
            let fields = schema.as_object_mut();
            fields.and_then(|fields| fields.remove("$ref"));
            schema["allOf"] = json!([{"$ref": reference}]);
        }
        schema["deprecationMessage"] = json!(LATER);
        format!("{} {LATER}", key.doc)
    } else {
        key.doc.to_owned()
    };
    schema["description"] = Value::String(doc);
    schema
}

fn required(mut schema: Value, names: &[&str]) -> Value {
    schema["required"] = json!(names);
    schema
}

/// A task: the modifiers, and exactly one action. Keys that groups have too are those of both,
/// unless they are another thing for each.
fn task() -> Value {
    let mut schema = mapping(keys::MODIFIERS);
    for key in keys::ACTIONS {
        schema["properties"][key.name] = property(key);
    }
    for key in keys::GROUP {
        let own = keys::MODIFIERS.iter().find(|own| own.name == key.name);
        schema["properties"][key.name] = match own {
            Some(own) if own.later || (own.schema)() != (key.schema)() => {
                schema["if"] = json!({"required": ["tasks"]});
                schema["then"]["properties"][key.name] = property(key);
                schema["else"]["properties"][key.name] = property(own);
                json!({"description": format!("{} Of a group: {}", own.doc, key.doc)})
            }
            Some(own) => property(own),
            None => property(key),
        };
    }
    let actions = keys::ACTIONS.iter().map(|key| key.name.to_owned()).collect::<Vec<_>>();
    exactly_one(&mut schema, &actions, ("A task", "action"));
    described(schema, "A task: one action, and modifiers.")
}

/// A mapping of which exactly one property must be there, and no other may.
fn one_of(message: &str, mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let names = fields["properties"].as_object().into_iter().flatten();
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        editors::only_one(fields, &names, message);
        fields.insert("minProperties".to_owned(), json!(1));
    }
    schema
}

/// Exactly one of these, among other properties.
fn exactly_one(schema: &mut Value, names: &[String], (owner, what): (&str, &str)) {
    let message = format!("{owner} needs a {what}: {}.", editors::listed(names))
        .replace("a action", "an action");
    let needs = |name: &String| json!({"required": [name], "errorMessage": message});
    schema["anyOf"] = names.iter().map(needs).collect();
    if let Some(fields) = schema.as_object_mut() {
        editors::only_one(fields, names, &format!("{owner} has exactly one {what}."));
    }
}

fn check() -> Value {
    let mut schema = mapping(keys::CHECK);
    let rules = keys::CHECK.iter().filter(|key| key.name != "on_fail");
    let rules: Vec<String> = rules.map(|key| key.name.to_owned()).collect();
    exactly_one(&mut schema, &rules, ("A check", "rule"));
    schema
}

/// Adds the settings of a connector or transform, and what they refer to, under names of their own.
fn add_settings(
    name: &str,
    schema: &Value,
    summary: &str,
    example: &str,
    into: &mut Map<String, Value>,
) {
    let mut schema = schema.clone();
    let inner = schema.as_object_mut().and_then(|fields| fields.remove("$defs"));
    for (inner_name, mut inner_schema) in
        inner.as_ref().and_then(Value::as_object).cloned().unwrap_or_default()
    {
        adapt(&mut inner_schema, name);
        // The name of a type of Rust says nothing to an author.
        inner_schema.as_object_mut().map(|fields| fields.remove("title"));
        into.insert(format!("{name}.{inner_name}"), inner_schema);
    }
    adapt(&mut schema, name);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".to_owned(), json!(title_of(name)));
        fields.insert("description".to_owned(), json!(summary));
        if !example.is_empty() {
            let about = format!("{summary}\n\n```yaml\n{}\n```", example.trim_end());
            fields.insert("markdownDescription".to_owned(), json!(about));
        }
    }
    into.insert(name.to_owned(), schema);
}

/// `source.csv` is the `csv source`.
fn title_of(name: &str) -> String {
    name.split_once('.').map_or_else(|| name.to_owned(), |(end, of)| format!("{of} {end}"))
}

/// Points references to the new names.
fn adapt(schema: &mut Value, name: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| adapt(item, name)),
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(inner) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/$defs/{name}.{inner}");
            }
            for (key, value) in fields.iter_mut() {
                // Values of these keys are data, not schemas.
                if !matches!(key.as_str(), "default" | "const" | "enum" | "examples" | "required") {
                    adapt(value, name);
                }
            }
        }
        _ => {}
    }
}
