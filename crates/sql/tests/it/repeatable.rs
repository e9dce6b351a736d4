//! The same query over the same tables gives the same answer, to the last bit.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_connector::{MemoryTable, Table};

use crate::support::{MIB, binds, block_on, engine_with, run, tables};

/// Numbers whose sum depends on the order in which they are added.
fn numbers() -> Arc<dyn Table> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("x", DataType::Float64, false),
    ]));
    let mut state = 1_u64;
    let mut next = || {
        // A linear congruential generator (Knuth, MMIX).
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let batches = (0..200)
        .map(|_| {
            let k: Int64Array = (0..500).map(|_| Some((next() % 97) as i64)).collect();
            let x: Float64Array =
                (0..500).map(|_| Some((next() as f64).powi(5) * 1e-30 - 0.1)).collect();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(k), Arc::new(x)]).expect("a batch")
        })
        .collect();
    Arc::new(MemoryTable::new(schema, batches))
}

fn check(sql: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = tables([("t", numbers())]);
    let answer = |threads: usize| {
        let engine = engine_with(64 * MIB, threads, folder.path());
        let (_, batches) = block_on(run(&engine, sql, &tables, &binds([]))).expect("rows");
        batches
    };
    let first = answer(1);
    assert!(!first.is_empty());
    for threads in [1, 2, 4, 4, 4] {
        // Equality of batches compares floats by their bits, and rows by their order.
        assert_eq!(answer(threads), first, "{threads} threads: {sql}");
    }
}

#[test]
fn sums_of_floats() {
    check("select sum(x) as s, avg(x) as a, stddev(x) as d from t");
    check("select k, sum(x) as s, avg(x) as a from t group by k");
}

#[test]
fn the_order_of_rows() {
    check("select k, count(*) as n from t group by k");
    check("select distinct k from t");
    check(
        "select a.k, a.x from t a join (select k, max(x) as x from t group by k) b on a.k = b.k \
            and a.x > b.x / 2",
    );
    check("select k from t order by k limit 50");
    check("select k, x, row_number() over (partition by k order by k) as n from t");
    check("select k, array_agg(x) as xs from t where x > 100 group by k");
    check("select k from t where k < 5 union select k from t where k > 90");
    check(
        "select k, sum(x) as s from (select k, x from t where k < 5 union all select k, x from t \
            where k < 9 union all select value, 0.5 from range(20)) group by k",
    );
    check(
        "select a.k from (select k from t where k < 3 union all select k from t where k < 2) a \
            join (select distinct k from t union all select 1) b using (k)",
    );
    check(
        "select k, x from t where k < 3 union all select k, -x from t where k < 3 order by k \
            limit 700",
    );
    check("select k from t where k < 9 intersect select k from t except select 3");
}
