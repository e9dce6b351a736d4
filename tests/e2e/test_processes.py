"""Commands and their supervisor: what goes on without a server, and what ends."""

import os
import re
import signal
import subprocess
import time

from tidemill import eventually, processes_with

COUNTS = """
tasks:
  count:
    run: |
      i=0
      while [ ! -e enough ]; do echo $i; i=$((i+1)); sleep 0.002; done
      echo end >&2
    retry: {limit: 0}
  after: {run: [echo, done], depends_on: [count]}
"""

SLOW = """
tasks:
  wait:
    run: |
      echo $$ >> pids
      sleep 1000 & echo $! >> pids
      wait
    retry: {limit: 0}
"""


def task(server, run, name):
    return next(task for task in server.run(run)["tasks"] if task["name"] == name)


def numbers(home, run, name="count"):
    out = home.call("logs", run, name, "--raw", code=None).out
    return [int(line) for line in out.split() if line.isdigit()]


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def pids(home):
    try:
        return [int(line) for line in (home.dags / "pids").read_text().split()]
    except FileNotFoundError:
        return []


def test_a_command_goes_on_through_kills_and_stops(home):
    """Three servers die while it prints; the fourth sees its end, and no number is missing."""
    home.dag("d", COUNTS)
    server = home.serve()
    run = server.trigger("d")
    for turn in range(3):
        seen = eventually("it prints", lambda: numbers(home, run) if task(server, run, "count")["attempts"] else None)
        eventually("more", lambda: len(numbers(home, run)) > len(seen))
        if turn == 1:
            process = server.process
            process.send_signal(signal.SIGTERM)
            said = process.stdout.read().decode()
            assert process.wait(timeout=60) == 0
            assert "1 command goes on; the next start takes it up again" in said
        else:
            server.kill()
        path = home.path / "logs" / "d" / run.rpartition(".")[2] / "count.1.log"
        size = path.stat().st_size
        eventually("it prints without a server", lambda: path.stat().st_size > size)
        server = home.serve()
        assert task(server, run, "count")["state"] == "running"
    (home.dags / "enough").touch()
    ended = server.wait(run)
    assert ended["state"] == "succeeded"
    assert (task(server, run, "count")["attempts"], task(server, run, "count")["lost"]) == (1, 0)
    found = numbers(home, run)
    assert found == list(range(len(found))) and len(found) > 10
    page = server.get(f"/api/v1/runs/{run}/tasks/count/logs?from=0&limit=5")
    assert page["lines"][0]["text"] == "attempt 1 of `count`: run shell"
    assert home.call("logs", run, "count").out.rstrip().endswith("succeeded: 0 rows in, 0 rows out")
    assert "everything is as it should be" in home.call("doctor").out


def test_the_end_is_followed_over_a_restart(home):
    """`logs --follow` begins with one server and a later one goes on, both without a gap."""
    home.dag("d", COUNTS)
    server = home.serve()
    run = server.trigger("d")
    eventually("it prints", lambda: len(server.get(f"/api/v1/runs/{run}/tasks/count/logs")["lines"]) > 3)
    server.kill()
    server = home.serve()
    follow = subprocess.Popen(
        [home.binary, "--home", str(home.path), "logs", run, "count", "--follow"],
        stdout=subprocess.PIPE, env=home.env)
    first = follow.stdout.readline()
    assert b"attempt 1 of" in first
    (home.dags / "enough").touch()
    out = follow.stdout.read()
    assert follow.wait(timeout=60) == 0
    assert b"succeeded" in out.splitlines()[-1]
    found = [int(n) for n in re.findall(rb"(?m)(?:^|\s)(\d+)$", out)]
    assert found == list(range(len(found))) and found


def test_one_that_ended_without_a_server_is_not_run_again(home):
    home.dag("d", """
tasks:
  once: {run: "echo begun >> began; until [ -e go ]; do sleep 0.02; done; exit 3", retry: {limit: 0}}
""")
    server = home.serve()
    run = server.trigger("d")
    eventually("it has begun", (home.dags / "began").exists)
    server.kill()
    supervisor = home.supervisor()
    (home.dags / "go").touch()
    eventually("the supervisor leaves", lambda: not lives(supervisor))
    server = home.serve()
    assert server.wait(run)["state"] == "failed"
    assert task(server, run, "once")["attempts"] == 1
    assert (home.dags / "began").read_text() == "begun\n"
    assert "ended with code 3" in home.call("show", run).out
    eventually("its record is gone", lambda: not list((home.path / "processes").glob("*.json")))


