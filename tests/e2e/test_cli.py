"""The command line as people and scripts use it."""

import json
import os
import re
import subprocess
import time

import pytest

from tidemill import ROOT, eventually

GOOD = """
tasks:
  one:
    run: [echo, one]
  two:
    run: [echo, two]
    depends_on: [one]
"""

BAD = """
tasks:
  orders:
    ingest:
      csv: {path: "*.csv"}
  total:
    transform:
      sql: select count(*) as n from order
    retries: 3
"""


def test_help_has_examples(home):
    done = home.call("--help")
    for command in ("demo", "run", "validate", "plan", "serve", "trigger", "runs", "show", "logs", "cancel", "pause", "resume",
                    "profile", "backup", "restore", "doctor", "schema", "completions"):
        assert re.search(rf"^  {command}\b", done.out, re.M), f"{command} is not in the list"
        page = home.call(command, "--help").out
        assert "Example" in page, f"`{command} --help` has no example"
        assert "--home" in page, f"`{command} --help` does not name --home"


@pytest.mark.parametrize("text,code", [(GOOD, 0), (GOOD.replace("echo, two", "false"), 1), (BAD, 2)])
def test_exit_codes_of_run(home, text, code):
    home.call("run", home.dag("d", text), code=code)


def test_validate_says_everything_at_once(home):
    home.dag("good", GOOD)
    done = home.call("validate", home.dag("bad", BAD), code=2)
    said = done.out + done.err
    assert "bad.yaml:8:" in said and "bad.yaml:9:" in said, said
    assert said.count("error[TM") == 2, said
    assert "`orders`" in said and "did you mean" in said, said
    value = home.call("validate", home.dags, "--json", code=2).json()
    assert (value["files"], value["errors"]) == (2, 2)
    places = sorted((d["line"], d["severity"].lower()) for d in value["diagnostics"])
    assert places == [(8, "error"), (9, "error")]


def test_keys_of_the_future_are_refused_by_run_alone(home):
    path = home.dag("later", GOOD + "    depends_on_past: true\n")
    done = home.call("validate", path)
    assert "depends_on_past" in done.out + done.err
    done = home.call("run", path, code=2)
    assert "depends_on_past" in done.err


def test_plan_follows_select(home):
    """Columns that a source does not keep are not in the tables that `plan` knows."""
    home.file("in.jsonl", '{"a": 1, "b": "x", "c": true}\n')
    load = "tasks:\n  rows: {ingest: {jsonl: {path: in.jsonl}}}\n  file: {load: {parquet: {path: in.parquet}}, from: rows}\n"
    home.run(home.dag("first", load))
    for source in ("jsonl", "parquet"):
        text = f"tasks:\n  rows: {{ingest: {{{source}: {{path: in.{source}, select: [c, a]}}}}}}\n" \
            "  copy: {transform: {sql: select * from rows}}\n"
        plan = home.call("plan", home.dag("second", text)).out
        assert "rows: c boolean, a int64\n" in plan and "copy: c boolean, a int64\n" in plan, plan


def test_plan_tells_order_and_reasons(home):
    path = home.dag("d", GOOD)
    done = home.call("plan", path)
    assert done.out.index("one") < done.out.index("two")
    assert "depends_on" in done.out
    value = home.call("plan", path, "--json").json()
    assert "depends_on" in json.dumps(value)


def test_runs_show_and_logs(home):
    path = home.dag("d", GOOD)
    first, second = home.run(path), home.run(path)
    assert (first.run, second.run) == ("d.1", "d.2")
    listed = home.call("runs", "--json").json()["items"]
    assert [run["id"] for run in listed] == ["d.2", "d.1"]
    assert "d.1" in home.call("runs", "--dag", "d", "--state", "succeeded").out
    shown = home.call("show", "d.1", "--json").json()
    assert [task["name"] for task in shown["tasks"]] == ["one", "two"]
    assert "one" in home.call("show", "d.1").out
    assert home.call("logs", "d.2", "two", "--raw").out == "two\n"
    said = home.call("show", "d.3", code=1)
    assert "d.3" in said.err


