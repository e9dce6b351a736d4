"""What operators do with runs, by the command line and the API: pause, mark, hasten, leave notes."""

import pytest

from tidemill import eventually

FAILS = """
dag: shop
tasks:
  fetch:
    run: "test -e go || {{ echo 'no network' >&2; exit 1; }}"
    retry: {retry}
  report:
    run: echo the report
    depends_on: [fetch]
"""

SLOW = """
dag: slow
tasks:
  first:
    run: "while ! test -e go; do sleep 0.05; done"
  second:
    run: echo second
    depends_on: [first]
"""


@pytest.fixture
def server(home):
    home.dag("shop", FAILS.format(retry="{limit: 1, delay: 1h, max_delay: 1h}"))
    home.dag("slow", SLOW)
    return home.serve()


def state_of(server, run, task):
    return next(t for t in server.run(run)["tasks"] if t["name"] == task)["state"]


def test_a_paused_run_begins_nothing_until_it_is_resumed(home, server):
    run = server.trigger("slow")
    eventually("the first task", lambda: state_of(server, run, "first") == "running")
    out = home.call("pause", run).out
    assert f"{run} is paused" in out, out
    (home.dags / "go").touch()
    eventually("its end", lambda: state_of(server, run, "first") == "succeeded")
    found = server.run(run)
    assert (found["state"], found["paused_by"]) == ("running", "cli")
    assert "paused by cli" in found["waits_for"]
    assert "paused by cli" in home.call("show", run).out
    assert state_of(server, run, "second") == "pending"
    # It is still paused after a crash.
    server.kill()
    server = home.serve()
    assert server.run(run)["paused_by"] == "cli"
    assert state_of(server, run, "second") == "pending"
    home.call("resume", run)
    assert server.wait(run)["state"] == "succeeded"
    refused = home.call("pause", run, code=None)
    assert refused.code != 0 and "has ended already: succeeded" in refused.err


def test_a_retry_is_not_waited_for(home, server):
    run = server.trigger("shop")
    eventually("the retry", lambda: state_of(server, run, "fetch") == "up_for_retry")
    refused = home.call("retry", run, "report", code=None)
    assert "`report` of run shop.1 does not wait for a retry: it is pending" in refused.err
    (home.dags / "go").touch()
    home.call("retry", run, "fetch")
    assert server.wait(run)["state"] == "succeeded"


def test_a_mark_lets_the_rest_run(home, server):
    run = fails_at_once(home, server)
    plan = home.call("mark", run, "succeeded", "--task", "fetch", "--dry-run", "--json").json()
    assert (plan["done"], plan["marked"]) == (False, ["fetch"])
    home.call("mark", run, "succeeded", "--task", "fetch", "--note", "done by hand")
    found = server.wait(run)
    assert found["state"] == "succeeded"
    fetch = found["tasks"][0]
    assert fetch["reason"] == "marked as succeeded by cli: done by hand"
    assert state_of(server, run, "report") == "succeeded"
    again = home.call("mark", run, "succeeded", "--all", code=None)
    assert "every task of run shop.1 is succeeded already" in again.err
    unknown = home.call("mark", run, "failed", "--task", "fetsch", code=None)
    assert "has no task `fetsch`" in unknown.err and "fetch, report" in unknown.err


def test_a_running_command_is_ended_and_marked(home, server):
    run = server.trigger("slow")
    eventually("the first task", lambda: state_of(server, run, "first") == "running")
    home.call("mark", run, "skipped", "--task", "first")
    found = server.wait(run)
    assert [task["state"] for task in found["tasks"]] == ["skipped", "skipped"]
    assert found["tasks"][0]["history"][-1]["outcome"] == "cancelled"


def test_notes_stay_with_runs(home, server):
    (home.dags / "go").touch()
    run = server.trigger("shop")
    server.wait(run)
    home.call("note", run, "the shop was down")
    home.call("note", run, "see ticket 812", "--task", "fetch")
    server.kill()
    server = home.serve()
    found = server.run(run)
    assert (found["note"]["text"], found["note"]["who"]) == ("the shop was down", "cli")
    assert found["tasks"][0]["note"]["text"] == "see ticket 812"
    shown = home.call("show", run).out
    assert "the shop was down" in shown, shown
    home.call("note", run, "")
    assert server.run(run)["note"] is None
    refused = home.call("note", run, "x" * 501, code=None)
    assert "at most 500 characters" in refused.err


def fails_at_once(home, server):
    """A run that has failed, of a version that does not try again."""
    old = server.get("/api/v1/dags/shop")["version"]
    home.dag("shop", FAILS.format(retry="0"))
    eventually("the change", lambda: server.get("/api/v1/dags/shop")["version"] != old)
    run = server.trigger("shop")
    assert server.wait(run)["state"] == "failed"
    return run


def test_one_operation_on_many_runs(home, server):
    runs = [fails_at_once(home, server)]
    for _ in range(2):
        runs.append(server.trigger("shop"))
        server.wait(runs[-1])
    chosen = ["--dag", "shop", "--state", "failed", "--since", "1h"]
    out = home.call("rerun", *chosen, "--dry-run").out
    assert "would rerun 3 runs" in out and all(run in out for run in runs), out
    (home.dags / "go").touch()
    assert "rerun: 3 of 3 runs" in home.call("rerun", *chosen).out
    for run in runs:
        assert server.wait(run)["state"] == "succeeded"
    assert "cancel: 0 of 0 runs" in home.call("cancel", "--dag", "shop", "--state", "running").out
    status, _, body = server.ask("POST", "/api/v1/runs/cancel", {"filter": {}})
    assert status == 422 and "every run" in body["detail"], body
    assert home.call("cancel", code=None).code == 2
