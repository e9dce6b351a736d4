//! A Parquet file as it is read: some columns of some rows, without the pages between them.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, BinaryArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::PageIndexPolicy;
use serde::de::DeserializeOwned;
use tidemill_store::StoreError;

use crate::files::damaged;

/// Rows that are read at once from the front to the back.
const BATCH_ROWS: usize = 4_096;

/// A file, of which what is at its end is read once.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    metadata: Mutex<Option<ArrowReaderMetadata>>,
}

impl ParquetFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, metadata: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn bad(&self, error: impl ToString) -> StoreError {
        damaged(&self.path, error)
    }

    /// The file is opened each time: there may be more segments than a process may have files.
    fn open(&self) -> Result<(File, ArrowReaderMetadata), StoreError> {
        let file = File::open(&self.path).map_err(|error| self.bad(error))?;
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        if metadata.is_none() {
            let options = ArrowReaderOptions::new()
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Optional);
            let loaded = ArrowReaderMetadata::load(&file, options);
            *metadata = Some(loaded.map_err(|error| self.bad(error))?);
        }
        let metadata = metadata.clone().ok_or_else(|| self.bad("it has no end"))?;
        Ok((file, metadata))
    }

    fn group_rows(&self) -> Result<Vec<usize>, StoreError> {
        let (_, metadata) = self.open()?;
        let groups = metadata.metadata().row_groups();
        Ok(groups.iter().map(|group| group.num_rows() as usize).collect())
    }

    /// How many row groups there are.
    pub(crate) fn groups(&self) -> Result<usize, StoreError> {
        Ok(self.group_rows()?.len())
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> Result<usize, StoreError> {
        Ok(self.group_rows()?.iter().sum())
    }

    /// Columns of rows, which are given in order and do not meet.
    pub(crate) fn read(
        &self,
        columns: &[&str],
        rows: &[Range<usize>],
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let (file, metadata) = self.open()?;
        let (mut groups, mut wanted, mut total) = (Vec::new(), Vec::new(), 0);
        let mut start = 0;
        for (at, group) in metadata.metadata().row_groups().iter().enumerate() {
            let end = start + group.num_rows() as usize;
            let inside = rows.iter().filter_map(|rows| {
                let (from, to) = (rows.start.max(start), rows.end.min(end));
                (from < to).then(|| from - start + total..to - start + total)
            });
            let before = wanted.len();
            wanted.extend(inside);
            if wanted.len() > before {
                groups.push(at);
                total += end - start;
            }
            start = end;
        }
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let count: usize = wanted.iter().map(Range::len).sum();
        let selection = RowSelection::from_consecutive_ranges(wanted.into_iter(), total);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder
            .with_row_groups(groups)
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(count.clamp(1, BATCH_ROWS))
            .build()
            .map_err(|error| self.bad(error))?;
        reader.map(|batch| batch.map_err(|error| self.bad(error))).collect()
    }

    /// Columns of some row groups, from the front to the back.
    pub(crate) fn scan(
        &self,
        columns: &[&str],
        groups: Option<Vec<usize>>,
        passed: &[Range<usize>],
    ) -> Result<ParquetRecordBatchReader, StoreError> {
        let (file, metadata) = self.open()?;
        let all = metadata.metadata().row_groups();
        let groups = groups.unwrap_or_else(|| (0..all.len()).collect());
        let starts: Vec<usize> = all
            .iter()
            .scan(0, |start, group| {
                let at = *start;
                *start += group.num_rows() as usize;
                Some(at)
            })
            .collect();
        let (mut wanted, mut total) = (Vec::new(), 0);
        for group in &groups {
            let (start, rows) = (starts[*group], all[*group].num_rows() as usize);
            let mut from = start;
            for gap in passed.iter().filter(|gap| gap.end > start && gap.start < start + rows) {
                if gap.start > from {
                    wanted.push(from - start + total..gap.start - start + total);
                }
                from = from.max(gap.end);
            }
            if from < start + rows {
                wanted.push(from - start + total..rows + total);
            }
            total += rows;
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let mut builder =
            builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH_ROWS);
        if !passed.is_empty() {
            let selection = RowSelection::from_consecutive_ranges(wanted.into_iter(), total);
            builder = builder.with_row_selection(selection);
        }
        builder.build().map_err(|error| self.bad(error))
    }

    /// The records of rows.
    pub(crate) fn records<T: DeserializeOwned>(
        &self,
        rows: &[Range<usize>],
    ) -> Result<Vec<T>, StoreError> {
        let mut records = Vec::new();
        for batch in self.read(&[crate::columns::RECORD], rows)? {
            let column = self.binary(&batch, crate::columns::RECORD)?;
            for value in column {
                records.push(self.record(value)?);
            }
        }
        Ok(records)
    }

    /// A record, out of what its column holds.
    pub(crate) fn record<T: DeserializeOwned>(
        &self,
        value: Option<&[u8]>,
    ) -> Result<T, StoreError> {
        let value = value.ok_or_else(|| self.bad("a record is missing"))?;
        serde_json::from_slice(value).map_err(|error| self.bad(error))
    }

    fn column<'b, T: Array + 'static>(
        &self,
        batch: &'b RecordBatch,
        name: &str,
    ) -> Result<&'b T, StoreError> {
        let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
        column.ok_or_else(|| self.bad(format!("it has no column `{name}` of its kind")))
    }

    pub(crate) fn binary<'b>(
        &self,
        batch: &'b RecordBatch,
        name: &str,
    ) -> Result<&'b BinaryArray, StoreError> {
        self.column(batch, name)
    }

    pub(crate) fn text<'b>(
        &self,
        batch: &'b RecordBatch,
        name: &str,
    ) -> Result<&'b StringArray, StoreError> {
        self.column(batch, name)
    }

    pub(crate) fn int<'b>(
        &self,
        batch: &'b RecordBatch,
        name: &str,
    ) -> Result<&'b Int64Array, StoreError> {
        self.column(batch, name)
    }
}

/// Rows of a file, one after another, of which some are passed over.
pub(crate) struct Forward<'f> {
    file: &'f ParquetFile,
    reader: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// The row at which the batch begins.
    start: usize,
}

impl<'f> Forward<'f> {
    pub(crate) fn new(file: &'f ParquetFile, columns: &[&str]) -> Result<Self, StoreError> {
        let reader = file.scan(columns, None, &[])?;
        Ok(Self { file, reader, batch: None, start: 0 })
    }

    /// The batch that holds a row, and the row's place in it. Rows are asked for in order.
    pub(crate) fn at(&mut self, row: usize) -> Result<(&RecordBatch, usize), StoreError> {
        loop {
            let rows = self.batch.as_ref().map_or(0, RecordBatch::num_rows);
            if self.batch.is_some() && row < self.start + rows {
                break;
            }
            self.start += rows;
            let next = self.reader.next().ok_or_else(|| self.file.bad("it ends too early"))?;
            self.batch = Some(next.map_err(|error| self.file.bad(error))?);
        }
        let batch = self.batch.as_ref().ok_or_else(|| self.file.bad("it ends too early"))?;
        Ok((batch, row - self.start))
    }
}
