"""Tasks that wait: for time, for a person, for another run. They hold no worker, and no kill of
the server makes them forget."""

import time

import pytest

from tidemill import eventually

ASKS = """
params: {who: {type: string, default: nobody}}
tasks:
  ask:
    approve:
      message: "May ${{ params.who }} go on?"
      params:
        limit: {type: integer, default: 5}
        tone: {type: string, enum: [warm, plain], default: warm}
        day: {type: date}
  go:
    run: [echo, "${{ tasks.ask.outputs.limit + 1 }}", "${{ tasks.ask.outputs.tone }}",
      "${{ tasks.ask.outputs.day }}", "${{ tasks.ask.outputs.by }}", "${{ tasks.ask.outputs.note }}"]
"""

CHILD = """
params: {n: {type: integer}, sleep: {type: number, default: 0}}
tasks:
  rows:
    transform: {sql: "select $n * 2 as doubled"}
  value:
    run: |
      sleep ${{ params.sleep }}
      test ${{ params.n }} -lt 100
      echo out=${{ params.n }} >> $TIDEMILL_OUTPUTS
    outputs: {out: integer}
"""


def task(server, run, name):
    """A task of a run, as the API tells it."""
    return next(t for t in server.get(f"/api/v1/runs/{run}")["tasks"] if t["name"] == name)


def state(server, run, name):
    return task(server, run, name)["state"]


def asked(server, run, task="ask"):
    eventually(f"{task} asks", lambda: any(
        (q["run"], q["task"]) == (run, task)
        for q in server.get("/api/v1/questions")["items"]))


def test_a_person_answers_by_cli_and_api(home):
    home.dag("asks", ASKS)
    server = home.serve()
    run = server.trigger("asks", {"who": "it"})
    asked(server, run)
    listed = home.call("questions").out
    assert "May it go on?" in listed and "day: date, needed" in listed, listed
    # An answer that does not fit is refused, and the question stays.
    answer = f"/api/v1/runs/{run}/tasks/ask/answer"
    for values, told in [
        ({}, "day"), ({"day": "soon"}, "day"), ({"day": "2026-01-02", "limit": "many"}, "limit"),
        ({"day": "2026-01-02", "tone": "loud"}, "tone"), ({"day": "2026-01-02", "lmit": 3}, "limit"),
    ]:
        status, _, body = server.ask("POST", answer, {"approved": True, "values": values})
        assert status == 422 and told in body["detail"], body
        assert state(server, run, "ask") == "waiting"
    done = home.call("approve", run, "ask", "--param", "limit=many", "--param", "day=2026-01-02",
                     code=1)
    assert "limit" in done.err
    home.call("approve", run, "ask", "--param", "day=2026-01-02", "--param", "limit=7",
              "--note", "looks good; $(id) `id`")
    server.wait(run)
    log = home.call("logs", run, "go", "--raw").out
    words = log.split()
    assert words[:3] == ["8", "warm", "2026-01-02"], log
    assert log.endswith("looks good; $(id) `id`\n")
    status, _, body = server.ask("POST", answer, {"approved": True, "values": {}})
    assert status == 409, body
    # No is an answer too.
    run = server.trigger("asks")
    asked(server, run)
    home.call("reject", run, "ask", "--note", "wrong day")
    value = server.wait(run)
    assert value["state"] == "failed"
    assert home.call("questions").out == "nothing waits for an answer\n"
    done = home.call("approve", run, "ask", code=1)
    assert f"run {run} has ended already: failed" in done.err, done.err
    assert "wrong day" in home.call("show", run).out


def test_a_question_has_its_time(home):
    home.dag("asks", "tasks:\n  ask:\n    approve: Yes?\n    timeout: 300ms\n"
                     "    retry: {limit: 1, delay: 10ms}\n")
    server = home.serve()
    run = server.trigger("asks")
    value = server.wait(run)
    assert value["state"] == "failed"
    ended = task(server, run, "ask")
    assert ended["attempts"] == 2, ended
    assert "timeout" in str(ended["error"])


def test_waiting_takes_no_slot(home):
    home.file("pools.yaml", "pools: {default: 1}\n")
    waits = "\n".join(f"  w{k}: {{wait: 10m}}" for k in range(50))
    home.dag("many", f"tasks:\n{waits}\n  ask: {{approve: }}\n  call: {{call: child_sleeps}}\n")
    home.dag("child_sleeps", "tasks: {sleeps: {wait: 10m}}\n")
    home.dag("quick", "tasks: {hello: {run: [echo, hi]}}\n")
    server = home.serve()
    run = server.trigger("many")
    asked(server, run)
    assert server.wait(server.trigger("quick"))["state"] == "succeeded"
    assert state(server, run, "w49") == "waiting"
    child = eventually("it calls", lambda: task(server, run, "call").get("called"))
    home.call("cancel", run)
    assert server.wait(run)["state"] == "cancelled"
    assert server.wait(child)["state"] == "cancelled"


def test_wait_until_and_for(home):
    file = home.dag("pause", """
params: {pause: {type: string, default: 400ms}}
tasks:
  long: {wait: "${{ params.pause }}"}
  past: {wait: {until: "2001-01-01T00:00:00Z"}}
  soon: {wait: {until: "${{ timestamp(run.logical_time) + duration('300ms') }}"}}
""")
    began = time.monotonic()
    result = home.run(file)
    assert set(result.states().values()) == {"succeeded"}
    assert 0.4 <= time.monotonic() - began
    result = home.run(file, "--param", "pause=soon", code=1)
    assert "soon" in result.error("long")


