//! The `jsonl` connector.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use arrow::array::{
    Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use tidemill_connector::{ErrorKind, RecordBatch};

use crate::support::{batch, folder, put, read, sink, write};

async fn check(content: &str, settings: &str, columns: &str, rows: &[&str]) {
    let folder = folder(&[("a.jsonl", content)]);
    let got =
        read("jsonl", folder.path(), &format!("{{path: a.jsonl, {settings}}}")).await.unwrap();
    assert_eq!(got.columns(), columns);
    assert_eq!(got.shown(), rows);
}

async fn check_error(content: &[u8], settings: &str, expected: &str) {
    let folder = folder(&[]);
    put(folder.path(), "a.jsonl", content);
    let got = read("jsonl", folder.path(), &format!("{{path: a.jsonl, {settings}}}")).await;
    let error = got.expect_err("an error");
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error.kind, ErrorKind::Data | ErrorKind::Misconfigured));
}

#[tokio::test]
async fn columns_are_inferred_from_all_lines() {
    check(
        "{\"id\": 1, \"at\": \"2011-01-01T10:00:00Z\", \"tags\": [\"a\"], \"who\": {\"name\": \"x\"}}\n\
         \n\
         {\"id\": 2.5, \"who\": {\"age\": 7, \"name\": null}, \"new\": true}\r\n",
        "",
        "id Float64, at Timestamp(µs), tags List(Utf8), who Struct(\"name\": Utf8, \"age\": Int64), new Boolean",
        &[
            "1.0 | 2011-01-01T10:00:00 | [a] | {name: x, age: } | -",
            "2.5 | - | - | {name: , age: 7} | true",
        ],
    )
    .await;
}

#[tokio::test]
async fn columns_as_written() {
    check(
        "{\"id\": \"007\", \"price\": 0.1, \"n\": \"12\", \"raw\": {\"a\": 1.50}, \"other\": 1}",
        "columns: {n: int64, price: 'decimal(38,20)', raw: string, none: date}, file_column: file",
        "n Int64, price Decimal128(38, 20), raw Utf8, none Date32, file Utf8",
        &["12 | 0.10000000000000000000 | {\"a\":1.50} | - | a.jsonl"],
    )
    .await;
    check("{\"userId\": 1}", "rename: snake_case", "user_id Int64", &["1"]).await;
    check(
        "{\"userId\": 1}",
        "rename: snake_case, columns: {user_id: string}",
        "user_id Utf8",
        &["1"],
    )
    .await;
    check("", "columns: {a: int64}", "a Int64", &[]).await;
}

#[tokio::test]
async fn columns_that_are_selected() {
    let content = "{\"userId\": 1, \"b\": [], \"c\": 2.5}\n{\"c\": null, \"b\": \"x\", \"d\": 1}\n";
    check(
        content,
        "rename: snake_case, select: [c, user_id], file_column: f",
        "c Float64, user_id Int64, f Utf8",
        &["2.5 | 1 | a.jsonl", "- | - | a.jsonl"],
    )
    .await;
    check(content, "columns: {b: date, c: float64}, select: [c]", "c Float64", &["2.5", "-"]).await;
    // What is not kept cannot be wrong, and its keys may be as many as they like.
    let many: Vec<String> = (0..20_000).map(|key| format!("\"k{key}\": 1")).collect();
    check(&format!("{{{}, \"a\": 7}}", many.join(", ")), "select: [a]", "a Int64", &["7"]).await;
    check_error(
        content.as_bytes(),
        "rename: snake_case, select: [c, userid]",
        "`select` names the column `userid`, which the input does not have (a.jsonl); did you mean \
         `user_id`? after `rename` it has: c, user_id, b, d",
    )
    .await;
    check_error(
        content.as_bytes(),
        "columns: {b: string}, select: [c]",
        "`select` names the column `c`, which `columns` does not have; it has: b",
    )
    .await;
}

