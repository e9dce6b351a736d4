//! The names that a DAG file uses for the types of columns.

use std::borrow::Cow;
use std::str::FromStr;

use arrow::datatypes::{DataType, TimeUnit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tidemill_model::words::counted;

use super::text;

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

/// What cells each type reads, as the documentation has it; a test reads what stands in backticks.
fn reads() -> [(&'static str, String); 7] {
    let words =
        |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
    let (yes, no) = (words(&text::TRUE), words(&text::FALSE));
    [
        ("string", "Any text, as it stands.".to_owned()),
        (
            "int64",
            "A whole number from -2⁶³ to 2⁶³ - 1: digits, and perhaps a sign before them: `42` `-7` \
             `+7`. No blanks, no point, nothing between the digits."
                .to_owned(),
        ),
        (
            "float64",
            "A number with a point, a sign and an exponent where there are any: `2` `-2.50` `.5` \
             `1e-7`; also `NaN` `inf` `-inf`. No comma. One that is too large is not read."
                .to_owned(),
        ),
        ("boolean", format!("{yes} for true, {no} for false, in small or capital letters.")),
        ("date", "A day that exists, as `2026-01-31`.".to_owned()),
        (
            "timestamp",
            "A day, as `2026-01-31`, or a day and a time with `T` or a blank between them: \
             `2026-01-31T08:30` `2026-01-31 08:30:05`. A fraction of a second has up to nine digits \
             after a point or a comma, of which the first six are kept: `2026-01-31T08:30:05.123456`. \
             Then nothing, `Z` or ` UTC` for UTC, or an offset from it: `2026-01-31T08:30:05Z` \
             `2026-01-31 08:30:05 UTC` `2026-01-31T08:30:05+02:00` `2026-01-31T08:30:05-0130` \
             `2026-01-31T08:30:05+02`. Without one, the text is in UTC."
                .to_owned(),
        ),
        (
            "decimal(10,2)",
            "An exact number with as many digits in all and after the point as the type says: `12` \
             `-0.50` `+1234.5`. Nothing is rounded: further digits after the point must be zeros, \
             as in `1.500`. A decimal has 1 to 38 digits."
                .to_owned(),
        ),
    ]
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reads = reads().into_iter().map(|(name, about)| (name.to_owned(), about.into()));
        json_schema!({
            "x-values": reads.collect::<serde_json::Map<_, serde_json::Value>>(),
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
    use crate::columns::builder::ColumnBuilder;

    /// Parts of a format, which are no values.
    const PARTS: [&str; 3] = ["T", "Z", " UTC"];

    #[test]
    fn what_the_documentation_says_is_read() {
        let mut examples = 0;
        for (name, about) in reads() {
            let of: ColumnType = name.parse().unwrap();
            let mut column = ColumnBuilder::new(&of.data_type()).unwrap();
            for example in about.split('`').skip(1).step_by(2).filter(|it| !PARTS.contains(it)) {
                assert!(column.push_text(example), "{name} reads `{example}`");
                examples += 1;
            }
        }
        assert!(examples > 30, "{examples} examples");
    }

    #[test]
    fn what_the_documentation_says_is_not_read() {
        let check = |name: &str, texts: &[&str]| {
            let of: ColumnType = name.parse().unwrap();
            let mut column = ColumnBuilder::new(&of.data_type()).unwrap();
            for text in texts {
                assert!(!column.push_text(text), "{name} reads `{text}`");
            }
        };
        check("int64", &[" 1", "1.0", "1,000", "9223372036854775808"]);
        check("float64", &["1,5", "1e999", " 1"]);
        check("boolean", &["on", "2", ""]);
        check("date", &["2026-02-30", "2026-1-3", "2026-01-31T08:30"]);
        check("timestamp", &["2026-01-31T8:30", "2026-01-31T08:30:05.1234567890", "1769848205"]);
        check("decimal(10,2)", &["1.005", "1e2", "123456789.00", "1,5"]);
    }

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
