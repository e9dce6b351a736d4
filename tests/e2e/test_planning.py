"""What `plan`, `validate --strict` and `lineage` know of a DAG before anything runs."""

import hashlib
import json
import re
import shutil
import time

import pytest
from openlineage.client.event_v2 import InputDataset, Job, JobEvent, OutputDataset
from openlineage.client.generated.column_lineage_dataset import (
    ColumnLineageDatasetFacet, Fields, InputField, Transformation)
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.schema_dataset import (
    SchemaDatasetFacet, SchemaDatasetFacetFields)

from test_docs import blocks
from tidemill import ROOT

ORDERS = "order_id,customer_id,region,amount,ordered_on,paid\n" \
    "1,7,eu,2.50,2026-01-01,true\n2,8,us,1.25,2026-01-02,false\n"
CUSTOMERS = "customer_id,name,email\n7,Ada,ada@shop.example\n8,Bob,\n"
SOURCES = """\
tasks:
  orders: {ingest: {csv: {path: orders.csv}}}
  customers: {ingest: {csv: {path: customers.csv}}}
"""


@pytest.fixture
def shop(home):
    """A home, with files of orders and customers beside its DAGs."""
    home.file("orders.csv", ORDERS)
    home.file("customers.csv", CUSTOMERS)
    return home


def indented(text, by):
    return "".join(f"{' ' * by}{line}\n" for line in text.strip("\n").split("\n"))


def transform(settings, more=""):
    """A DAG with a task `made` below both sources, whose transform stands from line 6 on."""
    return SOURCES + "  made:\n    transform:\n" + indented(settings, 6) + more


def sql(query, more=""):
    """The same with a query, which stands from line 7 on."""
    return transform("sql: |\n" + indented(query, 2), more)


def called(home, *words, code=None):
    """A command among the DAGs, so that messages name files as they stand there."""
    return home.call(*words, code=code, cwd=home.dags)


def planned(home, text, code=None, *words):
    """The plan of a DAG as JSON."""
    home.dag("d", text)
    return called(home, "plan", "d.yaml", "--json", *words, code=code).json()


def found(home, text, *words):
    """What planning finds: `error TM0701 7:16 what | help`, and so on."""
    problems = planned(home, text, None, *words)["problems"]
    return [f"{p['severity']} {p['code']} {p['line']}:{p['column']} {p['message']} | {p['help']}"
            .replace(str(home.dags), "DAGS") for p in problems]


def columns(home, text, table, *words):
    """The columns of a table as `name type, …`; None if they are not known."""
    schemas = planned(home, text, None, *words)["tables"]["schemas"]
    return ", ".join(f"{name} {of}" for name, of in schemas[table].items()) \
        if table in schemas else None


# ---- How a finding reads.

RENDERED = {
    "a column in a block": (sql("""
select
  region,
  sum(amuont) as amount       -- a slip
from orders
group by region"""), """\
error[TM0701]: `orders` has no column `amuont`
 --> d.yaml:9:15
  |
9 |           sum(amuont) as amount       -- a slip
  |               ^^^^^^
  = help: did you mean `amount`?
"""),
    "a column in braces": (SOURCES + "  made: {transform: {sql: 'select Region from orders'}}\n", """\
error[TM0701]: `orders` has no column `Region`
 --> d.yaml:4:35
  |
4 |   made: {transform: {sql: 'select Region from orders'}}
  |                                   ^^^^^^
  = help: did you mean `region`?
"""),
    "types": (sql("select region + 1 as r from orders"), """\
error[TM0701]: `string + int64` cannot be computed
 --> d.yaml:7:16
  |
7 |         select region + 1 as r from orders
  |                ^^^^^^
  = help: make a number of the text first: `cast(x as double)`, or `try_cast(x as double)` for null where it is none
"""),
    "a check": (SOURCES + """\
  made:
    transform: {sql: select * from orders}
    checks:
      - unique: regoin
""", """\
error[TM0703]: `unique` names the column `regoin`, which the input does not have (check `unique(regoin)`)
 --> d.yaml:7:17
  |
7 |       - unique: regoin
  |                 ^^^^^^
  = help: did you mean `region`?
"""),
    "a source": ("tasks:\n  gone: {ingest: {csv: {path: 'in/*.csv'}}}\n", """\
warning[TM0704]: no file matches `in/*.csv` (in the folder DAGS)
 --> d.yaml:2:31
  |
2 |   gone: {ingest: {csv: {path: 'in/*.csv'}}}
  |                               ^^^^^^^^^^
  = help: paths are relative to the folder of the DAG file
"""),
    "a table that nothing reads": (SOURCES + """\
  file: {load: {csv: {path: out.csv}}, from: orders}
""", """\
warning[TM0711]: nothing reads the table of `customers`
 --> d.yaml:3:3
  |
3 |   customers: {ingest: {csv: {path: customers.csv}}}
  |   ^^^^^^^^^
  = help: remove the task, or load its table
"""),
    "a join without a condition": (SOURCES + """\
  made:
    transform:
      sql: select amount, name from orders, customers
""", """\
warning[TM0712]: every row of `orders` meets every row of `customers`
 --> d.yaml:6:45
  |
6 |       sql: select amount, name from orders, customers
  |                                             ^^^^^^^^^
  = help: join them `on` a condition, or write `cross join` if that is meant
"""),
    "a list of unknown length": (SOURCES + """\
  list: {run: 'echo "n=[1]" > "$TIDEMILL_OUTPUTS"', outputs: {n: json}}
  made:
    for_each: tasks.list.outputs.n
    transform: {sql: select * from orders}
""", """\
warning[TM0713]: only the data decide how long the list of `made` is; 16 items are under way at once
 --> d.yaml:6:15
  |
6 |     for_each: tasks.list.outputs.n
  |               ^^^^^^^^^^^^^^^^^^^^
  = help: write `max_parallel`, so that who reads the DAG knows what it may take
"""),
}


@pytest.mark.parametrize("text,shown", RENDERED.values(), ids=RENDERED)
def test_how_it_reads(shop, text, shown):
    shop.dag("d", text)
    code = 2 if shown.startswith("error") else 0
    said = called(shop, "plan", "d.yaml", code=code).err.replace(str(shop.dags), "DAGS")
    assert said == shown + "\n"
    # The same, and a warning counts as an error.
    strict = called(shop, "validate", "--strict", "d.yaml", code=2)
    assert strict.err.replace(str(shop.dags), "DAGS") == shown + "\n"
    counts = "1 error, 0 warnings" if code else "0 errors, 1 warning"
    assert strict.out == f"1 file checked: {counts}\n"


# ---- SQL.

SQL = {
    "another case": ("select Order_ID from orders",
                     "7:16 `orders` has no column `Order_ID` | did you mean `order_id`?"),
    "quoted": ('select "amuont" from orders',
               "7:16 `orders` has no column `amuont` | did you mean `amount`?"),
    "after other letters": ("select 'größe 😀', amuont from orders",
                            "7:27 `orders` has no column `amuont` | did you mean `amount`?"),
    "none like it": ("select x from customers",
                     "7:16 `customers` has no column `x` | it has: customer_id, name, email"),
    "with its table": ("select c.nam from customers as c",
                       "7:16 `c` has no column `nam` | did you mean `name`?"),
    "no such table in reach": ("select customers.name from customers as c",
                               "7:16 there is no table `customers` in reach of `customers.name` | in reach are: c"),
    "in two tables": ("select customer_id from orders join customers using (customer_id)\n"
                      "join orders as o on o.order_id = orders.order_id",
                      "7:16 the column `customer_id` is in more than one table | write its table before it, as in `t.customer_id`"),
    "a CTE in the place of a table": ("with orders as (select 1 as x)\nselect amount from orders",
                                      "8:16 `orders` has no column `amount` | it has: x"),
    "in a recursive CTE": ("with recursive r as (\n  select 1 as n\n  union all select m + 1 from r where n < 9\n)\nselect n from r",
                           "9:28 `r` has no column `m` | it has: n"),
    "in a window": ("select rank() over (partition by regoin order by amount) as r from orders",
                    "7:42 `orders` has no column `regoin` | did you mean `region`?"),
    "in a subquery": ("select name from customers\nwhere customer_id in (select customer from orders)",
                      "8:38 `orders` has no column `customer` | did you mean `customer_id`?"),
    "a function": ("select uper(region) as r from orders",
                   "7:16 there is no function `uper` | did you mean `upper`?"),
    "neither grouped nor aggregated": ("select region, amount from orders group by region",
                                       "7:24 `orders.amount` is neither grouped by nor aggregated | add it to `group by`, or take one value of it, as in `min(orders.amount)`"),
    "one name twice": ("select order_id, order_id from orders",
                       "6:7 the query gives two columns named `order_id` (columns 1 and 2 of the query) | give one of them another name with `as`"),
    "a text that is no date": ("select order_id from orders where ordered_on > 'x'",
                               "6:7 `x` cannot be read as date | `try_cast(x as …)` gives null for values that do not fit"),
    "a list as a value": ("select order_id from orders where order_id = $order_id",
                          None),
}


@pytest.mark.parametrize("query,said", SQL.values(), ids=SQL)
def test_sql(shop, query, said):
    if said is None:
        text = sql(query, "    bind: {order_id: '[1, 2]'}\n")
        said = "7:54 `$order_id` is `[1,2]`, which SQL cannot take | bind a text, a number, a boolean, a date or an instant"
    else:
        text = sql(query)
    assert found(shop, text) == [f"error TM0701 {said}"]


@pytest.mark.parametrize("written,place", [
    ("sql: select nope from orders", "6:19"),
    ("sql: 'select nope from orders'", "6:20"),
    ('sql: "select nope from orders"', "6:20"),
    ("sql: |2\n    select 1,\n\n      nope\n    from orders", "9:13"),
    ("sql: |-\n\n  select 1,\n    nope\n  from orders", "9:11"),
    # Where a text is put together from lines, or holds escapes, it is pointed at as a whole.
    ("sql: >\n  select 1,\n  nope\n  from orders", "7:9"),
    ("sql: select 1,\n  nope\n  from orders", "6:12"),
    ("sql: 'select ''x'', nope from orders'", "6:12"),
])
def test_places_in_a_text(shop, written, place):
    (said,) = found(shop, transform(written))
    assert said.startswith(f"error TM0701 {place} `orders` has no column `nope`"), said


def test_places_behind_an_alias_and_with_crlf(shop):
    text = "x-query: &query select nope from orders\n" + SOURCES
    (said,) = found(shop, text + "  made: {transform: {sql: *query}}\n")
    assert said.startswith("error TM0701 1:24 "), said
    (said,) = found(shop, sql("select 1,\n  nope\nfrom orders").replace("\n", "\r\n"))
    assert said.startswith("error TM0701 8:11 "), said


