//! The columns of tables that the executor makes itself.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

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
