"""Finished runs beyond the recent ones: folded, found, asked about, kept and dropped."""

import csv
import io
import re
import shutil

from tidemill import ROOT, eventually

NIGHTLY = """
dag: nightly
params: {fail: {type: boolean, default: false}}
tasks:
  orders: {transform: {sql: "select 1 as id union all select 2"}}
  each: {for_each: "[1, 2, 3]", run: "echo item"}
  out: {run: "test ${{ params.fail }} = false", depends_on: [orders, each]}
"""

QUIET = "dag: quiet\ntasks: {nothing: {noop: {}}}\n"


def many(server, dag, count, **params):
    runs = [server.trigger(dag, params) for _ in range(count)]
    for run in runs:
        server.wait(run)
    return runs


def pages(server, query):
    items, after = [], ""
    while True:
        page = server.get(f"/api/v1/runs?limit=7{query}{after}")
        items += page["items"]
        if page["next"] is None:
            return items
        after = f"&after={page['next']}"


def tidy(home, *words):
    """Folds until everything but what is recent is in segments: the records follow the runs."""
    return home.call("history", "tidy", *words).out


def test_folded_runs_are_like_any_other(home):
    home.dag("nightly", NIGHTLY)
    home.dag("quiet", QUIET)
    server = home.serve("--recent-runs", "5")
    runs = many(server, "quiet", 12) + many(server, "nightly", 10)
    runs += many(server, "nightly", 2, fail=True) + many(server, "quiet", 12)
    before = {run: server.get(f"/api/v1/runs/{run}") for run in runs}
    listed = pages(server, "")
    items = server.get("/api/v1/runs/nightly.3/tasks/each/items")
    eventually("36 runs, 5 recent", lambda: tidy(home) and
               server.get("/api/v1/history")["recent"] == 5)
    history = server.get("/api/v1/history")
    assert (history["runs"], len(listed)) == (31, 36)
    assert "31 runs in" in home.call("history", "segments").out
    for run, was in before.items():
        assert server.get(f"/api/v1/runs/{run}") == was
    assert pages(server, "") == listed
    of_dag = [run for run in listed if run["dag"] == "nightly"]
    assert pages(server, "&dag=nightly") == of_dag and len(of_dag) == 12
    failed = pages(server, "&state=failed")
    assert [run["id"] for run in failed] == ["nightly.12", "nightly.11"]
    assert server.get("/api/v1/runs/nightly.3/tasks/each/items") == items
    assert server.ask("GET", "/runs/nightly.3")[0] == 200
    assert home.call("logs", "nightly.3", "each[1]").out.count(" item\n") == 1
    shown = home.call("show", "nightly.3").out
    assert "nightly.3" in shown and "each" in shown
    # A restart finds them, and so do commands without a server.
    server.kill()
    assert [run["id"] for run in home.call("runs", "--json", "--limit", "100").json()["items"]] == [
        run["id"] for run in listed]
    server = home.serve("--recent-runs", "5")
    for run, was in before.items():
        assert server.get(f"/api/v1/runs/{run}") == was
    assert home.call("doctor").out.endswith("everything is as it should be\n")


def test_a_folded_run_goes_again(home):
    home.dag("nightly", NIGHTLY.replace("test ${{ params.fail }} = false", "test -e mended"))
    home.dag("quiet", QUIET)
    server = home.serve("--recent-runs", "1")
    (run,) = many(server, "nightly", 1)
    many(server, "quiet", 3)
    eventually("it is folded", lambda: tidy(home) and server.get("/api/v1/history")["recent"] == 1)
    assert server.run(run)["state"] == "failed"
    (home.dags / "mended").touch()
    assert "generation 2" in home.call("rerun", run, "--wait").out
    assert server.run(run)["state"] == "succeeded"
    assert [r["state"] for r in pages(server, "&dag=nightly")] == ["succeeded"]
    many(server, "quiet", 3)
    eventually("it is folded", lambda: tidy(home) and server.get("/api/v1/history")["recent"] == 1)
    ended = server.run(run)
    assert (ended["state"], ended["generation"]) == ("succeeded", 2)
    assert len(server.get(f"/api/v1/runs/{run}/tasks/each/items")["items"]) == 3
    assert len(pages(server, "")) == 7
    assert home.call("doctor").out.endswith("everything is as it should be\n")