FINE = {
    "renamed": "select order_id as \"Order Id\", amount as größe from orders",
    "recursive": "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) select n from r",
    "CTE over its own name": "with orders as (select order_id as id from orders) select id from orders",
    "union": "select region from orders union select name from customers union all select 'x'",
    "star": "select * except (paid) from orders",
    "unnest": "select order_id, unnest(range(0, order_id)) as n from orders",
    "window": "select order_id, lag(amount) over (partition by region order by ordered_on) as l from orders",
    "qualify": "select order_id from orders qualify row_number() over (partition by region order by order_id) = 1",
    "sets": "select region, paid, sum(amount) as a from orders group by grouping sets ((region), (paid))",
    "structs": "select s['a'] as a from (select named_struct('a', order_id) as s from orders) as x",
    "semi": "select name from customers where exists (select 1 from orders where orders.customer_id = customers.customer_id)",
    "scalar": "select order_id, (select max(amount) from orders) as m from orders",
    "cross join": "select o.order_id from orders as o cross join customers",
    "one row beside many": "with n as (select count(*) as n from orders) select order_id, n.n from orders, n",
    "where joins": "select o.order_id from orders as o, customers as c where c.customer_id = o.customer_id",
    "by a range": "select o.order_id from orders as o join orders as p on o.order_id < p.order_id",
    "dates as texts": "select order_id from orders where ordered_on >= '2026-01-01'",
    "no table": "select value from generate_series(1, 3)",
    "lateral": "select o.order_id, l.n from orders as o cross join lateral (select count(*) as n from customers as c where c.customer_id = o.customer_id) as l",
    "lateral behind a comma": "select o.order_id, l.n from orders as o, lateral (select count(*) as n from customers as c where c.customer_id = o.customer_id) as l",
    "unnest in from": "select o.order_id, u.x from orders as o, unnest(make_array(1, 2)) as u(x)",
    "values": "select a, region from (values (1, 'x')) as v(a, b) join orders on orders.order_id = v.a",
    "values beside rows": "select v.column1 as a from (values (1), (2)) as v, orders",
    "a series beside rows": "select o.order_id, g.value from orders as o, generate_series(1, 3) as g",
    "named window": "select order_id, sum(amount) over w as s, ntile(4) over w as n from orders window w as (partition by region order by ordered_on)",
    "group by all": "select region, count(*) filter (where paid) as p, percentile_cont(0.5) within group (order by amount) as m from orders group by all",
    "union by name": "select region, amount from orders union all by name select 1.0 as amount, name as region from customers",
    "except and intersect": "select customer_id from orders except select customer_id from customers intersect select 7",
    "distinct on": "select distinct on (region) region, amount from orders order by region, amount desc",
    "rollup": "select region, paid, grouping(region) as g, sum(amount) as a from orders group by rollup(region, paid)",
    "recursive with names": "with recursive t(n, s) as (select 1, 'a' union all select n + 1, s || 'b' from t where n < 3) select * from t",
    "any": "select region from orders where customer_id = any(select customer_id from customers)",
    "nulls": "select null as x, substr(region, 1, null) as y from orders",
    "a struct of fields": "select s['a'] as a, get_field(s, 'b') as b from (select named_struct('a', order_id, 'b', region) as s from orders) as x",
    "lists": "select array_agg(order_id order by amount) as l, array_to_string(array_agg(region), ',') as s, list_sort(array_agg(region))[1] as f from orders",
    "dates": "select ordered_on + interval '1' month as m, date_part('dow', ordered_on) as w, date_trunc('week', ordered_on) as k from orders",
    "decimals": "select cast(amount as decimal(10,2)) * 3 as x, cast(amount as decimal(10,2)) / 3 as y from orders",
    "star replaced": "select * replace (upper(region) as region) from orders",
    "limit one beside many": "select o.order_id, m.name from orders as o, (select name from customers limit 1) as m",
    "one row joined on true": "select o.order_id, m.mx from orders as o left join (select max(customer_id) as mx from customers) as m on true",
}


@pytest.mark.parametrize("query", FINE.values(), ids=FINE)
def test_no_false_alarm_in_sql(shop, query):
    assert found(shop, sql(query)) == []


def test_what_sql_makes_is_what_was_planned(shop):
    """All of these queries, each in a task of one DAG."""
    text = SOURCES + "".join(
        f"  q{n}:\n    transform:\n      sql: |\n        {query}\n" for n, query in enumerate(FINE.values()))
    assert found(shop, text) == []
    assert_run_makes(shop, planned(shop, text)["tables"]["schemas"])


@pytest.mark.parametrize("query", [
    "select o.order_id from orders as o join HERE as c on true",
    "select o.order_id from orders as o left join HERE as c on 1 = 1",
    "select o.order_id from orders as o join HERE as c on o.order_id = 1",
    "with x as (select o.order_id from orders as o, HERE as c) select * from x",
    "select order_id from orders where order_id in (select o.order_id from orders as o, HERE as c)",
    "select o.order_id, 'ö' as x\nfrom orders as o,\n  HERE as c",
])
def test_every_row_meets_every_row(shop, query):
    """The second table of the join is pointed at."""
    before = query.split("HERE")[0].split("\n")
    place = f"{6 + len(before)}:{9 + len(before[-1])}"
    assert found(shop, sql(query.replace("HERE", "customers"))) == [
        f"warning TM0712 {place} every row of `orders` meets every row of `customers` | "
        "join them `on` a condition, or write `cross join` if that is meant"]


def test_the_second_table_of_a_join_is_found_in_from(shop):
    """Not where a column of it is named before."""
    (said,) = found(shop, sql("select orders.amount, customers.name from orders, customers"))
    assert said.startswith("warning TM0712 7:59 "), said


def test_several_queries(shop):
    text = transform("""
sql:
  good: select order_id from orders
  bad: |
    select
      nope from orders""")
    assert found(shop, text) == [
        "error TM0701 10:13 `orders` has no column `nope` | it has: order_id, customer_id, region, amount, ordered_on, paid"]
    text = text.replace("nope", "region") + "  more: {transform: {sql: 'select order_id, regoin from made.bad'}}\n"
    assert found(shop, text) == [
        "error TM0701 11:35 `made.bad` has no column `order_id` | it has: region"]


def test_all_queries_of_a_task(shop):
    text = transform("sql:\n  a: select nope from orders\n  b: select region from orders\n  c: select nam from customers")
    assert [s.split(" | ")[0] for s in found(shop, text)] == [
        "error TM0701 7:19 `orders` has no column `nope`",
        "error TM0701 9:19 `customers` has no column `nam`"]
    assert columns(shop, text, "made.b") == "region string"


def test_rows_are_not_made_for_their_columns(shop):
    text = sql("select sum(value) as n from generate_series(1, 300000000)")
    assert columns(shop, text, "made") == "n int64"


# ---- The other transforms.

CLEAN = """
clean:
  from: orders
  dedupe: [order_id, customer_id]
  reject:
    - {reason: free, where: amount <= 0}
    - {reason: unpaid, where: not paid}
  columns:
    id: order_id
    region: |
      case when paid
      then upper(region) end
"""
RULES = """
rules:
  from: orders
  id: order_id
  version: "1"
  scale: 10
  score:
    - {name: value, value: amount / 2, points: 0.5}
    - {name: paid, where: paid, points: 0.5}
  bands: [{name: high, min: 5}, {name: low}]
  segments:
    - {name: eu, where: score > 5 and band = 'high' and region = 'eu'}
    - {name: rest}
  keep: [order_id, region]
"""
IDENTITY = """
identity:
  links:
    - {from: orders, columns: {order: order_id, customer: customer_id}}
    - {from: customers, columns: {customer: customer_id, email: [email, name]}}
  id: customer
"""
RECOMMEND = """
recommend:
  from: orders
  user: customer_id
  item: region
  users: customers
  users_column: customer_id
"""
RENDER = """
render:
  from: customers
  id: customer_id
  columns:
    subject: "{{ name or 'Hello' }}"
    html: {file: mail.html}
  keep: [customer_id, email]
"""
KINDS = {"clean": CLEAN, "rules": RULES, "identity": IDENTITY, "recommend": RECOMMEND,
         "render": RENDER}

OF_ORDERS = "it has: order_id, customer_id, region, amount, ordered_on, paid"
SETTINGS = [
    ("clean", "amount <= 0", "amuont <= 0", "10:35 there is no column `amuont` | did you mean `amount`?"),
    ("clean", "where: not paid", "where: amount",
     "11:37 `amount` is no condition: it is a float64 (reject `unpaid`) | compare it with something"),
    ("clean", "id: order_id", "id: order", "13:15 there is no column `order` | " + OF_ORDERS),
    ("clean", "upper(region)", "uper(region)", "16:18 there is no function `uper` | did you mean `upper`?"),
    ("clean", "upper(region)", "upper(regoin)", "16:24 there is no column `regoin` | did you mean `region`?"),
    ("clean", "id: order_id", "id: region + 1",
     "13:15 `string + int64` cannot be computed (column `id`) | make a number of the text first: `cast(x as double)`, or `try_cast(x as double)` for null where it is none"),
    ("rules", "value: amount", "value: amuont", "12:34 there is no column `amuont` | did you mean `amount`?"),
    ("rules", "value: amount / 2", "value: region", "12:34 `region` is no number (term `value`) | cast it to a number"),
    ("rules", "where: paid", "where: payd", "13:33 there is no column `payd` | did you mean `paid`?"),
    ("rules", "score > 5", "scor > 5", "16:31 there is no column `scor` | did you mean `score`?"),
    ("rules", "id: order_id", "id: order", "8:13 `id` names the column `order`, which the input does not have | " + OF_ORDERS),
    ("recommend", "user: customer_id", "user: customer",
     "8:15 `user` names the column `customer`, which the input does not have | did you mean `customer_id`?"),
    ("recommend", "item: region", "item: regoin",
     "9:15 `item` names the column `regoin`, which the input does not have | did you mean `region`?"),
    ("recommend", "users_column: customer_id", "users_column: order_id",
     "11:23 `users_column` names the column `order_id`, which the input does not have | it has: customer_id, name, email"),
    ("render", "id: customer_id", "id: id",
     "8:13 `id` names the column `id`, which the input does not have | it has: customer_id, name, email"),
]


@pytest.mark.parametrize("kind,right,wrong,said", SETTINGS)
def test_settings(shop, kind, right, wrong, said):
    shop.file("mail.html", "<p>{{ email }}</p>\n")
    assert right in KINDS[kind]
    text = transform(KINDS[kind].replace(right, wrong))
    assert found(shop, text) == [f"error TM0702 {said}"]


