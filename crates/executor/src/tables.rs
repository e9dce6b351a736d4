//! The tables that attempts leave behind.
//!
//! A table is an Arrow IPC file, packed with LZ4 and named by the hash of its bytes. Up to 64 KiB
//! it travels with the report and lives in the slab; a larger one is a synced file of its own.
//!
//! * [`file`]: the format; [`lanes`]: batches packed by several threads and written in order by
//!   one; [`spool`]: the bytes on their way to the disk;
//! * [`read`]: batches unpacked by several threads and given in order.

mod file;
mod lanes;
mod read;
mod spool;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidemill_connector::{BatchIter, ConnectorError, Outputs, Table, TableWriter, part_of};
use tidemill_model::table::SLAB_TABLE_BYTES_MAX;
use tidemill_model::{Counts, SmallTable, TableRef};

use self::file::TableFile;
use self::lanes::Lanes;
use self::read::{Head, read_head, scan, scan_part};
use self::spool::Spool;
use crate::flag::StopFlag;
use crate::outside::SmallTables;

/// Where tables are.
#[derive(Clone)]
pub struct TableStore {
    folder: PathBuf,
    small: Arc<dyn SmallTables>,
}

/// The file of a table below the folder `tables`: `ab/abcdef….arrow`.
pub fn table_path(folder: &Path, hash: &str) -> PathBuf {
    folder.join(hash.get(..2).unwrap_or("00")).join(format!("{hash}.arrow"))
}

impl TableStore {
    /// Tables in `folder`, and small ones where `small` keeps them.
    pub fn new(folder: PathBuf, small: Arc<dyn SmallTables>) -> Self {
        Self { folder, small }
    }

    /// Opens a finished table.
    pub fn open(&self, table: &TableRef) -> Result<Arc<dyn Table>, ConnectorError> {
        let at = if table.bytes <= SLAB_TABLE_BYTES_MAX {
            let bytes = self.small.get(&table.hash).map_err(ConnectorError::internal)?;
            At::Memory(bytes.ok_or_else(|| gone(table))?)
        } else {
            At::File(table_path(&self.folder, &table.hash))
        };
        Ok(Arc::new(StoredTable { head: read_head(&at, table)?, at, table: table.clone() }))
    }

    /// Makes tables of an earlier run those of another one too: gives the bytes of the small ones,
    /// and lets the others be as young as new ones.
    pub fn again(&self, tables: &[TableRef]) -> Result<Vec<SmallTable>, ConnectorError> {
        let mut small = Vec::new();
        for table in tables {
            // The janitor may have taken it.
            self.open(table)?;
            if table.bytes <= SLAB_TABLE_BYTES_MAX {
                let bytes = self.small_bytes(table).ok_or_else(|| gone(table))?;
                small.push(SmallTable { hash: table.hash.clone(), bytes });
            } else {
                self.renew(table)
                    .map_err(|e| ConnectorError::io("keep the table", &table.hash, &e))?;
            }
        }
        Ok(small)
    }

    /// The bytes of a small table.
    fn small_bytes(&self, table: &TableRef) -> Option<Bytes> {
        self.small.get(&table.hash).ok().flatten()
    }

    /// Makes a table as young as a new one, so that nothing removes it before its run is known.
    fn renew(&self, table: &TableRef) -> std::io::Result<()> {
        let file = File::options().write(true).open(table_path(&self.folder, &table.hash))?;
        file.set_modified(std::time::SystemTime::now())
    }

    fn folder_for(&self, hash: &str) -> PathBuf {
        self.folder.join(hash.get(..2).unwrap_or("00"))
    }
}

fn gone(table: &TableRef) -> ConnectorError {
    ConnectorError::internal(format!("table `{}` is not there any more", table.name))
        .help("run `tidemill doctor`; running the DAG again makes the table anew")
}

/// Where a table lies.
#[derive(Debug, Clone)]
enum At {
    Memory(Bytes),
    File(PathBuf),
}

#[derive(Debug)]
struct StoredTable {
    head: Head,
    at: At,
    table: TableRef,
}

impl Table for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.head.schema.clone()
    }

    fn rows(&self) -> u64 {
        self.table.rows
    }

    fn bytes(&self) -> u64 {
        self.table.bytes
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        scan(&self.at, &self.table, None)
    }

    fn scan_columns(&self, columns: &[usize]) -> Result<BatchIter, ConnectorError> {
        scan(&self.at, &self.table, Some(columns))
    }

    fn parts_max(&self) -> u64 {
        self.head.batches as u64
    }

    fn scan_part(
        &self,
        columns: &[usize],
        part: u64,
        parts: u64,
    ) -> Result<BatchIter, ConnectorError> {
        scan_part(&self.at, &self.table, columns, part_of(self.head.batches, part, parts))
    }

    fn path(&self) -> Option<&Path> {
        match &self.at {
            At::Memory(_) => None,
            At::File(path) => Some(path),
        }
    }
}

/// A finished table of an attempt.
#[derive(Debug, Clone)]
pub struct Finished {
    /// What the run keeps.
    pub table: TableRef,
    /// Its bytes, when it is small.
    pub small: Option<Bytes>,
}

/// The tables of one attempt.
#[derive(Clone)]
pub(crate) struct AttemptOutputs {
    store: TableStore,
    task: String,
    stop: StopFlag,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    created: Vec<String>,
    finished: Vec<(String, Finished)>,
    counts: Option<Counts>,
}

