//! How long the engine takes over as many rows as a small shop has order lines in a year.
//!
//! `cargo bench -p tidemill-sql` prints medians of five; `--profile dev` shows what users of a
//! development build see.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)] // A bench that fails should stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_connector::{MemoryOutputs, MemoryTable, Table, TransformContext};
use tidemill_model::dag::{Check, CheckRule, OnFail};
use tidemill_sql::{CheckRequest, Engine, EngineConfig, run_checks, transforms};

const ROWS: usize = 541_909;
const BATCH: usize = 8_192;

fn main() {
    let spill = tempfile::tempdir().expect("a folder");
    let engine = Engine::new(EngineConfig {
        memory_bytes: 1 << 30,
        threads: 2,
        spill: spill.path().to_owned(),
        batch_rows: BATCH,
    })
    .expect("an engine");
    let raw = raw_lines();
    println!("{ROWS} rows, medians of 5");
    let cleaned = transform(&engine, "clean", &raw, "raw", &clean_config());
    measure("clean: dedupe, 5 reasons, 7 columns", || {
        transform(&engine, "clean", &raw, "raw", &clean_config());
    });
    for (name, sql) in QUERIES {
        measure(name, || {
            transform(&engine, "sql", &cleaned, "tx", &json!(sql));
        });
    }
    measure("checks: not_null, unique, where", || check(&engine, &cleaned));
    let schema = cleaned.schema();
    measure("compile an expression", || {
        engine
            .compile("upper(trim(item)) ~ '^[0-9]'", &schema, &BTreeMap::new())
            .expect("compiles");
    });
    let schemas = IndexMap::from([("tx".to_owned(), schema.clone())]);
    measure("plan a query", || {
        block_on(engine.describe(QUERIES[2].1, &schemas, &BTreeMap::new())).expect("plans");
    });
}

const QUERIES: [(&str, &str); 4] = [
    (
        "sql: frequency and monetary by customer",
        "select customer_id, count(distinct invoice) as frequency, sum(value) as monetary, \
         max(at) as last_at from tx group by customer_id",
    ),
    ("sql: sort all", "select * from tx order by value, at, invoice"),
    (
        "sql: quintiles",
        "with c as (select customer_id, count(distinct invoice) as f, sum(value) as m from tx \
         group by customer_id) select customer_id, \
         1 + 5 * (rank() over (order by f) - 1) / count(*) over () as f, \
         1 + 5 * (rank() over (order by m) - 1) / count(*) over () as m from c",
    ),
    (
        "sql: pairs of items",
        "with b as (select distinct customer_id, item from tx where customer_id < 400) \
         select a.item, b.item as other, count(*) as n from b a join b on a.customer_id = \
         b.customer_id and a.item <> b.item group by a.item, b.item having count(*) >= 5",
    ),
];

fn clean_config() -> Value {
    json!({
        "from": "raw",
        "dedupe": "all",
        "reject": [
            {"reason": "no_customer", "where": "customer is null"},
            {"reason": "non_product", "where": "not upper(trim(sku)) ~ '^[0-9]{5}[A-Z]*$'"},
            {"reason": "return", "where": "starts_with(invoice, 'C')"},
            {"reason": "bad_quantity", "where": "quantity <= 0"},
            {"reason": "bad_price", "where": "price <= 0"},
        ],
        "columns": {
            "invoice": "invoice",
            "item": "upper(trim(sku))",
            "description": "description",
            "quantity": "cast(quantity as bigint)",
            "value": "cast(quantity as bigint) * cast(round(price * 1000) as bigint)",
            "at": "at",
            "customer_id": "cast(customer as bigint)",
        },
    })
}

fn raw_lines() -> Arc<dyn Table> {
    let columns = [
        ("invoice", DataType::Utf8),
        ("sku", DataType::Utf8),
        ("description", DataType::Utf8),
        ("quantity", DataType::Float64),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("price", DataType::Float64),
        ("customer", DataType::Utf8),
        ("country", DataType::Utf8),
    ];
    let fields: Vec<Field> = columns.into_iter().map(|(n, t)| Field::new(n, t, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batches = (0..ROWS)
        .step_by(BATCH)
        .map(|first| {
            // One row in a hundred is the row before it again.
            let rows = (first..ROWS.min(first + BATCH)).map(|i| i - usize::from(i % 100 == 1));
            let text = |f: &dyn Fn(usize) -> Option<String>| {
                Arc::new(rows.clone().map(f).collect::<StringArray>()) as ArrayRef
            };
            let columns: Vec<ArrayRef> = vec![
                text(&|i| {
                    Some(format!("{}{}", if i % 60 == 7 { "C" } else { "" }, 536_365 + i / 20))
                }),
                text(&|i| {
                    Some(format!("{}{}", 10_000 + i * 7 % 3_600, if i % 3 == 0 { "a" } else { "" }))
                }),
                text(&|i| Some(format!("WHITE HANGING HEART T-LIGHT HOLDER {}", i * 7 % 3_600))),
                Arc::new(rows.clone().map(|i| Some((i % 12 + 1) as f64)).collect::<Float64Array>()),
                Arc::new(
                    rows.clone()
                        .map(|i| Some(1_291_000_000_000_000 + i as i64 * 60_000_000))
                        .collect::<TimestampMicrosecondArray>(),
                ),
                Arc::new(
                    rows.clone().map(|i| Some((i % 900) as f64 / 100.0)).collect::<Float64Array>(),
                ),
                text(&|i| (i % 4 != 0).then(|| (i / 20 * 31 % 4_400).to_string())),
                text(&|_| Some("United Kingdom".to_owned())),
            ];
            RecordBatch::try_new(schema.clone(), columns).expect("a batch")
        })
        .collect();
    Arc::new(MemoryTable::new(schema, batches))
}

fn transform(
    engine: &Arc<Engine>,
    kind: &str,
    table: &Arc<dyn Table>,
    name: &str,
    config: &Value,
) -> Arc<dyn Table> {
    let outputs = MemoryOutputs::default();
    let cx = TransformContext {
        tables: IndexMap::from([(name.to_owned(), table.clone())]),
        binds: BTreeMap::new(),
        outputs: Arc::new(outputs.clone()),
        folder: std::env::temp_dir(),
    };
    let transforms = transforms(engine.clone());
    let transform = transforms.iter().find(|t| t.name() == kind).expect("a transform");
    block_on(transform.run_any(config.clone(), cx)).expect("runs");
    Arc::new(outputs.table("").expect("a table"))
}

fn check(engine: &Arc<Engine>, table: &Arc<dyn Table>) {
    let rules = [
        CheckRule::NotNull(vec!["customer_id".to_owned(), "item".to_owned()]),
        CheckRule::Unique(vec!["invoice".to_owned(), "item".to_owned(), "at".to_owned()]),
        CheckRule::Where("value > 0".to_owned()),
    ];
    let checks = rules.map(|rule| Check { rule, on_fail: OnFail::Warn });
    let request = CheckRequest {
        task: "tx",
        table: table.clone(),
        tables: &IndexMap::new(),
        checks: &checks,
        binds: &BTreeMap::new(),
        outputs: &MemoryOutputs::default(),
    };
    block_on(run_checks(engine, request)).expect("runs");
}

fn measure(name: &str, work: impl Fn()) {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("{name:<45} {:>9.1} ms", times[2].as_secs_f64() * 1e3);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
