//! The `csv` source.

use std::fmt::Write;
use std::fs;

use tidemill_connector::{ErrorKind, RecordBatch};

use crate::support::{BATCH_ROWS, folder, gzip, open, put, read};

/// Reads `a.csv` of this content, with further settings; the columns and the rows.
async fn check(content: &str, settings: &str, columns: &str, rows: &[&str]) {
    let folder = folder(&[("a.csv", content)]);
    let got = read("csv", folder.path(), &format!("{{path: a.csv, {settings}}}")).await;
    let got = got.unwrap_or_else(|error| panic!("{content:?}: {error}"));
    assert_eq!(got.columns(), columns, "{content:?}");
    assert_eq!(got.shown(), rows, "{content:?}");
}

/// Reads `a.csv` of this content, with further settings; the error.
async fn check_error(content: &[u8], settings: &str, expected: &str) {
    let folder = folder(&[]);
    put(folder.path(), "a.csv", content);
    let got = read("csv", folder.path(), &format!("{{path: a.csv, {settings}}}")).await;
    let error = got.expect_err("an error");
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error.kind, ErrorKind::Data | ErrorKind::Misconfigured), "{error:?}");
}

#[tokio::test]
async fn types_are_inferred_from_all_rows() {
    check(
        "id,zip,price,ok,day,at,note,none\n\
         1,007,1,true,2011-01-01,2011-01-01 10:00:00,a,\n\
         2,8001,2.5,FALSE,2011-01-02,2011-01-02,,\n",
        "",
        "id Int64, zip Utf8, price Float64, ok Boolean, day Date32, at Timestamp(µs), note Utf8, none Utf8",
        &[
            "1 | 007 | 1.0 | true | 2011-01-01 | 2011-01-01T10:00:00 | a | -",
            "2 | 8001 | 2.5 | false | 2011-01-02 | 2011-01-02T00:00:00 | - | -",
        ],
    )
    .await;
}

#[tokio::test]
async fn types_are_as_written() {
    check(
        "id,price,at,x\n1,2.50,2011-01-01T10:00:00+02:00,3\n",
        "columns: {id: string, price: 'decimal(10,2)', at: timestamp}",
        "id Utf8, price Decimal128(10, 2), at Timestamp(µs), x Int64",
        &["1 | 2.50 | 2011-01-01T08:00:00 | 3"],
    )
    .await;
}

#[tokio::test]
async fn one_column_that_goes_wrong_late_is_seen() {
    let mut content = String::from("a,b\n");
    for number in 0..5_000 {
        let _ = writeln!(content, "{number},{number}");
    }
    content.push_str("x,1.5\n");
    let folder = folder(&[("a.csv", &content)]);
    let rows = read("csv", folder.path(), "{path: a.csv}").await.unwrap();
    assert_eq!(rows.columns(), "a Utf8, b Float64");
    assert_eq!(rows.len(), 5_001);
}