impl AttemptOutputs {
    pub(crate) fn new(store: TableStore, task: &str, stop: StopFlag) -> Self {
        Self { store, task: task.to_owned(), stop, shared: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a write: a disk that is full is named, with the remedy.
    fn cannot_write(&self, table: &str, error: ArrowError) -> ConnectorError {
        let ArrowError::IoError(_, error) = error else { return error.into() };
        let folder = self.store.folder.display();
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let gone = !self.store.folder.exists();
        let error = format!("cannot write the table `{table}` to `{folder}`: {error}");
        let error = ConnectorError::internal(error);
        if full {
            error.help("free some space on its disk, then run the task again")
        } else if gone {
            let home = self.store.folder.parent().unwrap_or(&self.store.folder);
            error.help(format!(
                "the home `{}` was moved or removed under Tidemill: put it back, or bring a backup \
                 there with `tidemill restore`, and start again",
                home.display()
            ))
        } else {
            error
        }
    }

    /// What was finished, by name, in the order in which it was.
    pub(crate) fn finished(&self) -> Vec<(String, Finished)> {
        self.lock().finished.clone()
    }

    /// A finished table, open for reading.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Arc<dyn Table>>, ConnectorError> {
        let found = self.lock().finished.iter().find(|(n, _)| n == name).map(|(_, f)| f.clone());
        let Some(found) = found else { return Ok(None) };
        match found.small {
            None => self.store.open(&found.table).map(Some),
            Some(bytes) => {
                let at = At::Memory(bytes);
                let head = read_head(&at, &found.table)?;
                Ok(Some(Arc::new(StoredTable { head, at, table: found.table })))
            }
        }
    }

    /// Takes a table that lies in the store already, under this name.
    pub(crate) fn adopt(&self, name: &str, table: TableRef) -> Result<(), ConnectorError> {
        let small = self.store.again(std::slice::from_ref(&table))?.pop().map(|small| small.bytes);
        let table = TableRef { name: self.full_name(name), ..table };
        let mut shared = self.lock();
        shared.created.push(name.to_owned());
        shared.finished.push((name.to_owned(), Finished { table, small }));
        Ok(())
    }

    /// The name in the DAG of one of the task's tables.
    fn full_name(&self, name: &str) -> String {
        if name.is_empty() { self.task.clone() } else { format!("{}.{name}", self.task) }
    }

    /// Forgets a finished table, so that another can take its name.
    pub(crate) fn withdraw(&self, name: &str) {
        let mut shared = self.lock();
        shared.created.retain(|n| n != name);
        shared.finished.retain(|(n, _)| n != name);
    }

    /// Where the rows went, as a transform told it.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.lock().counts.clone()
    }

    /// References for the report, and the bytes of the small ones.
    pub(crate) fn for_report(&self) -> (Vec<TableRef>, Vec<SmallTable>) {
        let mut tables = Vec::new();
        let mut small = Vec::new();
        for (_, finished) in self.finished() {
            if let Some(bytes) = finished.small {
                small.push(SmallTable { hash: finished.table.hash.clone(), bytes });
            }
            tables.push(finished.table);
        }
        (tables, small)
    }
}

impl Outputs for AttemptOutputs {
    fn create(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> Result<Box<dyn TableWriter>, ConnectorError> {
        let mut shared = self.lock();
        if shared.created.iter().any(|known| known == name) {
            return Err(ConnectorError::internal(format!(
                "task `{}` makes its table `{name}` twice",
                self.task
            )));
        }
        shared.created.push(name.to_owned());
        drop(shared);
        let full = self.full_name(name);
        let spool = Spool::new(&self.store.folder);
        let schema_hash = schema_hash(&schema);
        let writer = TableFile::create(spool, schema)?;
        Ok(Box::new(Writer {
            name: name.to_owned(),
            full,
            outputs: self.clone(),
            file: Lanes::new(writer),
            rows: 0,
            schema: schema_hash,
        }))
    }

    fn report(&self, counts: Counts) {
        self.lock().counts = Some(counts);
    }
}

fn schema_hash(schema: &SchemaRef) -> String {
    let mut hash = Sha256::new();
    for field in schema.fields() {
        hash.update(field.name().as_bytes());
        hash.update([0]);
        hash.update(field.data_type().to_string().as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

struct Writer {
    name: String,
    full: String,
    outputs: AttemptOutputs,
    file: Lanes,
    rows: u64,
    schema: String,
}

impl TableWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.outputs.stop.check()?;
        self.rows += batch.num_rows() as u64;
        self.file.write(batch).map_err(|error| self.outputs.cannot_write(&self.full, error))
    }

    fn finish(self: Box<Self>) -> Result<(), ConnectorError> {
        let Self { name, full, outputs, file, rows, schema } = *self;
        let spool = file.finish().map_err(|error| outputs.cannot_write(&full, error))?;
        let (hash, bytes, small) = spool.finish(&outputs.store)?;
        let table = TableRef { name: full, hash, rows, bytes, schema };
        outputs.lock().finished.push((name, Finished { table, small }));
        Ok(())
    }
}

/// Removes what a crash left of tables that were being written. No attempt may be under way.
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a table to a plain Arrow IPC file, which every reader knows, for a command.
pub(crate) fn export(table: &dyn Table, path: &Path) -> Result<(), ConnectorError> {
    let io = |error: std::io::Error| ConnectorError::io("write the input", path, &error);
    let file = File::create(path).map_err(io)?;
    let mut writer = FileWriter::try_new(std::io::BufWriter::new(file), &table.schema())?;
    for batch in table.scan()? {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    writer.into_inner()?.flush().map_err(io)
}
