//! Columns: their types by name, the reading of text, inference, and the building of batches.
//!
//! * [`types`]: the names of a DAG file; [`text`]: from a cell's text to a value;
//! * [`guess`]: the type of a column whose type nobody wrote; [`rename`]: names;
//! * [`select`]: which columns are kept;
//! * [`builder`]: one column under construction, which can take back its last row;
//! * [`rows`]: a record batch under construction, row by row.

pub(crate) mod builder;
pub(crate) mod guess;
pub(crate) mod rename;
pub(crate) mod rows;
pub(crate) mod select;
pub(crate) mod text;
pub(crate) mod types;

pub use rename::{Rename, RenameRule};
pub use types::{ColumnType, type_name};

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

/// Types of columns by name, in the order written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ColumnTypes(pub IndexMap<String, ColumnType>);

impl JsonSchema for ColumnTypes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnTypes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, ColumnType>::json_schema(generator)
    }
}

/// What a source does with a row that it cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// The source stops with an error that names the file, the line and the column.
    #[default]
    Stop,
    /// The row is set aside, and reading goes on. The table `TASK.bad_rows` has it with `source`
    /// (the file), `line`, `column` (the name of the column that is to blame, if one is), `value`
    /// (what stands there), `row` (as it was read) and `reason`: one of the words below.
    Quarantine,
}

/// `text` cut to `limit` characters.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
