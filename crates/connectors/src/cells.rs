//! The cells of a batch as text, for sinks that write text.

use std::borrow::Cow;
use std::io::Write;
use std::sync::LazyLock;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::datatypes::{
    ArrowTemporalType, DataType, Date32Type, Field, FieldRef, Float32Type, Float64Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_connector::ConnectorError;

/// How values are written as JSON: every key, nulls too; instants as RFC 3339.
pub(crate) static JSON: LazyLock<EncoderOptions> = LazyLock::new(|| {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_format("%Y-%m-%dT%H:%M:%S%.fZ".to_owned())
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.f%:z".to_owned())
});

static FORMAT: LazyLock<FormatOptions<'static>> =
    LazyLock::new(|| FormatOptions::new().with_display_error(true));

/// One column, ready to be written cell by cell.
///
/// Numbers are written with as many digits as it takes to read the same number again, instants as
/// RFC 3339 in UTC, lists and objects as JSON, bytes in hexadecimal.
pub(crate) struct Cells<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    ViewText(&'a StringViewArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Seconds(&'a PrimitiveArray<TimestampSecondType>),
    Millis(&'a PrimitiveArray<TimestampMillisecondType>),
    Micros(&'a PrimitiveArray<TimestampMicrosecondType>),
    Nanos(&'a PrimitiveArray<TimestampNanosecondType>),
    Json(NullableEncoder<'a>),
    Other(ArrayFormatter<'a>),
}

/// The column without its encoding: dictionaries and runs are written as their values.
pub(crate) fn plain(array: &ArrayRef) -> Result<Cow<'_, ArrayRef>, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, values) => arrow::compute::cast(array, values).map(Cow::Owned),
        DataType::RunEndEncoded(_, values) => {
            arrow::compute::cast(array, values.data_type()).map(Cow::Owned)
        }
        _ => Ok(Cow::Borrowed(array)),
    }
}

impl<'a> Cells<'a> {
    /// A view of a column; `field` names it, `array` is [`plain`].
    pub(crate) fn new(field: &'a FieldRef, array: &'a ArrayRef) -> Result<Self, ConnectorError> {
        let kind = match array.data_type() {
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::LargeUtf8 => Kind::LargeText(array.as_string()),
            DataType::Utf8View => Kind::ViewText(array.as_string_view()),
            DataType::Int32 => Kind::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Kind::Int64(array.as_primitive::<Int64Type>()),
            DataType::Float32 => Kind::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Kind::Float64(array.as_primitive::<Float64Type>()),
            DataType::Boolean => Kind::Boolean(array.as_boolean()),
            DataType::Date32 => Kind::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Second, _) => Kind::Seconds(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Kind::Millis(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Micros(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Kind::Nanos(array.as_primitive()),
            nested if nested.is_nested() => Kind::Json(make_encoder(field, array.as_ref(), &JSON)?),
            _ => Kind::Other(ArrayFormatter::try_new(array.as_ref(), &FORMAT)?),
        };
        Ok(Self { array: array.as_ref(), kind })
    }

    /// Whether a cell holds no value.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || self.array.data_type() == &DataType::Null
    }

    /// The text of a cell that is text as it stands in the column; `None` for other types.
    pub(crate) fn text(&self, row: usize) -> Option<&'a str> {
        match &self.kind {
            Kind::Text(array) => Some(array.value(row)),
            Kind::LargeText(array) => Some(array.value(row)),
            Kind::ViewText(array) => Some(array.value(row)),
            _ => None,
        }
    }

    /// Appends the text of a cell that is not null.
    pub(crate) fn write(&mut self, row: usize, out: &mut Vec<u8>) {
        // Writing into memory does not fail.
        let _ = match &mut self.kind {
            Kind::Text(array) => return out.extend_from_slice(array.value(row).as_bytes()),
            Kind::LargeText(array) => return out.extend_from_slice(array.value(row).as_bytes()),
            Kind::ViewText(array) => return out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Json(encoder) => return encoder.encode(row, out),
            Kind::Int32(array) => write!(out, "{}", array.value(row)),
            Kind::Int64(array) => write!(out, "{}", array.value(row)),
            Kind::Float32(array) => write!(out, "{:?}", array.value(row)),
            Kind::Float64(array) => write!(out, "{:?}", array.value(row)),
            Kind::Boolean(array) => write!(out, "{}", array.value(row)),
            Kind::Date(array) => write_date(i64::from(array.value(row)), out),
            Kind::Seconds(array) => write_instant(array.value(row), 1, out),
            Kind::Millis(array) => write_instant(array.value(row), 1_000, out),
            Kind::Micros(array) => write_instant(array.value(row), 1_000_000, out),
            Kind::Nanos(array) => write_instant(array.value(row), 1_000_000_000, out),
            Kind::Other(formatter) => write!(out, "{}", formatter.value(row)),
        };
    }

    /// The instant in a cell of dates or instants, in microseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn micros(&self, row: usize) -> Option<i64> {
        fn instant<T: ArrowTemporalType<Native = i64>>(
            array: &PrimitiveArray<T>,
            row: usize,
            per_second: i64,
        ) -> Option<i64> {
            let value = array.value(row);
            if per_second > 1_000_000 {
                return Some(value.div_euclid(per_second / 1_000_000));
            }
            value.checked_mul(1_000_000 / per_second)
        }
        match &self.kind {
            Kind::Date(array) => Some(i64::from(array.value(row)) * 86_400_000_000),
            Kind::Seconds(array) => instant(array, row, 1),
            Kind::Millis(array) => instant(array, row, 1_000),
            Kind::Micros(array) => instant(array, row, 1_000_000),
            Kind::Nanos(array) => instant(array, row, 1_000_000_000),
            _ => None,
        }
    }
}

/// The columns of a batch without their encodings, and their fields.
pub(crate) struct PlainBatch {
    columns: Vec<(FieldRef, ArrayRef)>,
}

impl PlainBatch {
    pub(crate) fn new(batch: &arrow::record_batch::RecordBatch) -> Result<Self, ConnectorError> {
        let columns =
            batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, array)| {
                let array = plain(array)?.into_owned();
                let field = Field::new(field.name(), array.data_type().clone(), true);
                Ok((FieldRef::new(field), array))
            });
        Ok(Self { columns: columns.collect::<Result<_, ArrowError>>()? })
    }

    /// The columns, ready to be written.
    pub(crate) fn cells(&self) -> Result<Vec<Cells<'_>>, ConnectorError> {
        self.columns.iter().map(|(field, array)| Cells::new(field, array)).collect()
    }
}

