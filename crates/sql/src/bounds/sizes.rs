//! How large the result of a function will be, told from its arguments.
//!
//! Listed are the functions of the engine whose result may be many times their arguments. What
//! gives as much as it takes, like `upper` or `array_sort`, is not: its argument was bounded.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeStringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::regex::regexpcount::RegexpCountFunc;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};

use tidemill_connector::ConnectorError;

use super::widths::{Counts, Numbers, Widths};
use crate::error::pass;

/// The bytes that a function will make of its arguments for so many rows: not less than it does.
pub(super) type Size = fn(&[ColumnarValue], usize) -> Result<u128>;

/// The size of a function's results; nothing for functions that do not multiply.
pub(super) fn size_of(function: &str) -> Option<Size> {
    Some(match function {
        "repeat" => repeated,
        "lpad" | "rpad" => padded,
        "concat" | "overlay" | "array_append" | "array_prepend" | "array_concat" => joined,
        "concat_ws" => joined_with,
        "replace" => replaced,
        "regexp_replace" => regexp_replaced,
        "to_char" => formatted,
        "range" | "generate_series" => counted,
        "array_repeat" => elements_repeated,
        "array_resize" => resized,
        "array_to_string" => listed,
        "array_replace" | "array_replace_n" | "array_replace_all" => elements_replaced,
        _ => return None,
    })
}

/// All arguments, one after the other.
pub(super) fn joined(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    args.iter().map(|arg| Ok(total(&Widths::of(arg)?, rows))).sum()
}

fn joined_with(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [separator, parts @ ..] = args else { return Ok(0) };
    let separators = parts.len().saturating_sub(1) as u128;
    Ok(joined(parts, rows)? + total(&Widths::of(separator)?, rows) * separators)
}

fn repeated(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [text, count, ..] = args else { return Ok(0) };
    let (text, count) = (Widths::of(text)?, Numbers::of(count)?);
    Ok((0..rows).map(|row| u128::from(text.at(row)) * count.count(row)).sum())
}

fn padded(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [_, length, rest @ ..] = args else { return Ok(0) };
    // What stays of the text and what is put before or after it have so many characters together.
    let character: u128 = if args.iter().all(is_ascii) && rest.len() <= 1 { 1 } else { 4 };
    let length = Numbers::of(length)?;
    Ok((0..rows).map(|row| length.count(row) * character).sum())
}

fn replaced(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [text, from, to] = args else { return Ok(0) };
    let widths = (Widths::of(text)?, Widths::of(from)?, Widths::of(to)?);
    let bound = |row| {
        let (text, from, to) = (widths.0.at(row), widths.1.at(row), widths.2.at(row));
        // Nothing is found between all characters, and at both ends.
        let found = text.checked_div(from).unwrap_or(text + 1);
        u128::from(text) + u128::from(found) * u128::from(to.saturating_sub(from))
    };
    let at_most: u128 = (0..rows).map(bound).sum();
    if at_most < EXACT_BYTES_MIN {
        return Ok(at_most);
    }
    let (text, from) = (texts(text, rows)?, texts(from, rows)?);
    let (text, from) = (text.as_string::<i64>(), from.as_string::<i64>());
    Ok((0..rows)
        .filter(|row| text.is_valid(*row) && from.is_valid(*row))
        .map(|row| {
            let found = text.value(row).matches(from.value(row)).count() as u128;
            let longer = widths.2.at(row).saturating_sub(from.value(row).len() as u64);
            text.value(row).len() as u128 + found * u128::from(longer)
        })
        .sum())
}

