//! The sink: rows become profiles.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidemill_connector::conformance::write_all;
use tidemill_connector::{ConnectorError, Sink, SinkContext, Written};
use tidemill_profile::{ProfileStore, StoreOptions, connectors};
use tidemill_store::kv::{Kv, MemoryKv};

use crate::support::{batches, schema, yaml};

const COLUMNS: &str =
    "customer_id: int, email: text, tx.n: int, tx.sum: float, recs: text, tags: texts, day: text";

fn options(load_bytes: usize) -> StoreOptions {
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    StoreOptions { load_bytes, clock: Arc::new(clock), ..StoreOptions::default() }
}

fn store() -> Arc<ProfileStore> {
    Arc::new(ProfileStore::open(Arc::new(MemoryKv::default()), options(1 << 20)).unwrap())
}

async fn open(
    store: &Arc<ProfileStore>,
    settings: &str,
    columns: &str,
) -> Result<Box<dyn Sink>, ConnectorError> {
    let cx = SinkContext {
        schema: schema(columns),
        folder: "/nowhere".into(),
        connection: None,
        idempotency_key: "dag/run/task".to_owned(),
    };
    connectors(store.clone())[0].open_sink(yaml(settings), cx).await
}

async fn load(
    store: &Arc<ProfileStore>,
    settings: &str,
    columns: &str,
    rows: &[Value],
) -> Result<Written, ConnectorError> {
    let mut sink = open(store, settings, columns).await?;
    for batch in batches(columns, rows) {
        sink.write(&batch).await?;
    }
    sink.finish().await
}

fn text(store: &ProfileStore, id: &str) -> String {
    String::from_utf8(store.get(id).unwrap().expect("a profile").json.to_vec()).unwrap()
}

fn people() -> Vec<Value> {
    vec![
        json!({"customer_id": 7, "email": "a@b.test", "tx.n": 2, "tx.sum": 1.5,
            "recs": "[{\"item\":\"x\",\"score\":null}]", "tags": ["p"], "day": "2026-11-01"}),
        json!({"customer_id": 8, "day": "2026-11-01"}),
        json!({"customer_id": 9, "email": "", "recs": "[]", "tx.n": 0}),
    ]
}

