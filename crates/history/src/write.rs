//! A segment as it is written: into a folder of another name, which is renamed when all of it is
//! synced.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tidemill_model::run::StoredItem;
use tidemill_store::{StoreError, WholeRun};

use crate::columns::{
    ItemsRow, RECORD, RunRecord, TABLES, TaskRow, items_file, items_rows, runs_file, runs_rows,
    task_count, tasks_file, tasks_rows,
};
use crate::files::{Files, OutFile, damaged, failed, write_synced};
use crate::keys::{KEYS, Keys};
use crate::manifest::{SegmentInfo, digest, file_info, segment_in, segments_in};

/// The file of runs.
pub(crate) const RUNS: &str = "runs.parquet";
/// The file of tasks.
pub(crate) const TASKS: &str = "tasks.parquet";
/// The file of items; only where there are some.
pub(crate) const ITEMS: &str = "items.parquet";

/// Rows that are handed to the file at once.
const BATCH_ROWS: usize = 2_048;
/// Rows of a row group: what is held in memory, compressed.
const GROUP_ROWS: usize = 64 * 1_024;
/// Bytes of records in a page, before compression: what is read to find one of them.
const RECORD_PAGE_BYTES: usize = 24 << 10;
/// Items in a row.
const ITEMS_IN_ROW: usize = 64;

/// A file that syncs, behind the writer of Parquet.
struct Synced(Box<dyn OutFile>);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A Parquet file that grows.
struct Out {
    path: PathBuf,
    writer: ArrowWriter<io::BufWriter<Synced>>,
}

impl Out {
    fn create(files: &dyn Files, path: PathBuf, schema: SchemaRef) -> Result<Self, StoreError> {
        let file = files.create(&path).map_err(|error| failed(&path, &error))?;
        let level = ZstdLevel::try_new(3).unwrap_or_default();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            // Pages end only where a small batch does.
            .set_write_batch_size(32)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_dictionary_enabled(RECORD.into(), false)
            .set_column_dictionary_enabled(TABLES.into(), false)
            .set_column_statistics_enabled(RECORD.into(), EnabledStatistics::None)
            .set_column_data_page_size_limit(RECORD.into(), RECORD_PAGE_BYTES)
            .build();
        let file = io::BufWriter::with_capacity(256 << 10, Synced(file));
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .map_err(|error| broken(&path, &error))?;
        Ok(Self { path, writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        self.writer.write(batch).map_err(|error| broken(&self.path, &error))
    }

    fn finish(self) -> Result<(), StoreError> {
        let Self { path, writer } = self;
        let file = writer.into_inner().map_err(|error| broken(&path, &error))?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|mut file| file.0.sync()).map_err(|error| failed(&path, &error))
    }
}

/// What was said of the disk, out of Parquet's words.
fn broken(path: &Path, error: &ParquetError) -> StoreError {
    if let ParquetError::External(inner) = error
        && let Some(inner) = inner.downcast_ref::<io::Error>()
    {
        return failed(path, inner);
    }
    damaged(path, error)
}

/// A segment under way. Dropped unfinished, it leaves a folder that the next start removes.
pub(crate) struct SegmentWriter {
    files: Arc<dyn Files>,
    root: PathBuf,
    name: String,
    temp: PathBuf,
    keys: Keys,
    runs: Out,
    tasks: Out,
    items: Option<Out>,
    run_rows: Vec<RunRecord>,
    task_rows: Vec<TaskRow>,
    items_rows: u64,
}

impl SegmentWriter {
    /// Begins a segment, made of those that it `replaces`.
    pub(crate) fn begin(
        files: &Arc<dyn Files>,
        root: &Path,
        name: String,
        replaces: Vec<String>,
    ) -> Result<Self, StoreError> {
        let temp = segment_in(root, &format!("{name}.tmp"));
        for old in [&temp, &segment_in(root, &name)] {
            // An earlier try that did not get into the manifest.
            if old.exists() {
                files.remove_dir(old).map_err(|error| failed(old, &error))?;
            }
        }
        files.make_dir(&temp).map_err(|error| failed(&temp, &error))?;
        let runs = Out::create(&**files, temp.join(RUNS), runs_file())?;
        let tasks = Out::create(&**files, temp.join(TASKS), tasks_file())?;
        Ok(Self {
            files: Arc::clone(files),
            root: root.to_owned(),
            name,
            temp,
            keys: Keys { replaces, ..Keys::default() },
            runs,
            tasks,
            items: None,
            run_rows: Vec::new(),
            task_rows: Vec::new(),
            items_rows: 0,
        })
    }

