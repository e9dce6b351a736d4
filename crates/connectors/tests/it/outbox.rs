//! The `outbox` sink.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidemill_connector::ErrorKind;

use crate::support::{batch, folder, names, sink, write};

const CONFIG: &str = "{path: out, sender: Shop <news@shop.example>, to: email, subject: subject, \
    text: text, html: html, key: [campaign, id], list_unsubscribe: link, \
    headers: {X-Campaign: campaign}, reply_to: help@shop.example}";

/// One row of messages: id, address, subject.
type Row<'a> = (&'a str, &'a str, &'a str);

fn letters(rows: &[Row<'_>]) -> RecordBatch {
    let column = |make: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(make).collect::<StringArray>())
    };
    batch(vec![
        ("campaign", column(&|_| Some("spring".to_owned()))),
        ("id", column(&|row| Some(row.0.to_owned()))),
        ("email", column(&|row| Some(row.1.to_owned()))),
        ("subject", column(&|row| Some(row.2.to_owned()))),
        ("text", column(&|row| Some(format!("Hello {}", row.0)))),
        ("html", column(&|row| (row.0 != "plain").then(|| format!("<p>Hello {}</p>", row.0)))),
        ("link", column(&|row| Some(format!("https://shop.example/u?c={}", row.0)))),
    ])
}

fn index(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("out/messages.jsonl")).expect("the list");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let out = folder.join("out");
    names(&out).into_iter().map(|name| (name.clone(), fs::read(out.join(name)).unwrap())).collect()
}

async fn check_error(rows: &[Row<'_>], expected: &str) {
    let folder = folder(&[]);
    let error = write("outbox", folder.path(), CONFIG, &[letters(rows)]).await.unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind, ErrorKind::Data);
    assert_eq!(names(&folder.path().join("out")), Vec::<String>::new());
}

fn is_message(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "eml")
}

#[tokio::test]
async fn one_message_a_row_and_a_list_of_them() {
    let folder = folder(&[]);
    let rows = [("1", "Ann <a@b.example>", "Héllo"), ("plain", "c@d.example", "Hi")];
    assert_eq!(write("outbox", folder.path(), CONFIG, &[letters(&rows)]).await, Ok(2));
    let index = index(folder.path());
    assert_eq!(index.len(), 2);
    assert_eq!(index[0]["key"], serde_json::json!({"campaign": "spring", "id": "1"}));
    assert_eq!((&index[0]["to"], &index[0]["subject"]), (&"a@b.example".into(), &"Héllo".into()));
    for line in &index {
        let file = line["file"].as_str().unwrap();
        assert!(file.starts_with("spring-") && is_message(file), "{file}");
        let message = fs::read(folder.path().join("out").join(file)).unwrap();
        assert_eq!(line["sha256"], hex::encode(Sha256::digest(&message)));
        let text = String::from_utf8(message).unwrap();
        for header in [
            "From: Shop <news@shop.example>\r\n",
            "Reply-To: help@shop.example\r\n",
            "List-Unsubscribe: <https://shop.example/u?c=",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "X-Campaign: spring\r\n",
            "@shop.example>\r\n",
            "MIME-Version: 1.0\r\n",
            "Date: ",
        ] {
            assert!(text.contains(header), "{header} in {text}");
        }
        assert_eq!(text.contains("multipart/alternative"), file.starts_with("spring-1-"));
    }
    assert_eq!(names(&folder.path().join("out")).len(), 3);
}

#[tokio::test]
async fn a_repeated_load_writes_the_same_bytes() {
    let folder = folder(&[]);
    let rows = [("1", "a@b.example", "one"), ("2", "c@d.example", "two")];
    let load = async |rows: &[Row<'_>]| {
        write("outbox", folder.path(), CONFIG, &[letters(rows)]).await.unwrap();
        content(folder.path())
    };
    let first = load(&rows).await;
    // As if it had been written long ago, the date is one that no clock gives any more.
    for (name, bytes) in &first {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let old = text.lines().map(|line| {
            if line.starts_with("Date: ") {
                "Date: Wed, 01 Dec 2010 08:26:00 +0000".to_owned()
            } else {
                line.to_owned()
            }
        });
        let end = if is_message(name) { "\r\n" } else { "\n" };
        let old: String = old.map(|line| line + end).collect();
        fs::write(folder.path().join("out").join(name), old).unwrap();
    }
    let second = load(&rows).await;
    let third = load(&rows).await;
    assert_eq!(second, third);
    assert!(
        second.iter().filter(|(_, b)| b.windows(16).any(|w| w == b"Wed, 01 Dec 2010")).count() == 2
    );
    // What changed gets a new date; what another load wrote stays.
    let fourth = load(&[("2", "c@d.example", "changed"), ("3", "e@f.example", "three")]).await;
    assert_eq!(fourth.iter().filter(|entry| second.contains(entry)).count(), 1);
    let keys: Vec<Value> =
        index(folder.path()).iter().map(|line| line["key"]["id"].clone()).collect();
    assert_eq!(keys, ["1", "2", "3"]);
    assert_eq!(names(&folder.path().join("out")).len(), 4);
}