#[tokio::test]
async fn text_of_every_kind() {
    check("a;b\n1;'x;y'\n", "delimiter: ;, quote: \"'\"", "a Int64, b Utf8", &["1 | x;y"]).await;
    check("a\tb\n1\t2\n", r#"delimiter: "\t""#, "a Int64, b Int64", &["1 | 2"]).await;
    check("a\tb\n1\t2\n", r"delimiter: '\t'", "a Int64, b Int64", &["1 | 2"]).await;
    check(
        "a,b\r\n\"x\r\ny\",\"say \"\"hi\"\"\"\r\n",
        "",
        "a Utf8, b Utf8",
        &["x\r\ny | say \"hi\""],
    )
    .await;
    check("a,b\n1,2", "", "a Int64, b Int64", &["1 | 2"]).await;
    check("\u{feff}a,b\n1,2\n", "", "a Int64, b Int64", &["1 | 2"]).await;
    check("a,b\n  1 , \"x\" \n", "trim: true", "a Int64, b Utf8", &["1 | x"]).await;
    check("a,b\n\"x,2\n", "quote: ''", "a Utf8, b Int64", &["\"x | 2"]).await;
    check("a,b\nNA,\nx,\"\"\n", "nulls: [NA, '']", "a Utf8, b Utf8", &["- | -", "x | -"]).await;
    check("a,b\nx,\"\"\ny,\n", "quoted_nulls: false", "a Utf8, b Utf8", &["x | ", "y | -"]).await;
    check("a,b\nx,\n", "nulls: []", "a Utf8, b Utf8", &["x | "]).await;
    check("1,2\n", "header: false, names: [a, b]", "a Int64, b Int64", &["1 | 2"]).await;
}

#[tokio::test]
async fn columns_that_are_selected() {
    let content = "First Name,b,c\nx,1,2.5\ny,bad,\n";
    let selected = "rename: snake_case, select: [c, first_name], file_column: f";
    check(
        content,
        selected,
        "c Float64, first_name Utf8, f Utf8",
        &["2.5 | x | a.csv", "- | y | a.csv"],
    )
    .await;
    // What is not read cannot be wrong; what is, can.
    check(content, "select: [c], columns: {b: int64}", "c Float64", &["2.5", "-"]).await;
    check_error(
        b"a,b\n1,2\n1,2,3\n",
        "select: [a]",
        "the row has 3 cells instead of 2 (a.csv:3); correct the file, or set such rows aside \
         with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        content.as_bytes(),
        "select: [c, B]",
        "`select` names the column `B`, which the header of `a.csv` does not have (a.csv:1); did you \
         mean `b`? it has: First Name, b, c",
    )
    .await;
    check_error(
        content.as_bytes(),
        "select: [c, c]",
        "`select` names the column `c` twice; name each column once",
    )
    .await;
}

#[tokio::test]
async fn names_and_files() {
    check(
        "CustomerID,Unit Price\n1,2\n",
        "rename: snake_case, columns: {customer_id: string}",
        "customer_id Utf8, unit_price Int64",
        &["1 | 2"],
    )
    .await;
    check("a,b\n1,2\n", "rename: {a: id}", "id Int64, b Int64", &["1 | 2"]).await;
    check("a\n1\n", "file_column: file", "a Int64, file Utf8", &["1 | a.csv"]).await;
}

#[tokio::test]
async fn a_header_alone_is_a_table_without_rows() {
    check("a,b\n", "columns: {a: int64}", "a Int64, b Utf8", &[]).await;
    check("a,b", "", "a Utf8, b Utf8", &[]).await;
}

#[tokio::test]
async fn other_encodings() {
    let folder = folder(&[]);
    put(folder.path(), "latin.csv", b"a,b\n\xe4,1\n");
    let utf16: Vec<u8> = "\u{feff}a,b\nä,1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(folder.path(), "utf16.csv", &utf16);
    for config in ["{path: latin.csv, encoding: windows-1252}", "{path: utf16.csv}"] {
        let rows = read("csv", folder.path(), config).await.unwrap();
        assert_eq!(rows.columns(), "a Utf8, b Int64");
        assert_eq!(rows.shown(), ["ä | 1"]);
    }
}

#[tokio::test]
async fn many_files_make_batches_of_one_size() {
    let folder = folder(&[]);
    for file in 0..30 {
        let mut text = "f,r\n".to_owned();
        for row in 0..70 {
            writeln!(text, "{file},{row}").unwrap();
        }
        put(folder.path(), &format!("in/{file:02}.csv.gz"), text.as_bytes());
    }
    for config in ["{path: in/*.csv.gz}", "{path: in/*.csv.gz, columns: {f: int64, r: int64}}"] {
        let rows = read("csv", folder.path(), config).await.unwrap();
        let sizes: Vec<usize> = rows.batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [BATCH_ROWS, BATCH_ROWS, 100]);
        let expected: Vec<String> =
            (0..30).flat_map(|f| (0..70).map(move |r| format!("{f} | {r}"))).collect();
        assert_eq!(rows.shown(), expected);
    }
}

#[tokio::test]
async fn bad_rows_stop_the_source() {
    check_error(
        b"a,b\n1,2\n3,x\n",
        "columns: {b: int64}",
        "`x` is no int64 (a.csv:3, column b); give the column another type in `columns`, or set \
         such rows aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"a,b\n1\n",
        "",
        "the row has 1 cell instead of 2 (a.csv:2); set `delimiter`, or set such rows aside with \
         `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"a,b\n\n1,2,3\n",
        "",
        "the row has 3 cells instead of 2 (a.csv:3); correct the file, or set such rows aside with \
         `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"a,b\n1,\xff\n",
        "",
        "the cell is no UTF-8 text (a.csv:2, column b); set `encoding`, for example `encoding: \
         windows-1252`, or set such rows aside with `on_bad_row: quarantine`",
    )
    .await;
    check_error(
        b"a,b\n1,\"x\n2,3\n",
        "",
        "a quote is opened and never closed (a.csv:2, column b); set `quote: \"\"` if quotes mean \
         nothing in this file, or set such rows aside with `on_bad_row: quarantine`",
    )
    .await;
}

