//! Aggregates of large tables, slice by slice on several threads.
//!
//! A query is one stream of batches in row order, so that its result is repeatable. Where the
//! result cannot depend on how rows are grouped on the way (counts, extremes, sums of whole numbers
//! and decimals; not sums of floats), a table that lies in a file is cut into slices that follow
//! each other, each is aggregated by itself, and the states are merged in the order of the slices.
//! How a table is cut depends on the table alone, not on the machine; so groups come in the order
//! in which the table has them, as they would from one stream.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::{
    RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter,
};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::StreamExt;

use crate::scan::{Scan, properties};

/// Batches that a slice is ahead of who merges.
const AHEAD_BATCHES: usize = 1;

/// Cuts the tables below aggregates where that pays and changes no result.
pub(crate) fn sliced(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
            return Ok(Transformed::no(node));
        };
        Ok(match in_slices(aggregate)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(node),
        })
    })
    .data()
}

fn in_slices(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let single =
        matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned);
    let exact = aggregate.aggr_expr().iter().all(|function| is_exact(function));
    if !single || !exact || aggregate.limit_options().is_some() {
        return Ok(None);
    }
    let Some(input) = cut(aggregate.input())? else { return Ok(None) };
    let filters = aggregate.filter_expr().to_vec();
    let partial = Arc::new(AggregateExec::try_new(
        AggregateMode::Partial,
        aggregate.group_expr().clone(),
        aggregate.aggr_expr().to_vec(),
        filters.clone(),
        input,
        aggregate.input_schema(),
    )?);
    let (groups, functions) = (partial.group_expr().as_final(), partial.aggr_expr().to_vec());
    Ok(Some(Arc::new(AggregateExec::try_new(
        AggregateMode::Final,
        groups,
        functions,
        filters,
        Arc::new(InOrder::new(partial)),
        aggregate.input_schema(),
    )?)))
}

/// Whether the function gives the same, to the last bit, however rows are grouped on the way.
fn is_exact(function: &AggregateFunctionExpr) -> bool {
    let of = function.field().data_type().clone();
    let exact = match function.fun().name() {
        "count" | "min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or" | "bit_xor" => true,
        "sum" => of.is_integer() || is_decimal(&of),
        "avg" => is_decimal(&of),
        _ => false,
    };
    exact && !function.is_distinct() && function.order_bys().is_empty()
}

fn is_decimal(of: &DataType) -> bool {
    matches!(of, DataType::Decimal128(_, _) | DataType::Decimal256(_, _))
}

/// The plan over slices of its table; `None` if it is more than filters and projections over a
/// table that can be cut.
fn cut(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<Scan>() {
        return Ok(scan.sliced().map(|scan| Arc::new(scan) as _));
    }
    let row_by_row = match plan.downcast_ref::<FilterExec>() {
        Some(filter) => filter.fetch().is_none(),
        None => plan.is::<ProjectionExec>() || plan.is::<CooperativeExec>(),
    };
    let [input] = plan.children()[..] else { return Ok(None) };
    match cut(input)?.filter(|_| row_by_row) {
        Some(input) => {
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            plan.clone().replace_children(vec![input], anew).map(Some)
        }
        None => Ok(None),
    }
}

/// The rows of every partition of its input, one partition after the other, worked out side by
/// side.
#[derive(Debug)]
struct InOrder {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InOrder {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = properties(&input.schema(), 1);
        Self { input, properties }
    }
}

impl DisplayAs for InOrder {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "InOrder")
    }
}

impl ExecutionPlan for InOrder {
    fn name(&self) -> &'static str {
        "InOrder"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = inputs.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let parts = self.input.output_partitioning().partition_count();
        let parts: Vec<_> = (0..parts)
            .map(|part| self.input.execute(part, context.clone()).map(spawned))
            .collect::<Result<_>>()?;
        let rows = futures::stream::iter(parts).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(inputs.first().cloned().unwrap_or_else(unknown))
    }
}

/// The stream, worked on from now on, on whichever thread is free. Dropping it ends the work.
fn spawned(mut stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut builder = RecordBatchReceiverStreamBuilder::new(stream.schema(), AHEAD_BATCHES);
    let sender = builder.tx();
    builder.spawn(async move {
        while let Some(batch) = stream.next().await {
            let failed = batch.is_err();
            if sender.send(batch).await.is_err() || failed {
                break;
            }
        }
        Ok(())
    });
    builder.build()
}
