//! The columns of a batch as values that templates read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use minijinja::Value;
use minijinja::value::{Object, ValueKind};
use serde_json::Value as Json;

use crate::cells::{CellError, parse_json, values};

/// The values of a batch, by column.
#[derive(Debug)]
pub(super) struct Columns {
    by_name: HashMap<String, Vec<Value>>,
}

/// A row, as the variables of a template.
#[derive(Debug)]
pub(super) struct Row {
    columns: Arc<Columns>,
    row: usize,
}

/// A column whose cells cannot be read, and why.
pub(super) struct Unreadable {
    pub(super) column: String,
    pub(super) error: CellError,
}

impl Columns {
    /// The values of those columns of a batch that templates read.
    pub(super) fn new(
        batch: &RecordBatch,
        wanted: &[usize],
        json: &[usize],
    ) -> Result<Arc<Self>, Unreadable> {
        let schema = batch.schema();
        let mut by_name = HashMap::with_capacity(wanted.len());
        for at in wanted {
            let name = schema.field(*at).name();
            let read = || {
                let mut cells = values(batch.column(*at))?;
                if json.contains(at) {
                    parse_json(&mut cells)?;
                }
                Ok(cells.into_iter().map(value).collect())
            };
            let cells: Vec<Value> =
                read().map_err(|error| Unreadable { column: name.clone(), error })?;
            by_name.insert(name.clone(), cells);
        }
        Ok(Arc::new(Self { by_name }))
    }

    /// The variables of a row.
    pub(super) fn row(self: &Arc<Self>, row: usize) -> Value {
        Value::from_object(Row { columns: self.clone(), row })
    }
}

impl Object for Row {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.columns.by_name.get(key.as_str()?).map(|cells| cells[self.row].clone())
    }
}

/// A JSON value as a value of templates.
fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(yes),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(integer)) => Value::from(integer),
            (None, None) => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => Value::from(items.into_iter().map(value).collect::<Vec<_>>()),
        Json::Object(fields) => {
            Value::from_pairs(fields.into_iter().map(|(key, field)| (key, value(field))))
        }
    }
}

/// Whether a template that writes this value writes a null.
pub(super) fn is_null(value: &Value) -> bool {
    value.kind() == ValueKind::None
}
