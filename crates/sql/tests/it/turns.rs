//! Queries that are ended, and that others do not wait for.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_connector::{BatchIter, ConnectorError, Table};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{WeakSender, channel};

use crate::support::{MIB, binds, block_on, engine_with, run, tables};

/// How long a query may hold a thread or take to end: some 20 ms, and more on a busy machine. By
/// itself it would take minutes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Many different numbers under one key. Whoever reads them holds a sender.
#[derive(Debug)]
struct Numbers {
    sign: i64,
    read: WeakSender<()>,
}

const ROWS: i64 = 500_000;
const BATCH: i64 = 1_000;

impl Table for Numbers {
    fn schema(&self) -> SchemaRef {
        let fields = ["n", "k"].map(|name| Field::new(name, DataType::Int64, false));
        Arc::new(Schema::new(fields.to_vec()))
    }

    fn rows(&self) -> u64 {
        ROWS as u64
    }

    fn bytes(&self) -> u64 {
        self.rows() * 16
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        let (schema, sign, read) = (self.schema(), self.sign, self.read.upgrade());
        Ok(Box::new((0..ROWS / BATCH).map(move |batch| {
            let _held = &read;
            let n: Int64Array = (1..=BATCH).map(|n| (batch * BATCH + n) * sign).collect();
            let k = Int64Array::from(vec![7; BATCH as usize]);
            Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(n), Arc::new(k)])?)
        })))
    }
}

/// Starts a query that gives no row for minutes on an engine of one thread, asks it another
/// beside it, and drops the first.
fn gives_way_and_ends(sql: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(512 * MIB, 1, folder.path());
    let (read, mut unread) = channel::<()>(1);
    let numbers = |sign| Arc::new(Numbers { sign, read: read.downgrade() }) as Arc<dyn Table>;
    let tables = tables([("a", numbers(1)), ("b", numbers(-1))]);
    block_on(async {
        let mut rows = engine.query(sql, &tables, &binds([])).await.expect("a plan");
        // Long enough for the joins to have begun.
        let begun = tokio::time::timeout(Duration::from_millis(1500), rows.next()).await;
        assert!(begun.is_err(), "it has ended by itself: {begun:?}");
        let (no_tables, no_binds) = (crate::support::tables([]), binds([]));
        let other = run(&engine, "select 1 as a", &no_tables, &no_binds);
        let answer = tokio::time::timeout(PATIENCE, other).await;
        answer.expect("another query gets a thread").expect("rows");
        // From now on only those who read hold a sender.
        drop(read);
        assert_eq!(unread.try_recv(), Err(TryRecvError::Empty), "no table is read while it runs");
        drop(rows);
        // A join reads one of its tables as long as it runs.
        let ended = tokio::time::timeout(PATIENCE, unread.recv()).await;
        assert_eq!(ended.expect("it ends"), None, "{sql}");
    });
}

#[test]
fn a_join_of_a_condition_that_never_holds() {
    gives_way_and_ends("select a.n as x from a join b on a.n < b.n");
}

#[test]
fn a_cross_join_of_which_nothing_is_kept() {
    gives_way_and_ends("select a.n as x from a cross join b where a.n * b.n > 0");
}

#[test]
fn a_join_of_equal_keys_of_which_nothing_is_kept() {
    gives_way_and_ends("select a.n as x from a join b on a.k = b.k and a.n < b.n");
}

#[test]
fn rows_with_partners() {
    gives_way_and_ends("select a.n as x from a where a.k in (select k from b)");
}

#[test]
fn rows_without_partners() {
    gives_way_and_ends(
        "select a.n as x from a where not exists \
         (select 1 from b where a.n < b.n)",
    );
}

#[test]
fn rows_without_partners_by_key() {
    gives_way_and_ends("select a.n as x from a where a.k not in (select k from b)");
}

#[test]
fn rows_of_either_side() {
    gives_way_and_ends("select a.n as x from a full join b on a.n < b.n");
}
