//! Results as streams, and the tables behind them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;
use tidemill_connector::{BatchIter, ConnectorError, ErrorKind, Table};
use tidemill_sql::{SqlConfig, transforms};

use crate::support::{
    MIB, binds, block_on, context, engine_with, home, run, table, tables, text, written,
};

/// A table of counted batches, which may lie in a file and may fail.
#[derive(Debug)]
struct Counted {
    batches: usize,
    given: Arc<AtomicUsize>,
    in_a_file: bool,
    fails_at: Option<(usize, Failure)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Error,
    Panic,
}

impl Counted {
    fn new(batches: usize) -> Self {
        Self { batches, given: Arc::default(), in_a_file: false, fails_at: None }
    }
}

impl Table for Counted {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
    }

    fn rows(&self) -> u64 {
        self.batches as u64 * 100
    }

    fn bytes(&self) -> u64 {
        self.rows() * 8
    }

    fn path(&self) -> Option<&Path> {
        self.in_a_file.then(|| Path::new("counted.arrow"))
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        let (schema, given, fails_at) = (self.schema(), self.given.clone(), self.fails_at);
        Ok(Box::new((0..self.batches).map(move |i| {
            match fails_at {
                Some((at, Failure::Error)) if at == i => {
                    return Err(ConnectorError::retryable("the disk is busy"));
                }
                Some((at, Failure::Panic)) if at == i => panic!("a bug in a table"),
                _ => {}
            }
            given.fetch_add(1, Ordering::SeqCst);
            let numbers = Int64Array::from_iter_values((0..100).map(|n| n + i as i64 * 100));
            Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers)])?)
        })))
    }
}

#[test]
fn rows_come_in_order_from_memory_and_from_files() {
    let home = home();
    for in_a_file in [false, true] {
        let source = Counted { in_a_file, ..Counted::new(50) };
        let tables = tables([("t", Arc::new(source) as Arc<dyn Table>)]);
        let (_, batches) =
            block_on(run(&home.engine, "select n from t where n % 1000 = 7", &tables, &binds([])))
                .expect("rows");
        let schema = batches[0].schema();
        assert_eq!(text(&schema, &batches), "n\n7\n1007\n2007\n3007\n4007", "{in_a_file}");
    }
}

#[test]
fn a_query_reads_only_what_is_asked_for() {
    let home = home();
    for in_a_file in [false, true] {
        let source = Counted { in_a_file, ..Counted::new(10_000) };
        let given = source.given.clone();
        let tables = tables([("t", Arc::new(source) as Arc<dyn Table>)]);
        block_on(async {
            let mut rows = home
                .engine
                .query("select n + 1 as m from t", &tables, &binds([]))
                .await
                .expect("rows");
            rows.next().await.expect("a batch");
        });
        let read = given.load(Ordering::SeqCst);
        assert!((1..100).contains(&read), "{read} batches were read for one");
        block_on(run(&home.engine, "select n from t limit 5", &tables, &binds([]))).expect("rows");
    }
}

#[test]
fn errors_and_panics_of_a_table_reach_the_reader() {
    let home = home();
    for in_a_file in [false, true] {
        let fail = |failure| {
            let source = Counted { in_a_file, fails_at: Some((3, failure)), ..Counted::new(5) };
            let tables = tables([("t", Arc::new(source) as Arc<dyn Table>)]);
            block_on(run(&home.engine, "select sum(n) as s from t", &tables, &binds([])))
                .expect_err("fails")
        };
        let error = fail(Failure::Error);
        assert_eq!(error, ConnectorError::retryable("the disk is busy"));
        let error = fail(Failure::Panic);
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(error.message.contains("a bug in a table"), "{error}");
    }
    // The engine goes on.
    let (schema, batches) =
        block_on(run(&home.engine, "select 1 as one", &tables([]), &binds([]))).expect("rows");
    assert_eq!(text(&schema, &batches), "one\n1");
}

