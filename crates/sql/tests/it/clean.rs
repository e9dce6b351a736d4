//! The transform `clean`.

use serde_json::{Value, json};
use tidemill_connector::{Beforehand, MemoryOutputs};
use tidemill_sql::{CleanConfig, transforms};

use crate::support::{Binds, binds, block_on, context, home, table, tables, written};

const RAW: &str = r#"{"invoice": "536365", "sku": " 85123a ", "qty": "6", "customer": "17850"}
{"invoice": "536365", "sku": " 85123a ", "qty": "6", "customer": "17850"}
{"invoice": "C536379", "sku": "D", "qty": "-1", "customer": null}
{"invoice": "536365", "sku": "71053", "qty": "6", "customer": "17850"}
{"invoice": "C536391", "sku": "22556", "qty": "-12", "customer": "17548"}
{"invoice": "C536379", "sku": "D", "qty": "-1", "customer": null}
{"invoice": "536414", "sku": "22139", "qty": "0", "customer": "1"}
{"invoice": null, "sku": "22139", "qty": "5", "customer": "2"}"#;

fn run(config: &Value, binds: Binds) -> Result<MemoryOutputs, String> {
    let home = home();
    let (cx, outputs) = context(tables([("raw", table(RAW))]), binds);
    let clean = &transforms(home.engine.clone())[1];
    block_on(clean.run_any(config.clone(), cx)).map(|()| outputs).map_err(|e| e.to_string())
}

fn check(config: &Value, good: &str, rejects: &str, duplicates: &str) {
    let outputs = run(config, binds([])).expect("runs");
    assert_eq!(written(&outputs, ""), good);
    assert_eq!(written(&outputs, "rejects"), rejects);
    assert_eq!(written(&outputs, "duplicates"), duplicates);
    let counts = outputs.counts().expect("counts");
    let lines = |text: &str| text.lines().count() as u64 - 1;
    assert_eq!(counts.rows_in, 8);
    assert_eq!(counts.rows_out, lines(good));
    assert_eq!(counts.duplicates, lines(duplicates));
    assert_eq!(counts.rejected_total(), lines(rejects));
    assert_eq!(counts.rows_in, counts.rows_out + counts.duplicates + counts.rejected_total());
}

#[test]
fn repeated_rows_leave_first_then_the_first_reason_counts() {
    let config = json!({
        "from": "raw",
        "dedupe": "all",
        "reject": [
            {"reason": "no_customer", "where": "customer is null"},
            {"reason": "non_product", "where": "not upper(trim(sku)) ~ '^[0-9]{5}[A-Z]*$'"},
            {"reason": "return", "where": "starts_with(invoice, 'C')"},
            {"reason": "bad_quantity", "where": "cast(qty as bigint) <= 0"},
            {"reason": "never", "where": "false"},
        ],
        "columns": {
            "customer_id": "cast(customer as bigint)",
            "item": "upper(trim(sku))",
            "qty": "cast(qty as bigint)",
        },
    });
    check(
        &config,
        "customer_id | item | qty\n17850 | 85123A | 6\n17850 | 71053 | 6\n2 | 22139 | 5",
        "invoice | sku | qty | customer | reason\n\
         C536379 | D | -1 | null | no_customer\n\
         C536391 | 22556 | -12 | 17548 | return\n\
         536414 | 22139 | 0 | 1 | bad_quantity",
        "invoice | sku | qty | customer\n\
         536365 |  85123a  | 6 | 17850\n\
         C536379 | D | -1 | null",
    );
    let rejected = run(&config, binds([])).expect("runs").counts().expect("counts").rejected;
    let expected =
        [("no_customer", 1), ("non_product", 0), ("return", 1), ("bad_quantity", 1), ("never", 0)];
    assert_eq!(rejected, expected.map(|(reason, rows)| (reason.to_owned(), rows)));
}

#[test]
fn without_settings_rows_go_through() {
    let all = written(&run(&json!({"from": "raw"}), binds([])).expect("runs"), "");
    check(
        &json!({"from": "raw"}),
        &all,
        "invoice | sku | qty | customer | reason",
        "invoice | sku | qty | customer",
    );
    assert_eq!(all.lines().count(), 9);
}

#[test]
fn some_columns_make_rows_equal_and_nulls_are_equal() {
    check(
        &json!({"from": "raw", "dedupe": ["customer"], "columns": {"c": "customer"}}),
        "c\n17850\nnull\n17548\n1\n2",
        "invoice | sku | qty | customer | reason",
        "invoice | sku | qty | customer\n\
         536365 |  85123a  | 6 | 17850\n\
         536365 | 71053 | 6 | 17850\n\
         C536379 | D | -1 | null",
    );
}

#[test]
fn a_null_condition_does_not_hold_and_later_ones_see_only_what_is_left() {
    // `cast` would fail on `D`, which the first condition takes away.
    let config = json!({
        "from": "raw",
        "reject": [
            {"reason": "text", "where": "not sku ~ '^[0-9]+$'"},
            {"reason": "even", "where": "cast(sku as bigint) % 2 = 0"},
            {"reason": "return", "where": "invoice like 'C%'"},
            {"reason": "return", "where": "invoice = '536414'"},
        ],
        "columns": {"sku": "sku"},
    });
    let outputs = run(&config, binds([])).expect("runs");
    assert_eq!(written(&outputs, ""), "sku\n71053\n22139");
    let counts = outputs.counts().expect("counts");
    assert_eq!(
        counts.rejected,
        [("text".to_owned(), 4), ("even".to_owned(), 1), ("return".to_owned(), 1)]
    );
}

