//! Lists that become rows, some rows at a time.
//!
//! The engine makes rows of all lists of a batch at once, with every other column beside each
//! element: 8192 rows with lists of a thousand elements would become a batch of 8 million rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::replace_children_if_necessary;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};

use super::budget::Budget;
use super::widths::bytes;

/// Rows that are made at once, if no list alone has more elements.
const PORTION_ROWS_MAX: usize = 64 * 1024;
/// Bytes that are made at once, about, if no list alone makes more.
const PORTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Feeds what makes rows of lists with few rows at a time.
pub(super) fn bound_unnests(
    plan: Arc<dyn ExecutionPlan>,
    budget: &Arc<Budget>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(unnest) = node.downcast_ref::<UnnestExec>() else {
            return Ok(Transformed::no(node));
        };
        if unnest.list_column_indices().is_empty() {
            return Ok(Transformed::no(node));
        }
        let portions = Portions {
            input: unnest.input().clone(),
            lists: unnest.list_column_indices().into(),
            budget: budget.clone(),
        };
        let portions: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(portions)];
        Ok(Transformed::yes(replace_children_if_necessary(node, portions)?))
    })
    .data()
}

/// The batches of its input, in portions of few elements.
#[derive(Debug)]
struct Portions {
    input: Arc<dyn ExecutionPlan>,
    lists: Arc<[ListUnnest]>,
    budget: Arc<Budget>,
}

impl DisplayAs for Portions {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Portions")
    }
}

impl ExecutionPlan for Portions {
    fn name(&self) -> &'static str {
        "Portions"
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
        Ok(Arc::new(Self { input, lists: self.lists.clone(), budget: self.budget.clone() }))
    }

    fn execute(&self, part: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (lists, budget) = (self.lists.clone(), self.budget.clone());
        let batches = self.input.execute(part, context)?.map(move |batch| {
            let batch = batch?;
            let most = (PORTION_BYTES_MAX / bytes_beside(&batch, &lists).max(1))
                .saturating_mul(batch.num_rows())
                .clamp(1, PORTION_ROWS_MAX);
            let portions = portions(&elements(&batch, &lists), most);
            let portions = portions.into_iter().map(|(start, rows, elements)| {
                let portion = batch.slice(start, rows);
                let row = bytes_beside(&portion, &lists) / rows.max(1);
                budget.allow("unnest", row as u128 * elements as u128).map(|()| portion)
            });
            Ok::<_, DataFusionError>(futures::stream::iter(portions.collect::<Vec<_>>()))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.try_flatten())))
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

/// The bytes of the columns beside the lists, which are repeated for each element.
fn bytes_beside(batch: &RecordBatch, lists: &[ListUnnest]) -> usize {
    let beside = batch.columns().iter().enumerate();
    beside
        .filter(|(index, _)| lists.iter().all(|list| list.index_in_input_schema != *index))
        .map(|(_, column)| bytes(column) as usize)
        .sum()
}

/// The rows that each row becomes, at most.
fn elements(batch: &RecordBatch, lists: &[ListUnnest]) -> Vec<usize> {
    let mut all = vec![0; batch.num_rows()];
    for list in lists {
        let column = batch.column(list.index_in_input_schema);
        for (row, all) in all.iter_mut().enumerate() {
            *all += elements_within(column, row, row + 1, list.depth);
        }
    }
    all
}

/// The elements of the lists in some rows, so many levels deep.
fn elements_within(lists: &ArrayRef, start: usize, end: usize, depth: usize) -> usize {
    let (values, start, end) = match lists.data_type() {
        DataType::List(_) => {
            let lists = lists.as_list::<i32>();
            let offsets = lists.value_offsets();
            (lists.values(), offsets[start] as usize, offsets[end] as usize)
        }
        DataType::LargeList(_) => {
            let lists = lists.as_list::<i64>();
            let offsets = lists.value_offsets();
            (lists.values(), offsets[start] as usize, offsets[end] as usize)
        }
        DataType::FixedSizeList(_, length) => {
            let length = *length as usize;
            (lists.as_fixed_size_list().values(), start * length, end * length)
        }
        _ => return end - start,
    };
    if depth <= 1 { end - start } else { elements_within(values, start, end, depth - 1) }
}

/// Parts of a batch that have at most so many elements, or one row: where they start, their rows
/// and elements.
fn portions(elements: &[usize], most: usize) -> Vec<(usize, usize, usize)> {
    let mut portions: Vec<(usize, usize, usize)> = Vec::new();
    for (row, more) in elements.iter().enumerate() {
        match portions.last_mut() {
            Some((_, rows, all)) if *all + more <= most => {
                *rows += 1;
                *all += more;
            }
            _ => portions.push((row, 1, *more)),
        }
    }
    portions
}

#[cfg(test)]
mod tests {
    use arrow::array::ListArray;
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn portions_are_small_or_one_row() {
        assert_eq!(portions(&[], 9), []);
        assert_eq!(portions(&[0, 5, 0], 9), [(0, 3, 5)]);
        assert_eq!(
            portions(&[9, 0, 1, 27, 8, 1], 9),
            [(0, 2, 9), (2, 1, 1), (3, 1, 27), (4, 2, 9)]
        );
    }

    #[test]
    fn elements_are_counted_level_by_level() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(2); 5]),
        ]);
        let lists: ArrayRef = Arc::new(lists);
        assert_eq!(elements_within(&lists, 0, 4, 1), 7);
        assert_eq!(elements_within(&lists.slice(1, 3), 0, 3, 1), 5);
    }
}
