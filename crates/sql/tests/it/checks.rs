//! Checks of a task's table.

use serde_json::json;
use tidemill_connector::{MemoryOutputs, Table};
use tidemill_model::dag::{Check, CheckRule, OnFail};
use tidemill_sql::{CheckReport, CheckRequest, run_checks};

use crate::support::{binds, block_on, home, table, tables, text, written};

const ORDERS: &str = r#"{"id": 1, "customer": "ann", "amount": 10.5}
{"id": 2, "customer": null, "amount": -3.0}
{"id": 1, "customer": "bob", "amount": 2.0}
{"id": null, "customer": "eve", "amount": null}
{"id": null, "customer": "dan", "amount": 1.0}
{"id": 3, "customer": null, "amount": -1.0}
{"id": 3, "customer": "joe", "amount": 5.0}"#;

fn not_null(columns: &[&str]) -> CheckRule {
    CheckRule::NotNull(columns.iter().map(ToString::to_string).collect())
}

fn unique(columns: &[&str]) -> CheckRule {
    CheckRule::Unique(columns.iter().map(ToString::to_string).collect())
}

fn condition(text: &str) -> CheckRule {
    CheckRule::Where(text.to_owned())
}

fn sql(text: &str) -> CheckRule {
    CheckRule::Sql(text.to_owned())
}

fn run(checks: Vec<(CheckRule, OnFail)>) -> Result<(CheckReport, MemoryOutputs), String> {
    let home = home();
    let outputs = MemoryOutputs::default();
    let checks: Vec<Check> =
        checks.into_iter().map(|(rule, on_fail)| Check { rule, on_fail }).collect();
    let request = CheckRequest {
        task: "orders",
        table: table(ORDERS),
        tables: &tables([("customers", table("{\"name\": \"ann\"}\n{\"name\": \"zoe\"}"))]),
        checks: &checks,
        binds: &binds([("min", json!(0))]),
        outputs: &outputs,
    };
    block_on(run_checks(&home.engine, request))
        .map(|report| (report, outputs))
        .map_err(|e| e.to_string())
}

/// One check that stops: what it says.
fn check(rule: CheckRule, expected: Option<&str>) {
    let (report, outputs) = run(vec![(rule.clone(), OnFail::Stop)]).expect("runs");
    assert_eq!(report.failure.as_deref(), expected);
    assert!(report.warnings.is_empty() && report.rejected.is_empty());
    assert!(report.survivors.is_none() && outputs.table("rejects").is_none());
    let (report, _) = run(vec![(rule, OnFail::Warn)]).expect("runs");
    assert_eq!(report.warnings, expected.map(str::to_owned).into_iter().collect::<Vec<_>>());
    assert_eq!(report.failure, None);
}

#[test]
fn rows_to_blame_are_counted_and_shown() {
    check(
        not_null(&["amount"]),
        Some(
            "check `not_null(amount)` does not hold: 1 of 7 rows, for example `id = null, \
                customer = eve`",
        ),
    );
    check(
        not_null(&["id"]),
        Some(
            "check `not_null(id)` does not hold: 2 of 7 rows, for example `customer = eve, amount \
                = null` and `customer = dan, amount = 1.0`",
        ),
    );
    check(
        unique(&["id"]),
        Some(
            "check `unique(id)` does not hold: 2 of 7 rows repeat an earlier one, for example `id \
                = 1` and `id = 3`",
        ),
    );
    check(unique(&["id", "customer"]), None);
    check(
        condition("amount >= $min"),
        Some(
            "check `where(amount >= $min)` does not hold: 3 of 7 rows, for example `amount = \
                -3.0` and `amount = null` and `amount = -1.0`",
        ),
    );
    check(condition("amount >= 0 or amount is null or customer is null"), None);
    check(CheckRule::Rows { min: Some(1), max: Some(7) }, None);
    check(
        CheckRule::Rows { min: Some(8), max: None },
        Some("check `rows(min 8)` does not hold: the table has 7 rows"),
    );
    check(
        CheckRule::Rows { min: None, max: Some(6) },
        Some("check `rows(max 6)` does not hold: the table has 7 rows"),
    );
    check(sql("select id from orders where id > 9"), None);
    check(
        sql("select customer, amount from orders left join customers on customer = name where \
                name is null and amount > $min order by 1"),
        Some(
            "check `sql(select customer, amount from orders left join customers on customer = \
                name where…)` does not hold: it gives 3 rows, for example \
                `customer = bob, amount = 2.0` and `customer = dan, amount = 1.0` and \
                `customer = joe, amount = 5.0`",
        ),
    );
}

