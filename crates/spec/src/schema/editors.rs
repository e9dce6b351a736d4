//! The schema in the form of which editors make most.
//!
//! The schemas of settings come from Rust types, and say what is right and wrong. An editor that
//! asks the YAML language server needs them to be said in certain ways: it offers values of an
//! `enum` and not of a `oneOf`, shows the description of the branch that it chose, and takes the
//! regular expression for the message unless it is given a better one. Nothing here changes what a
//! schema allows.

use serde_json::{Map, Value, json};

/// Keys below which there are values, not schemas.
const DATA: &[&str] = &["default", "const", "enum", "examples", "required", "x-values"];
/// Keys below which there are schemas by name.
const BY_NAME: &[&str] = &["properties", "patternProperties", "$defs", "dependentSchemas"];
/// The types of JSON.
const TYPES: [&str; 6] = ["string", "number", "boolean", "array", "object", "null"];

/// Puts a whole schema into that form.
pub(super) fn adapt(schema: &mut Value) {
    for pass in [
        exactly_one_alternative,
        choices,
        alternatives_of_types,
        no_null_defaults,
        types_of_columns,
        any_type,
        examples,
        paragraphs,
    ] {
        walk(schema, &pass);
    }
}

fn walk(schema: &mut Value, pass: &impl Fn(&mut Map<String, Value>)) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, pass)),
        Value::Object(fields) => {
            pass(fields);
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Object(named) if BY_NAME.contains(&key.as_str()) => {
                        named.values_mut().for_each(|schema| walk(schema, pass));
                    }
                    _ if !DATA.contains(&key.as_str()) => walk(value, pass),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Exactly one of these properties: said so that each that is too much is told by itself.
pub(super) fn only_one(schema: &mut Map<String, Value>, names: &[String], message: &str) {
    let without = |name: &String| {
        let others = names.iter().filter(|other| *other != name);
        let others: Map<String, Value> = others.map(|o| (o.clone(), json!(false))).collect();
        (name.clone(), json!({"properties": others, "errorMessage": message}))
    };
    schema.insert("dependentSchemas".to_owned(), names.iter().map(without).collect());
    for key in ["oneOf", "maxProperties"] {
        schema.remove(key);
    }
}

/// Names as a sentence has them.
pub(super) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Alternatives that are told apart by their one property become one mapping.
fn exactly_one_alternative(schema: &mut Map<String, Value>) {
    let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let inner = alternatives.iter().map(|alternative| {
        let properties = alternative.get("properties")?.as_object()?;
        let (name, inner) = properties.iter().next().filter(|_| properties.len() == 1)?;
        (alternative.get("required")? == &json!([name])).then(|| {
            let mut inner = inner.clone();
            if let Some(about) = alternative.get("description") {
                inner["description"] = about.clone();
            }
            (name.clone(), inner)
        })
    });
    let Some(properties) = inner.collect::<Option<Map<String, Value>>>() else { return };
    let names: Vec<String> = properties.keys().cloned().collect();
    only_one(schema, &names, &format!("Exactly one of {}.", listed(&names)));
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema.insert("minProperties".to_owned(), json!(1));
}

/// Constants with descriptions become an `enum` with descriptions.
fn choices(schema: &mut Map<String, Value>) {
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let values: Option<Vec<Value>> = choices.iter().map(|one| one.get("const").cloned()).collect();
    let Some(values) = values else { return };
    let about = |one: &Value| one["description"].as_str().unwrap_or_default().replace('\n', " ");
    let abouts: Vec<String> = choices.iter().map(about).collect();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(values));
    schema.insert("markdownEnumDescriptions".to_owned(), json!(abouts));
}

