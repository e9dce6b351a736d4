//! One pass over a table: repeated rows, rows set aside, rows that go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::not;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde_json::Value;
use tidemill_connector::connector::unknown_column;
use tidemill_connector::{ConnectorError, TableWriter, TransformContext};
use tidemill_model::Counts;

use super::config::{CleanConfig, Dedupe, RejectRule};
use crate::engine::Engine;
use crate::error::from_arrow;
use crate::expr::RowExpr;
use crate::rejects::{Rejects, filtered, with_schema};
use crate::seen::Seen;
use crate::types::plain;

pub(super) struct Pass {
    input: SchemaRef,
    seen: Option<Seen>,
    rules: Vec<(RowExpr, usize)>,
    /// Each reason once, in the order of the settings, with the rows it was given for.
    reasons: Vec<(String, u64)>,
    columns: Option<(SchemaRef, Vec<RowExpr>)>,
    counts: Counts,
    good: Box<dyn TableWriter>,
    rejects: Rejects,
    duplicates: Box<dyn TableWriter>,
}

impl Pass {
    pub(super) fn new(
        engine: &Engine,
        config: &CleanConfig,
        schema: &SchemaRef,
        cx: &TransformContext,
    ) -> Result<Self, ConnectorError> {
        let input = plain(schema);
        let seen = match &config.dedupe {
            None => None,
            Some(by) => {
                let columns = columns_of(by, &input)?;
                Some(Seen::new(&input, columns, engine.memory_bytes())?)
            }
        };
        let mut reasons: Vec<(String, u64)> = Vec::new();
        let mut rules = Vec::new();
        for (at, rule) in config.reject.iter().enumerate() {
            let condition = condition(engine, (at, rule), &input, &cx.binds)?;
            let place = reasons.iter().position(|(r, _)| *r == rule.reason).unwrap_or_else(|| {
                reasons.push((rule.reason.clone(), 0));
                reasons.len() - 1
            });
            rules.push((condition, place));
        }
        let columns = projection(engine, config, &input, &cx.binds)?;
        let output = columns.as_ref().map_or(&input, |(schema, _)| schema).clone();
        Ok(Self {
            good: cx.outputs.create("", output)?,
            rejects: Rejects::create(&input, !rules.is_empty(), |schema| {
                cx.outputs.create("rejects", schema)
            })?,
            duplicates: cx.outputs.create("duplicates", input.clone())?,
            input,
            seen,
            rules,
            reasons,
            columns,
            counts: Counts::default(),
        })
    }

    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.counts.rows_in += batch.num_rows() as u64;
        let batch = with_schema(&self.input, batch)?;
        let batch = self.drop_repeated(batch)?;
        let good = self.set_aside(&batch)?;
        if good.num_rows() == 0 {
            return Ok(());
        }
        self.counts.rows_out += good.num_rows() as u64;
        match &self.columns {
            None => self.good.write(&good),
            Some((schema, columns)) => {
                let columns = columns
                    .iter()
                    .zip(schema.fields())
                    .map(|(expr, field)| {
                        expr.eval(&good)
                            .map_err(|e| e.within(&format!("column `{}`", field.name())))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(good.num_rows()));
                let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)
                    .map_err(|e| from_arrow(&e))?;
                self.good.write(&batch)
            }
        }
    }

    fn drop_repeated(&mut self, batch: RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let Some(seen) = &mut self.seen else { return Ok(batch) };
        let new = seen.new_rows(&batch, false)?;
        let repeated = batch.num_rows() - new.true_count();
        if repeated == 0 {
            return Ok(batch);
        }
        self.counts.duplicates += repeated as u64;
        self.duplicates.write(&filtered(&batch, &not(&new).map_err(|e| from_arrow(&e))?)?)?;
        filtered(&batch, &new)
    }

    /// Writes the rows that a reason applies to, and gives the others.
    ///
    /// A condition is evaluated only on rows to which none before it applied, so that a later one
    /// may rely on an earlier one: `cast(x as int) < 0` after `x is null`.
    fn set_aside(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let mut given: Vec<Option<usize>> = vec![None; batch.num_rows()];
        let mut places = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
        let mut left = batch.clone();
        for (condition, reason) in &self.rules {
            if left.num_rows() == 0 {
                break;
            }
            let holds = condition
                .eval_bool(&left)
                .map_err(|e| e.within(&format!("reject `{}`", self.reasons[*reason].0)))?;
            let rows = holds.true_count();
            if rows == 0 {
                continue;
            }
            self.reasons[*reason].1 += rows as u64;
            for i in holds.values().set_indices() {
                given[places.value(i) as usize] = Some(*reason);
            }
            let passes = not(&holds).map_err(|e| from_arrow(&e))?;
            left = filtered(&left, &passes)?;
            let kept = arrow::compute::filter(&places, &passes).map_err(|e| from_arrow(&e))?;
            places = kept.as_primitive().clone();
        }
        let reasons = &self.reasons;
        self.rejects.write(batch, &given, |reason| reasons[reason].0.as_str())?;
        Ok(left)
    }

    pub(super) fn finish(self) -> Result<Counts, ConnectorError> {
        self.good.finish()?;
        self.rejects.finish()?;
        self.duplicates.finish()?;
        Ok(Counts { rejected: self.reasons, ..self.counts })
    }
}

