//! Connectors that misbehave on purpose.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{Connector, ConnectorError, Guarantee, Source, SourceContext};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Rows in its own way.
macro_rules! source {
    ($connector:ident, $source:ident, $name:literal, $next:expr) => {
        pub(crate) struct $connector;
        struct $source;

        #[async_trait]
        impl Connector for $connector {
            type SourceConfig = NoConfig;
            type SinkConfig = NoConfig;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "for tests";
            const SOURCE_EXAMPLE: &'static str = "{}";
            const SINK_EXAMPLE: &'static str = "";
            const GUARANTEE: Option<Guarantee> = None;

            async fn source(
                &self,
                _: NoConfig,
                _: SourceContext,
            ) -> Result<Box<dyn Source>, ConnectorError> {
                Ok(Box::new($source))
            }
        }

        #[async_trait]
        impl Source for $source {
            fn schema(&self) -> SchemaRef {
                schema()
            }

            async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
                $next.await
            }
        }
    };
}

source!(Hanging, HangingSource, "hanging", std::future::pending());
source!(Endless, EndlessSource, "endless", async {
    // Wide enough that the table leaves memory.
    let numbers: Int64Array = (0..10_000).map(|n| n * 2_654_435_761_i64).collect();
    Ok(Some(RecordBatch::try_new(schema(), vec![Arc::new(numbers)])?))
});
source!(Busy, BusySource, "busy", async {
    Err(ConnectorError::retry_after("`shop` answered 503", std::time::Duration::from_mins(10)))
});
source!(Broken, BrokenSource, "broken", async { panic!("this connector panics on purpose") });