#[test]
fn a_check_of_several_columns_speaks_of_each() {
    let (report, _) = run(vec![
        (not_null(&["id", "customer"]), OnFail::Stop),
        (unique(&["amount"]), OnFail::Stop),
        (CheckRule::Rows { min: Some(9), max: None }, OnFail::Warn),
    ])
    .expect("runs");
    let failure = report.failure.expect("fails");
    let parts: Vec<&str> = failure.split("; ").map(|p| p.split(':').next().unwrap_or(p)).collect();
    assert_eq!(
        parts,
        ["check `not_null(id)` does not hold", "check `not_null(customer)` does not hold"]
    );
    assert_eq!(report.warnings, ["check `rows(min 9)` does not hold: the table has 7 rows"]);
}

#[test]
fn quarantined_rows_leave_before_other_checks_look() {
    let (report, outputs) = run(vec![
        (condition("amount >= 0"), OnFail::Stop),
        (unique(&["id"]), OnFail::Quarantine),
        (not_null(&["id"]), OnFail::Quarantine),
        (condition("amount >= 0"), OnFail::Quarantine),
        (CheckRule::Rows { min: Some(5), max: None }, OnFail::Warn),
        (sql("select * from orders where id = 3 and customer is null"), OnFail::Stop),
    ])
    .expect("runs");
    assert_eq!(report.failure, None);
    assert_eq!(report.warnings, ["check `rows(min 5)` does not hold: the table has 2 rows"]);
    // `unique` looks last: the good row 3 does not go because of the bad one before it.
    assert_eq!(
        written(&outputs, "rejects"),
        "id | customer | amount | reason\n\
         2 | null | -3.0 | where(amount >= 0)\n\
         1 | bob | 2.0 | unique(id)\n\
         null | eve | null | not_null(id)\n\
         null | dan | 1.0 | not_null(id)\n\
         3 | null | -1.0 | where(amount >= 0)"
    );
    let expected = [("unique(id)", 1), ("not_null(id)", 2), ("where(amount >= 0)", 2)];
    assert_eq!(report.rejected, expected.map(|(name, rows)| (name.to_owned(), rows)));
    let survivors = report.survivors.expect("a table");
    assert_eq!(lines(survivors.as_ref()), "id | customer | amount\n1 | ann | 10.5\n3 | joe | 5.0");
    assert_eq!(survivors.rows(), 2);
    assert!(survivors.bytes() > 0 && survivors.bytes() < table(ORDERS).bytes());
}

#[test]
fn when_no_row_leaves_the_table_stays_as_it_is() {
    let (report, outputs) = run(vec![(condition("true"), OnFail::Quarantine)]).expect("runs");
    assert!(report.survivors.is_none());
    assert_eq!(report.rejected, [("where(true)".to_owned(), 0)]);
    assert_eq!(written(&outputs, "rejects"), "id | customer | amount | reason");
    let (report, outputs) = run(vec![]).expect("runs");
    assert!(report.failure.is_none() && report.warnings.is_empty());
    assert!(outputs.table("rejects").is_none());
}

#[test]
fn mistakes_name_the_check() {
    let error =
        |rule: CheckRule, on_fail: OnFail| run(vec![(rule, on_fail)]).expect_err("a mistake");
    assert_eq!(
        error(not_null(&["ID"]), OnFail::Stop),
        "`not_null` names the column `ID`, which the input does not have (check `not_null(ID)`); \
            did you mean `id`?"
    );
    assert_eq!(
        error(condition("amuont > 0"), OnFail::Warn),
        "there is no column `amuont` (check `where(amuont > 0)`, line 1, column 1); did you mean \
            `amount`?"
    );
    assert_eq!(
        error(sql("select 1 from order"), OnFail::Stop),
        "there is no table `order` (check `sql(select 1 from order)`, line 1, column 15); did you \
            mean `orders`?"
    );
    for rule in [CheckRule::Rows { min: Some(1), max: None }, sql("select 1")] {
        let error = error(rule, OnFail::Quarantine);
        assert!(
            error.ends_with(
                "names no rows that could be set aside; give it `on_fail: stop` or `on_fail: warn`"
            ),
            "{error}"
        );
    }
}

fn lines(table: &dyn Table) -> String {
    let batches = table.scan().expect("a scan").collect::<Result<Vec<_>, _>>().expect("rows");
    text(&table.schema(), &batches)
}
