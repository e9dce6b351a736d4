"""What goes wrong outside comes back as an error that names thing, place and remedy."""

import json
import os
import pathlib

import pytest

from tidemill import eventually
from web import Web

READ = """
tasks:
  rows:
    ingest:
      csv: {{path: "{path}", columns: {{a: int64, b: string}}{more}}}
  other:
    run: [echo, unaffected]
  after:
    transform:
      sql: select count(*) as n from rows
  file:
    load:
      jsonl: {{path: out/n.jsonl}}
    from: after
"""


def read(path, more=""):
    return READ.format(path=path, more=more)


def test_a_missing_file(home):
    result = home.run(home.dag("d", read("inbox/*.csv")), code=1)
    assert result.states() == {"rows": "failed", "other": "succeeded", "after": "upstream_failed",
                               "file": "upstream_failed"}
    assert "inbox/*.csv" in result.error("rows")


def test_a_wrong_column(home):
    home.file("in.csv", "a,c\n1,x\n")
    result = home.run(home.dag("d", read("in.csv")), code=1)
    assert "`b`" in result.error("rows")
    home.file("in.csv", "a,b\n1,x\n")
    wrong = read("in.csv").replace("count(*) as n", "max(A) as n")
    result = home.run(home.dag("d", wrong), code=1)
    assert "`A`" in result.error("after") and "`a`" in result.error("after")


BROKEN = "a,b\n1,x\nseven,y\n3,z,zz\n4,w\n"


def test_an_unparsable_row_stops(home):
    home.file("in.csv", BROKEN)
    error = home.run(home.dag("d", read("in.csv")), code=1).error("rows")
    for part in ("in.csv:3", "column a", "`seven`"):
        assert part in error, f"{part} is not in {error}"


def test_unparsable_rows_are_set_aside(home):
    home.file("in.csv", BROKEN)
    result = home.run(home.dag("d", read("in.csv", ", on_bad_row: quarantine")))
    counts = result.tasks["rows"]["counts"]
    assert (counts["in"], counts["out"]) == (4, 2)
    assert sum(counts["rejected"].values()) == 2
    assert json.loads((home.dags / "out" / "n.jsonl").read_text()) == {"n": 2}
    bad = read("in.csv", ", on_bad_row: quarantine") + """
  bad_file:
    load:
      jsonl: {path: out/bad.jsonl}
    from: rows.bad_rows
"""
    home.run(home.dag("bad", bad))
    rows = [json.loads(line) for line in (home.dags / "out" / "bad.jsonl").read_text().splitlines()]
    assert [(row["line"], row.get("value")) for row in rows][0] == (3, "seven")
    assert len(rows) == 2


