//! `||` of texts, as a function that can be bounded.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::budget::Budget;
use super::sizes::joined;

/// The function that stands for the operator.
pub(super) fn concat(budget: Arc<Budget>) -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    ScalarUDF::from(Concat { signature, budget })
}

/// Puts the function in the place of the operator, between texts.
pub(super) fn rewrite(
    BinaryExpr { left, op, right }: BinaryExpr,
    schema: &DFSchema,
    concat: &ScalarUDF,
) -> Transformed<Expr> {
    let given = || Some((left.get_type(schema).ok()?, right.get_type(schema).ok()?));
    let texts = op == Operator::StringConcat
        && given().is_some_and(|(left, right)| {
            coerced(&left, &right).is_ok_and(|(left, right)| left == right && left.is_string())
        });
    if texts {
        Transformed::yes(concat.call(vec![*left, *right]))
    } else {
        Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))
    }
}

fn coerced(left: &DataType, right: &DataType) -> Result<(DataType, DataType)> {
    BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()
}

#[derive(Debug)]
struct Concat {
    signature: Signature,
    budget: Arc<Budget>,
}

impl PartialEq for Concat {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for Concat {}

impl Hash for Concat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = given else { return internal_err!("`||` takes two arguments") };
        let (left, right) = coerced(left, right)?;
        Ok(vec![left, right])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        let [left, right] = given else { return internal_err!("`||` takes two arguments") };
        Ok(coerced(left, right)?.0)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return internal_err!("`||` takes two arguments");
        };
        let scalars = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        self.budget.allow(self.name(), joined(&args.args, args.number_rows)?)?;
        let result = concat_elements_dyn(&left.to_array(rows)?, &right.to_array(rows)?)?;
        let result = if scalars {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        };
        self.budget.hold(self.name(), result)
    }
}
