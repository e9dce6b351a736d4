"""kill -9, again and again, of a server at work; then everything must be as if it had not been.

Each life of the server: runs are triggered (what it acknowledges is noted) until a kill at a random
moment. Every run has tables, a retry, commands that are slow enough to be hit, and a child that
would outlive its command. Commands go on without the server; every second kill, more or less, takes
their supervisor too, and then they are lost. At the end the server may finish, and then:

* every run that was acknowledged is there, and no run is stuck;
* what was reported as final has stayed as it was;
* every run succeeded, and the table that it published equals that of an undisturbed run;
* no process is left.

A task may lose three attempts to the server's end. So every third life begins with time to finish
what is open: then no task can be lost more often, and no run has an excuse.
"""

import os
import random
import threading
import time
from urllib.parse import quote

import pytest

from tidemill import eventually, processes_with

# A seed makes the moments the same each time, as far as the machine allows.
SEED = 4711
RUNS_AT_ONCE = 2
VARIANTS = 4
LIVES_BEFORE_REST = 3
FINAL = {"succeeded", "failed", "cancelled"}

HEAD = """
params:
  n: {type: integer}

defaults:
  retry: {limit: 8, delay: 20ms, factor: 1, jitter: 0}
  env: {WHO: MARKER}

tasks:
  rows:
    ingest:
      csv: {path: rows.csv, columns: {a: int64, b: string}}
"""

DAG = HEAD + """
  flaky:
    run: |
      sleep 0.02
      test $((TIDEMILL_ATTEMPT % 2)) -eq 0

  slow:
    run: |
      sleep 600 &
      sleep 0.05
    depends_on: [rows]

  sums:
    transform:
      sql: select b, sum(a * $n) as total, count(*) as lines from rows group by b order by b
    depends_on: [flaky]

  wide:
    transform:
      sql: select x.a, y.b, x.a * $n as c from rows as x cross join (select b from rows limit 20) as y
    checks:
      - rows: {min: 1}

  parts:
    for_each: "['a', 'b', 'c', 'd', 'e']"
    max_parallel: 2
    tasks:
      part:
        transform: {sql: "select $part as b, sum(a) as share from rows where b = $part"}
        bind: {part: item}
      look:
        run: [sleep, "0.01"]
        depends_on: [part]
    finally: [{run: ["true"]}]
    outputs: part

  pause:
    wait: 30ms

  ask:
    approve: {params: {least: {type: integer, default: 0}}}
    depends_on: [pause]

  called:
    call: {dag: parts, params: {n: "${{ params.n }}"}, table: tops}

  joined:
    transform:
      sql: |
        select sums.b, sums.total, sums.lines, max(wide.c) as top, count(*) as pairs,
          max(parts.share) as share, max(parts._item) as item, max(called.top) as called_top
        from sums join wide on wide.b = sums.b left join parts on parts.b = sums.b
          left join called on called.b = sums.b
        where sums.lines >= $least
        group by sums.b, sums.total, sums.lines
        order by sums.b
    bind: {least: tasks.ask.outputs.least}
    depends_on: [slow]

  file:
    load:
      jsonl: {path: "out/run-${{ run.number }}.jsonl"}
    from: joined
"""


CALLED = HEAD + """
  slow:
    run: [sleep, "0.03"]

  tops:
    transform:
      sql: select b, max(a) * $n as top from rows group by b
    depends_on: [slow]
"""


def prepare(home, marker):
    home.file("rows.csv", "a,b\n" + "".join(f"{k},{'abcdefgh'[k % 8]}\n" for k in range(2000)))
    home.dag("parts", CALLED.replace("MARKER", marker))
    return home.dag("work", DAG.replace("MARKER", marker))


def undisturbed(home, path):
    """What each variant publishes when nobody is killed."""
    found = {}
    for n in range(VARIANTS):
        result = home.run(path, "--yes", "--param", f"n={n}", home=home.folder / "calm")
        assert result.state == "succeeded"
        number = result.run.rpartition(".")[2]
        file = home.dags / "out" / f"run-{number}.jsonl"
        found[n] = file.read_bytes()
        file.unlink()
    assert len(set(found.values())) == VARIANTS
    return found


class Clerk(threading.Thread):
    """Triggers runs on a server until it is gone; notes what was acknowledged."""

    def __init__(self, server, acknowledged, rng):
        super().__init__(daemon=True)
        self.server, self.acknowledged, self.rng = server, acknowledged, rng

    def run(self):
        for _ in range(RUNS_AT_ONCE):
            n = self.rng.randrange(VARIANTS)
            try:
                status, _, body = self.server.ask(
                    "POST", "/api/v1/dags/work/runs", {"params": {"n": n}}, timeout=5)
            except (OSError, ValueError):
                return  # killed before it answered: nothing was acknowledged
            if status == 201:
                self.acknowledged[body["id"]] = n


