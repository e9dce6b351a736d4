//! One column under construction.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float64Array,
    Int64Array, ListArray, NullBufferBuilder, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit};
use arrow::error::ArrowError;
use tidemill_connector::ConnectorError;

use super::text;
use super::types::type_name;
use crate::json::Json;

/// A column that grows cell by cell and can be cut back, so that a row which turns out bad in its
/// last cell leaves nothing behind. Arrow's own builders cannot be cut back.
pub(crate) struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
}

enum Values {
    Text { ends: Vec<i32>, bytes: Vec<u8> },
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Boolean(BooleanBufferBuilder),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    Decimal { values: Vec<i128>, precision: u8, scale: i8 },
    List { item: FieldRef, ends: Vec<i32>, items: Box<ColumnBuilder> },
    Struct { fields: Fields, columns: Vec<ColumnBuilder> },
}

/// The texts of a column, one after the other, as UTF-8; `None` where there is no value.
pub(crate) trait Texts {
    /// Gives each of them to `see`, in order.
    fn each(&self, see: impl FnMut(Option<&[u8]>));
}

/// A JSON value that its column cannot hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Where below the column: `.items[2].price`; empty for the column itself.
    pub(crate) path: String,
    /// The value, as JSON or as the text it was.
    pub(crate) value: String,
    /// The type it should have had.
    pub(crate) expected: String,
}

