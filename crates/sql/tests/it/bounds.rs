//! Functions that would make more than a query may hold.

use tidemill_connector::ErrorKind;

use crate::support::{MIB, Tables, binds, block_on, engine_with, run, table, tables};

/// Runs a query that may use 64 MiB.
fn small(sql: &str, tables: &Tables) -> Result<(), tidemill_connector::ConnectorError> {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = engine_with(64 * MIB, 2, folder.path());
    block_on(run(&engine, sql, tables, &binds([]))).map(|_| ())
}

fn refused(function: &str, expression: &str) {
    let tables = tables([("t", table("{\"a\": \"aaaa\", \"n\": 2000000000, \"l\": [1, 2, 3]}"))]);
    for sql in [
        format!("select {expression} as x from t"),
        format!("select count(*) as n from t where cast({expression} as string) = 'b'"),
    ] {
        let error = small(&sql, &tables).expect_err(&sql);
        let text = error.to_string();
        assert!(text.starts_with(&format!("`{function}` would make ")), "{sql}: {text}");
        assert!(text.ends_with("make smaller values, or raise --sql-memory"), "{sql}: {text}");
        assert_eq!(error.kind, ErrorKind::Data, "{sql}");
    }
}

#[test]
fn functions_that_multiply_say_how_large_their_result_would_be() {
    for (function, expression) in [
        ("repeat", "repeat('a', 2000000000)"),
        ("repeat", "repeat(a, 2000000000)"),
        ("repeat", "repeat('a', n)"),
        ("repeat", "repeat(repeat('a', 100000), 100000)"),
        ("repeat", "repeat(repeat(a, 100000), 100000)"),
        ("lpad", "lpad('a', 2000000000)"),
        ("lpad", "lpad(a, n, 'xy')"),
        ("rpad", "rpad(a, 2000000000)"),
        ("replace", "replace(repeat(a, 10000), 'a', repeat('b', 10000))"),
        ("replace", "replace(repeat(a, 10000), '', repeat('b', 10000))"),
        ("regexp_replace", "regexp_replace(repeat(a, 10000), 'a', repeat('b', 10000), 'g')"),
        ("regexp_replace", "regexp_replace(repeat(a, 1000000), '(a+)', repeat('\\1', 1000), 'g')"),
        ("concat", "concat(repeat(a, 6000000), repeat('b', 24000000))"),
        ("concat_ws", "concat_ws(repeat('b', 40000000), a, a, a)"),
        ("||", "repeat(a, 6000000) || repeat('b', 24000000)"),
        ("overlay", "overlay(repeat(a, 6000000) placing repeat('b', 24000000) from 2)"),
        ("to_char", "to_char(timestamp '2026-01-01', repeat('%Y', 3000000))"),
        ("range", "array_length(range(0, n))"),
        ("range", "array_length(range(0, 1000000000))"),
        ("range", "array_length(range(n, 0, -1))"),
        ("generate_series", "array_length(generate_series(1, 1000000000000))"),
        (
            "generate_series",
            "array_length(generate_series(timestamp '2020-01-01', timestamp '2026-01-01', \
             interval '1 microsecond'))",
        ),
        (
            "range",
            "array_length(range(date '0001-01-01', date '9999-01-01', interval '1 nanosecond'))",
        ),
        ("array_repeat", "array_length(array_repeat(a, n))"),
        ("array_repeat", "array_length(array_repeat(array_repeat(1, 100000), 100000))"),
        ("array_resize", "array_length(array_resize(l, n, 0))"),
        ("array_to_string", "array_to_string(range(0, 10000), repeat('b', 10000))"),
        (
            "array_replace_all",
            "array_length(array_replace_all(array_repeat('a', 10000), 'a', repeat('b', 10000)))",
        ),
        ("array_concat", "array_length(array_concat(range(0, 4500000), range(1, 4500000), l))"),
    ] {
        refused(function, expression);
    }
}

#[test]
fn constants_are_bounded_with_the_rows_that_they_stand_in() {
    let sql = "select repeat('a', 1000000) as x from generate_series(1, 1000)";
    let error = small(sql, &tables([])).expect_err("too much");
    assert_eq!(
        error.to_string(),
        "a constant of 977 KiB in 1000 rows at once takes 954 MiB; a query may make 64 MiB; \
         make smaller values, or raise --sql-memory"
    );
    small("select repeat('a', 1000000) as x from generate_series(1, 10)", &tables([]))
        .expect("fits");
}