#[tokio::test]
async fn rows_become_profiles() {
    let store = store();
    let settings = "
        id: customer_id
        document: {mail: email, tx: {frequency: tx.n, inner: {sum: tx.sum}}, recs: recs, tags: tags}
        json: [recs]
        identities: [{type: email, column: email}]
        meta: {as_of: day}
    ";
    let written = load(&store, settings, COLUMNS, &people()).await.unwrap();
    assert_eq!((written.rows, store.count()), (3, 3));
    let meta = r#""meta":{"version":1,"updated_at":"1970-01-01T00:00:01.000000Z""#;
    assert_eq!(
        text(&store, "7"),
        format!(
            r#"{{"customer_id":"7","mail":"a@b.test","tx":{{"frequency":2,"inner":{{"sum":1.5}}}},"recs":[{{"item":"x","score":null}}],"tags":["p"],"identities":["email:a@b.test"],{meta},"as_of":"2026-11-01"}}}}"#
        )
    );
    assert_eq!(
        text(&store, "8"),
        format!(r#"{{"customer_id":"8",{meta},"as_of":"2026-11-01"}}}}"#)
    );
    assert_eq!(
        text(&store, "9"),
        format!(r#"{{"customer_id":"9","mail":"","tx":{{"frequency":0}},"recs":[],{meta}}}}}"#)
    );
    let found = store.get_by_identity("email:a@b.test").unwrap().map(|p| p.id);
    assert_eq!(found.as_deref(), Some("7"));
}

#[tokio::test]
async fn without_a_document_every_column_is_a_key() {
    let store = store();
    load(&store, "{id: customer_id, json: [recs]}", COLUMNS, &people()).await.unwrap();
    assert_eq!(
        text(&store, "7"),
        r#"{"customer_id":"7","email":"a@b.test","tx":{"n":2,"sum":1.5},"recs":[{"item":"x","score":null}],"tags":["p"],"day":"2026-11-01","meta":{"version":1,"updated_at":"1970-01-01T00:00:01.000000Z"}}"#
    );
}

/// The same rows again, whether they wait in memory or in the store below, change nothing.
#[tokio::test]
async fn a_repeated_load_adds_nothing() {
    for load_bytes in [1 << 20, 1] {
        let kv = Arc::new(MemoryKv::default());
        let store = Arc::new(ProfileStore::open(kv.clone(), options(load_bytes)).unwrap());
        let settings = "{id: customer_id, identities: [{type: email, column: email}]}";
        load(&store, settings, COLUMNS, &people()).await.unwrap();
        let everything = kv.scan(b"", None, 100).unwrap();
        // Three profiles, one identity and the count.
        assert_eq!(everything.len(), 5);
        let written = load(&store, settings, COLUMNS, &people()).await.unwrap();
        assert_eq!(written.rows, 3);
        assert_eq!(kv.scan(b"", None, 100).unwrap(), everything);
    }
}

#[tokio::test]
async fn several_loads_keep_their_parts() {
    let store = store();
    let scores = "{id: c, document: {score: {intent: x}}, meta: {as_of: x}}";
    let consent = "{id: c, document: {consent: {mail: y}}, identities: [{type: y, column: y}]}";
    let rate = async |x: Value| {
        load(&store, scores, "c: text, x: int", &[json!({"c": "7", "x": x})]).await.unwrap();
    };
    rate(json!(1)).await;
    load(&store, consent, "c: text, y: text", &[json!({"c": "7", "y": "granted"})]).await.unwrap();
    rate(json!(1)).await;
    let json = |id: &str| serde_json::from_str::<Value>(&text(&store, id)).unwrap();
    let profile = json("7");
    assert_eq!(profile["score"], json!({"intent": 1}));
    assert_eq!(profile["consent"], json!({"mail": "granted"}));
    assert_eq!(profile["meta"]["version"], 2);
    rate(Value::Null).await;
    let profile = json("7");
    assert_eq!(profile.get("score"), None);
    assert_eq!(profile["identities"], json!(["y:granted"]));
    assert_eq!(profile["meta"]["version"], 3);
}

#[tokio::test]
async fn replace_leaves_only_this_load() {
    for load_bytes in [1 << 20, 1] {
        let kv = Arc::new(MemoryKv::default());
        let store = Arc::new(ProfileStore::open(kv, options(load_bytes)).unwrap());
        let rows = |ids: &[i64]| ids.iter().map(|id| json!({"c": id, "x": 1})).collect::<Vec<_>>();
        load(&store, "{id: c}", "c: int, x: int", &rows(&[1, 2, 3])).await.unwrap();
        load(&store, "{id: c, document: {y: x}, mode: replace}", "c: int, x: int", &rows(&[2, 4]))
            .await
            .unwrap();
        let ids: Vec<String> =
            store.list(None, 10).unwrap().profiles.into_iter().map(|p| p.id).collect();
        assert_eq!((ids, store.count()), (vec!["2".to_owned(), "4".to_owned()], 2));
        assert_eq!(
            text(&store, "2"),
            r#"{"c":"2","y":1,"meta":{"version":2,"updated_at":"1970-01-01T00:00:01.000000Z"}}"#
        );
    }
}

/// Nothing is seen before the end, and nothing is left of a load without one.
#[tokio::test]
async fn an_unfinished_load_leaves_nothing() {
    for crash in [false, true] {
        let kv = Arc::new(MemoryKv::default());
        let store = Arc::new(ProfileStore::open(kv.clone(), options(1)).unwrap());
        let mut sink = open(&store, "{id: customer_id}", COLUMNS).await.unwrap();
        for batch in batches(COLUMNS, &people()) {
            sink.write(&batch).await.unwrap();
        }
        assert_eq!((store.count(), store.get("7").unwrap()), (0, None));
        assert_eq!(kv.scan(b"", None, 10).unwrap().len(), 3);
        if crash {
            std::mem::forget(sink);
            ProfileStore::open(kv.clone(), options(1)).unwrap();
        } else {
            drop(sink);
        }
        assert_eq!(kv.scan(b"", None, 10).unwrap(), []);
    }
}

#[tokio::test]
async fn rows_that_are_no_profiles() {
    let check = async |settings: &str, columns: &str, rows: &[Value], expected: &str| {
        let store = store();
        let error = load(&store, settings, columns, rows).await.expect_err("an error");
        assert_eq!(error.to_string(), expected);
        assert_eq!(store.count(), 0);
    };
    let c = "{id: c}";
    check(
        c,
        "c: text, x: int",
        &[json!({"c": "a"}), json!({"c": "b"}), json!({"x": 1})],
        "the row has no id (row 3, column c); leave such rows out before they are loaded",
    )
    .await;
    check(
        c,
        "c: text",
        &[json!({"c": "é".repeat(65)})],
        "the id has 130 bytes, at most 128 (row 1, column c)",
    )
    .await;
    check(
        c,
        "c: text",
        &[json!({"c": "a"}), json!({"c": "b"}), json!({"c": "a"})],
        "two rows have the same id (c a); make one row of them, for example with `group by c`",
    )
    .await;
    check(
        "{id: c, json: [x]}",
        "c: text, x: text",
        &[json!({"c": "a", "x": "{"})],
        "the text is no JSON: EOF while parsing an object at line 1 column 1 (c a, column x)",
    )
    .await;
    check(
        c,
        "c: bool",
        &[json!({"c": true})],
        "`id` names the column `c`, whose values cannot be ids: they are of type Boolean; \
         an id is a text or an integer",
    )
    .await;
    check(
        c,
        "c: text, x: text",
        &[json!({"c": "a", "x": "x".repeat(1 << 20)})],
        "the profile `a` would have 1048593 bytes, at most 1048576 are stored (c a)",
    )
    .await;
}

#[tokio::test]
async fn rows_reported_are_profiles_held() {
    let store = store();
    let sink = open(&store, "{id: c}", "c: int").await.unwrap();
    let rows: Vec<Value> = (0..5).map(|c| json!({"c": c})).collect();
    assert_eq!(write_all(sink, &batches("c: int", &rows)).await.unwrap(), 5);
}
