//! One pass over a table: expressions, then the card, then segments.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_connector::{Binds, ConnectorError, TableWriter, TransformContext};
use tidemill_sql::{Engine, RowExpr};

use super::card::{self, Measured};
use super::config::{RulesConfig, Term};
use crate::cells::{column, distinct_names, row_place};

pub(super) struct Pass<'c> {
    rules: &'c RulesConfig,
    terms: Vec<RowExpr>,
    /// The input with `score` and `band`: what segments see.
    scored: SchemaRef,
    segments: Vec<Option<RowExpr>>,
    id: Option<usize>,
    keep: Vec<usize>,
    output: SchemaRef,
    writer: Box<dyn TableWriter>,
    rows: u64,
}

impl<'c> Pass<'c> {
    pub(super) fn new(
        engine: &Engine,
        rules: &'c RulesConfig,
        input: &SchemaRef,
        cx: &TransformContext,
    ) -> Result<Self, ConnectorError> {
        let terms = compile_terms(engine, rules, input, &cx.binds)?;
        let scored = scored_schema(rules, input);
        let segments = compile_segments(engine, rules, &scored, &cx.binds)?;
        let keep = match &rules.keep {
            None => (0..input.fields().len()).collect(),
            Some(names) => {
                names.iter().map(|n| column("keep", n, input)).collect::<Result<Vec<_>, _>>()?
            }
        };
        let id = rules.id.as_deref().map(|name| column("id", name, input)).transpose()?;
        let output = output_schema(rules, input, &keep)?;
        let writer = cx.outputs.create("", output.clone())?;
        Ok(Self { rules, terms, scored, segments, id, keep, output, writer, rows: 0 })
    }

    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let measured = self.measure(batch)?;
        let rules = self.rules;
        let scored = card::score(rules, &measured, rows).map_err(|no| {
            ConnectorError::data(format!("the term `{}` gives no finite score", no.term))
                .at(self.place(batch, no.row))
                .help("leave out such values in its expression, for example with `nullif`")
        })?;
        let (score, band): (ArrayRef, ArrayRef) = (Arc::new(scored.score), Arc::new(scored.band));
        let mut columns: Vec<ArrayRef> =
            self.keep.iter().map(|at| batch.column(*at).clone()).collect();
        if !rules.score.is_empty() {
            columns.push(score.clone());
        }
        if !rules.bands.is_empty() {
            columns.push(band.clone());
        }
        if !rules.segments.is_empty() {
            columns.push(Arc::new(self.segment(batch, &score, &band)?));
        }
        columns.push(Arc::new(StringArray::from(vec![rules.version.as_str(); rows])));
        if !rules.score.is_empty() {
            columns.push(Arc::new(scored.explained));
        }
        self.rows += rows as u64;
        self.writer.write(&RecordBatch::try_new(self.output.clone(), columns)?)
    }

    fn measure(&self, batch: &RecordBatch) -> Result<Vec<Measured>, ConnectorError> {
        let measure = |(term, expr): (&Term, &RowExpr)| {
            if term.condition.is_some() {
                return expr.eval_bool(batch).map(Measured::Holds);
            }
            let values = cast(&expr.eval(batch)?, &DataType::Float64)?;
            Ok(Measured::Value(values.as_primitive().clone()))
        };
        let terms = self.rules.score.iter().zip(&self.terms);
        terms
            .map(|(term, expr)| {
                measure((term, expr)).map_err(|e| e.within(&format!("term `{}`", term.name)))
            })
            .collect()
    }

    fn segment(
        &self,
        batch: &RecordBatch,
        score: &ArrayRef,
        band: &ArrayRef,
    ) -> Result<StringArray, ConnectorError> {
        let mut columns = batch.columns().to_vec();
        if !self.rules.score.is_empty() {
            set(&mut columns, &self.scored, &self.rules.names.score, score);
        }
        if !self.rules.bands.is_empty() {
            set(&mut columns, &self.scored, &self.rules.names.band, band);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let seen = RecordBatch::try_new_with_options(self.scored.clone(), columns, &options)?;
        let mut given: Vec<Option<&str>> = vec![None; batch.num_rows()];
        for (segment, condition) in self.rules.segments.iter().zip(&self.segments) {
            let holds = condition.as_ref().map(|c| c.eval_bool(&seen)).transpose();
            let holds = holds.map_err(|e| e.within(&format!("segment `{}`", segment.name)))?;
            for (row, given) in given.iter_mut().enumerate() {
                if given.is_none() && holds.as_ref().is_none_or(|holds| holds.value(row)) {
                    *given = Some(&segment.name);
                }
            }
        }
        Ok(given.into())
    }

    fn place(&self, batch: &RecordBatch, row: usize) -> String {
        row_place(batch, self.id, row, self.rows)
    }

    pub(super) fn finish(self) -> Result<(), ConnectorError> {
        self.writer.finish()
    }
}

