//! Columns as ids and as JSON values.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef, UInt64Type};
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::record_batch::RecordBatch;
use serde_json::{Number, Value};
use tidemill_connector::ConnectorError;
use tidemill_connector::connector::unknown_column;

/// Rows in a batch that a transform writes.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Floats up to here hold every integer exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Objects keep their nulls; instants are RFC 3339 in UTC.
static JSON: LazyLock<EncoderOptions> = LazyLock::new(|| {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%dT%H:%M:%S%.fZ".to_owned())
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.f%:z".to_owned())
});

/// The position of a column that a setting names.
pub(crate) fn column(key: &str, name: &str, schema: &SchemaRef) -> Result<usize, ConnectorError> {
    schema.index_of(name).map_err(|_| unknown_column(key, name, schema))
}

/// Refuses a table with two columns of one name.
pub(crate) fn distinct_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
    help: &str,
) -> Result<(), ConnectorError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let message = format!("the result would have two columns `{name}`");
            return Err(ConnectorError::misconfigured(message).help(help));
        }
    }
    Ok(())
}

/// How a row is named in a message: by its id if it has one, else by its number. `before` is how
/// many rows came before the batch.
pub(crate) fn row_place(batch: &RecordBatch, id: Option<usize>, row: usize, before: u64) -> String {
    let number = before + row as u64 + 1;
    let Some(at) = id else { return format!("row {number}") };
    let (schema, one) = (batch.schema(), batch.column(at).slice(row, 1));
    match ids("id", schema.field(at), &one, number) {
        Ok(id) if id.is_valid(0) => format!("{} {}", schema.field(at).name(), id.value(0)),
        _ => format!("row {number}"),
    }
}

/// What makes up the ids of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// Texts, as they are.
    Text,
    /// Integers.
    Integer,
    /// Floats, which must be whole.
    Whole,
}

/// What the ids of a column are made of; other types than texts and numbers are refused.
pub(crate) fn id_kind(key: &str, field: &Field) -> Result<IdKind, ConnectorError> {
    kind_of(field.data_type()).ok_or_else(|| {
        let message = format!(
            "`{key}` names the column `{}`, whose values cannot be ids: they are of type {}",
            field.name(),
            field.data_type()
        );
        ConnectorError::misconfigured(message).help("an id is a text or an integer")
    })
}

fn kind_of(data_type: &DataType) -> Option<IdKind> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Some(IdKind::Text)
        }
        DataType::Dictionary(_, values) => kind_of(values),
        integer if integer.is_integer() => Some(IdKind::Integer),
        DataType::Float32 | DataType::Float64 => Some(IdKind::Whole),
        _ => None,
    }
}

/// The ids of a column as texts: integers, and floats that are whole, in decimal form. Nulls stay.
/// `first_row` is the number of the first row, from 1, for messages.
pub(crate) fn ids(
    key: &str,
    field: &Field,
    array: &ArrayRef,
    first_row: u64,
) -> Result<StringArray, ConnectorError> {
    let array = match id_kind(key, field)? {
        IdKind::Whole => &(Arc::new(integers(field, array, first_row)?) as ArrayRef),
        IdKind::Text | IdKind::Integer => array,
    };
    Ok(arrow::compute::cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// The ids of a column of integers, or of floats that are whole. Nulls stay.
pub(crate) fn integers(
    field: &Field,
    array: &ArrayRef,
    first_row: u64,
) -> Result<Int64Array, ConnectorError> {
    let no_id = |row: usize, value: &dyn std::fmt::Display| {
        ConnectorError::data(format!("`{value}` is no id"))
            .at(format!("row {}, column {}", first_row + row as u64, field.name()))
            .help("an id is a text or a whole number of at most 63 bits")
    };
    if field.data_type().is_floating() {
        let floats = arrow::compute::cast(array, &DataType::Float64)?;
        let id = |(row, value): (usize, Option<f64>)| match value {
            None => Ok(None),
            Some(whole) if whole.fract() == 0.0 && whole.abs() < EXACT_MAX => {
                Ok(Some(whole as i64))
            }
            Some(other) => Err(no_id(row, &other)),
        };
        return floats.as_primitive::<Float64Type>().iter().enumerate().map(id).collect();
    }
    let wide = arrow::compute::cast(array, &DataType::Int64)?;
    let wide = wide.as_primitive::<Int64Type>();
    match (0..array.len()).find(|row| wide.is_null(*row) && !array.is_null(*row)) {
        Some(row) => {
            let text = arrow::util::display::array_value_to_string(array, row)?;
            Err(no_id(row, &text))
        }
        None => Ok(wide.clone()),
    }
}

/// Why a column has no JSON values: the row in the batch, from 0, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CellError {
    pub(crate) row: usize,
    pub(crate) what: String,
}

/// The cells of a column as JSON values: dates and instants as RFC 3339, lists and structs as lists
/// and objects with all their keys.
pub(crate) fn values(array: &ArrayRef) -> Result<Vec<Value>, CellError> {
    fn each<T>(items: impl Iterator<Item = Option<T>>) -> Vec<Value>
    where
        Value: From<T>,
    {
        items.map(|item| item.map_or(Value::Null, Value::from)).collect()
    }
    let whole = |error: arrow::error::ArrowError| CellError { row: 0, what: error.to_string() };
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Utf8 => each(array.as_string::<i32>().iter()),
        DataType::Boolean => each(array.as_boolean().iter()),
        integer if integer.is_signed_integer() => {
            let wide = arrow::compute::cast(array, &DataType::Int64).map_err(whole)?;
            each(wide.as_primitive::<Int64Type>().iter())
        }
        integer if integer.is_unsigned_integer() => {
            let wide = arrow::compute::cast(array, &DataType::UInt64).map_err(whole)?;
            each(wide.as_primitive::<UInt64Type>().iter())
        }
        float if float.is_floating() => {
            let wide = arrow::compute::cast(array, &DataType::Float64).map_err(whole)?;
            let number = |(row, value): (usize, Option<f64>)| match value {
                None => Ok(Value::Null),
                Some(value) => Number::from_f64(value)
                    .map(Value::Number)
                    .ok_or_else(|| CellError { row, what: format!("`{value}` is no number") }),
            };
            wide.as_primitive::<Float64Type>()
                .iter()
                .enumerate()
                .map(number)
                .collect::<Result<_, _>>()?
        }
        DataType::LargeUtf8 | DataType::Utf8View => {
            let text = arrow::compute::cast(array, &DataType::Utf8).map_err(whole)?;
            each(text.as_string::<i32>().iter())
        }
        DataType::Dictionary(_, inner) => {
            values(&arrow::compute::cast(array, inner).map_err(whole)?)?
        }
        _ => encoded(array)?,
    })
}

