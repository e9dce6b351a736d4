//! The JSON Schema of a DAG file, for editors: made of the keys of the language and the schemas of
//! this installation's connectors and transforms.

use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::keys::{self, Key};

/// The JSON Schema (draft 2020-12) of a DAG file.
pub fn json_schema(catalog: &Catalog) -> Value {
    let mut definitions = Map::new();
    let mut put = |name: &str, schema: Value| {
        definitions.insert(name.to_owned(), schema);
    };
    put("task", task());
    put("defaults", mapping(keys::DEFAULTS));
    put("retry", mapping(keys::RETRY));
    put("cache", required(mapping(keys::CACHE), &["for"]));
    put("param", required(mapping(keys::PARAM), &["type"]));
    put("call", required(mapping(keys::CALL), &["dag"]));
    put("wait", one_of(keys::WAIT));
    put("approve", mapping(keys::APPROVE));
    put("check", check());
    put("input", required(mapping(keys::INPUT), &["table"]));
    put("output", required(mapping(keys::OUTPUT), &["type"]));
    for (action, title) in [("ingest", "source"), ("load", "sink")] {
        let mut ends = Map::new();
        for info in &catalog.connectors {
            let (schema, example) = match action {
                "ingest" => (&info.source, &info.source_example),
                _ => (&info.sink, &info.sink_example),
            };
            let Some(schema) = schema else { continue };
            let name = format!("{title}.{}", info.name);
            add_settings(&name, schema, &info.summary, example, &mut definitions);
            ends.insert(info.name.clone(), reference(&name));
        }
        definitions.insert(action.to_owned(), one_of_keys(&ends));
    }
    let mut transforms = Map::new();
    for info in &catalog.transforms {
        let name = format!("transform.{}", info.name);
        add_settings(&name, &info.schema, &info.summary, &info.example, &mut definitions);
        transforms.insert(info.name.clone(), reference(&name));
    }
    definitions.insert("transform".to_owned(), one_of_keys(&transforms));
    let mut root = required(mapping(keys::TOP), &["tasks"]);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Tidemill DAG");
    root["description"] = json!("A DAG of tasks that ingest, transform and load tables.");
    root["patternProperties"] = json!({"^x-": {"description": "Notes and anchors; not read."}});
    root["$defs"] = Value::Object(definitions);
    root
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// A mapping with these keys and no others.
fn mapping(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn property(key: &Key) -> Value {
    let mut schema = (key.schema)();
    let doc = if key.later {
        format!("{} This version cannot run it yet.", key.doc)
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

/// A task: the modifiers, and exactly one action. Keys that groups have too are those of both.
fn task() -> Value {
    let mut schema = mapping(keys::MODIFIERS);
    for key in keys::ACTIONS {
        schema["properties"][key.name] = property(key);
    }
    for key in keys::GROUP {
        let own = keys::MODIFIERS.iter().find(|own| own.name == key.name);
        schema["properties"][key.name] = match own {
            Some(own) if own.later => property(key),
            Some(own) if (own.schema)() != (key.schema)() => {
                let doc = format!("{} Of a group: {}", own.doc, key.doc);
                json!({"description": doc, "anyOf": [(own.schema)(), (key.schema)()]})
            }
            Some(own) => property(own),
            None => property(key),
        };
    }
    let one: Vec<Value> = keys::ACTIONS.iter().map(|key| json!({"required": [key.name]})).collect();
    schema["oneOf"] = Value::Array(one);
    schema
}

/// A mapping with exactly one of these keys.
fn one_of(keys: &[Key]) -> Value {
    let mut schema = mapping(keys);
    schema["minProperties"] = json!(1);
    schema["maxProperties"] = json!(1);
    schema
}

fn check() -> Value {
    let mut schema = mapping(keys::CHECK);
    let rules = keys::CHECK.iter().filter(|key| key.name != "on_fail");
    schema["oneOf"] = rules.map(|key| json!({"required": [key.name]})).collect();
    schema
}

/// Exactly one of these keys.
fn one_of_keys(keys: &Map<String, Value>) -> Value {
    json!({"type": "object", "properties": keys, "additionalProperties": false,
        "minProperties": 1, "maxProperties": 1})
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
        into.insert(format!("{name}.{inner_name}"), inner_schema);
    }
    adapt(&mut schema, name);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".to_owned(), json!(summary));
        if let Some(example) = crate::yaml::example(example) {
            fields.insert("examples".to_owned(), json!([example]));
        }
    }
    into.insert(name.to_owned(), schema);
}

/// Points references to the new names, and lets numbers and booleans be expressions.
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
            let scalar = matches!(
                fields.get("type").and_then(Value::as_str),
                Some("integer" | "number" | "boolean")
            );
            if scalar {
                let mut plain = std::mem::take(fields);
                for key in ["description", "default", "title"] {
                    if let Some(value) = plain.remove(key) {
                        fields.insert(key.to_owned(), value);
                    }
                }
                let expression = json!({"type": "string", "pattern": r"^\$\{\{"});
                fields.insert("anyOf".to_owned(), json!([plain, expression]));
            }
        }
        _ => {}
    }
}
