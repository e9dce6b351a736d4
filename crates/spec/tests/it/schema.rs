//! The JSON Schema for editors.

use serde_json::Value;
use tidemill_spec::json_schema;

use crate::support::catalog;

/// Every mapping of a value, with the path to it.
fn walk<'v>(value: &'v Value, path: &str, visit: &mut impl FnMut(&str, &'v Value)) {
    visit(path, value);
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), visit));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| walk(item, &format!("{path}/{i}"), visit));
        }
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let schema = json_schema(catalog());
    let mut references = 0;
    walk(&schema, "", &mut |path, value| {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let found = target.strip_prefix('#').and_then(|target| schema.pointer(target));
            assert!(found.is_some(), "{path}: {target}");
        }
    });
    assert!(references > 30, "{references}");
}

#[test]
fn every_key_says_what_it_is_for() {
    let schema = json_schema(catalog());
    for part in
        ["", "/$defs/task", "/$defs/retry", "/$defs/param", "/$defs/check", "/$defs/defaults"]
    {
        let part = schema.pointer(part).expect("the part");
        assert_eq!(part["additionalProperties"], false);
        for (key, value) in part["properties"].as_object().expect("keys") {
            let doc = value["description"].as_str().unwrap_or_default();
            assert!(doc.len() > 10 && doc.ends_with('.'), "{key}: {doc}");
        }
    }
}

#[test]
fn connectors_and_transforms_are_in_it() {
    let schema = json_schema(catalog());
    let keys = |pointer: &str| -> Vec<&str> {
        let object = schema.pointer(pointer).and_then(Value::as_object).expect("an object");
        object.keys().map(String::as_str).collect()
    };
    assert_eq!(keys("/$defs/ingest/properties"), ["csv", "http"]);
    assert_eq!(keys("/$defs/load/properties"), ["csv", "outbox", "profiles"]);
    assert_eq!(keys("/$defs/transform/properties"), ["sql", "clean", "render", "recommend"]);
    // A number may be an expression, and keeps its bounds and its default.
    let pages = &schema["$defs"]["source.http"]["properties"]["max_pages"];
    assert_eq!(pages["default"], 10_000);
    assert_eq!(pages["minimum"], 1);
    assert_eq!(pages["type"], serde_json::json!(["integer", "string"]));
    // Two connectors may use the same name for different things.
    assert!(schema["$defs"]["source.http.Pagination"].is_object());
}
