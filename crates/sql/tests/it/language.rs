//! The SQL that pipelines need, and what it means here.

use serde_json::json;

use crate::support::{answer, binds, table, tables};

fn check(sql: &str, expected: &str) {
    let orders = "{\"id\": 1, \"who\": \"ann\", \"amount\": 10.5, \"at\": \
        \"2026-03-01T10:00:00\"}\n\
                  {\"id\": 2, \"who\": \"bob\", \"amount\": -3.0, \"at\": \
                      \"2026-03-02T10:30:00\"}\n\
                  {\"id\": 3, \"who\": \"ann\", \"amount\": 4.5, \"at\": \"2026-03-02T12:00:00\"}\n\
                  {\"id\": 4, \"who\": null, \"amount\": null, \"at\": null}";
    let rejects = "{\"id\": 9, \"reason\": \"bad\"}";
    let cased = "{\"CustomerID\": 17, \"customerid\": 18}";
    let tables = tables([
        ("orders", table(orders)),
        ("orders.rejects", table(rejects)),
        ("run_tasks", table("{\"task\": \"orders\", \"rows_out\": 4}")),
        ("Cased", table(cased)),
    ]);
    let binds = binds([
        ("who", json!("ann")),
        ("n", json!(2)),
        ("x", json!(0.5)),
        ("evil", json!("' or 1 = 1 --")),
        ("from", json!({"$timestamp": 1_772_409_600_000_000_i64})),
        ("day", json!({"$date": "2026-03-02"})),
        ("nothing", json!(null)),
    ]);
    assert_eq!(answer(sql, &tables, &binds), expected, "{sql}");
}

#[test]
fn names_of_tables_may_hold_a_dot() {
    check("select id from orders.rejects", "id\n9");
    check("select rejects.reason from orders.rejects", "reason\nbad");
    check("select orders.rejects.reason from orders.rejects", "reason\nbad");
    check("select r.id + o.id as s from orders o join orders.rejects r on o.id = 1", "s\n10");
    check("select rows_out from run_tasks", "rows_out\n4");
    check("with orders as (select 7 as id) select id from orders", "id\n7");
    check("with orders as (select id from orders where id < 2) select * from orders", "id\n1");
}

#[test]
fn names_keep_their_case_and_words_of_sql_do_not_mind() {
    check("SELECT CustomerID, customerid FROM Cased", "CustomerID | customerid\n17 | 18");
    check("Select Upper('a') As u, COUNT(*) as n From Cased", "u | n\nA | 1");
    check(
        "select o.Id from orders o",
        "error: `o` has no column `Id` (line 1, column 8); did you mean `id`?",
    );
}

#[test]
fn parameters_have_types() {
    check("select id from orders where who = $who", "id\n1\n3");
    check("select id from orders where who = $evil", "id");
    check("select id from orders where id = $n or amount > $x * 10", "id\n1\n2");
    check("select id from orders limit $n", "id\n1\n2");
    check(
        "select $from as f, $day as d, $nothing as z",
        "f | d | z\n2026-03-02T00:00:00 | 2026-03-02 | null",
    );
    check("select id from orders where cast(at as timestamp) >= $from", "id\n2\n3");
    check("select $x + $n as s", "s\n2.5");
    check("select date_trunc('day', $from) = $day as same", "same\ntrue");
}

#[test]
fn windows_and_aggregates() {
    check(
        "select id, rank() over (order by who) - 1 as r, row_number() over (order by id desc) as \
            n, \
         1 + floor(5 * (rank() over (order by who) - 1) / count(*) over ()) as q \
         from orders where who is not null order by id",
        "id | r | n | q\n1 | 0 | 3 | 1.0\n2 | 2 | 2 | 4.0\n3 | 0 | 1 | 1.0",
    );
    check(
        "select who, count(distinct id) as n, sum(amount) as s, array_agg(id order by id desc) as \
            ids, \
         string_agg(cast(id as varchar), '+' order by id) as t \
         from orders group by who order by who",
        "who | n | s | ids | t\nann | 2 | 15.0 | [3, 1] | 1+3\nbob | 1 | -3.0 | [2] | 2\nnull | 1 \
            | null | [4] | 4",
    );
    check(
        "select id from orders qualify row_number() over (partition by who order by id) = 1",
        "id\n1\n2\n4",
    );
    check(
        "select count(*) filter (where amount > 0) as n, avg(amount) as a, median(amount) as m \
            from orders",
        "n | a | m\n2 | 4.0 | 4.5",
    );
    check("select distinct who from orders order by 1", "who\nann\nbob\nnull");
    check(
        "select who, sum(amount) as s from orders group by all having sum(amount) > 0",
        "who | s\nann | 15.0",
    );
    check(
        "select id, sum(id) over (order by id rows between 1 preceding and current row) as s, \
            sum(distinct id) over () as d from orders order by id",
        "id | s | d\n1 | 1 | 10\n2 | 3 | 10\n3 | 5 | 10\n4 | 7 | 10",
    );
    check(
        "select first_value(id order by id desc) as f, bool_or(id = 1) as b, max(at) as m from \
            orders",
        "f | b | m\n4 | true | 2026-03-02T12:00:00",
    );
}

