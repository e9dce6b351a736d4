//! A large constant that is repeated for every row of a batch.
//!
//! `select repeat('a', 1000000) from orders` holds a constant of 1 MB in the end, but its column
//! would have 8 GB in a batch of 8192 rows.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::budget::Budget;

/// Constants up to this may stand in any number of rows.
const CONSTANT_BYTES_MAX: usize = 16 * 1024;

/// Puts the large constants that a plan gives out under the query's limit.
pub(super) fn bound_constants(
    plan: Arc<dyn ExecutionPlan>,
    budget: &Arc<Budget>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
            return Ok(Transformed::no(node));
        };
        let mut any = false;
        let mut exprs = projection.expr().to_vec();
        for expr in &mut exprs {
            let bound = bound_in(expr.expr.clone(), budget)?;
            any |= bound.transformed;
            expr.expr = bound.data;
        }
        if !any {
            return Ok(Transformed::no(node));
        }
        let input = projection.input().clone();
        Ok(Transformed::yes(Arc::new(ProjectionExec::try_new(exprs, input)?) as _))
    })
    .data()
}

/// The same for one expression.
pub(crate) fn bound_in(
    expr: Arc<dyn PhysicalExpr>,
    budget: &Arc<Budget>,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    expr.transform_up(|expr| match expr.downcast_ref::<Literal>() {
        Some(literal) if literal.value().size() > CONSTANT_BYTES_MAX => {
            let constant = Constant { bytes: literal.value().size(), budget: budget.clone(), expr };
            Ok(Transformed::yes(Arc::new(constant) as _))
        }
        _ => Ok(Transformed::no(expr)),
    })
}

/// A constant, looked at before it is repeated.
#[derive(Debug)]
struct Constant {
    expr: Arc<dyn PhysicalExpr>,
    bytes: usize,
    budget: Arc<Budget>,
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Eq for Constant {}

impl Hash for Constant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl PhysicalExpr for Constant {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.budget.allow_constant(self.bytes, batch.num_rows())?;
        self.expr.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}
