//! What an editor makes of the JSON Schema: as much of JSON Schema as ours uses.

use regex::Regex;
use serde_json::Value;

/// Whether a value is valid under a schema, whose references lead into `root`.
pub(crate) fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let valid = |schema: &Value, value: &Value| is_valid(root, schema, value);
    let Some(keywords) = schema.as_object() else { return schema != &Value::Bool(false) };
    keywords.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => {
            let target = rule.as_str().and_then(|target| target.strip_prefix('#'));
            valid(root.pointer(target.unwrap()).expect("a target"), value)
        }
        "anyOf" => rule.as_array().unwrap().iter().any(|one| valid(one, value)),
        "allOf" => rule.as_array().unwrap().iter().all(|one| valid(one, value)),
        "if" => match keywords.get(if valid(rule, value) { "then" } else { "else" }) {
            Some(branch) => valid(branch, value),
            None => true,
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "type" => has_type(rule, value),
        "required" => match value.as_object() {
            Some(fields) => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|key| fields.contains_key(key.as_str().unwrap())),
            None => true,
        },
        "properties" => each(rule, value, &valid),
        "dependentSchemas" => rule
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, schema)| value.get(key.as_str()).is_none() || valid(schema, value)),
        "additionalProperties" => {
            let known = |key: &str| {
                keywords.get("properties").is_some_and(|properties| properties.get(key).is_some())
                    || (keywords.contains_key("patternProperties") && key.starts_with("x-"))
            };
            let others = value.as_object().into_iter().flatten().filter(|(key, _)| !known(key));
            others.into_iter().all(|(_, value)| valid(rule, value))
        }
        "propertyNames" => {
            let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
            names.all(|name| valid(rule, &Value::from(name.as_str())))
        }
        "items" => value.as_array().into_iter().flatten().all(|item| valid(rule, item)),
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())
        }
        "minProperties" => {
            value.as_object().is_none_or(|fields| fields.len() as u64 >= rule.as_u64().unwrap())
        }
        "minLength" => {
            value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap())
        }
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap())
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "pattern" => {
            let pattern = Regex::new(rule.as_str().unwrap()).expect("a pattern");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        _ => true,
    })
}

fn each(properties: &Value, value: &Value, valid: &dyn Fn(&Value, &Value) -> bool) -> bool {
    let mut fields = value.as_object().into_iter().flatten();
    fields.all(|(key, value)| properties.get(key).is_none_or(|schema| valid(schema, value)))
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    match rule {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        name => is(name.as_str().unwrap()),
    }
}