@pytest.mark.parametrize("name,content", [
    ("a gzip file that is cut off", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x4b"),
    ("no text at all", bytes(range(256)) * 8),
    ("an open quote", b'a,b\n1,"x\n2,y\n'),
    ("an empty file", b""),
])
def test_files_that_are_none(home, name, content):
    home.file("in.csv.gz" if "gzip" in name else "in.csv", content)
    result = home.run(home.dag("d", read("in.csv*")), code=1)
    assert result.states()["rows"] == "failed", name
    # Either the file is to blame, or the columns that it seems to have.
    assert "in.csv" in result.error("rows") or "`a`" in result.error("rows")
    assert result.states()["other"] == "succeeded"


API = """
tasks:
  rows:
    ingest:
      http: {{url: "{url}/rows", columns: {{a: int64}}}}
  file:
    load:
      jsonl: {{path: out/rows.jsonl}}
    from: rows
"""


def test_a_server_that_fails_for_a_while(home):
    def answer(_, number):
        if number == 1:
            return 429, {"Retry-After": "0"}, b"slow down"
        if number == 2:
            return 503, {}, b"busy"
        return 200, {"Content-Type": "application/json"}, b'[{"a": 1}, {"a": 2}]'
    with Web(answer) as web:
        result = home.run(home.dag("d", API.format(url=web.address)))
    assert result.tasks["rows"]["counts"]["out"] == 2
    assert len(web.asked) == 3
    # Short retries belong to the attempt: it was one.
    assert result.tasks["rows"]["attempts"] == 1
    log = home.call("logs", result.run, "rows").out
    assert "429" in log and "503" in log


@pytest.mark.parametrize("retries,state", [(0, "failed"), (1, "up_for_retry")])
def test_a_server_that_asks_to_wait(home, retries, state):
    """Its wish was to be seen in JSON alone."""
    with Web(lambda *_: (429, {"Retry-After": "600"}, b"slow down")) as web:
        dag = API.format(url=web.address).replace("  file:", f"    retry: {{limit: {retries}}}\n  file:")
        home.dag("d", dag)
        server = home.serve()
        run = server.trigger("d")
        eventually(state, lambda: server.run(run)["tasks"][0]["state"] == state)
        for said in (home.call("show", run).out, server.get(f"/runs/{run}"),
                     server.get(f"/runs/{run}/tasks/rows")):
            assert "429" in said and "the other side asked to wait 10 min" in said, said
        server.kill()
        shown = home.call("show", run).out
        assert "429" in shown and "the other side asked to wait 10 min" in shown, shown


@pytest.mark.parametrize("status,asked", [(500, None), (404, 1), (401, 1)])
def test_a_server_that_keeps_failing(home, status, asked):
    with Web(lambda *_: (status, {"Retry-After": "0"}, b"the reason why")) as web:
        result = home.run(home.dag("d", API.format(url=web.address)), code=1)
    error = result.error("rows")
    assert str(status) in error and "/rows" in error
    assert len(web.asked) == asked if asked else 1 < len(web.asked) < 10
    assert not (home.dags / "out").exists()


def test_a_server_that_is_not_there(home):
    with Web(lambda *_: (200, {}, b"[]")) as web:
        address = web.address
    result = home.run(home.dag("d", API.format(url=address)), code=1)
    assert address in result.error("rows")


def test_an_answer_that_is_no_json(home):
    with Web(lambda *_: (200, {"Content-Type": "text/html"}, b"<html>log in</html>")) as web:
        result = home.run(home.dag("d", API.format(url=web.address)), code=1)
    assert "/rows" in result.error("rows")


CONNECTED = """
tasks:
  rows:
    ingest:
      http: {connection: shop, path: /rows, columns: {a: int64}}
  shown:
    run: [sh, -c, "echo the key is $KEY"]
    env: {KEY: "${{ secrets.shop_token }}"}
"""


def test_secrets_travel_and_are_masked(home):
    secret = "s3cret-Value-0815"
    home.file("connections.yaml", "")
    with Web(lambda *_: (200, {}, b'[{"a": 1}]')) as web:
        home.file("connections.yaml", f"""
shop:
  type: http
  base_url: {web.address}
  token: {{secret: shop_token}}
""")
        path = home.dag("d", CONNECTED)
        result = home.run(path, env={"TIDEMILL_SECRET_SHOP_TOKEN": secret})
        assert [headers["authorization"] for _, headers in web.asked] == [f"Bearer {secret}"]
        missing = home.run(path, code=1)
        assert "shop_token" in missing.error("rows")
        assert "TIDEMILL_SECRET_SHOP_TOKEN" in missing.error("rows")
        # A file that others can read is refused.
        home.file("secrets.yaml", f"shop_token: {secret}\n").chmod(0o644)
        assert "chmod 600" in home.call("run", path, code=1).err
        (home.dags / "secrets.yaml").chmod(0o600)
        home.run(path)
    log = home.call("logs", result.run, "shown", "--raw").out
    assert "the key is" in log and secret not in log
    for place in home.path.rglob("*"):
        if place.is_file():
            assert secret.encode() not in place.read_bytes(), f"{place} holds the secret"


def test_a_second_process_on_a_home(home):
    home.dag("d", "tasks: {one: {run: [echo, one]}}\n")
    server = home.serve()
    said = home.call("serve", "--dags", home.dags, "--bind", "127.0.0.1:0", code=1).err
    assert str(server.process.pid) in said or str(home.path) in said, said
    assert server.wait(server.trigger("d"))["state"] == "succeeded"


CHECKS = """
tasks:
  rows:
    ingest:
      csv: {path: in.csv, columns: {a: int64, b: string}}
    checks:
      - CHECK
  after:
    transform:
      sql: select * from rows
"""


@pytest.mark.parametrize("check,told", [
    ("not_null: [b]", "b"),
    ("unique: a", "a"),
    ("rows: {min: 10}", "10"),
    ("where: a < 3", "a < 3"),
    ("sql: select a from rows where a > 2", "a > 2"),
])
def test_checks_stop_the_task(home, check, told):
    home.file("in.csv", "a,b\n1,x\n1,y\n3,\n")
    path = home.dag("d", CHECKS.replace("CHECK", check))
    result = home.run(path, code=1)
    assert result.states() == {"rows": "failed", "after": "upstream_failed"}
    assert told in result.error("rows")
    warned = home.dag("w", CHECKS.replace("- CHECK", f"- {check}\n        on_fail: warn"))
    result = home.run(warned)
    assert result.state == "succeeded"
    assert told in json.dumps(result.tasks["rows"]["warnings"])


def test_no_rows_in_the_journal(home):
    """Data stay in tables: the journal tells hashes and counts."""
    marker = "row-data-4711"
    home.file("in.csv", f"a,b\n1,{marker}\n")
    home.run(home.dag("d", read("in.csv")))
    journal = [path for path in home.path.rglob("*") if path.is_file() and "journal" in str(path.relative_to(home.path))]
    assert journal
    for path in journal:
        assert marker.encode() not in path.read_bytes(), path


def test_intervals_say_what_is_wrong(home):
    """A reversed interval was "not a date or an instant", and an empty one ran about nothing."""
    path = home.dag("d", "tasks:\n  n:\n    noop:\n")
    for text, told in (("2026-02-01/2026-01-01", "2026-01-01T00:00:00Z; swap them"),
                       ("2026-01-01/2026-01-01", "starts and ends at 2026-01-01T00:00:00Z"),
                       ("2026-01-01", "has one end only"), ("x/2026-01-01", "`x` is not a date")):
        said = home.call("run", path, "--interval", text, code=1).err
        assert f"`--interval {text}`" in said and told in said, said
    assert home.run(path).states() == {"n": "succeeded"}


def test_files_that_are_no_text_have_a_code(home):
    """A file that is too large or no UTF-8 was told without a code or a place."""
    large = home.file("large.yaml", b"# " + b"x" * (9 << 20))
    latin = home.file("latin.yaml", "tasks:\n  a:\n    run: [echo, é]\n".encode("latin-1"))
    for path, told in ((large, "error[TM0002]"), (latin, "error[TM0003]"),
                       (home.dags / "none.yaml", "error[TM0013]"), (home.dags, "error[TM0013]")):
        for command in ("plan", "run", "validate"):
            if (command, path) == ("validate", home.dags):
                continue
            said = home.call(command, path, code=2).err
            assert told in said and "= help: " in said, said
    assert "latin.yaml:3:17" in home.call("run", latin, code=2).err
    value = home.call("validate", home.dags, "--json", code=2).json()
    assert sorted(found["code"] for found in value["diagnostics"]) == ["TM0002", "TM0003"]
    server = home.serve()
    found = {pathlib.Path(dag["file"]).name: [d["code"] for d in dag["diagnostics"]]
             for dag in server.get("/api/v1/dags")["items"]}
    assert found == {"large.yaml": ["TM0002"], "latin.yaml": ["TM0003"]}


def test_pipes_and_devices_are_no_files(home):
    """They may never answer, or never end."""
    os.mkfifo(home.dags / "pipe.yaml")
    os.symlink("/dev/zero", home.dags / "zero.yaml")
    home.dag("good", "tasks: {one: {run: [echo, one]}}")
    for name in ("pipe.yaml", "zero.yaml"):
        for command in ("run", "validate", "plan"):
            done = home.call(command, home.dags / name, code=2, timeout=20)
            assert "is a pipe or a device, not a file" in done.out + done.err, done
    server = home.serve()
    assert server.wait(server.trigger("good"))["state"] == "succeeded"
    token = json.loads((home.path / "server.json").read_text())["token"]
    status, _, body = server.ask(
        "POST", "/api/v1/run-file", {"path": str(home.dags / "zero.yaml")},
        {"Authorization": f"Bearer {token}"})
    assert (status, "not a file" in str(body)) == (422, True), body
    result = home.run(home.dag("reads", read("zero.yaml")), code=1)
    assert "no file matches" in result.error("rows")