impl ColumnBuilder {
    /// An empty column of one of the types that sources make.
    pub(crate) fn new(data_type: &DataType) -> Result<Self, ConnectorError> {
        let values = match data_type {
            DataType::Utf8 => Values::Text { ends: vec![0], bytes: Vec::new() },
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Values::Timestamp(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            DataType::List(item) => Values::List {
                item: item.clone(),
                ends: vec![0],
                items: Box::new(Self::new(item.data_type())?),
            },
            DataType::Struct(fields) => Values::Struct {
                fields: fields.clone(),
                columns: fields
                    .iter()
                    .map(|f| Self::new(f.data_type()))
                    .collect::<Result<_, _>>()?,
            },
            other => {
                return Err(ConnectorError::internal(format!(
                    "no source makes columns of {other}"
                )));
            }
        };
        Ok(Self { values, nulls: NullBufferBuilder::new(0) })
    }

    /// Makes room for so many cells more.
    pub(crate) fn reserve(&mut self, cells: usize) {
        match &mut self.values {
            Values::Text { ends, .. } | Values::List { ends, .. } => ends.reserve(cells),
            Values::Int64(values) | Values::Timestamp(values) => values.reserve(cells),
            Values::Float64(values) => values.reserve(cells),
            Values::Boolean(values) => values.reserve(cells),
            Values::Date(values) => values.reserve(cells),
            Values::Decimal { values, .. } => values.reserve(cells),
            Values::Struct { columns, .. } => columns.iter_mut().for_each(|c| c.reserve(cells)),
        }
    }

    /// Cells so far.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Bytes of text so far, which is what makes a column large.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text { bytes, .. } => bytes.len(),
            Values::List { items, .. } => items.text_bytes() + 8 * items.len(),
            Values::Struct { columns, .. } => columns.iter().map(Self::text_bytes).sum(),
            _ => 0,
        }
    }

    /// Appends a null.
    pub(crate) fn push_null(&mut self) {
        match &mut self.values {
            Values::Text { ends, bytes } => ends.push(bytes.len() as i32),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Boolean(values) => values.append(false),
            Values::Date(values) => values.push(0),
            Values::Decimal { values, .. } => values.push(0),
            Values::List { ends, items, .. } => ends.push(items.len() as i32),
            Values::Struct { columns, .. } => columns.iter_mut().for_each(Self::push_null),
        }
        self.nulls.append_null();
    }

    /// Appends the value that a text stands for; `false`, and nothing appended, if it stands for
    /// none of this type.
    pub(crate) fn push_text(&mut self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let read = match &mut self.values {
            Values::Text { ends, bytes: all } => {
                all.extend_from_slice(bytes);
                ends.push(all.len() as i32);
                Some(())
            }
            Values::Int64(values) => text::int64(bytes).map(|value| values.push(value)),
            Values::Float64(values) => text::float64(text).map(|value| values.push(value)),
            Values::Boolean(values) => text::boolean(text).map(|value| values.append(value)),
            Values::Date(values) => text::date(bytes).map(|value| values.push(value)),
            Values::Timestamp(values) => text::timestamp(bytes).map(|value| values.push(value)),
            Values::Decimal { values, precision, scale } => {
                text::decimal(bytes, *precision, *scale).map(|value| values.push(value))
            }
            Values::List { .. } | Values::Struct { .. } => None,
        };
        if read.is_some() {
            self.nulls.append_non_null();
        }
        read.is_some()
    }

    /// Appends a whole column. Where a text stands for no value of this type, a null is appended
    /// and `wrong` is told its number.
    pub(crate) fn push_texts(&mut self, texts: &impl Texts, mut wrong: impl FnMut(usize)) {
        let nulls = &mut self.nulls;
        match &mut self.values {
            Values::Text { ends, bytes } => {
                let mut runs = Runs::new(nulls);
                texts.each(|text| {
                    match text {
                        // Codes of one letter are common, and a call is dear for one byte.
                        Some([byte]) => bytes.push(*byte),
                        Some(text) => bytes.extend_from_slice(text),
                        None => runs.null(),
                    }
                    runs.rows += 1;
                    ends.push(bytes.len() as i32);
                });
                runs.end();
            }
            Values::Int64(values) => {
                read_each(texts, values, nulls, wrong, text::int64);
            }
            Values::Float64(values) => {
                read_each(texts, values, nulls, wrong, |text| {
                    text::float64(std::str::from_utf8(text).ok()?)
                });
            }
            Values::Date(values) => read_each(texts, values, nulls, wrong, text::date),
            Values::Timestamp(values) => read_each(texts, values, nulls, wrong, text::timestamp),
            Values::Decimal { values, precision, scale } => {
                let (precision, scale) = (*precision, *scale);
                read_each(texts, values, nulls, wrong, |text| {
                    text::decimal(text, precision, scale)
                });
            }
            Values::Boolean(_) | Values::List { .. } | Values::Struct { .. } => {
                let mut row = 0;
                texts.each(|text| {
                    let value = text.and_then(|text| std::str::from_utf8(text).ok());
                    if !value.is_some_and(|text| self.push_text(text)) {
                        self.push_null();
                        if text.is_some() {
                            wrong(row);
                        }
                    }
                    row += 1;
                });
            }
        }
    }

    /// Appends a JSON value. After an error the column may hold parts of the value: the caller
    /// cuts it back.
    pub(crate) fn push_json(&mut self, value: &Json<'_>) -> Result<(), Mismatch> {
        let fits = match (&mut self.values, value) {
            (_, Json::Null) => {
                self.push_null();
                return Ok(());
            }
            (Values::List { ends, items, .. }, Json::List(list)) => {
                for (index, item) in list.iter().enumerate() {
                    items.push_json(item).map_err(|e| e.below(&format!("[{index}]")))?;
                }
                ends.push(items.len() as i32);
                self.nulls.append_non_null();
                true
            }
            (Values::Struct { fields, columns }, Json::Object(entries)) => {
                for (field, column) in fields.iter().zip(columns) {
                    let value = entries.iter().rev().find(|(key, _)| key == field.name());
                    column
                        .push_json(value.map_or(&Json::Null, |(_, value)| value))
                        .map_err(|e| e.below(&format!(".{}", field.name())))?;
                }
                self.nulls.append_non_null();
                true
            }
            (Values::Boolean(values), Json::Boolean(value)) => {
                values.append(*value);
                self.nulls.append_non_null();
                true
            }
            (Values::Boolean(_), Json::Number(_)) => false,
            (Values::Date(_) | Values::Timestamp(_), Json::Number(_)) => false,
            (Values::Text { .. }, Json::Boolean(_) | Json::List(_) | Json::Object(_)) => {
                self.push_text(&value.to_string())
            }
            (_, Json::Number(text)) => self.push_text(text),
            (_, Json::Text(text)) => self.push_text(text),
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.mismatch(value)) }
    }

    fn mismatch(&self, value: &Json<'_>) -> Mismatch {
        let value = match value {
            Json::Text(text) => text.clone().into_owned(),
            other => other.to_string(),
        };
        Mismatch {
            path: String::new(),
            value: super::clip(&value, 200),
            expected: type_name(&self.data_type()).into_owned(),
        }
    }

    /// Cuts the column back to its first `len` cells.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Text { ends, bytes } => {
                ends.truncate(len + 1);
                bytes.truncate(last(ends));
            }
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Boolean(values) => values.truncate(len),
            Values::Date(values) => values.truncate(len),
            Values::Decimal { values, .. } => values.truncate(len),
            Values::List { ends, items, .. } => {
                ends.truncate(len + 1);
                items.truncate(last(ends));
            }
            Values::Struct { columns, .. } => columns.iter_mut().for_each(|c| c.truncate(len)),
        }
        self.nulls.truncate(len);
    }

    fn data_type(&self) -> DataType {
        match &self.values {
            Values::Text { .. } => DataType::Utf8,
            Values::Int64(_) => DataType::Int64,
            Values::Float64(_) => DataType::Float64,
            Values::Boolean(_) => DataType::Boolean,
            Values::Date(_) => DataType::Date32,
            Values::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            Values::Decimal { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Values::List { item, .. } => DataType::List(item.clone()),
            Values::Struct { fields, .. } => DataType::Struct(fields.clone()),
        }
    }

    /// The column as an array; the builder starts again from empty.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Text { ends, bytes } => {
                let expected = bytes.len();
                let buffer =
                    Buffer::from_vec(std::mem::replace(bytes, Vec::with_capacity(expected)));
                Arc::new(StringArray::try_new(offsets(ends), buffer, nulls)?)
            }
            Values::Int64(values) => Arc::new(Int64Array::try_new(taken(values), nulls)?),
            Values::Float64(values) => Arc::new(Float64Array::try_new(taken(values), nulls)?),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Date(values) => Arc::new(Date32Array::try_new(taken(values), nulls)?),
            Values::Timestamp(values) => {
                Arc::new(TimestampMicrosecondArray::try_new(taken(values), nulls)?)
            }
            Values::Decimal { values, precision, scale } => Arc::new(
                Decimal128Array::try_new(taken(values), nulls)?
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::List { item, ends, items } => {
                Arc::new(ListArray::try_new(item.clone(), offsets(ends), items.finish()?, nulls)?)
            }
            Values::Struct { fields, columns } => {
                Arc::new(struct_array(fields, columns, nulls, len)?)
            }
        })
    }
}