#[tokio::test]
async fn bad_lines_stop_the_source() {
    check_error(
        b"{\"a\": 1}\n{\"a\": }\n",
        "",
        "this is no JSON: a value should stand here (letter 7) (a.jsonl:2); correct the line; an \
         object may not be spread over several lines, or set such rows aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"[1]\n",
        "",
        "the line holds a list instead of an object (a.jsonl:1); correct the line, or set such rows \
         aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"{\"a\": 1}\n{\"a\": [{\"b\": 1}]}\n",
        "columns: {a: int64}",
        "`[{\"b\":1}]` is no int64 (a.jsonl:2, column a); give the column another type in \
         `columns`, or set such rows aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"{\"a\": 1, \"a\": 2}\n",
        "",
        "the object has the key `a` twice, or two keys of that name (a.jsonl:1, column a); correct \
         the line, or set such rows aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"\n",
        "",
        "there are no columns: the input holds no object with keys (a.jsonl); to read an input that \
         may be empty, name its columns in `columns`",
    )
    .await;
}

#[tokio::test]
async fn bad_lines_are_set_aside() {
    let folder = folder(&[]);
    put(folder.path(), "a.jsonl", b"{\"a\": 1}\n{\"a\": }\n\xff\n{\"a\": \"x\"}\n{\"a\": 2}\n");
    let config = "{path: a.jsonl, columns: {a: int64}, on_bad_row: quarantine}";
    let rows = read("jsonl", folder.path(), config).await.unwrap();
    assert_eq!(rows.shown(), ["1", "2"]);
    let rejects: Vec<_> = rows
        .rejects
        .iter()
        .map(|r| (r.line, r.reason.as_str(), r.column.as_deref(), r.value.as_deref()))
        .collect();
    // A column is a column of the table; where no JSON is, none is to blame.
    assert_eq!(
        rejects,
        [
            (2, "bad_json", None, Some("}")),
            (3, "bad_encoding", None, None),
            (4, "bad_value", Some("a"), Some("x")),
        ]
    );
}

#[tokio::test]
async fn many_packed_files() {
    let folder = folder(&[]);
    for file in 0..20 {
        let mut lines = String::new();
        for row in 0..70 {
            writeln!(lines, "{{\"f\": {file}, \"r\": {row}}}").unwrap();
        }
        put(folder.path(), &format!("{file:02}.jsonl.gz"), lines.as_bytes());
    }
    let rows = read("jsonl", folder.path(), "{path: '*.gz'}").await.unwrap();
    let sizes: Vec<usize> = rows.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [1_000, 400]);
    assert_eq!(rows.shown()[1_399], "19 | 69");
    let whole = fs::read(folder.path().join("03.jsonl.gz")).unwrap();
    fs::write(folder.path().join("03.jsonl.gz"), &whole[..whole.len() / 2]).unwrap();
    let error = read("jsonl", folder.path(), "{path: '*.gz'}").await.unwrap_err();
    assert!(error.message.starts_with("`03.jsonl.gz` is cut short: "), "{error}");
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let inner = batch(vec![
        ("x", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        ("y", Arc::new(StringArray::from(vec!["\"q\"\n", "ü"]))),
    ]);
    let table = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_291_191_960_500_000), None]))),
        ("list", Arc::new(list)),
        ("inner", Arc::new(StructArray::from(inner))),
    ]);
    let folder = folder(&[]);
    let batches = std::slice::from_ref(&table);
    assert_eq!(write("jsonl", folder.path(), "{path: a.jsonl}", batches).await, Ok(2));
    assert_eq!(
        fs::read_to_string(folder.path().join("a.jsonl")).unwrap(),
        "{\"id\":-9223372036854775808,\"at\":\"2010-12-01T08:26:00.500Z\",\"list\":[1,null],\
         \"inner\":{\"x\":0.1,\"y\":\"\\\"q\\\"\\n\"}}\n\
         {\"id\":9223372036854775807,\"at\":null,\"list\":null,\"inner\":{\"x\":null,\"y\":\"ü\"}}\n"
    );
    let rows = read("jsonl", folder.path(), "{path: a.jsonl}").await.unwrap();
    assert_eq!(rows.whole(), table);
}

#[tokio::test]
async fn nothing_is_seen_before_the_end() {
    let folder = folder(&[]);
    let table = batch(vec![("a", Arc::new(Int64Array::from(vec![1])))]);
    let mut half =
        sink("jsonl", folder.path(), "{path: a.jsonl.gz}", table.schema()).await.unwrap();
    half.write(&table).await.unwrap();
    drop(half);
    assert_eq!(crate::support::names(folder.path()), Vec::<String>::new());
}
