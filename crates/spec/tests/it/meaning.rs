//! A DAG in the words of the language, and what changed between two.

use serde_json::json;
use tidemill_spec::{Change, changes, meaning};

use crate::support::good;

const BEFORE: &str = "
params: {least: {type: integer, default: 1}}
vars: {day: '${{ date(run.interval.start) }}'}
schedule: 0 2 * * *
tasks:
  orders:
    ingest: {csv: {path: 'in/${{ vars.day }}.csv'}}
    retry: {limit: 2, delay: 5s}
    checks: [{rows: {min: 1}}]
  totals: {transform: {sql: select * from orders where n > $least}}
  report:
    run: 'echo ${{ params.least }}'
    depends_on: [totals]
    timeout: 90s
    outputs: {n: integer}
";

#[test]
fn every_key_with_its_value() {
    let dag = meaning(&good(BEFORE));
    assert_eq!(
        dag["tasks"]["orders"],
        json!({
            "ingest": {"csv": {"path": "in/${{ vars.day }}.csv"}},
            "trigger_rule": "all_success",
            "retry": {"limit": 2, "delay": "5s", "factor": 2.0, "max_delay": "10m", "jitter": 0.2},
            "pool": "default",
            "checks": [{"rows": {"min": 1}, "on_fail": "stop"}],
        })
    );
    assert_eq!(dag["tasks"]["totals"]["after"], json!(["orders"]));
    assert_eq!(dag["tasks"]["totals"]["from"], json!({"orders": "orders"}));
    let report = &dag["tasks"]["report"];
    assert_eq!((&report["timeout"], &report["outputs"]), (&json!("90s"), &json!({"n": "integer"})));
    assert_eq!(report["run"]["variables"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!((&dag["schedule"], &dag["timezone"]), (&json!("0 2 * * *"), &json!("UTC")));
}

#[test]
fn what_changed_is_named_by_its_path() {
    let after = BEFORE
        .replace("limit: 2", "limit: 5")
        .replace("schedule: 0 2 * * *", "owner: me")
        .replace(
            "  totals: {transform: {sql: select * from orders where n > $least}}",
            "  totals: {transform: {sql: select n from orders}}",
        )
        .replace("    outputs: {n: integer}\n", "    outputs: {n: number}\n  new: {noop: {}}\n");
    let (before, after) = (meaning(&good(BEFORE)), meaning(&good(&after)));
    let shown = changes(&before, &after).into_iter().map(|Change { path, before, after }| {
        let side =
            |value: Option<serde_json::Value>| value.map_or("-".to_owned(), |v| v.to_string());
        format!("{path}: {} → {}", side(before), side(after))
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            r#"owner: - → "me""#,
            r#"schedule: "0 2 * * *" → -"#,
            "tasks.orders.retry.limit: 2 → 5",
            r#"tasks.totals.transform.sql: "select * from orders where n > $least" → "select n from orders""#,
            r#"tasks.report.outputs.n: "integer" → "number""#,
            r#"tasks.new: - → {"noop":{},"trigger_rule":"all_success","retry":0,"pool":"default"}"#,
        ]
    );
    assert_eq!(changes(&before, &before), []);
    let gone = changes(&after, &before);
    assert!(gone.iter().any(|change| change.path == "tasks.new" && change.after.is_none()));
}
