"""Runs that have ended go again: what failed, from a task on, all of it; with their version or a new one."""

FLAKY = """
dag: flaky
tasks:
  orders: {{transform: {{sql: "select 1 as id, random() as r"}}}}
  seen: {{run: "cat $TIDEMILL_INPUT_ORDERS > seen.$TIDEMILL_ATTEMPT", from: orders}}
  mend: {{run: "[ -e mended ] || exit 3; echo {word}"}}
  after: {{run: [echo, after], depends_on: [mend, seen]}}
  out: {{load: {{jsonl: {{path: out.jsonl}}}}, from: orders, depends_on: [after]}}
  apart: {{run: [echo, apart]}}
"""


def states(run):
    return {task["name"]: (task["state"], task["attempts"]) for task in run["tasks"]}


def test_what_failed_goes_again(home):
    home.dag("flaky", FLAKY.format(word="old"))
    server = home.serve()
    run = server.trigger("flaky")
    first = server.wait(run)
    assert first["state"] == "failed"
    assert states(first)["after"] == ("upstream_failed", 0)
    plan = home.call("rerun", run, "--dry-run").out
    assert plan.splitlines() == [
        f"{run} would go again, generation 2, version {first['version'][:8]}",
        "  again       mend, after, out",
        "  kept        orders, seen, apart",
        "  writes      out",
    ]
    assert server.run(run)["generation"] == 1
    (home.dags / "mended").touch()
    assert "generation 2" in home.call("rerun", run, "--wait").out
    ended = server.run(run)
    assert (ended["state"], ended["generation"]) == ("succeeded", 2)
    assert states(ended) == {
        "orders": ("succeeded", 1), "seen": ("succeeded", 1), "apart": ("succeeded", 1),
        "mend": ("succeeded", 2), "after": ("succeeded", 1), "out": ("succeeded", 1)}
    assert (home.dags / "out.jsonl").read_text().count("\n") == 1
    # What it gave before is what it gives now, and the log of the attempt before is there.
    assert home.call("logs", run, "mend", "--attempt", "1", "--raw").code == 0
    # Nothing failed any more; from a task on it goes all the same.
    assert "nothing failed in run" in home.call("rerun", run, code=None).err
    plan = home.call("rerun", run, "--from", "orders", "--wait", "--json").json()
    assert plan["again"] == ["orders", "seen", "after", "out"] and plan["kept"] == ["mend", "apart"]
    ended = server.run(run)
    assert (ended["generation"], states(ended)["seen"]) == (3, ("succeeded", 2))
    one, two = ((home.dags / f"seen.{n}").read_bytes() for n in (1, 2))
    assert one != two
    assert "has no task `nope`" in home.call("rerun", run, "--from", "nope", code=None).err
    assert "there is no run `flaky.77`" in home.call("rerun", "flaky.77", code=None).err
    # It is listed once, and outlasts a crash.
    server.kill()
    server = home.serve()
    assert [(r["id"], r["generation"]) for r in server.get("/api/v1/runs")["items"]] == [(run, 3)]


def test_with_its_own_version_or_the_newest(home):
    path = home.dag("flaky", FLAKY.format(word="old"))
    server = home.serve()
    run = server.trigger("flaky")
    old = server.wait(run)["version"]
    (home.dags / "mended").touch()
    path.write_text(FLAKY.format(word="new") + "  more: {run: [echo, more], depends_on: [out]}\n")
    server.kill()
    server = home.serve()
    home.call("rerun", run, "--wait")
    own = server.run(run)
    assert own["version"] == old and "more" not in states(own)
    assert home.call("logs", run, "mend", "--raw").out.strip() == "old"
    home.call("rerun", run, "--from", "mend", "--latest", "--wait")
    new = server.run(run)
    assert new["version"] != old and states(new)["more"][0] == "succeeded"
    assert states(new)["orders"] == ("succeeded", 1)
    assert home.call("logs", run, "mend", "--raw").out.strip() == "new"
    # One that is under way is told so.
    home.dag("slow", "tasks: {s: {run: [sleep, '30']}}")
    slow = None
    for _ in range(100):
        status, _, body = server.ask("POST", "/api/v1/dags/slow/runs", {})
        if status == 201:
            slow = body["id"]
            break
        import time
        time.sleep(0.1)
    status, _, body = server.ask("POST", f"/api/v1/runs/{slow}/rerun", {"tasks": "all"})
    assert status == 409 and "`s` of run slow.1 is under way" in body["detail"], body


def test_groups_and_items(home):
    """A member goes again inside its group, the items of a map all together."""
    home.dag("mixed", """
tasks:
  each: {for_each: range(3), run: "[ -e mended ] || [ $I != 1 ] || exit 3", env: {I: "${{ item }}"}, tolerate: 0}
  g:
    tasks:
      one: {run: [echo, one]}
      two: {run: "[ -e mended ] || exit 4"}
      three: {run: [echo, three], depends_on: [two]}
  lists: {for_each: range(3), run: "echo n=$I >> $TIDEMILL_OUTPUTS", env: {I: "${{ item }}"}, outputs: {n: integer}}
  end: {run: "echo ${{ tasks.lists.outputs.n }}", depends_on: [each, g]}
""")
    server = home.serve()
    run = server.trigger("mixed")
    assert server.wait(run)["state"] == "failed"
    (home.dags / "mended").touch()
    plan = home.call("rerun", run, "--dry-run", "--json").json()
    assert set(plan["again"]) == {"each", "g", "g.two", "g.three", "end"}
    assert plan["kept"] == ["lists", "g.one"] or plan["kept"] == ["g.one", "lists"]
    home.call("rerun", run, "--wait")
    ended = server.run(run)
    assert ended["state"] == "succeeded", ended
    assert states(ended)["g.one"] == ("succeeded", 1)
    assert states(ended)["g.two"] == ("succeeded", 2)
    # What the items of a map left that did not go again is still there.
    assert home.call("logs", run, "end", "--raw").out.strip() == "[0,1,2]"
    assert states(ended)["lists"] == ("succeeded", 1)
    items = server.get(f"/api/v1/runs/{run}/tasks/each/items")["items"]
    assert [item["state"] for item in items] == ["succeeded"] * 3


def test_without_a_server(home):
    file = home.dag("flaky", FLAKY.format(word="here"))
    run = home.run(file, code=1).run
    (home.dags / "mended").touch()
    said = home.call("rerun", run).out
    assert "flaky.1 succeeded" in said, said