/// Appends what `read` makes of each text.
fn read_each<T: Default>(
    texts: &impl Texts,
    values: &mut Vec<T>,
    nulls: &mut NullBufferBuilder,
    mut wrong: impl FnMut(usize),
    read: impl Fn(&[u8]) -> Option<T>,
) {
    let mut runs = Runs::new(nulls);
    texts.each(|text| {
        let value = text.and_then(&read);
        if value.is_none() {
            runs.null();
            if text.is_some() {
                wrong(runs.rows);
            }
        }
        runs.rows += 1;
        values.push(value.unwrap_or_default());
    });
    runs.end();
}

/// Marks nulls; what lies between them is marked at once, since most columns have few.
struct Runs<'a> {
    nulls: &'a mut NullBufferBuilder,
    /// Rows so far, and those that are marked.
    rows: usize,
    marked: usize,
}

impl<'a> Runs<'a> {
    fn new(nulls: &'a mut NullBufferBuilder) -> Self {
        Self { nulls, rows: 0, marked: 0 }
    }

    /// The row at hand is null.
    fn null(&mut self) {
        self.end();
        self.nulls.append_null();
        self.marked += 1;
    }

    /// The rows so far that are not marked have values.
    fn end(&mut self) {
        self.nulls.append_n_non_nulls(self.rows - self.marked);
        self.marked = self.rows;
    }
}

