"""Limits of time: on a run, on the wait for a slot; and a DAG that pauses itself."""

from tidemill import eventually

SLOW = """
dag: slow
timeout: 1s
tasks:
  sleep: {run: [sleep, "60"]}
  after: {run: [echo, after], depends_on: [sleep]}
"""

NARROW = """
dag: narrow
tasks:
  first: {run: [sleep, "60"], pool: one, priority: 2}
  second: {run: [echo, second], pool: one, queue_timeout: 300ms}
"""

FRAGILE = """
dag: fragile
triggers: [{every: 1s, catchup: none}]
start: 2026-01-01
auto_pause: {after_failures: 2}
tasks:
  fail: {run: [sh, -c, "exit 1"]}
"""


def test_a_run_that_takes_too_long_fails(home):
    home.dag("slow", SLOW)
    server = home.serve()
    run = server.wait(server.trigger("slow"))
    assert run["state"] == "failed", run
    assert run["reason"] == "it took longer than its timeout of 1.0 s"
    assert [task["state"] for task in run["tasks"]] == ["cancelled", "cancelled"]
    assert "ended, because it took longer" in home.call("show", run["id"]).out


def test_a_wait_for_a_slot_has_its_limit(home):
    home.file("pools.yaml", "one: 1\n")
    home.dag("narrow", NARROW)
    server = home.serve()
    run = server.trigger("narrow")
    def second():
        return next(t for t in server.run(run)["tasks"] if t["name"] == "second")
    eventually("its end", lambda: second()["state"] == "failed")
    assert "queue_timeout of 300 ms for pool `one`" in second()["error"]["message"]
    home.call("cancel", run)
    server.wait(run)


def test_a_dag_pauses_itself(home):
    home.dag("fragile", FRAGILE)
    server = home.serve()
    dag = eventually("its pause", lambda: (
        lambda dag: dag if dag["paused"] else None)(server.get("/api/v1/dags/fragile")))
    assert dag["paused_by"] == "auto_pause: the last 2 runs failed"
    runs = server.get("/api/v1/dags/fragile/runs")["items"]
    assert [run["state"] for run in runs] == ["failed", "failed"]
    home.call("resume", "fragile")
    eventually("further runs", lambda: len(server.get("/api/v1/dags/fragile/runs")["items"]) > 2)
