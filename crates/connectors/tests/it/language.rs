//! Settings that can never work, as the person who loads the DAG sees them; and the same settings
//! given at run time.

use std::path::Path;

use crate::support::all;
use tidemill_connector::conformance::misspelled;
use tidemill_spec::{Catalog, ConnectorInfo, SettingsCheck, SourceText, load_dag};

use crate::support::{connector, folder, sink_context, source_context, yaml};

fn catalog() -> Catalog {
    let info = |connector: tidemill_connector::connector::SharedConnector| {
        let (source, sink) = (connector.clone(), connector.clone());
        ConnectorInfo {
            name: connector.name().to_owned(),
            summary: connector.summary().to_owned(),
            source: connector.source_schema(),
            sink: connector.sink_schema(),
            source_check: SettingsCheck::new(move |settings| source.source_problems(settings)),
            sink_check: SettingsCheck::new(move |settings| sink.sink_problems(settings)),
            source_example: connector.examples().0.to_owned(),
            sink_example: connector.examples().1.to_owned(),
        }
    };
    Catalog { connectors: all().into_iter().map(info).collect(), ..Catalog::default() }
}

/// What is said of a DAG, without the drawing: `LINE:COLUMN message; help`.
fn said(text: &str) -> Vec<String> {
    let loaded = load_dag(SourceText { path: Path::new("dags/a.yaml"), text }, &catalog());
    let said = loaded.diagnostics.into_iter().map(|it| {
        let help = it.help.map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}:{} {}{help}", it.line, it.column, it.message)
    });
    said.collect()
}

fn ingest(connector: &str, settings: &str) -> Vec<String> {
    said(&format!("tasks:\n  a:\n    ingest:\n      {connector}: {settings}\n"))
}

fn load(connector: &str, settings: &str) -> Vec<String> {
    let from = "  t: {ingest: {csv: {path: a.csv}}}";
    said(&format!("tasks:\n{from}\n  a:\n    from: t\n    load:\n      {connector}: {settings}\n"))
}

#[test]
fn a_csv_source_that_can_never_be_read() {
    assert_eq!(
        ingest(
            "csv",
            "{path: 'in/[.csv', encoding: klingon, delimiter: ';;', quote: ä, file_column: '',\n\
             columns: {a: 'decimal(99,2)', b: int64, c: 'decimal(3,4)'}}"
        ),
        [
            "4:19 source `csv`: `path` is no pattern: `in/[.csv` goes wrong at letter 4; a `[` \
             begins a set of letters that `]` ends; for the letter `[` itself write `[[]`",
            "4:41 source `csv`: `klingon` is no encoding; write for example `utf-8`, \
             `windows-1252`, `utf-16le` or `shift_jis`",
            "4:61 source `csv`: `delimiter` is `;;`, not one character of ASCII; write one \
             character of ASCII, for example `\",\"` or `\"\\t\"`",
            "4:74 source `csv`: `quote` is `ä`, not one character of ASCII; write one character \
             of ASCII, for example `\",\"` or `\"\\t\"`",
            "4:90 source `csv`: `file_column` is empty; write the name of the column, or leave \
             the setting out",
            "5:14 source `csv`: `columns.a`: `decimal(99,2)` has 99 digits; a decimal has 1 to 38 \
             of them, for example `decimal(38,2)`",
            "5:44 source `csv`: `columns.c`: `decimal(3,4)` has 4 digits after the point and 3 in \
             all; write at most 3 after the point, for example `decimal(3,2)`",
        ]
    );
    assert_eq!(
        ingest("csv", "{path: ''}"),
        [
            "4:19 setting `path` of source `csv` must not be empty; `path`: the file, or a pattern for \
          several: `inbox/*.csv`, `2024/**/orders-??.csv.gz`"
        ]
    );
    assert_eq!(
        ingest("csv", "{path: 'in/a**.csv', delimiter: ';', quote: ';'}"),
        [
            "4:19 source `csv`: `path` is no pattern: `in/a**.csv` joins `**` to a name; `**` \
             stands alone between slashes: `in/**/*.csv`; within a name write `*`",
            "4:44 source `csv`: `delimiter` and `quote` are the same; write `quote: \"\"` if no \
             character is around cells",
        ]
    );
    assert_eq!(
        ingest("csv", "{path: a.csv, header: false}"),
        ["4:34 source `csv`: `header: false` needs `names`; name the columns in the order of the \
          file: `names: [id, price]`"]
    );
    assert_eq!(
        ingest("csv", "{path: a.csv, header: false, names: [id, prise], columns: {price: int64}}"),
        [
            "4:48 source `csv`: `columns` names the column `price`, which `names` does not have; did \
          you mean `prise`? it has: id, prise"
        ]
    );
}

