//! The `parquet` connector.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, StringArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use tidemill_connector::ErrorKind;

use crate::support::{batch, folder, names, read, sink, write};

fn table(from: i64, rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new((from..from + rows).map(Some).collect::<Int64Array>());
    let names: ArrayRef =
        Arc::new((from..from + rows).map(|n| Some(format!("n{n}"))).collect::<StringArray>());
    let lists = (0..rows).map(|n| (n % 2 == 0).then(|| vec![Some(n), None]));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    batch(vec![("Id", ids), ("Name", names), ("List", lists)])
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let folder = folder(&[]);
    for compression in ["", ", compression: snappy", ", compression: none, row_group_rows: 7"] {
        let config = format!("{{path: a.parquet{compression}}}");
        let batches = [table(0, 1_500), table(1_500, 1_000)];
        assert_eq!(write("parquet", folder.path(), &config, &batches).await, Ok(2_500));
        let rows = read("parquet", folder.path(), "{path: a.parquet}").await.unwrap();
        let expected = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(rows.whole(), expected);
    }
    assert_eq!(names(folder.path()), ["a.parquet"]);
}

#[tokio::test]
async fn columns_are_chosen_and_renamed() {
    let folder = folder(&[]);
    write("parquet", folder.path(), "{path: a.parquet}", &[table(0, 2)]).await.unwrap();
    write("parquet", folder.path(), "{path: b.parquet}", &[table(2, 1)]).await.unwrap();
    let config = "{path: '*.parquet', select: [name, id], rename: snake_case}";
    let rows = read("parquet", folder.path(), config).await.unwrap();
    assert_eq!(rows.columns(), "name Utf8, id Int64");
    assert_eq!(rows.shown(), ["n0 | 0", "n1 | 1", "n2 | 2"]);
    let error =
        read("parquet", folder.path(), "{path: a.parquet, select: [id]}").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`select` names the column `id`, which the input does not have (a.parquet); did you mean \
         `Id`? it has: Id, Name, List"
    );
    let twice = "{path: a.parquet, select: [Id, Id]}";
    let error = read("parquet", folder.path(), twice).await.unwrap_err();
    assert_eq!(error.to_string(), "`select` names the column `Id` twice; name each column once");
}

/// Damage in a column that is not kept does no harm: its bytes are never looked at.
#[tokio::test]
async fn columns_that_are_not_selected_are_never_read() {
    let folder = folder(&[]);
    write("parquet", folder.path(), "{path: a.parquet, compression: none}", &[table(0, 500)])
        .await
        .unwrap();
    let path = folder.path().join("a.parquet");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"n499").expect("the last name");
    bytes[at - 2_000..at].fill(0xff);
    fs::write(&path, bytes).unwrap();
    read("parquet", folder.path(), "{path: a.parquet}").await.unwrap_err();
    let rows = read("parquet", folder.path(), "{path: a.parquet, select: [Id]}").await.unwrap();
    assert_eq!((rows.columns().as_str(), rows.shown().len()), ("Id Int64", 500));
}

#[tokio::test]
async fn a_file_with_other_columns_is_named() {
    let folder = folder(&[]);
    write("parquet", folder.path(), "{path: a.parquet}", &[table(0, 2)]).await.unwrap();
    let check = async |other: RecordBatch, expected: &str| {
        write("parquet", folder.path(), "{path: b.parquet}", &[other]).await.unwrap();
        let error = read("parquet", folder.path(), "{path: '*.parquet'}").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`b.parquet` has other columns than `a.parquet`: {expected}; read files of different \
                 shapes with one task each"
            )
        );
    };
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    check(batch(vec![("Id", text)]), "column `Id` is Utf8 instead of Int64").await;
    check(batch(vec![("id", one.clone())]), "column 1 is `id` instead of `Id`").await;
    check(batch(vec![("Id", one)]), "it has 1 column instead of 3").await;
}

#[tokio::test]
async fn garbage_and_cut_files_are_named() {
    let folder = folder(&[]);
    write("parquet", folder.path(), "{path: a.parquet}", &[table(0, 1_000)]).await.unwrap();
    let whole = fs::read(folder.path().join("a.parquet")).unwrap();
    let check = async |content: &[u8]| {
        fs::write(folder.path().join("b.parquet"), content).unwrap();
        let error = read("parquet", folder.path(), "{path: b.parquet}").await.unwrap_err();
        assert!(error.message.starts_with("`b.parquet` is no whole Parquet file: "), "{error}");
        assert_eq!(error.kind, ErrorKind::Data);
    };
    check(b"").await;
    check(b"id,name\n1,2\n").await;
    check(&whole[..whole.len() / 2]).await;
    let mut damaged = whole.clone();
    damaged[4..600].fill(0xff);
    check(&damaged).await;
}

#[tokio::test]
async fn a_table_without_rows_keeps_its_columns() {
    let folder = folder(&[]);
    let sink =
        sink("parquet", folder.path(), "{path: a.parquet}", table(0, 0).schema()).await.unwrap();
    sink.finish().await.unwrap();
    let rows = read("parquet", folder.path(), "{path: a.parquet}").await.unwrap();
    assert_eq!((rows.columns().as_str(), rows.len()), ("Id Int64, Name Utf8, List List(Int64)", 0));
}

#[tokio::test]
async fn nothing_is_seen_before_the_end() {
    let folder = folder(&[]);
    let mut half =
        sink("parquet", folder.path(), "{path: a.parquet}", table(0, 1).schema()).await.unwrap();
    half.write(&table(0, 100)).await.unwrap();
    drop(half);
    assert_eq!(names(folder.path()), Vec::<String>::new());
}