#[tokio::test]
async fn dates_come_from_a_column() {
    let folder = folder(&[]);
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    let letters = letters(&[("1", "a@b.example", "one")]);
    let schema = letters.schema();
    for (field, array) in schema.fields().iter().zip(letters.columns()) {
        columns.push((field.name(), array.clone()));
    }
    columns.push(("at", Arc::new(TimestampMicrosecondArray::from(vec![1_291_191_960_000_000]))));
    let config = CONFIG.replace("path: out,", "path: out, date: at,");
    write("outbox", folder.path(), &config, &[batch(columns)]).await.unwrap();
    let file = index(folder.path())[0]["file"].as_str().unwrap().to_owned();
    let text = fs::read_to_string(folder.path().join("out").join(file)).unwrap();
    assert!(text.contains("\r\nDate: Wed, 01 Dec 2010 08:26:00 +0000\r\n"), "{text}");
}

#[tokio::test]
async fn rows_that_make_no_message_are_named() {
    check_error(
        &[("1", "a@b.example", "ok"), ("2", "nobody", "x")],
        "`nobody` is no e-mail address (the row with campaign=spring, id=2, column email)",
    )
    .await;
    check_error(
        &[("1", "a@b.example", "Hi\r\nBcc: all@shop.example")],
        "the subject has a line break, which would start another header (the row with \
         campaign=spring, id=1, column subject)",
    )
    .await;
    check_error(
        &[("1", "a@b.example\nBcc: x@y.example", "Hi")],
        "has a line break, which would start another header (the row with campaign=spring, id=1, \
         column email)",
    )
    .await;
    check_error(
        &[("1", "a@b.example", "Hi"), ("1", "c@d.example", "Hi")],
        "two rows have the same key (the row with campaign=spring, id=1); remove one of them, or \
         add the columns to `key` that tell the messages apart",
    )
    .await;
    check_error(
        &[("a\nX: y", "a@b.example", "Hi\0")],
        "the subject has the control character U+0000 (the row with campaign=spring, id=a\\nX: y, \
         column subject)",
    )
    .await;
}

#[tokio::test]
async fn settings_that_do_not_fit() {
    let folder = folder(&[]);
    let check = async |from: &str, to: &str, expected: &str| {
        let config = CONFIG.replace(from, to);
        let schema = letters(&[]).schema();
        let error = sink("outbox", folder.path(), &config, schema).await.err().unwrap();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind, ErrorKind::Misconfigured);
    };
    check("Shop <news@shop.example>", "Shop", "`sender`: `Shop` is no e-mail address; write `news@shop.example` or `Shop <news@shop.example>`").await;
    check("help@shop.example", "help", "`reply_to`: `help` is no e-mail address; write `news@shop.example` or `Shop <news@shop.example>`").await;
    check(
        "to: email",
        "to: Email",
        "`to` names the column `Email`, which the input does not have; did you mean `email`?",
    )
    .await;
    check(
        "X-Campaign",
        "Bcc",
        "`headers`: `Bcc` is set by the outbox itself; name a header of your own with letters, \
         digits and `-`, for example `X-Campaign`",
    )
    .await;
    check(
        "[campaign, id]",
        "[]",
        "`key` names no column; name the columns that tell one message from another",
    )
    .await;
}

#[tokio::test]
async fn nothing_is_seen_before_the_end() {
    let folder = folder(&[]);
    let letters = letters(&[("1", "a@b.example", "one")]);
    let mut half = sink("outbox", folder.path(), CONFIG, letters.schema()).await.unwrap();
    half.write(&letters).await.unwrap();
    let seen: Vec<String> = names(&folder.path().join("out"));
    assert!(seen.iter().all(|name| name.starts_with('.')), "{seen:?}");
    drop(half);
    assert_eq!(names(&folder.path().join("out")), Vec::<String>::new());
}

#[tokio::test]
async fn twenty_thousand_messages() {
    let folder = folder(&[]);
    let ids: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let rows: Vec<Row<'_>> = ids.iter().map(|id| (id.as_str(), "a@b.example", "Grüße")).collect();
    assert_eq!(write("outbox", folder.path(), CONFIG, &[letters(&rows)]).await, Ok(20_000));
    assert_eq!(names(&folder.path().join("out")).len(), 20_001);
    assert_eq!(index(folder.path()).len(), 20_000);
}