/// A typo of a key anywhere in the settings is shown at the key, once, with the key that is meant.
#[test]
fn a_misspelled_key_is_shown_where_it_stands() {
    let mut refused = 0;
    let mut check = |said: &[String], wrong: &str| {
        // Where names are free, the new one is as good as the others.
        let [one] = said else { return assert!(said.is_empty(), "{said:?}") };
        let meant = &wrong[..wrong.len() - 1];
        assert!(one.ends_with(&format!("`{wrong}`; did you mean `{meant}`?")), "{one}");
        refused += 1;
    };
    for connector in all() {
        let (source, sink) = connector.examples();
        if !source.is_empty() {
            for (wrong, settings) in misspelled(&yaml(source)) {
                check(&ingest(connector.name(), &settings.to_string()), &wrong);
            }
        }
        if !sink.is_empty() {
            for (wrong, settings) in misspelled(&yaml(sink)) {
                check(&load(connector.name(), &settings.to_string()), &wrong);
            }
        }
    }
    assert!(refused > 30, "{refused}");
    // Each in its place, several at once.
    assert_eq!(
        ingest("http", "{url: 'http://a.example', pagination: {page: {parm: p, stp: short}}}"),
        [
            "4:58 setting `pagination.page` of source `http` needs the key `param`; `param`: the \
             parameter that holds the number",
            "4:59 setting `pagination.page` of source `http` has no key `parm`; did you mean `param`?",
            "4:68 setting `pagination.page` of source `http` has no key `stp`; did you mean `stop`?",
        ]
    );
}

#[test]
fn other_sources_that_can_never_be_read() {
    assert_eq!(ingest("jsonl", "{path: '[', encoding: x, columns: {a: 'decimal(0,0)'}}").len(), 3);
    assert_eq!(
        ingest("jsonl", "{path: a.jsonl, columns: {id: int64, at: date}, select: [id, att]}"),
        ["4:70 source `jsonl`: `select` names the column `att`, which `columns` does not have; \
             did you mean `at`? it has: id, at"]
    );
    for connector in ["csv", "jsonl", "parquet"] {
        let twice = "{path: a.csv, select: [a, b, a]}";
        let expected = format!(
            "4:{} source `{connector}`: `select` names the column `a` twice; name each column once",
            31 + connector.len()
        );
        assert_eq!(ingest(connector, twice), [expected]);
    }
    assert_eq!(
        ingest("parquet", "{path: '[', select: [a, b, a]}").last().expect("a second one"),
        "4:36 source `parquet`: `select` names the column `a` twice; name each column once"
    );
    let check = |settings: &str, expected: &[&str]| assert_eq!(ingest("http", settings), expected);
    let example = "write it whole, for example `https://shop.example/v1/orders`";
    check(
        "{url: shop.example/orders}",
        &[&format!(
            "4:19 source `http`: the address is wrong: relative URL without a base; {example}"
        )],
    );
    check(
        "{url: 'ftp://shop.example'}",
        &[&format!(
            "4:19 source `http`: the address must start with http:// or https://; {example}"
        )],
    );
    check(
        "{path: /orders}",
        &["4:20 source `http`: there is no address; write `url`, or `connection` and `path`"],
    );
    check(
        "{url: 'http://a.example', connection: shop, timeout: 0s, max_pages: 0}",
        &[
            "4:19 source `http`: `url` stands alone; write either `url`, or `connection` and `path`",
            "4:66 source `http`: `timeout` is 0, which no page can keep; write how long a page may \
             take, for example `30s`",
            "4:81 setting `max_pages` of source `http` must be at least 1, not 0; `max_pages`: at \
             most this many pages are fetched; more are an error",
        ],
    );
    check(
        "{url: 'http://a.example', format: csv, rows: data, body: {a: 1}, headers: {a b: c},\n\
         pagination: {page: {param: p, stop: short}}}",
        &[
            "4:58 source `http`: `rows` needs `format: json`; in the other formats the whole \
             answer is rows",
            "4:70 source `http`: `body` needs `method: POST`; leave `body` out, or add `method: \
             POST`",
            "4:93 source `http`: `headers`: `a b` is no name of a header; a name is made of \
             letters, digits and `-`",
            "5:13 source `http`: `stop: short` and `size_param` need `size`; add `size`: how many \
             rows a full page has",
        ],
    );
    check(
        "{url: 'http://a.example', query: {p: 1}, pagination: {cursor: {param: p, next: n}}}",
        &["4:66 source `http`: `query` sets the parameter `p`, which `pagination` sets too; take \
           it out of `query`"],
    );
}