#[test]
fn parameters_and_mistakes() {
    let config = json!({"from": "raw", "reject": [{"reason": "other", "where": "customer <> \
        $who"}], "columns": {"c": "$who"}});
    let outputs = run(&config, binds([("who", json!("17850"))])).expect("runs");
    assert_eq!(written(&outputs, ""), "c\n17850\n17850\n17850\n17850\n17850");

    let error = |config: Value| run(&config, binds([])).expect_err("a mistake");
    assert_eq!(error(json!({"from": "row"})), "there is no table `row`; this task reads: raw");
    assert_eq!(
        error(json!({"from": "raw", "dedupe": ["Customer"]})),
        "`dedupe` names the column `Customer`, which the input does not have; did you mean \
            `customer`?"
    );
    assert_eq!(
        error(json!({"from": "raw", "reject": [{"reason": "bad", "where": "qyt = '1'"}]})),
        "there is no column `qyt` (reject `bad`, line 1, column 1); did you mean `qty`?"
    );
    assert_eq!(
        error(json!({"from": "raw", "reject": [{"reason": "bad", "where": "qty"}]})),
        "`qty` is no condition: it is a string (reject `bad`); compare it with something"
    );
    assert_eq!(
        error(json!({"from": "raw", "columns": {"n": "sum(qty)"}})),
        "`sum` cannot stand in an expression over one row (column `n`); \
         compute it in an `sql` transform first"
    );
    assert_eq!(
        error(json!({"from": "raw", "columns": {"n": "cast(sku as bigint)"}})),
        "` 85123a ` cannot be read as int64 (column `n`); \
         `try_cast(x as …)` gives null for values that do not fit"
    );
    assert_eq!(
        error(json!({"from": "raw", "reject": [{"reason": "bad", "where": "qty = $who"}]})),
        "there is no value for `$who` (reject `bad`, line 1, column 7); \
         give it in `bind:` or as a param"
    );
}

#[test]
fn a_column_named_reason_is_in_the_way_only_of_reasons() {
    let home = home();
    let input = || tables([("t", table("{\"reason\": \"x\"}"))]);
    let clean = &transforms(home.engine.clone())[1];
    let (cx, outputs) = context(input(), binds([]));
    block_on(clean.run_any(json!({"from": "t"}), cx)).expect("runs");
    assert_eq!(written(&outputs, "rejects"), "reason");
    let (cx, _) = context(input(), binds([]));
    let config = json!({"from": "t", "reject": [{"reason": "bad", "where": "true"}]});
    let error = block_on(clean.run_any(config, cx)).expect_err("in the way");
    assert_eq!(
        error.to_string(),
        "rows cannot be set aside with a reason: they have a column `reason` already; \
         give that column another name first"
    );
}

#[test]
fn the_example_parses() {
    let home = home();
    let example: Value =
        serde_yaml::from_str(transforms(home.engine.clone())[1].example()).expect("YAML");
    let config: CleanConfig =
        tidemill_connector::config::parse("transform", "clean", example).expect("settings");
    assert_eq!(config.reject.len(), 2);
}

#[test]
fn lineage_is_known_before_anything_runs() {
    let home = home();
    let clean = &transforms(home.engine.clone())[1];
    let tables = [("raw".to_owned(), table(RAW).schema())].into_iter().collect();
    let (binds, folder) = (binds([]), std::path::Path::new("."));
    let before = Beforehand { tables: &tables, binds: &binds, folder };
    let check = |config: Value, table: &str, expected: &str| {
        let told = block_on(clean.describe_any(config, before)).expect("told");
        let lineage = &told.lineage[table];
        let rows = ("*".to_owned(), lineage.rows.clone());
        let text: Vec<String> = (lineage.columns.clone().into_iter().chain([rows]))
            .map(|(name, origins)| {
                let from: Vec<String> = (origins.iter())
                    .map(|(from, ways)| format!("{}.{} {ways:?}", from.table, from.column))
                    .collect();
                format!("{name}: {}", from.join(", "))
            })
            .collect();
        assert_eq!(text.join("; "), expected);
    };
    let config = json!({
        "from": "raw",
        "dedupe": ["invoice"],
        "reject": [{"reason": "empty", "where": "qty is null"}],
        "columns": {"n": "cast(qty as bigint) * 2", "sku": "sku", "one": "1"},
    });
    check(
        config.clone(),
        "",
        "n: raw.qty {Transformation}; sku: raw.sku {Identity}; one: ; \
         *: raw.invoice {Filter}, raw.qty {Filter}",
    );
    check(
        config,
        "rejects",
        "invoice: raw.invoice {Identity}; sku: raw.sku {Identity}; qty: raw.qty {Identity}; \
         customer: raw.customer {Identity}; reason: raw.invoice {Filter}, raw.qty {Filter}; *: ",
    );
}
