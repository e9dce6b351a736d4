//! A check, ready to look at batches.

use std::collections::BTreeMap;

use arrow::array::BooleanArray;
use arrow::compute::{is_null, not};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use serde_json::Value;
use tidemill_connector::ConnectorError;
use tidemill_connector::connector::unknown_column;
use tidemill_model::dag::CheckRule;

use crate::engine::Engine;
use crate::error::from_arrow;
use crate::expr::RowExpr;
use crate::seen::Seen;

/// Characters of an expression or a query in the name of its check.
const NAME_CHARS_MAX: usize = 80;

/// A check of single rows, or of rows against earlier ones.
pub(super) struct RowRule {
    name: String,
    columns: Vec<usize>,
    kind: Kind,
}

enum Kind {
    NotNull,
    Where(RowExpr),
    Unique(Box<Seen>),
}

impl RowRule {
    /// The rules of a check that look at rows; none for `rows` and `sql`.
    pub(super) fn of(
        engine: &Engine,
        rule: &CheckRule,
        schema: &SchemaRef,
        binds: &BTreeMap<String, Value>,
    ) -> Result<Vec<Self>, ConnectorError> {
        let column = |key: &str, name: &String| {
            schema.index_of(name).map_err(|_| unknown_column(key, name, schema))
        };
        Ok(match rule {
            CheckRule::Rows { .. } | CheckRule::Sql(_) => Vec::new(),
            CheckRule::NotNull(names) => names
                .iter()
                .map(|name| {
                    let columns = vec![column("not_null", name)?];
                    Ok(Self { name: format!("not_null({name})"), columns, kind: Kind::NotNull })
                })
                .collect::<Result<_, ConnectorError>>()?,
            CheckRule::Where(text) => {
                let condition = engine.condition(text, schema, binds);
                let condition = condition.map_err(|error| error.blame(&["where"]))?;
                let columns = condition.columns().to_vec();
                vec![Self { name: named(rule), columns, kind: Kind::Where(condition) }]
            }
            CheckRule::Unique(names) => {
                let columns: Vec<usize> =
                    names.iter().map(|n| column("unique", n)).collect::<Result<_, _>>()?;
                let seen = Seen::new(schema, columns.clone(), engine.memory_bytes())?;
                vec![Self { name: named(rule), columns, kind: Kind::Unique(Box::new(seen)) }]
            }
        })
    }

    /// As in messages and in the column `reason`: `not_null(order_id)`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The columns it is about.
    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    pub(super) fn is_unique(&self) -> bool {
        matches!(self.kind, Kind::Unique(_))
    }

    pub(super) fn is_not_null(&self) -> bool {
        matches!(self.kind, Kind::NotNull)
    }

    /// The rows of a batch that it refuses. Batches come in row order.
    pub(super) fn refused(&mut self, batch: &RecordBatch) -> Result<BooleanArray, ConnectorError> {
        match &mut self.kind {
            Kind::NotNull => is_null(batch.column(self.columns[0])).map_err(|e| from_arrow(&e)),
            Kind::Where(condition) => condition
                .eval_bool(batch)
                .and_then(|holds| not(&holds).map_err(|e| from_arrow(&e)))
                .map_err(|e| e.within(&format!("check `{}`", self.name))),
            Kind::Unique(seen) => {
                let new = seen.new_rows(batch, true)?;
                not(&new).map_err(|e| from_arrow(&e))
            }
        }
    }
}

/// How many rules that look at rows a check has.
pub(super) fn parts(rule: &CheckRule) -> usize {
    match rule {
        CheckRule::NotNull(columns) => columns.len(),
        CheckRule::Unique(_) | CheckRule::Where(_) => 1,
        CheckRule::Rows { .. } | CheckRule::Sql(_) => 0,
    }
}

/// A check in a few words.
pub(super) fn named(rule: &CheckRule) -> String {
    match rule {
        CheckRule::NotNull(columns) => format!("not_null({})", columns.join(", ")),
        CheckRule::Unique(columns) => format!("unique({})", columns.join(", ")),
        CheckRule::Rows { min, max } => {
            let min = min.map(|n| format!("min {n}"));
            let max = max.map(|n| format!("max {n}"));
            let both: Vec<String> = min.into_iter().chain(max).collect();
            format!("rows({})", both.join(", "))
        }
        CheckRule::Where(text) => format!("where({})", short(text)),
        CheckRule::Sql(text) => format!("sql({})", short(text)),
    }
}

/// A text on one line, cut.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_names() {
        let check = |rule: CheckRule, expected: &str| assert_eq!(named(&rule), expected);
        check(CheckRule::NotNull(vec!["a".into(), "b".into()]), "not_null(a, b)");
        check(CheckRule::Unique(vec!["a".into()]), "unique(a)");
        check(CheckRule::Rows { min: Some(1), max: None }, "rows(min 1)");
        check(CheckRule::Rows { min: Some(1), max: Some(9) }, "rows(min 1, max 9)");
        check(CheckRule::Where("amount\n  >= 0".into()), "where(amount >= 0)");
        let long = named(&CheckRule::Sql("select x ".repeat(20)));
        assert_eq!(long.chars().count(), NAME_CHARS_MAX + "sql(…)".chars().count());
    }
}