    /// Takes in the items of the run that comes next: all of a task's before those of another.
    pub(crate) fn items(&mut self, items: &[StoredItem]) -> Result<u32, StoreError> {
        if items.is_empty() {
            return Ok(0);
        }
        let mut rows: Vec<ItemsRow> = Vec::new();
        for item in items {
            match rows.last_mut() {
                Some(row) if row.task == item.task.0 && row.items.len() < ITEMS_IN_ROW => {
                    row.items.push(item.clone());
                }
                _ => rows.push(ItemsRow {
                    task: item.task.0,
                    first: item.item,
                    items: vec![item.clone()],
                }),
            }
        }
        let out = match &mut self.items {
            Some(out) => out,
            None => {
                let out = Out::create(&*self.files, self.temp.join(ITEMS), items_file())?;
                self.items.insert(out)
            }
        };
        out.write(&items_rows(&rows)?)?;
        self.items_rows += rows.len() as u64;
        Ok(rows.len() as u32)
    }

    /// Takes in a run, with so many rows of items that came before. Runs come by DAG, creation and
    /// number.
    pub(crate) fn run(
        &mut self,
        run: WholeRun,
        names: &[String],
        items: u32,
    ) -> Result<(), StoreError> {
        let WholeRun { position, summary, mut tasks } = run;
        tasks.resize_with(task_count(&summary), Default::default);
        let head = &summary.head;
        let tasks_from = self.keys.tasks;
        self.keys.push(&head.id, head.created_at, head.state, tasks.len());
        self.task_rows.extend(tasks.into_iter().enumerate().map(|(at, task)| TaskRow {
            run: head.id.clone(),
            name: names.get(at).cloned().unwrap_or_else(|| format!("#{at}")),
            task,
        }));
        let items = (self.items_rows - u64::from(items), items);
        self.run_rows.push(RunRecord { position, summary, tasks_from, items });
        if self.run_rows.len() >= BATCH_ROWS || self.task_rows.len() >= BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.run_rows.is_empty() {
            self.runs.write(&runs_rows(&self.run_rows)?)?;
            self.run_rows.clear();
        }
        for rows in self.task_rows.chunks(BATCH_ROWS) {
            self.tasks.write(&tasks_rows(rows)?)?;
        }
        self.task_rows.clear();
        Ok(())
    }

    /// Makes it durable under its name; `None` if nothing is in it.
    pub(crate) fn finish(mut self) -> Result<Option<SegmentInfo>, StoreError> {
        if self.keys.runs == 0 {
            self.files.remove_dir(&self.temp).map_err(|error| failed(&self.temp, &error))?;
            return Ok(None);
        }
        self.flush()?;
        let Self { files, root, name, temp, mut keys, runs, tasks, items, .. } = self;
        runs.finish()?;
        tasks.finish()?;
        let mut names = vec![RUNS, TASKS];
        if let Some(items) = items {
            items.finish()?;
            names.push(ITEMS);
        }
        keys.finish();
        let path = temp.join(KEYS);
        let text = serde_json::to_vec(&keys).map_err(|error| damaged(&path, error))?;
        write_synced(&*files, &path, &text)?;
        names.push(KEYS);
        let infos = names
            .into_iter()
            .map(|name| file_info(&temp.join(name), name.to_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        files.sync_dir(&temp).map_err(|error| failed(&temp, &error))?;
        let dir = segment_in(&root, &name);
        files.rename(&temp, &dir).map_err(|error| failed(&dir, &error))?;
        let parent = segments_in(&root);
        files.sync_dir(&parent).map_err(|error| failed(&parent, &error))?;
        Ok(keys.info(name, infos))
    }
}

/// Whether a file is as the manifest says; an error says what is wrong.
pub(crate) fn verify(path: &Path, bytes: u64, sha256: &str) -> Result<(), String> {
    match digest(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("it is missing".to_owned()),
        Err(error) => Err(format!("it cannot be read: {error}")),
        Ok((found, _)) if found != bytes => Err(format!("it has {found} bytes instead of {bytes}")),
        Ok((_, found)) if found != sha256 => Err("it does not match its checksum".to_owned()),
        Ok(_) => Ok(()),
    }
}
