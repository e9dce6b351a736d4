//! The Arrow type of JSON values, found by looking at all of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use indexmap::IndexMap;

use super::Json;
use crate::columns::guess::Guess;

/// Different keys in one place; more means that the keys are data, which belong in a list.
const KEYS_MAX: usize = 10_000;

/// The narrowest shape that holds every value seen so far. Values that have nothing in common
/// are text: what is not a text is then kept as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A single value, or none yet.
    Single(Guess),
    /// Lists of this.
    List(Box<Shape>),
    /// Objects with these keys, in the order of their first appearance.
    Object(IndexMap<String, Shape>),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Single(Guess::Nothing)
    }
}

/// More different keys than a table may have columns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyKeys;

impl Shape {
    /// Takes in one more value.
    pub(crate) fn see(&mut self, value: &Json<'_>) -> Result<(), TooManyKeys> {
        let guess = match value {
            Json::Null => return Ok(()),
            Json::Boolean(_) => Guess::Boolean,
            Json::Number(text) => Guess::of_number(text),
            Json::Text(text) => Guess::of_instant(text),
            Json::List(items) => {
                if *self == Self::default() {
                    *self = Self::List(Box::default());
                }
                if let Self::List(shape) = self {
                    return items.iter().try_for_each(|item| shape.see(item));
                }
                Guess::Text
            }
            Json::Object(entries) => {
                if *self == Self::default() {
                    *self = Self::Object(IndexMap::new());
                }
                if let Self::Object(keys) = self {
                    return entries.iter().try_for_each(|(key, v)| see_key(keys, key, v));
                }
                Guess::Text
            }
        };
        *self = match self {
            Self::Single(known) => Self::Single(known.join(guess)),
            Self::List(_) | Self::Object(_) => Self::Single(Guess::Text),
        };
        Ok(())
    }

    /// Takes in one more entry of an object, as a column of a table.
    pub(crate) fn see_column(
        columns: &mut IndexMap<String, Self>,
        key: &str,
        value: &Json<'_>,
    ) -> Result<(), TooManyKeys> {
        see_key(columns, key, value)
    }

    /// The Arrow type. Objects without a single key are kept as JSON text, since a struct needs
    /// fields.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Single(guess) => guess.data_type(),
            Self::List(item) => {
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
            Self::Object(keys) if keys.is_empty() => DataType::Utf8,
            Self::Object(keys) => DataType::Struct(
                keys.iter()
                    .map(|(key, shape)| Field::new(key, shape.data_type(), true))
                    .collect::<Fields>(),
            ),
        }
    }
}

fn see_key(
    keys: &mut IndexMap<String, Shape>,
    key: &str,
    value: &Json<'_>,
) -> Result<(), TooManyKeys> {
    if let Some(shape) = keys.get_mut(key) {
        return shape.see(value);
    }
    if keys.len() == KEYS_MAX {
        return Err(TooManyKeys);
    }
    keys.entry(key.to_owned()).or_default().see(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::builder::ColumnBuilder;

    #[test]
    fn the_narrowest_type_that_holds_all_values() {
        let check = |values: &[&str], expected: &str| {
            let mut shape = Shape::default();
            for value in values {
                shape.see(&Json::parse(value).unwrap()).unwrap();
            }
            assert_eq!(shape.data_type().to_string(), expected, "{values:?}");
            let mut column = ColumnBuilder::new(&shape.data_type()).unwrap();
            for value in values {
                column.push_json(&Json::parse(value).unwrap()).unwrap();
            }
        };
        check(&[], "Utf8");
        check(&["null", "1"], "Int64");
        check(&["1", "1.5"], "Float64");
        check(&["1", "\"1\""], "Utf8");
        check(&["\"12\""], "Utf8");
        check(&["123456789012345678901"], "Utf8");
        check(&["true", "null"], "Boolean");
        check(&["\"2011-01-01\"", "\"2011-01-01T10:00:00Z\""], "Timestamp(µs)");
        check(&["[]", "[1]", "[null, 2.5]"], "List(Float64)");
        check(&["[1]", "2"], "Utf8");
        check(&["{}"], "Utf8");
        check(&["{\"a\": 1}", "\"x\""], "Utf8");
        check(
            &["{\"a\": 1}", "{\"b\": [{\"c\": true}]}"],
            "Struct(\"a\": Int64, \"b\": List(Struct(\"c\": Boolean)))",
        );
    }

    #[test]
    fn keys_that_are_data_are_refused() {
        let mut columns = IndexMap::new();
        for number in 0..KEYS_MAX {
            Shape::see_column(&mut columns, &number.to_string(), &Json::Null).unwrap();
        }
        assert_eq!(Shape::see_column(&mut columns, "one more", &Json::Null), Err(TooManyKeys));
        assert_eq!(Shape::see_column(&mut columns, "7", &Json::Null), Ok(()));
    }
}
