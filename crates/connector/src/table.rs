//! Tables: what a task reads and what it writes.
//!
//! A [`Table`] is finished, immutable and can be scanned any number of times; a [`TableWriter`]
//! takes batches and becomes one. Both sides stream: nothing here holds a whole table, except
//! [`MemoryTable`], which tests and small literal tables use.

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidemill_model::Counts;

use crate::error::ConnectorError;

/// The batches of one scan, in row order.
pub type BatchIter = Box<dyn Iterator<Item = Result<RecordBatch, ConnectorError>> + Send>;

/// A finished table that tasks read.
pub trait Table: Send + Sync + std::fmt::Debug {
    /// Columns and types; every batch of a scan has this schema.
    fn schema(&self) -> SchemaRef;
    /// Number of rows.
    fn rows(&self) -> u64;
    /// Size as stored, in bytes.
    fn bytes(&self) -> u64;
    /// Starts a scan from the first row. May block on disk.
    fn scan(&self) -> Result<BatchIter, ConnectorError>;
    /// Starts a scan of these columns, in this order: what is not asked for need not be read.
    fn scan_columns(&self, columns: &[usize]) -> Result<BatchIter, ConnectorError> {
        let columns = columns.to_vec();
        Ok(Box::new(self.scan()?.map(move |batch| Ok(batch?.project(&columns)?))))
    }
    /// In how many parts it can be scanned side by side, at most.
    fn parts_max(&self) -> u64 {
        1
    }
    /// Starts a scan of the part of this number, from 0, out of `parts`: as [`Table::scan_columns`],
    /// but only some batches. All parts after each other are the table. `parts` is at most
    /// [`Table::parts_max`].
    fn scan_part(
        &self,
        columns: &[usize],
        part: u64,
        parts: u64,
    ) -> Result<BatchIter, ConnectorError> {
        let _ = parts;
        if part == 0 { self.scan_columns(columns) } else { Ok(Box::new(std::iter::empty())) }
    }
    /// Where the table lies as an Arrow IPC file, if it does: what a `run` command is given.
    fn path(&self) -> Option<&std::path::Path> {
        None
    }
}

/// The batches of a part, out of all `batches` of a table.
pub fn part_of(batches: usize, part: u64, parts: u64) -> std::ops::Range<usize> {
    let start = |part: u64| (batches as u64 * part.min(parts) / parts.max(1)) as usize;
    start(part)..start(part + 1)
}

/// Takes the rows of one table. Dropping it unfinished leaves nothing behind.
pub trait TableWriter: Send {
    /// Appends a batch of the schema that the writer was created with. May block on disk.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError>;
    /// Ends the table.
    fn finish(self: Box<Self>) -> Result<(), ConnectorError>;
}

/// Where a task's tables go.
pub trait Outputs: Send + Sync {
    /// Creates one of the task's tables: `""` is the table named like the task, `"rejects"` is
    /// `TASK.rejects`, and so on. A name is created at most once in an attempt.
    fn create(&self, name: &str, schema: SchemaRef)
    -> Result<Box<dyn TableWriter>, ConnectorError>;

    /// Tells where the task's rows went. Called at most once, when all tables are finished; a
    /// transform that does not count leaves it to the executor.
    fn report(&self, counts: Counts) {
        let _ = counts;
    }
}

/// A table held in memory: for tests, and for literal tables of a few rows.
#[derive(Debug, Clone)]
pub struct MemoryTable {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl MemoryTable {
    /// A table of these batches, which all have `schema`.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// The batches, in row order.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }
}

impl Table for MemoryTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn rows(&self) -> u64 {
        self.batches.iter().map(|b| b.num_rows() as u64).sum()
    }

    fn bytes(&self) -> u64 {
        self.batches.iter().map(|b| b.get_array_memory_size() as u64).sum()
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        Ok(Box::new(self.batches.clone().into_iter().map(Ok)))
    }

    fn parts_max(&self) -> u64 {
        self.batches.len() as u64
    }

    fn scan_part(
        &self,
        columns: &[usize],
        part: u64,
        parts: u64,
    ) -> Result<BatchIter, ConnectorError> {
        let batches = self.batches[part_of(self.batches.len(), part, parts)].to_vec();
        let columns = columns.to_vec();
        Ok(Box::new(batches.into_iter().map(move |batch| Ok(batch.project(&columns)?))))
    }
}

/// Outputs held in memory: for tests of transforms, and to see what one makes of tables without
/// rows.
#[derive(Debug, Clone, Default)]
pub struct MemoryOutputs {
    tables: Arc<Mutex<std::collections::BTreeMap<String, MemoryTable>>>,
    counts: Arc<Mutex<Option<Counts>>>,
}

impl MemoryOutputs {
    /// The finished table of this name (`""` is the main one).
    pub fn table(&self, name: &str) -> Option<MemoryTable> {
        self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned()
    }

    /// The names of the finished tables.
    pub fn names(&self) -> Vec<String> {
        let tables = self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tables.keys().cloned().collect()
    }

    /// The counts that were reported.
    pub fn counts(&self) -> Option<Counts> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Outputs for MemoryOutputs {
    fn create(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> Result<Box<dyn TableWriter>, ConnectorError> {
        Ok(Box::new(MemoryWriter {
            name: name.to_owned(),
            table: MemoryTable::new(schema, Vec::new()),
            into: self.clone(),
        }))
    }

    fn report(&self, counts: Counts) {
        *self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(counts);
    }
}

struct MemoryWriter {
    name: String,
    table: MemoryTable,
    into: MemoryOutputs,
}

impl TableWriter for MemoryWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.table.batches.push(batch.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        let Self { name, table, into } = *self;
        into.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, table);
        Ok(())
    }
}