/// Alternatives of different plain types are one schema with several types.
fn alternatives_of_types(schema: &mut Map<String, Value>) {
    let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) else { return };
    let mut types: Vec<&str> = Vec::new();
    let mut joined = Map::new();
    for alternative in alternatives {
        let Some(fields) = alternative.as_object() else { return };
        let Some(kind) = fields.get("type").and_then(Value::as_str) else { return };
        if types.contains(&kind) {
            return;
        }
        types.push(kind);
        for (key, value) in fields.iter().filter(|(key, _)| *key != "type") {
            let own = ["$ref", "enum", "const", "properties", "pattern"].contains(&key.as_str());
            let twice = key == "examples" && schema.contains_key("examples");
            let clashes = key != "description" && joined.contains_key(key);
            if own || twice || clashes {
                return;
            }
            if key != "description" {
                joined.insert(key.clone(), value.clone());
            }
        }
    }
    types.sort_by_key(|kind| *kind != "string");
    let types = json!(types);
    schema.remove("anyOf");
    schema.extend(joined);
    schema.insert("type".to_owned(), types);
}

/// A default of nothing would be written into the file.
fn no_null_defaults(schema: &mut Map<String, Value>) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// The types of columns are offered, and decimals, which take two numbers, shown.
fn types_of_columns(schema: &mut Map<String, Value>) {
    const DECIMAL: &str = "decimal(10,2)";
    let Some(Value::Object(mut values)) = schema.remove("x-values") else { return };
    let about = schema.get("description").cloned().unwrap_or_default();
    let message = format!("Not a type. {}", about.as_str().unwrap_or_default());
    let of_decimal = values.remove(DECIMAL);
    for key in ["type", "pattern"] {
        schema.remove(key);
    }
    let names: Vec<&String> = values.keys().collect();
    let abouts: Vec<&Value> = values.values().collect();
    schema.insert(
        "anyOf".to_owned(),
        json!([
            {"type": "string", "enum": names, "markdownEnumDescriptions": abouts,
                "description": about, "errorMessage": message},
            {"type": "string", "pattern": r"^decimal\( *[0-9]{1,2} *, *[0-9]{1,2} *\)$",
                "examples": [DECIMAL], "description": of_decimal, "errorMessage": message},
        ]),
    );
}

/// A key whose value may be anything is completed with its colon only if that is said.
fn any_type(schema: &mut Map<String, Value>) {
    let says = [
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "if",
        "properties",
        "required",
    ];
    let is_described = schema.get("description").is_some_and(Value::is_string);
    if is_described && !says.iter().any(|key| schema.contains_key(*key)) {
        schema.insert("type".to_owned(), json!(TYPES));
    }
}

/// Examples that are no plain values would be offered as `[object Object]`: they are shown.
fn examples(schema: &mut Map<String, Value>) {
    let Some(Value::Array(given)) = schema.get("examples") else { return };
    if !given.iter().any(|example| example.is_object() || example.is_array()) {
        return;
    }
    let blocks: Vec<String> =
        given.iter().map(|example| format!("```yaml\n{example}\n```")).collect();
    schema.remove("examples");
    if let Some(about) = schema.get("description").and_then(Value::as_str) {
        let about = format!("{}\n\n{}", joined(about), blocks.join("\n\n"));
        schema.insert("markdownDescription".to_owned(), json!(about));
    }
}

/// Descriptions are Markdown, one line for each paragraph.
fn paragraphs(schema: &mut Map<String, Value>) {
    let Some(about) = schema.get("description").and_then(Value::as_str) else { return };
    let about = joined(about);
    schema.entry("markdownDescription").or_insert_with(|| json!(about));
    schema.insert("description".to_owned(), json!(about));
}

/// A text whose lines are joined, unless the next begins a paragraph or an item of a list.
fn joined(text: &str) -> String {
    let mut joined = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        joined.push_str(line);
        let Some(next) = lines.peek() else { break };
        let goes_on = !line.is_empty() && !next.is_empty() && !next.starts_with(['-', '*']);
        joined.push(if goes_on { ' ' } else { '\n' });
    }
    joined
}
