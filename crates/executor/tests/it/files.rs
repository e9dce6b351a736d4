//! What a command is handed and leaves: tables as files, and values.

use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_model::dag::{Check, CheckRule, OnFail, ParamKind};
use tidemill_model::outputs::{FileFormat, Output, ValueKind};
use tidemill_model::{Action, Counts, FailureKind, TableRef};

use crate::house::{House, failure};
use crate::orders::{Job, template};

/// A table of four rows, with a text, a number and a null.
async fn orders(house: &House) -> TableRef {
    house.put("orders.csv", "id,customer,amount\n1,ann,10\n2,bob,-5\n3,\"a,\"\"b\",7\n4,,1\n");
    let config = template(&json!({"path": "orders.csv"}));
    let job = Job::of(Action::Ingest { connector: "csv".to_owned(), config });
    house.done(job).await.1.tables[0].clone()
}

fn value(kind: ParamKind) -> Output {
    Output::Value(ValueKind::Scalar(kind))
}

fn file(format: FileFormat) -> Output {
    Output::Table { format, columns: IndexMap::new() }
}

/// A script that is handed the orders in a form, and says what it leaves.
fn script(
    text: &str,
    orders: &TableRef,
    format: FileFormat,
    outputs: Vec<(&'static str, Output)>,
) -> Job {
    let inputs = vec![("orders".to_owned(), orders.clone())];
    Job { inputs, format, outputs, ..Job::shell(text, &[]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_go_out_and_come_back_in_every_form() {
    let house = House::new();
    let orders = orders(&house).await;
    let expected = house.rows(&orders);
    for format in FileFormat::ALL {
        let text = "cp \"$TIDEMILL_INPUT_ORDERS\" \"$TIDEMILL_OUTPUT_COPY\"";
        let job = script(text, &orders, format, vec![("copy", file(format))]);
        let (_, result) = house.done(job).await;
        assert_eq!(result.counts, Counts { rows_in: 4, rows_out: 4, ..Counts::default() });
        assert_eq!(result.tables[0].name, "work.copy");
        assert_eq!(house.rows(&result.tables[0]), expected, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_the_name_of_the_task_is_its_own_and_is_checked() {
    let house = House::new();
    let orders = orders(&house).await;
    let columns = IndexMap::from([("id".to_owned(), "string".to_owned())]);
    let output = Output::Table { format: FileFormat::Csv, columns };
    let text = "cp \"$TIDEMILL_INPUT_ORDERS\" \"$TIDEMILL_OUTPUT_WORK\"";
    let mut job = script(text, &orders, FileFormat::Csv, vec![("work", output)]);
    let rule = CheckRule::Where("id <> '2'".to_owned());
    job.checks = vec![Check { rule, on_fail: OnFail::Quarantine }];
    let (_, result) = house.done(job).await;
    let names: Vec<&str> = result.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["work.rejects", "work"]);
    assert_eq!((result.counts.rows_out, result.counts.rejected_total()), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_keep_their_types() {
    let house = House::new();
    let outputs = || {
        vec![
            ("total", value(ParamKind::Integer)),
            ("note", value(ParamKind::String)),
            ("more", Output::Value(ValueKind::Json)),
        ]
    };
    let text =
        "printf 'total=12\\nnote=a = b\\nmore=[1, {\"x\": null}]\\n' > \"$TIDEMILL_OUTPUTS\"";
    let (_, result) = house.done(Job { outputs: outputs(), ..Job::shell(text, &[]) }).await;
    let expected = json!({"total": 12, "note": "a = b", "more": [1, {"x": null}]});
    assert_eq!(Value::Object(result.outputs), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_or_wrong_is_named() {
    let house = House::new();
    let orders = orders(&house).await;
    let cases: [(&str, (&'static str, Output), &str); 8] = [
        ("true", ("n", value(ParamKind::Integer)), "left no value for its output `n`"),
        ("mkfifo \"$TIDEMILL_OUTPUTS\"", ("n", value(ParamKind::Integer)), "left no value"),
        (
            "echo n=many > \"$TIDEMILL_OUTPUTS\"",
            ("n", value(ParamKind::Integer)),
            "output `n` must be an integer of 64 bits, not `many`",
        ),
        (
            "printf 'n=\\377' > \"$TIDEMILL_OUTPUTS\"",
            ("n", value(ParamKind::String)),
            "the outputs of the command are no UTF-8",
        ),
        ("true", ("t", file(FileFormat::Csv)), "left no file for its table `t`"),
        (
            "mkfifo \"$TIDEMILL_OUTPUT_T\"",
            ("t", file(FileFormat::Arrow)),
            "left no file for its table `t`",
        ),
        (
            "echo no arrow > \"$TIDEMILL_OUTPUT_T\"",
            ("t", file(FileFormat::Arrow)),
            "the file of table `t` cannot be read",
        ),
        (
            "printf 'a,b\\n1\\n' > \"$TIDEMILL_OUTPUT_T\"",
            ("t", file(FileFormat::Csv)),
            "the file of table `t` cannot be read",
        ),
    ];
    for (text, output, expected) in cases {
        let job = script(text, &orders, FileFormat::Arrow, vec![output]);
        let (_, outcome) = house.run(job).await;
        let (kind, message) = failure(outcome);
        assert!(message.contains(expected), "{text}: {message}");
        assert!(matches!(kind, FailureKind::Misconfigured | FailureKind::Data), "{text}: {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_fails_leaves_nothing() {
    let house = House::new();
    let text = "echo n=1 > \"$TIDEMILL_OUTPUTS\"; dirname \"$TIDEMILL_OUTPUTS\"; exit 3";
    let outputs = vec![("n", value(ParamKind::Integer))];
    let (id, outcome) = house.run(Job { outputs, ..Job::shell(text, &[]) }).await;
    assert_eq!(failure(outcome).0, FailureKind::Exit);
    assert!(!std::path::Path::new(house.stdout(&id).trim()).exists(), "the files go with it");
}