def test_a_supervisor_that_is_killed(home):
    """Its commands are lost and run again; as often as the server's end may cost, and no more."""
    home.dag("d", SLOW)
    server = home.serve()
    run = server.trigger("d")
    for attempt in range(1, 5):
        eventually("it runs", lambda: task(server, run, "wait")["attempts"] == attempt
                   and len(pids(home)) == 2 * attempt)
        home.kill_supervisor()
    ended = server.wait(run)
    assert ended["state"] == "failed", ended
    assert "the supervisor of commands ended" in home.call("show", run).out
    assert not any(lives(pid) for pid in pids(home))
    quick = home.dag("quick", "tasks: {one: {run: [echo, one]}}")
    eventually("it is loaded", lambda: server.ask("GET", "/api/v1/dags/quick")[0] == 200)
    assert home.run(quick).state == "succeeded", "the next command has another supervisor"


def test_a_supervisor_that_is_killed_with_the_server(home):
    home.dag("d", SLOW)
    for first in ("server", "supervisor"):
        server = home.serve()
        run = server.trigger("d")
        eventually("it runs", lambda: len(pids(home)) >= 2)
        if first == "server":
            server.kill()
            home.kill_supervisor()
        else:
            home.kill_supervisor()
            server.kill()
        old = pids(home)
        server = home.serve()
        eventually("it runs again", lambda: len(pids(home)) > len(old))
        assert not any(lives(pid) for pid in old)
        home.call("cancel", run)
        assert server.wait(run)["state"] == "cancelled"
        assert not any(lives(pid) for pid in pids(home))
        assert server.stop() == 0
        (home.dags / "pids").unlink()


def test_a_run_that_was_cancelled_while_no_server_was_there(home):
    home.dag("d", SLOW)
    server = home.serve()
    run = server.trigger("d")
    eventually("it runs", lambda: len(pids(home)) == 2)
    assert all(lives(pid) for pid in pids(home))
    server.kill()
    home.call("cancel", run)
    assert not any(lives(pid) for pid in pids(home))
    assert home.call("show", run, "--json").json()["state"] == "cancelled"


def test_a_stopped_server_and_a_stopped_supervisor(home):
    """SIGSTOP of the one or the other delays things and loses nothing."""
    home.dag("d", COUNTS)
    server = home.serve()
    run = server.trigger("d")
    eventually("it prints", lambda: len(numbers(home, run)) > 3)
    for pid in (server.process.pid, home.supervisor()):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
    (home.dags / "enough").touch()
    assert server.wait(run)["state"] == "succeeded"
    found = numbers(home, run)
    assert found == list(range(len(found)))


def test_nothing_stays_behind(home):
    """After `run`, after Ctrl-C, after a server that ends its commands: no process of ours."""
    quick = home.dag("quick", "tasks: {one: {run: [echo, one]}}")
    assert home.run(quick).state == "succeeded"
    eventually("nothing is left", lambda: processes_with(str(home.path)) == [])
    slow = home.dag("d", SLOW)
    process = subprocess.Popen([home.binary, "--home", str(home.path), "run", str(slow)],
                               stdout=subprocess.DEVNULL, env=home.env)
    eventually("it runs", lambda: len(pids(home)) == 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually("commands of a `run` end with it", lambda: not any(lives(pid) for pid in pids(home)))
    eventually("nothing is left", lambda: processes_with(str(home.path)) == [])


def test_doctor_finds_an_orphan_beside_a_server(home):
    home.dag("d", SLOW)
    server = home.serve()
    run = server.trigger("d")
    eventually("it runs", lambda: len(pids(home)) == 2)
    assert "everything is as it should be" in home.call("doctor").out
    record = next((home.path / "processes").glob("*.json"))
    planted = record.read_text().replace(f"{run}", "d.77")
    (home.path / "processes" / "d.77.wait.1.json").write_text(planted)
    assert "of d.77/wait#1, which the server does not run, there run" in home.call("doctor").out
