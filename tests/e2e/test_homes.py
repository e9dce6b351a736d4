"""One home, several processes after one another: what each may touch of the others' runs."""

import shutil
import signal
import subprocess
import time

import pytest

from tidemill import eventually, processes_with

SLOW = """
tasks:
  wait:
    run: [sleep, "600"]
    retry: {limit: 0}
  after:
    run: [echo, done]
    depends_on: [wait]
"""

QUICK = """
tasks:
  one:
    run: [echo, one]
"""


def attempts(home, run, task):
    tasks = home.call("show", run, "--json").json()["tasks"]
    return next(t for t in tasks if t["name"] == task)["attempts"]


def under_way(server, run):
    return server.run(run)["tasks"][0]["state"] == "running"


def test_run_leaves_the_runs_of_others_alone(home):
    home.dag("slow", SLOW)
    server = home.serve()
    run = server.trigger("slow")
    eventually("its command runs", lambda: processes_with("sleep\x00600"))
    server.kill()
    quick = home.file("../quick.yaml", QUICK)
    # More often than attempts may be lost in crashes.
    for _ in range(6):
        assert home.run(quick).state == "succeeded"
        home.call("trigger", "slow", "--param", "no=1", code=1)
    shown = home.call("show", run, "--json").json()
    assert shown["tasks"][0]["attempts"] == 1, shown
    assert processes_with("sleep\x00600"), "the command of the killed server goes on"
    server = home.serve()
    assert under_way(server, run) and server.run(run)["tasks"][0]["attempts"] == 1
    home.call("cancel", run)
    assert server.wait(run)["state"] == "cancelled"
    assert not processes_with("sleep\x00600")


def test_a_server_that_is_stopped_eats_no_budget(home):
    home.dag("slow", SLOW)
    run = None
    for attempt in range(1, 7):
        server = home.serve("--end-commands")
        run = run or server.trigger("slow")
        eventually("the task runs", lambda: under_way(server, run)
                   and server.run(run)["tasks"][0]["attempts"] == attempt)
        assert server.stop() == 0
        assert not processes_with(str(home.path)), "a child outlived the server"
    task = home.call("show", run, "--json").json()["tasks"][0]
    assert (task["state"], task["attempts"]) == ("queued", 6), task


def test_an_interrupted_run_is_cancelled(home):
    path = home.dag("slow", SLOW)
    command = [home.binary, "--home", str(home.path), "run", str(path)]
    for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Under `nohup` this test would hand on that a closed terminal is ignored.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=home.env,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        run = process.stdout.readline().decode().strip()
        eventually("the task runs", lambda: processes_with(str(home.path / "processes"))
                   or processes_with("sleep"))
        time.sleep(0.2)
        process.send_signal(stop)
        assert process.wait(timeout=60) == 1
        process.stdout.close()
        assert home.call("show", run, "--json").json()["state"] == "cancelled"


def test_doctor_names_processes_that_outlive_their_server(home):
    home.dag("daemon", """
tasks:
  start:
    run: (setsid sh -c 'exec sleep 601' &) & wait; exec sleep 602
""")
    server = home.serve()
    run = server.trigger("daemon")
    daemon = eventually("the daemon runs", lambda: processes_with("sleep\x00601"))[0][0]
    server.kill()
    said = home.call("doctor").out
    assert f"the command of {run}/start#1 goes on without a server" in said, said
    assert str(daemon) in said and str(home.supervisor()) in said, said
    home.kill_supervisor()
    eventually("its leader ends with it", lambda: not processes_with("sleep\x00602"))
    said = home.call("doctor").out
    assert f"of {run}/start#1 there still run, without a supervisor" in said, said
    assert str(daemon) in said, said
    server = home.serve("--end-commands")
    assert not [pid for pid, _ in processes_with("sleep\x00601") if pid == daemon]
    eventually("it runs again", lambda: processes_with("sleep\x00601"))
    server.stop()
    assert not processes_with("sleep\x00601")
    assert "still run" not in home.call("doctor").out


def test_cancel_without_a_server(home):
    home.dag("slow", SLOW)
    server = home.serve()
    first, second = server.trigger("slow"), server.trigger("slow")
    eventually("both run", lambda: under_way(server, first) and under_way(server, second))
    server.kill()
    home.call("cancel", first)
    assert home.call("show", first, "--json").json()["state"] == "cancelled"
    assert attempts(home, second, "wait") == 1
    home.call("cancel", first, code=1)


def test_trigger_without_a_server_runs_what_was_served_last(home):
    home.dag("quick", QUICK)
    server = home.serve()
    server.stop()
    home.dag("quick", "this is: no DAG")
    done = home.call("trigger", "quick", "--json")
    assert done.json()["state"] == "succeeded"
    assert "there is no DAG `quikc`" in home.call("trigger", "quikc", code=1).err


