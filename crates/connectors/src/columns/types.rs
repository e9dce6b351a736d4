//! The names that a DAG file uses for the types of columns.

use std::borrow::Cow;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tidemill_model::words::counted;

/// The type of a column, as written in a DAG file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ColumnType {
    /// Text.
    String,
    /// A whole number between -2⁶³ and 2⁶³ - 1.
    Int64,
    /// A floating-point number.
    Float64,
    /// `true` or `false`.
    Boolean,
    /// A day.
    Date,
    /// An instant in UTC, to the microsecond.
    Timestamp,
    /// An exact number of at most `precision` digits, `scale` of them after the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: i8,
    },
}

/// A decimal has at most so many digits.
const DIGITS_MAX: u8 = 38;

impl ColumnType {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        }
    }
}

/// The name of an Arrow type in the words of a DAG file, where it has one.
pub fn type_name(data_type: &DataType) -> Cow<'static, str> {
    match data_type {
        DataType::Utf8 => "string".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float64 => "float64".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})").into(),
        DataType::List(_) => "list".into(),
        DataType::Struct(_) => "object".into(),
        other => other.to_string().into(),
    }
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is no column type; write `string`, `int64`, `float64`, `boolean`, \
                 `date`, `timestamp` or `decimal(10,2)`"
            )
        };
        Ok(match text {
            "string" => Self::String,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            _ => {
                let inner = text.strip_prefix("decimal(").and_then(|t| t.strip_suffix(')'));
                let (precision, scale) = inner.and_then(|t| t.split_once(',')).ok_or_else(bad)?;
                let precision: u8 = precision.trim().parse().map_err(|_| bad())?;
                let scale: i8 = scale.trim().parse().map_err(|_| bad())?;
                if !(1..=DIGITS_MAX).contains(&precision) {
                    return Err(format!(
                        "`{text}` has {}; a decimal has 1 to {DIGITS_MAX} of them, \
                         for example `decimal({DIGITS_MAX},{})`",
                        counted(precision, "digit"),
                        scale.clamp(0, DIGITS_MAX as i8)
                    ));
                }
                if scale < 0 || scale.unsigned_abs() > precision {
                    return Err(format!(
                        "`{text}` has {} after the point and {precision} in all; write at most \
                         {precision} after the point, for example `decimal({precision},{})`",
                        counted(scale, "digit"),
                        2.min(precision)
                    ));
                }
                Self::Decimal { precision, scale }
            }
        })
    }
}

impl TryFrom<String> for ColumnType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The type of a column: `string`, `int64`, `float64`, `boolean`, `date`, \
                `timestamp` or `decimal(10,2)`.",
            "pattern": "^(string|int64|float64|boolean|date|timestamp|decimal\\( *[0-9]{1,2} *, *[0-9]{1,2} *\\))$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let check = |text: &str, expected: Option<ColumnType>| {
            assert_eq!(text.parse::<ColumnType>().ok(), expected, "{text}");
        };
        check("string", Some(ColumnType::String));
        check("timestamp", Some(ColumnType::Timestamp));
        check("decimal(10,2)", Some(ColumnType::Decimal { precision: 10, scale: 2 }));
        check("decimal(38, 0)", Some(ColumnType::Decimal { precision: 38, scale: 0 }));
        check("decimal(39,0)", None);
        check("decimal(2,3)", None);
        check("decimal(2,-1)", None);
        check("decimal", None);
        check("Int64", None);
        check("", None);
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        assert_eq!(
            "integer".parse::<ColumnType>().unwrap_err(),
            "`integer` is no column type; write `string`, `int64`, `float64`, `boolean`, `date`, \
             `timestamp` or `decimal(10,2)`"
        );
    }

    #[test]
    fn a_decimal_that_cannot_be_is_told_why() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<ColumnType>().unwrap_err(), expected);
        };
        check(
            "decimal(99,2)",
            "`decimal(99,2)` has 99 digits; a decimal has 1 to 38 of them, for example \
             `decimal(38,2)`",
        );
        check(
            "decimal(2,3)",
            "`decimal(2,3)` has 3 digits after the point and 2 in all; write at most 2 after the \
             point, for example `decimal(2,2)`",
        );
    }

    #[test]
    fn types_are_named_as_they_are_written() {
        for name in ["string", "int64", "float64", "boolean", "date", "timestamp", "decimal(10,2)"]
        {
            assert_eq!(type_name(&name.parse::<ColumnType>().unwrap().data_type()), name);
        }
    }
}
