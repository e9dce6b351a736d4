//! [`RowExpr`]: a SQL expression over the columns of one table, compiled once, run on batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use serde_json::Value;
use tidemill_connector::ConnectorError;
use tidemill_model::words::{a, counted};

use crate::bounds::{Budget, bound_in};
use crate::error::explain;
use crate::names::Names;
use crate::parse;
use crate::session::parser_options;
use crate::types::{fit_array, house_type, plain, type_name};

/// A compiled expression. It may be used from several threads at a time.
#[derive(Debug, Clone)]
pub struct RowExpr {
    text: Arc<str>,
    physical: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    columns: Vec<usize>,
    of: usize,
    memory_bytes: usize,
}

impl RowExpr {
    pub(crate) fn compile(
        state: &SessionState,
        budget: &Arc<Budget>,
        text: &str,
        schema: &SchemaRef,
        binds: &BTreeMap<String, Value>,
    ) -> Result<Self, ConnectorError> {
        let memory_bytes = budget.bytes_max();
        let parsed = parse::expression(text, binds)?;
        let compile = || {
            let arrow_schema = plain(schema);
            let schema = DFSchema::try_from(arrow_schema.as_ref().clone())?;
            let names = Names::new(state, []);
            let expr = SqlToRel::new_with_options(&names, parser_options()).sql_to_expr(
                parsed,
                &schema,
                &mut PlannerContext::new(),
            )?;
            if let Some(word) = sees_more_than_a_row(&expr)? {
                return Ok(Err(word));
            }
            let context = SimplifyContext::builder()
                .with_schema(Arc::new(schema.clone()))
                .with_config_options(Arc::clone(state.config_options()))
                .with_query_execution_start_time(state.execution_props().query_execution_start_time)
                .build();
            let simplifier = ExprSimplifier::new(context);
            let expr = simplifier.simplify(simplifier.coerce(expr, &schema)?)?;
            let physical = state.create_physical_expr(expr, &schema)?;
            let physical = bound_in(physical, budget)?.data;
            budget.planned();
            let data_type = house_type(&physical.data_type(&arrow_schema)?);
            let mut columns: Vec<usize> =
                datafusion::physical_expr::utils::collect_columns(&physical)
                    .into_iter()
                    .map(|c| c.index())
                    .collect();
            columns.sort_unstable();
            Ok(Ok((physical, data_type, columns)))
        };
        let (physical, data_type, columns) =
            compile().map_err(|e| explain(&e, memory_bytes))?.map_err(|word| {
                ConnectorError::misconfigured(format!(
                    "`{word}` cannot stand in an expression over one row"
                ))
                .help("compute it in an `sql` transform first")
            })?;
        let of = schema.fields().len();
        Ok(Self { text: text.trim().into(), physical, data_type, columns, of, memory_bytes })
    }

    /// The expression, as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The positions of the columns that it uses, in ascending order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Its value for every row of a batch of the schema it was compiled for.
    pub fn eval(&self, batch: &RecordBatch) -> Result<ArrayRef, ConnectorError> {
        if batch.num_columns() != self.of {
            return Err(ConnectorError::internal(format!(
                "`{}` is for {}, but the batch has {}",
                self.text,
                counted(self.of, "column"),
                batch.num_columns()
            )));
        }
        let value = self
            .physical
            .evaluate(batch)
            .and_then(|value| value.into_array(batch.num_rows()))
            .map_err(|e| explain(&e, self.memory_bytes))?;
        fit_array(&value, &self.data_type)
    }

    /// Whether it holds, for every row; where it is null, it does not hold.
    pub fn eval_bool(&self, batch: &RecordBatch) -> Result<BooleanArray, ConnectorError> {
        self.require_condition()?;
        let value = self.eval(batch)?;
        Ok(match value.as_boolean_opt() {
            Some(holds) if holds.null_count() == 0 => holds.clone(),
            Some(holds) => prep_null_mask_filter(holds),
            // An untyped null.
            None => BooleanArray::from(vec![false; batch.num_rows()]),
        })
    }

    pub(crate) fn require_condition(&self) -> Result<(), ConnectorError> {
        // Untyped nulls have become text, as in `where: null`.
        let untyped_null = self.columns.is_empty()
            && self
                .physical
                .data_type(&arrow::datatypes::Schema::empty())
                .is_ok_and(|t| t.is_null());
        if self.data_type == DataType::Boolean || untyped_null {
            return Ok(());
        }
        Err(ConnectorError::misconfigured(format!(
            "`{}` is no condition: it is {}",
            self.text,
            a(&type_name(&self.data_type))
        ))
        .help("compare it with something"))
    }
}

/// The first function in an expression that needs more than one row.
fn sees_more_than_a_row(expr: &Expr) -> datafusion::common::Result<Option<String>> {
    let mut found = None;
    expr.apply(|e| {
        found = match e {
            Expr::AggregateFunction(f) => Some(f.func.name().to_owned()),
            Expr::WindowFunction(f) => Some(f.fun.name().to_owned()),
            Expr::Unnest(_) => Some("unnest".to_owned()),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(found)
}