#[test]
fn text_time_and_numbers() {
    check(
        "select upper(trim(' a ')) as u, split_part('a-b', '-', 2) as s, 'B1' ~ '^[A-Z][0-9]$' as \
            m, regexp_like('x', '^y') as l, regexp_replace('a1b2', '[0-9]', '', 'g') as r",
        "u | s | m | l | r\nA | b | true | false | ab",
    );
    check(
        "select coalesce(null, 2) as c, nullif(1, 1) as z, case when 1 > 2 then 'a' else 'b' end \
            as k, greatest(1, 3) as g",
        "c | z | k | g\n2 | null | b | 3",
    );
    check(
        "select floor(2.7) as f, round(2.345, 2) as r, power(2, 3) as p, exp(0) as e, abs(-2) as \
            a, 7 % 3 as m, 7 / 2 as i, 7 / 2.0 as d",
        "f | r | p | e | a | m | i | d\n2.0 | 2.35 | 8.0 | 1.0 | 2 | 1 | 3 | 3.5",
    );
    check(
        "select cast('1.10' as decimal(10,2)) * 3 as d, sum(cast(amount as decimal(10,3))) as s \
            from orders group by 1",
        "d | s\n3.30 | 12.000",
    );
    check(
        "select date_trunc('month', timestamp '2026-03-15T10:00:00') as m, \
            to_timestamp('2026-03-01T00:00:00Z') as t, cast('2026-03-01' as date) as d, \
            extract(epoch from timestamp '2026-01-02' - timestamp '2026-01-01') as e, \
            date_part('day', date '2026-03-05') as p",
        "m | t | d | e | p\n2026-03-01T00:00:00 | 2026-03-01T00:00:00 | 2026-03-01 | 86400.0 | 5",
    );
    check(
        "select timestamp '2026-01-02T00:00:00+02:00' as t, timestamp '2026-01-02' + interval '36 \
            hours' as u, to_char(date '2026-03-05', '%d.%m.%Y') as c",
        "t | u | c\n2026-01-01T22:00:00 | 2026-01-03T12:00:00 | 05.03.2026",
    );
    check("select value from range(1, 4)", "value\n1\n2\n3");
    check("select try_cast('x' as int) as n, try_cast('7' as int) as s", "n | s\nnull | 7");
    check("select unnest([1, 2]) as u", "u\n1\n2");
    check(
        "select md5('a') is not null as m",
        "error: there is no function `md5` (line 1, column 8)",
    );
}

#[test]
fn queries_of_many_shapes() {
    check(
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 3) select i \
            from n",
        "i\n1\n2\n3",
    );
    check("select id from orders where id in (select id from orders where amount > 5)", "id\n1");
    check(
        "select id from orders o where exists (select 1 from orders p where p.who = o.who and \
            p.id > o.id)",
        "id\n1",
    );
    check("select id from orders union all select id from orders.rejects", "id\n1\n2\n3\n4\n9");
    check("select id from orders except select id from orders where id > 1", "id\n1");
    check("values (1, 'a'), (2, 'b')", "column1 | column2\n1 | a\n2 | b");
    check(
        "select o.who, n.n from (select distinct who from orders) o left join (select who, \
            count(*) as n from orders group by who) n on o.who = n.who order by 1",
        "who | n\nann | 2\nbob | 1\nnull | null",
    );
    check(
        "select l.id from orders o, lateral (select o.id + 1 as id) l where o.id = 1",
        "error: this SQL is not supported: a subquery in this place cannot use columns of the \
            query around it; join the tables instead",
    );
    check("select * exclude (at, amount) from orders where id = 1", "id | who\n1 | ann");
    check("from orders select id where id = 1", "id\n1");
}
