//! Windows that look at all rows before they give one.
//!
//! The engine gathers their input in memory and does not count it, and computes them in one go.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::{Stream, StreamExt};

use crate::turns::beside_others;

/// Counts what windows gather, and lets other queries work while they are computed.
pub(super) fn bound_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !node.is::<WindowAggExec>() {
            return Ok(Transformed::no(node));
        }
        let gathered = Arc::new(Gathered::default());
        let side = |input, end| Arc::new(Side { input, end, gathered: gathered.clone() }) as _;
        let inputs = node.children().into_iter().map(|input| side(input.clone(), End::Input));
        let node = replace_children_if_necessary(node.clone(), inputs.collect())?;
        Ok(Transformed::yes(side(node, End::Output)))
    })
    .data()
}

/// What a window has gathered.
#[derive(Debug, Default)]
struct Gathered {
    memory: Mutex<Option<MemoryReservation>>,
    /// Whether it has all of its input.
    complete: AtomicBool,
}

impl Gathered {
    fn begin(&self, context: &TaskContext) {
        let memory = MemoryConsumer::new("window").register(context.memory_pool());
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        self.complete.store(false, Ordering::Relaxed);
    }

    fn add(&self, batch: &RecordBatch) -> Result<()> {
        match self.memory.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(memory) => memory.try_grow(batch.get_array_memory_size()),
            None => Ok(()),
        }
    }

    /// The input has ended: its batches become one, beside them.
    fn complete(&self) -> Result<()> {
        if self.complete.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        match self.memory.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(memory) => memory.try_grow(memory.size()),
            None => Ok(()),
        }
    }

    fn end(&self) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Input,
    Output,
}

/// One end of a window.
#[derive(Debug)]
struct Side {
    input: Arc<dyn ExecutionPlan>,
    end: End,
    gathered: Arc<Gathered>,
}

impl DisplayAs for Side {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Gathered: {:?}", self.end)
    }
}

impl ExecutionPlan for Side {
    fn name(&self) -> &'static str {
        "Gathered"
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
        Ok(Arc::new(Self { input, end: self.end, gathered: self.gathered.clone() }))
    }

    fn execute(&self, part: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.end == End::Output {
            self.gathered.begin(&context);
        }
        let inner = self.input.execute(part, context)?;
        Ok(Box::pin(SideStream { inner, end: self.end, gathered: self.gathered.clone() }))
    }

    fn child_stats_requests(&self, part: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(part)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(inputs.first().map_or_else(unknown, Arc::clone))
    }
}

struct SideStream {
    inner: SendableRecordBatchStream,
    end: End,
    gathered: Arc<Gathered>,
}

impl Stream for SideStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.end {
            // The poll in which the input ends computes everything: so the end is told in a poll
            // of its own, and what follows it is done beside other queries.
            End::Input if self.gathered.complete.load(Ordering::Relaxed) => Poll::Ready(None),
            End::Input => match self.inner.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    Poll::Ready(Some(self.gathered.add(&batch).map(|()| batch)))
                }
                Poll::Ready(None) => match self.gathered.complete() {
                    Ok(()) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Err(error) => Poll::Ready(Some(Err(error))),
                },
                other => other,
            },
            End::Output if self.gathered.complete.load(Ordering::Relaxed) => {
                beside_others(|| self.inner.poll_next_unpin(cx))
            }
            End::Output => self.inner.poll_next_unpin(cx),
        }
    }
}

impl Drop for SideStream {
    fn drop(&mut self) {
        if self.end == End::Output {
            self.gathered.end();
        }
    }
}

impl RecordBatchStream for SideStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
