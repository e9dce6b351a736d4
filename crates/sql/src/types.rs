//! The types that tables hold, and their names in messages.
//!
//! Inside a query the engine has more types than the rest of Tidemill wants to know: views of
//! text, instants in nanoseconds, untyped nulls. What leaves this crate is brought to the types of
//! the house: text is `Utf8`, an instant is `Timestamp(Microsecond, None)` in UTC.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_connector::ConnectorError;

use crate::error::from_arrow;

/// The type of the house for a type of the engine.
pub(crate) fn house_type(data_type: &DataType) -> DataType {
    let item =
        |field: &Field| Arc::new(field.clone().with_data_type(house_type(field.data_type())));
    match data_type {
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, value) => house_type(value),
        DataType::RunEndEncoded(_, value) => house_type(value.data_type()),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => DataType::List(item(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| item(f)).collect()),
        other => other.clone(),
    }
}

/// The name of a type in the words of a DAG file, where it has one.
pub(crate) fn type_name(data_type: &DataType) -> Cow<'static, str> {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "string".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float64 => "float64".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})").into(),
        DataType::List(_) => "list".into(),
        DataType::Struct(_) => "object".into(),
        other => other.to_string().to_lowercase().into(),
    }
}

/// A table's schema as queries see it: any column may hold nulls, and metadata are left out.
pub(crate) fn plain(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    Arc::new(Schema::new(
        fields.map(|f| Field::new(f.name(), f.data_type().clone(), true)).collect::<Vec<_>>(),
    ))
}

/// The shape of what leaves this crate.
#[derive(Debug, Clone)]
pub(crate) struct Shape(SchemaRef);

impl Shape {
    /// The shape for batches of `schema`. Two columns of one name are an error.
    pub(crate) fn of(schema: &Schema) -> Result<Self, ConnectorError> {
        let mut seen = HashSet::new();
        for field in schema.fields() {
            if !seen.insert(field.name()) {
                return Err(ConnectorError::misconfigured(format!(
                    "the query gives two columns named `{}`",
                    field.name()
                ))
                .help("give one of them another name with `as`"));
            }
        }
        let fields = schema.fields().iter();
        Ok(Self(Arc::new(Schema::new(
            fields
                .map(|f| Field::new(f.name(), house_type(f.data_type()), true))
                .collect::<Vec<_>>(),
        ))))
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.0
    }

    /// A batch in this shape.
    pub(crate) fn fit(&self, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.0.fields())
            .map(|(column, field)| fit_array(column, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.0.clone(), columns, &options)
            .map_err(|e| from_arrow(&e))
    }
}

/// A column in a type of the house.
pub(crate) fn fit_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ConnectorError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    // A value that does not fit is an error, never a silent null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|e| from_arrow(&e))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringViewArray, TimestampNanosecondArray};

    use super::*;

    #[test]
    fn views_and_nanoseconds_stay_inside() {
        let schema = Schema::new(vec![
            Field::new("name", DataType::Utf8View, false),
            Field::new(
                "at",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
                true,
            ),
        ]);
        let at = TimestampNanosecondArray::from(vec![1_999]).with_timezone("+00:00");
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringViewArray::from(vec!["Ada"])), Arc::new(at)];
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("a batch");
        let shape = Shape::of(&schema).expect("a shape");
        let fitted = shape.fit(&batch).expect("fits");
        assert_eq!(fitted.column(0).data_type(), &DataType::Utf8);
        assert_eq!(fitted.column(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
        assert!(fitted.schema().fields().iter().all(|f| f.is_nullable()));
        assert_eq!(fitted.column(1).to_data().buffers()[0].typed_data::<i64>(), &[1]);
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let id = Field::new("id", DataType::Int64, true);
        let error = Shape::of(&Schema::new(vec![id.clone(), id])).expect_err("twice");
        assert_eq!(
            error.to_string(),
            "the query gives two columns named `id`; give one of them another name with `as`"
        );
    }
}
