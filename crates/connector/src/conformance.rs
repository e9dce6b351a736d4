//! What every connector and transform must do, as functions that their tests call.

use crate::RecordBatch;
use crate::connector::{Sink, Source};
use crate::error::ConnectorError;

/// Reads a source to its end and holds it to the contract on the way: every batch has the
/// source's schema, none is empty, none exceeds `batch_rows`, and the end stays the end.
pub async fn read_all(
    source: &mut dyn Source,
    batch_rows: usize,
) -> Result<Vec<RecordBatch>, ConnectorError> {
    let schema = source.schema();
    let mut batches = Vec::new();
    while let Some(batch) = source.next_batch().await? {
        assert_eq!(batch.schema(), schema, "a batch has another schema than its source");
        assert!(batch.num_rows() > 0, "a source gives no empty batches");
        assert!(batch.num_rows() <= batch_rows, "a batch holds more than `batch_rows` rows");
        batches.push(batch);
    }
    assert!(source.next_batch().await?.is_none(), "a source that ended must stay at its end");
    Ok(batches)
}

/// Writes batches and publishes them; returns the rows the sink reports.
pub async fn write_all(
    mut sink: Box<dyn Sink>,
    batches: &[RecordBatch],
) -> Result<u64, ConnectorError> {
    for batch in batches {
        sink.write(batch).await?;
    }
    Ok(sink.finish().await?.rows)
}
