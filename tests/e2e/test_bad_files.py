"""Hundreds of bad files beside good ones: refused one by one, and nothing else is touched.

Rows F21, F23 and T11 of the reliability table. Times are printed, not asserted: `-s` shows them.
"""

import html
import json
import os
import statistics
import subprocess
import sys
import time

import pytest

from bad_files import GOOD, WHOLE, write_all
from tidemill import eventually

# Beyond the file itself and beyond what the process takes for a small good file: (seconds, KiB).
# The seconds are far above what it takes, so that a busy machine fails no test.
MOST = (2.0, 50 * 1024)
# Within the limits of the language, a file takes what its tree takes.
MOST_WITHIN_LIMITS = (20.0, 128 * 1024)
WITHIN_LIMITS = {"mistakes-20000", "params-20000"}


# Runs a command and writes what it took. The peak that the system tells of a process begins with
# that of the process which started it, so a small one has to: this, and not that of the tests.
MEASURE = """
import os, sys, time
begun = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    print(os.waitstatus_to_exitcode(status), time.monotonic() - begun, usage.ru_maxrss, file=file)
"""


class Cost:
    """What `validate` said of a file, and what it took."""

    def __init__(self, home, path):
        cost = home.folder / "cost"
        command = [home.binary, "--home", str(home.path), "validate", "--json", str(path)]
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, str(cost), *command], check=True, timeout=60,
            stdin=subprocess.DEVNULL, capture_output=True, env=home.env)
        self.out, self.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        code, seconds, kib = cost.read_text().split()
        self.code, self.seconds, self.kib = int(code), float(seconds), int(kib)

    def diagnostics(self):
        return json.loads(self.out)["diagnostics"]


def places(diagnostics):
    return [(d["code"], d["line"], d["column"], d["severity"]) for d in diagnostics]


def words(diagnostics):
    """All but the source line: what prints to a terminal leaves control characters out of it."""
    return [{key: value for key, value in d.items() if key != "source_line"} for d in diagnostics]


def all_dags(server):
    """Every entry of the list, page by page."""
    found, after = [], ""
    while True:
        page = server.get(f"/api/v1/dags?limit=200{after}")
        found += page["items"]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


def all_pages(server):
    """The list of DAGs as people see it, page by page, as one text."""
    text, path = "", "/dags"
    while path:
        page = server.get(path)
        text += page
        rest = page.partition('<p class="pager"><a class="button" href="')[2]
        path = html.unescape(rest.partition('"')[0])
    return html.unescape(text)


@pytest.mark.timeout(600)
def test_bad_files_beside_good_ones(home):
    bad, good = write_all(home.dags)
    small = [Cost(home, home.dags / f"{name}.yaml") for name in good]
    assert {cost.code for cost in small} == {0}, [cost.out for cost in small if cost.code]
    start, base = statistics.median(c.seconds for c in small), min(c.kib for c in small)
    said, costs, troubles = {}, {}, []
    for name, (path, codes) in bad.items():
        cost = Cost(home, path)
        assert "panicked" not in cost.err and cost.code in (0, 2), f"{name}: {cost.code} {cost.err}"
        said[name], costs[name] = cost.diagnostics(), cost
        errors = [d for d in said[name] if d["severity"] == "error"]
        assert bool(errors) == (cost.code == 2), name
        if codes is not None and not {d["code"] for d in errors} & codes:
            troubles.append(f"{name}: {places(said[name])[:3]}, not {codes}")
        for found in said[name]:
            assert found["file"] == str(path) and found["line"] >= 1 and found["column"] >= 1, found
            assert found["message"] and found["help"], found
        seconds, kib = MOST_WITHIN_LIMITS if name in WITHIN_LIMITS else MOST
        if cost.seconds - start > seconds:
            troubles.append(f"{name}: took {cost.seconds:.2f} s")
        if beyond(cost, base, path) > kib:
            troubles.append(f"{name}: took {beyond(cost, base, path)} KiB beyond the file")
    report(bad, costs, start, base)
    assert not troubles, "\n".join(troubles)
    refused = {name for name in bad if costs[name].code == 2}
    assert len(refused) >= 300, len(refused)
    for path in ("dangling.yaml", "circle.yaml"):
        found = Cost(home, home.dags / path)
        assert [d["code"] for d in found.diagnostics()] == ["TM0013"], found.out
        assert found.diagnostics()[0]["help"]

    server = home.serve()
    listed = {entry["file"]: entry for entry in all_dags(server)}
    shown = all_pages(server)
    for name, (path, _) in bad.items():
        entry = listed[str(path)]
        assert words(entry["diagnostics"]) == words(said[name]), name
        if name in refused:
            assert entry["version"] is None, name
            assert f"{path.name}" in shown or f"bad-{name}" in shown, name
            first = next(d for d in said[name] if d["blocks_run"])
            assert f"{first['message']} (line {first['line']})" in shown, name
    assert not [entry["file"] for entry in listed.values() if "folder.yaml" in entry["file"]]
    runs = [server.trigger(name) for name in good]
    assert {server.wait(run)["state"] for run in runs} == {"succeeded"}
    assert server.stop() == 0
    log = (home.folder / "serve.log").read_text(errors="replace")
    assert "panicked" not in log
    # The start says each of them, with the same places.
    for name in refused:
        first = next(d for d in said[name] if d["severity"] == "error")
        assert f"{bad[name][0]}:{first['line']}:{first['column']}" in log, name


