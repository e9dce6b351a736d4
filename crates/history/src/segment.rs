//! A segment as it is read.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::Array;
use tidemill_model::run::StoredItem;
use tidemill_model::{RunId, RunState, TaskIx, TaskRun, Timestamp};
use tidemill_store::{RunSummary, StoreError, WholeRun};

use crate::columns::{RunRecord, TABLES, task_count};
use crate::files::damaged;
use crate::keys::{DagKeys, KEYS, Keys};
use crate::manifest::{FileInfo, SegmentInfo, segment_in};
use crate::read::ParquetFile;
use crate::write::{ITEMS, RUNS, TASKS};

/// An open segment. It never changes.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    dir: PathBuf,
    keys: Mutex<Option<Arc<Keys>>>,
    pub(crate) runs: ParquetFile,
    pub(crate) tasks: ParquetFile,
    pub(crate) items: Option<ParquetFile>,
}

/// What is needed of every run of a segment to make a list.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) created: Vec<Timestamp>,
    pub(crate) number: Vec<u64>,
    pub(crate) state: Vec<RunState>,
    /// The rows in the order of lists, oldest first.
    pub(crate) order: Vec<u32>,
}

impl Segment {
    pub(crate) fn new(root: &Path, info: &SegmentInfo) -> Self {
        let dir = segment_in(root, &info.name);
        let has_items = info.files.iter().any(|file: &FileInfo| file.name == ITEMS);
        Self {
            name: info.name.clone(),
            keys: Mutex::default(),
            runs: ParquetFile::new(dir.join(RUNS)),
            tasks: ParquetFile::new(dir.join(TASKS)),
            items: has_items.then(|| ParquetFile::new(dir.join(ITEMS))),
            dir,
        }
    }

