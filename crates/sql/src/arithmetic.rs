//! Whole numbers that do not fit are errors.
//!
//! The engine lets `+`, `-` and `*` of whole numbers wrap around, as processors do: a sum of two
//! large positive numbers is negative. Here the three are functions that notice.

use std::sync::Arc;

use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

/// Puts the functions in the place of the operators.
#[derive(Debug)]
pub(crate) struct Checked {
    functions: [(Operator, Arc<ScalarUDF>); 3],
}

impl Checked {
    pub(crate) fn new() -> Self {
        let function = |operator| (operator, Arc::new(ScalarUDF::from(CheckedOp::new(operator))));
        Self {
            functions: [
                function(Operator::Plus),
                function(Operator::Minus),
                function(Operator::Multiply),
            ],
        }
    }
}

impl FunctionRewrite for Checked {
    fn name(&self) -> &'static str {
        "checked arithmetic"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let whole = |e: &Expr| e.get_type(schema).is_ok_and(|t| t.is_signed_integer());
        match self.functions.iter().find(|(operator, _)| *operator == op) {
            Some((_, function)) if whole(&left) && whole(&right) => {
                Ok(Transformed::yes(function.call(vec![*left, *right])))
            }
            _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedOp {
    operator: Operator,
    signature: Signature,
}

impl CheckedOp {
    fn new(operator: Operator) -> Self {
        Self { operator, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CheckedOp {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "add",
            Operator::Minus => "subtract",
            _ => "multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![self.return_type(given)?; given.len()])
    }

    /// The wider of the two, as the operators give it.
    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        let widest = given.iter().max_by_key(|t| t.primitive_width());
        Ok(widest.cloned().unwrap_or(DataType::Int64))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return datafusion::common::internal_err!("`{}` takes two arguments", self.name());
        };
        let (left, right) = (datum(left)?, datum(right)?);
        let result = match self.operator {
            Operator::Plus => add(left.as_ref(), right.as_ref()),
            Operator::Minus => sub(left.as_ref(), right.as_ref()),
            _ => mul(left.as_ref(), right.as_ref()),
        }?;
        let scalars = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        Ok(if scalars {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

/// An argument as the kernels take it, without blowing scalars up to columns.
fn datum(value: &ColumnarValue) -> Result<Box<dyn arrow::array::Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(array.clone()),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}
