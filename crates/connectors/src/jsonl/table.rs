//! Objects into columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use indexmap::IndexMap;
use tidemill_connector::ConnectorError;

use crate::columns::rename::rename_all;
use crate::columns::rows::Rows;
use crate::columns::{ColumnTypes, Rename};
use crate::json::{Json, Shape};
use crate::rejects::Reject;

/// Keys that no column has are remembered up to this many, so that strange input cannot fill the
/// memory.
const KEYS_REMEMBERED_MAX: usize = 10_000;

/// The columns that a set of objects needs, found by looking at all of them.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    columns: IndexMap<String, Shape>,
}

impl Inference {
    /// Takes in one more row.
    pub(crate) fn see(
        &mut self,
        row: &[(std::borrow::Cow<'_, str>, Json<'_>)],
    ) -> Result<(), ConnectorError> {
        for (key, value) in row {
            Shape::see_column(&mut self.columns, key, value).map_err(|_| {
                ConnectorError::data("the objects have too many different keys for a table")
                    .help("name the columns to read in `columns`")
            })?;
        }
        Ok(())
    }

    /// The columns, in the order of their first appearance, under the names they are given on.
    pub(crate) fn finish(
        self,
        rename: Option<&Rename>,
        place: &str,
    ) -> Result<Vec<FieldRef>, ConnectorError> {
        let (keys, shapes): (Vec<String>, Vec<Shape>) = self.columns.into_iter().unzip();
        if keys.is_empty() {
            return Err(ConnectorError::data(
                "there are no columns: the input holds no object with keys",
            )
            .at(place)
            .help("to read an input that may be empty, name its columns in `columns`"));
        }
        let names = rename_all(&keys, rename, place)?;
        let field =
            |(name, shape): (&String, Shape)| Arc::new(Field::new(name, shape.data_type(), true));
        Ok(names.iter().zip(shapes).map(field).collect())
    }
}

/// The columns as written in a DAG file.
pub(crate) fn written(columns: &ColumnTypes) -> Vec<FieldRef> {
    let field = |(name, of): (&String, &crate::columns::ColumnType)| {
        Arc::new(Field::new(name, of.data_type(), true))
    };
    columns.0.iter().map(field).collect()
}

/// Which column each key of an object goes to.
#[derive(Debug)]
pub(crate) struct Keys {
    rename: Option<Rename>,
    columns: HashMap<String, usize>,
    /// Keys met so far, since renaming each of them for each row would cost too much.
    known: HashMap<String, Option<usize>>,
}

impl Keys {
    pub(crate) fn new(fields: &[FieldRef], rename: Option<Rename>) -> Self {
        let columns = fields.iter().enumerate().map(|(i, f)| (f.name().clone(), i)).collect();
        Self { rename, columns, known: HashMap::new() }
    }

    fn column(&mut self, key: &str) -> Option<usize> {
        if let Some(known) = self.known.get(key) {
            return *known;
        }
        let name = self.rename.as_ref().map_or(key.into(), |rename| rename.apply(key));
        let column = self.columns.get(name.as_ref()).copied();
        if self.known.len() < KEYS_REMEMBERED_MAX {
            self.known.insert(key.to_owned(), column);
        }
        column
    }

    /// Appends an object to the first columns, one for each field that [`Keys`] was made with;
    /// after an error parts of it may stand there.
    pub(crate) fn push(
        &mut self,
        rows: &mut Rows,
        row: &[(std::borrow::Cow<'_, str>, Json<'_>)],
    ) -> Result<(), Reject> {
        let before = rows.len();
        for (key, value) in row {
            let Some(index) = self.column(key) else { continue };
            let column = &mut rows.columns()[index];
            if column.len() > before {
                return Err(Reject {
                    reason: "duplicate_key",
                    message: format!(
                        "the object has the key `{key}` twice, or two keys of that name"
                    ),
                    column: Some(rows.schema().field(index).name().clone()),
                    value: None,
                });
            }
            column.push_json(value).map_err(|mismatch| Reject {
                reason: "bad_value",
                message: format!("`{}` is no {}", mismatch.value, mismatch.expected),
                column: Some(format!("{}{}", rows.schema().field(index).name(), mismatch.path)),
                value: Some(mismatch.value),
            })?;
        }
        for column in &mut rows.columns()[..self.columns.len()] {
            if column.len() == before {
                column.push_null();
            }
        }
        Ok(())
    }
}

/// Refuses a further column whose name is taken, else appends it.
pub(crate) fn add_file_column(
    fields: &mut Vec<FieldRef>,
    name: Option<&str>,
) -> Result<(), ConnectorError> {
    let Some(name) = name else { return Ok(()) };
    if fields.iter().any(|field| field.name() == name) {
        return Err(ConnectorError::misconfigured(format!(
            "`file_column` is `{name}`, but the input has a column of that name"
        )));
    }
    fields.push(Arc::new(Field::new(name, DataType::Utf8, true)));
    Ok(())
}
