//! A mapped task as a whole: the tables of its items become one, in the order of the items.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, new_null_array};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use tidemill_connector::{ConnectorError, Outputs};
use tidemill_model::TableRef;
use tidemill_model::effect::Gather;

use super::schemas::{ITEM, with_item};
use super::{Attempt, Ended};

impl Attempt {
    /// Puts the tables of the items together.
    pub(crate) fn gather(&self) -> Ended {
        let empty = Gather::default();
        let gather = self.order.gather.as_ref().unwrap_or(&empty);
        let outputs = self.outputs();
        match self.put_together(gather, &outputs) {
            Ok(()) => Self::done(&outputs, gather.counts.clone(), gather.warnings.clone()),
            Err(error) => Self::failed(&error),
        }
    }

    fn put_together(&self, gather: &Gather, outputs: &dyn Outputs) -> Result<(), ConnectorError> {
        for (name, parts) in self.tables_by_name(gather) {
            let union = self.union_of(&parts)?;
            let mut writer = outputs.create(name, Arc::clone(&union))?;
            for (item, table) in parts {
                let table = self.shared.tables.open(table)?;
                for batch in table.scan()? {
                    self.stop.check()?;
                    writer.write(&as_union(&union, item, &batch?)?)?;
                }
            }
            writer.finish()?;
        }
        Ok(())
    }

    /// The tables of the items by what comes after the task's name: `""` is the main one.
    fn tables_by_name<'g>(
        &self,
        gather: &'g Gather,
    ) -> IndexMap<&'g str, Vec<(u32, &'g TableRef)>> {
        let task = self.task().name.as_str();
        let mut found: IndexMap<&str, Vec<(u32, &TableRef)>> = IndexMap::new();
        for (item, tables) in &gather.items {
            for table in tables {
                let name = table.name.strip_prefix(task).unwrap_or(&table.name);
                found.entry(name.trim_start_matches('.')).or_default().push((*item, table));
            }
        }
        found
    }

    /// The columns of all parts, in the order in which they first occur, and that of the item.
    fn union_of(&self, parts: &[(u32, &TableRef)]) -> Result<SchemaRef, ConnectorError> {
        let mut columns: IndexMap<String, (Field, u32)> = IndexMap::new();
        let mut seen: Option<&str> = None;
        for (number, (item, table)) in parts.iter().enumerate() {
            // Items of one kind have one schema, and its hash tells without a look at the table.
            if seen.replace(&table.schema) == Some(&table.schema) {
                continue;
            }
            self.stop.check()?;
            let schema = self.shared.tables.open(table)?.schema();
            for field in schema.fields() {
                self.join(&mut columns, field, *item, number > 0)?;
            }
            for (name, (field, _)) in &mut columns {
                if schema.column_with_name(name).is_none() {
                    field.set_nullable(true);
                }
            }
        }
        let fields = columns.into_values().map(|(field, _)| field);
        Ok(with_item(fields))
    }

    /// A column of one more part.
    fn join(
        &self,
        columns: &mut IndexMap<String, (Field, u32)>,
        field: &Field,
        item: u32,
        is_later: bool,
    ) -> Result<(), ConnectorError> {
        if field.name() == ITEM {
            return Err(ConnectorError::misconfigured(format!(
                "the table of item {item} has a column `{ITEM}`, which is where the number of the \
                 item goes"
            ))
            .help("give that column another name"));
        }
        let Some((known, first)) = columns.get_mut(field.name()) else {
            let field = field.clone().with_nullable(field.is_nullable() || is_later);
            columns.insert(field.name().clone(), (field, item));
            return Ok(());
        };
        let Some(common) = common_type(known.data_type(), field.data_type()) else {
            return Err(ConnectorError::misconfigured(format!(
                "column `{}` is {} for item {first} and {} for item {item}, so the tables of `{}` \
                 cannot be put together",
                field.name(),
                known.data_type(),
                field.data_type(),
                self.task().name
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

/// A part's rows with the columns of the whole.
fn as_union(
    union: &SchemaRef,
    item: u32,
    batch: &RecordBatch,
) -> Result<RecordBatch, ConnectorError> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(union.fields().len());
    for field in union.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            _ if field.name() == ITEM => Arc::new(Int64Array::from_value(i64::from(item), rows)),
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) => arrow::compute::cast(column, field.data_type())?,
            None => new_null_array(field.data_type(), rows),
        });
    }
    Ok(RecordBatch::try_new(Arc::clone(union), columns)?)
}
