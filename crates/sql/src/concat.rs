//! Unions, one input after the other.
//!
//! The engine runs the inputs of a union side by side and takes rows as they come, in an order
//! that differs from run to run. Here a union is the rows of its first input, then those of the
//! second, and so on: one stream, like everything else.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::TryStreamExt;

use crate::scan::properties;

/// Puts a [`Concat`] in the place of every union.
#[derive(Debug)]
pub(crate) struct UnionsInOrder;

impl PhysicalOptimizerRule for UnionsInOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<UnionExec>() {
                return Ok(Transformed::no(node));
            }
            let inputs = node.children().into_iter().cloned().collect();
            Ok(Transformed::yes(Arc::new(Concat::new(inputs, node.as_ref())) as _))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "unions_in_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of several inputs, one input after the other.
#[derive(Debug)]
struct Concat {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl Concat {
    /// The rows of `inputs`, under the schema of `like`.
    fn new(inputs: Vec<Arc<dyn ExecutionPlan>>, like: &dyn ExecutionPlan) -> Self {
        let properties = properties(&like.schema(), 1);
        Self { inputs, properties }
    }
}

impl DisplayAs for Concat {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Concat")
    }
}

impl ExecutionPlan for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
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
        Ok(Arc::new(Self::new(inputs, self.as_ref())))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let parts: Vec<_> = self
            .inputs
            .iter()
            .flat_map(|input| {
                let parts = input.output_partitioning().partition_count();
                (0..parts).map(|part| (input.clone(), part))
            })
            .collect();
        // An input is started when the one before it has ended.
        let streams = futures::stream::iter(
            parts.into_iter().map(move |(input, part)| input.execute(part, context.clone())),
        );
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), streams.try_flatten())))
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None); self.inputs.len()]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let inputs = inputs.iter().map(AsRef::as_ref);
        Ok(Arc::new(Statistics::try_merge_iter(inputs, &self.schema())?))
    }
}