fn encoded(array: &ArrayRef) -> Result<Vec<Value>, CellError> {
    let whole = |error: arrow::error::ArrowError| CellError { row: 0, what: error.to_string() };
    let field = Arc::new(Field::new("c", array.data_type().clone(), true));
    let mut encoder = make_encoder(&field, array.as_ref(), &JSON).map_err(whole)?;
    let mut text = Vec::new();
    let mut cell = |row: usize| {
        if array.is_null(row) {
            return Ok(Value::Null);
        }
        text.clear();
        encoder.encode(row, &mut text);
        serde_json::from_slice(&text).map_err(|e| CellError { row, what: e.to_string() })
    };
    (0..array.len()).map(&mut cell).collect()
}

/// The cells of a column as JSON texts, with all digits of their numbers; none for nulls.
pub(crate) fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, CellError> {
    let whole = |error: arrow::error::ArrowError| CellError { row: 0, what: error.to_string() };
    let array = match array.data_type() {
        DataType::Null => return Ok(vec![None; array.len()]),
        DataType::Dictionary(_, inner) => &arrow::compute::cast(array, inner).map_err(whole)?,
        _ => array,
    };
    if array.data_type().is_floating() {
        let floats = arrow::compute::cast(array, &DataType::Float64).map_err(whole)?;
        let floats = floats.as_primitive::<Float64Type>();
        let bad = floats.iter().enumerate().find(|(_, f)| f.is_some_and(|f| !f.is_finite()));
        if let Some((row, Some(value))) = bad {
            return Err(CellError { row, what: format!("`{value}` is no number") });
        }
    }
    let field = Arc::new(Field::new("c", array.data_type().clone(), true));
    let mut encoder = make_encoder(&field, array.as_ref(), &JSON).map_err(whole)?;
    let mut cell = |row: usize| {
        if array.is_null(row) {
            return Ok(None);
        }
        let mut text = Vec::new();
        encoder.encode(row, &mut text);
        let text = String::from_utf8(text);
        text.map(Some).map_err(|error| CellError { row, what: error.to_string() })
    };
    (0..array.len()).map(&mut cell).collect()
}

/// The cells of a column whose texts are JSON, as they are written; none for nulls. Cells of other
/// types are written as JSON.
pub(crate) fn json_column(array: &ArrayRef) -> Result<Vec<Option<String>>, CellError> {
    let whole = |error: arrow::error::ArrowError| CellError { row: 0, what: error.to_string() };
    if kind_of(array.data_type()) != Some(IdKind::Text) {
        return texts(array);
    }
    let array = arrow::compute::cast(array, &DataType::Utf8).map_err(whole)?;
    let cell = |(row, text): (usize, Option<&str>)| match text.map(str::trim) {
        None | Some("null") => Ok(None),
        // It is read to see that it can be; what is read goes.
        Some(text) => serde_json::from_str::<Value>(text)
            .map(|_| Some(text.to_owned()))
            .map_err(|error| no_json(row, &error)),
    };
    array.as_string::<i32>().iter().enumerate().map(cell).collect()
}

