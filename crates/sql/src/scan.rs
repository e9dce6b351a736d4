//! A [`Table`] as the engine reads it: one stream of batches in row order, or a stream for each of
//! several slices that follow each other.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::{
    RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use tidemill_connector::{BatchIter, Table};

use crate::error::pass;
use crate::types::plain;

/// Batches read ahead from a table that lies in a file.
const READ_AHEAD_BATCHES: usize = 2;
/// Slices of a table, at most.
const SLICES_MAX: u64 = 8;
/// A slice has so many rows at least.
const SLICE_ROWS_MIN: u64 = 128 * 1024;

/// What a query may read under one name.
#[derive(Debug)]
pub(crate) struct Readable {
    schema: SchemaRef,
    /// Nothing when a query is only planned.
    table: Option<Arc<dyn Table>>,
}

impl Readable {
    pub(crate) fn table(table: Arc<dyn Table>) -> Self {
        Self { schema: plain(&table.schema()), table: Some(table) }
    }

    pub(crate) fn schema_only(schema: &SchemaRef) -> Self {
        Self { schema: plain(schema), table: None }
    }
}

#[async_trait]
impl TableProvider for Readable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Arc<[usize]> = match projection {
            Some(columns) => columns.as_slice().into(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let schema = Arc::new(self.schema.project(&columns)?);
        let properties = properties(&schema, 1);
        let of = self.schema.fields().len();
        let table = self.table.clone();
        Ok(Arc::new(Scan { table, columns, of, schema, limit, properties }))
    }
}

/// What the engine is told of a plan of ours: so many partitions, in no order that it knows of.
pub(crate) fn properties(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema.clone()),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// The scan of one table.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    table: Option<Arc<dyn Table>>,
    /// The columns that the query uses, out of `of`.
    columns: Arc<[usize]>,
    of: usize,
    schema: SchemaRef,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl Scan {
    /// The same in slices, if the table is large enough and can be cut.
    pub(crate) fn sliced(&self) -> Option<Self> {
        let table = self.table.as_ref().filter(|_| self.limit.is_none())?;
        let slices = (table.rows() / SLICE_ROWS_MIN).min(SLICES_MAX).min(table.parts_max());
        let properties = properties(&self.schema, slices as usize);
        (slices > 1).then(|| Self { properties, ..self.clone() })
    }

    fn slices(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Scan")
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &'static str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, slice: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(table) = self.table.clone() else {
            return Ok(stream(self.schema.clone(), futures::stream::empty()));
        };
        let at_hand = table.path().is_none();
        let (columns, slices) = (self.columns.clone(), self.slices());
        let scan = move || match slices {
            1 => table.scan_columns(&columns),
            _ => table.scan_part(&columns, slice as u64, slices as u64),
        };
        let (schema, limit) = (self.schema.clone(), self.limit);
        let of_schema = schema.clone();
        let batches = move || scan().map(|scan| batches(scan, of_schema, limit)).map_err(pass);
        if at_hand {
            return Ok(stream(schema, futures::stream::iter(batches()?)));
        }
        // Reading and unpacking a file runs beside the query, a few batches ahead of it.
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema, READ_AHEAD_BATCHES);
        let sender = builder.tx();
        builder.spawn_blocking(move || {
            for batch in batches()? {
                if sender.blocking_send(batch).is_err() {
                    break; // The query wants no more.
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let Some(table) = &self.table {
            let rows = usize::try_from(table.rows()).unwrap_or(usize::MAX);
            let bytes = table.bytes() as usize / self.of.max(1) * self.columns.len();
            statistics = statistics
                .with_num_rows(Precision::Exact(self.limit.map_or(rows, |limit| limit.min(rows))))
                .with_total_byte_size(Precision::Inexact(bytes));
        }
        Ok(Arc::new(statistics))
    }
}

fn stream(
    schema: SchemaRef,
    batches: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// The batches of a scan under this schema, at most `limit` rows.
fn batches(
    scan: BatchIter,
    schema: SchemaRef,
    limit: Option<usize>,
) -> impl Iterator<Item = Result<RecordBatch>> + Send {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut done = false;
    scan.map_while(move |batch| {
        if left == 0 || done {
            return None;
        }
        let batch = batch.map_err(pass).and_then(|batch| {
            let rows = batch.num_rows().min(left);
            left -= rows;
            let batch = batch.slice(0, rows);
            let columns = batch.columns().to_vec();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
        });
        done = batch.is_err();
        Some(batch)
    })
}
