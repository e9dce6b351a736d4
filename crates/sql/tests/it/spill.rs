//! Queries that need more memory than they may use.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use tidemill_connector::{BatchIter, ConnectorError, ErrorKind, Table};

use crate::support::{MIB, binds, block_on, engine_with, run, tables};

/// Rows of about 200 bytes, made as they are read.
#[derive(Debug)]
struct Large {
    rows: i64,
}

const BATCH: i64 = 1_000;

impl Table for Large {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("payload", DataType::Utf8, false),
        ]))
    }

    fn rows(&self) -> u64 {
        self.rows as u64
    }

    fn bytes(&self) -> u64 {
        self.rows as u64 * 200
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        let (rows, schema) = (self.rows, self.schema());
        Ok(Box::new((0..rows / BATCH).map(move |b| {
            // In an order that is far from sorted: 7919 shares no factor with the number of rows.
            let ids: Vec<i64> = (0..BATCH).map(|i| (b * BATCH + i) * 7919 % rows).collect();
            let payload: StringArray = ids.iter().map(|id| Some(format!("{id:0>190}"))).collect();
            let ids = Int64Array::from(ids);
            Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(ids), Arc::new(payload)])?)
        })))
    }
}

#[test]
fn a_sort_larger_than_memory_goes_through_the_disk() {
    const ROWS: i64 = 300_000; // 60 MB, twice what the query may use.
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(32 * MIB, 2, folder.path());
    let tables = tables([("t", Arc::new(Large { rows: ROWS }) as Arc<dyn Table>)]);
    block_on(async {
        let sql = "select id, payload from t order by payload";
        let mut rows = engine.query(sql, &tables, &binds([])).await.expect("rows");
        let mut next = 0;
        let mut spilled = false;
        while let Some(batch) = rows.next().await.expect("a batch") {
            spilled = spilled || holds_bytes(folder.path());
            for id in batch.column(0).as_primitive::<Int64Type>().values() {
                assert_eq!(*id, next);
                next += 1;
            }
        }
        assert_eq!(next, ROWS);
        assert!(spilled, "nothing was set aside on disk");
    });
    assert!(!holds_bytes(folder.path()), "files were left behind");
}

#[test]
fn grouping_larger_than_memory_goes_through_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(24 * MIB, 2, folder.path());
    let tables = tables([("t", Arc::new(Large { rows: 200_000 }) as Arc<dyn Table>)]);
    let sql = "select count(*) as n, sum(id) as s from (select payload, min(id) as id from t \
        group by payload)";
    let (_, batches) = block_on(run(&engine, sql, &tables, &binds([]))).expect("rows");
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 200_000);
    assert_eq!(batches[0].column(1).as_primitive::<Int64Type>().value(0), 200_000 * 199_999 / 2);
}

#[test]
fn what_cannot_go_to_disk_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(8 * MIB, 2, folder.path());
    let tables = tables([("t", Arc::new(Large { rows: 200_000 }) as Arc<dyn Table>)]);
    let sql = "select count(*) as n from t a join t b on a.payload = b.payload and a.id <> b.id";
    let error = block_on(run(&engine, sql, &tables, &binds([]))).expect_err("too large");
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(
        error.to_string(),
        "the query needs more than the 8 MiB it may use; \
         raise --sql-memory, or filter and aggregate earlier"
    );
}

fn holds_bytes(folder: &std::path::Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() { holds_bytes(&path) } else { path.metadata().is_ok_and(|m| m.len() > 0) }
    })
}
