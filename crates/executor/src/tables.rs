//! The tables that attempts leave behind.
//!
//! A table is an Arrow IPC file, packed with LZ4 and named by the hash of its bytes. Up to 64 KiB
//! it travels with the report and lives in the slab; a larger one is a synced file of its own.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidemill_connector::{BatchIter, ConnectorError, Outputs, Table, TableWriter};
use tidemill_model::table::SLAB_TABLE_BYTES_MAX;
use tidemill_model::{Counts, SmallTable, TableRef};

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
        let schema = match &at {
            At::Memory(bytes) => reader(Cursor::new(bytes.clone()), table)?.schema(),
            At::File(path) => reader(open_file(path, table)?, table)?.schema(),
        };
        Ok(Arc::new(StoredTable { schema, at, table: table.clone() }))
    }

    fn folder_for(&self, hash: &str) -> PathBuf {
        self.folder.join(hash.get(..2).unwrap_or("00"))
    }
}

fn gone(table: &TableRef) -> ConnectorError {
    ConnectorError::internal(format!("table `{}` is not there any more", table.name))
        .help("run `tidemill doctor`; running the DAG again makes the table anew")
}

fn open_file(path: &Path, table: &TableRef) -> Result<BufReader<File>, ConnectorError> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(256 * 1024, file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(gone(table)),
        Err(error) => Err(ConnectorError::io("read the table", path, &error)),
    }
}

fn reader<R: Read + Seek>(from: R, table: &TableRef) -> Result<FileReader<R>, ConnectorError> {
    FileReader::try_new(from, None).map_err(|error| {
        ConnectorError::internal(format!("table `{}` cannot be read: {error}", table.name))
    })
}

#[derive(Debug)]
enum At {
    Memory(Bytes),
    File(PathBuf),
}

#[derive(Debug)]
struct StoredTable {
    schema: SchemaRef,
    at: At,
    table: TableRef,
}

impl Table for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn rows(&self) -> u64 {
        self.table.rows
    }

    fn bytes(&self) -> u64 {
        self.table.bytes
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        Ok(match &self.at {
            At::Memory(bytes) => {
                Box::new(reader(Cursor::new(bytes.clone()), &self.table)?.map(|b| Ok(b?)))
            }
            At::File(path) => {
                Box::new(reader(open_file(path, &self.table)?, &self.table)?.map(|b| Ok(b?)))
            }
        })
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
        let error = format!("cannot write the table `{table}` to `{folder}`: {error}");
        let error = ConnectorError::internal(error);
        if full {
            error.help("free some space on its disk, then run the task again")
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
                let schema = reader(Cursor::new(bytes.clone()), &found.table)?.schema();
                Ok(Some(Arc::new(StoredTable {
                    schema,
                    at: At::Memory(bytes),
                    table: found.table,
                })))
            }
        }
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
        let full =
            if name.is_empty() { self.task.clone() } else { format!("{}.{name}", self.task) };
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let spool = Spool::new(&self.store.folder);
        let schema_hash = schema_hash(&schema);
        let writer = FileWriter::try_new_with_options(spool, &schema, options)?;
        Ok(Box::new(Writer {
            name: name.to_owned(),
            full,
            outputs: self.clone(),
            file: writer,
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
    file: FileWriter<Spool>,
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
        // `into_inner` ends the file with its footer.
        let spool = file.into_inner().map_err(|error| outputs.cannot_write(&full, error))?;
        let (hash, bytes, small) = spool.finish(&outputs.store)?;
        let table = TableRef { name: full, hash, rows, bytes, schema };
        outputs.lock().finished.push((name, Finished { table, small }));
        Ok(())
    }
}

/// Bytes that stay in memory while they are few, hashed on the way.
struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
    file: Option<(File, Temporary)>,
    hash: Sha256,
    bytes: u64,
}

/// A file that goes when it is not kept.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Spool {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            memory: Vec::new(),
            file: None,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn go_to_disk(&mut self) -> std::io::Result<()> {
        let n = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{n}.tmp", std::process::id()));
        let mut file = File::create(&path)?;
        let temporary = Temporary { path, kept: false };
        file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.file = Some((file, temporary));
        Ok(())
    }

    fn finish(self, store: &TableStore) -> Result<(String, u64, Option<Bytes>), ConnectorError> {
        let hash = hex::encode(&self.hash.finalize()[..16]);
        let Some((file, mut temporary)) = self.file else {
            return Ok((hash, self.bytes, Some(self.memory.into())));
        };
        let folder = store.folder_for(&hash);
        let path = table_path(&store.folder, &hash);
        let publish = || -> std::io::Result<()> {
            file.sync_all()?;
            std::fs::create_dir_all(&folder)?;
            std::fs::rename(&temporary.path, &path)?;
            File::open(&folder)?.sync_all()?;
            File::open(&store.folder)?.sync_all()
        };
        publish().map_err(|error| ConnectorError::io("write the table", &path, &error))?;
        temporary.kept = true;
        Ok((hash, self.bytes, None))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        match &mut self.file {
            Some((file, _)) => file.write_all(bytes)?,
            None => {
                self.memory.extend_from_slice(bytes);
                if self.bytes > SLAB_TABLE_BYTES_MAX {
                    self.go_to_disk()?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
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
