//! From the rows of chunks to batches.
//!
//! Where a batch is cut depends on the chunks alone, and so on the bytes of the input alone.

use std::iter::Peekable;
use std::vec::IntoIter;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use tidemill_connector::{ConnectorError, RejectedRow};

use super::parse::Parsed;
use crate::rejects::Rejects;

/// Rows of small chunks are put together until they had this much text.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Cuts chunks into batches.
pub(crate) struct Batches {
    schema: SchemaRef,
    rows_max: usize,
    /// The batch that grows: its parts, their rows, and the bytes of the chunks they are from.
    parts: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    chunk: Option<Chunk>,
}

/// The chunk at hand.
struct Chunk {
    rows: RecordBatch,
    /// The rows before this one were taken.
    at: usize,
    rejects: Peekable<IntoIter<(usize, RejectedRow)>>,
    /// Rows of a batch.
    rows_max: usize,
    /// Whether its batches hold rows of no other chunk, so that nothing needs to be copied.
    alone: bool,
}

impl Batches {
    pub(crate) fn new(schema: SchemaRef, rows_max: usize) -> Self {
        let rows_max = rows_max.max(1);
        Self { schema, rows_max, parts: Vec::new(), rows: 0, bytes: 0, chunk: None }
    }

    /// Adds a chunk, when [`Batches::cut`] has no more for now.
    pub(crate) fn add(&mut self, parsed: Parsed) {
        let rows = parsed.rows.num_rows();
        let alone = rows >= self.rows_max;
        // A large chunk makes batches of one size, rather than a small one at its end.
        let rows_max =
            if alone { rows.div_ceil(rows.div_ceil(self.rows_max)) } else { self.rows_max };
        let rejects = parsed.rejects.into_iter().peekable();
        self.bytes += parsed.bytes;
        self.chunk = Some(Chunk { rows: parsed.rows, at: 0, rejects, rows_max, alone });
    }

    /// A batch, and the bad rows before its end; `None` when the next chunk is needed for one.
    pub(crate) fn cut(
        &mut self,
        rejects: &mut Rejects,
    ) -> Result<Option<RecordBatch>, ConnectorError> {
        while let Some(chunk) = &mut self.chunk {
            let begun = chunk.at == 0 && self.rows > 0;
            if self.rows >= chunk.rows_max || (chunk.alone && begun) {
                return self.take();
            }
            let reject = chunk.rejects.peek().map(|(before, _)| *before);
            let until = reject.unwrap_or(chunk.rows.num_rows());
            if chunk.at < until {
                let rows = (until - chunk.at).min(chunk.rows_max - self.rows);
                self.parts.push(chunk.rows.slice(chunk.at, rows));
                (self.rows, chunk.at) = (self.rows + rows, chunk.at + rows);
            } else if let Some((_, reject)) = chunk.rejects.next() {
                rejects.add(reject);
                if rejects.are_due(self.rows)? {
                    return self.take();
                }
            } else {
                let alone = chunk.alone;
                self.chunk = None;
                if alone || self.bytes >= BATCH_BYTES_MAX {
                    return self.take();
                }
            }
        }
        Ok(None)
    }

    /// The rows so far, if there are any.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        self.rows = 0;
        if self.chunk.is_none() {
            self.bytes = 0;
        }
        let parts = std::mem::take(&mut self.parts);
        match parts.as_slice() {
            [] => Ok(None),
            [whole] => Ok(Some(whole.clone())),
            parts => Ok(Some(concat_batches(&self.schema, parts)?)),
        }
    }
}
