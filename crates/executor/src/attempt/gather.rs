//! A mapped task as a whole: the tables of its items become one, in the order of the items.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use tidemill_connector::{ConnectorError, Outputs};
use tidemill_model::TableRef;
use tidemill_model::effect::Gather;

use super::schemas::{ITEM, Union, with_item};
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

    /// The columns of all parts, and that of the item.
    fn union_of(&self, parts: &[(u32, &TableRef)]) -> Result<SchemaRef, ConnectorError> {
        let mut union = Union::new(self.task().name.as_str());
        let mut seen: Option<&str> = None;
        for (item, table) in parts {
            // Items of one kind have one schema, and its hash tells without a look at the table.
            if seen.replace(&table.schema) == Some(&table.schema) {
                continue;
            }
            self.stop.check()?;
            union.add(&self.shared.tables.open(table)?.schema(), *item)?;
        }
        Ok(with_item(union.fields()))
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