/// The terms of the score, over the columns of the input.
pub(super) fn compile_terms(
    engine: &Engine,
    rules: &RulesConfig,
    input: &SchemaRef,
    binds: &Binds,
) -> Result<Vec<RowExpr>, ConnectorError> {
    let terms = rules.score.iter().enumerate().map(|(at, term)| {
        compile_term(engine, term, input, binds).map_err(|error| {
            let key = if term.condition.is_some() { "where" } else { "value" };
            error.within(&format!("term `{}`", term.name)).blame(&["score", &at.to_string(), key])
        })
    });
    terms.collect()
}

/// The conditions of the segments, over the columns of the input, `score` and `band`.
pub(super) fn compile_segments(
    engine: &Engine,
    rules: &RulesConfig,
    scored: &SchemaRef,
    binds: &Binds,
) -> Result<Vec<Option<RowExpr>>, ConnectorError> {
    let segments = rules.segments.iter().enumerate().map(|(at, segment)| {
        let Some(condition) = &segment.condition else { return Ok(None) };
        engine.condition(condition, scored, binds).map(Some).map_err(|error| {
            let error = error.within(&format!("segment `{}`", segment.name));
            error.blame(&["segments", &at.to_string(), "where"])
        })
    });
    segments.collect()
}

fn compile_term(
    engine: &Engine,
    term: &Term,
    input: &SchemaRef,
    binds: &Binds,
) -> Result<RowExpr, ConnectorError> {
    if let Some(condition) = &term.condition {
        return engine.condition(condition, input, binds);
    }
    let text = term.value.as_deref().unwrap_or_default();
    let value = engine.compile(text, input, binds)?;
    if value.data_type().is_numeric() {
        return Ok(value);
    }
    let error = ConnectorError::misconfigured(format!("`{}` is no number", value.text()));
    Err(if value.data_type() == &DataType::Boolean {
        error.help("write it as `where`")
    } else {
        error.help("cast it to a number")
    })
}

/// The input with `score` and `band`, which stand in for input columns of the same name.
pub(super) fn scored_schema(rules: &RulesConfig, input: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
    let mut add = |name: &str, data_type: DataType| {
        let field = Arc::new(Field::new(name, data_type, true));
        match fields.iter_mut().find(|other| other.name() == name) {
            Some(other) => *other = field,
            None => fields.push(field),
        }
    };
    if !rules.score.is_empty() {
        add(&rules.names.score, DataType::Float64);
    }
    if !rules.bands.is_empty() {
        add(&rules.names.band, DataType::Utf8);
    }
    Arc::new(Schema::new(fields))
}

fn set(columns: &mut Vec<ArrayRef>, schema: &SchemaRef, name: &str, array: &ArrayRef) {
    match schema.index_of(name) {
        Ok(at) if at < columns.len() => columns[at] = array.clone(),
        _ => columns.push(array.clone()),
    }
}

fn output_schema(
    rules: &RulesConfig,
    input: &SchemaRef,
    keep: &[usize],
) -> Result<SchemaRef, ConnectorError> {
    let mut fields: Vec<Arc<Field>> = keep.iter().map(|at| input.fields()[*at].clone()).collect();
    let mut add = |wanted: bool, name: &str, data_type: DataType| {
        if wanted {
            fields.push(Arc::new(Field::new(name, data_type, true)));
        }
    };
    let names = &rules.names;
    add(!rules.score.is_empty(), &names.score, DataType::Float64);
    add(!rules.bands.is_empty(), &names.band, DataType::Utf8);
    add(!rules.segments.is_empty(), &names.segment, DataType::Utf8);
    add(true, &names.rule_version, DataType::Utf8);
    add(!rules.score.is_empty(), &names.explained, DataType::Utf8);
    let all = fields.iter().map(|field| field.name().as_str());
    distinct_names(all, "name the columns of the input to `keep`, or rename one with `as`")?;
    Ok(Arc::new(Schema::new(fields)))
}
