//! What the functions of one query may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use bytes::Bytes;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use tidemill_connector::ConnectorError;

use crate::error::pass;

/// Results below this are not counted: there are few at a time, and counting looks at every byte.
const COUNTED_BYTES_MIN: usize = 4 * 1024 * 1024;
/// A larger constant is not kept in the plan, which copies and prints it, but made while it runs.
const CONSTANT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The engine's offsets into a column of text or lists have 31 bits.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// The memory that results of functions take in a query, and may take.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
    planned: AtomicBool,
}

impl Budget {
    /// A budget of which nothing is used.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicUsize::new(0), planned: AtomicBool::new(false) })
    }

    /// What the query may use.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Says that the query is planned. A constant made before stays until the end of the query.
    pub(crate) fn planned(&self) {
        self.planned.store(true, Ordering::Relaxed);
    }

    fn is_planned(&self) -> bool {
        self.planned.load(Ordering::Relaxed)
    }

    /// Refuses a result of `bytes` that does not fit.
    pub(super) fn allow(&self, function: &str, bytes: u128) -> Result<()> {
        if !self.is_planned() && bytes > CONSTANT_BYTES_MAX as u128 {
            // Nobody sees this: the function is called again when the query runs.
            return exec_err!("`{function}` makes no constant of {bytes} bytes");
        }
        self.fit(bytes, || format!("`{function}` would make {} at once", mib(bytes)))
    }

    /// Refuses a constant of `bytes` that does not fit into a column of so many rows.
    pub(super) fn allow_constant(&self, bytes: usize, rows: usize) -> Result<()> {
        let all = bytes as u128 * rows as u128;
        self.fit(all, || {
            let kib = bytes.div_ceil(1024);
            format!("a constant of {kib} KiB in {rows} rows at once takes {}", mib(all))
        })
    }

    fn fit(&self, bytes: u128, what: impl Fn() -> String) -> Result<()> {
        let held = self.held.load(Ordering::Relaxed) as u128;
        let refused = if bytes + held > self.bytes_max as u128 {
            let beside = match held {
                0 => String::new(),
                held => format!(" (beside {} that it holds already)", mib(held)),
            };
            let most = mib(self.bytes_max as u128);
            ConnectorError::data(format!("{}; a query may make {most}{beside}", what()))
                .help("make smaller values, or raise --sql-memory")
        } else if bytes > COLUMN_BYTES_MAX as u128 {
            let most = mib(COLUMN_BYTES_MAX as u128);
            ConnectorError::data(format!("{}; a column may hold {most} at once", what()))
                .help("make smaller values")
        } else {
            return Ok(());
        };
        Err(pass(refused))
    }

    /// Counts a result for as long as anyone holds it.
    pub(super) fn hold(
        self: &Arc<Self>,
        function: &str,
        result: ColumnarValue,
    ) -> Result<ColumnarValue> {
        match result {
            ColumnarValue::Array(array) => {
                let bytes = array.get_buffer_memory_size();
                if bytes < COUNTED_BYTES_MIN {
                    return Ok(ColumnarValue::Array(array));
                }
                self.allow(function, bytes as u128)?;
                Ok(ColumnarValue::Array(self.counted(&array)?))
            }
            ColumnarValue::Scalar(scalar) => {
                // What one row needs while the query runs is gone soon.
                if !self.is_planned() && scalar.size() >= COUNTED_BYTES_MIN {
                    self.allow(function, scalar.size() as u128)?;
                    self.held.fetch_add(scalar.size(), Ordering::Relaxed);
                }
                Ok(ColumnarValue::Scalar(scalar))
            }
        }
    }

    fn counted(self: &Arc<Self>, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(make_array(self.counted_data(array.to_data())?))
    }

    fn counted_data(self: &Arc<Self>, data: ArrayData) -> Result<ArrayData> {
        let buffers = data.buffers().iter().map(|b| self.counted_buffer(b)).collect();
        let children = data.child_data().iter().map(|c| self.counted_data(c.clone()));
        let children = children.collect::<Result<Vec<_>>>()?;
        Ok(data.into_builder().buffers(buffers).child_data(children).build()?)
    }

    fn counted_buffer(self: &Arc<Self>, buffer: &Buffer) -> Buffer {
        if buffer.capacity() < COUNTED_BYTES_MIN {
            return buffer.clone();
        }
        self.held.fetch_add(buffer.capacity(), Ordering::Relaxed);
        let held = Held { buffer: buffer.clone(), budget: self.clone() };
        Buffer::from(Bytes::from_owner(held))
    }
}

/// A buffer that counts.
struct Held {
    buffer: Buffer,
    budget: Arc<Budget>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.buffer.capacity(), Ordering::Relaxed);
    }
}

/// A size in words, rounded up: what is too much by a byte must not look like enough.
pub(super) fn mib(bytes: u128) -> String {
    const MIB: u128 = 1024 * 1024;
    format!("{} MiB", bytes.div_ceil(MIB))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, ListArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_result_counts_until_it_is_dropped() {
        let budget = Budget::new(32 * MIB);
        budget.planned();
        let text = StringArray::from(vec![Some("é".repeat(4 * MIB)), None, Some("xy".to_owned())]);
        let text: ArrayRef = Arc::new(text);
        let held = budget.hold("repeat", ColumnarValue::Array(text.clone())).expect("fits");
        let ColumnarValue::Array(held) = held else { panic!("an array") };
        assert_eq!(&held, &text);
        let error = budget.allow("repeat", 30 * MIB as u128).expect_err("too much");
        assert!(error.to_string().contains("(beside "), "{error}");
        let slice = held.slice(2, 1);
        drop(held);
        assert!(budget.allow("repeat", 30 * MIB as u128).is_err());
        assert_eq!(slice.as_string::<i32>().value(0), "xy");
        drop(slice);
        assert!(budget.allow("repeat", 32 * MIB as u128).is_ok());
    }

    #[test]
    fn lists_count_with_what_is_in_them() {
        let budget = Budget::new(32 * MIB);
        budget.planned();
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some((0..MIB as i64).map(Some)),
            None,
        ]);
        let list: ArrayRef = Arc::new(list);
        let ColumnarValue::Array(held) =
            budget.hold("range", ColumnarValue::Array(list.clone())).expect("fits")
        else {
            panic!("an array")
        };
        assert_eq!(&held, &list);
        assert!(budget.allow("range", 30 * MIB as u128).is_err());
    }

    #[test]
    fn a_large_constant_is_not_made_before_the_query_runs() {
        let budget = Budget::new(64 * MIB);
        assert!(budget.allow("repeat", 17 * MIB as u128).is_err());
        budget.planned();
        assert!(budget.allow("repeat", 17 * MIB as u128).is_ok());
    }
}
