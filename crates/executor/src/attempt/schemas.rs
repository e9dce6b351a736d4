//! The columns of tables that the executor makes itself.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use tidemill_connector::ConnectorError;

/// The column that says which item of a mapped task a row is of.
pub const ITEM: &str = "_item";
/// What stands behind a task's name in the name of the table with rows that its source could not
/// read.
pub const BAD_ROWS: &str = "bad_rows";
/// The built-in table of the tasks of a run.
pub const RUN_TASKS: &str = "run_tasks";

/// The columns of `run_tasks`: the tasks of a run that have ended.
pub fn of_run_tasks() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        text("task"),
        text("state"),
        number("attempts"),
        number("rows_in"),
        number("rows_out"),
        number("duplicates"),
        number("rejected"),
        text("reasons"),
    ]))
}

/// The columns of `TASK.bad_rows`.
pub fn of_bad_rows() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("source", false),
        Field::new("line", DataType::Int64, false),
        text("column", true),
        text("value", true),
        text("row", false),
        text("reason", false),
    ]))
}

/// The columns of a mapped task: those of its items, and the number of the item.
pub fn with_item(fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    let item = Field::new(ITEM, DataType::Int64, false);
    Arc::new(Schema::new(fields.into_iter().chain([item]).collect::<Vec<_>>()))
}

/// The columns of the tables of items, put together in the order in which they first occur.
#[derive(Debug)]
pub struct Union<'t> {
    task: &'t str,
    /// Each column, and the item that has it first.
    columns: IndexMap<String, (Field, u32)>,
    has_parts: bool,
}

impl<'t> Union<'t> {
    /// No columns yet. `task` is for messages.
    pub fn new(task: &'t str) -> Self {
        Self { task, columns: IndexMap::new(), has_parts: false }
    }

    /// Adds the columns of an item. Those that not all items have may be null.
    pub fn add(&mut self, schema: &Schema, item: u32) -> Result<(), ConnectorError> {
        for field in schema.fields() {
            self.join(field, item)?;
        }
        for (name, (field, _)) in &mut self.columns {
            if schema.column_with_name(name).is_none() {
                field.set_nullable(true);
            }
        }
        self.has_parts = true;
        Ok(())
    }

    /// The columns.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.columns.into_values().map(|(field, _)| field)
    }

    fn join(&mut self, field: &Field, item: u32) -> Result<(), ConnectorError> {
        if field.name() == ITEM {
            return Err(ConnectorError::misconfigured(format!(
                "the table of item {item} has a column `{ITEM}`, which is where the number of the \
                 item goes"
            ))
            .help("give that column another name"));
        }
        let Some((known, first)) = self.columns.get_mut(field.name()) else {
            let field = field.clone().with_nullable(field.is_nullable() || self.has_parts);
            self.columns.insert(field.name().clone(), (field, item));
            return Ok(());
        };
        let Some(common) = common_type(known.data_type(), field.data_type()) else {
            return Err(ConnectorError::misconfigured(format!(
                "column `{}` is {} for item {first} and {} for item {item}, so the tables of `{}` \
                 cannot be put together",
                field.name(),
                known.data_type(),
                field.data_type(),
                self.task
            ))
            .help("give the column one type: with `columns` of the source, or a cast in the SQL"));
        };
        known.set_data_type(common);
        known.set_nullable(known.is_nullable() || field.is_nullable());
        Ok(())
    }
}

/// The type that holds values of both, if there is one without loss.
fn common_type(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        // A column that looked whole in one file and not in another.
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
            Some(DataType::Float64)
        }
        _ => None,
    }
}
