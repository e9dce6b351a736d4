//! Users and items as numbers.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use tidemill_connector::ConnectorError;

use crate::cells::{IdKind, id_kind, ids, integers};

/// Distinct values of one kind, numbered as they come.
#[derive(Debug)]
pub(super) enum Keys {
    /// Texts.
    Texts(HashMap<Box<str>, u32>),
    /// Integers, and floats that are whole.
    Integers(HashMap<i64, u32>),
}

/// Distinct values in their order.
#[derive(Debug)]
pub(super) struct Ordered {
    /// The values, in the type of their column.
    pub(super) values: ArrayRef,
    /// The place in the order, by the number given before.
    pub(super) place: Vec<u32>,
}

impl Keys {
    /// For the values of all these columns: integers, unless one holds texts.
    pub(super) fn of(key: &str, fields: &[&Field]) -> Result<Self, ConnectorError> {
        let mut texts = false;
        for field in fields {
            texts |= id_kind(key, field)? == IdKind::Text;
        }
        Ok(if texts { Self::Texts(HashMap::new()) } else { Self::Integers(HashMap::new()) })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Integers(integers) => integers.len(),
        }
    }

    /// The numbers of the values of a column; none for nulls.
    pub(super) fn numbers(
        &mut self,
        key: &str,
        field: &Field,
        array: &ArrayRef,
        first_row: u64,
    ) -> Result<Vec<Option<u32>>, ConnectorError> {
        match self {
            Self::Texts(known) => {
                let texts = ids(key, field, array, first_row)?;
                let number = |text: Option<&str>| {
                    let text = text?;
                    if let Some(number) = known.get(text) {
                        return Some(*number);
                    }
                    let next = known.len() as u32;
                    known.insert(text.into(), next);
                    Some(next)
                };
                Ok(texts.iter().map(number).collect())
            }
            Self::Integers(known) => {
                let integers = integers(field, array, first_row)?;
                let number = |integer: Option<i64>| {
                    let next = known.len() as u32;
                    integer.map(|integer| *known.entry(integer).or_insert(next))
                };
                Ok(integers.iter().map(number).collect())
            }
        }
    }

    /// The values in order, as `data_type` if they are integers.
    pub(super) fn ordered(self, data_type: &DataType) -> Result<Ordered, ConnectorError> {
        match self {
            Self::Texts(known) => {
                let mut all: Vec<(Box<str>, u32)> = known.into_iter().collect();
                all.sort_unstable();
                let place = places(all.iter().map(|(_, number)| *number));
                let values = all.iter().map(|(text, _)| Some(text)).collect::<StringArray>();
                Ok(Ordered { values: Arc::new(values), place })
            }
            Self::Integers(known) => {
                let mut all: Vec<(i64, u32)> = known.into_iter().collect();
                all.sort_unstable();
                let place = places(all.iter().map(|(_, number)| *number));
                let values: ArrayRef =
                    Arc::new(all.iter().map(|(integer, _)| *integer).collect::<Int64Array>());
                Ok(Ordered { values: arrow::compute::cast(&values, data_type)?, place })
            }
        }
    }
}

impl Ordered {
    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

fn places(numbers: impl ExactSizeIterator<Item = u32>) -> Vec<u32> {
    let mut places = vec![0; numbers.len()];
    for (place, number) in numbers.enumerate() {
        places[number as usize] = place as u32;
    }
    places
}
