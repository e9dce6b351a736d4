//! How many bytes a value has, row by row.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

/// The bytes of an argument in each row.
pub(super) enum Widths {
    /// The same in every row.
    Constant(u64),
    Offsets(OffsetBuffer<i32>),
    LargeOffsets(OffsetBuffer<i64>),
    Views(StringViewArray),
    /// Lists: the number of their elements, of so many bytes on average.
    Lists(Counts, f64),
}

/// The number of elements of an argument that is a list, in each row.
pub(super) enum Counts {
    Constant(u64),
    Offsets(OffsetBuffer<i32>),
    LargeOffsets(OffsetBuffer<i64>),
}

impl Widths {
    pub(super) fn of(value: &ColumnarValue) -> Result<Self> {
        let array = match value {
            ColumnarValue::Array(array) => array.clone(),
            ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
                Some(text) => return Ok(Self::Constant(text.map_or(0, str::len) as u64)),
                None => return Ok(Self::Constant(bytes(&scalar.to_array()?))),
            },
        };
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Offsets(array.as_string::<i32>().offsets().clone()),
            DataType::LargeUtf8 => Self::LargeOffsets(array.as_string::<i64>().offsets().clone()),
            DataType::Utf8View => Self::Views(array.as_string_view().clone()),
            DataType::List(_) | DataType::LargeList(_) => {
                let counts = Counts::of(value)?;
                let elements = (0..array.len()).map(|row| counts.at(row)).sum::<u64>();
                Self::Lists(counts, bytes(&array) as f64 / elements.max(1) as f64)
            }
            other => Self::Constant(match other.primitive_width() {
                Some(width) => width as u64,
                None => bytes(&array) / array.len().max(1) as u64,
            }),
        })
    }

    pub(super) fn at(&self, row: usize) -> u64 {
        match self {
            Self::Constant(width) => *width,
            Self::Offsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
            Self::LargeOffsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
            // The length of a text is the low half of its view.
            Self::Views(views) => u64::from(views.views()[row] as u32),
            Self::Lists(counts, width) => (counts.at(row) as f64 * width) as u64,
        }
    }
}

impl Counts {
    pub(super) fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, scalar) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let counts = match array.data_type() {
            DataType::List(_) => Self::Offsets(array.as_list::<i32>().offsets().clone()),
            DataType::LargeList(_) => Self::LargeOffsets(array.as_list::<i64>().offsets().clone()),
            DataType::FixedSizeList(_, length) => Self::Constant(*length as u64),
            _ => Self::Constant(0),
        };
        Ok(if scalar { Self::Constant(counts.at(0)) } else { counts })
    }

    pub(super) fn at(&self, row: usize) -> u64 {
        match self {
            Self::Constant(count) => *count,
            Self::Offsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
            Self::LargeOffsets(offsets) => (offsets[row + 1] - offsets[row]) as u64,
        }
    }
}

/// The whole numbers of an argument.
pub(super) struct Numbers {
    array: Int64Array,
    constant: bool,
}

impl Numbers {
    pub(super) fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let array = cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        Ok(Self { array, constant })
    }

    /// The number in a row; nothing from null.
    pub(super) fn at(&self, row: usize) -> Option<i64> {
        let row = if self.constant { 0 } else { row };
        self.array.is_valid(row).then(|| self.array.value(row))
    }

    /// The number in a row as a number of things: nothing is none, and none are fewer than that.
    pub(super) fn count(&self, row: usize) -> u128 {
        self.at(row).and_then(|n| u128::try_from(n).ok()).unwrap_or(0)
    }
}

/// The bytes that the rows of an array take.
pub(super) fn bytes(array: &ArrayRef) -> u64 {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64
}