def beyond(cost, base, path):
    """Memory that is neither the process nor the file, in KiB."""
    return cost.kib - base - path.stat().st_size // 1024


def report(bad, costs, start, base):
    """Prints what the worst ones took."""
    print(f"\nprocess start {start * 1000:.0f} ms, {base // 1024} MiB")
    slow = sorted(bad, key=lambda name: -costs[name].seconds)[:12]
    for name in slow:
        print(f"{(costs[name].seconds - start) * 1000:7.0f} ms beyond the start  {name}")
    more = {name: beyond(costs[name], base, bad[name][0]) for name in bad}
    for name in sorted(bad, key=lambda name: -more[name])[:8]:
        print(f"{more[name] / 1024:7.1f} MiB beyond the file  {name}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(home):
    path = home.dag("closed", GOOD.format(name="closed"))
    path.chmod(0)
    home.dag("good", GOOD.format(name="good"))
    assert [d["code"] for d in Cost(home, path).diagnostics()] == ["TM0013"]
    server = home.serve()
    listed = {entry["file"]: entry["diagnostics"] for entry in all_dags(server)}
    assert [d["code"] for d in listed[str(path)]] == ["TM0013"]
    assert server.wait(server.trigger("good"))["state"] == "succeeded"


# What follows needs the folder to be looked at again: that is once in a second, and a changed file
# is taken when it has stood still for one of them.

SLOW = """dag: d
tasks:
  first:
    run: [sh, -c, "touch began; while [ ! -e go ]; do sleep 0.05; done; echo {word}"]
  second:
    run: [echo, "{word}"]
    depends_on: [first]
"""


def entry_of(server, path):
    return next((entry for entry in all_dags(server) if entry["file"] == str(path)), None)


def log_of(home, run, task):
    return home.call("logs", run, task, "--raw").out


def test_a_run_keeps_its_version(home):
    """Changed, broken and deleted while it runs: it ends as it began, over a restart too."""
    path = home.dag("d", SLOW.format(word="old"))
    server = home.serve()
    old = entry_of(server, path)["version"]
    run = server.trigger("d")
    eventually("the first task", (home.dags / "began").exists)
    path.write_text(SLOW.format(word="new"))
    new = eventually("the new version", lambda: changed(server, path, old))
    path.write_text(WHOLE[:200])
    eventually("its error", lambda: entry_of(server, path)["diagnostics"])
    # The version before stays deployed.
    assert entry_of(server, path)["version"] == new
    path.unlink()
    eventually("the file is gone", lambda: next(
        (dag for dag in all_dags(server) if dag["id"] == "d" and dag["retired"]), None))
    (home.dags / "go").touch()
    ended = server.wait(run)
    assert (ended["state"], ended["version"]) == ("succeeded", old)
    assert "old" in log_of(home, run, "first") and "old" in log_of(home, run, "second")
    status, _, body = server.ask("POST", "/api/v1/dags/d/runs", {})
    assert status in (404, 409, 422), body
    # Its history stays, over a restart too.
    server.kill()
    server = home.serve()
    assert [r["id"] for r in server.get("/api/v1/dags/d/runs")["items"]] == [run]
    assert server.run(run)["state"] == "succeeded"
    # It comes back with its file.
    path.write_text(SLOW.format(word="third"))
    eventually("it is back", lambda: not entry_of(server, path)["retired"])
    again = server.wait(server.trigger("d"))
    assert again["state"] == "succeeded" and "third" in log_of(home, again["id"], "second")


def changed(server, path, old):
    version = (entry_of(server, path) or {}).get("version")
    return version if version not in (None, old) else None


def test_a_restart_between_two_versions(home):
    """A run that goes on after a crash goes on with the version that it began with."""
    path = home.dag("d", SLOW.format(word="old"))
    server = home.serve()
    old = entry_of(server, path)["version"]
    run = server.trigger("d")
    eventually("the first task", (home.dags / "began").exists)
    server.kill()
    path.write_text(SLOW.format(word="new"))
    (home.dags / "go").touch()
    server = home.serve()
    ended = server.wait(run)
    assert (ended["state"], ended["version"]) == ("succeeded", old)
    assert "old" in log_of(home, run, "second")
    assert entry_of(server, path)["version"] not in (None, old)


def test_a_restart_with_a_wrong_text_keeps_the_version_before(home):
    """Its schedule goes on, its error is shown, and another file cannot take its name."""
    text = "dag: nightly\nschedule: '0 0 1 1 *'\ntasks:\n  a: {run: [echo, kept]}\n"
    path = home.dag("d", text)
    server = home.serve()
    before = entry_of(server, path)
    server.stop()
    path.write_text(text + "  b: {run: [echo}\n")
    home.dag("a_thief", text.replace("kept", "stolen"))
    server = home.serve()
    now = entry_of(server, path)
    assert (now["id"], now["version"], now["retired"]) == ("nightly", before["version"], False)
    assert now["next_tick"] == before["next_tick"] is not None
    assert now["diagnostics"][0]["code"] == "TM0001"
    assert "the version of `nightly` that was deployed before stays" in (home.folder / "serve.log").read_text()
    # The next good text is the next version.
    path.write_text(text.replace("kept", "mended"))
    eventually("the new version", lambda: changed(server, path, before["version"]))
    assert "mended" in log_of(home, server.wait(server.trigger("nightly"))["id"], "a")


def test_a_file_in_two_halves_is_never_half_a_dag(home):
    """Written with a pause of half a second, many times: no half becomes a version, or is told."""
    path = home.dag("d", GOOD.format(name="d"))
    server = home.serve()
    seen, errors, halves = set(), [], []
    def look():
        entry = entry_of(server, path)
        if entry:
            seen.add((entry["version"], entry["tasks"]))
            errors.extend(entry["diagnostics"])
    for round_ in range(6):
        # A half that is a good DAG of its own, of one task; and one that is none.
        text = GOOD.format(name="d").replace("echo", f"echo, {round_}")
        cut = text.index("  after:") if round_ % 2 else text.index(", \"d\"")
        halves.append(text[:cut])
        with open(path, "w") as file:
            file.write(text[:cut])
            file.flush()
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                look()
            file.write(text[cut:])
        before = len({version for version, _ in seen})
        def newer():
            look()
            return len({version for version, _ in seen}) > before
        eventually(f"version {round_}", newer)
    assert errors == []
    assert {tasks for _, tasks in seen} == {2}
    assert len(seen) == 7
    log = (home.folder / "serve.log").read_text(errors="replace")
    assert "cannot run" not in log and "panicked" not in log


def test_replaced_renamed_and_swapped(home):
    """A file that is renamed over another is whole at once; a new name of a file is the same DAG."""
    path = home.dag("d", GOOD.format(name="d"))
    server = home.serve()
    old = entry_of(server, path)["version"]
    run = server.trigger("d")
    assert server.wait(run)["state"] == "succeeded"
    beside = home.dags / ".d.yaml.new"
    beside.write_text(GOOD.format(name="d").replace("say", "tell"))
    os.replace(beside, path)
    new = eventually("the new version", lambda: changed(server, path, old))
    # Another file name: `dag: d` in it says that it is the same DAG.
    moved = home.dags / "moved.yaml"
    os.rename(path, moved)
    eventually("the new place", lambda: (entry_of(server, moved) or {}).get("version") == new)
    entry = entry_of(server, moved)
    assert entry["id"] == "d" and not entry["retired"] and entry["diagnostics"] == []
    assert [r["id"] for r in server.get("/api/v1/dags/d/runs")["items"]] == [run]
    # Back to the old text by the old file name: that is the old version again.
    path.write_text(GOOD.format(name="d"))
    os.unlink(moved)
    eventually("the old version", lambda: (entry_of(server, path) or {}).get("version") == old)
    assert server.wait(server.trigger("d"))["state"] == "succeeded"


TICKS = """dag: ticks
schedule: "* * * * *"
tasks:
  say:
    run: [echo, tick]
"""


def test_a_deleted_dag_is_due_no_more(home):
    path = home.dag("ticks", TICKS)
    server = home.serve()
    assert entry_of(server, path)["next_tick"]
    path.unlink()
    gone = eventually("the file is gone", lambda: next(
        (dag for dag in all_dags(server) if dag["id"] == "ticks" and dag["retired"]), None))
    assert gone["next_tick"] is None
    shown = all_pages(server)
    assert "file gone" in shown and "panicked" not in shown