def test_call_gives_a_table_and_values(home):
    home.dag("child", CHILD)
    file = home.dag("parent", """
params: {n: {type: integer, default: 4}}
tasks:
  child:
    call: {dag: child, params: {n: "${{ params.n }}"}, table: rows}
    retry: {limit: 1, delay: 10ms}
  read:
    transform: {sql: select doubled + 1 as more from child}
  save: {load: {csv: {path: out.csv}}, from: read}
  say: {run: [echo, "${{ tasks.child.outputs.value.out }}", "${{ tasks.child.outputs.run }}"]}
""")
    result = home.run(file)
    assert set(result.states().values()) == {"succeeded"}
    assert (home.dags / "out.csv").read_text() == "more\n9\n"
    assert home.call("logs", result.run, "say", "--raw").out == "4 child.1\n"
    # What fails there fails here, and is tried again as a new run.
    result = home.run(file, "--param", "n=100", code=1)
    error = result.error("child")
    assert "child.3 failed" in error and "value" in error, error
    # What the called DAG does not know is told before anything runs.
    wrong = home.dag("wrong", "tasks:\n  a: {call: {dag: child, params: {m: 1}}}\n"
                              "  b: {call: chld}\n  c: {call: child}\n")
    told = home.call("validate", wrong, code=2).err
    for text in ["no param `m`", "did you mean `child`", "`n`"]:
        assert text in told, told


def test_nobody_answers_for_other_runs(home):
    home.dag("other", "tasks: {ask: {approve: Drop it?}}\n")
    home.dag("inner", "tasks: {ask: {approve: Inner?}}\n")
    home.dag("mine", "tasks: {ask: {approve: Mine?}, call: {call: inner}}\n")
    home.dag("owes", "tasks: {ask: {approve: {params: {n: {type: integer}}}}}\n")
    server = home.serve()
    other = server.trigger("other")
    asked(server, other)
    assert home.run(home.dags / "mine.yaml", "--yes").state == "succeeded"
    assert state(server, other, "ask") == "waiting"
    # What has no default cannot be said yes to beforehand.
    result = home.run(home.dags / "owes.yaml", "--yes", code=1)
    assert "`n` has no default" in result.error("ask")
    done = home.call("approve", other, "ask", "--param", "nope=1", code=1)
    assert "no param `nope`" in done.err, done.err


def test_the_limit_of_runs_holds_back_no_call(home):
    home.dag("leaf", "tasks: {a: {noop: }}\n")
    home.dag("mid", "tasks: {a: {call: leaf}}\n")
    home.dag("top", "tasks: {a: {for_each: range(300), max_parallel: 300, call: mid}}\n")
    assert home.run(home.dags / "top.yaml").state == "succeeded"


def test_a_dag_cannot_call_itself(home):
    file = home.dag("again", "tasks: {again: {call: again}}\n")
    done = home.call("run", file, code=2)
    assert "TM0120" in done.err and "cannot call itself" in done.err, done.err


def test_dags_that_call_each_other_are_refused_and_end(home):
    home.dag("there", "tasks: {back: {noop: }}\n")
    file = home.dag("here", "tasks: {there: {call: there}}\n")
    home.run(file)
    server = home.serve()
    home.dag("there", "tasks: {back: {call: here}}\n")
    assert "would call itself: `here → there → here`" in home.call("validate", file, code=2).err
    # What a server has served goes on; where it leads round all the same, it ends.
    run = server.trigger("here")
    assert server.wait(run)["state"] in ("succeeded", "failed")


def test_a_called_run_that_is_cancelled_fails_its_caller(home):
    home.dag("child", CHILD)
    home.dag("parent", "tasks:\n  child:\n    call: {dag: child, params: {n: 1, sleep: 60}}\n"
                       "    retry: 3\n")
    server = home.serve()
    run = server.trigger("parent")
    child = eventually("it calls", lambda: task(server, run, "child").get("called"))
    home.call("cancel", child)
    value = server.wait(run)
    assert value["state"] == "failed"
    ended = task(server, run, "child")
    assert ended["attempts"] == 1 and "was cancelled" in str(ended["error"]), ended


@pytest.mark.parametrize("again", range(3))
def test_nothing_that_waits_is_forgotten_by_a_kill(home, again):
    home.dag("child", CHILD)
    home.dag("all", f"""
tasks:
  pause: {{wait: {500 + 400 * again}ms}}
  ask: {{approve: {{params: {{n: {{type: integer, default: 3}}}}}}}}
  child: {{call: {{dag: child, params: {{n: 1, sleep: {again / 2}}}, table: rows}}}}
  read: {{transform: {{sql: select doubled from child}}}}
  end: {{noop: , depends_on: [pause, ask, child, read]}}
""")
    server = home.serve()
    run = server.trigger("all")
    asked(server, run)
    server.kill()
    time.sleep(0.2 * again)
    server = home.serve()
    asked(server, run)
    home.call("approve", run, "ask", "--param", "n=9")
    server.kill()
    server = home.serve()
    value = server.wait(run)
    assert value["state"] == "succeeded", value
    assert task(server, run, "ask")["outputs"]["n"] == 9
    runs = server.get("/api/v1/dags/child/runs")["items"]
    assert len(runs) == 1, "it was called once"
