//! [`Rows`]: the result of a query, as it is computed.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tidemill_connector::ConnectorError;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::error::{broken, explain};
use crate::turns::{EndOnDrop, Wanted};
use crate::types::Shape;

/// Batches computed ahead of the reader.
const AHEAD_BATCHES: usize = 2;

/// The rows of a query, batch by batch, in the types of the house.
///
/// Dropping it ends the query.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    reads: Vec<String>,
    batches: mpsc::Receiver<Result<RecordBatch, ConnectorError>>,
    task: Option<Task<()>>,
    ends: Option<EndOnDrop>,
}

impl Rows {
    /// The rows of a stream, computed on `runtime`.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        stream: SendableRecordBatchStream,
        shape: Shape,
        reads: Vec<String>,
        memory_bytes: usize,
    ) -> Self {
        let (sender, batches) = mpsc::channel(AHEAD_BATCHES);
        let schema = shape.schema().clone();
        let task = Some(Task(runtime.spawn(pump(stream, shape, sender, memory_bytes))));
        Self { schema, reads, batches, task, ends: None }
    }

    /// Tells the query when it is not wanted any more: aborting its task waits for the batch.
    pub(crate) fn ends(mut self, wanted: Wanted) -> Self {
        self.ends = Some(EndOnDrop(wanted));
        self
    }

    /// The columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The tables that the query reads, each once, in the order of their names.
    pub fn reads(&self) -> &[String] {
        &self.reads
    }

    /// The next rows, never an empty batch; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        if let Some(batch) = self.batches.recv().await {
            return batch.map(Some);
        }
        // The channel closes at the end, but also when the task panics.
        match self.task.take() {
            Some(task) => task.join().await.map(|()| None),
            None => Ok(None),
        }
    }
}

async fn pump(
    mut stream: SendableRecordBatchStream,
    shape: Shape,
    sender: mpsc::Sender<Result<RecordBatch, ConnectorError>>,
    memory_bytes: usize,
) {
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| explain(&e, memory_bytes)).and_then(|b| shape.fit(&b));
        let failed = batch.is_err();
        if matches!(&batch, Ok(batch) if batch.num_rows() == 0) {
            continue;
        }
        if sender.send(batch).await.is_err() || failed {
            return;
        }
    }
}

/// Work on the engine's threads that ends when nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Task<T>(pub(crate) JoinHandle<T>);

impl<T> Task<T> {
    /// Waits for the end. A panic becomes an error.
    pub(crate) async fn join(mut self) -> Result<T, ConnectorError> {
        (&mut self.0).await.map_err(panicked)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(error: JoinError) -> ConnectorError {
    match error.try_into_panic() {
        Ok(panic) => broken(&panic_text(panic.as_ref())),
        Err(_) => ConnectorError::cancelled(),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it gave no reason".to_owned())
}
