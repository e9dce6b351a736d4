//! The type of a column whose type nobody wrote: the narrowest that holds all its values.

use arrow::datatypes::DataType;

use super::ColumnType;
use super::text;

/// The narrowest type that holds every value seen so far.
///
/// `Nothing` is below all, `Text` above all; between them lie `Boolean`, `Int` under `Float`, and
/// `Date` under `Timestamp`. A number counts only when it is written as a computer would write it:
/// `007`, `+41`, and whole numbers beyond 64 bits are identifiers, hence text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Guess {
    /// No value yet.
    #[default]
    Nothing,
    /// `true` and `false` only.
    Boolean,
    /// Whole numbers of 64 bits; `wide` once one of them would lose digits as a float.
    Int {
        /// Beyond ±2⁵³.
        wide: bool,
    },
    /// Numbers.
    Float,
    /// Days.
    Date,
    /// Instants.
    Timestamp,
    /// Anything else.
    Text,
}

/// Whole numbers up to here are exact as `f64`.
const FLOAT_EXACT_MAX: u64 = 1 << 53;

impl Guess {
    /// Takes in the text of one more cell.
    pub(crate) fn see(&mut self, text: &str) {
        if *self != Self::Text {
            *self = self.join(Self::of_text(text));
        }
    }

    /// The narrowest type that holds the values of both.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Nothing, a) | (a, Self::Nothing) => a,
            (Self::Int { wide: a }, Self::Int { wide: b }) => Self::Int { wide: a || b },
            (Self::Int { wide: false }, Self::Float) | (Self::Float, Self::Int { wide: false }) => {
                Self::Float
            }
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            _ => Self::Text,
        }
    }

    /// The narrowest type of one text.
    pub(crate) fn of_text(text: &str) -> Self {
        match text.as_bytes() {
            [b'0'..=b'9' | b'-' | b'.', ..] => match Self::of_number(text) {
                Self::Text => Self::of_instant(text),
                number => number,
            },
            [b't' | b'T' | b'f' | b'F', ..] => {
                let boolean =
                    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
                if boolean { Self::Boolean } else { Self::Text }
            }
            _ => Self::Text,
        }
    }

    /// The narrowest type of a text that may be a number.
    pub(crate) fn of_number(text: &str) -> Self {
        let bytes = text.as_bytes();
        let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let whole = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
        let after = &unsigned[whole..];
        if whole > 1 && unsigned[0] == b'0' {
            return Self::Text;
        }
        if after.is_empty() {
            return match text::int64(bytes) {
                // `-0` is a float: as a whole number it would lose its sign.
                Some(0) if bytes.len() > 1 => Self::Float,
                Some(value) => Self::Int { wide: value.unsigned_abs() > FLOAT_EXACT_MAX },
                None => Self::Text,
            };
        }
        let shaped =
            after.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
        if shaped && text::float64(text).is_some() { Self::Float } else { Self::Text }
    }

    /// The narrowest type of a text that may be a date or an instant.
    pub(crate) fn of_instant(text: &str) -> Self {
        let bytes = text.as_bytes();
        if text::date(bytes).is_some() {
            Self::Date
        } else if text::timestamp(bytes).is_some() {
            Self::Timestamp
        } else {
            Self::Text
        }
    }

    /// The column type; a column without a single value is text.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Nothing | Self::Text => ColumnType::String,
            Self::Boolean => ColumnType::Boolean,
            Self::Int { .. } => ColumnType::Int64,
            Self::Float => ColumnType::Float64,
            Self::Date => ColumnType::Date,
            Self::Timestamp => ColumnType::Timestamp,
        }
        .data_type()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::columns::builder::ColumnBuilder;

    fn guess(texts: &[&str]) -> Guess {
        let mut guess = Guess::default();
        for text in texts {
            guess.see(text);
        }
        guess
    }

    #[test]
    fn the_narrowest_type_that_holds_all_values() {
        let check = |texts: &[&str], expected| assert_eq!(guess(texts), expected, "{texts:?}");
        check(&[], Guess::Nothing);
        check(&["1", "-20"], Guess::Int { wide: false });
        check(&["1", "2.5"], Guess::Float);
        check(&["17850.0"], Guess::Float);
        check(&["1e16", ".5"], Guess::Float);
        check(&["1", "x"], Guess::Text);
        check(&["007"], Guess::Text);
        check(&["00.5"], Guess::Text);
        check(&["+41"], Guess::Text);
        check(&["0", "-5"], Guess::Int { wide: false });
        check(&["9223372036854775808"], Guess::Text);
        check(&["9007199254740993"], Guess::Int { wide: true });
        check(&["9007199254740993", "0.5"], Guess::Text);
        check(&["0.5", "9007199254740993"], Guess::Text);
        check(&["1e999"], Guess::Text);
        check(&["NaN"], Guess::Text);
        check(&["-"], Guess::Text);
        check(&["true", "FALSE"], Guess::Boolean);
        check(&["true", "1"], Guess::Text);
        check(&["2011-01-01"], Guess::Date);
        check(&["2011-01-01", "2011-01-01 10:00:00"], Guess::Timestamp);
        check(&["2011-01-01T10:00:00Z"], Guess::Timestamp);
        check(&["2011-02"], Guess::Text);
        check(&["2011-02-30"], Guess::Text);
        check(&["2011-01-01", "5"], Guess::Text);
        check(&["536365", "C536379"], Guess::Text);
    }

    proptest! {
        #[test]
        fn a_guessed_type_reads_every_value_it_was_guessed_from(
            texts in prop::collection::vec("(-?[0-9]{1,20}|-?[0-9]{0,3}\\.[0-9]{0,3}(e[0-9]{1,3})?|true|20[0-9]{2}-[01][0-9]-[0-3][0-9]( [0-2][0-9]:[0-5][0-9])?|[a-z]{1,3})", 0..6)
        ) {
            let mut guess = Guess::default();
            for text in &texts {
                guess.see(text);
            }
            let mut column = ColumnBuilder::new(&guess.data_type()).unwrap();
            for text in &texts {
                prop_assert!(column.push_text(text), "{text} as {guess:?}");
            }
        }

        #[test]
        fn the_order_of_values_does_not_matter(
            a in "(-?[0-9]{1,17}|[0-9]\\.[0-9]|true|2011-01-01|x)",
            b in "(-?[0-9]{1,17}|[0-9]\\.[0-9]|true|2011-01-01 10:00|x)",
            c in "(-?[0-9]{1,17}|[0-9]\\.[0-9]|2011-01-01)",
        ) {
            prop_assert_eq!(guess(&[&a, &b, &c]), guess(&[&c, &b, &a]));
            prop_assert_eq!(guess(&[&a, &b, &c]), guess(&[&b, &a, &c]));
        }
    }
}
