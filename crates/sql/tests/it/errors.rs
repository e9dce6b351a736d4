//! What goes wrong, in words.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use tidemill_connector::ErrorKind;

use crate::support::{answer, binds, block_on, home, table, tables};

fn check(sql: &str, expected: &str) {
    let orders = "{\"id\": 1, \"Amount\": 10.5, \"name\": \"x\", \"big\": 9223372036854775807}";
    let tables = tables([("orders", table(orders)), ("customers", table("{\"id\": 1}"))]);
    assert_eq!(answer(sql, &tables, &binds([])), format!("error: {expected}"), "{sql}");
}

#[test]
fn names() {
    check(
        "select amount from orders",
        "`orders` has no column `amount` (line 1, column 8); did you mean `Amount`?",
    );
    check(
        "select o.nmae from orders o",
        "`o` has no column `nmae` (line 1, column 8); did you mean `name`?",
    );
    check(
        "select zzz from orders",
        "`orders` has no column `zzz` (line 1, column 8); it has: id, Amount, name, big",
    );
    check(
        "select zzz from orders, customers",
        "none of `orders`, `customers` has a column `zzz` (line 1, column 8); it has: id, Amount, \
            name, big, id",
    );
    check(
        "select id from orders, customers",
        "the column `id` is in more than one table (line 1, column 8); write its table before it, \
            as in `t.id`",
    );
    check(
        "select x.id from orders",
        "there is no table `x` in reach of `x.id` (line 1, column 8); in reach are: orders",
    );
    check(
        "select 1 from\n ordres",
        "there is no table `ordres` (line 2, column 2); did you mean `orders`?",
    );
    check(
        "select 1 from elsewhere",
        "there is no table `elsewhere` (line 1, column 15); this query may read: customers, orders",
    );
    check(
        "select uper(name) from orders",
        "there is no function `uper` (line 1, column 8); did you mean `upper`?",
    );
    check(
        "select orders.id, customers.id from orders, customers",
        "the query gives two columns named `id`; give one of them another name with `as`",
    );
}

#[test]
fn two_columns_of_one_name() {
    let twice = |name: &str, first, second| {
        format!(
            "the query gives two columns named `{name}` (columns {first} and {second} of the \
             query); give one of them another name with `as`"
        )
    };
    check("select id, id from orders", &twice("id", 1, 2));
    check("select name, id, big, id from orders", &twice("id", 2, 4));
    check("select id + 1, id + 1 from orders", &twice("orders.id + 1", 1, 2));
    check("select 1 as a, 2 as a", &twice("a", 1, 2));
}

#[test]
fn types() {
    check(
        "select name + 1 from orders",
        "`string + int64` cannot be computed (line 1, column 8); make a number of the text first: \
            `cast(x as double)`, or `try_cast(x as double)` for null where it is none",
    );
    check(
        "select name / 0 as n from orders",
        "`string / int64` cannot be computed (line 1, column 8); make a number of the text first: \
            `cast(x as double)`, or `try_cast(x as double)` for null where it is none",
    );
    check(
        "select id from orders where id = [1]",
        "`int64 = List(int64)` cannot be compared; cast one side to the type of the other, as in \
            `cast(x as double)`",
    );
    check(
        "select upper(1, 2) from orders",
        "`upper` does not take (int64, int64); it is `upper(string)`",
    );
    check(
        "select sum(name) from orders",
        "`sum` does not take (string); it is `sum(decimal)` or `sum(uint64)` or `sum(int64)`",
    );
    check(
        "select id from orders where name",
        "`orders.name` is no condition: it is a string; compare it with something",
    );
    check(
        "select name from orders group by id",
        "`orders.name` is neither grouped by nor aggregated (line 1, column 8); add it to `group \
            by`, or take one value of it, as in `min(orders.name)`",
    );
}

