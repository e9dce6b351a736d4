//! The sink: batches into a file that appears when it is whole.

use std::sync::Arc;

use arrow::array::StructArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::json::writer::make_encoder;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tidemill_connector::{ConnectorError, Sink, SinkContext, Written};

use super::JsonlSinkConfig;
use crate::cells::JSON;
use crate::files::compress::NewFile;

/// Writes one file.
pub(crate) struct JsonlSink {
    file: NewFile,
    /// The text of the batch at hand; kept for its memory.
    text: Vec<u8>,
}

impl JsonlSink {
    /// Starts the file.
    pub(crate) fn create(
        config: &JsonlSinkConfig,
        cx: &SinkContext,
    ) -> Result<Self, ConnectorError> {
        let file = NewFile::create(&cx.resolve(&config.path), &cx.idempotency_key)?;
        Ok(Self { file, text: Vec::new() })
    }
}

#[async_trait]
impl Sink for JsonlSink {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let objects = StructArray::from(batch.clone());
        let data_type = DataType::Struct(batch.schema_ref().fields().clone());
        let field: FieldRef = Arc::new(Field::new("row", data_type, false));
        let mut encoder = make_encoder(&field, &objects, &JSON)?;
        self.text.clear();
        for row in 0..batch.num_rows() {
            encoder.encode(row, &mut self.text);
            self.text.push(b'\n');
        }
        self.file.write(&self.text, batch.num_rows())
    }

    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError> {
        self.file.publish()
    }
}
