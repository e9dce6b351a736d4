use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use tidemill_model::lineage::Origins;

use crate::engine::{Engine, EngineConfig};

fn tables() -> IndexMap<String, SchemaRef> {
    let table = |columns: &[(&str, DataType)]| {
        let fields = columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let int = DataType::Int64;
    IndexMap::from([
        ("a".to_owned(), table(&[("id", int.clone()), ("x", int.clone()), ("l", list)])),
        ("b".to_owned(), table(&[("id", int.clone()), ("y", int.clone()), ("up", int)])),
    ])
}

/// The lineage of a query, a column in a line: `column: table.column WAY, …`.
fn lineage(sql: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let spill = folder.path().to_owned();
    let config = EngineConfig { memory_bytes: 64 << 20, threads: 1, spill, batch_rows: 1024 };
    let engine = Engine::new(config).expect("an engine");
    let described = futures::executor::block_on(engine.describe(sql, &tables(), &BTreeMap::new()));
    let lineage = described.expect("a query").lineage;
    let line = |name: &str, origins: &Origins| {
        let parts: Vec<String> = (origins.iter())
            .map(|(from, ways)| {
                let ways: Vec<String> = ways.iter().map(|way| format!("{way:?}")).collect();
                format!("{}.{} {}", from.table, from.column, ways.join("+"))
            })
            .collect();
        format!("{name}: {}", parts.join(", "))
    };
    let mut lines: Vec<String> =
        lineage.columns.iter().map(|(name, origins)| line(name, origins)).collect();
    if !lineage.rows.is_empty() {
        lines.push(line("*", &lineage.rows));
    }
    lines.join("\n")
}

fn check(sql: &str, expected: &[&str]) {
    assert_eq!(lineage(sql), expected.join("\n"), "{sql}");
}

#[test]
fn columns_and_what_is_computed_of_them() {
    check("select id, x as z, 1 as one from a", &["id: a.id Identity", "z: a.x Identity", "one: "]);
    check(
        "select x + id as s, cast(x as double) as d, upper('a') as u from a order by id limit 3",
        &[
            "s: a.id Transformation, a.x Transformation",
            "d: a.x Transformation",
            "u: ",
            "*: a.id Sort",
        ],
    );
    check(
        "select case when id > 1 then x else 0 end as c from a where x > 2",
        &["c: a.id Conditional, a.x Transformation", "*: a.x Filter"],
    );
}

#[test]
fn groups_windows_and_distinct() {
    check(
        "select id, sum(x) as s, count(*) filter (where x > 1) as n from a group by id having max(x) > 1",
        &[
            "id: a.id Identity",
            "s: a.x Aggregation",
            "n: a.x Conditional",
            "*: a.id GroupBy, a.x Filter",
        ],
    );
    check(
        "select x, sum(x) over (partition by id) as s, row_number() over (order by x) as r from a",
        &["x: a.x Identity", "s: a.id Window, a.x Aggregation", "r: a.x Window"],
    );
    check("select distinct x from a", &["x: a.x Identity", "*: a.x GroupBy"]);
    check(
        "select distinct on (id) x from a order by id, x",
        &["x: a.x Identity", "*: a.id GroupBy+Sort, a.x Sort"],
    );
    check(
        "select id, x, count(*) as n from a group by rollup (id, x)",
        &["id: a.id Identity", "x: a.x Identity", "n: ", "*: a.id GroupBy, a.x GroupBy"],
    );
}

#[test]
fn joins_and_unions() {
    check(
        "select a.x, b.y from a join b on a.id = b.id",
        &["x: a.x Identity", "y: b.y Identity", "*: a.id Join, b.id Join"],
    );
    check(
        "select a.x, b.y from a, b where a.id = b.id",
        &["x: a.x Identity", "y: b.y Identity", "*: a.id Filter, b.id Filter"],
    );
    check("select x from a union all select y from b", &["x: a.x Identity, b.y Identity"]);
    check(
        "with t as (select id, x * 2 as d from a) select t.d, u.d as e from t join t u using (id)",
        &["d: a.x Transformation", "e: a.x Transformation", "*: a.id Join"],
    );
}

#[test]
fn subqueries() {
    check(
        "select x, (select max(y) from b where b.id = a.id) as m from a",
        &["x: a.x Identity", "m: a.id Filter, b.id Filter, b.y Aggregation"],
    );
    check(
        "select x from a where id in (select up from b where y > 1)",
        &["x: a.x Identity", "*: a.id Filter, b.up Filter, b.y Filter"],
    );
    check(
        "select x from a where exists (select 1 from b where b.id = a.id)",
        &["x: a.x Identity", "*: a.id Filter, b.id Filter"],
    );
}

#[test]
fn lists_and_recursion() {
    check("select id, unnest(l) as e from a", &["id: a.id Identity", "e: a.l Transformation"]);
    check("select value as v from generate_series(1, 3)", &["v: "]);
    check(
        "with recursive t as (select id, up as root from b where y = 1 \
         union all select b.id, t.root from b join t on b.up = t.id) select * from t",
        &["id: b.id Identity", "root: b.up Identity", "*: b.id Join, b.up Join, b.y Filter"],
    );
}

#[test]
fn joins_without_a_condition_are_noted() {
    let notes = |sql: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let spill = folder.path().to_owned();
        let config = EngineConfig { memory_bytes: 64 << 20, threads: 1, spill, batch_rows: 1024 };
        let engine = Engine::new(config).expect("an engine");
        let described =
            futures::executor::block_on(engine.describe(sql, &tables(), &BTreeMap::new()));
        let notes = described.expect("a query").notes;
        notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let told = "every row of `a` meets every row of `b` (line 1, column COLUMN); join them `on` a condition, or write \
                `cross join` if that is meant";
    let check = |sql: &str, column: &str| assert_eq!(notes(sql), told.replace("COLUMN", column));
    check("select x from a, b", "18");
    check("select x from a join b on true", "22");
    check("select x from a, b where a.x > 1 and b.y > 2", "18");
    for fine in [
        "select a.x from a cross join b",
        "select a.x from a, b where a.id = b.id",
        "select a.x from a, b where a.x < b.y",
        "select a.x, t.n from a, (select count(*) as n from b) t",
        "select a.x, v from a, generate_series(1, 3) as g(v)",
        "select x, (select max(y) from b) as m from a",
    ] {
        assert_eq!(notes(fine), "", "{fine}");
    }
}