#[tokio::test]
async fn bad_rows_are_set_aside() {
    let content = b"a,b\n1,2\nx,3\n4\n5,6,7\n8,\xff\n\"9\"x,1\n\"two\nlines\",1\n10,11\n";
    let folder = folder(&[]);
    put(folder.path(), "a.csv", content);
    let config =
        "{path: a.csv, columns: {a: int64, b: int64}, on_bad_row: quarantine, file_column: f}";
    let rows = read("csv", folder.path(), config).await.unwrap();
    assert_eq!(rows.shown(), ["1 | 2 | a.csv", "10 | 11 | a.csv"]);
    let rejects: Vec<String> = rows
        .rejects
        .iter()
        .map(|r| {
            let (column, value) = (r.column.as_deref(), r.value.as_deref());
            let (column, value) = (column.unwrap_or("-"), value.unwrap_or("-"));
            format!("{}:{} {} {column} {value:?} {:?}", r.source, r.line, r.reason, r.row)
        })
        .collect();
    assert_eq!(
        rejects,
        [
            r#"a.csv:3 bad_value a "x" "x,3""#,
            r#"a.csv:4 too_few_fields - "-" "4""#,
            r#"a.csv:5 too_many_fields - "-" "5,6,7""#,
            "a.csv:6 bad_encoding b \"\u{fffd}\" \"8,\u{fffd}\"",
            r#"a.csv:7 bad_quote a "9" "\"9\"x,1""#,
            r#"a.csv:8 bad_value a "two\nlines" "\"two\nlines\",1""#,
        ]
    );
}

#[tokio::test]
async fn a_bad_row_is_cut_to_a_length_that_a_person_reads() {
    let long = "x".repeat(10_000);
    let folder = folder(&[("a.csv", &format!("a\n1\n{long}\n"))]);
    let config = "{path: a.csv, columns: {a: int64}, on_bad_row: quarantine}";
    let rows = read("csv", folder.path(), config).await.unwrap();
    let reject = &rows.rejects[0];
    assert_eq!(reject.row.chars().count(), 2_001);
    assert_eq!(reject.value.as_ref().unwrap().chars().count(), 201);
}

#[tokio::test]
async fn rejects_do_not_pile_up() {
    let bad = "x\n".repeat(15_000);
    let folder = folder(&[("a.csv", &format!("a\n1\n{bad}2\n"))]);
    let config = "{path: a.csv, columns: {a: int64}, on_bad_row: quarantine}";
    let mut source = open("csv", folder.path(), config).await.unwrap();
    let mut seen = Vec::new();
    while let Some(batch) = source.next_batch().await.unwrap() {
        seen.push((batch.num_rows(), source.take_rejects().len()));
    }
    assert_eq!(seen, [(1, 10_000), (1, 5_000)]);
    let all_bad = format!("a\n{}", "x\n".repeat(100_001));
    put(folder.path(), "a.csv", all_bad.as_bytes());
    let error = read("csv", folder.path(), config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "100000 rows in a row are bad (a.csv:100001); look at the settings: the delimiter, the \
         names and types of columns"
    );
}

