"""The server from outside: what a script gets, and what a hostile page does not."""

import json

import pytest

from tidemill import eventually

DAG = """
params:
  n: {type: integer, default: 1}
tasks:
  rows:
    transform:
      sql: select 1 as a, 'x' as b, cast('12345678901234567890.10' as decimal(30,2)) as d
  slow:
    run: ["sh", "-c", "echo started; exec sleep 300"]
    when: params.n > 1
"""


@pytest.fixture
def server(home):
    home.dag("d", DAG)
    return home.serve()


def test_health_and_metrics(server):
    status, _, body = server.ask("GET", "/health")
    assert status == 200, body
    text = server.get("/metrics")
    assert "# TYPE tidemill_" in text
    assert text.rstrip().endswith("# EOF")


def test_dags_runs_tables(server):
    assert [dag["id"] if "id" in dag else dag["name"] for dag in server.get("/api/v1/dags")["items"]] == ["d"]
    run = server.trigger("d")
    found = server.wait(run)
    assert found["state"] == "succeeded"
    tasks = {task["name"]: task for task in found["tasks"]}
    assert (tasks["rows"]["rows_out"], tasks["slow"]["state"]) == (1, "skipped")
    sample = json.dumps(server.get(f"/api/v1/runs/{run}/tables/rows"))
    assert '"x"' in sample
    assert '"12345678901234567890.10"' in sample, "decimals keep their digits"
    assert [r["id"] for r in server.get("/api/v1/dags/d/runs")["items"]] == [run]


def test_cancel_ends_the_command(server):
    run = server.trigger("d", {"n": 2})
    def started():
        status, _, body = server.ask("GET", f"/api/v1/runs/{run}/tasks/slow/logs")
        return status == 200 and "started" in json.dumps(body)
    eventually("the log of the command", started)
    status, _, _ = server.ask("POST", f"/api/v1/runs/{run}/cancel", {})
    assert status == 202
    assert server.wait(run)["state"] == "cancelled"
    status, _, _ = server.ask("POST", f"/api/v1/runs/{run}/cancel", {})
    assert status == 409


def test_a_repeated_trigger_with_a_key_starts_one_run(server):
    key = {"Idempotency-Key": "k-1"}
    answers = [server.ask("POST", "/api/v1/dags/d/runs", {"params": {}}, key) for _ in range(3)]
    assert {body["id"] for _, _, body in answers} == {"d.1"}
    assert len(server.get("/api/v1/dags/d/runs")["items"]) == 1


@pytest.mark.parametrize("method,path,body,headers,expected", [
    ("GET", "/api/v1/dags", None, {"Host": "evil.example"}, {400, 403, 421}),
    ("POST", "/api/v1/dags/d/runs", {}, {"Origin": "https://evil.example"}, {403}),
    ("POST", "/api/v1/dags/d/runs", {}, {"Sec-Fetch-Site": "cross-site"}, {403}),
    ("POST", "/api/v1/dags/d/runs", b"{}", {"Content-Type": "text/plain"}, {403, 415}),
    ("POST", "/api/v1/run-file", {"path": "/etc/passwd"}, {}, {401, 403}),
    ("GET", "/api/v1/nothing", None, {}, {404}),
    ("GET", "/api/v1/runs/d.99", None, {}, {404}),
    ("POST", "/api/v1/dags/none/runs", {}, {}, {404}),
    ("POST", "/api/v1/dags/d/runs", {"params": {"n": "x"}}, {}, {400, 422}),
    ("POST", "/api/v1/dags/d/runs", {"parms": {}}, {}, {400, 422}),
    ("POST", "/api/v1/dags/d/runs", b"{", {}, {400, 422}),
    ("POST", "/api/v1/dags/d/runs", [], {}, {400}),
    ("DELETE", "/api/v1/dags/d/runs", None, {}, {405}),
    ("PUT", "/api/v1/runs", None, {"Content-Type": "text/plain"}, {405}),
    ("POST", "/api/v1/runs", b"x", {"Content-Type": "text/plain"}, {405}),
    ("DELETE", "/api/v1/runs", None, {"Origin": "https://evil.example"}, {403}),
    ("DELETE", "/api/v1/nothing", None, {}, {404}),
])
def test_refused(server, method, path, body, headers, expected):
    status, answer_headers, answer = server.ask(method, path, body, headers)
    assert status in expected, f"{status}: {answer}"
    if status == 405:
        assert "GET" in answer_headers["Allow"]
    assert server.get("/api/v1/runs")["items"] == []


