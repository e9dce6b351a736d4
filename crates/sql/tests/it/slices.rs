//! Aggregates of large tables that are worked out slice by slice: the same as from one stream.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_connector::{BatchIter, ConnectorError, MemoryTable, Table};

use crate::support::{MIB, binds, block_on, engine_with, run, tables};

/// A table that tells whether it was read in parts.
#[derive(Debug)]
struct Watched {
    table: MemoryTable,
    in_a_file: bool,
    parts: Arc<AtomicBool>,
}

impl Table for Watched {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn rows(&self) -> u64 {
        self.table.rows()
    }

    fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    fn path(&self) -> Option<&Path> {
        self.in_a_file.then(|| Path::new("watched.arrow"))
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        self.table.scan()
    }

    fn parts_max(&self) -> u64 {
        self.table.parts_max()
    }

    fn scan_part(
        &self,
        columns: &[usize],
        part: u64,
        parts: u64,
    ) -> Result<BatchIter, ConnectorError> {
        self.parts.store(true, Ordering::SeqCst);
        self.table.scan_part(columns, part, parts)
    }
}

const ROWS: i64 = 700_000;

/// Groups that first show late, nulls, and sums that do not fit on their way.
fn rows() -> MemoryTable {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("k", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(12, 2), true),
        Field::new("x", DataType::Float64, false),
        Field::new("big", DataType::Int64, false),
    ]));
    let batches = (0..ROWS / 1_000).map(|b| {
        let n: Vec<i64> = (0..1_000).map(|i| b * 1_000 + i).collect();
        let key = |n: i64| (n % 11 != 3).then(|| format!("k{}", n * 7919 % (1 + n / 1_000)));
        let k: StringArray = n.iter().map(|n| key(*n)).collect();
        let d: Decimal128Array =
            n.iter().map(|n| (n % 13 != 5).then_some(i128::from(n * 31 % 9_973))).collect();
        let d = d.with_precision_and_scale(12, 2).expect("fits");
        let x: Float64Array = n.iter().map(|n| Some((*n as f64).sqrt() - 400.0)).collect();
        // The first half of the rows adds up to far more than fits, the second takes it away.
        let sign = |n: i64| if n < ROWS / 2 { 1 } else { -1 };
        let big: Int64Array = n.iter().map(|n| Some(sign(*n) * (i64::MAX / 1_000))).collect();
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from(n)),
            Arc::new(k),
            Arc::new(d),
            Arc::new(x),
            Arc::new(big),
        ];
        RecordBatch::try_new(schema.clone(), columns).expect("a batch")
    });
    MemoryTable::new(schema.clone(), batches.collect())
}

/// Runs the query in slices, and so that it cannot be; both must give the same rows in the same
/// order.
fn check(table: &MemoryTable, list: &str, rest: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = |sql: &str, in_a_file: bool, threads: usize| {
        let parts = Arc::new(AtomicBool::new(false));
        let watched = Watched { table: table.clone(), in_a_file, parts: parts.clone() };
        let tables = tables([("t", Arc::new(watched) as Arc<dyn Table>)]);
        let engine = engine_with(256 * MIB, threads, folder.path());
        let (schema, batches) = block_on(run(&engine, sql, &tables, &binds([]))).expect("rows");
        (concat_batches(&schema, &batches).expect("one batch"), parts.load(Ordering::SeqCst))
    };
    // A sum of floats depends on the order of rows.
    let (expected, parts) = answer(&format!("select {list}, sum(x) as floats {rest}"), true, 2);
    assert!(!parts, "{list}: a sum of floats was taken in slices");
    let columns: Vec<usize> = (0..expected.num_columns() - 1).collect();
    let expected = expected.project(&columns).expect("columns");
    for (in_a_file, threads) in [(true, 1), (true, 2), (true, 4), (false, 2)] {
        let (rows, parts) = answer(&format!("select {list} {rest}"), in_a_file, threads);
        assert!(parts, "{list}: not in slices");
        assert_eq!(rows, expected, "{list} {rest}");
    }
}

#[test]
fn they_are_what_one_stream_gives() {
    let table = rows();
    check(&table, "k, count(*) as c, sum(n) as s, min(x) as low, max(k) as m", "from t group by k");
    check(&table, "count(d) as c, sum(d) as s, avg(d) as a, sum(n) as n", "from t");
    check(
        &table,
        "bool_and(n >= 0) as b, bit_xor(n) as x, count(*) filter (where n % 3 = 1) as c",
        "from t",
    );
    check(&table, "n % 7 as g, sum(big) as s, max(d) as d", "from t where x > -390 group by n % 7");
    check(
        &table,
        "k, s + 1 as t, sum(c) as total",
        "from (select k, n + 1 as s, n as c, x from t where n % 1000 < 20) group by k, s \
            having sum(c) > 100",
    );
    check(
        &table,
        "a, count(*) as n",
        "from (select k as a, x from t where n > 999999999) group by a",
    );
}

#[test]
fn sums_that_fit_in_the_end_are_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(256 * MIB, 2, folder.path());
    let tables = tables([("t", Arc::new(rows()) as Arc<dyn Table>)]);
    for group in ["", " group by n < 0"] {
        let sql = format!("select sum(big) as s from t{group}");
        let (_, batches) = block_on(run(&engine, &sql, &tables, &binds([]))).expect("rows");
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 0, "{sql}");
        let sql = format!("select sum(big) as s from t where n < 10000{group}");
        let error = block_on(run(&engine, &sql, &tables, &binds([]))).expect_err("too large");
        assert!(error.to_string().contains("sum"), "{error}");
    }
}

#[test]
fn functions_that_depend_on_the_order_of_rows_are_not_taken_in_slices() {
    let table = rows();
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(256 * MIB, 4, folder.path());
    for list in [
        "sum(x)",
        "avg(n)",
        "stddev(x)",
        "median(n)",
        "count(distinct k)",
        "array_agg(n order by n desc)[1]",
        "first_value(n)",
        "approx_distinct(n)",
    ] {
        let parts = Arc::new(AtomicBool::new(false));
        let watched = Watched { table: table.clone(), in_a_file: true, parts: parts.clone() };
        let tables = tables([("t", Arc::new(watched) as Arc<dyn Table>)]);
        let sql = format!("select {list} as v, count(*) as n from t");
        block_on(run(&engine, &sql, &tables, &binds([]))).expect("rows");
        assert!(!parts.load(Ordering::SeqCst), "{list}: in slices");
    }
}
