//! Where the columns of a query come from, read off its plan.
//!
//! * `expr`: the columns of an expression.

mod expr;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, JoinType, Result};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Join, LogicalPlan, RecursiveQuery, TableScan, Union, Unnest,
};
use tidemill_model::lineage::{Origins, TableLineage, Way};

/// A recursive query is followed so many times; then every column has met every other.
const ROUNDS_MAX: usize = 64;

/// The lineage of the table that a plan makes. The plan is as its query was written: an optimizer
/// would leave out columns that do not matter for the result.
pub(crate) fn lineage_of(plan: &LogicalPlan) -> Result<TableLineage> {
    let Known { columns, rows } = Walk::default().plan(plan)?;
    let names = plan.schema().fields().iter().map(|field| field.name().clone());
    Ok(TableLineage { columns: names.zip(columns).collect(), rows })
}

/// Whether the name of a scanned table is that of a function, such as `range()`.
pub(crate) fn is_function(table: &str) -> bool {
    table.ends_with(')')
}

/// What is known of a part of a plan: the origins of each column, and of its rows.
#[derive(Debug, Clone, PartialEq, Default)]
struct Known {
    columns: Vec<Origins>,
    rows: Origins,
}

impl Known {
    /// Columns that come from nowhere, such as constants.
    fn of_nothing(plan: &LogicalPlan) -> Self {
        let columns = vec![Origins::default(); plan.schema().fields().len()];
        Self { columns, rows: Origins::default() }
    }

    fn add(&mut self, other: &Self) {
        for (mine, others) in self.columns.iter_mut().zip(&other.columns) {
            mine.add(others);
        }
        self.rows.add(&other.rows);
    }
}

/// The columns that expressions of a part of a plan may use.
#[derive(Clone, Copy)]
struct Scope<'a> {
    schema: &'a DFSchema,
    columns: &'a [Origins],
}

#[derive(Default)]
struct Walk {
    /// The columns around a subquery, the nearest last.
    around: Vec<(DFSchemaRef, Vec<Origins>)>,
    /// What is known so far of recursive queries, by their names.
    working: HashMap<String, Known>,
}

impl Walk {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Known> {
        match plan {
            LogicalPlan::Projection(node) => {
                let input = self.plan(&node.input)?;
                let scope = Scope { schema: node.input.schema(), columns: &input.columns };
                let columns = node.expr.iter().map(|expr| self.expr(expr, scope));
                Ok(Known { columns: columns.collect::<Result<_>>()?, rows: input.rows })
            }
            LogicalPlan::Filter(node) => {
                let input = self.plan(&node.input)?;
                self.deciding(input, &node.input, [&node.predicate], Way::Filter)
            }
            LogicalPlan::Sort(node) => {
                let input = self.plan(&node.input)?;
                let by = node.expr.iter().map(|sort| &sort.expr);
                self.deciding(input, &node.input, by, Way::Sort)
            }
            LogicalPlan::Window(node) => {
                let mut input = self.plan(&node.input)?;
                let scope = Scope { schema: node.input.schema(), columns: &input.columns };
                let more = node.window_expr.iter().map(|expr| self.expr(expr, scope));
                let more = more.collect::<Result<Vec<_>>>()?;
                input.columns.extend(more);
                Ok(input)
            }
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Union(node) => self.union(node),
            LogicalPlan::Distinct(node) => self.distinct(node),
            LogicalPlan::Unnest(node) => self.unnest(node),
            LogicalPlan::RecursiveQuery(node) => self.recursive(node),
            LogicalPlan::TableScan(node) => Ok(self.scan(node)),
            LogicalPlan::SubqueryAlias(node) => self.plan(&node.input),
            LogicalPlan::Subquery(node) => self.plan(&node.subquery),
            LogicalPlan::Limit(node) => self.plan(&node.input),
            LogicalPlan::Repartition(node) => self.plan(&node.input),
            other => Ok(Known::of_nothing(other)),
        }
    }

