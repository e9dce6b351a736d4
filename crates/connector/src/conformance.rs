//! What every connector and transform must do, as functions that their tests call.

use serde_json::Value;

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

/// What is added to a key to misspell it.
const SLIP: &str = "q";

/// Settings with one key too many, beside each key in turn, however deep: the misspelled key, and
/// the settings with it. The language must name such a key and the one that was meant.
pub fn misspelled(settings: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match settings {
        Value::Object(entries) => {
            for (key, value) in entries {
                let wrong = format!("{key}{SLIP}");
                let mut more = entries.clone();
                more.insert(wrong.clone(), value.clone());
                all.push((wrong, Value::Object(more)));
                for (wrong, below) in misspelled(value) {
                    let mut entries = entries.clone();
                    entries.insert(key.clone(), below);
                    all.push((wrong, Value::Object(entries)));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                for (wrong, below) in misspelled(item) {
                    let mut items = items.clone();
                    items[at] = below;
                    all.push((wrong, Value::Array(items)));
                }
            }
        }
        _ => {}
    }
    all
}