def test_a_file_does_not_take_the_place_of_a_served_dag(home):
    scheduled = "schedule: \"0 3 * * *\"\n" + QUICK
    home.dag("daily", scheduled)
    server = home.serve()
    before = server.get("/api/v1/dags/daily")
    assert before["next_tick"], before
    other = home.file("../elsewhere/daily.yaml", QUICK.replace("one", "two"))
    result = home.run(other)
    assert list(result.tasks) == ["two"]
    after = server.get("/api/v1/dags/daily")
    assert (after["version"], after["next_tick"]) == (before["version"], before["next_tick"])
    assert list(t["name"] for t in server.run(server.trigger("daily"))["tasks"]) == ["one"]
    # A file that is in no served folder is known from now on, but fires by itself never.
    home.run(home.file("../elsewhere/nightly.yaml", scheduled))
    nightly = server.get("/api/v1/dags/nightly")
    assert nightly["next_tick"] is None, nightly
    server.stop()
    home.run(other)
    server = home.serve()
    assert server.get("/api/v1/dags/daily")["version"] == before["version"]


def test_looking_makes_no_home(home):
    for command in (["runs"], ["doctor"], ["show", "a.1"], ["profile", "x"]):
        assert "there is no home at" in home.call(*command, code=1).err
    assert not home.path.exists()


def test_a_journal_that_lost_its_end_loses_no_run(home):
    path = home.dag("quick", QUICK)
    for _ in range(3):
        home.run(path)
    [segment] = (home.path / "journal").glob("*.log")
    segment.write_bytes(segment.read_bytes()[:-700])
    for command in (["runs"], ["run", path], ["doctor"]):
        done = home.call(*command, code=1)
        assert "doctor --repair" in done.out + done.err, done
    home.call("doctor", "--repair")
    listed = [run["id"] for run in home.call("runs", "--json").json()["items"]]
    assert listed == ["quick.3", "quick.2", "quick.1"]
    assert home.run(path).run == "quick.4"
    assert home.call("doctor").code == 0


def test_damaged_profiles_are_found(home):
    home.run(home.dag("quick", QUICK))
    (home.path / "profiles" / "conf").write_bytes(b"no configuration")
    said = home.call("doctor", code=1).out
    assert "profiles" in said and "restore a backup" in said, said


def test_a_restart_gives_no_name_to_another_file(home):
    home.dag("zoo", "dag: animals\n" + QUICK)
    server = home.serve()
    home.dag("aaa", "dag: animals\n" + QUICK.replace("one", "other"))
    server.stop()
    server = home.serve()
    assert [t["name"] for t in server.run(server.trigger("animals"))["tasks"]] == ["one"]


@pytest.mark.parametrize("way", ["look", "serve"])
def test_flipped_bytes_in_the_records(home, way):
    """Some were met in the words of the database below, and some lost runs from lists."""
    home.dag("quick", QUICK)
    server = home.serve()
    runs = [server.trigger("quick") for _ in range(40)]
    for run in runs:
        server.wait(run)
    assert server.stop() == 0
    sound = home.folder / "sound"
    # The supervisor of the commands may stay for a moment longer, and its socket with it.
    shutil.copytree(home.path, sound, ignore=shutil.ignore_patterns("*.sock"))
    for path in sorted(p for p in (sound / "state").rglob("*") if p.is_file()):
        content = path.read_bytes()
        for at in range(0, len(content), max(len(content) // 6, 1)):
            shutil.rmtree(home.path)
            shutil.copytree(sound, home.path)
            bad = bytearray(content)
            bad[at] ^= 0x10
            (home.path / path.relative_to(sound)).write_bytes(bad)
            place = f"byte {at} of {path.name}"
            found = home.call("doctor", code=None)
            said = found.out + found.err
            if way == "serve":
                server = home.serve()
                assert {server.run(run)["state"] for run in runs} == {"succeeded"}, place
                assert server.wait(server.trigger("quick"))["state"] == "succeeded", place
                assert server.stop() == 0
                said += (home.folder / "serve.log").read_text()
            else:
                listed = home.call("runs", "--json", "--limit", "1000")
                assert {run["id"] for run in listed.json()["items"]} == set(runs), place
                said += listed.err + home.call("show", runs[7]).err
            for foreign in ("sled", "offset", "panicked", "lsn"):
                assert foreign not in said, f"{place}: {said}"


def test_a_home_that_is_removed_under_a_server(home):
    """It went on, said "No such file or directory", and named no remedy."""
    home.dag("d", "tasks:\n  rows:\n    transform:\n      sql: select value from generate_series(1, 200000)\n")
    server = home.serve()
    assert server.wait(server.trigger("d"))["state"] == "succeeded"
    shutil.rmtree(home.path)
    assert server.process.wait(timeout=30) == 1
    said = (home.folder / "serve.log").read_text()
    assert f"error[TM0804]: the home `{home.path}` was moved or removed" in said, said
    assert "tidemill restore" in said and "panicked" not in said, said
    # Another one may begin there anew.
    assert home.serve().get("/api/v1/runs")["items"] == []
