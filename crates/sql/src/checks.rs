//! Checks: what must hold of a task's table before anyone may read it.
//!
//! All checks that look at rows share one pass over the table. Rows that a `quarantine` check
//! refuses leave first; `stop` and `warn` checks see the others.
//!
//! * [`rules`]: a check, ready to look at batches; [`findings`]: what it found, in words;
//! * [`survivors`]: the table without the rows that left.

mod findings;
mod rules;
mod survivors;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanBufferBuilder, UInt32Array};
use arrow::compute::not;
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connector::{ConnectorError, Outputs, Table};
use tidemill_model::dag::{Check, CheckRule, OnFail};

use crate::engine::Engine;
use crate::error::from_arrow;
use crate::rejects::{Rejects, filtered, with_schema};
use crate::types::plain;
use findings::Findings;
use rules::{RowRule, named};
use survivors::Survivors;

/// What to check.
pub struct CheckRequest<'a> {
    /// The task. In `sql` checks its name is the table that is checked.
    pub task: &'a str,
    /// The task's table.
    pub table: Arc<dyn Table>,
    /// Other tables that `sql` checks read.
    pub tables: &'a IndexMap<String, Arc<dyn Table>>,
    /// The checks, in the order of the file.
    pub checks: &'a [Check],
    /// Values for their `$names`.
    pub binds: &'a BTreeMap<String, Value>,
    /// Where the table `rejects` goes, if there are `quarantine` checks.
    pub outputs: &'a dyn Outputs,
}

/// What the checks found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Checks with `on_fail: warn` that do not hold, in words.
    pub warnings: Vec<String>,
    /// Checks with `on_fail: stop` that do not hold, in words. The task fails.
    pub failure: Option<String>,
    /// Rows set aside, by the check that refused them, in the order of the file; a check that
    /// refused none stands here with 0.
    pub rejected: Vec<(String, u64)>,
    /// The table without the rows set aside; `None` when none were, so that the table itself can
    /// be used as it is.
    pub survivors: Option<Arc<dyn Table>>,
}

/// Checks a table.
///
/// * `not_null`: a column holds no null. `unique`: columns together are different in every row;
///   rows with a null in one of them are left out of the comparison. `where`: a condition holds;
///   null does not hold. `rows`: how many rows there are. `sql`: a query gives no row.
/// * With `quarantine`, a row is set aside for the first check that refuses it; `unique` comes
///   last and keeps the first of equal rows, so that it never refuses a row for the sake of one
///   that is set aside itself. `rows` and `sql` name no rows and cannot quarantine.
pub async fn run_checks(
    engine: &Arc<Engine>,
    request: CheckRequest<'_>,
) -> Result<CheckReport, ConnectorError> {
    let mut pass = Pass::new(engine, &request)?;
    if pass.looks_at_rows() {
        for batch in request.table.scan()? {
            pass.take(&batch?)?;
        }
    }
    let Done { rejected, found, survivors } = pass.finish(&request.table)?;
    let table = survivors.as_ref().unwrap_or(&request.table);
    let rows = table.rows();
    let mut found = found.into_iter();
    let (mut warnings, mut failures) = (Vec::new(), Vec::new());
    let telling = |(_, check): &(usize, &Check)| check.on_fail != OnFail::Quarantine;
    for (at, check) in request.checks.iter().enumerate().filter(telling) {
        let messages: Vec<String> = match &check.rule {
            CheckRule::Rows { min, max } => {
                let wrong = min.is_some_and(|min| rows < min) || max.is_some_and(|max| rows > max);
                let message = || findings::row_count(&named(&check.rule), rows);
                wrong.then(message).into_iter().collect()
            }
            CheckRule::Sql(sql) => {
                let blamed = |error: ConnectorError| error.blame(&[&at.to_string(), "sql"]);
                query_check(engine, &request, table, sql)
                    .await
                    .map_err(blamed)?
                    .into_iter()
                    .collect()
            }
            rule => {
                let parts = found.by_ref().take(rules::parts(rule));
                parts.filter_map(|found| found.message(rows)).collect()
            }
        };
        let told = if check.on_fail == OnFail::Warn { &mut warnings } else { &mut failures };
        told.extend(messages);
    }
    let failure = (!failures.is_empty()).then(|| failures.join("; "));
    Ok(CheckReport { warnings, failure, rejected, survivors })
}