class Approver(threading.Thread):
    """Says yes to every question of a server until it is gone; notes what was acknowledged."""

    def __init__(self, server, acknowledged):
        super().__init__(daemon=True)
        self.server, self.acknowledged = server, acknowledged
        self.done = threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.02):
            try:
                for asked in self.server.get("/api/v1/questions")["items"]:
                    note = f"said {random.random()}"
                    status, _, _ = self.server.ask(
                        "POST", f"/api/v1/runs/{asked['run']}/tasks/{asked['task']}/answer",
                        {"approved": True, "note": note}, timeout=5)
                    if status == 200:
                        assert asked["run"] not in self.acknowledged, "it asked again"
                        self.acknowledged[asked["run"]] = note
            except (OSError, ValueError):
                return  # killed before it answered


def all_runs(server, dag="work"):
    found, after = {}, ""
    while True:
        page = server.get(f"/api/v1/dags/{dag}/runs?limit=200{after}")
        found.update({run["id"]: run for run in page["items"]})
        if not page["next"]:
            return found
        after = f"&after={quote(page['next'])}"


def at_rest(server):
    return all(run["state"] in FINAL for run in all_runs(server).values())


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_kill_9(home, request):
    kills = 10_000 if request.config.getoption("--long") else 100
    marker = f"kill-{os.getpid()}-{home.folder.name}"
    path = prepare(home, marker)
    expected = undisturbed(home, path)
    rng = random.Random(SEED)
    acknowledged, answered, final = {}, {}, {}
    for kill in range(kills):
        server = home.serve()
        approver = Approver(server, answered)
        if kill % LIVES_BEFORE_REST == LIVES_BEFORE_REST - 1:
            eventually("the end of what is open", lambda: at_rest(server))
            seen = all_runs(server)
            assert set(final) <= set(seen), "a finished run is gone"
            for run, state in final.items():
                assert seen[run]["state"] == state, f"{run} was {state}, is {seen[run]['state']}"
            final = {run: entry["state"] for run, entry in seen.items()}
        clerk = Clerk(server, acknowledged, random.Random(rng.random()))
        clerk.start()
        time.sleep(rng.uniform(0, 0.4))
        both = rng.random() < 0.5
        first, second = server.kill, home.kill_supervisor
        if rng.random() < 0.5:
            first, second = second, first
        if both:
            first()
            second()
        else:
            server.kill()
        clerk.join()
        approver.join()

    server = home.serve()
    approver = Approver(server, answered)
    eventually("the end of all runs", lambda: at_rest(server))
    approver.done.set()
    approver.join()
    runs = all_runs(server)
    assert set(acknowledged) <= set(runs), sorted(set(acknowledged) - set(runs))
    assert len(acknowledged) > kills / 2, "too few triggers were acknowledged to prove anything"
    for run, entry in runs.items():
        assert entry["state"] == "succeeded", server.run(run)
        file = home.dags / "out" / f"run-{run.rpartition('.')[2]}.jsonl"
        assert file.read_bytes() == expected[entry["params"]["n"]], run
    tasks = [task for run in runs for task in server.run(run)["tasks"]]
    notes = {run: next(t for t in server.run(run)["tasks"] if t["name"] == "ask")["outputs"]["note"]
             for run in runs}
    assert answered.items() <= notes.items(), "an answer that was acknowledged is not the one kept"
    callers = [run["trigger"]["run"] for run in all_runs(server, "parts").values()]
    assert sorted(callers) == sorted(runs), "each run calls once"
    for task in tasks:
        if task["items"]:
            assert task["items"]["by_state"] == {"succeeded": 5}, task
    items = [item for run in runs
             for item in server.get(f"/api/v1/runs/{run}/tasks/parts/items")["items"]]
    assert len(items) == 5 * len(runs)
    inside = [member for item in items for member in item["members"]]
    assert any(member["lost"] for member in inside), "no item was hit"
    hit = sum(task["lost"] > 0 for task in tasks + inside)
    assert hit > 10, "the kills hit nothing"
    print(f"{kills} kills, {len(runs)} runs, {len(acknowledged)} acknowledged, "
          f"{len(answered)} answers, {hit} tasks lost an attempt")
    assert server.stop() == 0
    eventually("the end of the supervisor", lambda: processes_with(str(home.path)) == [])
    assert processes_with(marker) == []
    assert home.call("doctor").code == 0
