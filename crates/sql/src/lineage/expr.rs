//! The columns that an expression uses, and how.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunctionParams, Sort, WindowFunctionParams};
use datafusion::logical_expr::{Case, Expr, LogicalPlan, Subquery, WindowFunctionDefinition};
use tidemill_model::lineage::{Origins, Way};

use super::{Known, Scope, Walk};

impl Walk {
    pub(super) fn expr(&mut self, expr: &Expr, scope: Scope) -> Result<Origins> {
        match expr {
            Expr::Alias(alias) => self.expr(&alias.expr, scope),
            Expr::Column(column) => Ok(scope.of(column)),
            Expr::OuterReferenceColumn(_, column) => Ok(self.outer(column)),
            Expr::Case(case) => self.case(case, scope),
            Expr::AggregateFunction(function) => {
                let AggregateFunctionParams { args, filter, order_by, .. } = &function.params;
                let mut all = self.all(args, scope, Way::Aggregation)?;
                all.add(&self.all(filter.iter().map(AsRef::as_ref), scope, Way::Conditional)?);
                all.add(&self.all(sorts(order_by), scope, Way::Sort)?);
                Ok(all)
            }
            Expr::WindowFunction(function) => {
                let WindowFunctionParams { args, partition_by, order_by, filter, .. } =
                    &function.params;
                let way = match function.fun {
                    WindowFunctionDefinition::AggregateUDF(_) => Way::Aggregation,
                    WindowFunctionDefinition::WindowUDF(_) => Way::Transformation,
                };
                let mut all = self.all(args, scope, way)?;
                all.add(&self.all(filter.iter().map(AsRef::as_ref), scope, Way::Conditional)?);
                all.add(&self.all(partition_by, scope, Way::Window)?);
                all.add(&self.all(sorts(order_by), scope, Way::Window)?);
                Ok(all)
            }
            Expr::ScalarSubquery(query) => self.values(query, scope),
            Expr::InSubquery(test) => {
                let mut all = self.all([test.expr.as_ref()], scope, Way::Transformation)?;
                all.add(&self.values(&test.subquery, scope)?);
                Ok(all)
            }
            Expr::SetComparison(test) => {
                let mut all = self.all([test.expr.as_ref()], scope, Way::Transformation)?;
                all.add(&self.values(&test.subquery, scope)?);
                Ok(all)
            }
            Expr::Exists(test) => Ok(self.subquery(&test.subquery, scope)?.rows),
            other => {
                let mut all = Origins::default();
                other.apply_children(|part| {
                    all.add(&self.expr(part, scope)?.then(Way::Transformation));
                    Ok(TreeNodeRecursion::Continue)
                })?;
                Ok(all)
            }
        }
    }

    fn all<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        scope: Scope,
        way: Way,
    ) -> Result<Origins> {
        exprs.into_iter().map(|expr| Ok(self.expr(expr, scope)?.then(way))).collect()
    }

    fn case(&mut self, case: &Case, scope: Scope) -> Result<Origins> {
        let tests = case.when_then_expr.iter().map(|(when, _)| when);
        let values = case.when_then_expr.iter().map(|(_, then)| then);
        let mut all =
            self.all(case.expr.iter().chain(tests).map(AsRef::as_ref), scope, Way::Conditional)?;
        let values = values.chain(&case.else_expr).map(AsRef::as_ref);
        all.add(&self.all(values, scope, Way::Transformation)?);
        Ok(all)
    }

    /// The values that a subquery gives: its columns, and what decides its rows.
    fn values(&mut self, query: &Subquery, scope: Scope) -> Result<Origins> {
        let Known { columns, rows } = self.subquery(query, scope)?;
        let mut all: Origins =
            columns.iter().map(|column| column.then(Way::Transformation)).collect();
        all.add(&rows);
        Ok(all)
    }

    fn subquery(&mut self, query: &Subquery, scope: Scope) -> Result<Known> {
        let plan: &LogicalPlan = &query.subquery;
        self.around.push((Arc::new(scope.schema.clone()), scope.columns.to_vec()));
        let known = self.plan(plan);
        self.around.pop();
        known
    }

    /// A column of a query around this one.
    fn outer(&self, column: &Column) -> Origins {
        let mut around = self.around.iter().rev();
        let found = around.find_map(|(schema, columns)| {
            columns.get(schema.maybe_index_of_column(column)?).cloned()
        });
        found.unwrap_or_default()
    }
}

impl Scope<'_> {
    fn of(self, column: &Column) -> Origins {
        let at = self.schema.maybe_index_of_column(column);
        at.and_then(|at| self.columns.get(at)).cloned().unwrap_or_default()
    }
}

fn sorts(sorts: &[Sort]) -> impl Iterator<Item = &Expr> {
    sorts.iter().map(|sort| &sort.expr)
}
