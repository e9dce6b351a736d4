//! The JSON Schema for editors.

use serde_json::{Value, json};
use tidemill_spec::json_schema;

use crate::support::{catalog, load};
use crate::validate::is_valid;

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

/// The action of a task with a setting at a path.
fn with(action: &Value, path: &[&str], value: Value) -> Value {
    let mut action = action.clone();
    *path.iter().fold(&mut action, |below, key| &mut below[*key]) = value;
    action
}

/// An expression stands for any setting, in the reader and in the schema, and nothing else is let
/// through because of it.
#[test]
fn a_setting_may_be_an_expression() {
    let schema = json_schema(catalog());
    let agreed = |action: &Value| {
        let file = json!({"params": {"p": {"type": "json", "default": 1}}, "tasks": {
            "a": {"transform": {"sql": "select 1 as x"}}, "b": action}});
        let (read, valid) =
            (load(&file.to_string()).dag.is_some(), is_valid(&schema, &schema, &file));
        assert_eq!(read, valid, "{action}");
        read
    };
    let csv = json!({"ingest": {"csv": {"path": "a", "columns": {"a": "date"}, "nulls": ["x"]}}});
    let http = json!({"ingest": {"http": {"url": "a", "query": {"a": 1},
        "pagination": {"page": {"param": "p"}}}}});
    let clean = json!({"transform": {"clean": {"from": "a",
        "reject": [{"reason": "x", "where": "x > 1"}]}}});
    let recommend = json!({"transform": {"recommend": {"from": "a",
        "engine": {"type": "fast", "size": 1}}}});
    let all: [(&Value, &[&[&str]]); 4] = [
        (
            &csv,
            &[
                &["ingest", "csv", "path"],
                &["ingest", "csv", "delimiter"],
                &["ingest", "csv", "quote"],
                &["ingest", "csv", "header"],
                &["ingest", "csv", "names"],
                &["ingest", "csv", "nulls"],
                &["ingest", "csv", "columns"],
                &["ingest", "csv", "columns", "a"],
                &["ingest", "csv", "rename"],
                &["ingest", "csv", "on_bad_row"],
            ],
        ),
        (
            &http,
            &[
                &["ingest", "http", "method"],
                &["ingest", "http", "headers"],
                &["ingest", "http", "query"],
                &["ingest", "http", "query", "a"],
                &["ingest", "http", "pagination"],
                &["ingest", "http", "pagination", "page"],
                &["ingest", "http", "pagination", "page", "start"],
                &["ingest", "http", "pagination", "page", "size"],
                &["ingest", "http", "max_pages"],
                &["ingest", "http", "timeout"],
            ],
        ),
        (&clean, &[&["transform", "clean", "dedupe"], &["transform", "clean", "reject"]]),
        (
            &recommend,
            &[
                &["transform", "recommend", "top"],
                &["transform", "recommend", "engine"],
                &["transform", "recommend", "engine", "size"],
            ],
        ),
    ];
    for (action, paths) in all {
        assert!(agreed(action), "{action}");
        for path in paths {
            for text in ["${{ params.p }}", "x-${{ params.p }}"] {
                assert!(agreed(&with(action, path, json!(text))), "{path:?}: {text}");
            }
        }
    }
    for (path, value) in [
        (["ingest", "csv", "delimiter"], json!("long")),
        (["ingest", "csv", "header"], json!("yes")),
        (["ingest", "csv", "names"], json!("a")),
        (["ingest", "csv", "columns"], json!("a")),
        (["ingest", "csv", "columns"], json!({"a": "text"})),
        (["ingest", "csv", "on_bad_row"], json!("skip")),
        (["ingest", "csv", "rename"], json!("camel")),
    ] {
        assert!(!agreed(&with(&csv, &path, value.clone())), "{path:?}: {value}");
    }
}

/// No file that the reader takes is marked by an editor.
#[test]
fn what_gives_a_dag_is_valid() {
    let schema = json_schema(catalog());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cases");
    let mut files = 0;
    for path in std::fs::read_dir(folder).expect("the cases").map(|entry| entry.unwrap().path()) {
        let Ok(cases) = std::fs::read_to_string(&path) else { continue };
        for case in cases.split("=== ").skip(1) {
            let (name, rest) = case.split_once('\n').expect("a name");
            let text = rest.split(">>>\n").next().and_then(|text| text.split("+++").next());
            let yaml = text.unwrap_or_default();
            let Ok(value) = serde_yaml::from_str::<Value>(yaml) else { continue };
            if load(yaml).dag.is_some() {
                files += 1;
                assert!(is_valid(&schema, &schema, &value), "{}: {name}", path.display());
            }
        }
    }
    assert!(files > 50, "{files}");
}
