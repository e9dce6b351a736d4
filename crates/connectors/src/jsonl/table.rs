//! Objects into columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use indexmap::{IndexMap, IndexSet};
use tidemill_connector::ConnectorError;

use crate::columns::rename::rename_all;
use crate::columns::rows::Rows;
use crate::columns::select::Known;
use crate::columns::{ColumnTypes, Rename};
use crate::json::{Json, Shape};
use crate::rejects::{Reason, Reject};

/// Keys that no column has are remembered up to this many, so that strange input cannot fill the
/// memory.
const KEYS_REMEMBERED_MAX: usize = 10_000;

/// The columns that a set of objects needs, found by looking at all of them.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    rename: Option<Rename>,
    /// The columns to keep, by the names they are given on by; all of them without it.
    select: Option<Vec<String>>,
    columns: IndexMap<String, Shape>,
    /// Keys of columns that are not kept, for messages.
    left_out: IndexSet<String>,
}

impl Inference {
    /// Looks for these columns only, if some are given.
    pub(crate) fn new(rename: Option<Rename>, select: Option<Vec<String>>) -> Self {
        Self { rename, select, ..Self::default() }
    }

    /// Takes in one more row.
    pub(crate) fn see(&mut self, row: &[(Cow<'_, str>, Json<'_>)]) -> Result<(), ConnectorError> {
        for (key, value) in row {
            if !self.keeps(key) {
                continue;
            }
            Shape::see_column(&mut self.columns, key, value).map_err(|_| {
                ConnectorError::data("the objects have too many different keys for a table")
                    .help("name the columns to read in `columns`")
            })?;
        }
        Ok(())
    }

    fn keeps(&mut self, key: &str) -> bool {
        let Some(select) = &self.select else { return true };
        if self.columns.contains_key(key) {
            return true;
        }
        if self.left_out.contains(key) {
            return false;
        }
        let name = self.rename.as_ref().map_or(key.into(), |rename| rename.apply(key));
        let kept = select.iter().any(|selected| *selected == name);
        if !kept && self.left_out.len() < KEYS_REMEMBERED_MAX {
            self.left_out.insert(key.to_owned());
        }
        kept
    }

    /// The columns, in the order of `select` or of their first appearance, under the names they
    /// are given on by.
    pub(crate) fn finish(self, place: &str) -> Result<Vec<FieldRef>, ConnectorError> {
        let (mut keys, shapes): (Vec<String>, Vec<Shape>) = self.columns.into_iter().unzip();
        keys.extend(self.left_out);
        if keys.is_empty() {
            return Err(ConnectorError::data(
                "there are no columns: the input holds no object with keys",
            )
            .at(place)
            .help("to read an input that may be empty, name its columns in `columns`"));
        }
        let names = rename_all(&keys, self.rename.as_ref(), place)?;
        let renamed = self.rename.is_some();
        let known = Known { names: &names, renamed, owner: "the input does", place: &place };
        // What is selected is kept, and what is kept comes first.
        let field = |at: usize| Arc::new(Field::new(&names[at], shapes[at].data_type(), true));
        Ok(known.select(self.select.as_deref())?.into_iter().map(field).collect())
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
        row: &[(Cow<'_, str>, Json<'_>)],
    ) -> Result<(), Reject> {
        let before = rows.len();
        for (key, value) in row {
            let Some(index) = self.column(key) else { continue };
            let column = &mut rows.columns()[index];
            if column.len() > before {
                return Err(Reject {
                    reason: Reason::DuplicateKey,
                    message: format!(
                        "the object has the key `{key}` twice, or two keys of that name"
                    ),
                    column: Some(rows.schema().field(index).name().clone()),
                    value: None,
                });
            }
            column.push_json(value).map_err(|mismatch| Reject {
                reason: Reason::BadValue,
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