#[test]
fn values() {
    const WIDER: &str = "; cast to a wider type first, for example `cast(x as double)`";
    const MAX: &str = "9223372036854775807";
    const HELP: &str = "; `try_cast(x as …)` gives null for values that do not fit";
    check(
        "select cast(name as int) as n from orders",
        &format!("`x` cannot be read as int32{HELP}"),
    );
    check(
        "select cast(name as timestamp) as n from orders",
        &format!("`x` cannot be read as timestamp{HELP}"),
    );
    check(
        "select cast(name as double) as n from orders",
        &format!("`x` cannot be read as float64{HELP}"),
    );
    check(
        "select cast(name as date) as n from orders",
        &format!("`x` cannot be read as date{HELP}"),
    );
    check(
        "select 1 / (id - 1) as n from orders",
        "a number is divided by zero; `x / nullif(y, 0)` gives null instead",
    );
    check("select big + id as n from orders", &format!("a number is too large: {MAX} + 1{WIDER}"));
    check(
        "select -big - 2 * id as n from orders",
        &format!("a number is too large: -{MAX} - 2{WIDER}"),
    );
    check(
        "select id from orders where big * 2 > 0",
        &format!("a number is too large: {MAX} * 2{WIDER}"),
    );
    check(
        "select sum(v) as s from (select big as v from orders union all select big from orders)",
        &format!("a number is too large: sum{WIDER}"),
    );
    check(
        "select id, sum(v) as s from (select id, big as v from orders union all select id, big \
            from orders) group by id",
        &format!("a number is too large: sum{WIDER}"),
    );
    check(
        "select (select id from orders union all select 2) as n from orders",
        "scalar subquery returned more than one row",
    );
    check(
        "select regexp_like(name, '(') as n from orders",
        "a regular expression does not parse: unclosed group",
    );
    check(
        "select regexp_like(name, '(((a{1,100}){1,100}){1,100}){1,100}') as n from orders",
        "a regular expression is too large; \
         use smaller numbers of repetitions in it, and nest them less",
    );
    check(
        "select to_char(timestamp '2026-01-01', '%Q') as n from orders",
        "a format of times does not parse; write it as in `%Y-%m-%d %H:%M:%S`",
    );
    check(
        "select timestamp '2026-01-01' at time zone 'Mars/Phobos' as n from orders",
        "there is no time zone `Mars/Phobos`; write it as in `Europe/Berlin` or `+02:00`",
    );
    check(
        "select array_resize([1], id - 5) as n from orders",
        "`array_resize` cannot make a list of -4 elements; give it a size of 0 or more",
    );
}

#[test]
fn a_plan_finds_them_too() {
    let home = home();
    let schemas: IndexMap<_, _> =
        [("orders".to_owned(), table("{\"id\": 1, \"amount\": 2.5}").schema())].into();
    let check = |sql: &str, expected: &str| {
        let text = match block_on(home.engine.describe(sql, &schemas, &BTreeMap::new())) {
            Ok(schema) => {
                let fields = schema.schema.fields().iter();
                fields
                    .map(|f| format!("{}: {}", f.name(), f.data_type()))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{sql}");
    };
    check(
        "select id, count(*) as n, sum(amount) as s, max(now()) as t, 'x' as x, null as z from \
            orders group by id",
        "id: Int64, n: Int64, s: Float64, t: Timestamp(µs), x: Utf8, z: Utf8",
    );
    check(
        "select idd from orders",
        "`orders` has no column `idd` (line 1, column 8); did you mean `id`?",
    );
    check(
        "select id + 'a' from orders",
        "`int64 + string` cannot be computed (line 1, column 8); make a number of the text first: \
            `cast(x as double)`, or `try_cast(x as double)` for null where it is none",
    );
}

#[test]
fn kinds_decide_what_happens_next() {
    let home = home();
    let tables = tables([("t", table("{\"a\": \"x\"}"))]);
    let kind = |sql: &str| {
        let run = block_on(crate::support::run(&home.engine, sql, &tables, &binds([])));
        run.expect_err("fails").kind
    };
    assert_eq!(kind("select b from t"), ErrorKind::Misconfigured);
    assert_eq!(kind("select from"), ErrorKind::Misconfigured);
    assert_eq!(kind("select cast(a as int) from t"), ErrorKind::Data);
}
