//! Queries that give way to each other, and end soon after they are told to.
//!
//! The engine's threads run many queries. A query gives way where it reads a batch; but a join may
//! compare rows for minutes without reading or making one. So tables and joins [take turns](Turn)
//! here, and the condition of a join looks now and then whether anyone still waits for the query.
//! Time decides only when a query pauses, never which rows it gives in which order.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, JoinType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use tidemill_connector::ConnectorError;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::pass;

/// After this a query gives way.
const TURN: Duration = Duration::from_millis(20);

/// Whether anyone still waits for a query.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(pass(ConnectorError::cancelled()));
        }
        Ok(())
    }
}

/// Ends a query when it is dropped.
#[derive(Debug)]
pub(crate) struct EndOnDrop(pub(crate) Wanted);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Makes the tables and joins of a plan take turns, and end when they are not wanted any more.
pub(crate) fn take_turns(
    plan: Arc<dyn ExecutionPlan>,
    wanted: &Wanted,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let turn = Turn::new(wanted.clone());
        let node = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            match asking(join.filter(), *join.join_type(), &turn) {
                Some(filter) => {
                    HashJoinExecBuilder::from(join).with_filter(Some(filter)).build_exec()?
                }
                None => node,
            }
        } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            match asking(join.filter(), *join.join_type(), &turn) {
                Some(filter) => Arc::new(
                    NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?,
                ),
                None => node,
            }
        } else {
            node
        };
        Ok(if node.name().contains("Join") || node.children().is_empty() {
            Transformed::yes(Arc::new(Paced::new(node, turn)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    })
    .data()
}

/// The condition of a join, which also asks whether the query is still wanted.
///
/// A join that only says which rows have partners may compare without end even if it has no
/// condition beside equality; it gets one that always holds.
fn asking(filter: Option<&JoinFilter>, kind: JoinType, turn: &Arc<Turn>) -> Option<JoinFilter> {
    let asking = |expr| Arc::new(Asking { expr, turn: turn.clone() }) as Arc<dyn PhysicalExpr>;
    match filter {
        Some(filter) => Some(JoinFilter::new(
            asking(filter.expression().clone()),
            filter.column_indices().to_vec(),
            filter.schema().clone(),
        )),
        None if matches!(
            kind,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
        ) =>
        {
            None
        }
        None => Some(JoinFilter::new(asking(lit(true)), Vec::new(), Arc::new(Schema::empty()))),
    }
}

/// How long one part of a query has had a thread.
#[derive(Debug)]
struct Turn {
    wanted: Wanted,
    since: Instant,
    /// When it got the thread, in microseconds of `since`.
    began: AtomicU64,
}

impl Turn {
    fn new(wanted: Wanted) -> Arc<Self> {
        Arc::new(Self { wanted, since: Instant::now(), began: AtomicU64::new(0) })
    }

    fn begin(&self) {
        self.began.store(self.now(), Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let taken = self.now().saturating_sub(self.began.load(Ordering::Relaxed));
        taken > TURN.as_micros() as u64
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_micros() as u64
    }

    /// Does a part of a long piece of work, beside other queries as soon as its turn is over.
    fn share<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.is_over() { beside_others(work) } else { work() }
    }
}

/// Does long work that cannot give way: other queries get another thread in the meantime.
pub(crate) fn beside_others<T>(work: impl FnOnce() -> T) -> T {
    let many = Handle::try_current().map(|handle| handle.runtime_flavor());
    if matches!(many, Ok(RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// A condition that asks whether the query is still wanted.
#[derive(Debug)]
struct Asking {
    expr: Arc<dyn PhysicalExpr>,
    turn: Arc<Turn>,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl PhysicalExpr for Asking {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.turn.wanted.check()?;
        self.turn.share(|| self.expr.evaluate(batch))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expr]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = children.into_iter().next().unwrap_or_else(|| self.expr.clone());
        Ok(Arc::new(Self { expr, turn: self.turn.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}

/// A part of a plan that gives way when its turn is over.
#[derive(Debug)]
struct Paced {
    input: Arc<dyn ExecutionPlan>,
    turn: Arc<Turn>,
}

impl Paced {
    fn new(input: Arc<dyn ExecutionPlan>, turn: Arc<Turn>) -> Self {
        Self { input, turn }
    }
}

impl DisplayAs for Paced {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Paced")
    }
}

impl ExecutionPlan for Paced {
    fn name(&self) -> &'static str {
        "Paced"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(input, self.turn.clone())))
    }

    fn execute(&self, part: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let inner = self.input.execute(part, context)?;
        Ok(Box::pin(PacedStream { inner, turn: self.turn.clone(), rested: true }))
    }

    fn child_stats_requests(&self, part: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(part)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(inputs
            .first()
            .map_or_else(|| Arc::new(Statistics::new_unknown(&self.schema())), Arc::clone))
    }
}

struct PacedStream {
    inner: SendableRecordBatchStream,
    turn: Arc<Turn>,
    /// Whether it has given way since it last had the thread.
    rested: bool,
}

impl Stream for PacedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(unwanted) = self.turn.wanted.check() {
            return Poll::Ready(Some(Err(unwanted)));
        }
        if self.rested {
            self.turn.begin();
            self.rested = false;
        } else if self.turn.is_over() {
            self.rested = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.inner.poll_next_unpin(cx);
        self.rested |= polled.is_pending();
        polled
    }
}

impl RecordBatchStream for PacedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
