//! What is written is what Arrow's own writer would write, and is read again in order.

use arrow::array::{Array, ArrayRef, DictionaryArray, Int64Array, StringArray};
use arrow::datatypes::{Field, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;

use super::*;

struct NoSmall;

impl SmallTables for NoSmall {
    fn get(&self, _: &str) -> Result<Option<Bytes>, String> {
        Ok(None)
    }
}

fn outputs(folder: &Path) -> AttemptOutputs {
    let store = TableStore::new(folder.to_owned(), Arc::new(NoSmall));
    AttemptOutputs::new(store, "task", StopFlag::default())
}

/// Batches with text that does not pack well; with a dictionary if asked for.
fn batches(count: i64, rows: i64, dictionary: bool) -> Vec<RecordBatch> {
    let batch = |n: i64| {
        let number = |row: i64| (n * rows + row).wrapping_mul(6_364_136_223_846_793_005);
        let numbers: Int64Array = (0..rows).map(|r| (r % 7 != 3).then_some(number(r))).collect();
        let texts: StringArray = (0..rows).map(|r| Some(format!("{:x}", number(r)))).collect();
        let texts: ArrayRef = if dictionary {
            let keys = (0..rows).map(|r| ["x", "y"][(r % 2) as usize]);
            Arc::new(keys.collect::<DictionaryArray<Int32Type>>())
        } else {
            Arc::new(texts)
        };
        let fields = vec![
            Field::new("n", numbers.data_type().clone(), true),
            Field::new("t", texts.data_type().clone(), true),
        ];
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), texts];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
    };
    (0..count).map(batch).collect()
}

fn write(outputs: &AttemptOutputs, batches: &[RecordBatch]) -> Finished {
    let mut writer = outputs.create("", batches[0].schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("writes");
    }
    writer.finish().expect("finishes");
    outputs.finished().pop().expect("a table").1
}

fn check(batches: &[RecordBatch]) {
    let folder = tempfile::tempdir().expect("a folder");
    let outputs = outputs(folder.path());
    let finished = write(&outputs, batches);

    let options = IpcWriteOptions::default()
        .try_with_compression(Some(CompressionType::LZ4_FRAME))
        .expect("options");
    let mut writer =
        FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).expect("one");
    for batch in batches {
        writer.write(batch).expect("writes");
    }
    let expected = writer.into_inner().expect("bytes");
    let got = match &finished.small {
        Some(bytes) => bytes.to_vec(),
        None => std::fs::read(table_path(folder.path(), &finished.table.hash)).expect("a file"),
    };
    assert!(got == expected, "{} bytes instead of {}", got.len(), expected.len());
    assert_eq!(finished.table.bytes, got.len() as u64);

    let table = outputs.open("").expect("opens").expect("is there");
    let read: Result<Vec<_>, _> = table.scan().expect("a scan").collect();
    assert_eq!(read.expect("batches"), batches);
    for columns in [&[1][..], &[1, 0], &[]] {
        let read: Result<Vec<_>, _> = table.scan_columns(columns).expect("a scan").collect();
        let expected: Vec<_> = batches.iter().map(|b| b.project(columns).expect("some")).collect();
        assert_eq!(read.expect("batches"), expected, "{columns:?}");
    }
    // Who wants no more ends the threads.
    assert_eq!(table.scan().expect("a scan").take(1).count(), 1);
}

#[test]
fn the_bytes_are_those_of_the_plain_writer() {
    check(&batches(1, 10, false));
    check(&batches(3, 3_000, false));
    check(&batches(80, 3_000, false));
    check(&batches(80, 3_000, true));
}

#[test]
fn dropped_unfinished_it_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let outputs = outputs(folder.path());
    let batches = &batches(60, 3_000, false);
    let mut writer = outputs.create("", batches[0].schema()).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("writes");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_damaged_table_is_an_error_not_a_shorter_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let outputs = outputs(folder.path());
    let finished = write(&outputs, &batches(80, 3_000, false));
    let path = table_path(folder.path(), &finished.table.hash);
    let table = outputs.open("").expect("opens").expect("is there");
    let mut bytes = std::fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 100_000].fill(0xff);
    std::fs::write(&path, bytes).expect("writes");
    let read: Vec<_> = table.scan().expect("a scan").collect();
    assert!(read.last().is_some_and(Result::is_err));
    assert!(read.len() < 80);
}
