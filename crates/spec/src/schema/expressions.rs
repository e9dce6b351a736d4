//! Settings in which expressions stand: `"${{ … }}"` for any value but the settings as a whole.
//!
//! Done last, to schemas that have the form of which editors make most: so values are offered and
//! explained as before.

use serde_json::{Map, Value, json};
use tidemill_model::words::counted;

/// An expression, alone or amid text.
const EXPRESSION: &str = r"\$\{\{";

/// Lets expressions stand for what is inside of a value that this schema allows, and for the value
/// itself if it `may_be_one`.
pub(super) fn admit(schema: &mut Value, may_be_one: bool) {
    let Some(fields) = schema.as_object_mut() else { return };
    for (key, below) in fields.iter_mut() {
        match (key.as_str(), below) {
            ("properties", Value::Object(properties)) => {
                // What tells alternatives apart is written out.
                let others = properties.values_mut().filter(|one| one.get("const").is_none());
                others.for_each(|one| admit(one, true));
            }
            ("additionalProperties" | "items", below) => admit(below, true),
            ("anyOf" | "oneOf" | "allOf", Value::Array(parts)) => {
                for part in parts {
                    admit(part, false);
                }
            }
            _ => {}
        }
    }
    if may_be_one && !fields.contains_key("$ref") {
        or_expression(fields);
    }
}

/// Lets an expression stand for the value.
fn or_expression(schema: &mut Map<String, Value>) {
    // With `oneOf`, a value that fits several alternatives would fit none.
    if let Some(alternatives) = schema.remove("oneOf") {
        schema.insert("anyOf".to_owned(), alternatives);
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        // What is referred to says by itself that an expression may stand for it.
        if !alternatives.iter().any(|one| one.get("$ref").is_some() || is_any_text(one)) {
            let said = alternatives.iter().find_map(|one| one.get("errorMessage")).cloned();
            alternatives.push(expression(said));
        }
    } else if schema.contains_key("enum") {
        // It has no description of its own, so that the one around it is shown.
        let mut choice = Map::new();
        for key in ["type", "enum", "markdownEnumDescriptions", "errorMessage"] {
            choice.extend(schema.remove(key).map(|value| (key.to_owned(), value)));
        }
        let said = choice.get("errorMessage").cloned();
        schema.insert("anyOf".to_owned(), json!([choice, expression(said)]));
    } else if let Some(types) = schema.get("type").map(types_of) {
        if types.iter().any(|kind| kind == "string") {
            text_or_expression(schema);
        } else {
            value_or_expression(schema, types);
        }
    }
}

/// Any text that holds an expression. What is said where neither it nor another value stands is the
/// same for both; their descriptions differ, or an editor would show them twice.
fn expression(said: Option<Value>) -> Value {
    let mut schema = json!({"type": "string", "pattern": EXPRESSION,
        "description": "An expression: `${{ … }}`."});
    if let Some(said) = said {
        schema["errorMessage"] = said;
    }
    schema
}

fn types_of(types: &Value) -> Vec<String> {
    match types {
        Value::Array(types) => types.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        one => one.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// Whether a schema allows every text.
fn is_any_text(schema: &Value) -> bool {
    let restricts = |key: &&str| schema.get(*key).is_some();
    types_of(&schema["type"]).iter().any(|kind| kind == "string")
        && !["enum", "pattern", "maxLength"].iter().any(restricts)
}

/// A text of a certain form, or one that holds an expression.
fn text_or_expression(schema: &mut Map<String, Value>) {
    let (form, wanted) = match (schema.get("pattern"), schema.get("maxLength")) {
        (Some(Value::String(pattern)), None) => {
            (pattern.clone(), format!("a text of the form `{pattern}`"))
        }
        (None, Some(most)) => {
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            let most = most.as_u64().unwrap_or_default();
            let wanted = format!("at most {}", counted(most, "character"));
            (format!(r"^[\s\S]{{{least},{most}}}$"), wanted)
        }
        _ => return,
    };
    schema.remove("maxLength");
    schema.insert("pattern".to_owned(), json!(format!("{form}|{EXPRESSION}")));
    say_pattern(schema, "patternErrorMessage", &wanted);
}

/// A value of other types, or a text that holds an expression.
fn value_or_expression(schema: &mut Map<String, Value>, mut types: Vec<String>) {
    let wanted = match types.first().map_or("", String::as_str) {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a mapping",
        _ => return,
    };
    // Of what is in a list or a mapping, other things are said.
    let holds = matches!(types[0].as_str(), "array" | "object");
    types.push("string".to_owned());
    schema.insert("type".to_owned(), json!(types));
    schema.insert("pattern".to_owned(), json!(EXPRESSION));
    say_pattern(schema, if holds { "patternErrorMessage" } else { "errorMessage" }, wanted);
}

fn say_pattern(schema: &mut Map<String, Value>, key: &str, wanted: &str) {
    let message = format!("Expected {wanted}, or an expression: `${{{{ … }}}}`.");
    schema.entry(key).or_insert_with(|| json!(message));
}
