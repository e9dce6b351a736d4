"""Homes of earlier releases, and of later ones."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

OLD = pathlib.Path(__file__).parent / "home-format-1.tar.xz"

ORDERS = ["orders.4", "orders.3", "orders.2", "orders.1"]


def unpack(home):
    home.path.mkdir()
    with tarfile.open(OLD) as tar:
        tar.extractall(home.path, filter="data")


def picture(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def check(home):
    shown = home.call("runs", "--json").json()["items"]
    assert [run["id"] for run in shown] == ORDERS
    assert [run["state"] for run in shown] == ["failed", "succeeded", "succeeded", "succeeded"]
    assert shown[0]["generation"] == 2
    run = home.call("show", "orders.2", "--json").json()
    assert [task["name"] for task in run["tasks"]] == ["rows", "each", "check"]
    assert home.call("logs", "orders.2", "each[2]").out.count(" item\n") == 1


def test_a_home_of_the_format_before_is_upgraded_after_a_backup(home):
    unpack(home)
    check(home)
    assert (home.path / "FORMAT").read_text() == "1\n", "who only looks changes nothing"
    server = home.serve()
    assert (home.path / "FORMAT").read_text() == "2\n"
    assert "upgraded" in (home.folder / "serve.log").read_text()
    check(home)
    home.call("rerun", "orders.3", "--all", "--wait")
    server.stop()
    # The backup is one of the earlier format, and holds what was there.
    backup = home.path / "upgrades" / "format-1"
    assert json.loads((backup / "manifest.json").read_text())["manifest"]["format"] == 1
    other = home.folder / "other"
    home.call("restore", backup, home=other)
    runs = home.call("runs", "--json", home=other).json()["items"]
    assert [(run["id"], run["generation"]) for run in runs] == [
        ("orders.4", 2), ("orders.3", 1), ("orders.2", 1), ("orders.1", 1)]
    # Once is enough.
    before = (home.folder / "serve.log").read_text().count("upgraded")
    home.serve().stop()
    assert (home.folder / "serve.log").read_text().count("upgraded") == before


def test_an_upgrade_that_is_killed_goes_on(home):
    """Killed after ever longer; however far it came, the next start ends well."""
    binary = home.binary
    for delay in [0.005 * step for step in range(1, 24)]:
        unpack(home)
        server = subprocess.Popen(
            [binary, "--home", str(home.path), "serve", "--dags", str(home.dags), "--bind",
             "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=home.env)
        time.sleep(delay)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        home.call("history", "tidy")
        assert (home.path / "FORMAT").read_text() == "2\n"
        check(home)
        backup = json.loads((home.path / "upgrades/format-1/manifest.json").read_text())
        assert backup["manifest"]["format"] == 1
        subprocess.run(["rm", "-r", str(home.path)], check=True)


def test_a_home_of_a_later_format_is_refused_and_left_as_it_is(home):
    unpack(home)
    (home.path / "FORMAT").write_text("3\n")
    before = picture(home.path)
    for words in (["runs"], ["serve", "--dags", str(home.dags)], ["doctor"], ["doctor", "--repair"],
                  ["history", "tidy"], ["restore", str(home.path), "--force"]):
        refused = home.call(*words, code=None)
        assert refused.code != 0
        assert "has format 3, and this release knows formats up to 2" in refused.err
        assert picture(home.path) == before
    assert "nothing was changed" in refused.err


def test_a_backup_of_a_later_format_is_refused_before_anything_is_replaced(home):
    unpack(home)
    home.call("history", "tidy")
    backup = home.folder / "backup"
    home.call("backup", backup)
    manifest = backup / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3', 1))
    before = picture(home.path)
    refused = home.call("restore", backup, "--force", code=None)
    assert "the backup has format 3" in refused.err
    before.pop("lock"), (after := picture(home.path)).pop("lock")
    assert after == before
