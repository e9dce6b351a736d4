//! The `http` source against a real server.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_connector::conformance::read_all;
use tidemill_connector::{Connection, ConnectorError, ErrorKind, RecordBatch, Source};
use tidemill_model::Secret;

use crate::server::{Server, answer, chunked, cut, endless, ok, packed};
use crate::support::{BATCH_ROWS, Rows, connector, source_context};

async fn open(
    url: String,
    settings: Value,
    connection: Option<Connection>,
) -> Result<Box<dyn Source>, ConnectorError> {
    let mut config = settings;
    if connection.is_none() {
        config["url"] = json!(url);
    }
    connector("http").open_source(config, source_context(Path::new("/"), connection)).await
}

/// Reads to the end as the executor does: after a retryable error the same call is made again.
async fn read_with(
    server: &Server,
    settings: Value,
    connection: Option<Connection>,
) -> Result<Rows, ConnectorError> {
    let mut source = loop {
        match open(server.url("/v1/orders"), settings.clone(), connection.clone()).await {
            Err(error) if is_retryable(&error) => {}
            other => break other?,
        }
    };
    let schema = source.schema();
    let mut batches = Vec::new();
    loop {
        match source.next_batch().await {
            Ok(Some(batch)) => {
                assert!((1..=BATCH_ROWS).contains(&batch.num_rows()));
                batches.push(batch);
            }
            Ok(None) => break,
            Err(error) if is_retryable(&error) => {}
            Err(error) => return Err(error),
        }
    }
    assert!(source.next_batch().await.unwrap().is_none());
    Ok(Rows { schema, batches, rejects: source.take_rejects() })
}

fn is_retryable(error: &ConnectorError) -> bool {
    matches!(error.kind, ErrorKind::Retryable { .. })
}

async fn check(answers: Vec<Vec<u8>>, settings: Value, columns: &str, rows: &[&str]) -> Server {
    let server = Server::start(answers);
    let got = read_with(&server, settings, None).await.unwrap();
    assert_eq!(got.columns(), columns);
    assert_eq!(got.shown(), rows);
    server
}

/// The first error that a source gives.
async fn first_error(answers: Vec<Vec<u8>>, mut settings: Value) -> ConnectorError {
    let server = Server::start(answers);
    if settings.get("columns").is_none() {
        settings["columns"] = json!({"id": "int64"});
    }
    let mut source = open(server.url("/v1/orders"), settings, None).await.unwrap();
    let error = loop {
        match source.next_batch().await {
            Ok(batch) => assert!(batch.is_some(), "no error before the end"),
            Err(error) => break error,
        }
    };
    let message = error.message.replace(&server.url(""), "SERVER");
    let place = error.place.map(|place| place.replace(&server.url(""), "SERVER"));
    ConnectorError { message, place, ..error }
}

