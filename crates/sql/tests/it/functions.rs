//! Our own functions.

use tidemill_sql::FUNCTIONS;

use crate::support::{answer, binds, table, tables};

fn check(sql: &str, expected: &str) {
    let lines = "{\"t\": \"abc\", \"n\": 12346, \"key\": \"k1\"}\n\
                 {\"t\": null, \"n\": null, \"key\": \"k2\"}\n\
                 {\"t\": \"abc\", \"n\": 12346, \"key\": \"k2\"}";
    let answer =
        answer(&format!("select {sql} as x from t"), &tables([("t", table(lines))]), &binds([]));
    assert_eq!(answer, expected, "{sql}");
}

#[test]
fn every_example_of_the_reference_gives_what_it_says() {
    for function in FUNCTIONS {
        let sql = format!("select {} as x", function.example);
        let expected = format!("x\n{}", function.gives);
        assert_eq!(answer(&sql, &tables([]), &binds([])), expected, "{}", function.name);
        assert!(function.signature.starts_with(&format!("{}(", function.name)));
        assert!(function.doc.ends_with('.'));
    }
}

#[test]
fn nulls_give_null_and_columns_differ_by_row() {
    check(
        "sha256(t)",
        "x\nba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nnull\n\
         ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    check("pseudonymize(t, 'key') = pseudonymize('abc', 'key')", "x\ntrue\nnull\ntrue");
    check("pseudonymize(t, key) = pseudonymize(t, 'k1')", "x\ntrue\nnull\nfalse");
    check("pseudonymize(n, 'key') = pseudonymize('12346', 'key')", "x\ntrue\nnull\ntrue");
    check("normalize_email(t || '@X.test')", "x\nabc@x.test\nnull\nabc@x.test");
    check("json_get('{\"abc\": 1}', t)", "x\n1\nnull\n1");
}

#[test]
fn decayed_sums_are_read_at_any_moment() {
    // 16 weights of a half life ago and 1 of now.
    check(
        "decay_at(forward_decay('2026-01-01', '2025-12-01', 14) * 16 \
         + forward_decay('2026-01-15', '2025-12-01', 14), '2026-01-15', '2025-12-01', 14)",
        "x\n9.0\n9.0\n9.0",
    );
    check("forward_decay(date '2026-01-15', timestamp '2026-01-01', 14)", "x\n2.0\n2.0\n2.0");
    check("forward_decay('2025-12-18', '2026-01-01', 14)", "x\n0.5\n0.5\n0.5");
    check("decay_at(null, '2026-01-15', '2025-12-01', 14)", "x\nnull\nnull\nnull");
}

#[test]
fn wrong_arguments_are_errors() {
    check(
        "pseudonymize(t)",
        "error: `pseudonymize` does not take (string); \
         it is `pseudonymize(text, key text) → text`",
    );
    check(
        "forward_decay(1, 2, 3)",
        "error: `forward_decay` does not take (int64, int64, int64); it is \
         `forward_decay(ts timestamp, landmark timestamp, half_life_days number) → float64`",
    );
    check(
        "pseudonymize(t, '')",
        "error: the key of `pseudonymize` is empty; \
         bind one from a secret, at least 16 characters long",
    );
    check(
        "forward_decay('2026-01-01', '2025-12-01', 0)",
        "error: a half life must be more than 0 days, not 0",
    );
    check(
        "forward_decay('2026-01-01', '1970-01-01', 1)",
        "error: a result of `forward_decay` is too large: \
         the landmark is too many half lives away",
    );
    check(
        "json_get(t, 'a..b')",
        "error: `a..b` is no path into JSON; write it as in `customer.emails[0]` or `[\"a.b\"].c`",
    );
}
