//! How long the transforms, a load and a read take, on as many rows as a small shop has.
//!
//! `cargo bench -p tidemill-profile` prints medians of five; `--profile dev` shows what users of a
//! development build see. `-- PURCHASES USERS RESULT` computes recommendations from a file with a
//! user and an item a line, separated by a tab, for the users of another, into a third.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)] // A bench that fails should stop.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};
use tidemill_connector::{MemoryOutputs, MemoryTable, SinkContext, Table, TransformContext};
use tidemill_profile::{ProfileStore, StoreOptions, connectors, transforms};
use tidemill_sql::{Engine, EngineConfig};
use tidemill_store::kv::SledKv;

const USERS: usize = 4_334;
const ITEMS: usize = 3_659;
const PURCHASES: usize = 391_150;

fn main() {
    let spill = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineConfig {
        memory_bytes: 1 << 30,
        threads: 2,
        spill: spill.path().to_owned(),
        batch_rows: 8_192,
    })
    .unwrap();
    let files: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let [purchases, users, result] = files.as_slice() {
        return from_files(&engine, purchases, users, result);
    }
    let bought = purchases();
    let settings = json!({"from": "bought", "user": "user", "item": "item"});
    measure(&format!("recommend: {PURCHASES} purchases, {USERS} users, {ITEMS} items"), || {
        transform(&engine, "recommend", &settings, &[("bought", bought.clone())]);
    });
    let people = people();
    let settings = json!({
        "from": "people", "version": "1", "scale": 100,
        "score": [
            {"name": "a", "value": "a", "points": 0.5, "explain": "The first"},
            {"name": "b", "value": "1 - exp(-b / 10)", "points": 0.5, "explain": "The second"},
        ],
        "bands": [{"name": "hot", "min": 70}, {"name": "warm", "min": 40}, {"name": "cold"}],
    });
    measure("rules: 100,000 rows, 2 terms", || {
        transform(&engine, "rules", &settings, &[("people", people.clone())]);
    });
    let settings = json!({
        "from": "people", "json": ["recs"], "keep": ["id"],
        "columns": {
            "text": "Hello {{ id }}\n{% for r in recs %}* {{ r.item }} {{ r.score }}\n{% endfor %}",
            "html": "<ul>{% for r in recs %}<li>{{ r.item }} {{ r.score }}</li>{% endfor %}</ul>",
        },
    });
    measure("render: 100,000 rows, 2 texts with 5 items each", || {
        transform(&engine, "render", &settings, &[("people", people.clone())]);
    });
    store(&people);
}

fn measure(name: &str, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{:>8.1} ms  {name}", times[2].as_secs_f64() * 1e3);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn transform(
    engine: &Arc<Engine>,
    name: &str,
    settings: &Value,
    tables: &[(&str, Arc<dyn Table>)],
) -> MemoryOutputs {
    let outputs = MemoryOutputs::default();
    let cx = TransformContext {
        tables: tables.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect(),
        binds: BTreeMap::new(),
        outputs: Arc::new(outputs.clone()),
        folder: ".".into(),
    };
    let transform = transforms(engine.clone()).into_iter().find(|t| t.name() == name).unwrap();
    block_on(transform.run_any(settings.clone(), cx)).unwrap();
    outputs
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Arc<dyn Table> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let parts = (0..batch.num_rows()).step_by(8_192);
    let parts = parts.map(|at| batch.slice(at, (batch.num_rows() - at).min(8_192))).collect();
    Arc::new(MemoryTable::new(batch.schema(), parts))
}

/// Numbers that look random and are the same in every run.
fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

/// A few users buy much, and a few items are bought by many.
fn purchases() -> Arc<dyn Table> {
    let mut state = 1;
    let (mut users, mut items) = (Vec::new(), Vec::new());
    for _ in 0..PURCHASES {
        users.push(format!("{}", 10_000 + (draw(&mut state).powi(2) * USERS as f64) as usize));
        items.push(format!("I{}", (draw(&mut state).powi(2) * ITEMS as f64) as usize));
    }
    let (users, items) = (StringArray::from(users), StringArray::from(items));
    table(vec![("user", Arc::new(users)), ("item", Arc::new(items))])
}