#[tokio::test]
async fn one_page_in_every_format() {
    check(
        vec![ok(r#"[{"id": 1, "at": "2011-01-01T10:00:00Z"}, {"id": 2, "who": {"n": "x"}}]"#)],
        json!({}),
        "id Int64, at Timestamp(µs), who Struct(\"n\": Utf8)",
        &["1 | 2011-01-01T10:00:00 | -", "2 | - | {n: x}"],
    )
    .await;
    check(
        vec![ok(r#"{"data": {"items": [{"Id": 1, "x": 2}]}}"#)],
        json!({"rows": "data.items", "rename": "snake_case", "columns": {"id": "string"}}),
        "id Utf8",
        &["1"],
    )
    .await;
    check(
        vec![ok("{\"id\": 1}\n\n{\"id\": 2}\n")],
        json!({"format": "jsonl"}),
        "id Int64",
        &["1", "2"],
    )
    .await;
    for columns in [Value::Null, json!({"name": "string", "id": "int64"})] {
        let shown = if columns.is_null() { "1 | a,b" } else { "a,b | 1" };
        let types = if columns.is_null() { "id Int64, name Utf8" } else { "name Utf8, id Int64" };
        let settings = match &columns {
            Value::Null => json!({"format": "csv"}),
            columns => json!({"format": "csv", "columns": columns}),
        };
        check(vec![ok("id,name\n1,\"a,b\"\n")], settings, types, &[shown]).await;
    }
}

#[tokio::test]
async fn answers_are_unpacked_and_decoded() {
    check(vec![packed(r#"[{"id": 1}]"#)], json!({}), "id Int64", &["1"]).await;
    check(vec![chunked(r#"[{"id": 1}]"#, true)], json!({}), "id Int64", &["1"]).await;
    check(vec![endless(r#"[{"id": 1}]"#)], json!({}), "id Int64", &["1"]).await;
    let latin = answer("200 OK", "Content-Type: text/csv; charset=iso-8859-1\r\n", b"a\n\xe4\n");
    check(vec![latin], json!({"format": "csv"}), "a Utf8", &["ä"]).await;
    let marked = answer("200 OK", "", b"\xef\xbb\xbf[{\"id\": 1}]");
    check(vec![marked], json!({}), "id Int64", &["1"]).await;
    let nothing = answer("204 No Content", "", b"");
    check(vec![nothing], json!({"columns": {"id": "int64"}}), "id Int64", &[]).await;
}

#[tokio::test]
async fn pages_by_number() {
    let pages = || vec![ok(r#"[{"id": 1}, {"id": 2}]"#), ok(r#"[{"id": 3}]"#), ok("[]")];
    let settings = |columns: bool| {
        let pagination = json!({"page": {"param": "page", "size_param": "limit", "size": 2}});
        if columns {
            json!({"pagination": pagination, "columns": {"id": "int64"}})
        } else {
            json!({"pagination": pagination})
        }
    };
    for columns in [true, false] {
        let server = check(pages(), settings(columns), "id Int64", &["1", "2", "3"]).await;
        assert_eq!(
            server.lines(),
            [
                "GET /v1/orders?page=1&limit=2",
                "GET /v1/orders?page=2&limit=2",
                "GET /v1/orders?page=3&limit=2"
            ]
        );
    }
}

#[tokio::test]
async fn pages_by_cursor() {
    let settings = json!({
        "rows": "items",
        "query": {"status": "paid"},
        "pagination": {"cursor": {"param": "after", "next": "meta.next"}},
    });
    let pages = vec![
        ok(r#"{"items": [{"id": 1}], "meta": {"next": "a b&c"}}"#),
        ok(r#"{"items": [{"id": 2.5}], "meta": {"next": null}}"#),
    ];
    let server = check(pages, settings, "id Float64", &["1.0", "2.5"]).await;
    assert_eq!(
        server.lines(),
        ["GET /v1/orders?status=paid", "GET /v1/orders?status=paid&after=a+b%26c"]
    );
}

#[tokio::test]
async fn a_page_that_fails_is_asked_for_again() {
    let busy = |status: &str| answer(status, "", b"later");
    let page = |id: u32| ok(&format!(r#"[{{"id": {id}}}]"#));
    let answers = vec![
        busy("503 Service Unavailable"),
        page(1),
        cut(page(2), 3),
        busy("429 Too Many Requests"),
        Vec::new(),
        page(2),
        chunked(r#"[{"id": 3"#, false),
        endless(r#"[{"id": 3}, {"i"#),
        cut(packed(r#"[{"id": 3}]"#), 5),
        busy("502 Bad Gateway"),
        busy("504 Gateway Timeout"),
        page(3),
        ok("[]"),
    ];
    let pagination = json!({"page": {"param": "p"}});
    let settings = json!({"pagination": pagination, "columns": {"id": "int64"}});
    let server = check(answers, settings, "id Int64", &["1", "2", "3"]).await;
    let asked: Vec<String> =
        server.lines().iter().map(|l| l.replace("GET /v1/orders?p=", "")).collect();
    assert_eq!(asked.join(" "), "1 1 2 2 2 2 3 3 3 3 3 3 4");
}

#[tokio::test]
async fn the_types_of_all_pages_are_found_although_some_fail() {
    let answers = vec![
        ok(r#"[{"id": 1}]"#),
        answer("503 Service Unavailable", "", b""),
        // Opened again, from the first page on.
        ok(r#"[{"id": 1}]"#),
        ok(r#"[{"id": 2, "name": "x"}]"#),
        ok("[]"),
    ];
    let settings = json!({"pagination": {"page": {"param": "p"}}});
    check(answers, settings, "id Int64, name Utf8", &["1 | -", "2 | x"]).await;
}

#[tokio::test]
async fn large_pages_become_batches() {
    let page = |from: usize| {
        let rows: Vec<Value> = (from..from + 2_600).map(|id| json!({"id": id})).collect();
        ok(&Value::from(rows).to_string())
    };
    for columns in [json!({"columns": {"id": "int64"}}), json!({})] {
        let server = Server::start(vec![page(0), page(2_600), ok("[]")]);
        let mut settings = columns;
        settings["pagination"] = json!({"page": {"param": "p"}});
        let mut source = open(server.url("/"), settings, None).await.unwrap();
        let batches = read_all(source.as_mut(), BATCH_ROWS).await.unwrap();
        let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(sizes, [1_000, 1_000, 1_000, 1_000, 1_000, 200]);
    }
}

#[tokio::test]
async fn waits_that_the_server_asks_for() {
    let check = async |headers: &str, seconds: Option<u64>| {
        let error =
            first_error(vec![answer("429 Too Many Requests", headers, b"")], json!({})).await;
        assert_eq!(error.kind, ErrorKind::Retryable { after: seconds.map(Duration::from_secs) });
        assert_eq!(error.message, "`SERVER/v1/orders` answered 429 Too Many Requests");
    };
    check("", None).await;
    check("Retry-After: 7\r\n", Some(7)).await;
    check("Retry-After: -7\r\n", None).await;
    check("Retry-After: 999999999999\r\n", Some(86_400)).await;
    check(
        "Date: Tue, 24 Nov 2026 12:00:00 GMT\r\nRetry-After: Tue, 24 Nov 2026 12:00:30 GMT\r\n",
        Some(30),
    )
    .await;
    check("Retry-After: Tue, 24 Nov 1990 12:00:30 GMT\r\n", Some(0)).await;
}

#[tokio::test]
async fn refusals_are_final_and_say_why() {
    let check = async |answer: Vec<u8>, message: &str, help: Option<&str>| {
        let error = first_error(vec![answer], json!({})).await;
        assert_eq!(error.kind, ErrorKind::Refused);
        assert_eq!((error.message.as_str(), error.help.as_deref()), (message, help));
    };
    check(
        answer("404 Not Found", "", b"no such\nthing"),
        "`SERVER/v1/orders` answered 404 Not Found: no such thing",
        Some("look at the address"),
    )
    .await;
    check(answer("400 Bad Request", "", b""), "`SERVER/v1/orders` answered 400 Bad Request", None)
        .await;
    let long = "x".repeat(5_000);
    check(
        answer("422 Unprocessable Entity", "", long.as_bytes()),
        &format!("`SERVER/v1/orders` answered 422 Unprocessable Entity: {}", "x".repeat(200)),
        None,
    )
    .await;
    check(
        answer("501 Not Implemented", "", b""),
        "`SERVER/v1/orders` answered 501 Not Implemented",
        None,
    )
    .await;
}

#[tokio::test]
async fn answers_that_are_not_what_they_should_be() {
    let check = async |answer: Vec<u8>, settings: Value, expected: &str| {
        let error = first_error(vec![answer], settings).await;
        assert!(matches!(error.kind, ErrorKind::Data | ErrorKind::Misconfigured), "{error:?}");
        assert_eq!(error.to_string(), expected);
    };
    check(
        ok("<html>"),
        json!({}),
        "the answer is no JSON: a value should stand here (SERVER/v1/orders page 1, line 1, \
         column 1); look whether `format` is right",
    )
    .await;
    check(
        ok(r#"{"data": {"items": 7}, "meta": 1}"#),
        json!({"rows": "data.rows"}),
        "`rows` is `data.rows`, where the answer has nothing (SERVER/v1/orders page 1); the answer \
         has: data, meta",
    )
    .await;
    check(
        ok(r#"{"data": {"items": 7}}"#),
        json!({"rows": "data.items"}),
        "`rows` is `data.items`, where the answer has a number instead of a list (SERVER/v1/orders page 1)",
    )
    .await;
    check(
        ok(r#"{"data": []}"#),
        json!({}),
        "the answer is an object instead of a list (SERVER/v1/orders page 1); set `rows` to the \
         keys that lead to the list, for example `rows: data.items`",
    )
    .await;
    check(
        ok(r#"[{"id": 1}, {"id": "x"}]"#),
        json!({}),
        "`x` is no int64 (SERVER/v1/orders page 1, row 2, column id)",
    )
    .await;
    check(
        ok("[1]"),
        json!({}),
        "the row is a number instead of an object (SERVER/v1/orders page 1, row 1)",
    )
    .await;
    check(
        ok("name\nx\n"),
        json!({"format": "csv"}),
        "the answer has no column `id` (SERVER/v1/orders page 1); it has: name",
    )
    .await;
    check(
        ok("id\nx\n"),
        json!({"format": "csv"}),
        "`x` is no int64 (SERVER/v1/orders page 1, row 1, column id)",
    )
    .await;
    check(
        ok("[]           "),
        json!({"max_bytes": 5}),
        "a page of `SERVER/v1/orders` has more than 5 bytes; ask for smaller pages, or raise `max_bytes`",
    )
    .await;
    check(
        packed(&" ".repeat(10_000)),
        json!({"max_bytes": 1_000}),
        "a page of `SERVER/v1/orders` has more than 1000 bytes; ask for smaller pages, or raise `max_bytes`",
    )
    .await;
    check(
        chunked(&" ".repeat(10_000), true),
        json!({"max_bytes": 1_000}),
        "a page of `SERVER/v1/orders` has more than 1000 bytes; ask for smaller pages, or raise `max_bytes`",
    )
    .await;
}

#[tokio::test]
async fn a_cut_answer_is_never_taken_as_whole() {
    let check = async |answer: Vec<u8>, format: &str| {
        let error = first_error(vec![answer], json!({"format": format})).await;
        assert!(is_retryable(&error), "{error:?}");
        assert!(error.message.contains("is cut short"), "{error}");
    };
    let csv = || answer("200 OK", "", b"id\n1\n2\n3\n");
    for bytes in 1..9 {
        check(cut(csv(), bytes), "csv").await;
    }
    check(chunked("id\n1\n", false), "csv").await;
    check(endless("id\n1\n2"), "csv").await;
    check(endless(""), "csv").await;
    check(endless("{\"id\": 1}\n{\"id\": 1"), "jsonl").await;
    check(endless(r#"[{"id": 1}"#), "json").await;
    check(endless(""), "json").await;
    check(cut(packed("id\n1\n"), 1), "csv").await;
    let bytes = packed("id\n1\n");
    let whole_length = answer("200 OK", "Content-Encoding: gzip\r\n", &bytes[bytes.len() - 20..]);
    check(whole_length, "csv").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let settings = json!({"columns": {"id": "int64"}, "timeout": "200ms"});
    let mut source =
        open(format!("http://{address}/x?key=s3cret"), settings.clone(), None).await.unwrap();
    let error = source.next_batch().await.unwrap_err();
    assert!(is_retryable(&error));
    assert_eq!(error.message, format!("`http://{address}/x` gave no whole answer within 200 ms"));
    drop(silent);
    let mut source = open(format!("http://{address}/x?key=s3cret"), settings, None).await.unwrap();
    let error = source.next_batch().await.unwrap_err();
    assert!(is_retryable(&error));
    assert!(error.message.starts_with(&format!("cannot reach `http://{address}/x`: ")), "{error}");
    assert!(!error.to_string().contains("s3cret"));
}

fn connection(server: &Server, fields: &Value, secrets: &[(&str, &str)]) -> Connection {
    let mut fields = fields.as_object().unwrap().clone();
    fields.insert("base_url".to_owned(), json!(server.url("/v1/")));
    let secrets = secrets.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect();
    Connection::new("shop", "http", fields, secrets)
}

#[tokio::test]
async fn connections_and_headers() {
    let check = async |fields: Value, secrets: &[(&str, &str)], header: &str, value: &str| {
        let server = Server::start(vec![ok(r#"[{"id": 1}]"#)]);
        let connection = connection(&server, &fields, secrets);
        let settings = json!({
            "connection": "shop",
            "path": "/orders",
            "headers": {"X-Tenant": "blue"},
        });
        read_with(&server, settings, Some(connection)).await.unwrap();
        let asked = &server.asked()[0];
        assert_eq!(asked.line, "GET /v1/orders");
        assert_eq!(asked.header(header), Some(value));
        assert_eq!(asked.header("x-tenant"), Some("blue"));
        assert_eq!(asked.header("accept-encoding"), Some("gzip"));
    };
    check(json!({}), &[("token", "s3cret")], "authorization", "Bearer s3cret").await;
    check(json!({"header": "X-Api-Key"}), &[("token", "s3cret")], "x-api-key", "s3cret").await;
    check(
        json!({"user": "ann"}),
        &[("password", "s3cret")],
        "authorization",
        "Basic YW5uOnMzY3JldA==",
    )
    .await;
}

#[tokio::test]
async fn a_post_sends_its_body() {
    let server = Server::start(vec![ok(r#"[{"id": 1}]"#)]);
    let settings = json!({"method": "POST", "body": {"filter": {"paid": true}}});
    read_with(&server, settings, None).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "POST /v1/orders");
    assert_eq!(asked.body, r#"{"filter":{"paid":true}}"#);
    assert_eq!(asked.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn secrets_do_not_get_into_errors() {
    let echo = b"bad token s3cret-token, s3cret-query, s3cret-header";
    let answers = [answer("403 Forbidden", "", echo), answer("503 Busy", "", echo), Vec::new()];
    for answer in answers {
        let server = Server::start(vec![answer]);
        let connection = connection(&server, &json!({}), &[("token", "s3cret-token")]);
        let settings = json!({
            "connection": "shop",
            "path": "orders",
            "query": {"key": "s3cret-query"},
            "headers": {"X-Key": "s3cret-header"},
        });
        let error = open(String::new(), settings, Some(connection)).await.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn secrets_do_not_follow_a_redirect_to_another_host() {
    let other = Server::start(vec![ok(r#"[{"id": 1}]"#)]);
    let redirect = |to: &str| answer("302 Found", &format!("Location: {to}\r\n"), b"");
    let server = Server::start(vec![redirect(&other.url("/x"))]);
    let secret = connection(&server, &json!({}), &[("token", "s3cret")]);
    let settings = json!({"connection": "shop"});
    let error = open(String::new(), settings, Some(secret)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("redirects to another host"), "{error}");
    assert!(other.asked().is_empty());
    // Without secrets it is followed, and so it is within one host.
    let rows = read_with(&server, json!({}), None).await.unwrap();
    assert_eq!(rows.shown(), ["1"]);
    let within = Server::start(vec![redirect("/v2/orders"), ok(r#"[{"id": 1}]"#)]);
    let secret = connection(&within, &json!({}), &[("token", "s3cret")]);
    read_with(&within, json!({"connection": "shop", "path": "orders"}), Some(secret))
        .await
        .unwrap();
    assert_eq!(within.lines(), ["GET /v1/orders", "GET /v2/orders"]);
    assert_eq!(within.asked()[1].header("authorization"), Some("Bearer s3cret"));
    let endless = Server::start(vec![redirect("/loop")]);
    let error = open(endless.url("/"), json!({}), None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[tokio::test]
async fn more_than_memory_is_kept_in_a_file() {
    let page = |number: usize| {
        let rows: Vec<Value> = (0..3)
            .map(|row| json!({"id": number * 3 + row, "text": "x".repeat(1 << 20)}))
            .collect();
        ok(&Value::from(rows).to_string())
    };
    let mut answers: Vec<Vec<u8>> = (0..5).map(page).collect();
    answers.push(ok("[]"));
    let server = Server::start(answers);
    let rows =
        read_with(&server, json!({"pagination": {"page": {"param": "p"}}}), None).await.unwrap();
    assert_eq!(rows.columns(), "id Int64, text Utf8");
    assert_eq!(rows.len(), 15);
}