impl Mismatch {
    fn below(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

fn last(ends: &[i32]) -> usize {
    ends.last().map_or(0, |end| *end as usize)
}

/// The values as a buffer. A new vector of the same size takes their place, since the next batch
/// will most likely be as long.
fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let expected = values.len();
    std::mem::replace(values, Vec::with_capacity(expected)).into()
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut fresh = Vec::with_capacity(ends.len());
    fresh.push(0);
    OffsetBuffer::new(std::mem::replace(ends, fresh).into())
}

fn struct_array(
    fields: &Fields,
    columns: &mut [ColumnBuilder],
    nulls: Option<NullBuffer>,
    len: usize,
) -> Result<StructArray, ArrowError> {
    let arrays = columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), arrays, nulls, len)
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use arrow::datatypes::Field;
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn nested() -> DataType {
        let price = Field::new("price", DataType::Float64, true);
        let name = Field::new("name", DataType::Utf8, true);
        let item = DataType::Struct(vec![name, price].into());
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    fn json(text: &str) -> Json<'_> {
        Json::parse(text).expect("good JSON")
    }

    #[test]
    fn nested_values_and_nulls() {
        let mut column = ColumnBuilder::new(&nested()).unwrap();
        for text in ["[]", "null", r#"[{"price": 1.5}, null, {"name": "x", "price": 2}]"#] {
            column.push_json(&json(text)).unwrap();
        }
        let array = column.finish().unwrap();
        let shown: Vec<_> = (0..3).map(|row| array_value_to_string(&array, row).unwrap()).collect();
        assert_eq!(shown, ["[]", "", "[{name: , price: 1.5}, , {name: x, price: 2.0}]"]);
        assert_eq!(array.data_type(), &nested());
        assert_eq!(column.len(), 0);
    }

    #[test]
    fn a_bad_value_is_named_and_taken_back() {
        let mut column = ColumnBuilder::new(&nested()).unwrap();
        column.push_json(&json(r#"[{"name": "a", "price": 1}]"#)).unwrap();
        let bad = r#"[{"name": "b"}, {"name": "c", "price": "dear"}]"#;
        let error = column.push_json(&json(bad)).unwrap_err();
        assert_eq!(
            error,
            Mismatch {
                path: "[1].price".to_owned(),
                value: "dear".to_owned(),
                expected: "float64".to_owned(),
            }
        );
        column.truncate(1);
        column.push_json(&json("[]")).unwrap();
        let array = column.finish().unwrap();
        assert_eq!(array_value_to_string(&array, 0).unwrap(), "[{name: a, price: 1.0}]");
        assert_eq!(array_value_to_string(&array, 1).unwrap(), "[]");
    }

    #[test]
    fn every_scalar_type_is_cut_back() {
        for (data_type, text) in [
            (DataType::Utf8, "x"),
            (DataType::Int64, "1"),
            (DataType::Float64, "1.5"),
            (DataType::Boolean, "true"),
            (DataType::Date32, "2011-01-01"),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "2011-01-01"),
            (DataType::Decimal128(5, 2), "1.25"),
        ] {
            let mut column = ColumnBuilder::new(&data_type).unwrap();
            assert!(column.push_text(text));
            column.push_null();
            assert!(column.push_text(text));
            column.truncate(2);
            let array = column.finish().unwrap();
            assert_eq!((array.len(), array.null_count()), (2, 1), "{data_type}");
            assert_eq!(array.data_type(), &data_type);
        }
    }

    #[test]
    fn a_text_column_keeps_what_is_not_text_as_json() {
        let mut column = ColumnBuilder::new(&DataType::Utf8).unwrap();
        for text in [r#""a""#, "1.50", "true", r#"{"a": [1, "b"]}"#] {
            column.push_json(&json(text)).unwrap();
        }
        let array = column.finish().unwrap();
        let shown: Vec<_> = (0..4).map(|row| array_value_to_string(&array, row).unwrap()).collect();
        assert_eq!(shown, ["a", "1.50", "true", r#"{"a":[1,"b"]}"#]);
    }
}