fn columns_of(by: &Dedupe, schema: &SchemaRef) -> Result<Vec<usize>, ConnectorError> {
    match by {
        Dedupe::All => Ok((0..schema.fields().len()).collect()),
        Dedupe::Columns(names) => names
            .iter()
            .map(|n| schema.index_of(n).map_err(|_| unknown_column("dedupe", n, schema)))
            .collect(),
    }
}

/// Everything that does not fit the columns of the input.
pub(super) fn errors(
    engine: &Engine,
    config: &CleanConfig,
    input: &SchemaRef,
    binds: &BTreeMap<String, Value>,
) -> Vec<ConnectorError> {
    let mut errors = Vec::new();
    if let Some(Dedupe::Columns(names)) = &config.dedupe {
        let unknown = names.iter().filter(|name| input.index_of(name).is_err());
        errors.extend(unknown.map(|name| unknown_column("dedupe", name, input)));
    }
    for rule in config.reject.iter().enumerate() {
        errors.extend(condition(engine, rule, input, binds).err());
    }
    for named in &config.columns {
        errors.extend(computed(engine, named, input, binds).err());
    }
    errors
}

fn condition(
    engine: &Engine,
    (at, rule): (usize, &RejectRule),
    input: &SchemaRef,
    binds: &BTreeMap<String, Value>,
) -> Result<RowExpr, ConnectorError> {
    engine.condition(&rule.condition, input, binds).map_err(|error| {
        let error = error.within(&format!("reject `{}`", rule.reason));
        error.blame(&["reject", &at.to_string(), "where"])
    })
}

fn computed(
    engine: &Engine,
    (name, text): (&String, &String),
    input: &SchemaRef,
    binds: &BTreeMap<String, Value>,
) -> Result<RowExpr, ConnectorError> {
    engine
        .compile(text, input, binds)
        .map_err(|error| error.within(&format!("column `{name}`")).blame(&["columns", name]))
}

/// The columns of the rows that pass; nothing when they keep theirs.
pub(super) fn projection(
    engine: &Engine,
    config: &CleanConfig,
    input: &SchemaRef,
    binds: &BTreeMap<String, Value>,
) -> Result<Option<(SchemaRef, Vec<RowExpr>)>, ConnectorError> {
    if config.columns.is_empty() {
        return Ok(None);
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for named in &config.columns {
        let column = computed(engine, named, input, binds)?;
        fields.push(Field::new(named.0, column.data_type().clone(), true));
        columns.push(column);
    }
    Ok(Some((Arc::new(Schema::new(fields)), columns)))
}