    /// `input`, whose rows these expressions over it decide.
    fn deciding<'e>(
        &mut self,
        mut input: Known,
        of: &LogicalPlan,
        exprs: impl IntoIterator<Item = &'e datafusion::logical_expr::Expr>,
        way: Way,
    ) -> Result<Known> {
        let scope = Scope { schema: of.schema(), columns: &input.columns };
        let mut decide = Origins::default();
        for expr in exprs {
            decide.add(&self.expr(expr, scope)?.then(way));
        }
        input.rows.add(&decide);
        Ok(input)
    }

    fn aggregate(&mut self, node: &Aggregate) -> Result<Known> {
        let input = self.plan(&node.input)?;
        let scope = Scope { schema: node.input.schema(), columns: &input.columns };
        let groups = grouping_set_to_exprlist(&node.group_expr)?;
        let groups = groups.into_iter().map(|expr| self.expr(expr, scope));
        let mut columns = groups.collect::<Result<Vec<_>>>()?;
        let mut rows = input.rows.clone();
        for column in &columns {
            rows.add(&column.then(Way::GroupBy));
        }
        // With several grouping sets there is a column that tells them apart.
        columns.resize(node.schema.fields().len() - node.aggr_expr.len(), Origins::default());
        for expr in &node.aggr_expr {
            columns.push(self.expr(expr, scope)?);
        }
        Ok(Known { columns, rows })
    }

    fn join(&mut self, node: &Join) -> Result<Known> {
        let left = self.plan(&node.left)?;
        // A lateral query on the right uses columns of the left.
        self.around.push((node.left.schema().clone(), left.columns.clone()));
        let right = self.plan(&node.right);
        self.around.pop();
        let right = right?;
        let mut rows = left.rows;
        rows.add(&right.rows);
        let both: Vec<Origins> = left.columns.iter().chain(&right.columns).cloned().collect();
        let schema = node.left.schema().join(node.right.schema())?;
        let scope = Scope { schema: &schema, columns: &both };
        let on = node.on.iter().flat_map(|(left, right)| [left, right]);
        for expr in on.chain(&node.filter) {
            rows.add(&self.expr(expr, scope)?.then(Way::Join));
        }
        let columns = match node.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left.columns,
            JoinType::RightSemi | JoinType::RightAnti => right.columns,
            JoinType::LeftMark => [left.columns, vec![rows.clone()]].concat(),
            JoinType::RightMark => [right.columns, vec![rows.clone()]].concat(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => both,
        };
        Ok(Known { columns, rows })
    }

    fn union(&mut self, node: &Union) -> Result<Known> {
        let mut parts = node.inputs.iter().map(|input| self.plan(input));
        let mut all = parts.next().transpose()?.unwrap_or_default();
        for part in parts {
            all.add(&part?);
        }
        Ok(all)
    }

    fn distinct(&mut self, node: &Distinct) -> Result<Known> {
        match node {
            Distinct::All(input) => {
                let mut input = self.plan(input)?;
                for column in &input.columns {
                    input.rows.add(&column.then(Way::GroupBy));
                }
                Ok(input)
            }
            Distinct::On(on) => {
                let input = self.plan(&on.input)?;
                let scope = Scope { schema: on.input.schema(), columns: &input.columns };
                let columns = on.select_expr.iter().map(|expr| self.expr(expr, scope));
                let columns = columns.collect::<Result<_>>()?;
                let sorts = on.sort_expr.iter().flatten().map(|sort| &sort.expr);
                let input = self.deciding(input, &on.input, &on.on_expr, Way::GroupBy)?;
                let input = self.deciding(input, &on.input, sorts, Way::Sort)?;
                Ok(Known { columns, rows: input.rows })
            }
        }
    }

    fn unnest(&mut self, node: &Unnest) -> Result<Known> {
        let input = self.plan(&node.input)?;
        let is_taken_apart = |at: &usize| {
            node.list_type_columns.iter().any(|(list, _)| list == at)
                || node.struct_type_columns.contains(at)
        };
        let column = |at: &usize| {
            let column = input.columns.get(*at).cloned().unwrap_or_default();
            if is_taken_apart(at) { column.then(Way::Transformation) } else { column }
        };
        let columns = node.dependency_indices.iter().map(column).collect();
        Ok(Known { columns, rows: input.rows })
    }

    /// A recursive query reads itself: what is known of it grows until nothing is new.
    fn recursive(&mut self, node: &RecursiveQuery) -> Result<Known> {
        let mut known = self.plan(&node.static_term)?;
        for _ in 0..ROUNDS_MAX {
            self.working.insert(node.name.clone(), known.clone());
            let mut more = known.clone();
            more.add(&self.plan(&node.recursive_term)?);
            if more == known {
                break;
            }
            known = more;
        }
        self.working.remove(&node.name);
        Ok(known)
    }

    fn scan(&self, node: &TableScan) -> Known {
        let table = node.table_name.to_string();
        if let Some(known) = self.working.get(&table) {
            let columns = match &node.projection {
                Some(taken) => taken.iter().map(|at| known.columns[*at].clone()).collect(),
                None => known.columns.clone(),
            };
            return Known { columns, rows: known.rows.clone() };
        }
        let column = |field: &Arc<arrow::datatypes::Field>| {
            if is_function(&table) {
                return Origins::default();
            }
            Origins::identity(&table, field.name())
        };
        let columns = node.projected_schema.fields().iter().map(column).collect();
        Known { columns, rows: Origins::default() }
    }
}

#[cfg(test)]
mod tests;
