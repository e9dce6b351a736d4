//! Expressions over the columns of one table.

use arrow::array::Array;
use serde_json::json;
use tidemill_sql::Engine;

use crate::support::{Binds, Home, binds, block_on, home, run, table, tables};

const ROWS: &str = r#"{"a": 1, "b": 2.5, "Name": " x "}
{"a": null, "b": -1.0, "Name": null}
{"a": 3, "b": null, "Name": "y"}"#;

/// The type of an expression and its values, or its error.
fn value(engine: &Engine, text: &str, binds: &Binds) -> String {
    let table = table(ROWS);
    let compiled = match engine.compile(text, &table.schema(), binds) {
        Ok(compiled) => compiled,
        Err(error) => return format!("error: {error}"),
    };
    let mut values = vec![compiled.data_type().to_string()];
    for batch in table.scan().expect("a scan") {
        let batch = batch.expect("rows");
        match compiled.eval(&batch) {
            Err(error) => return format!("error: {error}"),
            Ok(array) => {
                assert_eq!(array.len(), batch.num_rows());
                assert_eq!(array.data_type(), compiled.data_type());
                for i in 0..array.len() {
                    let text = arrow::util::display::array_value_to_string(&array, i);
                    values.push(if array.is_null(i) { "null".into() } else { text.expect("text") });
                }
            }
        }
    }
    values.join(" ")
}

fn check(text: &str, expected: &str) {
    let Home { engine, .. } = &home();
    let binds = binds([("n", json!(2)), ("at", json!({"$timestamp": 0})), ("who", json!("y"))]);
    assert_eq!(value(engine, text, &binds), expected, "{text}");
}

#[test]
fn values_and_types() {
    check("a", "Int64 1 null 3");
    check("a + $n", "Int64 3 null 5");
    check("a * b", "Float64 2.5 null null");
    check("upper(trim(Name))", "Utf8 X null Y");
    check("case when a is null then 'none' when Name = $who then 'y' end", "Utf8 null none y");
    check("7", "Int64 7 7 7");
    check("null", "Utf8 null null null");
    check("$at", "Timestamp(µs) 1970-01-01T00:00:00 1970-01-01T00:00:00 1970-01-01T00:00:00");
    check("now() > $at", "Boolean true true true");
    check("coalesce(a, 0) in (0, 1)", "Boolean true true false");
    check("normalize_email(Name || '@X')", "Utf8 null null y@x");
    check("a -- the number", "Int64 1 null 3");
}

#[test]
fn mistakes() {
    check("name", "error: there is no column `name` (line 1, column 1); did you mean `Name`?");
    check(
        "a + 'x' + true",
        "error: `int64 + string` cannot be computed; make a number of the text first: `cast(x as \
            double)`, or `try_cast(x as double)` for null where it is none",
    );
    check(
        "count(*)",
        "error: `count` cannot stand in an expression over one row; \
         compute it in an `sql` transform first",
    );
    check(
        "row_number() over (order by a) = 1",
        "error: `row_number` cannot stand in an expression over one row; \
         compute it in an `sql` transform first",
    );
    check(
        "a + 9223372036854775807",
        "error: a number is too large: 1 + 9223372036854775807; cast to a wider type first, for \
            example `cast(x as double)`",
    );
    check(
        "cast(trim(Name) as int)",
        "error: `x` cannot be read as int32; \
         `try_cast(x as …)` gives null for values that do not fit",
    );
}

#[test]
fn null_does_not_hold() {
    let home = home();
    let table = table(ROWS);
    let holds = |text: &str| {
        let compiled =
            home.engine.condition(text, &table.schema(), &binds([])).map_err(|e| e.to_string())?;
        let mut all = Vec::new();
        for batch in table.scan().expect("a scan") {
            let holds = compiled.eval_bool(&batch.expect("rows")).expect("a mask");
            assert_eq!(holds.null_count(), 0);
            all.extend(holds.values().iter());
        }
        Ok::<_, String>(all)
    };
    assert_eq!(holds("a > 0"), Ok(vec![true, false, true]));
    assert_eq!(holds("not a > 1"), Ok(vec![true, false, false]));
    assert_eq!(holds("null"), Ok(vec![false, false, false]));
    assert_eq!(holds("true"), Ok(vec![true, true, true]));
    assert_eq!(
        holds("a"),
        Err("`a` is no condition: it is an int64; compare it with something".to_owned())
    );
}

#[test]
fn an_expression_is_for_batches_of_its_schema() {
    let home = home();
    let compiled = home.engine.compile("a", &table(ROWS).schema(), &binds([])).expect("compiles");
    assert_eq!((compiled.text(), compiled.columns()), ("a", &[0][..]));
    let other = table("{\"a\": 1}");
    let batch = other.scan().expect("a scan").next().expect("a batch").expect("rows");
    let error = compiled.eval(&batch).expect_err("another schema");
    assert_eq!(error.to_string(), "`a` is for 3 columns, but the batch has 1");
}

/// The deepest trees that are allowed run; deeper ones are refused before they exhaust a stack.
#[test]
fn deep_trees() {
    const DEEP: &str = "the SQL is nested too deeply: more than 250 levels; \
                        `x in (…)` instead of many `or`, or name parts with `with`";
    let home = home();
    let tables = tables([("t", table(ROWS))]);
    let query = |sql: &str| {
        let rows = block_on(run(&home.engine, sql, &tables, &binds([])));
        rows.map(|(_, batches)| {
            batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>()
        })
        .map_err(|e| e.to_string())
    };
    let or = |n: usize| vec!["a = 1"; n].join(" or ");
    let plus = |n: usize| format!("a{}", " + a * 2".repeat(n));
    for text in [or(240), plus(50)] {
        assert_eq!(value(&home.engine, &text, &binds([])).split(' ').count(), 4, "{text}");
        assert_eq!(query(&format!("select {text} as x from t")), Ok(3));
    }
    assert_eq!(query(&vec!["select 1 as x"; 200].join(" union all ")), Ok(200));
    let joins: Vec<String> = (0..40).map(|i| format!("join t t{i} on t.a = t{i}.a")).collect();
    assert_eq!(query(&format!("select 1 as x from t {}", joins.join(" "))), Ok(2));
    for text in [or(300), or(6_000), plus(6_000)] {
        assert_eq!(value(&home.engine, &text, &binds([])), format!("error: {DEEP}"));
        assert_eq!(query(&format!("select {text} as x from t")), Err(DEEP.to_owned()));
    }
    assert_eq!(query(&vec!["select 1 as x"; 3_000].join(" union all ")), Err(DEEP.to_owned()));
    assert_eq!(
        query(&format!("select 1 from t{}", " cross join t".repeat(5_000))),
        Err(DEEP.to_owned())
    );
}
