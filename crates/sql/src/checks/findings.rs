//! What a check found, in words: how many rows, and a few of them.

use arrow::array::BooleanArray;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_connector::ConnectorError;
use tidemill_model::words::counted;

use super::rules::RowRule;
use crate::error::from_arrow;

/// Rows shown of those to blame.
const SAMPLES_MAX: usize = 3;
/// Columns shown of such a row.
const COLUMNS_MAX: usize = 4;
/// Characters shown of a value.
const VALUE_CHARS_MAX: usize = 40;

/// Rows that a check refuses.
pub(super) struct Findings {
    check: String,
    rows: u64,
    samples: Vec<String>,
    columns: Vec<usize>,
    repeats: bool,
}

impl Findings {
    /// For a check of rows; shows the columns it is about.
    pub(super) fn of_rule(rule: &RowRule, schema: &SchemaRef) -> Self {
        let mut columns = rule.columns().to_vec();
        if rule.is_not_null() {
            // That the value is null is known; the others tell which row it is.
            columns = (0..schema.fields().len()).filter(|i| !rule.columns().contains(i)).collect();
        }
        columns.truncate(COLUMNS_MAX);
        Self::new(rule.name().to_owned(), columns, rule.is_unique())
    }

    /// For the rows that a query gives.
    pub(super) fn of_query(check: String, schema: &Schema) -> Self {
        Self::new(check, (0..schema.fields().len().min(COLUMNS_MAX)).collect(), false)
    }

    fn new(check: String, columns: Vec<usize>, repeats: bool) -> Self {
        Self { check, rows: 0, samples: Vec::new(), columns, repeats }
    }

    /// Adds the rows of a batch that are refused; its first row has the number `first` + 1.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch,
        refused: &BooleanArray,
        first: u64,
    ) -> Result<(), ConnectorError> {
        self.rows += refused.true_count() as u64;
        for i in refused.values().set_indices() {
            if self.samples.len() == SAMPLES_MAX {
                break;
            }
            let sample = self.sample(batch, i, first + i as u64 + 1)?;
            self.samples.push(sample);
        }
        Ok(())
    }

    /// Adds all rows of a batch.
    pub(super) fn add_all(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.add(batch, &BooleanArray::from(vec![true; batch.num_rows()]), self.rows)
    }

    fn sample(
        &self,
        batch: &RecordBatch,
        row: usize,
        number: u64,
    ) -> Result<String, ConnectorError> {
        if self.columns.is_empty() {
            return Ok(format!("row {number}"));
        }
        let options = FormatOptions::new().with_null("null");
        let mut parts = Vec::new();
        for column in &self.columns {
            let values = ArrayFormatter::try_new(batch.column(*column), &options)
                .map_err(|e| from_arrow(&e))?;
            let value = values.value(row).try_to_string().map_err(|e| from_arrow(&e))?;
            let value = match value.char_indices().nth(VALUE_CHARS_MAX) {
                Some((end, _)) => format!("{}…", &value[..end]),
                None => value,
            };
            parts.push(format!("{} = {value}", batch.schema_ref().field(*column).name()));
        }
        Ok(format!("`{}`", parts.join(", ")))
    }

    /// In words, if any row of the table's `rows` was refused.
    pub(super) fn message(&self, rows: u64) -> Option<String> {
        if self.rows == 0 {
            return None;
        }
        let repeats = if self.repeats { " repeat an earlier one" } else { "" };
        Some(format!(
            "check `{}` does not hold: {} of {}{repeats}, for example {}",
            self.check,
            self.rows,
            counted(rows, "row"),
            self.samples.join(" and ")
        ))
    }

    /// In words, if the query gave any row.
    pub(super) fn query_message(&self) -> Option<String> {
        (self.rows > 0).then(|| {
            format!(
                "check `{}` does not hold: it gives {}, for example {}",
                self.check,
                counted(self.rows, "row"),
                self.samples.join(" and ")
            )
        })
    }
}

/// A wrong number of rows, in words.
pub(super) fn row_count(check: &str, rows: u64) -> String {
    format!("check `{check}` does not hold: the table has {}", counted(rows, "row"))
}