fn people() -> Arc<dyn Table> {
    let mut state = 1;
    let rows = 100_000;
    let mut float = || (0..rows).map(|_| draw(&mut state)).collect::<Float64Array>();
    let (a, b) = (float(), float());
    let recs = (0..rows).map(|row| {
        let recs = (0..5).map(|n| json!({"item": format!("I{}", row % 100 + n), "score": 0.5}));
        Some(Value::from(recs.collect::<Vec<_>>()).to_string())
    });
    let recs = recs.collect::<StringArray>();
    let id = (0..rows).map(|row| Some(format!("{}", 10_000 + row))).collect::<StringArray>();
    table(vec![
        ("id", Arc::new(id)),
        ("a", Arc::new(a)),
        ("b", Arc::new(b)),
        ("recs", Arc::new(recs)),
    ])
}

fn store(people: &Arc<dyn Table>) {
    let folder = tempfile::tempdir().unwrap();
    let kv = Arc::new(SledKv::open(&folder.path().join("profiles")).unwrap());
    let store = Arc::new(ProfileStore::open(kv, StoreOptions::default()).unwrap());
    let load = |rows: usize| {
        let cx = SinkContext {
            schema: people.schema(),
            folder: ".".into(),
            connection: None,
            idempotency_key: "k".to_owned(),
        };
        let config = json!({"id": "id", "document": {"score": {"a": "a", "b": "b"}, "recs": "recs"},
            "json": ["recs"]});
        let connector = &connectors(store.clone())[0];
        let mut sink = block_on(connector.open_sink(config, cx)).unwrap();
        for batch in people.scan().unwrap().take(rows.div_ceil(8_192)) {
            let batch = batch.unwrap();
            block_on(sink.write(&batch)).unwrap();
        }
        block_on(sink.finish()).unwrap();
    };
    measure("load: 8,192 profiles, the first time with changes", || load(8_192));
    let ids: Vec<String> = (0..8_192).map(|row| format!("{}", 10_000 + row * 37 % 8_192)).collect();
    let mut times: Vec<Duration> = ids
        .iter()
        .cycle()
        .take(200_000)
        .map(|id| {
            let start = Instant::now();
            assert!(store.get(id).unwrap().is_some());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{:>8.2} µs  get: median", times[100_000].as_secs_f64() * 1e6);
    println!("{:>8.2} µs  get: 99th of 100", times[198_000].as_secs_f64() * 1e6);
}

fn from_files(engine: &Arc<Engine>, purchases: &str, users: &str, result: &str) {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap();
    let pairs = read(purchases);
    let of = |at: usize| pairs.lines().map(move |line| line.split('\t').nth(at));
    let (user, item) = (of(0).collect::<StringArray>(), of(1).collect::<StringArray>());
    let bought = table(vec![("user", Arc::new(user)), ("item", Arc::new(item))]);
    let all = read(users).lines().map(Some).collect::<StringArray>();
    let all = table(vec![("user", Arc::new(all))]);
    let settings = json!({"from": "bought", "user": "user", "item": "item", "users": "all",
        "min_item_users": 20, "min_pair": 5, "neighbours": 50, "top": 10});
    let tables = [("bought", bought), ("all", all)];
    let outputs = transform(engine, "recommend", &settings, &tables);
    measure("recommend", || drop(transform(engine, "recommend", &settings, &tables)));
    for name in ["", "neighbours", "popularity"] {
        println!("{:>8} rows  {name}", outputs.table(name).unwrap().rows());
    }
    let mut out = std::fs::File::create(result).unwrap();
    for batch in outputs.table("").unwrap().batches() {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        let score = batch.column(3).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let score =
                if score.is_valid(row) { format!("{:?}", score.value(row)) } else { String::new() };
            let rank = batch.column(1).as_primitive::<Int64Type>().value(row);
            let (user, item, source) = (text(0), text(2), text(4));
            let (user, item, source) = (user.value(row), item.value(row), source.value(row));
            writeln!(out, "{user}\t{rank}\t{item}\t{score}\t{source}").unwrap();
        }
    }
}