#[test]
fn what_is_made_is_counted_only_while_it_is_held() {
    // 400 MB in all, a MB or so at a time.
    let sql = "select sum(length(repeat('abcd', value % 100))) as n \
        from generate_series(1, 2000000)";
    small(sql, &tables([])).expect("runs");
    let sql = "select count(*) as n from (select repeat(cast(value as string), 10000) as x \
        from generate_series(1, 5000)) where x like '1%'";
    small(sql, &tables([])).expect("runs");
}

#[test]
fn functions_of_one_query_share_what_it_may_make() {
    let columns: Vec<String> =
        (1..=10).map(|n| format!("repeat(t.a, {}) as c{n}", 4_000_000 + n)).collect();
    let sql = format!("select {} from t", columns.join(", "));
    let error = small(&sql, &tables([("t", table("{\"a\": \"aaaa\"}"))])).expect_err("too much");
    assert_eq!(
        error.to_string(),
        "`repeat` would make 16 MiB at once; a query may make 64 MiB (beside 62 MiB that it \
         holds already); make smaller values, or raise --sql-memory"
    );
}

#[test]
fn lists_become_rows_in_portions() {
    // 20 million rows of 100 bytes, of which a few are made at a time.
    let sql = "select count(*) as n, min(t) as t from (select repeat('x', 100) || a as t, \
        unnest(range(0, 20000)) as i from (select cast(value as string) as a \
        from generate_series(1, 300)))";
    small(sql, &tables([])).expect("runs");
    let sql = "select count(t) as n from (select repeat('x', 100000) || a as t, \
        unnest(range(0, 1000000)) as i from t)";
    let error = small(sql, &tables([("t", table("{\"a\": \"aaaa\"}"))])).expect_err("too much");
    assert!(error.to_string().starts_with("`unnest` would make "), "{error}");
}

#[test]
fn growing_aggregates_are_bounded_as_windows() {
    for (function, expression) in [
        ("string_agg", "string_agg(cast(value as string), ',')"),
        ("array_agg", "array_agg(value)"),
    ] {
        let sql = format!(
            "select {expression} over (order by value) as x from generate_series(1, 50000)"
        );
        let error = small(&sql, &tables([])).expect_err("too much").to_string();
        assert!(error.starts_with(&format!("`{function}` would make 65 MiB at once; ")), "{error}");
    }
    let sql = "select string_agg('x', repeat(',', 100000)) as x from generate_series(1, 1000)";
    assert_eq!(
        small(sql, &tables([])).expect_err("too long").to_string(),
        "the separator of `string_agg` has 98 KiB; at most 64 are allowed; write a shorter one"
    );
}

#[test]
fn windows_over_all_rows_count_what_they_gather() {
    let window = |rows: usize| {
        format!("select value, sum(value) over () as s from generate_series(1, {rows})")
    };
    small(&window(1_000_000), &tables([])).expect("fits");
    assert_eq!(
        small(&window(6_000_000), &tables([])).expect_err("too much").to_string(),
        "the query needs more than the 64 MiB it may use; \
         raise --sql-memory, or filter and aggregate earlier"
    );
}

#[test]
fn expressions_over_rows_are_bounded_too() {
    let home = crate::support::home();
    let input = table("{\"a\": \"aaaa\"}");
    let mut batches = input.scan().expect("rows");
    let batch = batches.next().expect("a batch").expect("rows");
    let eval = |text: &str| {
        let compiled = home.engine.compile(text, &input.schema(), &binds([])).expect("compiles");
        compiled.eval(&batch).map(|array| array.len()).map_err(|e| e.to_string())
    };
    assert_eq!(eval("repeat(a, 1000)"), Ok(1));
    assert_eq!(
        eval("a || repeat(a, 100000000)"),
        Err("`repeat` would make 382 MiB at once; a query may make 256 MiB; \
             make smaller values, or raise --sql-memory"
            .to_owned())
    );
}