fn no_json(row: usize, error: &serde_json::Error) -> CellError {
    CellError { row, what: format!("the text is no JSON: {error}") }
}

/// Reads the texts among values as JSON.
pub(crate) fn parse_json(values: &mut [Value]) -> Result<(), CellError> {
    for (row, value) in values.iter_mut().enumerate() {
        if let Value::String(text) = value {
            *value = serde_json::from_str(text).map_err(|error| no_json(row, &error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, Date32Array, Float64Array, Int32Array, ListArray, StructArray,
        TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_as_json() {
        let check = |array: ArrayRef, expected: Value| {
            assert_eq!(Value::Array(values(&array).expect("values")), expected);
        };
        check(Arc::new(StringArray::from(vec![Some("a"), None])), json!(["a", null]));
        check(Arc::new(Int64Array::from(vec![Some(-7), None])), json!([-7, null]));
        check(Arc::new(Float64Array::from(vec![0.5, 3.0])), json!([0.5, 3.0]));
        check(Arc::new(BooleanArray::from(vec![Some(true), None])), json!([true, null]));
        check(Arc::new(Date32Array::from(vec![0])), json!(["1970-01-01"]));
        check(
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000])),
            json!(["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.500Z"]),
        );
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
        ]);
        check(Arc::new(list), json!([[1, null], null]));
        let item: ArrayRef = Arc::new(StringArray::from(vec![Some("x")]));
        let score: ArrayRef = Arc::new(Float64Array::from(vec![None::<f64>]));
        let object = StructArray::from(vec![
            (Arc::new(Field::new("item", DataType::Utf8, true)), item),
            (Arc::new(Field::new("score", DataType::Float64, true)), score),
        ]);
        check(Arc::new(object), json!([{"item": "x", "score": null}]));
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
        let error = values(&array).expect_err("an error");
        assert_eq!(error, CellError { row: 1, what: "`NaN` is no number".to_owned() });
    }

    #[test]
    fn ids_are_texts() {
        let check = |array: ArrayRef, expected: Result<Vec<Option<&str>>, &str>| {
            let field = Field::new("c", array.data_type().clone(), true);
            let got = ids("id", &field, &array, 1).map_err(|e| e.to_string());
            let got = got.as_ref().map(|a| a.iter().collect()).map_err(String::as_str);
            assert_eq!(got, expected);
        };
        check(Arc::new(StringArray::from(vec![Some("a"), None])), Ok(vec![Some("a"), None]));
        check(Arc::new(Int32Array::from(vec![17850])), Ok(vec![Some("17850")]));
        check(Arc::new(Float64Array::from(vec![17850.0])), Ok(vec![Some("17850")]));
        check(Arc::new(UInt64Array::from(vec![u64::MAX])), Ok(vec![Some("18446744073709551615")]));
        check(
            Arc::new(Float64Array::from(vec![1.0, 0.5])),
            Err(
                "`0.5` is no id (row 2, column c); an id is a text or a whole number of at most 63 bits",
            ),
        );
        check(
            Arc::new(BooleanArray::from(vec![true])),
            Err(
                "`id` names the column `c`, whose values cannot be ids: they are of type Boolean; \
                 an id is a text or an integer",
            ),
        );
    }

    #[test]
    fn cells_as_json_texts() {
        let check = |array: ArrayRef, expected: &[Option<&str>]| {
            let got = texts(&array).expect("texts");
            assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        };
        check(
            Arc::new(Float64Array::from(vec![Some(27.820_027_401_543_502), None, Some(2.0)])),
            &[Some("27.820027401543502"), None, Some("2.0")],
        );
        check(Arc::new(StringArray::from(vec!["a\"b"])), &[Some(r#""a\"b""#)]);
        check(
            Arc::new(TimestampMicrosecondArray::from(vec![0])),
            &[Some("\"1970-01-01T00:00:00Z\"")],
        );
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
        assert_eq!(texts(&nan).expect_err("an error").row, 1);
    }

    #[test]
    fn columns_of_json() {
        let texts = vec![Some(" [1.50] "), Some("null"), None];
        let column: ArrayRef = Arc::new(StringArray::from(texts));
        let got = json_column(&column).expect("JSON");
        assert_eq!(got, [Some("[1.50]".to_owned()), None, None]);
        let column: ArrayRef = Arc::new(StringArray::from(vec!["1", "{"]));
        assert_eq!(json_column(&column).expect_err("an error").row, 1);
    }

    #[test]
    fn texts_as_json() {
        let mut cells = vec![json!("[1]"), Value::Null, json!(3)];
        parse_json(&mut cells).expect("JSON");
        assert_eq!(cells, [json!([1]), Value::Null, json!(3)]);
        let error = parse_json(&mut [json!("{}"), json!("{")]).expect_err("an error");
        assert_eq!(error.row, 1);
        assert!(error.what.starts_with("the text is no JSON: EOF"), "{}", error.what);
    }
}
