"""Tables of tasks that were skipped, and of other DAGs; and the folder that a command runs in."""

import pytest

SKIPPED = """
params: {path: {type: string, default: orders.csv}, returns: {type: boolean, default: false}}
tasks:
  orders: {ingest: {csv: {path: "${{ params.path }}"}}}
  returns:
    when: params.returns
    ingest: {csv: {path: returns.csv}}
  reasons:
    transform: {sql: "select id, upper(why) as why from returns"}
  both:
    transform:
      sql: |
        select o.id, r.why, (select count(*) from returns) as returned
        from orders o left join reasons r on r.id = o.id order by o.id
    trigger_rule: none_failed
  out: {load: {csv: {path: out.csv}}, from: both}
"""


@pytest.fixture
def shop(home):
    home.file("orders.csv", "id,amount\n1,5\n2,7\n")
    home.file("returns.csv", "id,why\n2,broken\n")
    return home


def test_a_skipped_upstream_is_an_empty_table(shop):
    file = shop.dag("shop", SKIPPED)
    result = shop.run(file)
    assert result.states()["returns"] == result.states()["reasons"] == "skipped"
    assert (shop.dags / "out.csv").read_text() == "id,why,returned\n1,,0\n2,,0\n"
    log = shop.call("logs", result.run, "both").out
    assert "`returns` has no rows: its task was skipped" in log
    shop.run(file, "--param", "returns=true")
    assert (shop.dags / "out.csv").read_text() == "id,why,returned\n1,,1\n2,BROKEN,1\n"


def test_a_skipped_upstream_has_the_columns_of_an_earlier_run(shop):
    file = shop.dag("shop", SKIPPED)
    shop.run(file, "--param", "returns=true")
    (shop.dags / "returns.csv").unlink()
    shop.run(file)
    assert (shop.dags / "out.csv").read_text() == "id,why,returned\n1,,0\n2,,0\n"


def test_a_skipped_upstream_of_which_nothing_is_known(shop):
    (shop.dags / "returns.csv").unlink()
    result = shop.run(shop.dag("shop", SKIPPED), code=1)
    error = result.error("both")
    assert "has no rows, because its task was skipped, and nothing tells its columns" in error
    assert "declare them with `columns`" in error
    # As the remedy says.
    declared = SKIPPED.replace(
        "path: returns.csv}", "path: returns.csv, columns: {id: int64, why: string}}"
    )
    shop.run(shop.dag("shop", declared))
    assert (shop.dags / "out.csv").read_text() == "id,why,returned\n1,,0\n2,,0\n"


def test_an_empty_list_leaves_an_empty_table(shop):
    mapped = """
params: {paths: {type: json, default: []}}
tasks:
  rows:
    for_each: params.paths
    ingest: {csv: {path: "${{ item }}", columns: {id: int64}}}
  counted:
    transform: {sql: "select count(*) as n, max(id) as last from rows"}
    trigger_rule: none_failed
  out: {load: {jsonl: {path: out.jsonl}}, from: counted}
"""
    file = shop.dag("mapped", mapped)
    shop.run(file)
    assert (shop.dags / "out.jsonl").read_text() == '{"n":0,"last":null}\n'
    shop.run(file, "--param", 'paths=["orders.csv"]')
    assert (shop.dags / "out.jsonl").read_text() == '{"n":2,"last":2}\n'


CRM = """
params: {least: {type: integer, default: 0}}
tasks:
  customers:
    ingest: {csv: {path: customers.csv}}
    checks: [{where: "id > 1", on_fail: quarantine}]
  enough: {run: ["test", "${{ tasks.customers.rows }}", "-ge", "${{ params.least }}"]}
"""
SHOP = """
tasks:
  customers: {ingest: {dataset: {name: crm.customers}}}
  bad: {ingest: {dataset: {name: crm.customers.rejects}}}
  totals: {transform: {sql: "select count(*) as n, (select count(*) from bad) as bad from customers"}}
  out: {load: {csv: {path: totals.csv}}, from: totals}
"""


