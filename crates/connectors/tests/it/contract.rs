//! What holds for every connector.

use serde_json::{Value, json};
use tidemill_connector::Guarantee;

use crate::support::{all, connector, folder, open, sink_context, source_context, yaml};

#[test]
fn the_catalogue() {
    let names: Vec<&str> = all().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["csv", "jsonl", "parquet", "http", "dataset", "outbox"]);
    let ends: Vec<(bool, bool, Option<&str>)> = all()
        .iter()
        .map(|c| {
            (
                c.source_schema().is_some(),
                c.sink_schema().is_some(),
                c.guarantee().map(Guarantee::label),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            (true, true, Some("atomic publish")),
            (true, true, Some("atomic publish")),
            (true, true, Some("atomic publish")),
            (true, false, None),
            (true, false, None),
            (false, true, Some("idempotent")),
        ]
    );
}

/// Every key of an example is in the schema, and every setting is explained.
#[test]
fn examples_and_explanations() {
    for connector in all() {
        let (source, sink) = connector.examples();
        for (example, schema) in
            [(source, connector.source_schema()), (sink, connector.sink_schema())]
        {
            let Some(schema) = schema else {
                assert_eq!(example, "");
                continue;
            };
            let properties = schema["properties"].as_object().expect("properties");
            for key in yaml(example).as_object().expect("a map").keys() {
                assert!(properties.contains_key(key), "{}: {key}", connector.name());
            }
            for (key, property) in properties {
                let text = property["description"].as_str().unwrap_or_default();
                assert!(text.ends_with('.'), "{}: `{key}` is not explained", connector.name());
            }
            assert_eq!(schema["additionalProperties"], Value::Bool(false));
        }
        assert!(connector.summary().ends_with('.'));
    }
}

/// Examples get past their settings: what stops them is a missing file, connection or column.
#[tokio::test]
async fn examples_parse() {
    let folder = folder(&[]);
    for connector in all() {
        let (source, sink) = connector.examples();
        let mut errors = Vec::new();
        if !source.is_empty() {
            let cx = source_context(folder.path(), None);
            errors.extend(connector.open_source(yaml(source), cx).await.err());
        }
        if !sink.is_empty() {
            let schema = arrow::datatypes::Schema::empty().into();
            let cx = sink_context(folder.path(), schema, "k");
            errors.extend(connector.open_sink(yaml(sink), cx).await.err());
        }
        for error in errors {
            assert!(!error.message.starts_with("the settings of"), "{error}");
        }
    }
}

#[test]
fn formats_tell_what_texts_mean() {
    let check = |name: &str, source: bool, key: &str, expected: &str| {
        let connector = connector(name);
        let schema = if source { connector.source_schema() } else { connector.sink_schema() };
        assert_eq!(schema.expect("that end")["properties"][key]["format"], json!(expected));
    };
    for name in ["csv", "jsonl", "parquet"] {
        check(name, true, "path", "path");
        check(name, false, "path", "path");
    }
    check("outbox", false, "path", "path");
    check("http", true, "timeout", "duration");
    check("http", true, "connection", "connection");
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_refused() {
    let folder = folder(&[("a.csv", "a\n1\n")]);
    for (name, config) in [
        ("csv", "{path: a.csv, delimeter: ;}"),
        ("jsonl", "{path: a.csv, colums: {}}"),
        ("parquet", "{path: a.csv, column: [a]}"),
        ("http", "{url: 'http://127.0.0.1', pages: {}}"),
    ] {
        let error = open(name, folder.path(), config).await.err().expect("an error");
        assert!(error.message.contains("has no setting"), "{error}");
    }
}

#[tokio::test]
async fn an_end_that_does_not_exist_is_refused() {
    let folder = folder(&[]);
    let schema = arrow::datatypes::Schema::empty().into();
    let cx = sink_context(folder.path(), schema, "k");
    let error = connector("http").open_sink(json!({}), cx).await.err().expect("an error");
    assert_eq!(error.message, "`http` cannot be written to");
    let error = open("outbox", folder.path(), "{}").await.err().expect("an error");
    assert_eq!(error.message, "`outbox` cannot be read from");
}