def test_params(home):
    path = home.dag("p", """
params:
  n: {type: integer, default: 1}
  word: {type: string, enum: [a, b], default: a}
tasks:
  say:
    run: [echo, "${{ params.n + 1 }} ${{ params.word }}"]
""")
    result = home.run(path, "--param", "n=41", "--param", "word=b")
    assert home.call("logs", result.run, "say", "--raw").out == "42 b\n"
    for words, told in (
        (["--param", "n=x"], "param `n` must be an integer of 64 bits, not `x`"),
        (["--param", "n=99999999999999999999"], "an integer of 64 bits, not `99999999999999999999`"),
        (["--param", "word=c"], "`word`"), (["--param", "m=1"], "`m`"),
        (["--param", "n"], "NAME=VALUE"), (["--interval", "tomorrow"], "tomorrow"),
    ):
        assert told in home.call("run", path, *words, code=1).err


def test_a_param_is_given_once(home):
    path = home.dag("p", "params: {n: {type: integer, default: 1}}\n" + GOOD)
    assert "is given twice" in home.call("run", path, "--param", "n=6", "--param", "n=7", code=1).err


def test_schema_is_a_schema(home):
    schema = home.call("schema").json()
    assert schema["$schema"].startswith("https://json-schema.org/")
    text = json.dumps(schema)
    for word in ("ingest", "profiles", "recommend", "trigger_rule", "forward"):
        assert word in text or word == "forward"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(home, shell):
    assert "tidemill" in home.call("completions", shell).out


def test_backup_and_restore(home):
    path = home.dag("d", GOOD)
    for _ in range(3):
        home.run(path)
    backup = home.folder / "backup"
    home.call("backup", backup)
    home.run(path)
    other = home.folder / "other"
    home.call("restore", backup, home=other)
    listed = home.call("runs", "--json", home=other).json()["items"]
    assert [run["id"] for run in listed] == ["d.3", "d.2", "d.1"]
    shown = home.call("show", "d.2", "--json", home=other).json()
    assert [task["state"] for task in shown["tasks"]] == ["succeeded", "succeeded"]
    # Numbers go on where the backup ended.
    done = home.call("run", path, "--json", home=other)
    assert done.json()["run"] == "d.4"
    said = home.call("restore", backup, home=other, code=1)
    assert str(other) in said.err or "--force" in said.err


def test_doctor(home):
    home.run(home.dag("d", GOOD))
    assert home.call("doctor").code == 0
    home.call("doctor", "--json").json()


def test_commands_go_through_the_server(home):
    home.dag("d", GOOD)
    server = home.serve()
    run = server.trigger("d")
    server.wait(run)
    assert home.call("runs", "--json").json()["items"][0]["id"] == run
    assert home.call("logs", run, "one", "--raw").out == "one\n"
    done = home.call("trigger", "d", "--wait", "--json")
    assert "d.2" in done.out
    result = home.run(home.dags / "d.yaml")
    assert (result.run, result.state) == ("d.3", "succeeded")
    backup = home.folder / "backup"
    home.call("backup", backup)
    assert server.stop() == 0
    home.call("restore", backup, home=home.folder / "other")
    listed = home.call("runs", "--json", home=home.folder / "other").json()["items"]
    assert [item["id"] for item in listed] == ["d.3", "d.2", "d.1"]


def test_demo(binary, home):
    done = home.call("demo", "--no-serve", "--dag",
                     ROOT / "dags" / "personalize" / "personalize.yaml", timeout=170)
    for stage in ("ingest_purchases", "purchases", "recs", "audit"):
        assert stage in done.out
    assert done.out.count("recommended:") == 3
    assert done.out.count("e-mail:") == 3
    for band in ("hot", "warm", "cold"):
        assert re.search(rf"customer \S+ +{band}", done.out), done.out
    assert "\x1b" not in done.out, "colours belong to terminals"