    /// Its runs by DAG. They are small, and stay in memory once they were read.
    pub(crate) fn keys(&self) -> Result<Arc<Keys>, StoreError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = &*keys {
            return Ok(Arc::clone(keys));
        }
        let read = Arc::new(Keys::read(&self.dir.join(KEYS))?);
        Ok(Arc::clone(keys.insert(read)))
    }

    /// Reads what lists need.
    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        let all = 0..self.runs.rows()?;
        let (mut created, mut number, mut state) = (Vec::new(), Vec::new(), Vec::new());
        for batch in self.runs.read(&["number", "state", "created_at"], &[all])? {
            let numbers = self.runs.int(&batch, "number")?;
            number.extend(numbers.values().iter().map(|n| *n as u64));
            let bad = || damaged(self.runs.path(), "a run has no state");
            for word in self.runs.text(&batch, "state")? {
                let known = RunState::ALL.into_iter().find(|state| Some(state.label()) == word);
                state.push(known.ok_or_else(bad)?);
            }
            let bad = || damaged(self.runs.path(), "a run was never created");
            let instants = batch.column_by_name("created_at").and_then(|column| {
                column.as_any().downcast_ref::<arrow::array::TimestampMicrosecondArray>()
            });
            let instants = instants.ok_or_else(bad)?;
            created.extend(instants.values().iter().map(|at| Timestamp::from_micros(*at)));
        }
        let mut order: Vec<u32> = (0..created.len() as u32).collect();
        // Rows of one instant are in the order of ids already.
        order.sort_by_key(|row| created[*row as usize]);
        Ok(Index { created, number, state, order })
    }

    /// The row of a run, if it is here.
    pub(crate) fn row(&self, id: &RunId) -> Result<Option<usize>, StoreError> {
        let keys = self.keys()?;
        let Some(dag) = keys.dags.get(&id.dag) else { return Ok(None) };
        let Some(rank) = dag.rank(id.number) else { return Ok(None) };
        if dag.in_order {
            return Ok(Some((dag.start + rank) as usize));
        }
        self.row_out_of_order(dag, id)
    }

    /// The clock was set back between two runs, so rows are not in the order of numbers.
    fn row_out_of_order(&self, dag: &DagKeys, id: &RunId) -> Result<Option<usize>, StoreError> {
        let mut row = dag.rows().start;
        for batch in self.runs.read(&["number"], &[dag.rows()])? {
            let numbers = self.runs.int(&batch, "number")?;
            if let Some(at) = numbers.values().iter().position(|n| *n as u64 == id.number) {
                return Ok(Some(row + at));
            }
            row += batch.num_rows();
        }
        Ok(None)
    }

    /// The record of a run.
    pub(crate) fn record(&self, row: usize) -> Result<RunRecord, StoreError> {
        let found = self.runs.records(std::slice::from_ref(&(row..row + 1)))?.pop();
        found.ok_or_else(|| damaged(self.runs.path(), format!("row {row} is missing")))
    }

    /// A run with its tasks.
    pub(crate) fn whole(&self, row: usize) -> Result<WholeRun, StoreError> {
        let RunRecord { position, summary, tasks_from, .. } = self.record(row)?;
        let from = tasks_from as usize;
        let rows = from..from + task_count(&summary);
        let tasks: Vec<TaskRun> = self.tasks.records(std::slice::from_ref(&rows))?;
        if tasks.len() < rows.len() {
            let what = format!("tasks of run {} are missing", summary.head.id);
            return Err(damaged(self.tasks.path(), what));
        }
        Ok(WholeRun { position, summary, tasks })
    }

    /// The runs of rows, which are given in order.
    pub(crate) fn summaries(&self, rows: &[usize]) -> Result<Vec<RunSummary>, StoreError> {
        let ranges: Vec<Range<usize>> = joined(rows);
        let records: Vec<RunRecord> = self.runs.records(&ranges)?;
        if records.len() < rows.len() {
            return Err(damaged(self.runs.path(), "runs are missing"));
        }
        Ok(records.into_iter().map(|record| *record.summary).collect())
    }

    /// Items of a run, of one task from `first` on or of all, at most `limit`.
    pub(crate) fn items(
        &self,
        row: usize,
        of: Option<(TaskIx, u32)>,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        let (from, count) = self.record(row)?.items;
        let Some(file) = self.items.as_ref().filter(|_| count > 0) else { return Ok(Vec::new()) };
        let all = from as usize..from as usize + count as usize;
        let rows = match of {
            None => vec![all],
            Some((task, first)) => item_rows(file, &all, task, first)?,
        };
        let wanted = |item: &StoredItem| {
            of.is_none_or(|(task, first)| item.task == task && item.item >= first)
        };
        let mut items = Vec::new();
        // A few rows at a time: whoever wants ten items does not wait for 100,000.
        for rows in rows
            .iter()
            .flat_map(|rows| rows.clone().step_by(16).map(|from| from..rows.end.min(from + 16)))
        {
            let chunks: Vec<Vec<StoredItem>> = file.records(&[rows])?;
            items.extend(chunks.into_iter().flatten().filter(wanted));
            if items.len() >= limit {
                break;
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// The hash of every table that its runs name.
    pub(crate) fn visit_tables(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        for file in std::iter::once(&self.tasks).chain(&self.items) {
            for batch in file.scan(&[TABLES], None, &[])? {
                let batch = batch.map_err(|error| damaged(file.path(), error))?;
                let column = file.text(&batch, TABLES)?;
                column.iter().flatten().flat_map(|joined| joined.split(',')).for_each(&mut *visit);
            }
        }
        Ok(())
    }
}

/// The rows that hold the items of a task from `first` on.
fn item_rows(
    file: &ParquetFile,
    all: &Range<usize>,
    task: TaskIx,
    first: u32,
) -> Result<Vec<Range<usize>>, StoreError> {
    let mut rows = Vec::new();
    let mut at = all.start;
    for batch in file.read(&["task", "first"], std::slice::from_ref(all))? {
        let (tasks, firsts) = (file.int(&batch, "task")?, file.int(&batch, "first")?);
        for (of, begin) in tasks.values().iter().zip(firsts.values()) {
            if *of == i64::from(task.0) {
                // The row before may reach to `first`.
                if *begin <= i64::from(first) {
                    rows.clear();
                }
                rows.push(at);
            }
            at += 1;
        }
    }
    Ok(joined(&rows))
}

/// Rows that follow each other, put together.
pub(crate) fn joined(rows: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == *row => last.end += 1,
            _ => ranges.push(*row..*row + 1),
        }
    }
    ranges
}