TEMPLATES = {
    "a name": 'subject: "{{ nam }}"',
    "in a block": "text: |\n      Hello,\n      {% if email %}dear {{ nam }}{% endif %}",
    "in a loop": 'subject: "{% for x in nam %}{{ x }}{% endfor %}"',
    "no such filter": 'subject: "{{ name | uper }}"',
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_templates(shop, template):
    (said,) = found(shop, transform(f"render:\n  from: customers\n  columns:\n    {template}"))
    assert said.startswith("error TM0702 "), said


GOOD_TEMPLATES = {
    "a loop": "{% for c in name %}{{ loop.index }}{{ c }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}",
    "a name of a loop": "{% for name in [1, 2] %}{{ name }}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "set": "{% set g = 'Hi' %}{{ g }} {{ name }}{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
    "set as a block": "{% set g %}Hi {{ name }}{% endset %}{{ g | upper }}",
    "with": "{% with x = name %}{{ x }}{% endwith %}",
    "a macro": "{% macro m(x, y='!') %}{{ x }}{{ y }}{{ email }}{% endmacro %}{{ m(name) }}{{ m(name, y='?') }}",
    "a caller": "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ name }}{% endcall %}",
    "an include": "{% include 'part.txt' %}",
    "an include of what may be missing": "{% include 'gone.txt' ignore missing %}{{ name }}",
    "the first of two includes": "{% include ['gone.txt', 'part.txt'] %}",
    "an include by a value": "{% include (name | lower) ~ '.txt' %}",
    "an import": "{% from 'macros.txt' import hi %}{{ hi(name) }}{% import 'macros.txt' as m %}{{ m.hi(email) }}",
    "a parent": "{% extends 'base.txt' %}{% block x %}{{ name }}{% endblock %}",
    "is defined": "{% if nick is defined %}{{ nick }}{% else %}{{ name }}{% endif %}{{ (nick is not defined) and 1 }}",
    "a default": "{{ nick | default('x') }}{{ nick|d('y') }}",
    "filters with arguments": "{{ name | replace('A', 'b') | upper | length }} {{ [name, email] | join(', ') }} {{ '%s' | format(name) }}",
    "a block of a filter": "{% filter upper %}{{ name }}{% endfilter %}",
    "functions": "{% for i in range(3) %}{{ i }}{% endfor %}{{ dict(nope=name).nope }}{{ {'x': 1}.x }}",
    "words that are no names": "nope {{ 'nope' }} {# {{ nope }} #}{% raw %}{{ nope }}{% endraw %}{{ name }}",
    "nulls": "{{ email or 'none' }}{% if email %}{{ email | upper }}{% endif %}",
}


@pytest.mark.parametrize("template", GOOD_TEMPLATES.values(), ids=GOOD_TEMPLATES)
def test_no_false_alarm_in_templates(shop, template):
    for name, text in (("part", "{{ name }}"), ("ada", "a"), ("bob", "b"), ("base", "<{% block x %}{% endblock %}>"),
                       ("macros", "{% macro hi(n) %}hi {{ n }}{% endmacro %}")):
        shop.file(f"{name}.txt", text)
    text = transform(f"render:\n  from: customers\n  columns:\n    text: {json.dumps(template)}")
    assert found(shop, text) == []
    assert columns(shop, text, "made") == "customer_id int64, name string, email string, text string"
    assert shop.run(shop.dags / "d.yaml").state == "succeeded"


@pytest.mark.parametrize("template,said", [
    ("{% if name is odds %}{% endif %}", "9:17 the template of `text` cannot be used: test odds is unknown (line 1 of the template) | "),
    ("{% include 'gone.txt' %}", "9:17 the template of `text` cannot be used: tried to include non-existing template 'gone.txt' (line 1 of the template) | "),
])
def test_more_templates(shop, template, said):
    (only,) = found(shop, transform(f"render:\n  from: customers\n  columns:\n    text: {json.dumps(template)}"))
    assert only.startswith(f"error TM0702 {said}"), only


def test_a_name_that_each_branch_of_a_template_sets(shop):
    template = "{% if email %}{% set q = 1 %}{% else %}{% set q = 2 %}{% endif %}{{ q }}"
    text = transform(f"render:\n  from: customers\n  columns:\n    text: {json.dumps(template)}")
    assert shop.run(shop.dag("d", text)).state == "succeeded"
    assert found(shop, text) == []


def test_a_name_that_a_template_sets_behind_its_use(shop):
    """What is set anywhere is not told of."""
    text = transform('render: {from: customers, columns: {text: "{{ q }}{% set q = 1 %}"}}')
    assert found(shop, text) == []


def test_templates_in_files(shop):
    shop.file("mail.html", "<p>\n{{ nam }}\n")
    (said,) = found(shop, transform(RENDER))
    assert said.startswith("error TM0702 ") and "nam" in said


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_planned_is_what_a_run_makes(shop, kind):
    """No finding, and each table has in a run the columns that the plan told."""
    shop.file("mail.html", "<p>{{ email }}</p>\n")
    text = transform(KINDS[kind])
    assert found(shop, text) == []
    schemas = planned(shop, text)["tables"]["schemas"]
    assert_run_makes(shop, schemas)


def assert_run_makes(shop, schemas):
    run = shop.run(shop.dags / "d.yaml").run
    made = {}
    server = shop.serve()
    for task in server.run(run)["tasks"]:
        for table in task["tables"]:
            sample = server.get(f"/api/v1/runs/{run}/tables/{table['name']}?limit=1")
            made[table["name"]] = [(c["name"], c["type"]) for c in sample["columns"]]
    server.stop()
    assert made == {name: list(columns.items()) for name, columns in schemas.items()}


# ---- Checks.

CHECKS = [
    ("not_null: regoin", "7:19 `not_null` names the column `regoin`, which the input does not have (check `not_null(regoin)`) | did you mean `region`?"),
    ("unique: Region", "7:17 `unique` names the column `Region`, which the input does not have (check `unique(Region)`) | did you mean `region`?"),
    ("where: amuont > 0", "7:16 there is no column `amuont` | did you mean `amount`?"),
    ("where: amount", "7:16 `amount` is no condition: it is a float64 (check `where(amount)`) | compare it with something"),
    ("where: uper(region) = 'EU'", "7:16 there is no function `uper` | did you mean `upper`?"),
    ("sql: select * from made where nope", "7:39 `made` has no column `nope` | " + OF_ORDERS),
    ("sql: select c.nam from customers as c", "7:21 `c` has no column `nam` | did you mean `name`?"),
    ("sql: |\n          select 1 as one from made\n          where nope", "9:17 `made` has no column `nope` | " + OF_ORDERS),
    ("rows: {min: 1}", None),
    ("not_null: [region, amount]", None),
    ("sql: select * from run_tasks where rows_out > 100", None),
    ("where: amount < $most", None),
]


@pytest.mark.parametrize("check,said", CHECKS)
def test_checks(shop, check, said):
    text = SOURCES + "  made:\n    transform: {sql: select * from orders}\n    checks:\n" \
        f"      - {check}\n" + ("    bind: {most: tasks.orders.rows}\n" if "$most" in check else "")
    assert found(shop, text) == ([f"error TM0703 {said}"] if said else [])


CHECKED = SOURCES + "  made:\n    transform: {sql: select * from orders}\n    checks:\n"


def test_all_checks_of_a_task(shop):
    assert [s[:22] for s in found(shop, CHECKED + "      - not_null: nope\n      - where: amuont > 0\n")] == [
        "error TM0703 7:19 `not", "error TM0703 8:16 ther"]


def test_a_check_beside_one_that_reads_what_is_not_known(shop):
    text = CHECKED + "      - not_null: nope\n      - sql: select * from made where region in (select r from c.t)\n" \
        "  c: {run: [touch, x], outputs: {t: {type: table, format: csv}}}\n"
    (said,) = found(shop, text)
    assert said.startswith("error TM0703 7:19 ")


def test_a_table_whose_name_is_a_part_of_a_word(shop):
    """What a check reads is not known: that is no reason not to look at the query, which has a `c` in it."""
    text = SOURCES + "  c: {run: [touch, x], outputs: {c: {type: table, format: csv}}}\n" \
        "  made: {transform: {sql: select nope from customers}, checks: [{sql: select x from c}]}\n"
    assert found(shop, text) == ["error TM0701 5:34 `customers` has no column `nope` | it has: customer_id, name, email"]


def test_a_check_that_sets_rows_aside(shop):
    text = """
tasks:
  orders:
    ingest: {csv: {path: orders.csv}}
    checks: [{where: amount > 2, on_fail: quarantine}]
  made: {transform: {sql: 'select order_id, reason from orders.rejects'}}
"""
    assert found(shop, text) == []
    assert columns(shop, text, "made") == "order_id int64, reason string"
    assert_run_makes(shop, planned(shop, text)["tables"]["schemas"])
    shop.file("orders.csv", "order_id,reason,amount\n1,none,3\n")
    (said,) = found(shop, text)
    assert said.startswith("error TM0703 5:5 rows cannot be set aside with a reason"), said


PLACES = {
    "unique": (CHECKED + "      - unique: [order_id, nope]\n", "7:28"),
    "not_null": (CHECKED + "      - not_null: [order_id, nope]\n", "7:30"),
    "dedupe": (transform(CLEAN.replace("dedupe: [order_id, customer_id]", "dedupe: [order_id, nope]")), "8:28"),
    "keep": (transform(RULES.replace("keep: [order_id, region]", "keep: [order_id, nope]")), "18:26"),
    "json": (transform(RENDER.replace("html: {file: mail.html}", "text: x").replace("  keep", "  json: [nope]\n  keep")), "12:16"),
    "links": (transform(IDENTITY.replace("[email, name]", "[email, nope]")), "9:79"),
}


@pytest.mark.parametrize("text,place", PLACES.values(), ids=PLACES)
def test_places_in_lists(shop, text, place):
    (said,) = found(shop, text)
    assert said.split()[2] == place, said


# ---- Sources.

def source(kind, settings, query="select * from rows_of"):
    return f"tasks:\n  rows_of:\n    ingest:\n      {kind}: {{{settings}}}\n" \
        f"  made: {{transform: {{sql: \"{query}\"}}}}\n"


def test_columns_of_files(home):
    home.file("a.csv", "Order Id,amount,on\n1,2.5,2026-01-01\n")
    home.file("b.jsonl", '{"a": 1, "o": {"x": 1}, "l": [1], "t": "2026-01-01T00:00:00Z"}\n{"b": true}\n')
    home.run(home.dag("p", "tasks:\n  t: {ingest: {jsonl: {path: b.jsonl}}}\n"
                           "  f: {load: {parquet: {path: c.parquet}}, from: t}\n"))
    for kind, settings, expected in [
        ("csv", "path: a.csv", "Order Id int64, amount float64, on date"),
        ("csv", "path: a.csv, rename: snake_case, columns: {amount: 'decimal(8,2)'}",
         "order_id int64, amount decimal(8,2), on date"),
        ("csv", "path: '*.csv', select: [on], file_column: file", "on date, file string"),
        ("csv", "path: a.csv, header: false, names: [x, y, z]", "x string, y string, z string"),
        ("jsonl", "path: b.jsonl", "a int64, o object, l list, t timestamp, b boolean"),
        ("jsonl", "path: b.jsonl, columns: {a: string}", "a string"),
        ("parquet", "path: c.parquet", "a int64, o object, l list, t timestamp, b boolean"),
        ("parquet", "path: c.parquet, select: [b, a]", "b boolean, a int64"),
    ]:
        text = source(kind, settings)
        assert columns(home, text, "made") == expected, settings
        assert found(home, text) == []
        assert_run_makes(home, planned(home, text)["tables"]["schemas"])


def test_fields_of_objects_and_lists(home):
    home.file("b.jsonl", '{"o": {"x": 1}, "l": [{"y": 2}]}\n')
    assert columns(home, source("jsonl", "path: b.jsonl", "select o['x'] as x, unnest(l)['y'] as y from rows_of"),
                   "made") == "x int64, y int64"
    said = found(home, source("jsonl", "path: b.jsonl", "select o['z'] as z from rows_of"))
    assert [s.split(" | ")[0] for s in said] == ["error TM0701 5:27 field z not found in struct"]


def test_a_file_that_is_not_there(home):
    """Its columns are those that are declared; what does not fit these is a warning."""
    jsonl = source("jsonl", "path: gone.jsonl, columns: {a: int64}", "select b from rows_of")
    assert found(home, jsonl) == ["warning TM0701 5:35 `rows_of` has no column `b` | it has: a"]
    assert planned(home, jsonl, 0)["tables"]["schemas"] == {"rows_of": {"a": "int64"}}
    assert "  rows_of: a int64 (as declared)\n" in called(home, "plan", "d.yaml", code=0).out
    called(home, "validate", "--strict", "d.yaml", code=2)
    # Without, nothing is known, and the same query is not looked at.
    none = source("jsonl", "path: gone.jsonl", "select b from rows_of")
    assert found(home, none) == ["warning TM0704 4:21 no file matches `gone.jsonl` (in the folder DAGS) | paths are relative to the folder of the DAG file"]
    assert planned(home, none, 0)["tables"] == {"schemas": {}, "unknown": [
        {"task": "rows_of", "why": "there is nothing to read now"},
        {"task": "made", "why": "the columns of `rows_of` are not known"}]}
    # Both fit, and are fine.
    fine = source("jsonl", "path: gone.jsonl, columns: {a: int64}", "select a + 1 as a from rows_of")
    assert found(home, fine) == []
    called(home, "validate", "--strict", "d.yaml", code=0)


@pytest.mark.parametrize("settings,query", [
    ("columns: {a: int64}, file_column: file", "select a, file from rows_of"),
    ("columns: {a: int64}", "select a, b from rows_of"),   # the types of some, and there are others
])
def test_no_false_alarm_for_a_file_to_come(home, settings, query):
    assert found(home, source("csv", f"path: gone.csv, {settings}", query)) == []


def test_columns_of_a_file_to_come_follow_select(home):
    text = source("jsonl", "path: gone.jsonl, columns: {a: int64, b: int64}, select: [b]")
    assert columns(home, text, "made") == "b int64"


def test_declared_columns_of_http(home):
    text = source("http", "url: 'https://shop.example/x', columns: {id: int64}", "select nope from rows_of")
    assert columns(home, text, "rows_of") == "id int64"
    assert found(home, text) == ["warning TM0701 5:35 `rows_of` has no column `nope` | it has: id"]


@pytest.mark.parametrize("kind,content,said", [
    ("csv", "", "`in` is empty: it has no header"),
    ("csv", "a,a\n1,2\n", "two columns have the name `a` (in:1)"),
    ("jsonl", "", "there are no columns: the input holds no object with keys (in)"),
    ("jsonl", "{a\n", "this is no JSON: a key in double quotes should stand here (letter 2) (in:1)"),
    ("parquet", "a,b\n", "`in` is no whole Parquet file: EOF: Parquet file too small. Size is 4 but need 8"),
])
def test_files_that_cannot_be_read(home, kind, content, said):
    home.file("in", content)
    (first,) = found(home, source(kind, "path: in"))
    assert first.startswith(f"warning TM0704 4:7 {said} | "), first


OF_FILES = {
    "columns": ("columns: {amuont: float64}", "4:41"),
    "select": ("select: [order_id, amuont]", "4:50"),
    "rename": ("rename: {amuont: a}", "4:40"),
}


@pytest.mark.parametrize("settings,place", OF_FILES.values(), ids=OF_FILES)
def test_settings_of_a_source_that_its_file_does_not_fit(shop, settings, place):
    (said,) = found(shop, source("csv", f"path: orders.csv, {settings}"))
    assert said.startswith(f"error TM0702 {place} "), said


def test_files_of_different_headers_with_columns(home):
    home.file("a.csv", "a,b\n1,2\n")
    home.file("b.csv", "a,c\n1,2\n")
    (said,) = found(home, source("csv", "path: '*.csv', columns: {a: int64}"))
    assert "another header" in said


def test_a_header_without_rows(home):
    home.file("in.csv", "a,b\n")
    text = source("csv", "path: in.csv", "select upper(a) as a, b from rows_of")
    assert found(home, text) == []
    assert columns(home, text, "made") == "a string, b string"


def test_rows_that_a_source_sets_aside(home):
    home.file("in.csv", "a\n1\nx\n")
    text = "tasks:\n  t: {ingest: {csv: {path: in.csv, columns: {a: int64}, on_bad_row: quarantine}}}\n" \
        "  made: {transform: {sql: 'select reason, line, QUERY from t.bad_rows'}}\n"
    assert found(home, text.replace("QUERY", "lin")) == [
        "error TM0701 3:49 `t.bad_rows` has no column `lin` | did you mean `line`?"]
    assert columns(home, text.replace("QUERY", "value"), "made") == "reason string, line int64, value string"
    assert_run_makes(home, planned(home, text.replace("QUERY", "value"))["tables"]["schemas"])


def test_two_tasks_that_read_one_file(shop):
    """The one does not write what the other reads."""
    text = "tasks:\n  a: {ingest: {csv: {path: orders.csv}}}\n  b: {ingest: {csv: {path: orders.csv}}}\n" \
        "  t: {transform: {sql: select regoin from b}}\n"
    assert found(shop, text) == ["error TM0701 4:31 `b` has no column `regoin` | did you mean `region`?"]


def test_two_items_that_read_one_file(shop):
    text = "tasks:\n  a: {for_each: '[1, 2]', ingest: {csv: {path: orders.csv}}}\n  t: {transform: {sql: select regoin from a}}\n"
    assert found(shop, text) == ["error TM0701 3:31 `a` has no column `regoin` | did you mean `region`?"]


WRITTEN = {
    "another spelling": ("w: {load: {csv: {path: ./out/o.csv}}, from: orders}", "r: {ingest: {csv: {path: out/o.csv}}, depends_on: [w]}"),
    "a pattern": ("w: {load: {csv: {path: out/o.csv}}, from: orders}", "r: {ingest: {csv: {path: 'out/*.csv'}}, depends_on: [w]}"),
    "items": ("w: {for_each: '[1, 2]', load: {csv: {path: 'out/${{ item }}.csv'}}, from: orders}",
              "r: {for_each: '[1, 2]', ingest: {csv: {path: 'out/${{ item }}.csv'}}, depends_on: [w]}"),
    "a command": ("w: {run: 'mkdir out; cp \"$TIDEMILL_INPUT_ORDERS\" out/o.csv', from: {orders: {table: orders, format: csv}}}",
                  "r: {ingest: {csv: {path: out/o.csv}}, depends_on: [w]}"),
}


@pytest.mark.parametrize("write,read", WRITTEN.values(), ids=WRITTEN)
def test_files_that_the_dag_writes_itself(shop, write, read):
    text = "tasks:\n  orders: {ingest: {csv: {path: orders.csv}}}\n" \
        f"  {write}\n  {read}\n  t: {{load: {{csv: {{path: last.csv}}}}, from: r}}\n"
    assert found(shop, text) == []
    assert {"task": "r", "why": "`w` may write what it reads"} in planned(shop, text)["tables"]["unknown"]


def test_a_file_that_the_dag_writes_is_looked_at_if_it_is_there(shop):
    text = "tasks:\n  orders: {ingest: {csv: {path: orders.csv}}}\n" \
        "  w: {load: {csv: {path: out/o.csv}}, from: orders}\n" \
        "  r: {ingest: {csv: {path: out/o.csv}}, depends_on: [w]}\n" \
        "  t: {transform: {sql: select regoin from r}}\n  l: {load: {csv: {path: last.csv}}, from: t}\n"
    assert found(shop, text) == []
    shop.file("out/o.csv", ORDERS)
    assert found(shop, text) == ["error TM0701 5:31 `r` has no column `regoin` | did you mean `region`?"]


def test_a_call_may_write_a_file(shop):
    shop.dag("other", "tasks: {t: {run: [x]}}\n")
    text = "tasks:\n  c: {call: {dag: other}}\n  r: {ingest: {csv: {path: in.csv}}, depends_on: [c]}\n"
    assert found(shop, text) == []
    assert planned(shop, text)["tables"]["unknown"] == [{"task": "r", "why": "`c` may write what it reads"}]


def test_a_missing_file_of_a_task_that_may_be_skipped(home):
    text = "params: {go: {type: boolean, default: false}}\n" \
        "tasks:\n  r: {when: params.go, ingest: {csv: {path: in.csv}}}\n"
    assert found(home, text) == []
    assert planned(home, text)["tables"]["unknown"] == [{"task": "r", "why": "there is nothing to read now"}]
    assert [s[:22] for s in found(home, text.replace("when: params.go, ", ""))] == ["warning TM0704 3:28 no"]


# ---- Values of a run.

def test_params(shop):
    """Each has its default, or a value that stands for those of a run."""
    text = """
params:
  day: {type: date}
  at: {type: timestamp, default: "2026-01-01T00:00:00Z"}
  n: {type: integer}
  word: {type: string}
""" + sql("select order_id + $n as n, $day as day, $at as at, upper($word) as w, $run_id as r,\n"
          "  $interval_start as s\nfrom orders where ordered_on >= $day limit $n")
    assert found(shop, text) == []
    assert columns(shop, text, "made") == \
        "n int64, day date, at timestamp, w string, r string, s timestamp"
    # A column is wrong whatever a param is; a value that is made up is not held against the DAG.
    assert found(shop, text.replace("order_id + $n", "nope + $n"))[0].startswith("error TM0701 13:16 ")
    cast = text.replace("upper($word)", "cast($word as date)")
    assert found(shop, cast) == []
    assert planned(shop, cast)["tables"]["unknown"] == [
        {"task": "made", "why": "it depends on values of a run"}]


MADE_UP = {
    "a path": "params: {p: {type: string}}\n" + source("csv", "path: '${{ params.p }}'"),
    "a path out of several": "params: {p: {type: string, enum: [gone, orders]}}\n" + source("csv", "path: '${{ params.p }}.csv'"),
    "a column": "params: {p: {type: string}}\n" + transform("clean: {from: orders, dedupe: ['${{ params.p }}']}"),
    "a column of a source": "params: {p: {type: string}}\n" + source("csv", "path: orders.csv, select: ['${{ params.p }}']"),
    "any JSON": "params: {p: {type: json}}\n" + sql("select order_id, $p as p from orders"),
}


@pytest.mark.parametrize("text", MADE_UP.values(), ids=MADE_UP)
def test_no_false_alarm_for_params_that_are_made_up(shop, text):
    assert found(shop, text) == []


def test_params_decide_what_is_read(shop):
    shop.file("other.csv", "order_id,price\n1,2\n")
    text = "params: {file: {type: string, enum: [orders, other], default: other}}\n" \
        "tasks:\n  o: {ingest: {csv: {path: '${{ params.file }}.csv'}}}\n" \
        "  made: {transform: {sql: select amount from o}}\n"
    assert found(shop, text) == ["error TM0701 4:34 `o` has no column `amount` | it has: order_id, price"]
    assert found(shop, text.replace("default: other", "default: orders")) == []


def test_what_other_tasks_give(shop):
    list_of = "  list: {run: 'echo \"n=1\" > \"$TIDEMILL_OUTPUTS\"', outputs: {n: integer}}\n"
    text = sql("select order_id + $n as n, COLUMN from orders limit $m",
               "    bind: {n: tasks.list.outputs.n, m: tasks.orders.rows}\n" + list_of)
    assert found(shop, text.replace("COLUMN", "region")) == []
    assert columns(shop, text.replace("COLUMN", "region"), "made") == "n int64, region string"
    assert found(shop, text.replace("COLUMN", "regoin")) == [
        "error TM0701 7:36 `orders` has no column `regoin` | did you mean `region`?"]


def test_a_value_that_another_task_gives_has_its_type(shop):
    text = sql("select $n as n, order_id from orders",
               "    bind: {n: tasks.list.outputs.n}\n"
               "  list: {run: 'echo n=1 > \"$TIDEMILL_OUTPUTS\"', outputs: {n: integer}}\n"
               "  total: {transform: {sql: select sum(n) as n from made}}\n")
    assert found(shop, text) == []
    assert columns(shop, text, "made") == "n int64, order_id int64"


def test_a_path_that_another_task_gives(shop):
    text = SOURCES + """\
  name: {run: 'echo p=orders > "$TIDEMILL_OUTPUTS"', outputs: {p: string}}
  made: {ingest: {csv: {path: "${{ tasks.name.outputs.p }}.csv"}}}
"""
    assert found(shop, text) == []


def test_a_name_that_begins_like_another_one(shop):
    """`$n`, of which nothing is known, is not used here."""
    text = "params: {n: {type: json}, name: {type: string, default: x}}\n" + sql("select region + 1 as a, $name as b from orders")
    assert [s[:24] for s in found(shop, text)] == ["error TM0701 8:16 `strin"]


def test_secrets_are_no_matter(shop):
    text = sql("select pseudonymize(region, $key) as r from orders", "    bind: {key: secrets.key}\n")
    assert found(shop, text) == []
    assert columns(shop, text, "made") == "r string"
    done = called(shop, "plan", "d.yaml", "--json")
    assert "secret" not in done.out + done.err


PARAMS = {
    "integer": ("select order_id + $p as x from orders limit $p", "x int64", "1"),
    "number": ("select amount * $p as x, round(amount, 1) as r from orders where amount > $p", "x float64, r float64", "1.5"),
    "boolean": ("select paid = $p as x from orders where $p", "x boolean", "true"),
    "date": ("select $p + interval '1' day as x from orders where ordered_on between $p - 7 and $p", "x date", "2026-01-03"),
    "timestamp": ("select date_trunc('day', $p) as x from orders", "x timestamp", "2026-01-03T08:00:00Z"),
    "string": ("select upper($p) as x from orders where region = $p", "x string", "eu"),
}


@pytest.mark.parametrize("of", PARAMS)
def test_params_without_a_default(shop, of):
    query, expected, value = PARAMS[of]
    text = f"params: {{p: {{type: {of}}}}}\n" + sql(query)
    assert found(shop, text) == []
    assert columns(shop, text, "made") == expected
    shop.call("run", shop.dags / "d.yaml", "--param", f"p={value}")


LIST_OF = SOURCES + "  list: {run: 'echo \"n=[1, 2]\" > \"$TIDEMILL_OUTPUTS\"', outputs: {n: json}}\n"
NO_TYPE = {
    "a param": "params: {p: {type: json}}\n" + sql(
        "select order_id, $p as p from orders", "  next: {transform: {sql: select p + 1 as q from made}}\n"),
    "an output": LIST_OF + "  made: {transform: {sql: 'select order_id, $p as p from orders'}, bind: {p: 'tasks.list.outputs.n[0]'}}\n"
                           "  next: {transform: {sql: select p * 2 as q from made}}\n",
    "an item": LIST_OF + "  made: {for_each: tasks.list.outputs.n, tolerate: 1, transform: {sql: 'select order_id, $p as p from orders'}, bind: {p: item}}\n"
                         "  next: {transform: {sql: select sum(p) as q from made}}\n",
    "an item in rules": LIST_OF + "  made: {for_each: tasks.list.outputs.n, tolerate: 1, transform: {sql: 'select order_id, $p as p from orders'}, bind: {p: item}}\n"
                                  "  next: {transform: {rules: {from: made, version: '1', score: [{name: a, value: p, points: 1}], bands: [{name: low}]}}}\n",
}


@pytest.mark.parametrize("text", NO_TYPE.values(), ids=NO_TYPE)
def test_a_column_whose_type_only_a_run_knows(shop, text):
    """A value that is null here makes a column of texts, and a run one of numbers."""
    shop.call("run", shop.dag("d", text), *(["--param", "p=3"] if "params" in text else []))
    shutil.rmtree(shop.path)
    assert found(shop, text) == []


# Where a value that only a run has leaves nothing to hold the task to, it is listed, and no finding.
NOT_KNOWN = {
    "a param in a path": ("params: {p: {type: string}}\n" + source("csv", "path: '${{ params.p }}.csv'"),
                          {"rows_of": "its settings depend on param `p`, which has no default"}),
    "a param in a var": ("params: {p: {type: string}}\nvars: {v: '${{ params.p }}.csv'}\n" + source("csv", "path: '${{ vars.v }}'"),
                         {"rows_of": "its settings depend on param `p`, which has no default"}),
    "a param in a setting": ("params: {p: {type: string}}\n" + transform("clean: {from: orders, dedupe: ['${{ params.p }}']}"),
                             {"made": "its settings depend on param `p`, which has no default"}),
    "a task": (SOURCES + "  n: {run: [x], outputs: {p: string}}\n  made: {ingest: {csv: {path: '${{ tasks.n.outputs.p }}'}}}\n",
               {"made": "its settings depend on what other tasks give"}),
    "a secret": (source("csv", "path: orders.csv, encoding: '${{ secrets.e }}'"), {"rows_of": "its settings name secrets"}),
    "an item": ("params: {l: {type: json}}\ntasks:\n  rows_of: {for_each: params.l, ingest: {csv: {path: '${{ item }}'}}}\n",
                {"rows_of": "its settings depend on an item of a list that is not known"}),
    "no item": (SOURCES + "  made: {for_each: '[]', ingest: {csv: {path: '${{ item }}'}}}\n",
                {"made": "the list that it is mapped over is empty"}),
    "a text that may be a number": ("params: {p: {type: string}}\n" + sql("select cast($p as bigint) as n from orders"),
                                    {"made": "it depends on values of a run"}),
    "http": (source("http", "url: 'https://shop.example/x'"), {"rows_of": "`http` tells its columns only when it is asked"}),
    "a file that a load writes": (
        SOURCES + "  out: {load: {parquet: {path: orders.parquet}}, from: orders}\n"
        "  made: {ingest: {parquet: {path: orders.parquet}}, checks: [{not_null: nope}], depends_on: [out]}\n"
        "  last: {run: [x], from: customers}\n", {"made": "`out` may write what it reads"}),
}


def test_a_list_that_is_empty_for_now(shop):
    text = SOURCES + "  made: {for_each: '[]', transform: {sql: select nope from orders}}\n"
    [said] = found(shop, text)
    assert said.startswith("warning TM0701 4:50 `orders` has no column `nope`")


@pytest.mark.parametrize("text,why", NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_why_a_task_is_not_known(shop, text, why):
    assert found(shop, text) == []
    unknown = {u["task"]: u["why"] for u in planned(shop, text)["tables"]["unknown"]}
    # What reads it is not known either.
    assert {task: said for task, said in unknown.items() if not said.startswith("the columns of ")} == why
    shown = called(shop, "plan", "d.yaml", code=0).out
    assert "".join(f"  {task}: {said}\n" for task, said in unknown.items()) in shown


# ---- Tables of other kinds.

def test_mapped_tasks(shop):
    text = """
tasks:
  t: {for_each: '["orders"]', ingest: {csv: {path: "${{ item }}.csv", file_column: file}}}
  each:
    for_each: '[{"n": 1}]'
    transform: {sql: 'select order_id + $n as n, _item as before from t'}
    bind: {n: item.n}
  made: {transform: {sql: 'select _item, n, before, QUERY from each'}}
"""
    assert found(shop, text.replace(", QUERY", "")) == []
    assert columns(shop, text.replace(", QUERY", ""), "made") == "_item int64, n int64, before int64"
    assert_run_makes(shop, planned(shop, text.replace(", QUERY", ""))["tables"]["schemas"])
    assert found(shop, text.replace("QUERY", "m")) == [
        "error TM0701 8:53 `each` has no column `m` | it has: n, before, _item"]


def test_items_whose_columns_differ(shop):
    text = """
tasks:
  t: {for_each: '["orders", "customers"]', ingest: {csv: {path: "${{ item }}.csv"}}}
  made: {transform: {sql: 'select order_id, email, _item from t'}}
"""
    assert shop.run(shop.dag("d", text)).state == "succeeded"
    assert found(shop, text) == []


def test_checks_of_items_do_not_see_the_number(shop):
    text = """
tasks:
  t:
    for_each: '["orders"]'
    ingest: {csv: {path: "${{ item }}.csv"}}
    checks: [{where: _item < 5}]
"""
    assert shop.run(shop.dag("d", text), code=1).state == "failed"
    assert found(shop, text)[0].startswith("error TM0703 6:22 there is no column `_item`")


def test_items_that_may_be_missing(home):
    """A file that is not there is no matter to a list of which items may fail."""
    home.file("a.csv", "x\n1\n")
    text = """
tasks:
  t: {for_each: '["a", "b"]', tolerate: 1, ingest: {csv: {path: "${{ item }}.csv"}}}
  u: {transform: {sql: 'select x from t'}}
"""
    assert found(home, text) == []
    assert "  t: x int64, _item int64, …" in called(home, "plan", "d.yaml").out
    (said,) = found(home, text.replace("tolerate: 1, ", ""))
    assert said.startswith("warning TM0704 3:52 no file matches `b.csv` "), said


def test_columns_of_an_item_behind_those_that_are_looked_at(home):
    for n in range(1, 10):
        home.file(f"{n}.csv", "x,y\n1,2\n" if n == 9 else "x\n1\n")
    text = """
tasks:
  t: {for_each: '[1, 2, 3, 4, 5, 6, 7, 8, 9]', ingest: {csv: {path: "${{ item }}.csv"}}}
  u: {transform: {sql: 'select x, y from t'}}
"""
    home.run(home.dag("d", text))
    shutil.rmtree(home.path)
    assert found(home, text) == []


MAY_FAIL = {
    "a setting": ("tolerate: 1, ", "transform: {clean: {from: orders, dedupe: ['${{ item }}']}}",
        "warning TM0702 7:39 `dedupe` names the column `nope`, "),
    "when": ("when: item == 'region', ", "transform: {clean: {from: orders, dedupe: ['${{ item }}']}}",
        "warning TM0702 7:39 `dedupe` names the column `nope`, "),
    "a file that is empty": ("tolerate: 1, ", "ingest: {csv: {path: '${{ item == \"nope\" ? \"empty\" : item }}.csv'}}",
        "warning TM0704 7:14 `empty.csv` is empty: "),
}


def with_items_that_may_fail(shop, more, action):
    for name, content in (("region", "a\n1\n"), ("nope", "b\n1\n"), ("empty", "")):
        shop.file(f"{name}.csv", content)
    text = SOURCES + f"""\
  t:
    for_each: '["region", "nope"]'
    {more.rstrip(", ")}
    {action}
"""
    assert shop.run(shop.dag("d", text)).state == "succeeded"
    return text


@pytest.mark.parametrize("more,action,said", MAY_FAIL.values(), ids=MAY_FAIL)
def test_items_that_may_fail_or_are_skipped(shop, more, action, said):
    """What goes wrong with them is no more than a warning."""
    (only,) = found(shop, with_items_that_may_fail(shop, more, action))
    assert only.startswith(said), only


def test_rejects_of_items(shop):
    text = """
tasks:
  t:
    for_each: '["customers"]'
    ingest: {csv: {path: "${{ item }}.csv"}}
    checks: [{where: email is not null, on_fail: quarantine}]
"""
    assert columns(shop, text, "t.rejects") == "customer_id int64, name string, email string, reason string, _item int64"


def test_a_list_that_only_a_run_knows(shop):
    text = SOURCES + """\
  list: {run: 'echo "n=[\\"orders\\"]" > "$TIDEMILL_OUTPUTS"', outputs: {n: json}}
  t: {for_each: tasks.list.outputs.n, max_parallel: 2, ingest: {csv: {path: "${{ item }}.csv"}}}
  each: {for_each: tasks.list.outputs.n, tolerate: 1, transform: {sql: 'select QUERY from orders'}}
"""
    assert found(shop, text.replace("QUERY", "region")) == []
    assert planned(shop, text.replace("QUERY", "region"))["tables"]["unknown"] == [
        {"task": "t", "why": "its settings depend on an item of a list that is not known"}]
    # One of which items may fail is open.
    (said,) = found(shop, text.replace("QUERY", "regoin"))
    assert said.startswith("warning TM0701 6:80 "), said
    (said,) = found(shop, text.replace("QUERY", "regoin").replace("tolerate: 1", "max_parallel: 2"))
    assert said.startswith("error TM0701 6:84 "), said


def test_groups(shop):
    text = SOURCES + """\
  g:
    tasks:
      orders: {transform: {sql: select name as n from customers}}
      part:
        transform: {sql: 'select QUERY from orders'}
        checks: [{not_null: n}]
    outputs: {table: part}
  made: {transform: {sql: select * from g.orders}}
"""
    # A member goes before a task outside.
    assert found(shop, text.replace("QUERY", "n")) == []
    assert columns(shop, text.replace("QUERY", "n"), "g.part") == "n string"
    assert columns(shop, text.replace("QUERY", "n"), "made") == "n string"
    assert found(shop, text.replace("QUERY", "amount")) == [
        "error TM0701 8:34 `orders` has no column `amount` | it has: n"]


def test_the_table_of_a_group(shop):
    text = SOURCES + """\
  g:
    tasks:
      part: {transform: {sql: select name from customers}}
    outputs: {table: part}
  made: {transform: {sql: select nam from g}}
"""
    assert found(shop, text) == ["error TM0701 8:34 `g` has no column `nam` | did you mean `name`?"]
    assert columns(shop, text.replace("nam ", "name "), "made") == "name string"


def test_the_table_of_a_mapped_group(shop):
    text = SOURCES + """\
  g:
    for_each: '["eu", "us"]'
    tasks:
      part:
        transform: {sql: "select * from orders where region = $r"}
        bind: {r: item}
        checks: [{where: amount > 2, on_fail: quarantine}]
      few: {transform: {sql: "select reason, amount, $r as item from part.rejects"}, bind: {r: item}}
    outputs: {table: few, n: tasks.part.rows}
  all: {transform: {sql: "select item, QUERY, _item from g"}}
  each: {for_each: tasks.g.outputs.n, max_parallel: 1, transform: {sql: "select region from orders"}}
"""
    right = text.replace("QUERY", "reason")
    assert found(shop, right) == []
    assert columns(shop, right, "g") == "reason string, amount float64, item string, _item int64"
    assert columns(shop, right, "all") == "item string, reason string, _item int64"
    assert shop.run(shop.dags / "d.yaml").state == "succeeded"
    assert found(shop, text.replace("QUERY", "paid")) == [
        "error TM0701 13:40 `g` has no column `paid` | it has: reason, amount, item, _item"]


def test_a_command_that_declares_some_columns(home):
    """There may be others: no name is wrong, but what is done with those that are declared may be."""
    text = """
tasks:
  c:
    run: printf 'a,b\\n1,2\\n' > "$TIDEMILL_OUTPUT_C"
    outputs: {c: {type: table, format: csv, columns: {a: int64}}}
  some: {transform: {sql: 'select a, b from c'}, checks: [{not_null: b}, {where: b > 0}]}
  all: {transform: {sql: select * from c}}
  few: {transform: {clean: {from: all, dedupe: [b]}}}
  text: {transform: {render: {from: c, columns: {text: '{{ a }} {{ b }}'}}}}
"""
    assert found(home, text) == []
    assert home.run(home.dags / "d.yaml").state == "succeeded"
    fresh = home.folder / "none"
    assert "  c: a int64, … (as declared)\n  all: a int64, … (as declared)\n" in \
        home.call("plan", "d.yaml", home=fresh, cwd=home.dags).out
    assert found(home, text.replace("select a, b from c", "select upper(a) as a, b from c"), "--home", fresh) == []
    assert found(home, text.replace("select a, b from c", "select upper(a) as a from c"), "--home", fresh) == [
        "warning TM0701 6:27 `upper` does not take (int64) | it is `upper(string)`"]


def test_the_own_table_of_a_command_with_columns(home):
    text = """
tasks:
  score:
    run: echo id > "$TIDEMILL_OUTPUT_SCORE"
    outputs: {score: {type: table, format: csv, columns: {id: int64}}}
  made: {transform: {sql: select id from score}}
"""
    assert columns(home, text, "score") == columns(home, text, "made") == "id int64"


def test_tables_beside_a_task(shop):
    text = transform(CLEAN, "  a: {transform: {sql: 'select reason, amount, X from made.rejects'}}\n"
                            "  b: {transform: {sql: 'select amount, Y from made.duplicates'}}\n"
                            "  c: {transform: {sql: 'select task, Z from run_tasks'}, depends_on: [a, b]}\n")
    right = text.replace("X", "paid").replace("Y", "paid").replace("Z", "state")
    assert found(shop, right) == []
    assert [s.split(" | ")[0] for s in found(shop, text)] == [
        "error TM0701 17:48 `made.rejects` has no column `X`",
        "error TM0701 18:40 `made.duplicates` has no column `Y`",
        "error TM0701 19:38 `run_tasks` has no column `Z`"]


def test_names_of_from(shop):
    text = SOURCES + "  made: {from: {a: orders, b: customers}, transform: {sql: QUERY}}\n"
    assert found(shop, text.replace("QUERY", "select b.name from a join b on a.customer_id = b.customer_id")) == []
    assert found(shop, text.replace("QUERY", "select a.name from a")) == [
        "error TM0701 4:67 `a` has no column `name` | " + OF_ORDERS]


def test_waits_questions_and_caches_are_no_matter(shop):
    text = """
tasks:
  orders: {cache: 1h, ingest: {csv: {path: orders.csv}}}
  pause: {wait: 1d}
  ask: {approve: {message: Go on?, params: {n: {type: integer, default: 1}}}, depends_on: [pause]}
  made: {cache: 1d, transform: {sql: select order_id + $n as n from orders}, bind: {n: tasks.ask.outputs.n}}
"""
    assert found(shop, text) == []
    assert columns(shop, text, "made") == "n int64"


def test_tables_that_another_dag_makes(shop):
    shop.dag("other", "tasks: {t: {transform: {sql: select 1 as a}}}\n")
    text = "tasks:\n  c: {call: {dag: other, table: t}}\n  made: {transform: {sql: select b from c}}\n"
    assert found(shop, text) == []
    assert planned(shop, text)["tables"]["unknown"] == [
        {"task": "c", "why": "its table is made by `other`"},
        {"task": "made", "why": "the columns of `c` are not known"}]


# ---- The last run.

COMMAND = """
tasks:
  score:
    run: |
      echo '{"id": 1, "total": 2.5}' > "$TIDEMILL_OUTPUT_SCORE"
      echo '{"k": "x"}' > "$TIDEMILL_OUTPUT_MORE"
    outputs: {score: {type: table, format: jsonl}, more: {type: table, format: jsonl}}
  made: {transform: {sql: 'select total from score'}}
  other: {transform: {sql: 'select k from score.more'}}
"""


def test_the_last_run_tells_what_nothing_else_does(home):
    assert found(home, COMMAND) == []
    assert planned(home, COMMAND)["tables"]["unknown"] == [
        {"task": "made", "why": "the columns of `score` are not known"},
        {"task": "other", "why": "the columns of `score.more` are not known"}]
    home.run(home.dags / "d.yaml")
    done = called(home, "plan", "d.yaml", code=0)
    assert "not known" not in done.out and done.err == ""
    for line in ("score: id int64, total float64", "score.more: k string", "made: total float64"):
        assert f"  {line} (of the last run)\n" in done.out, done.out
    # The next run may make others: that is no error.
    wrong = COMMAND.replace("select total", "select totl").replace("select k", "select l")
    assert found(home, wrong) == [
        "warning TM0701 8:35 `score` has no column `totl` | did you mean `total`?",
        "warning TM0701 9:36 `score.more` has no column `l` | it has: k"]
    called(home, "plan", "d.yaml", code=0)
    strict = called(home, "validate", "--strict", "d.yaml", code=2)
    assert strict.out == "1 file checked: 0 errors, 2 warnings\n"
    # A home that has never run it knows nothing.
    assert home.call("plan", "d.yaml", home=home.folder / "none", cwd=home.dags).err == ""
    assert not (home.folder / "none").exists()


def test_the_last_run_through_a_server(home):
    home.dag("d", COMMAND)
    server = home.serve()
    assert server.wait(server.trigger("d"))["state"] == "succeeded"
    assert "score.more: k string (of the last run)" in called(home, "plan", "d.yaml", code=0).out
    assert found(home, COMMAND.replace("select k", "select l")) == [
        "warning TM0701 9:36 `score.more` has no column `l` | it has: k"]


def test_what_is_there_goes_before_the_last_run(shop):
    text = source("csv", "path: orders.csv", "select amount from rows_of")
    shop.run(shop.dag("d", text))
    shop.file("orders.csv", "order_id,price\n1,2\n")
    assert found(shop, text) == ["error TM0701 5:35 `rows_of` has no column `amount` | it has: order_id, price"]
    (shop.dags / "orders.csv").unlink()
    assert found(shop, text)[0].startswith("warning TM0704 4:19 no file matches ")
    assert "  rows_of: order_id int64, " in called(shop, "plan", "d.yaml", code=0).out


def test_a_task_that_is_wrong_is_not_as_it_was(shop):
    """What the last run made of another query is nothing to hold the next task to."""
    text = sql("select region as r from orders", "  next: {transform: {sql: select r from made}}\n")
    shop.run(shop.dag("d", text))
    text = text.replace("region as r", "regoin as s").replace("select r from", "select s from")
    assert found(shop, text) == ["error TM0701 7:16 `orders` has no column `regoin` | did you mean `region`?"]


# ---- What needs no columns.

def test_a_table_that_nothing_reads(shop):
    load = "  file: {load: {csv: {path: out.csv}}, from: orders}\n"
    lone = "  lone: {transform: {sql: select 1 as a}}\n"
    one = [s[:17] for s in found(shop, SOURCES + load + lone)]
    assert one == ["warning TM0711 3:", "warning TM0711 5:"]
    assert found(shop, SOURCES + lone) == [], "a DAG that loads nothing is about its tables"
    for use in ("  say: {run: [echo, '${{ tasks.lone.rows }}']}\n", "    checks: [{rows: {min: 1}}]\n",
                "  say: {run: [echo], depends_on: [lone]}\n", "  say: {run: [echo], from: lone}\n"):
        text = "tasks:\n  orders: {ingest: {csv: {path: orders.csv}}}\n" + load \
            + "  lone:\n    transform: {sql: select 1 as a}\n" + use
        assert found(shop, text) == [], use
    rejects = "tasks:\n  orders: {ingest: {csv: {path: orders.csv}}, checks: [{where: amount > 2, on_fail: quarantine}]}\n" \
        "  file: {load: {csv: {path: out.csv}}, from: orders.rejects}\n"
    assert found(shop, rejects) == []


@pytest.mark.parametrize("more,count", [
    ("", 1), ("max_parallel: 2, ", 0), ("tolerate: 1, ", 0), ("tolerate: 5%, ", 0)])
def test_a_list_of_unknown_length(shop, more, count):
    text = SOURCES + "  n: {run: 'echo \"n=[1]\" > \"$TIDEMILL_OUTPUTS\"', outputs: {n: json}}\n" \
        f"  m: {{for_each: tasks.n.outputs.n, {more}transform: {{sql: select * from orders}}}}\n"
    assert [s.split()[1] for s in found(shop, text)] == ["TM0713"] * count
    known = "params: {l: {type: json, default: [1]}}\n" + text.replace("tasks.n.outputs.n,", "params.l,")
    assert found(shop, known) == []


# ---- The commands.

def test_validate_alone_looks_at_nothing(shop):
    shop.dag("d", COMMAND)
    shop.run(shop.dags / "d.yaml")
    before = contents(shop.path)
    for name, (text, _) in enumerate(RENDERED.values()):
        shop.dag(f"d{name}", text)
        done = called(shop, "validate", f"d{name}.yaml", code=0)
        assert (done.out, done.err) == ("1 file checked: 0 errors, 0 warnings\n", "")
    assert contents(shop.path) == before


def contents(folder):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_neither_makes_a_home(shop):
    for words in (["plan"], ["plan", "--json"], ["validate", "--strict"], ["lineage"]):
        shop.dag("d", sql("select region from orders"))
        called(shop, *words, "d.yaml", code=0)
    assert not shop.path.exists()


def test_plan_as_json(shop):
    value = planned(shop, sql("select order_id,\n  nope from orders"), 2)
    assert value["tables"]["schemas"]["customers"] == {
        "customer_id": "int64", "name": "string", "email": "string"}
    assert value["problems"] == [{
        "code": "TM0701", "severity": "error", "blocks_run": False,
        "message": "`orders` has no column `nope`", "file": "d.yaml", "line": 8, "column": 11,
        "length": 4, "source_line": "          nope from orders", "source_offset": 0,
        "label": None, "help": OF_ORDERS}]


def test_validate_as_json(shop):
    shop.dag("good", sql("select region from orders"))
    shop.dag("bad", sql("select regoin from orders"))
    shop.dag("doubtful", source("csv", "path: gone.csv"))
    done = called(shop, "validate", "--strict", "--json", ".", code=2).json()
    assert (done["files"], done["errors"], done["warnings"]) == (3, 1, 1)
    assert sorted((d["file"], d["code"], d["line"]) for d in done["diagnostics"]) == [
        ("./bad.yaml", "TM0701", 7), ("./doubtful.yaml", "TM0704", 4)]
    done = called(shop, "validate", "--json", ".", code=0).json()
    assert (done["files"], done["errors"], done["warnings"], done["diagnostics"]) == (3, 0, 0, [])


@pytest.mark.parametrize("text,plan,strict", [
    (sql("select region from orders"), 0, 0),
    (source("csv", "path: gone.csv"), 0, 2),
    (sql("select regoin from orders"), 2, 2),
    ("tasks: {t: {transform: {sql: select a from nothing}}}\n", 2, 2),
    ("tasks: {t: {run: [echo], depends_on_past: true}}\n", 0, 2),
])
def test_exit_codes(shop, text, plan, strict):
    shop.dag("d", text)
    called(shop, "plan", "d.yaml", code=plan)
    called(shop, "validate", "--strict", "d.yaml", code=strict)


def test_everything_at_once(shop):
    """A task that cannot be understood does not hide the next one."""
    text = sql("select regoin from orders", "  b: {transform: {sql: select nam from customers}}\n"
               "  c: {transform: {sql: select x from made}}\n  d: {ingest: {csv: {path: gone.csv}}}\n")
    assert [" ".join(s.split()[:3]) for s in found(shop, text)] == [
        "error TM0701 7:16", "error TM0701 8:31", "warning TM0704 10:28"]


def test_the_codes_are_explained(home):
    for code in ("TM0701", "TM0702", "TM0703", "TM0704", "TM0711", "TM0712", "TM0713"):
        assert home.call("explain", code).out.startswith(f"{code}: ")


def test_the_dags_of_the_repository(home):
    """All are clean but the one that is there to fail."""
    done = home.call("validate", "--strict", "dags", code=2, cwd=ROOT)
    assert done.out.endswith(" files checked: 1 error, 0 warnings\n")
    assert done.err.startswith("error[TM0701]: `orders` has no column `amount`\n  --> dags/examples/failing.yaml:17:")


def test_it_is_quick(shop):
    """A hundred tasks, one after the other."""
    chain = "".join(f"  t{n}: {{transform: {{sql: 'select * from {f't{n - 1}' if n else 'orders'}'}}}}\n"
                    for n in range(100))
    began = time.monotonic()
    assert found(shop, SOURCES + chain) == []
    assert time.monotonic() - began < 10


# ---- Lineage.

LINEAGE = SOURCES + """\
  good:
    transform:
      clean:
        from: orders
        dedupe: [order_id]
        reject: [{reason: unpaid, where: not paid}]
        columns: {order_id: order_id, customer_id: customer_id, region: upper(region), amount: amount}
  totals:
    transform:
      sql: |
        with sums as (
          select customer_id, sum(amount) as amount, count(*) as orders
          from good group by customer_id
        )
        select c.name, s.amount, s.orders,
          case when c.email is null then 'none' else c.email end as email,
          s.amount / (select sum(amount) from good) as share
        from sums as s
        left join customers as c on c.customer_id = s.customer_id
        where s.amount > 0
        order by c.name
  scores:
    transform:
      rules:
        from: totals
        version: "1"
        score:
          - {name: share, value: share, points: 100}
          - {name: mail, where: email <> 'none', points: 1}
        bands: [{name: high, min: 50}, {name: low}]
        keep: [name]
  each:
    for_each: '["a", "b"]'
    transform: {sql: "select name, score, $tag as tag from scores where band = 'high'"}
    bind: {tag: item}
  best:
    transform: {sql: "select _item, name, max(score) over (partition by tag) as top from each"}
  file: {load: {csv: {path: out/best.csv}}, from: best}
"""

# Derived by hand.
OF_GOOD = """\
good
  order_id ← orders.order_id
  customer_id ← orders.customer_id
  region ← orders.region (transformation)
  amount ← orders.amount
  rows ← orders.order_id (filter), orders.paid (filter)
"""
OF_TOTALS = """\
totals
  name ← customers.name
  amount ← good.amount (aggregation)
  orders
  email ← customers.email (transformation, conditional)
  share ← good.amount (aggregation)
  rows ← customers.customer_id (join), customers.name (sort), good.amount (filter), good.customer_id (join, group by)
"""
OF_SCORES = """\
scores
  name ← totals.name
  score ← totals.email (conditional), totals.share (transformation)
  band ← totals.email (conditional), totals.share (conditional)
  rule_version
  explained ← totals.email (conditional), totals.share (transformation)
"""
OF_EACH = """\
each
  name ← scores.name
  score ← scores.score
  tag
  _item
  rows ← scores.band (filter)
"""
OF_BEST = """\
best
  _item ← each._item
  name ← each.name
  top ← each.score (aggregation), each.tag (window)
"""


def lineage(home, *words, code=0):
    return called(home, "lineage", "d.yaml", *words, code=code)


def test_lineage_of_all_tables(shop):
    shop.dag("d", LINEAGE)
    text = lineage(shop).out
    assert text.startswith("orders\n  order_id\n  customer_id\n")
    for part in (OF_GOOD, OF_TOTALS, OF_SCORES, OF_EACH, OF_BEST):
        assert part in text, text
    for beside, last in (("good.duplicates", "  paid ← orders.paid\n"),
                         ("good.rejects", "  reason ← orders.order_id (filter), orders.paid (filter)\n")):
        assert re.search(rf"^{beside}\n  order_id ← orders.order_id\n(.*\n)*?{re.escape(last)}", text, re.M), text


def test_lineage_of_a_column_through_all_tasks(shop):
    shop.dag("d", LINEAGE)
    assert lineage(shop, "best.top").out == """\
best
  top ← each.score (aggregation), each.tag (window)
      ⇐ customers.email (conditional), orders.amount (aggregation)
"""
    assert lineage(shop, "totals.share").out == """\
totals
  share ← good.amount (aggregation)
        ⇐ orders.amount (aggregation)
"""
    assert lineage(shop, "orders.amount").out == "orders\n  amount\n"
    assert lineage(shop, "scores").out == """\
scores
  name ← totals.name
       ⇐ customers.name
  score ← totals.email (conditional), totals.share (transformation)
        ⇐ customers.email (conditional), orders.amount (aggregation)
  band ← totals.email (conditional), totals.share (conditional)
       ⇐ customers.email (conditional), orders.amount (conditional)
  rule_version
  explained ← totals.email (conditional), totals.share (transformation)
            ⇐ customers.email (conditional), orders.amount (aggregation)
"""


def test_lineage_of_what_is_not_there(shop):
    shop.dag("d", LINEAGE)
    tables = "orders, customers, good, good.duplicates, good.rejects, totals, scores, each, best"
    for name in ("nothing", "nothing.top", "file"):
        done = lineage(shop, name, code=1)
        assert done.out == ""
        assert done.err == f"error[TM0802]: there is no table or column `{name}`; known are the tables: {tables}\n"
    shop.dag("d", "tasks: {t: {run: [echo]}}\n")
    assert lineage(shop, "x", code=1).err == \
        "error[TM0802]: there is no table or column `x`; no table is known before a run\n"
    assert lineage(shop, "--format", "json").json()["tables"] == {}


def test_lineage_without_tables_says_so(home):
    home.dag("d", "tasks: {t: {run: [echo]}}\n")
    assert lineage(home).out == "no table is known before a run\n"


@pytest.mark.parametrize("form", ["json", "openlineage"])
def test_lineage_of_what_is_not_there_in_other_forms(shop, form):
    shop.dag("d", LINEAGE)
    lineage(shop, "nothing", "--format", form, code=1)


def test_lineage_of_a_column_that_is_not_there(shop):
    shop.dag("d", LINEAGE)
    assert lineage(shop, "best.nothing", code=1).err == \
        "error[TM0802]: `best` has no column `nothing`; it has: _item, name, top\n"


def test_lineage_of_many_tasks_one_behind_the_other(shop):
    """Each column comes from two of the task before: that is no reason to go each way there is."""
    text = SOURCES + "  t0: {transform: {sql: 'select order_id as a, customer_id as b from orders'}}\n" + "".join(
        f"  t{n}: {{transform: {{sql: 'select a + b as a, a - b as b from t{n - 1}'}}}}\n" for n in range(1, 24))
    shop.dag("d", text)
    done = shop.call("lineage", "d.yaml", "t23.a", cwd=shop.dags, timeout=10)
    assert "⇐ orders.customer_id (transformation), orders.order_id (transformation)" in done.out


def test_lineage_as_json(shop):
    path = shop.dag("d", LINEAGE)
    value = lineage(shop, "--format", "json").json()
    assert value["dag"] == "d" and len(value["version"]) == 32
    assert list(value["tables"]) == ["orders", "customers", "good", "good.duplicates", "good.rejects",
                                     "totals", "scores", "each", "best"]
    best = value["tables"]["best"]
    assert best["task"] == "best" and best["rows"] == []
    assert best["columns"]["top"] == {
        "from": [{"table": "each", "column": "score", "ways": ["AGGREGATION"]},
                 {"table": "each", "column": "tag", "ways": ["WINDOW"]}],
        "sources": [{"table": "customers", "column": "email", "ways": ["CONDITIONAL"]},
                    {"table": "orders", "column": "amount", "ways": ["AGGREGATION"]}]}
    assert value["tables"]["good.rejects"]["task"] == "good"
    assert value["tables"]["orders"]["columns"]["paid"]["from"] == []
    assert value["tables"]["totals"]["rows"][3] == {
        "table": "good", "column": "customer_id", "ways": ["JOIN", "GROUP_BY"]}
    assert planned(shop, path.read_text())["version"] == value["version"]


def test_lineage_that_cannot_be_told(shop):
    shop.dag("d", transform(IDENTITY))
    text = lineage(shop).out
    assert "made: what its columns come from cannot be told\n" in text
    value = lineage(shop, "--format", "json").json()
    assert value["tables"]["made"]["columns"]["identity"] == {"from": None, "sources": None}
    assert value["tables"]["made"]["rows"] is None


WAYS = {
    "identity": ("select name from customers", "name ← customers.name"),
    "computed": ("select upper(name) as x from customers", "x ← customers.name (transformation)"),
    "constant": ("select 'x' as x, now() as t from customers", "x\nt"),
    "case": ("select case when paid then amount end as x from orders",
             "x ← orders.amount (transformation), orders.paid (conditional)"),
    "aggregated with a filter": ("select sum(amount) filter (where paid) as x from orders",
                                 "x ← orders.amount (aggregation), orders.paid (conditional)"),
    "ordered aggregate": ("select array_agg(region order by ordered_on) as x from orders",
                          "x ← orders.ordered_on (sort), orders.region (aggregation)"),
    "window": ("select sum(amount) over (partition by region order by ordered_on) as x from orders",
               "x ← orders.amount (aggregation), orders.ordered_on (window), orders.region (window)"),
    "distinct": ("select distinct region from orders", "region ← orders.region\nrows ← orders.region (group by)"),
    "union": ("select region as x from orders union all select upper(name) from customers",
              "x ← customers.name (transformation), orders.region"),
    "join": ("select name from customers join orders using (customer_id)",
             "name ← customers.name\nrows ← customers.customer_id (join), orders.customer_id (join)"),
    "full join": ("select coalesce(o.customer_id, c.customer_id) as x from orders o full join customers c on c.customer_id = o.customer_id",
                  "x ← customers.customer_id (transformation), orders.customer_id (transformation)\n"
                  "rows ← customers.customer_id (join), orders.customer_id (join)"),
    "having": ("select region from orders group by region having max(amount) > 1",
               "region ← orders.region\nrows ← orders.amount (filter), orders.region (group by)"),
    "exists": ("select name from customers c where exists (select 1 from orders o where o.customer_id = c.customer_id and o.paid)",
               "name ← customers.name\nrows ← customers.customer_id (filter), orders.customer_id (filter), orders.paid (filter)"),
    "nested": ("select x || '!' as y from (select name as x from customers where email is not null) as a order by x",
               "y ← customers.name (transformation)\nrows ← customers.email (filter), customers.name (sort)"),
    "recursive": ("with recursive r as (select order_id as n from orders union all select n + 1 from r where n < 9) select n from r",
                  "n ← orders.order_id (transformation)\nrows ← orders.order_id (filter)"),
    "latest of each": ("select amount from (select *, row_number() over (partition by region order by ordered_on desc) as k from orders) where k = 1",
                       "amount ← orders.amount\nrows ← orders.ordered_on (window), orders.region (window)"),
    "quoted": ('select name as "Full Name" from customers', "Full Name ← customers.name"),
    "aliases change places": ("select customers.order_id as x, orders.name as y from orders as customers join customers as orders on true",
                              "x ← orders.order_id\ny ← customers.name"),
}


@pytest.mark.parametrize("query,expected", WAYS.values(), ids=WAYS)
def test_ways(shop, query, expected):
    shop.dag("d", sql(query))
    text = lineage(shop).out
    assert text[text.index("made\n"):] == "made\n" + indented(expected, 2)


# ---- OpenLineage.

DIRECT = {"IDENTITY", "TRANSFORMATION", "AGGREGATION"}
INDIRECT = {"JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL"}


def built(kind, value, **parts):
    """An object of the specification from its JSON: an unknown field fails, and so does a missing
    one. `parts` builds what is inside of it."""
    value = dict(value)
    for name, build in parts.items():
        if name in value:
            value[name] = build(value[name])
    url = value.pop("_schemaURL", None) or value.pop("schemaURL", None)
    if "_producer" in value:
        value["producer"] = value.pop("_producer")
    made = kind(**value)
    if url is not None:
        assert url == made._get_schema()
    return made


def all_of(build):
    return lambda values: [build(value) for value in values]


def a_transformation(value):
    assert value["subtype"] in {"DIRECT": DIRECT, "INDIRECT": INDIRECT}[value["type"]]
    return built(Transformation, value)


def an_input_field(value):
    return built(InputField, value, transformations=all_of(a_transformation))


def a_column_lineage(value):
    columns = lambda values: {  # noqa: E731
        name: built(Fields, field, inputFields=all_of(an_input_field)) for name, field in values.items()}
    return built(ColumnLineageDatasetFacet, value, fields=columns, dataset=all_of(an_input_field))


def a_schema(value):
    return built(SchemaDatasetFacet, value, fields=all_of(lambda v: built(SchemaDatasetFacetFields, v)))


FACETS = {"schema": a_schema, "columnLineage": a_column_lineage,
          "jobType": lambda value: built(JobTypeJobFacet, value)}


def with_facets(kind):
    facets = lambda values: {name: FACETS[name](value) for name, value in values.items()}  # noqa: E731
    return lambda value: built(kind, value, facets=facets)


def an_event(value):
    return built(JobEvent, value, job=with_facets(Job), inputs=all_of(with_facets(InputDataset)),
                 outputs=all_of(with_facets(OutputDataset)))


def open_lineage(home, *words):
    out = lineage(home, "--format", "openlineage", *words).out
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("text", [LINEAGE, COMMAND, transform(RENDER), source("http", "url: 'https://shop.example/x?key=s3cret'")])
def test_events_are_those_of_the_specification(shop, text):
    shop.file("mail.html", "<p>{{ email }}</p>\n")
    shop.dag("d", text)
    values = open_lineage(shop)
    events = [an_event(value) for value in values]
    tasks = [task["name"] for task in planned(shop, text)["tasks"]]
    assert [event.job.name for event in events] == [f"d.{task}" for task in tasks]
    assert {event.job.namespace for event in events} == {"tidemill"}
    assert all(value["schemaURL"] == JobEvent._get_schema() for value in values)
    assert "s3cret" not in str(values)


def test_events_of_the_repository(home):
    for path in sorted((ROOT / "dags").glob("*.yaml")) + [ROOT / "dags" / "personalize" / "personalize.yaml"]:
        if path.name.endswith(".test.yaml") or path.name.startswith(("_", "connections", "pools", "secrets")):
            continue
        done = home.call("lineage", path, "--format", "openlineage", "--namespace", "shop")
        for line in done.out.splitlines():
            assert an_event(json.loads(line)).job.namespace == "shop"


def test_what_events_say(shop):
    shop.dag("d", LINEAGE)
    events = {event.job.name: event for event in map(an_event, open_lineage(shop))}
    names = lambda datasets: [(d.namespace, d.name) for d in datasets]  # noqa: E731
    assert names(events["d.orders"].inputs) == [("file", "orders.csv")]
    assert names(events["d.orders"].outputs) == [("tidemill", "d.orders")]
    assert names(events["d.totals"].inputs) == [("tidemill", "d.customers"), ("tidemill", "d.good")]
    assert names(events["d.good"].outputs) == [
        ("tidemill", "d.good"), ("tidemill", "d.good.duplicates"), ("tidemill", "d.good.rejects")]
    assert names(events["d.file"].inputs) == [("tidemill", "d.best")]
    assert names(events["d.file"].outputs) == [("file", "out/best.csv")]
    (totals,) = events["d.totals"].outputs
    assert [(f.name, f.type) for f in totals.facets["schema"].fields] == [
        ("name", "string"), ("amount", "float64"), ("orders", "int64"), ("email", "string"), ("share", "float64")]
    columns = totals.facets["columnLineage"]
    ways = lambda field: [(f.namespace, f.name, f.field, [(t.type, t.subtype) for t in f.transformations])  # noqa: E731
                          for f in field]
    assert ways(columns.fields["email"].inputFields) == [
        ("tidemill", "d.customers", "email", [("DIRECT", "TRANSFORMATION"), ("INDIRECT", "CONDITIONAL")])]
    assert ways(columns.fields["name"].inputFields) == [
        ("tidemill", "d.customers", "name", [("DIRECT", "IDENTITY")])]
    assert ways(columns.dataset)[3] == (
        "tidemill", "d.good", "customer_id", [("INDIRECT", "JOIN"), ("INDIRECT", "GROUP_BY")])
    assert events["d.totals"].job.facets["jobType"].jobType == "TRANSFORM"


# ---- The page.

def test_the_page_shows_what_there_is(shop):
    (text,) = blocks("docs/planning.md", "yaml")
    strict, plan, whole, column = blocks("docs/planning.md", "console")
    shown = lambda block: block.split("\n", 1)[1]  # noqa: E731
    words = lambda block: block.split("\n", 1)[0].split()[2:]  # noqa: E731
    path = shop.dag("revenue", text)
    done = called(shop, *words(strict), code=2)
    assert done.err + done.out == shown(strict)
    path.write_text(text.replace("amuont", "amount"))
    assert called(shop, *words(plan), code=0).out.endswith(shown(plan).removeprefix("…"))
    assert called(shop, *words(whole), code=0).out == shown(whole)
    assert called(shop, *words(column), code=0).out == shown(column)
    assert shop.run(path).state == "succeeded"


def test_the_page_names_every_code():
    page = (ROOT / "docs" / "planning.md").read_text()
    codes = set(re.findall(r"TM07\d\d", (ROOT / "crates" / "spec" / "src" / "codes.rs").read_text()))
    assert set(re.findall(r"TM07\d\d", page)) == codes


def test_a_column_of_a_file_of_an_item_that_may_fail(shop):
    action = "ingest: {csv: {path: '${{ item }}.csv', select: [a]}}"
    assert all(s.startswith("warning ") for s in found(shop, with_items_that_may_fail(shop, "tolerate: 1, ", action)))


TOGETHER = {
    "a number and a text": "  t: {for_each: '[1, \"x\"]', transform: {sql: 'select $i as i from orders'}, bind: {i: item}}\n",
    "their number": "  t: {for_each: '[1, 2]', transform: {sql: 'select order_id as _item from orders'}}\n",
    "their number in a group": "  g:\n    for_each: '[1, 2]'\n    tasks:\n      m: {transform: {sql: select order_id as _item from orders}}\n    outputs: {table: m}\n",
}


@pytest.mark.parametrize("tasks", TOGETHER.values(), ids=TOGETHER)
def test_items_that_cannot_be_put_together(shop, tasks):
    assert shop.run(shop.dag("d", SOURCES + tasks), code=1).state == "failed"
    shutil.rmtree(shop.path)
    assert [s[:5] for s in found(shop, SOURCES + tasks)] == ["error"]


def test_types_of_items_that_differ(shop):
    """What a run makes of whole numbers and others is known: `float64`."""
    text = SOURCES + "  t: {for_each: '[1, 2.5]', transform: {sql: 'select $i as i from orders'}, bind: {i: item}}\n"
    assert columns(shop, text, "t") == "i float64, _item int64"


# ---- Not yet as it should be. Each of these fails as long as it is not, and says so when it is.

not_yet = pytest.mark.xfail(strict=True)


@not_yet
def test_a_member_for_which_an_item_has_no_columns(shop):
    text = """
tasks:
  g:
    for_each: '["orders", "customers"]'
    tasks:
      r: {ingest: {csv: {path: '${{ item }}.csv'}}}
      s: {transform: {sql: 'select region from r'}}
    outputs: {table: s}
"""
    assert shop.run(shop.dag("d", text), code=1).state == "failed"
    assert found(shop, text) != []


MISSED_TEMPLATES = {
    "in a file that is included": "{% include 'part.txt' %}",
    "beside a word": "We import tea. {{ nam }}",
    "a filter behind another": "{{ name | upper | truncat(3) }}",
    "a field": "{% if o %}{{ o.nope }}{% endif %}",
}


@not_yet
@pytest.mark.parametrize("template", MISSED_TEMPLATES.values(), ids=MISSED_TEMPLATES)
def test_what_is_missed_in_templates(shop, template):
    shop.file("part.txt", "{{ nam }}")
    text = SOURCES + "  s: {transform: {sql: \"select name, named_struct('a', 1) as o from customers\"}}\n" \
        f"  made: {{transform: {{render: {{from: s, columns: {{text: {json.dumps(template)}}}}}}}}}\n"
    assert shop.run(shop.dag("d", text), code=1).state == "failed"
    shutil.rmtree(shop.path)
    assert [s[:15] for s in found(shop, text)] == ["error TM0702 5:"]


@not_yet
@pytest.mark.parametrize("template,name", [
    ("nam: {{ nam }}", "nam"), ("{% for x in [1] %}{% endfor %}{{ x }}", "x")])
def test_the_place_of_a_name_is_where_it_is_read(shop, template, name):
    text = SOURCES + f"  made: {{transform: {{render: {{from: customers, columns: {{text: {json.dumps(template)}}}}}}}}}\n"
    column = text.split("\n")[3].index(f"{{{{ {name} }}}}") + 4
    (said,) = found(shop, text)
    assert said.startswith(f"error TM0702 4:{column} "), said


@not_yet
def test_one_finding_for_one_thing(shop):
    said = found(shop, transform('render: {from: customers, columns: {text: "{{ shout(name) }}"}}'))
    assert len(said) == 1, said


@not_yet
def test_the_message_of_a_method_speaks_of_what_is_there(shop):
    (said,) = found(shop, transform('render: {from: customers, columns: {text: "{{ name.upper() }}"}}'))
    assert "string has no method named upper" in said and "undefined" not in said


@not_yet
def test_a_file_column_that_the_file_has(shop):
    """The settings are wrong, whatever lies in the file at another hour: so says a run."""
    (said,) = found(shop, source("csv", "path: orders.csv, file_column: region"))
    assert said.startswith("error TM0702 4:44 "), said


@not_yet
@pytest.mark.parametrize("query", ["select * from c union all select 1, 2", "select t.y from c as t(x, y)"])
def test_numbers_of_columns_of_a_table_that_may_have_others(home, query):
    text = f"""
tasks:
  c:
    run: printf 'a,b\\n1,2\\n' > "$TIDEMILL_OUTPUT_C"
    outputs: {{c: {{type: table, format: csv, columns: {{a: int64}}}}}}
  made: {{transform: {{sql: '{query}'}}}}
"""
    assert home.run(home.dag("d", text)).state == "succeeded"
    shutil.rmtree(home.path)
    assert found(home, text) == []


@not_yet
@pytest.mark.parametrize("text", [
    "params: {d: {type: date}}\n" + sql("select order_id from orders where ordered_on >= $m", "    bind: {m: params.d}\n"),
    sql("select order_id from orders where ordered_on >= $m", "    bind: {m: tasks.n.outputs.d}\n  n: {run: [x], outputs: {d: date}}\n"),
])
def test_a_day_in_bind(shop, text):
    """A text that stands for a day should read as one."""
    assert columns(shop, text, "made") == "order_id int64"


@not_yet
@pytest.mark.parametrize("settings", [
    RULES.replace("id: order_id", "id: nope").replace("value: amount / 2", "value: nope").replace("where: paid", "where: nope"),
    IDENTITY.replace("order: order_id", "order: nope").replace("email: [email, name]", "email: [nope, nope]"),
    RECOMMEND.replace("user: customer_id", "user: nope").replace("item: region", "item: nope"),
], ids=["rules", "identity", "recommend"])
def test_all_settings_of_a_task(shop, settings):
    assert len(found(shop, transform(settings))) > 1


GROUPED = """
tasks:
  g:
    tasks:
      raw: {ingest: {csv: {path: orders.csv}}}
      tidy: {transform: {sql: select upper(region) as upper from raw}}
    outputs: tidy
  all: {transform: {sql: select upper from g}}
"""


def test_lineage_is_the_same_after_a_run(shop):
    """The last run has the table of the group, and the DAG tells more of it."""
    shop.dag("d", GROUPED)
    before = lineage(shop, "all.upper").out
    assert "g.raw.region" in before
    shop.run(shop.dags / "d.yaml")
    assert lineage(shop, "all.upper").out == before


def test_a_mapped_group_is_known_from_the_last_run(shop):
    text = """
params: {files: {type: json, default: []}}
tasks:
  g:
    for_each: params.files
    tasks:
      raw: {ingest: {csv: {path: "${{ item }}"}}}
    outputs: raw
  all: {transform: {sql: select count(*) as n from g}}
"""
    file = shop.dag("d", text)
    assert "not known" in shop.call("plan", file).out
    shop.run(file, "--param", 'files=["orders.csv"]')
    assert "g: order_id" in shop.call("plan", file).out
