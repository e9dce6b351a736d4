//! What holds for every transform and connector.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidemill_connector::conformance::misspelled;
use tidemill_connector::connector::SharedConnector;
use tidemill_connector::transform::SharedTransform;
use tidemill_connector::{Guarantee, SinkContext};
use tidemill_profile::{ProfileStore, StoreOptions, connectors, transforms};
use tidemill_spec::{Catalog, ConnectorInfo, SettingsCheck, SourceText, TransformInfo, load_dag};
use tidemill_store::kv::MemoryKv;

use crate::support::{ENGINE, run, schema, yaml};

fn store() -> Arc<ProfileStore> {
    let kv = Arc::new(MemoryKv::default());
    Arc::new(ProfileStore::open(kv, StoreOptions::default()).unwrap())
}

/// Every key of an example is in the schema, and every setting is explained.
fn check(name: &str, example: &str, schema: &Value) {
    let properties = schema["properties"].as_object().expect("properties");
    for key in yaml(example).as_object().expect("a map").keys() {
        assert!(properties.contains_key(key), "{name}: {key}");
    }
    assert_eq!(schema["additionalProperties"], Value::Bool(false), "{name}");
    explained(name, schema);
}

/// Descriptions end in a full stop, wherever there are properties.
fn explained(name: &str, schema: &Value) {
    if let Some(properties) = schema["properties"].as_object() {
        for (key, property) in properties {
            let text = property["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.'), "{name}: `{key}` is not explained");
        }
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|value| explained(name, value)),
        Value::Array(items) => items.iter().for_each(|value| explained(name, value)),
        _ => {}
    }
}

#[test]
fn examples_and_explanations() {
    let transforms = transforms(ENGINE.clone());
    let names: Vec<&str> = transforms.iter().map(|t| t.name()).collect();
    assert_eq!(names, ["rules", "identity", "recommend", "render"]);
    for transform in &transforms {
        check(transform.name(), transform.example(), &transform.schema());
        assert!(transform.summary().ends_with('.'));
    }
    let connectors = connectors(store());
    let [profiles] = connectors.as_slice() else { panic!("one connector") };
    assert_eq!((profiles.name(), profiles.source_schema()), ("profiles", None));
    check("profiles", profiles.examples().1, &profiles.sink_schema().expect("a sink"));
    assert_eq!(profiles.guarantee().map(Guarantee::label), Some("idempotent"));
}