def test_questions_in_sql(home):
    home.dag("nightly", NIGHTLY)
    home.dag("quiet", QUIET)
    server = home.serve("--recent-runs", "4")
    many(server, "nightly", 3)
    many(server, "nightly", 1, fail=True)
    many(server, "quiet", 6)
    question = "select dag, state, count(*) as runs from runs group by dag, state order by 1, 2"
    rows = [["nightly", "failed", 1], ["nightly", "succeeded", 3], ["quiet", "succeeded", 6]]
    eventually("the records follow", lambda: home.call(
        "history", "sql", "--json", question).json()["rows"] == rows)
    eventually("folded", lambda: tidy(home) and server.get("/api/v1/history")["recent"] == 4)
    assert home.call("history", "sql", "--json", question).json()["rows"] == rows
    assert home.call("history", "sql", question).out == (
        "dag      state      runs\n"
        "nightly  failed        1\n"
        "nightly  succeeded     3\n"
        "quiet    succeeded     6\n")
    table = home.call("history", "sql", "--csv", "select number, task, state, items, rows_out, "
                      "error_kind from tasks where dag = 'nightly' and number >= 3 order by 1, 2").out
    table = list(csv.reader(io.StringIO(table)))
    assert table[1:] == [
        ["3", "each", "succeeded", "3", "0", ""], ["3", "orders", "succeeded", "", "2", ""],
        ["3", "out", "succeeded", "", "0", ""],
        ["4", "each", "succeeded", "3", "0", ""], ["4", "orders", "succeeded", "", "2", ""],
        ["4", "out", "failed", "", "", "exit"]]
    counts = "select (select count(*) from runs) as r, (select count(*) from tasks) as t"
    assert home.call("history", "sql", "--json", counts).json()["rows"] == [[10, 18]]
    cut = home.call("history", "sql", "--limit", "2", "select number from runs")
    assert len(cut.out.splitlines()) == 3 and "there are more rows" in cut.err
    for wrong, said in [("select nope from runs", "nope"), ("delete from runs", "quer"),
                        ("select 1 from profiles", "profiles"), ("select", "")]:
        assert said in home.call("history", "sql", wrong, code=1).err
    server.stop()
    assert home.call("history", "sql", "--json", question).json()["rows"] == rows


def test_retention_drops_what_belongs_to_a_run(home):
    home.dag("nightly", NIGHTLY)
    server = home.serve("--recent-runs", "2", "--keep-runs", "4")
    many(server, "nightly", 20)
    logs = home.path / "logs" / "nightly"
    assert len(list(logs.iterdir())) == 20
    eventually("the rest is dropped", lambda: tidy(home) and len(pages(server, "")) <= 5)
    left = [run["number"] for run in pages(server, "")]
    assert left[:4] == [20, 19, 18, 17]
    assert sorted(int(folder.name) for folder in logs.iterdir()) == sorted(left)
    assert home.call("show", "nightly.1", code=None).code != 0
    assert home.call("doctor").out.endswith("everything is as it should be\n")
    assert server.wait(server.trigger("nightly"))["id"] == "nightly.21"


def test_a_missing_segment_is_named_and_the_server_starts(home):
    home.dag("quiet", QUIET)
    server = home.serve("--recent-runs", "2")
    many(server, "quiet", 8)
    eventually("folded", lambda: tidy(home) and server.get("/api/v1/history")["recent"] == 2)
    server.stop()
    (segment, *_) = sorted((home.path / "history" / "segments").iterdir())
    (segment / "runs.parquet").unlink()
    server = home.serve("--recent-runs", "2")
    assert server.wait(server.trigger("quiet"))["state"] == "succeeded"
    assert "runs.parquet" in (home.folder / "serve.log").read_text()
    found = home.call("doctor", "--json", code=None).json()["findings"]
    (lost,) = [finding for finding in found if finding["severity"] == "error"]
    assert f"{segment.name}/runs.parquet" in lost["what"] and "quiet.1" in lost["what"]
    server.stop()
    repaired = home.call("doctor", "--repair", code=None).out
    assert "are lost" in repaired and "(repaired)" in repaired
    assert home.call("doctor").out.count("error") == 0


def test_a_backup_holds_the_history(home, tmp_path):
    home.dag("nightly", NIGHTLY)
    server = home.serve("--recent-runs", "2")
    many(server, "nightly", 9)
    eventually("folded", lambda: tidy(home) and server.get("/api/v1/history")["recent"] == 2)
    runs = [server.get(f"/api/v1/runs/nightly.{n}") for n in range(1, 10)]
    home.call("backup", tmp_path / "backup")
    server.stop()
    shutil.rmtree(home.path)
    home.call("restore", tmp_path / "backup")
    server = home.serve("--recent-runs", "2")
    assert [server.get(f"/api/v1/runs/nightly.{n}") for n in range(1, 10)] == runs
    assert server.wait(server.trigger("nightly"))["id"] == "nightly.10"
    assert home.call("doctor").out.endswith("everything is as it should be\n")


def test_every_column_is_in_the_manual(home):
    home.dag("quiet", QUIET)
    home.run(home.dags / "quiet.yaml")
    manual = (ROOT / "docs" / "history.md").read_text()
    for table in ("runs", "tasks"):
        answer = home.call("history", "sql", "--json", f"select * from {table}").json()
        names = [column["name"] for column in answer["columns"]]
        text = manual.split(f"| `{table}` | |")[1].split("\n\n")[0]
        told = re.findall(r"`(\w+)`", "\n".join(
            line.split("|")[1] for line in text.splitlines() if line.startswith("| `")))
        assert names == told