fn regexp_replaced(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [text, pattern, to, flags @ ..] = args else { return Ok(0) };
    let (widths, into) = (Widths::of(text)?, Widths::of(to)?);
    // A group is put in wherever the replacement names it: each time at most the whole text.
    let to = texts(to, rows)?;
    let to = to.as_string::<i64>();
    let groups = |row: usize| {
        if to.is_valid(row) { to.value(row).matches(['\\', '$']).count() as u128 } else { 0 }
    };
    let size = |row: usize, found: u128| {
        u128::from(widths.at(row)) * (1 + groups(row)) + found * u128::from(into.at(row))
    };
    let at_most: u128 = (0..rows).map(|row| size(row, u128::from(widths.at(row)) + 1)).sum();
    if at_most < EXACT_BYTES_MIN {
        return Ok(at_most);
    }
    let found = matches(text, pattern, flags, rows)?;
    let found = found.as_primitive::<Int64Type>();
    Ok((0..rows)
        .filter(|row| found.is_valid(*row))
        .map(|row| size(row, found.value(row).max(0) as u128))
        .sum())
}

/// How often a pattern is found. Without the flag `g` one replacement is made; counting more than
/// that is on the safe side.
fn matches(
    text: &ColumnarValue,
    pattern: &ColumnarValue,
    flags: &[ColumnarValue],
    rows: usize,
) -> Result<ArrayRef> {
    let mut args =
        vec![ColumnarValue::Array(texts(text, rows)?), ColumnarValue::Array(texts(pattern, rows)?)];
    if let [flags, ..] = flags {
        let flags = texts(flags, rows)?;
        // The counting function counts all of them by itself, and refuses to be told so.
        let flags: LargeStringArray =
            flags.as_string::<i64>().iter().map(|f| f.map(|f| f.replace('g', ""))).collect();
        args.push(ColumnarValue::Array(Arc::new(Int64Array::from(vec![1; rows]))));
        args.push(ColumnarValue::Array(Arc::new(flags)));
    }
    let fields = args.iter().map(|arg| Arc::new(Field::new("", arg.data_type(), true)));
    let counted = RegexpCountFunc::new().invoke_with_args(ScalarFunctionArgs {
        arg_fields: fields.collect(),
        args,
        number_rows: rows,
        return_field: Arc::new(Field::new("", DataType::Int64, true)),
        config_options: Arc::default(),
    })?;
    counted.into_array(rows)
}

/// Times by a format: the longest part of a format makes some ten characters of one.
fn formatted(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    const CHARACTER_BYTES: u128 = 20;
    let [_, format, ..] = args else { return Ok(0) };
    Ok(total(&Widths::of(format)?, rows) * CHARACTER_BYTES)
}

/// Lists of numbers, days or instants from one to another.
fn counted(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let one = || ColumnarValue::from(ScalarValue::Int64(Some(1)));
    let zero = || ColumnarValue::from(ScalarValue::Int64(Some(0)));
    let (start, end, step) = match args {
        [end] => (zero(), end.clone(), one()),
        [start, end] => (start.clone(), end.clone(), one()),
        [start, end, step, ..] => (start.clone(), end.clone(), step.clone()),
        [] => return Ok(0),
    };
    if [&start, &end, &step].iter().any(|value| value.data_type().is_null()) {
        return Ok(0);
    }
    let width = Widths::of(&start)?.at(0);
    let (start, end, step) = (Steps::of(&start)?, Steps::of(&end)?, Steps::of(&step)?);
    let elements = (0..rows).map(|row| match (start.at(row), end.at(row), step.at(row)) {
        // The function itself says that a step of nothing is wrong.
        (Some(start), Some(end), Some(step)) if step != 0 => {
            ((end - start) / step + 1).max(0) as u128
        }
        _ => 0,
    });
    Ok(elements.sum::<u128>() * u128::from(width))
}

/// Numbers as they are; days, instants and intervals in nanoseconds.
struct Steps {
    array: ArrayRef,
    unit: i128,
    constant: bool,
}

