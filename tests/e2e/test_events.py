"""Runs that start because of what other DAGs do: the end of a run, tables that were made."""

import time

from tidemill import eventually

CRM = """
dag: crm
params: {fail: {type: boolean, default: false}}
tasks:
  customers: {transform: {sql: "select 1 as id union all select 2"}}
  check:
    run: "test \\"$FAIL\\" = false"
    env: {FAIL: "${{ params.fail }}"}
    depends_on: [customers]
"""

SHOP = """
dag: shop
tasks:
  orders: {transform: {sql: "select 7 as id"}}
"""

MAILS = """
dag: mails
triggers: [{trigger}]
params: {{why: {{type: string, default: "-"}}}}
tasks:
  send:
    run: [echo, "${{{{ trigger.by }}}} ${{{{ trigger.run }}}} ${{{{ trigger.rows }}}} ${{{{ params.why }}}}"]
"""


def runs_of(server, dag):
    items = server.get(f"/api/v1/dags/{dag}/runs?limit=200")["items"]
    return sorted(items, key=lambda run: run["number"])


def said(home, run):
    return home.call("logs", run, "send", "--raw").out.strip()


def settled(server, dag, count):
    """The runs of a DAG, once there are so many and all have ended."""
    def look():
        runs = runs_of(server, dag)
        ended = all(run["state"] in ("succeeded", "failed", "cancelled") for run in runs)
        return runs if len(runs) >= count and ended else None
    runs = eventually(f"{count} runs of {dag}", look)
    assert len(runs) == count, runs
    return runs


def test_a_table_that_was_made_starts_a_run(home):
    home.dag("crm", CRM)
    home.dag("mails", MAILS.format(
        trigger="{dataset: crm.customers, params: {why: '${{ trigger.dataset }}'}}"))
    server = home.serve()
    run = server.trigger("crm")
    server.wait(run)
    started = settled(server, "mails", 1)[0]
    assert started["trigger"] == {
        "by": "dataset", "trigger": "dataset crm.customers", "count": 1,
        "updates": [{"dataset": "crm.customers", "run": run, "rows": 2}]}
    assert said(home, "mails.1") == f"dataset {run} 2 crm.customers"
    # A run that failed made no table that counts.
    status, _, body = server.ask("POST", "/api/v1/dags/crm/runs", {"params": {"fail": True}})
    assert server.wait(body["id"])["state"] == "failed"
    # What is made again in another generation counts again; what stays does not.
    home.call("rerun", run, "--from", "check", "--wait")
    time.sleep(0.2)
    assert len(runs_of(server, "mails")) == 1
    home.call("rerun", run, "--all", "--wait")
    settled(server, "mails", 2)


def test_nothing_is_lost_while_a_dag_stands_still(home):
    home.dag("crm", CRM)
    home.dag("shop", SHOP)
    home.dag("each", MAILS.replace("dag: mails", "dag: each").format(trigger="{dataset: crm.customers}"))
    home.dag("batch", MAILS.replace("dag: mails", "dag: batch").format(
        trigger="{dataset: {any: [crm.customers, shop.orders], consume: batch}}"))
    home.dag("latest", MAILS.replace("dag: mails", "dag: latest").format(
        trigger="{dataset: {all: [crm.customers, shop.orders], consume: latest}}"))
    server = home.serve()
    for dag in ("each", "batch", "latest"):
        home.call("pause", dag)
    made = [server.trigger("crm") for _ in range(3)] + [server.trigger("shop")]
    for run in made:
        server.wait(run)
    server.kill()
    # Whoever runs a DAG by hand meanwhile tells them, too.
    home.call("run", home.dags / "crm.yaml")
    server = home.serve()
    for dag in ("each", "batch", "latest"):
        assert runs_of(server, dag) == []
        home.call("resume", dag)
    assert len(settled(server, "each", 4)) == 4
    batch = settled(server, "batch", 1)[0]["trigger"]
    assert batch["count"] == 5 and {u["dataset"] for u in batch["updates"]} == {"crm.customers", "shop.orders"}
    latest = settled(server, "latest", 1)[0]["trigger"]
    assert latest["count"] == 2
    assert sorted(u["run"] for u in latest["updates"]) == ["crm.4", "shop.1"]


def test_the_end_of_a_run_starts_another(home):
    home.dag("crm", CRM)
    home.dag("mails", MAILS.format(
        trigger="{dag: {name: crm, states: [failed]}, when: 'trigger.run != \"crm.1\"'}"))
    server = home.serve()
    server.wait(server.trigger("crm"))
    for _ in range(2):
        status, _, body = server.ask("POST", "/api/v1/dags/crm/runs", {"params": {"fail": True}})
        server.wait(body["id"])
    runs = settled(server, "mails", 2)
    assert [run["trigger"]["run"] for run in runs] == ["crm.2", "crm.3"]
    assert said(home, "mails.1").startswith("dag crm.2")


def test_a_chain_over_a_crash(home):
    """Each link of a chain runs once, however often the server falls meanwhile."""
    home.dag("crm", CRM)
    for number, before in enumerate(["crm", "a0", "a1", "a2"]):
        home.dag(f"a{number}", MAILS.replace("dag: mails", f"dag: a{number}").format(
            trigger="{dag: {name: %s}}" % before))
    server = home.serve()
    runs = []
    for _ in range(6):
        runs.append(server.trigger("crm"))
        server.kill()
        server = home.serve()
    for run in runs:
        assert server.wait(run)["state"] == "succeeded"
    for number in range(4):
        started = settled(server, f"a{number}", 6)
        assert len({run["trigger"]["run"] for run in started}) == 6


def test_a_dag_cannot_start_itself(home):
    path = home.dag("mails", MAILS.format(trigger="{dag: {name: mails}}"))
    refused = home.call("validate", path, code=2)
    assert "waits for its own runs" in refused.out + refused.err
    path = home.dag("mails", MAILS.format(trigger="{dataset: crm.a, jitter: 5m}"))
    refused = home.call("validate", path, code=2)
    assert "`jitter` has no meaning beside `dataset`" in refused.out + refused.err
