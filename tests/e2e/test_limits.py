"""How much goes on at once: runs of a DAG, slots of a pool, attempts in a span of time."""

from tidemill import eventually

HELD = """
dag: {name}
params: {{region: {{type: string, default: eu}}}}
concurrency: {concurrency}
tasks:
  hold: {{run: "until [ -e go.{name}.$R ]; do sleep 0.05; done", env: {{R: "${{{{ params.region }}}}"}}}}
"""


def state(server, run):
    return server.run(run)["state"]


def test_runs_of_a_dag(home):
    """One limit for each value of the key; what waits says why, on the page and in the terminal."""
    home.dag("held", HELD.format(name="held", concurrency="{limit: 1, key: params.region}"))
    server = home.serve()
    first, us = server.trigger("held"), server.trigger("held", {"region": "us"})
    second = server.trigger("held")
    eventually("two run", lambda: [state(server, r) for r in (first, us)] == ["running"] * 2)
    why = f"`concurrency` allows 1 run at once for eu, and {first} is under way"
    assert server.run(second)["waits_for"] == why
    assert f"waits: {why}" in home.call("show", second).out
    page = server.ask("GET", f"/runs/{second}")[2]
    assert "allows 1 run at once for eu" in page
    # The order stays over a crash.
    server.kill()
    server = home.serve()
    eventually("two run again", lambda: [state(server, r) for r in (first, us)] == ["running"] * 2)
    assert server.run(second)["waits_for"] == why
    (home.dags / "go.held.eu").touch()
    assert [server.wait(r)["state"] for r in (first, second)] == ["succeeded"] * 2
    assert state(server, us) == "running"
    (home.dags / "go.held.us").touch()
    assert server.wait(us)["state"] == "succeeded"


def test_overlap(home):
    for word in ("skip", "replace"):
        home.dag(word, HELD.format(name=word, concurrency=f"{{overlap: {word}}}"))
    server = home.serve()
    old = server.trigger("skip")
    eventually("it runs", lambda: state(server, old) == "running")
    new = server.wait(server.trigger("skip"))
    assert (new["state"], new["reason"]) == ("cancelled", f"`overlap: skip`: {old} is under way")
    assert f"cancelled by `overlap: skip`: {old} is under way" in home.call("show", new["id"]).out
    assert "is under way" in server.ask("GET", f"/runs/{new['id']}")[2]
    assert state(server, old) == "running"

    old = server.trigger("replace")
    eventually("it runs", lambda: state(server, old) == "running")
    new = server.trigger("replace")
    ended = server.wait(old)
    assert (ended["state"], ended["reason"]) == ("cancelled", f"`overlap: replace`: {new} takes its place")
    eventually("the new one runs", lambda: state(server, new) == "running")


def test_slots_and_priorities(home):
    home.file("pools.yaml", "narrow: {slots: 2}\n")
    home.dag("big", """
tasks:
  wide: {run: "until [ -e go ]; do sleep 0.05; done", pool: narrow, slots: 2}
""")
    home.dag("small", """
params: {n: {type: integer, default: 0}}
tasks:
  low: {run: "echo low $N >> order", env: {N: "${{ params.n }}"}, pool: narrow, slots: 2}
  high: {run: "echo high $N >> order", env: {N: "${{ params.n }}"}, pool: narrow, slots: 2, priority: 5}
""")
    server = home.serve()
    big = server.trigger("big")
    eventually("it runs", lambda: state(server, big) == "running")
    runs = [server.trigger("small", {"n": n}) for n in (1, 2)]
    eventually("they wait", lambda: all(state(server, run) == "running" for run in runs))
    waits = {task["name"]: task["waits_for"] for task in server.run(runs[0])["tasks"]}
    assert set(waits.values()) == {"all 2 slots of pool `narrow` are taken, and it takes 2"}
    (home.dags / "go").touch()
    assert [server.wait(run)["state"] for run in (big, *runs)] == ["succeeded"] * 3
    assert (home.dags / "order").read_text().split("\n")[:4] == ["high 1", "high 2", "low 1", "low 2"]


def test_a_rate(home):
    """Six items, three in any second: the fourth begins a second after the first."""
    home.dag("paced", """
tasks:
  each: {for_each: range(6), run: "date +%s%N >> begun", rate: {limit: 3, per: 1s}}
""")
    server = home.serve()
    assert server.wait(server.trigger("paced"))["state"] == "succeeded"
    begun = sorted(int(line) for line in (home.dags / "begun").read_text().split())
    assert len(begun) == 6
    # Commands begin a little after their attempts do.
    assert begun[3] - begun[0] > 0.9e9 and begun[2] - begun[0] < 0.9e9, begun