impl Steps {
    fn of(value: &ColumnarValue) -> Result<Self> {
        const SECOND: i128 = 1_000_000_000;
        let constant = matches!(value, ColumnarValue::Scalar(_));
        let array = value.to_array(1)?;
        let unit = match array.data_type() {
            DataType::Date32 => 86_400 * SECOND,
            DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => SECOND / 1_000,
            DataType::Timestamp(TimeUnit::Second, _) => SECOND,
            DataType::Timestamp(TimeUnit::Microsecond, _) => SECOND / 1_000_000,
            _ => 1,
        };
        let array = match array.data_type() {
            DataType::Interval(_) => cast(&array, &DataType::Interval(IntervalUnit::MonthDayNano))?,
            DataType::Date32 => cast(&cast(&array, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(&array, &DataType::Int64)?,
        };
        Ok(Self { array, unit, constant })
    }

    fn at(&self, row: usize) -> Option<i128> {
        const DAY: i128 = 86_400_000_000_000;
        let row = if self.constant { 0 } else { row };
        if self.array.is_null(row) {
            return None;
        }
        Some(match self.array.as_primitive_opt::<IntervalMonthDayNanoType>() {
            Some(intervals) => {
                let interval = intervals.value(row);
                // The shortest month, so that there are not more steps than this.
                let days = i128::from(interval.months) * 28 + i128::from(interval.days);
                days * DAY + i128::from(interval.nanoseconds)
            }
            None => i128::from(self.array.as_primitive::<Int64Type>().value(row)) * self.unit,
        })
    }
}

fn elements_repeated(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [element, count, ..] = args else { return Ok(0) };
    let (element, count) = (Widths::of(element)?, Numbers::of(count)?);
    Ok((0..rows).map(|row| u128::from(element.at(row).max(1)) * count.count(row)).sum())
}

fn resized(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [list, count, fill @ ..] = args else { return Ok(0) };
    let (list, count) = (Widths::of(list)?, Numbers::of(count)?);
    if let Some(size) = (0..rows).filter_map(|row| count.at(row)).find(|size| *size < 0) {
        return Err(pass(
            ConnectorError::data(format!("`array_resize` cannot make a list of {size} elements"))
                .help("give it a size of 0 or more"),
        ));
    }
    let fill = fill.first().map(Widths::of).transpose()?;
    // Eight bytes where nothing is put in: no element is wider that has no parts.
    let fill = |row| fill.as_ref().map_or(8, |fill| fill.at(row).max(8));
    Ok((0..rows)
        .map(|row| u128::from(list.at(row)) + u128::from(fill(row)) * count.count(row))
        .sum())
}

/// A number is written with so many characters, at most.
const ELEMENT_BYTES: u128 = 24;

/// A list as text.
fn listed(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [list, between @ ..] = args else { return Ok(0) };
    let (counts, widths) = (Counts::of(list)?, Widths::of(list)?);
    let between: Vec<Widths> = between.iter().map(Widths::of).collect::<Result<_>>()?;
    let size = |row| {
        let each: u64 = between.iter().map(|b| b.at(row)).sum();
        u128::from(widths.at(row)) + u128::from(counts.at(row)) * (u128::from(each) + ELEMENT_BYTES)
    };
    Ok((0..rows).map(size).sum())
}

fn elements_replaced(args: &[ColumnarValue], rows: usize) -> Result<u128> {
    let [list, _, to, ..] = args else { return Ok(0) };
    let (counts, widths, to) = (Counts::of(list)?, Widths::of(list)?, Widths::of(to)?);
    let size =
        |row| u128::from(widths.at(row)) + u128::from(counts.at(row)) * u128::from(to.at(row));
    Ok((0..rows).map(size).sum())
}

/// Below this the exact size does not matter: no query has so little.
const EXACT_BYTES_MIN: u128 = 16 * 1024 * 1024;

fn total(widths: &Widths, rows: usize) -> u128 {
    (0..rows).map(|row| u128::from(widths.at(row))).sum()
}

/// Texts with wide offsets: a few kinds of text become one.
fn texts(value: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    Ok(cast(&value.to_array(rows)?, &DataType::LargeUtf8)?)
}

fn is_ascii(value: &ColumnarValue) -> bool {
    match value {
        ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
            Some(text) => text.is_none_or(str::is_ascii),
            None => true,
        },
        ColumnarValue::Array(array) => match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().is_ascii(),
            DataType::LargeUtf8 => array.as_string::<i64>().is_ascii(),
            DataType::Utf8View => array.as_string_view().is_ascii(),
            _ => true,
        },
    }
}