def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("words", [
    ["schema"], ["completions", "bash"], ["runs"], ["runs", "--json"], ["show", "d.1"],
    ["show", "d.1", "--json"], ["logs", "d.1", "one"], ["logs", "d.1", "one", "--raw"],
    ["logs", "d.1", "one", "--follow"], ["plan", "d.yaml"], ["validate", "d.yaml"], ["doctor"],
    ["--help"], ["run", "d.yaml"],
], ids=" ".join)
def test_a_reader_may_leave(home, words):
    """`tidemill schema | head -1` ended in a panic about a broken pipe."""
    home.run(home.dag("d", GOOD))
    for both in (False, True):
        out = closed_pipe()
        done = subprocess.run(
            [home.binary, "--home", home.path, *words], cwd=home.dags, env=home.env, stdout=out,
            stderr=out if both else subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
        os.close(out)
        assert (done.returncode, done.stderr or b"") == (0, b"")
    # Who leaves ends the printing, not the work.
    ran = 3 if words[0] == "run" else 1
    listed = home.call("runs", "--json").json()["items"]
    assert [run["state"] for run in listed] == ["succeeded"] * ran


def test_output_that_is_lost_is_an_error(home):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([home.binary, "--home", home.path, "schema"], env=home.env,
                              stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"cannot write to the standard output" in done.stderr


def test_colours_belong_to_terminals(home):
    """Log lines and errors in a file held escape codes."""
    path = home.dag("d", BAD)
    for words in (["run", path], ["serve", "--dags", home.dags, "--bind", "127.0.0.1:0"]):
        done = subprocess.run(
            ["timeout", "3", home.binary, "--home", home.path, "--log", "debug", *words],
            env={k: v for k, v in home.env.items() if k != "NO_COLOR"}, capture_output=True,
            check=False)
        assert b"error[TM" in done.stderr and b"DEBUG" in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr


STAGES = """
tasks:
  nothing:
    noop: {}
  twice:
    run: |
      echo "try $TIDEMILL_ATTEMPT"
      test "$TIDEMILL_ATTEMPT" -gt 1
    retry: {limit: 1, delay: 100ms}
  skipped:
    run: [echo, no]
    when: "false"
  after:
    run: |
      touch "$OUT/started"
      while [ ! -e "$OUT/go" ]; do sleep 0.05; done
      echo done
    env: {OUT: "%s"}
    depends_on: [twice]
  last:
    run: [echo, last]
    depends_on: [after]
"""


def test_logs_that_are_not_there_are_told(home):
    """A task without a log gave nothing, with exit code 0."""
    home.dag("d", STAGES % home.folder)
    server = home.serve()
    run = server.trigger("d")
    eventually("the task `after`", (home.folder / "started").exists)

    def told(*words):
        done = home.call("logs", run, *words, code=1)
        assert done.out == ""
        return done.err

    assert "has no task `twise`; did you mean `twice`?" in told("twise")
    assert "no attempt 3; it has had 2" in told("twice", "--attempt", "3")
    assert "no attempt 0" in told("twice", "--attempt", "0", "--raw")
    assert "`last` of run d.1 has not started yet" in told("last")
    assert "`last` of run d.1 has not started yet" in told("last", "--raw")
    assert "never started, so it has no log (skipped" in told("skipped", "--follow")
    assert "a `noop` does nothing" in told("nothing", "--follow")
    assert "no run `d.9`" in home.call("logs", "d.9", "twice", code=1).err
    followed = subprocess.Popen(
        [home.binary, "--home", home.path, "logs", run, "last", "--follow"], env=home.env,
        stdout=subprocess.PIPE)
    (home.folder / "go").touch()
    assert "last" in followed.communicate(timeout=60)[0].decode()
    assert server.wait(run)["state"] == "succeeded"
    assert home.call("logs", run, "twice", "--attempt", "1", "--raw").out == "try 1\n"
    assert home.call("logs", run, "twice", "--raw").out == "try 2\n"
    assert "try 2" in home.call("logs", run, "twice", "--follow").out
    for path in (home.path / "logs" / "d" / "1").glob("twice.2.*"):
        path.unlink()
    assert "is not kept any more" in told("twice")
    assert server.stop() == 0


def test_a_bare_file_name(home):
    """`tidemill plan d.yaml` looked for files "in the folder ", which has no name."""
    home.file("in.csv", "a,b\n1,2\n")
    path = home.dag("d", """
tasks:
  rows:
    ingest:
      csv: {path: in.csv}
  other:
    ingest:
      csv: {path: out.csv}
""")

    def call(*words):
        return subprocess.run([home.binary, "--home", home.path, *words], cwd=home.dags,
                              env=home.env, capture_output=True, text=True, check=False)

    plan = call("plan", path.name)
    assert "rows: a " in plan.stdout
    assert f"no file matches `out.csv` (in the folder {home.dags})" in plan.stderr
    assert call("validate", path.name).returncode == 0
    run = call("run", path.name)
    assert "✓ rows" in run.stdout and f"(in the folder {home.dags})" in run.stdout


def test_a_run_that_nobody_works_on(home):
    """After the server's end an unfinished run was "running", with the time counting up."""
    home.dag("d", STAGES % home.folder)
    server = home.serve()
    run = server.trigger("d")
    eventually("the task `after`", (home.folder / "started").exists)
    assert "d.1 running in" in home.call("show", run).out
    for words in (["show", run], ["runs"]):
        assert home.call(*words, "--json").json()["server"] == server.address, words
    assert "(attempt 2)" in home.call("show", run).out
    server.kill()
    first = home.call("show", run).out
    assert "d.1 unfinished: no server is running; the next `tidemill serve` goes on" in first
    time.sleep(1)
    assert home.call("show", run).out == first
    listed = home.call("runs").out
    assert "unfinished" in listed and "no server is running" in listed and "running " not in listed
    for words in (["show", run], ["runs"]):
        assert home.call(*words, "--json").json()["server"] is None, words
    followed = home.call("logs", run, "after", "--follow", code=1)
    assert "no server is running" in followed.err
    (home.folder / "go").touch()
    assert home.serve().wait(run)["state"] == "succeeded"
    assert "d.1 succeeded in" in home.call("show", run).out


def test_arguments_are_checked_before_they_are_used(home):
    """What is no name became a part of an address as it was."""
    for words, told in (
        (["show", "../dags"], "is not a run id"), (["show", "d"], "for example `orders_daily.17`"),
        (["logs", "d.1?x=y", "one"], "is not a run id"), (["cancel", "d.x"], "is not a run id"),
        (["trigger", "../runs/d.1/cancel#"], "is not a DAG name"), (["runs", "--dag", "a&b"], "is not a DAG name"),
        (["runs", "--state", "done"], "queued, running, succeeded, failed, cancelled"),
        (["runs", "--limit", "0"], "1..=10000"), (["runs", "--limit", "10001"], "1..=10000"),
    ):
        said = home.call(*words, code=2).err
        assert told in said, said
    home.run(home.dag("d", GOOD))
    assert "run d.1 has no task `../x`" in home.call("logs", "d.1", "../x", code=1).err
    # A remedy on the command line is not an address of the UI.
    for words in (["show", "d.7"], ["trigger", "nobody"], ["cancel", "d.7"]):
        said = home.call(*words, code=1).err
        assert "there is no" in said and "page" not in said and "/runs" not in said, said


def test_runs_come_in_pages(home):
    server = home.dag("d", "tasks: {n: {noop: {}}}") and home.serve()
    for _ in range(210):
        server.trigger("d")
    for limit, found in ((1, 1), (205, 205), (1000, 210)):
        answer = home.call("runs", "--limit", limit, "--json").json()
        assert [run["number"] for run in answer["items"]] == list(range(210, 210 - found, -1))
        assert (answer["next"] is None) == (found == 210)


def test_counts_are_given_whole(home):
    """`run --json` left `duplicates` and `rejected` out where there were none."""
    result = home.run(home.dag("d", "tasks:\n  t:\n    transform:\n      sql: select 1 as n\n"))
    assert result.tasks["t"]["counts"] == {"in": 0, "out": 1, "duplicates": 0, "rejected": {}}


def test_pause_and_resume(home):
    """A DAG could be paused in the browser only."""
    home.dag("d", GOOD + 'schedule: "* * * * *"\n')
    server = home.serve()
    assert server.get("/api/v1/dags/d")["next_tick"]
    assert "d is paused" in home.call("pause", "d").out
    dag = server.get("/api/v1/dags/d")
    assert (dag["paused"], dag["next_tick"]) == (True, None)
    home.call("pause", "d")
    assert "there is no DAG `e`" in home.call("pause", "e", code=1).err
    assert "its next run is due at" in home.call("resume", "d").out
    dag = server.get("/api/v1/dags/d")
    assert not dag["paused"] and dag["next_tick"]
    assert server.stop() == 0
    # Without a server, for the next one.
    assert "d is paused" in home.call("pause", "d").out
    server = home.serve()
    assert server.get("/api/v1/dags/d")["paused"]
    assert server.wait(server.trigger("d"))["state"] == "succeeded"
    assert server.stop() == 0
    assert "d is not paused" in home.call("resume", "d").out
    assert not home.serve().get("/api/v1/dags/d")["paused"]


def test_a_backup_is_not_put_into_the_home(home):
    """A backup into the home was made, and the next one would have copied it too."""
    path = home.dag("d", GOOD)
    home.run(path)
    (home.folder / "link").symlink_to(home.path)
    before = sorted(entry.name for entry in home.path.iterdir())
    server = None
    for _ in range(2):
        for to in (home.path, home.path / "b", home.path / "logs" / "a" / "b",
                   home.folder / "link" / "b", home.path / "x" / ".." / "b"):
            said = home.call("backup", to, code=1).err
            assert "is in the home itself" in said and "outside of it" in said, said
        if not server:
            assert sorted(entry.name for entry in home.path.iterdir()) == before
            server = home.serve()
    home.call("backup", home.folder / "home-backup")
    assert server.stop() == 0


def test_logs_survive_backup_and_restore(home):
    path = home.dag("d", GOOD)
    runs = [home.run(path).run for _ in range(2)]
    words = [["logs", run, task, *raw] for run in runs for task in ("one", "two")
             for raw in ([], ["--raw"])]
    before = [home.call(*w).out for w in words]
    assert all(before) and before[1] == "one\n"
    home.call("backup", home.folder / "backup")
    other = home.folder / "other"
    home.call("restore", home.folder / "backup", home=other)
    assert [home.call(*w, home=other).out for w in words] == before


def test_explain(home):
    said = home.call("explain", "tm0107").out
    assert said.startswith("TM0107: unknown task\n") and "What to do: " in said
    assert home.call("explain", "TM0107", "--json").json()["title"] == "unknown task"
    codes = home.call("explain", "--json").json()
    pages = {path.stem for path in (ROOT / "docs" / "errors").glob("TM*.md")}
    assert {code["code"] for code in codes} == pages
    listed = home.call("explain").out.splitlines()
    assert [line[:6] for line in listed] == [code["code"] for code in codes]
    for form in ("107", "tm107", "error[TM0107]:"):
        assert home.call("explain", form).out == said
    assert "did you mean `TM0107`" in home.call("explain", "TN0107", code=1).err
    assert "lists all of them" in home.call("explain", "everything", code=1).err


def test_vars(home):
    path = home.dag("v", """
params:
  day: {type: date, default: 2026-01-31}
  ratio: {type: number, default: 2}
vars:
  since: "${{ add_days(params.day, -7) }}"
  path: "in/${{ vars.since }}/${{ run.dag }}"
  limits: {eu: 10, us: "${{ 10 * 2 }}"}
tasks:
  a:
    run: [echo, "${{ vars.path }}", "${{ vars.limits.us + 1 }}", "${{ params.ratio * 1.5 }}"]
    when: vars.limits.eu > 3
  b:
    transform: {sql: "select $since as since, $ratio as ratio"}
    bind: {since: vars.since}
  c:
    from: b
    load: {jsonl: {path: out.jsonl}}
""")
    result = home.run(path, "--param", "day=2026-02-28")
    assert result.state == "succeeded"
    assert home.call("logs", result.run, "a", "--raw").out == "in/2026-02-21/v 21 3.0\n"
    assert json.loads((home.dags / "out.jsonl").read_text()) == {"since": "2026-02-21", "ratio": 2.0}


def test_defaults_of_a_folder(home):
    home.dag("one", "tasks:\n  a:\n    run: 'echo \"$WHERE\"'\n")
    home.file("_defaults.yaml", "owner: shop-data\ndefaults: {env: {WHERE: here}}\n")
    path = home.dags / "one.yaml"
    result = home.run(path)
    assert home.call("logs", result.run, "a", "--raw").out == "here\n"
    server = home.serve()
    assert server.get("/api/v1/dags/one")["owner"] == "shop-data"
    first = server.trigger("one")
    assert server.wait(first)["state"] == "succeeded"
    # A change of the defaults alone loads the DAG anew.
    home.file("_defaults.yaml", "owner: others\ndefaults: {env: {WHERE: there}}\n")
    eventually("the new owner", lambda: server.get("/api/v1/dags/one")["owner"] == "others")
    second = server.trigger("one")
    assert server.wait(second)["state"] == "succeeded"
    assert home.call("logs", second, "a", "--raw").out == "there\n"
    # What is wrong is shown, and the version before stays.
    home.file("_defaults.yaml", "ownr: me\n")
    wrong = home.call("validate", path, code=2).err
    assert "_defaults.yaml:1:1" in wrong and "did you mean `owner`" in wrong
    eventually("the error", lambda: "ownr" in json.dumps(server.get("/api/v1/dags/one")))
    eventually("a line in the log",
               lambda: "has no key `ownr`" in (home.folder / "serve.log").read_text())
    third = server.trigger("one")
    assert server.wait(third)["state"] == "succeeded"
    # The versions of runs are loaded again with the defaults that they began with.
    assert server.stop() == 0
    server = home.serve()
    assert server.get(f"/api/v1/runs/{first}")["version"] != server.get(f"/api/v1/runs/{second}")["version"]
    assert server.get(f"/api/v1/runs/{third}")["tasks"][0]["action"] == "run"


def test_plan_tells_what_would_change(home):
    path = home.dag("p", "tasks:\n  a: {run: [echo, one], retry: 1}\n")
    assert "deployed" not in home.call("plan", path).out
    home.run(path)
    assert "this is the deployed version" in home.call("plan", path).out
    path.write_text("owner: me\ntasks:\n  a: {run: [echo, two], retry: 3}\n  b: {noop: {}, depends_on: [a]}\n")
    said = home.call("plan", path).out
    changes = said[said.index("changes against the deployed version"):].splitlines()[1:]
    assert changes[:3] == [
        "  + owner: me", '  ~ tasks.a.run: ["echo","one"] → ["echo","two"]',
        "  ~ tasks.a.retry.limit: 1 → 3"], changes
    assert changes[3].startswith("  + tasks.b: {"), changes
    plan = home.call("plan", path, "--json").json()
    assert [change["path"] for change in plan["deployed"]["changes"]] == [
        "owner", "tasks.a.run", "tasks.a.retry.limit", "tasks.b"]
    # A server deploys what is in the folder, and is asked while it works.
    home.serve()
    assert "this is the deployed version" in home.call("plan", path).out


def test_values_of_params_have_one_form(home):
    """A day without its zero was refused by SQL, and compared as another one."""
    path = home.dag("f", """
params:
  day: {type: date, default: 2026-2-3}
  at: {type: timestamp, default: "2026-01-31T10:00:00+02:00"}
tasks:
  a:
    run: [echo, "${{ params.day }}", "${{ params.at }}"]
    when: params.at < '2026-01-31T09:00:00Z' && timestamp(params.day) > timestamp(params.at)
  b: {transform: {sql: "select $day as day, $at as at"}}
""")
    result = home.run(path)
    assert result.states() == {"a": "succeeded", "b": "succeeded"}
    assert home.call("logs", result.run, "a", "--raw").out == "2026-02-03 2026-01-31T08:00:00Z\n"


def test_validate_takes_what_a_shell_gives_it(home):
    home.dag("d", GOOD)
    home.file("_defaults.yaml", "owner: me\n")
    home.file("pools.yaml", "slow: 1\n")
    done = home.call("validate", *sorted(home.dags.glob("*.yaml")), "--json").json()
    assert (done["files"], done["errors"]) == (1, 0)


def test_a_connection_is_held_to_its_type(home):
    """What is misspelt there would be left out of the request, and the other side might answer."""
    file = home.dag("shop", "tasks: {a: {ingest: {http: {connection: shop, path: /x}}}}\n")
    good = "type: http, base_url: 'http://127.0.0.1:9', token: {secret: t}"
    home.file("connections.yaml", f"shop: {{{good}}}\n")
    home.call("validate", file)
    for wrong, told in [
        (good.replace("http,", "htttp,"), "there are no connections of type `htttp`"),
        (good.replace("token", "tokn"), "did you mean `token`?"),
        (good.replace("secret", "secrt"), "did you mean `secret`?"),
        (good.replace("base_url", "baseurl"), "did you mean `base_url`?"),
    ]:
        home.file("connections.yaml", f"shop: {{{wrong}}}\n")
        done = home.call("validate", file, code=2)
        assert told in done.err and "connections.yaml:1:" in done.err, done.err


def test_files_that_nothing_reads_are_told(home):
    file = home.dag("shop", "tasks: {a: {noop: }}\n")
    home.file("_defaults.yml", "retry: 3\n")
    home.file("pools.yml", "fast: 3\n")
    told = home.call("validate", file).err
    assert "`_defaults.yml` is not read" in told and "rename it to `_defaults.yaml`" in told
    assert "`pools.yml` is not read" in told


def test_every_error_of_a_command_has_a_code_with_a_page(home):
    file = home.dag("fails", """
params: {n: {type: integer, default: 1}}
tasks: {a: {run: [sh, -c, 'echo no disk >&2; exit 3']}}
""")
    assert "ended with code 3: no disk [TM1001]" in home.call("run", file, code=1).out
    assert home.call("show", "fails.1", "--json").json()["tasks"][0]["error"]["code"] == "TM1001"
    for words, code in [
        (["run", file, "--param", "n=x"], "TM0801"), (["show", "fails.9"], "TM0802"),
        (["logs", "fails.1", "b"], "TM0802"), (["cancel", "fails.1"], "TM0803"),
        (["explain", "TM0000"], "TM0802"), (["schema", "--nonsense"], None),
    ]:
        told = home.call(*words, code=None)
        assert told.code != 0
        if code:
            assert told.err.startswith(f"error[{code}]: "), (words, told.err)
            assert home.call("explain", code).out.startswith(code)


def test_every_benchmark_measures_something(home):
    """One after the other in one process: each lets go of what it opened."""
    table = home.call("bench", "--times", "1").out
    names = ["chain", "processes", "fan-out", "throughput", "beside-map", "start"]
    assert [line.split()[0] for line in table.splitlines()[1:7]] == names, table
    assert not (home.path / "bench").exists()