#[test]
fn a_query_knows_the_tables_it_reads() {
    let home = home();
    let tables = tables([
        ("b", table("{\"x\": 1}")),
        ("a", table("{\"x\": 1}")),
        ("a.rejects", table("{\"x\": 1}")),
        ("c", table("{\"x\": 1}")),
    ]);
    let sql = "with c as (select 1 as x) select * from b join c using (x) \
               where b.x in (select x from a.rejects) \
               and b.x < (select count(*) as n from b, range(5))";
    let rows = block_on(home.engine.query(sql, &tables, &binds([]))).expect("rows");
    assert_eq!(rows.reads(), ["a.rejects", "b"]);
}

#[test]
fn the_transform_makes_one_table_or_several() {
    let home = home();
    let transforms = transforms(home.engine.clone());
    let names: Vec<&str> = transforms.iter().map(|t| t.name()).collect();
    assert_eq!(names, ["sql", "clean"]);
    let input =
        || tables([("t", table("{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}")), ("u", table("{\"a\": 1}"))]);

    let (cx, outputs) = context(input(), binds([("min", json!(2))]));
    let config = json!("select a from t where a >= $min order by a desc");
    block_on(transforms[0].run_any(config, cx)).expect("runs");
    assert_eq!(written(&outputs, ""), "a\n3\n2");
    let counts = outputs.counts().expect("counts");
    assert_eq!((counts.rows_in, counts.rows_out), (3, 2));

    let (cx, outputs) = context(input(), binds([]));
    let config =
        json!({"small": "select a from t where a < 3", "none": "select a from u where a > 9"});
    block_on(transforms[0].run_any(config, cx)).expect("runs");
    assert_eq!(written(&outputs, "small"), "a\n1\n2");
    assert_eq!(written(&outputs, "none"), "a");
    assert_eq!(written(&outputs, ""), "none");
    let counts = outputs.counts().expect("counts");
    assert_eq!((counts.rows_in, counts.rows_out), (4, 2));

    let (cx, _) = context(input(), binds([]));
    let config = json!({"small": "select b from t"});
    let error = block_on(transforms[0].run_any(config, cx)).expect_err("no column");
    assert_eq!(
        error.to_string(),
        "`t` has no column `b` (query `small`, line 1, column 8); it has: a"
    );
    let example = serde_json::to_value(transforms[0].example()).expect("text");
    tidemill_connector::config::parse::<SqlConfig>("transform", "sql", example).expect("parses");
}

#[test]
fn queries_run_beside_each_other() {
    let home = home();
    let tables = tables([("t", Arc::new(Counted::new(20)) as Arc<dyn Table>)]);
    block_on(async {
        // Both are open at once, though the second was started later and ends first.
        let binds = binds([]);
        let mut slow = home
            .engine
            .query("select n from t order by n desc", &tables, &binds)
            .await
            .expect("rows");
        let first = slow.next().await.expect("a batch").expect("rows");
        let (_, quick) =
            run(&home.engine, "select count(*) as c from t", &tables, &binds).await.expect("rows");
        assert_eq!(text(&quick[0].schema(), &quick), "c\n2000");
        let mut rows = first.num_rows();
        while let Some(batch) = slow.next().await.expect("a batch") {
            rows += batch.num_rows();
        }
        assert_eq!(rows, 2000);
        assert!(slow.next().await.expect("the end").is_none());
    });
}

/// The one thread must be free again, and shared while the long query runs.
#[test]
fn a_long_join_can_be_ended_and_keeps_nobody_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(256 * MIB, 1, folder.path());
    let numbers = "generate_series(1, 1000000)";
    let endless =
        format!("select sum(a.value * b.value) as n from {numbers} a cross join {numbers} b");
    let soon = |what: &'static str, engine: Arc<tidemill_sql::Engine>| async move {
        let (none, no_binds) = (tables([]), binds([]));
        let asked = run(&engine, "select 1 as r", &none, &no_binds);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(30), asked).await;
        answer.expect(what).expect("rows");
    };
    block_on(async {
        let (none, no_binds) = (tables([]), binds([]));
        let mut rows = engine.query(&endless, &none, &no_binds).await.expect("a query");
        let begun = tokio::time::timeout(std::time::Duration::from_millis(300), rows.next()).await;
        assert!(begun.is_err(), "it takes longer than this");
        soon("another query gets its turn", engine.clone()).await;
        drop(rows);
        soon("the thread is free", engine.clone()).await;
    });
}