#[tokio::test]
async fn settings_that_do_not_fit() {
    check_error(
        b"",
        "",
        "`a.csv` is empty: it has no header; remove the file, or set `header: false` and `names`",
    )
    .await;
    check_error(
        b"a,b,a\n",
        "",
        "two columns have the name `a` (a.csv:1); rename one of them in the file, or read it with \
         `header: false` and `names`",
    )
    .await;
    check_error(
        b"a,\n",
        "",
        "column 2 has no name (a.csv:1); name it in the file, or set `rename: {\"\": NAME}`",
    )
    .await;
    check_error(
        b"Price\n1\n",
        "columns: {price: int64}",
        "`columns` names the column `price`, which the header of `a.csv` does not have (a.csv:1); \
         did you mean `Price`? it has: Price",
    )
    .await;
    check_error(
        b"Order ID,Amount\n1,2\n",
        "columns: {order: int64}, rename: snake_case",
        "`columns` names the column `order`, which the header of `a.csv` does not have (a.csv:1); \
         after `rename` it has: order_id, amount",
    )
    .await;
    check_error(
        b"id,amount\n1,2\n",
        "columns: {amuont: int64}",
        "`columns` names the column `amuont`, which the header of `a.csv` does not have (a.csv:1); \
         did you mean `amount`? it has: id, amount",
    )
    .await;
    check_error(b"a\n", "header: false", "`header: false` needs `names`; name the columns in the order of the file: `names: [id, price]`").await;
    check_error(b"a\n", "names: [b]", "`names` needs `header: false`; to rename columns that have a header, use `rename: {old: new}`").await;
    check_error(
        b"a\n",
        "delimiter: 'ab'",
        "`delimiter` is `ab`, not one character of ASCII; write one character of ASCII, for example `\",\"` or `\"\\t\"`",
    )
    .await;
    check_error(
        b"a\n",
        "delimiter: ';', quote: ';'",
        "`delimiter` and `quote` are the same; write `quote: \"\"` if no character is around cells",
    )
    .await;
    check_error(
        b"a\n",
        "file_column: a",
        "`file_column` is `a`, but the input has a column of that name",
    )
    .await;
    check_error(b"a\n", "encoding: klingon", "`klingon` is no encoding; write for example `utf-8`, `windows-1252`, `utf-16le` or `shift_jis`").await;
}

#[tokio::test]
async fn a_file_with_another_header_is_named() {
    let check = async |first: &str, second: &str, expected: &str| {
        let folder = folder(&[("1.csv", first), ("2.csv", second)]);
        for types in ["", ", columns: {a: string, b: string}"] {
            let config = format!("{{path: '*.csv'{types}}}");
            let error = read("csv", folder.path(), &config).await.unwrap_err();
            let expected = format!(
                "`2.csv` has another header than `1.csv`: {expected} (2.csv:1); read files of \
                 different shapes with one task each"
            );
            assert_eq!(error.to_string(), expected);
        }
    };
    check("a,b\n", "a\n", "it lacks `b`").await;
    check("a,b\n", "a,b,c\n", "it also has `c`").await;
    check("a,b\n", "a,c\n", "it has `c` instead of `b`").await;
    check("a,b\n", "b,a\n", "its columns are in another order: column 1 is `b` instead of `a`")
        .await;
}

#[tokio::test]
async fn garbage_and_cut_files_are_named() {
    let mut garbage = vec![0x89, b'P', b'N', b'G', 0xff, 0, 1, b',', b'\n'];
    garbage.extend((0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    check_error(
        &garbage,
        "",
        "`a.csv` is no UTF-8 text (a.csv:1); set `encoding`, for example `encoding: windows-1252`",
    )
    .await;
    let folder = folder(&[]);
    let mut text = "a,b\n".to_owned();
    for n in 0..100_000 {
        writeln!(text, "{n},{}", n * 7).unwrap();
    }
    let packed = gzip(text.as_bytes());
    fs::write(folder.path().join("b.csv.gz"), &packed[..packed.len() / 2]).unwrap();
    for types in ["", ", columns: {a: int64, b: int64}"] {
        let config = format!("{{path: '*.gz'{types}}}");
        let error = read("csv", folder.path(), &config).await.unwrap_err();
        assert!(error.message.starts_with("`b.csv.gz` is cut short: "), "{error}");
        assert_eq!(error.kind, ErrorKind::Data);
    }
}

#[tokio::test]
async fn no_file_is_an_error() {
    let folder = folder(&[]);
    let error = read("csv", folder.path(), "{path: 'in/*.csv'}").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.message == "no file matches `in/*.csv`", "{error}");
}

#[tokio::test]
async fn a_hundred_thousand_rows() {
    let mut content = String::from("id,name,price,at\n");
    for n in 0..100_000_u64 {
        let _ = writeln!(
            content,
            "{n},\"name, {n}\",{}.{:02},2011-{:02}-{:02} 10:00:00",
            n % 1_000,
            n % 100,
            n % 12 + 1,
            n % 28 + 1
        );
    }
    let folder = folder(&[("a.csv.gz", &content)]);
    let rows = read("csv", folder.path(), "{path: a.csv.gz}").await.unwrap();
    assert_eq!(rows.columns(), "id Int64, name Utf8, price Float64, at Timestamp(µs)");
    let shown = rows.shown();
    assert_eq!(shown.len(), 100_000);
    assert_eq!(shown[99_999], "99999 | name, 99999 | 999.99 | 2011-04-12T10:00:00");
}
