//! A limit on what functions make.
//!
//! The engine counts the memory of sorts, joins and groups, but not what a function makes of a
//! batch: `repeat('a', 2000000000)` or `range(0, 1000000000)` would drive the process out of
//! memory. So a function whose result may be much larger than its arguments stands behind a
//! [`Bounded`] here: the size of the result is told from the arguments, before it is made, and what
//! was made counts against the query for as long as it is held.
//!
//! [`budget`]: what a query may hold; [`sizes`]: how large a result will be; [`concat`]: `||`;
//! [`aggregates`]: lists and texts of many rows;
//! [`constants`]: constants that would be repeated for every row; [`unnest`]: lists as rows;
//! [`windows`]: windows over all rows.

mod aggregates;
mod budget;
mod concat;
mod constants;
mod sizes;
mod unnest;
mod widths;
mod windows;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use datafusion::physical_plan::ExecutionPlan;

pub(crate) use budget::Budget;
use constants::bound_constants;
pub(crate) use constants::bound_in;
use sizes::{Size, size_of};
use unnest::bound_unnests;
use windows::bound_windows;

/// Puts the functions of a session that may make much behind the limit of one query.
pub(crate) fn bound_functions(state: &mut SessionState, budget: &Arc<Budget>) {
    let bound: Vec<_> = state
        .scalar_functions()
        .values()
        .filter_map(|function| Bounded::of(function, budget))
        .collect();
    // Registering over a name that exists cannot fail.
    for function in bound {
        let _ = state.register_udf(function);
    }
    for function in aggregates::bound(state, budget) {
        let _ = state.register_udaf(function);
    }
    let _ = state.register_function_rewrite(Arc::new(Rewrite {
        concat: Arc::new(concat::concat(budget.clone())),
        budget: budget.clone(),
    }));
}

/// Puts what a plan makes beside its functions behind the limit. From here on the query may run.
pub(crate) fn bound_plan(
    plan: Arc<dyn ExecutionPlan>,
    budget: &Arc<Budget>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = bound_windows(bound_unnests(bound_constants(plan, budget)?, budget)?)?;
    budget.planned();
    Ok(plan)
}

/// The limit for what the planner writes by itself: `||`, and functions behind operators.
#[derive(Debug)]
struct Rewrite {
    concat: Arc<ScalarUDF>,
    budget: Arc<Budget>,
}

impl FunctionRewrite for Rewrite {
    fn name(&self) -> &'static str {
        "bounded functions"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(binary) => Ok(concat::rewrite(binary, schema, &self.concat)),
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                Ok(match Bounded::of(&func, &self.budget) {
                    Some(func) => Transformed::yes(func.call(args)),
                    None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
                })
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A function of the engine that looks at the size of its result first.
#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
    budget: Arc<Budget>,
}

impl Bounded {
    /// The function behind the limit; nothing when it needs none, or stands there already.
    fn of(function: &Arc<ScalarUDF>, budget: &Arc<Budget>) -> Option<Arc<ScalarUDF>> {
        if function.inner().is::<Self>() {
            return None;
        }
        let size = size_of(function.name())?;
        let bounded = Self { inner: function.clone(), size, budget: budget.clone() };
        Some(Arc::new(ScalarUDF::from(bounded)))
    }
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        Some(ScalarUDF::from(Self { inner, size: self.size, budget: self.budget.clone() }))
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    // `simplify` is left alone: the engine's would put its own functions in the place of these.

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // One value from constants alone will as a rule stand in every row.
        let size = (self.size)(&args.args, args.number_rows)?;
        self.budget.allow(self.name(), size)?;
        let result = self.inner.invoke_with_args(args)?;
        self.budget.hold(self.name(), result)
    }
}
