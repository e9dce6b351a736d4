//! What changes the version of a DAG, and what does not.

use std::path::Path;

use tidemill_spec::{SourceText, load_dag};

use crate::support::{catalog, good};

const BASE: &str = "\
dag: shop
timezone: Europe/Zurich
schedule: \"0 2 * * *\"
params:
  region: {type: string, default: eu}
  least: {type: integer, default: 1}
defaults: {retry: {limit: 2}, timeout: 5m}
tasks:
  orders:
    ingest: {csv: {path: a.csv, columns: {id: int64, amount: float64}}}
    checks: [{not_null: [id]}]
  rfm:
    transform: {sql: select * from orders where region = $region and n > $low}
    bind: {low: params.least}
  report:
    run: [echo, \"${{ params.region }}\"]
    env: {A: b, C: d}
    depends_on: [rfm, orders]
";

fn version(yaml: &str) -> String {
    good(yaml).version.to_string()
}

fn check_same(what: &str, yaml: &str) {
    assert_ne!(yaml, BASE, "{what} changes the text");
    assert_eq!(version(yaml), version(BASE), "{what}");
}

fn check_differs(from: &str, to: &str) {
    let yaml = BASE.replace(from, to);
    assert_ne!(yaml, BASE, "{from} is in the text");
    assert_ne!(version(&yaml), version(BASE), "{from} → {to}");
}

#[test]
fn the_layout_of_the_text_is_no_part_of_it() {
    check_same("a comment", &format!("# hello\n{BASE}"));
    check_same("carriage returns", &BASE.replace('\n', "\r\n"));
    check_same("quotes", &BASE.replace("dag: shop", "dag: 'shop'"));
    check_same("notes", &format!("{BASE}x-note: {{a: b}}\n"));
    check_same(
        "block style",
        &BASE.replace("checks: [{not_null: [id]}]", "checks:\n      - not_null:\n          - id"),
    );
    check_same("a single column", &BASE.replace("not_null: [id]", "not_null: id"));
    check_same("the order of variables", &BASE.replace("{A: b, C: d}", "{C: d, A: b}"));
    check_same(
        "the order of params",
        &BASE.replace(
            "  region: {type: string, default: eu}\n  least: {type: integer, default: 1}",
            "  least: {default: 1, type: integer}\n  region: {default: eu, type: string}",
        ),
    );
    check_same("the order of dependencies", &BASE.replace("[rfm, orders]", "[orders, rfm]"));
    check_same("spaces in the schedule", &BASE.replace("0 2 * * *", "0  2 * *  *"));
    check_same(
        "a default written out",
        &BASE.replace("depends_on", "pool: default\n    trigger_rule: all_success\n    depends_on"),
    );
    check_same("another form of the same retry", &BASE.replace("retry: {limit: 2}", "retry: 2"));
    check_same("the same span in other units", &BASE.replace("timeout: 5m", "timeout: 300s"));
}

#[test]
fn the_file_is_no_part_of_it() {
    let at = |path: &str| {
        let source = SourceText { path: Path::new(path), text: BASE };
        load_dag(source, catalog()).dag.expect("a DAG").version.clone()
    };
    assert_eq!(at("/home/a/dags/x.yaml"), at("elsewhere/y.yaml"));
}

#[test]
fn whatever_means_something_is_part_of_it() {
    for (from, to) in [
        ("dag: shop", "dag: shop2"),
        ("Europe/Zurich", "Europe/London"),
        ("0 2 * * *", "0 3 * * *"),
        ("default: eu", "default: us"),
        ("type: integer, default: 1", "type: number, default: 1"),
        ("limit: 2", "limit: 3"),
        ("timeout: 5m", "timeout: 6m"),
        ("a.csv", "b.csv"),
        ("id: int64, amount: float64", "amount: float64, id: int64"),
        ("not_null: [id]", "not_null: [amount]"),
        ("not_null: [id]", "unique: [id]"),
        ("not_null: [id]}", "not_null: [id], on_fail: warn}"),
        ("select *", "select  *"),
        ("low: params.least", "low: params.least + 1"),
        ("[echo, \"", "[print, \""),
        ("A: b", "A: c"),
        ("depends_on: [rfm, orders]", "depends_on: [rfm]"),
        ("depends_on", "when: params.least > 0\n    depends_on"),
        ("depends_on", "pool: loads\n    depends_on"),
        ("depends_on", "trigger_rule: all_done\n    depends_on"),
        ("report:", "summary:"),
        ("dag: shop", "dag: shop\nowner: me"),
        ("dag: shop", "dag: shop\nstart: 2026-01-01"),
        ("    run: [echo, \"${{ params.region }}\"]", "    run: echo ${{ params.region }}"),
    ] {
        check_differs(from, to);
    }
}