/// Runs the query of a `sql` check: every row it gives is to blame.
async fn query_check(
    engine: &Arc<Engine>,
    request: &CheckRequest<'_>,
    table: &Arc<dyn Table>,
    sql: &str,
) -> Result<Option<String>, ConnectorError> {
    let name = named(&CheckRule::Sql(sql.to_owned()));
    let mut tables = request.tables.clone();
    tables.insert(request.task.to_owned(), table.clone());
    let run = async {
        let mut rows = engine.query(sql, &tables, request.binds).await?;
        let mut found = Findings::of_query(name.clone(), &rows.schema());
        while let Some(batch) = rows.next().await? {
            found.add_all(&batch)?;
        }
        Ok::<_, ConnectorError>(found)
    };
    Ok(run.await.map_err(|e| e.within(&format!("check `{name}`")))?.query_message())
}

/// The checks that look at rows, in one pass.
struct Pass {
    input: arrow::datatypes::SchemaRef,
    /// Checks that set rows aside, `unique` last, each with its place in `rejected`.
    quarantine: Vec<(RowRule, usize)>,
    rejected: Vec<(String, u64)>,
    rejects: Option<Rejects>,
    /// Checks that only tell, and what they found.
    telling: Vec<(RowRule, Findings)>,
    keep: BooleanBufferBuilder,
    row: u64,
}

struct Done {
    rejected: Vec<(String, u64)>,
    found: Vec<Findings>,
    survivors: Option<Arc<dyn Table>>,
}

impl Pass {
    fn new(engine: &Engine, request: &CheckRequest<'_>) -> Result<Self, ConnectorError> {
        let input = plain(&request.table.schema());
        let mut quarantine = Vec::new();
        let mut telling = Vec::new();
        let mut rejected = Vec::new();
        for (at, check) in request.checks.iter().enumerate() {
            let rules =
                RowRule::of(engine, &check.rule, &input, request.binds).map_err(|error| {
                    error
                        .within(&format!("check `{}`", named(&check.rule)))
                        .blame(&[&at.to_string()])
                })?;
            if check.on_fail == OnFail::Quarantine {
                if rules.is_empty() {
                    return Err(ConnectorError::misconfigured(format!(
                        "the check `{}` names no rows that could be set aside",
                        named(&check.rule)
                    ))
                    .help("give it `on_fail: stop` or `on_fail: warn`"));
                }
                for rule in rules {
                    quarantine.push((rule, rejected.len()));
                    rejected.push((quarantine[quarantine.len() - 1].0.name().to_owned(), 0));
                }
            } else {
                for rule in rules {
                    let found = Findings::of_rule(&rule, &input);
                    telling.push((rule, found));
                }
            }
        }
        quarantine.sort_by_key(|(rule, _)| rule.is_unique());
        let rejects = if quarantine.is_empty() {
            None
        } else {
            Some(Rejects::create(&input, true, |s| request.outputs.create("rejects", s))?)
        };
        let keep = BooleanBufferBuilder::new(0);
        Ok(Self { input, quarantine, rejected, rejects, telling, keep, row: 0 })
    }

    fn looks_at_rows(&self) -> bool {
        !self.quarantine.is_empty() || !self.telling.is_empty()
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let batch = with_schema(&self.input, batch)?;
        let left = self.set_aside(&batch)?;
        for (rule, found) in &mut self.telling {
            let refused = rule.refused(&left)?;
            found.add(&left, &refused, self.row)?;
        }
        self.row += left.num_rows() as u64;
        Ok(())
    }

    /// Writes the rows that a check refuses, and gives the others.
    fn set_aside(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let Some(rejects) = &mut self.rejects else { return Ok(batch.clone()) };
        let mut given: Vec<Option<usize>> = vec![None; batch.num_rows()];
        let mut places = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
        let mut left = batch.clone();
        for (rule, reason) in &mut self.quarantine {
            let refused = rule.refused(&left)?;
            if refused.true_count() == 0 {
                continue;
            }
            self.rejected[*reason].1 += refused.true_count() as u64;
            for i in refused.values().set_indices() {
                given[places.value(i) as usize] = Some(*reason);
            }
            let passes = not(&refused).map_err(|e| from_arrow(&e))?;
            left = filtered(&left, &passes)?;
            let kept = arrow::compute::filter(&places, &passes).map_err(|e| from_arrow(&e))?;
            places = kept.as_primitive().clone();
        }
        for reason in &given {
            self.keep.append(reason.is_none());
        }
        let rejected = &self.rejected;
        rejects.write(batch, &given, |reason| rejected[reason].0.as_str())?;
        Ok(left)
    }

    fn finish(mut self, table: &Arc<dyn Table>) -> Result<Done, ConnectorError> {
        if let Some(rejects) = self.rejects {
            rejects.finish()?;
        }
        let left = self.rejected.iter().any(|(_, rows)| *rows > 0);
        let survivors = left
            .then(|| Arc::new(Survivors::new(table.clone(), self.keep.finish())) as Arc<dyn Table>);
        let found = self.telling.into_iter().map(|(_, found)| found).collect();
        Ok(Done { rejected: self.rejected, found, survivors })
    }
}