def test_head_says_what_get_would_give(server):
    run = server.trigger("d")
    server.wait(run)
    for path in ["/health", "/metrics", "/", "/dags", "/runs", f"/runs/{run}", "/profiles",
                 "/api/v1/dags", "/api/v1/runs", f"/api/v1/runs/{run}", "/api/v1/doctor",
                 f"/api/v1/runs/{run}/wait", f"/api/v1/runs/{run}/tables/rows",
                 f"/api/v1/runs/{run}/tasks/rows/logs",
                 f"/api/v1/runs/{run}/tasks/rows/logs?raw=true", "/static/tidemill.css",
                 "/nothing", "/api/v1/nothing", "/api/v1/runs/d.99", "/api/v1/runs?limit=x"]:
        status, given, body = server.ask("HEAD", path)
        assert body == "", path
        get_status, get_given, get_body = server.ask("GET", path)
        assert (status, given["Content-Type"]) == (get_status, get_given["Content-Type"]), path
        # The others tell how long ago something was.
        if path.startswith(("/api/v1/runs", "/static", "/nothing")):
            assert given["Content-Length"] == get_given["Content-Length"], path


def test_a_log_ends_wherever_one_begins_to_read(server):
    run = server.trigger("d")
    server.wait(run)
    logs = f"/api/v1/runs/{run}/tasks/rows/logs"
    whole = server.get(logs)
    assert whole["ended"] and whole["lines"]
    for behind in (whole["next"], whole["next"] + 1, 10 ** 9, 2 ** 64 - 1):
        page = server.get(f"{logs}?from={behind}")
        assert (page["lines"], page["ended"]) == ([], True), behind
    # What is skipped writes no log, and there will be none.
    assert server.get(f"/api/v1/runs/{run}/tasks/slow/logs")["ended"]


def test_the_log_of_an_attempt_that_a_kill_ended(home):
    home.dag("d", DAG)
    server = home.serve()
    run = server.trigger("d", {"n": 2})
    logs = f"/api/v1/runs/{run}/tasks/slow/logs"
    eventually("the log", lambda: "started" in json.dumps(server.get(logs)))
    assert not server.get(f"{logs}?from=100000")["ended"]
    server.kill()
    home.kill_supervisor()
    server = home.serve()
    eventually("the next attempt", lambda: server.get(logs)["attempt"] == 2)
    page = server.get(f"{logs}?attempt=1")
    assert "started" in json.dumps(page["lines"])
    assert page["ended"] or server.get(f"{logs}?attempt=1&from={page['next']}")["ended"]
    assert server.get(f"{logs}?attempt=1&from=100000&follow=true")["ended"]


def test_only_loopback_is_served(home):
    home.dag("d", DAG)
    done = home.call("serve", "--dags", home.dags, "--bind", "0.0.0.0:0", code=1)
    assert "127.0.0.1" in done.err


def test_pages_forbid_foreign_scripts(server):
    _, headers, body = server.ask("GET", "/")
    policy = headers["Content-Security-Policy"]
    assert "default-src" in policy and "unsafe-inline" not in policy
    assert "<script>" not in body


def test_a_bad_file_stops_nothing_else(home):
    home.dag("good", DAG)
    home.dag("bad", "tasks: [\n")
    server = home.serve()
    listed = json.dumps(server.get("/api/v1/dags"))
    assert "bad.yaml" in listed
    assert server.wait(server.trigger("good"))["state"] == "succeeded"


def test_files_are_picked_up_while_serving(home):
    home.dag("first", DAG)
    server = home.serve()
    home.dag("second", DAG)
    def deployed():
        status, _, _ = server.ask("POST", "/api/v1/dags/second/runs", {})
        return status == 201
    eventually("the new DAG", deployed)
    before = server.get("/api/v1/dags/second")
    home.dag("second", DAG.replace("select 1 as a", "select 2 as a"))
    eventually("the new version", lambda: server.get("/api/v1/dags/second") != before and
               server.wait(server.trigger("second")) and True)


def test_a_server_that_is_told_to_stop_stops(server):
    server.trigger("d", {"n": 2})
    assert server.stop() == 0