/// Examples get past their settings: what stops them is a missing table or column.
#[tokio::test]
async fn examples_parse() {
    for transform in transforms(ENGINE.clone()) {
        let error = run(transform.name(), transform.example(), &[]).await.expect_err("no tables");
        assert!(error.message.starts_with("there is no table"), "{error}");
    }
    let cx = SinkContext {
        schema: schema("a: int"),
        folder: "/nowhere".into(),
        connection: None,
        idempotency_key: "k".to_owned(),
    };
    let profiles = &connectors(store())[0];
    let error = profiles.open_sink(yaml(profiles.examples().1), cx).await.err().expect("an error");
    assert_eq!(
        error.to_string(),
        "`id` names the column `customer_id`, which the input does not have; it has: a"
    );
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_refused() {
    for (name, settings) in [
        ("rules", "{from: t, version: '1', points: []}"),
        ("identity", "{links: [], id: customer, max: 3}"),
        ("recommend", "{from: t, user: u, item: i, topp: 3}"),
        ("render", "{from: t, columns: {}, escape: html}"),
    ] {
        let error = run(name, settings, &[]).await.expect_err("an error");
        assert!(error.message.contains("has no setting"), "{error}");
    }
}

/// What the DAG language knows of this crate, and of `sql` for the tables before.
fn catalog() -> Catalog {
    let all = tidemill_sql::transforms(ENGINE.clone());
    let all = all.into_iter().chain(transforms(ENGINE.clone()));
    let transform = |t: SharedTransform| TransformInfo {
        name: t.name().to_owned(),
        summary: t.summary().to_owned(),
        schema: t.schema(),
        check: SettingsCheck::new({
            let t = t.clone();
            move |settings| t.problems(settings)
        }),
        example: t.example().to_owned(),
    };
    let connector = |c: SharedConnector| ConnectorInfo {
        name: c.name().to_owned(),
        summary: c.summary().to_owned(),
        source: c.source_schema(),
        sink: c.sink_schema(),
        source_check: SettingsCheck::default(),
        sink_check: SettingsCheck::new({
            let c = c.clone();
            move |settings| c.sink_problems(settings)
        }),
        source_example: c.examples().0.to_owned(),
        sink_example: c.examples().1.to_owned(),
    };
    Catalog {
        connectors: connectors(store()).into_iter().map(connector).collect(),
        transforms: all.map(transform).collect(),
        ..Catalog::default()
    }
}

/// A DAG with a task of these settings, after one task for each table that the examples read.
fn dag(action: &str, name: &str, settings: &Value) -> String {
    let mut text = "tasks:\n".to_owned();
    for table in ["features", "events", "crm", "purchases", "profiles", "audience", "raw_orders"] {
        text.push_str(&format!("  {table}: {{transform: {{sql: select 1 as a}}}}\n"));
    }
    // JSON is YAML.
    text.push_str(&format!("  it: {{{action}: {{{name}: {settings}}}"));
    text.push_str(if action == "load" { ", from: features}\n" } else { "}\n" });
    text
}

/// A typo of a key anywhere in the settings is shown at the key, once, with the key that is meant.
#[test]
fn a_misspelled_key_is_shown_where_it_stands() {
    let catalog = catalog();
    let mut all: Vec<(&str, &str, Value)> = Vec::new();
    let transforms =
        tidemill_sql::transforms(ENGINE.clone()).into_iter().chain(transforms(ENGINE.clone()));
    all.extend(transforms.map(|t| ("transform", t.name(), yaml(t.example()))));
    let connectors = connectors(store());
    all.extend(connectors.iter().map(|c| ("load", c.name(), yaml(c.examples().1))));
    let mut refused = 0;
    for (action, name, example) in all {
        for (wrong, settings) in misspelled(&example) {
            let text = dag(action, name, &settings);
            let found = load_dag(SourceText { path: Path::new("a.yaml"), text: &text }, &catalog);
            // Where names are free, the new one is as good as the others.
            let Some(first) = found.diagnostics.first() else { continue };
            assert_eq!(found.diagnostics.len(), 1, "{:#?}", found.diagnostics);
            let quoted = format!("\"{wrong}\"");
            let shown: String = first
                .source_line
                .chars()
                .skip((first.column - 1 - first.source_offset) as usize)
                .collect();
            assert!(shown.starts_with(&quoted), "{first}");
            assert!(first.message.ends_with(&format!("`{wrong}`")), "{first}");
            let meant = &wrong[..wrong.len() - 1];
            assert_eq!(
                first.help.as_deref(),
                Some(&*format!("did you mean `{meant}`?")),
                "{first}"
            );
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
}

#[test]
fn the_language_takes_the_examples() {
    let catalog = catalog();
    let load = |text: &str| {
        let loaded = load_dag(SourceText { path: Path::new("a.yaml"), text }, &catalog);
        loaded.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for transform in transforms(ENGINE.clone()) {
        let example = yaml(transform.example());
        assert_eq!(load(&dag("transform", transform.name(), &example)), "");
        let mut wrong = example;
        wrong["frm"] = json!("x");
        let found = load(&dag("transform", transform.name(), &wrong));
        assert!(found.contains("has no setting `frm`"), "{found}");
    }
    for connector in connectors(store()) {
        let example = yaml(connector.examples().1);
        assert_eq!(load(&dag("load", connector.name(), &example)), "");
    }
    let unknown = json!({"from": "purchasez", "user": "u", "item": "i"});
    let found = load(&dag("transform", "recommend", &unknown));
    assert!(found.contains("did you mean `purchases`?"), "{found}");
    let template = json!({"from": "audience", "columns": {"text": "{{ name"}});
    let found = load(&dag("transform", "render", &template));
    assert!(found.contains("does not parse"), "{found}");
    let condition = json!({"from": "features", "version": "1",
        "segments": [{"name": "a", "where": "a >"}]});
    let found = load(&dag("transform", "rules", &condition));
    assert!(found.contains('^'), "{found}");
    for (action, name, settings, expected) in [
        (
            "transform",
            "recommend",
            json!({"from": "purchases", "user": "u", "item": "i", "min_pair": 5_000_000_000_u64}),
            "setting `min_pair` of transform `recommend` must be at most 4294967295",
        ),
        (
            "transform",
            "rules",
            json!({"from": "features", "version": "1", "segments": [{"name": "a"}, {"name": "b"}]}),
            "transform `rules`: the segment `a` takes the rest, but is not the last",
        ),
        (
            "transform",
            "identity",
            json!({"links": [{"from": "crm", "columns": {"email": "e"}}], "id": "customer"}),
            "transform `identity`: no link has a column of the type `customer`",
        ),
        (
            "load",
            "profiles",
            json!({"id": "c", "document": {"meta": "m"}, "meta": {"version": "v"}}),
            "sink `profiles`: `document` cannot have the key `meta`",
        ),
        (
            "load",
            "profiles",
            json!({"id": "c", "meta": {"version": "v"}}),
            "sink `profiles`: `meta` cannot have the key `version`",
        ),
    ] {
        let found = load(&dag(action, name, &settings));
        assert!(found.contains(expected), "{found}");
    }
}