fn write_date(days: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (year, month, day) = civil_from_days(days);
    write!(out, "{year:04}-{month:02}-{day:02}")
}

/// RFC 3339 in UTC, with as many digits of the fraction as it has.
fn write_instant(value: i64, per_second: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    write_date(days, out)?;
    write!(out, "T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)?;
    if fraction > 0 {
        let width = per_second.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(out, ".{}", digits.trim_end_matches('0'))?;
    }
    out.write_all(b"Z")
}

/// The Gregorian date of a day since 1970-01-01, counted in years that start in March, so that
/// the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Int8Array, ListArray,
        NullArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
        UInt64Array,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::columns::text;

    fn shown(array: &ArrayRef) -> Vec<Option<String>> {
        let array = plain(array).unwrap().into_owned();
        let field = FieldRef::new(Field::new("c", array.data_type().clone(), true));
        let mut cells = Cells::new(&field, &array).unwrap();
        (0..array.len())
            .map(|row| {
                let mut out = Vec::new();
                (!cells.is_null(row)).then(|| {
                    cells.write(row, &mut out);
                    String::from_utf8(out).unwrap()
                })
            })
            .collect()
    }

    fn check(array: impl Array + 'static, expected: &[&str]) {
        let got: Vec<String> =
            shown(&(Arc::new(array) as ArrayRef)).into_iter().flatten().collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn cells_of_every_kind() {
        check(StringArray::from(vec![Some("a"), None, Some("")]), &["a", ""]);
        check(Int8Array::from(vec![-1]), &["-1"]);
        check(UInt64Array::from(vec![u64::MAX]), &["18446744073709551615"]);
        check(
            Float64Array::from(vec![0.1, 17850.0, 1e300, -0.0]),
            &["0.1", "17850.0", "1e300", "-0.0"],
        );
        check(BooleanArray::from(vec![true, false]), &["true", "false"]);
        check(
            Date32Array::from(vec![0, -719_162, 11_016]),
            &["1970-01-01", "0001-01-01", "2000-02-29"],
        );
        check(
            TimestampMicrosecondArray::from(vec![1_291_191_960_000_000, 500_000, -1]),
            &["2010-12-01T08:26:00Z", "1970-01-01T00:00:00.5Z", "1969-12-31T23:59:59.999999Z"],
        );
        check(
            TimestampSecondArray::from(vec![0]).with_timezone("+02:00"),
            &["1970-01-01T00:00:00Z"],
        );
        check(TimestampNanosecondArray::from(vec![1]), &["1970-01-01T00:00:00.000000001Z"]);
        let decimal =
            Decimal128Array::from(vec![1_250, -5]).with_precision_and_scale(10, 2).unwrap();
        check(decimal, &["12.50", "-0.05"]);
        check(BinaryArray::from(vec![&b"\x00\xff"[..]]), &["00ff"]);
        check(
            vec!["x", "y", "x"].into_iter().collect::<DictionaryArray<Int32Type>>(),
            &["x", "y", "x"],
        );
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        check(list, &["[1,null]"]);
        check(NullArray::new(2), &[]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            float in any::<f64>().prop_filter("a number", |f| f.is_finite()),
            days in -719_162..2_932_896_i32,
            micros in -62_135_596_800_000_000..253_402_300_799_999_999_i64,
        ) {
            let one = |array: ArrayRef| shown(&array)[0].clone().expect("a value");
            let read = text::float64(&one(Arc::new(Float64Array::from(vec![float]))));
            prop_assert_eq!(read.map(f64::to_bits), Some(float.to_bits()));
            let read = text::date(one(Arc::new(Date32Array::from(vec![days]))).as_bytes());
            prop_assert_eq!(read, Some(days));
            let instants = TimestampMicrosecondArray::from(vec![micros]);
            let read = text::timestamp(one(Arc::new(instants)).as_bytes());
            prop_assert_eq!(read, Some(micros));
        }
    }
}