@pytest.fixture
def pair(home):
    home.file("customers.csv", "id,name\n1,Ada\n2,Bob\n3,Eve\n")
    home.dag("crm", CRM)
    home.dag("shop", SHOP)
    return home


def test_a_dataset_is_what_another_dag_made_last(pair):
    crm, shop = pair.dags / "crm.yaml", pair.dags / "shop.yaml"
    error = pair.run(shop, code=1).error("customers")
    assert "there is no DAG `crm`" in error or "no run of DAG `crm` has succeeded yet" in error
    pair.run(crm)
    read = pair.run(shop)
    assert (pair.dags / "totals.csv").read_text() == "n,bad\n2,1\n"
    counts = read.tasks["customers"]["counts"]
    assert counts["in"] == counts["out"] == 2
    # A run that failed changes nothing, whatever its tables are.
    pair.file("customers.csv", "id,name\n1,Ada\n")
    pair.run(crm, "--param", "least=9", code=1)
    pair.run(shop)
    assert (pair.dags / "totals.csv").read_text() == "n,bad\n2,1\n"
    pair.file("customers.csv", "id,name\n7,Zoe\n")
    pair.run(crm)
    pair.run(shop)
    assert (pair.dags / "totals.csv").read_text() == "n,bad\n1,0\n"
    planned = pair.call("plan", shop).out
    assert "customers: id int64, name string (of the last run)" in planned


def test_a_dataset_that_is_not_there(pair):
    pair.run(pair.dags / "crm.yaml")
    text = SHOP.replace("crm.customers}", "crm.custmers}")
    error = pair.run(pair.dag("typo", text), code=1).error("customers")
    assert "made no table `custmers`" in error and "did you mean `customers`?" in error
    wrong = pair.call("validate", pair.dag("wrong", SHOP.replace("crm.customers}", "crm}")), code=2)
    assert "`crm` names no table of a DAG" in wrong.err and "wrong.yaml:3:40" in wrong.err


def test_datasets_under_a_server(pair):
    server = pair.serve()
    assert server.wait(server.trigger("crm"))["state"] == "succeeded"
    run = server.trigger("shop")
    assert server.wait(run)["state"] == "succeeded"
    sample = server.get(f"/api/v1/runs/{run}/tables/customers")
    assert sample["rows"] == [[2, "Bob"], [3, "Eve"]]


def test_a_command_in_a_folder_of_its_own(home):
    home.file("scripts/eu/name.txt", "Ada\n")
    text = """
params: {region: {type: string, default: eu}}
tasks:
  say: {run: [cat, name.txt], workdir: "scripts/${{ params.region }}"}
"""
    file = home.dag("say", text)
    result = home.run(file)
    assert "Ada" in home.call("logs", result.run, "say").out
    error = home.run(file, "--param", "region=us", code=1).error("say")
    assert "scripts/us` is not there" in error and "`workdir` of task `say`" in error


def test_what_members_set_aside_counts_for_their_group(home):
    home.file("a.csv", "id\n1\n1\n-2\n3\n")
    home.file("b.csv", "id\n4\n-5\n")
    file = home.dag("groups", """
tasks:
  g:
    for_each: ["a.csv", "b.csv"]
    tasks:
      raw:
        ingest: {csv: {path: "${{ item }}"}}
        checks: [{where: "id > 0", on_fail: quarantine}]
      tidy: {transform: {clean: {from: raw, dedupe: all}}}
    outputs: tidy
  say: {run: [echo, "${{ tasks.g.rows }} ${{ tasks.g.rejected }} ${{ tasks.g.duplicates }}"]}
""")
    result = home.run(file)
    counts = result.tasks["g"]["counts"]
    assert counts["out"] == 3 and counts["duplicates"] == 1, counts
    assert counts["rejected"] == {"where(id > 0)": 2}, counts
    assert "3 2 1" in home.call("logs", result.run, "say").out
