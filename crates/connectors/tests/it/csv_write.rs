//! The `csv` sink, and what is written read again.

use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array,
    Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use tidemill_connector::ErrorKind;

use crate::support::{batch, folder, names, read, sink, write};

fn orders() -> RecordBatch {
    let list =
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), None]);
    batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("note", Arc::new(StringArray::from(vec![Some("a \"b\", c"), None]))),
        ("price", Arc::new(Float64Array::from(vec![Some(2.55), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_291_191_960_000_000, 500_000]))),
        ("tags", Arc::new(list)),
        ("kind", Arc::new(["x", ""].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ])
}

#[tokio::test]
async fn a_file_as_its_standard_says() {
    let folder = folder(&[]);
    assert_eq!(write("csv", folder.path(), "{path: out/a.csv}", &[orders()]).await, Ok(2));
    assert_eq!(
        fs::read_to_string(folder.path().join("out/a.csv")).unwrap(),
        "id,note,price,at,tags,kind\n\
         1,\"a \"\"b\"\", c\",2.55,2010-12-01T08:26:00Z,\"[1,2]\",x\n\
         2,,,1970-01-01T00:00:00.5Z,,\"\"\n"
    );
    let other = "{path: b.csv, delimiter: ;, header: false, nulls: 'NULL'}";
    assert_eq!(write("csv", folder.path(), other, &[orders()]).await, Ok(2));
    assert_eq!(
        fs::read_to_string(folder.path().join("b.csv")).unwrap(),
        "1;\"a \"\"b\"\", c\";2.55;2010-12-01T08:26:00Z;[1,2];x\n\
         2;NULL;NULL;1970-01-01T00:00:00.5Z;NULL;\n"
    );
}

#[tokio::test]
async fn packed_files_are_read_again_and_are_the_same_each_time() {
    let folder = folder(&[]);
    for name in ["a.csv.gz", "a.csv.zst"] {
        let config = format!("{{path: {name}}}");
        write("csv", folder.path(), &config, &[orders()]).await.unwrap();
        let first = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read("csv", folder.path(), &config).await.unwrap().len(), 2);
        write("csv", folder.path(), &config, &[orders()]).await.unwrap();
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), first);
    }
    assert_eq!(names(folder.path()), ["a.csv.gz", "a.csv.zst"]);
}

#[tokio::test]
async fn nothing_is_seen_before_the_end() {
    let folder = folder(&[("a.csv", "old\n")]);
    let mut half = sink("csv", folder.path(), "{path: a.csv}", orders().schema()).await.unwrap();
    half.write(&orders()).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a.csv")).unwrap(), "old\n");
    drop(half);
    assert_eq!(names(folder.path()), ["a.csv"]);
}

#[tokio::test]
async fn a_table_without_rows_is_a_header() {
    let folder = folder(&[]);
    let sink = sink("csv", folder.path(), "{path: a.csv}", orders().schema()).await.unwrap();
    let written = sink.finish().await.unwrap();
    assert_eq!((written.rows, written.bytes), (0, 27));
    assert_eq!(
        fs::read_to_string(folder.path().join("a.csv")).unwrap(),
        "id,note,price,at,tags,kind\n"
    );
}

#[tokio::test]
async fn places_that_cannot_be_written_to() {
    let folder = folder(&[("file", ""), ("in/a.csv", "")]);
    for (config, expected) in [
        ("{path: .}", "`path` is `.`, a folder"),
        ("{path: in}", "is a folder, not a file"),
        ("{path: file/a.csv}", "cannot create"),
    ] {
        let error = sink("csv", folder.path(), config, orders().schema()).await.err().unwrap();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_trouble_of_the_machine() {
    // Writing there always fails for lack of space; renaming onto it is not reached.
    let full = std::path::Path::new("/dev/full");
    if full.exists() {
        let error = fs::write(full, "x").unwrap_err();
        let error = tidemill_connector::ConnectorError::io("write", full, &error);
        assert_eq!(error.kind, ErrorKind::Internal);
    }
}

const TYPES: &str = "columns: {i: int64, f: float64, b: boolean, d: date, t: timestamp, \
    n: 'decimal(10,2)', s: string}";

fn any_batch() -> impl Strategy<Value = RecordBatch> {
    let row = (
        any::<Option<i64>>(),
        prop::option::of(any::<f64>().prop_filter("a number", |f| f.is_finite())),
        any::<Option<bool>>(),
        prop::option::of(-719_162..2_932_896_i32),
        prop::option::of(-62_135_596_800_000_000..253_402_300_799_999_999_i64),
        prop::option::of(-9_999_999_999..9_999_999_999_i128),
        prop::option::of("\\PC{0,12}|[\"',;\n\r\t \u{feff}]{0,4}|NULL"),
    );
    prop::collection::vec(row, 1..20).prop_map(|rows| {
        let column = |make: &dyn Fn() -> ArrayRef| make();
        let decimals = rows.iter().map(|r| r.5).collect::<Decimal128Array>();
        let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
        batch(vec![
            ("i", column(&|| Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()))),
            ("f", column(&|| Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()))),
            ("b", column(&|| Arc::new(rows.iter().map(|r| r.2).collect::<BooleanArray>()))),
            ("d", column(&|| Arc::new(rows.iter().map(|r| r.3).collect::<Date32Array>()))),
            (
                "t",
                column(&|| {
                    Arc::new(rows.iter().map(|r| r.4).collect::<TimestampMicrosecondArray>())
                }),
            ),
            ("n", Arc::new(decimals)),
            (
                "s",
                column(&|| Arc::new(rows.iter().map(|r| r.6.as_deref()).collect::<StringArray>())),
            ),
        ])
    })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Values of every type, nulls apart from empty texts included.
    #[test]
    fn what_is_written_is_read_again(table in any_batch(), nulls in "|NULL") {
        let folder = folder(&[]);
        let sink = format!("{{path: a.csv, nulls: '{nulls}'}}");
        let source = format!("{{path: a.csv, nulls: ['{nulls}'], quoted_nulls: false, {TYPES}}}");
        let rows = wait(async {
            write("csv", folder.path(), &sink, std::slice::from_ref(&table)).await.unwrap();
            read("csv", folder.path(), &source).await.unwrap()
        });
        prop_assert_eq!(rows.whole(), table);
    }

    /// Without types: what cannot be mistaken for something else comes back as it was.
    #[test]
    fn inferred_types_lose_nothing(
        numbers in prop::collection::vec(any::<Option<i64>>(), 1..9),
        floats in prop::collection::vec(prop::option::of(-1e9..1e9_f64), 9),
        texts in prop::collection::vec(prop::option::of("0[0-9]{1,3}|[a-z]{1,5}"), 9),
    ) {
        let rows = numbers.len();
        let table = batch(vec![
            ("i", Arc::new(Int64Array::from(numbers.clone()))),
            ("f", Arc::new(floats[..rows].iter().copied().collect::<Float64Array>())),
            ("s", Arc::new(texts[..rows].iter().map(Option::as_deref).collect::<StringArray>())),
        ]);
        let folder = folder(&[]);
        let got = wait(async {
            write("csv", folder.path(), "{path: a.csv}", std::slice::from_ref(&table)).await.unwrap();
            read("csv", folder.path(), "{path: a.csv}").await.unwrap().whole()
        });
        for index in 0..3 {
            let (got, expected) = (got.column(index), table.column(index));
            // A column without a single value has no type to find.
            if expected.null_count() < rows {
                prop_assert_eq!(got, expected);
            }
        }
    }
}
