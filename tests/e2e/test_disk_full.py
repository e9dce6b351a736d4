"""A home on a disk that runs full: nothing acknowledged is lost, and work goes on when there is space.

The disk is a small tmpfs, so these tests need root, as `tests/run` does for its packages.
"""

import contextlib
import os
import subprocess
import threading

import pytest

from tidemill import eventually

QUICK = """
tasks:
  one:
    run: [echo, one]
"""

LARGE = """
tasks:
  large:
    transform:
      sql: select value, random() as noise from generate_series(1, 8000000)
  small:
    transform:
      sql: select value from generate_series(1, 10)
"""


@pytest.fixture
def small_disk(home):
    """The home on a disk of 48 MiB."""
    home.path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", home.path], check=True)
    yield home
    home.close()
    subprocess.run(["umount", "--lazy", home.path], check=True)


def fill(home):
    """Takes all the space that is left; gives the file that holds it."""
    filler = home.path / "filler"
    with open(filler, "ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def test_a_table_that_does_not_fit(small_disk):
    home = small_disk
    result = home.run(home.dag("large", LARGE), code=1)
    assert result.states() == {"large": "failed", "small": "succeeded"}
    said = result.error("large")
    assert "cannot write the table `large`" in said and "free some space" in said, said
    assert not list((home.path / "tables").glob("*.tmp")), "half a table is left"
    assert home.run(home.dag("quick", QUICK)).state == "succeeded"


def test_nothing_acknowledged_is_lost(small_disk):
    home = small_disk
    home.dag("quick", QUICK)
    server = home.serve()
    acknowledged = [server.trigger("quick") for _ in range(5)]
    for run in acknowledged:
        assert server.wait(run)["state"] == "succeeded"
    filler = fill(home)
    late = []
    asking = [threading.Thread(target=lambda: late.append(server.trigger("quick"))) for _ in range(20)]
    for thread in asking:
        thread.start()

    def health():
        status, _, body = server.ask("GET", "/health")
        return body if status == 503 else None

    said = eventually("the server says that the disk is full", health)
    assert "disk is full" in str(said), said
    # The last page of a file has room for a few more: those are kept, and may be acknowledged.
    assert len(late) < 20, "runs were acknowledged that could not be kept"
    status, _, body = server.ask("GET", f"/api/v1/runs/{acknowledged[0]}")
    assert status == 200 or (status, body["code"]) == (503, "unavailable"), body
    os.remove(filler)
    for thread in asking:
        thread.join(timeout=30)
    assert len(set(late)) == 20, "those who waited are answered"
    eventually("the server is well again", lambda: server.ask("GET", "/health")[0] == 200, 10)
    for run in late:
        ended = server.wait(run)
        assert ended["state"] == "succeeded", ended
    server.kill()
    server = home.serve()
    for run in acknowledged + late:
        assert server.run(run)["state"] == "succeeded"
    assert len(server.get("/api/v1/runs?dag=quick&limit=100")["items"]) == 25


def test_a_home_can_be_looked_at_while_its_disk_is_full(small_disk):
    """After a kill on a full disk the state was called damaged, until there was space."""
    home = small_disk
    home.dag("quick", QUICK)
    server = home.serve()
    runs = [server.trigger("quick") for _ in range(100)]
    for run in runs:
        server.wait(run)
    filler = fill(home)

    def ask():
        # The kill ends it without an answer.
        with contextlib.suppress(OSError):
            server.ask("POST", "/api/v1/dags/quick/runs", {})

    asking = [threading.Thread(target=ask, daemon=True) for _ in range(40)]
    for thread in asking:
        thread.start()
    eventually("the disk is full", lambda: server.ask("GET", "/health")[0] == 503)
    server.kill()
    # A kill within a commit leaves a part of it: it was never acknowledged.
    os.truncate(filler, filler.stat().st_size - 65536)
    journal = max((home.path / "journal").glob("*.log"))
    with open(journal, "ab") as file:
        file.write(b"\x40\0\0\0torn")
    torn = journal.read_bytes()
    fill(home)
    found = home.call("doctor", code=None)
    assert "damaged" not in found.out + found.err, found
    listed = home.call("runs", "--json", "--limit", "1000")
    assert set(runs) <= {run["id"] for run in listed.json()["items"]}
    shown = home.call("show", runs[3])
    assert f"{runs[3]} succeeded" in shown.out
    assert "one" in home.call("logs", runs[3], "one").out
    for done in (listed, shown):
        assert done.err == "", done.err
    assert journal.read_bytes() == torn, "who only looks changes nothing"
    refused = home.call("run", home.file("../quick.yaml", QUICK), code=1)
    assert "is full; free some space" in refused.err and "damaged" not in refused.err, refused.err
    os.remove(filler)
    server = home.serve()
    for run in runs:
        assert server.run(run)["state"] == "succeeded"
    assert server.wait(server.trigger("quick"))["state"] == "succeeded"