#[test]
fn sinks_that_can_never_be_written() {
    let check = |connector: &str, settings: &str, expected: &[&str]| {
        assert_eq!(load(connector, settings), expected);
    };
    check(
        "csv",
        "{path: out/, delimiter: '\"'}",
        &[
            "6:19 sink `csv`: `path` is `out/`, a folder; add the name of the file",
            "6:36 sink `csv`: `delimiter` must not be a double quote; cells that need it are put \
             in double quotes",
        ],
    );
    check(
        "jsonl",
        "{path: ..}",
        &["6:21 sink `jsonl`: `path` is `..`, a folder; add the name of the file"],
    );
    check(
        "outbox",
        "{path: out, sender: nobody, reply_to: a@b@c, to: t, subject: s, text: t, key: [k],\n\
         headers: {Bcc: b}}",
        &[
            "6:35 sink `outbox`: `sender`: `nobody` is no e-mail address; write \
             `news@shop.example` or `Shop <news@shop.example>`",
            "6:53 sink `outbox`: `reply_to`: `a@b@c` is no e-mail address; write \
             `news@shop.example` or `Shop <news@shop.example>`",
            "7:16 sink `outbox`: `headers`: `Bcc` is set by the outbox itself; name a header of \
             your own with letters, digits and `-`, for example `X-Campaign`",
        ],
    );
}

/// What an expression gives is not known when the file is loaded; the rest is.
#[test]
fn expressions_are_left_to_the_run() {
    let check = |settings: &str, expected: usize| {
        let text = format!(
            "params: {{p: {{type: string, default: x}}, n: {{type: integer, default: 1}}}}\n\
             tasks:\n  a:\n    ingest:\n      {settings}\n"
        );
        let said = said(&text);
        assert_eq!(said.len(), expected, "{said:?}");
    };
    check(
        "csv: {path: '${{params.p}}[', delimiter: '${{params.p}}', encoding: '${{params.p}}'}",
        0,
    );
    check("csv: {path: '${{params.p}}', columns: {a: '${{params.p}}'}}", 0);
    check("csv: {path: '${{params.p}}', columns: {a: '${{params.p}}', b: 'decimal(1,2)'}}", 1);
    check("csv: {path: '${{params.p}}', header: '${{params.p == \"x\"}}', names: [a]}", 0);
    check("csv: {path: '${{params.p}}', header: false}", 1);
    check("http: {url: '${{params.p}}', max_pages: '${{params.n}}'}", 0);
    let pages = "pagination: {page: {param: p, stop: short, size: '${{params.n}}'}}";
    check(&format!("http: {{url: 'http://a.example', {pages}}}"), 0);
}

/// The same settings, when an expression gave them: the task fails with the same words.
#[tokio::test]
async fn a_run_says_the_same() {
    let folder = folder(&[("a.csv", "a\n1\n")]);
    let check = async |name: &str, settings: &str, expected: &str| {
        let cx = source_context(folder.path(), None);
        let error = connector(name).open_source(yaml(settings), cx).await.err().expect("an error");
        assert_eq!(error.to_string(), expected);
    };
    check(
        "csv",
        "{path: ''}",
        "`path` is empty; name a file, or a pattern for several: `inbox/*.csv`",
    )
    .await;
    check(
        "csv",
        "{path: a.csv, columns: {a: 'decimal(99,2)'}}",
        "setting `columns.a` of source `csv` is wrong: `decimal(99,2)` has 99 digits; a decimal \
         has 1 to 38 of them, for example `decimal(38,2)`",
    )
    .await;
    check("http", "{url: 'http://a.example', max_pages: 0}", "`max_pages` must be at least 1")
        .await;
    let schema = arrow::datatypes::Schema::empty().into();
    let cx = sink_context(folder.path(), schema, "k");
    let error = connector("csv").open_sink(yaml("{path: ''}"), cx).await.err().expect("an error");
    assert_eq!(
        error.to_string(),
        "`path` is empty; write where it should go, relative to the folder of the DAG file"
    );
}
