//! Which rows have been seen before: exact to 128 bits, whatever the columns.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};
use tidemill_connector::ConnectorError;

use crate::error::from_arrow;

/// Bytes that a row costs in the set: 16 of its key, and the room that a hash table leaves free.
const ROW_BYTES: usize = 40;

/// The rows seen so far, by the values of some columns.
///
/// A row is kept as half of its SHA-256, so that a set costs the same whatever the rows hold, and
/// two different rows are never taken for one, not even by someone who tries.
pub(crate) struct Seen {
    converter: RowConverter,
    columns: Vec<usize>,
    keys: HashSet<u128, BuildHasherDefault<KeyHasher>>,
    rows_max: usize,
    memory_bytes: usize,
}

impl Seen {
    /// An empty set over `columns` of tables of `schema`, which may grow to `memory_bytes`.
    pub(crate) fn new(
        schema: &Schema,
        columns: Vec<usize>,
        memory_bytes: usize,
    ) -> Result<Self, ConnectorError> {
        let fields = columns.iter().map(|i| SortField::new(schema.field(*i).data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(|e| from_arrow(&e))?;
        let rows_max = memory_bytes / ROW_BYTES;
        Ok(Self { converter, columns, keys: HashSet::default(), rows_max, memory_bytes })
    }

    /// Marks the rows of a batch that are new, and remembers them.
    ///
    /// With `nulls_differ`, a row with a null in one of the columns is always new.
    pub(crate) fn new_rows(
        &mut self,
        batch: &RecordBatch,
        nulls_differ: bool,
    ) -> Result<BooleanArray, ConnectorError> {
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|i| batch.column(*i).clone()).collect();
        let rows = self.converter.convert_columns(&columns).map_err(|e| from_arrow(&e))?;
        let mut new = BooleanBufferBuilder::new(rows.num_rows());
        for (i, row) in rows.iter().enumerate() {
            if nulls_differ && columns.iter().any(|c| c.is_null(i)) {
                new.append(true);
                continue;
            }
            new.append(self.keys.insert(key(row.as_ref())));
        }
        if self.keys.len() > self.rows_max {
            let mib = self.memory_bytes / (1024 * 1024);
            return Err(ConnectorError::internal(format!(
                "to tell apart more than {} rows, more than {mib} MiB are needed",
                self.rows_max
            ))
            .help("raise --sql-memory"));
        }
        Ok(BooleanArray::new(new.finish(), None))
    }
}

fn key(row: &[u8]) -> u128 {
    let digest = Sha256::digest(row);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}

/// Keys are evenly spread already: a few of their bits are as good as any hash.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn batch(rows: &[(Option<i64>, Option<&str>)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let a: Int64Array = rows.iter().map(|r| r.0).collect();
        let b: StringArray = rows.iter().map(|r| r.1).collect();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(a), Arc::new(b)]).expect("a batch")
    }

    fn check(columns: &[usize], nulls_differ: bool, expected: &[bool]) {
        let rows = [
            (Some(1), Some("x")),
            (Some(1), Some("y")),
            (Some(1), Some("x")),
            (None, Some("")),
            (None, None),
            (None, None),
        ];
        let batches = [batch(&rows[..4]), batch(&rows[4..])];
        let mut seen = Seen::new(&batches[0].schema(), columns.to_vec(), 1 << 20).expect("a set");
        let new: Vec<bool> = batches
            .iter()
            .flat_map(|b| {
                let new = seen.new_rows(b, nulls_differ).expect("marks");
                new.values().iter().collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(new, expected);
    }

    #[test]
    fn a_row_is_new_once() {
        check(&[0, 1], false, &[true, true, false, true, true, false]);
        check(&[0], false, &[true, false, false, true, false, false]);
        check(&[0, 1], true, &[true, true, false, true, true, true]);
        check(&[1], true, &[true, true, false, true, true, true]);
    }

    #[test]
    fn the_set_is_bounded() {
        let rows = batch(&[(Some(1), None), (Some(2), None), (Some(3), None)]);
        let mut seen = Seen::new(&rows.schema(), vec![0], 2 * ROW_BYTES).expect("a set");
        let error = seen.new_rows(&rows, false).expect_err("too many");
        assert_eq!(
            error.to_string(),
            "to tell apart more than 2 rows, more than 0 MiB are needed; raise --sql-memory"
        );
    }
}
