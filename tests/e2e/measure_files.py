"""How long DAG files take: 10,000 of them in a folder, one of them, and one of 20,000 tasks.

    TIDEMILL_BIN=…/release/tidemill tests/python tests/e2e/measure_files.py [folder | file] [FILES]

Prints figures and their targets; nothing is asserted, for they are those of this machine as busy
as it is. `user` is the processor's time, which a busy machine does not change much.
"""

import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tidemill import Home, eventually

DAG = """description: "File number {i}"
schedule: "{minute} 3 * * *"
params:
  region: {{type: string, default: eu}}
tasks:
  orders:
    ingest:
      csv: {{path: "in/{i}.csv", columns: {{id: int64, amount: float64}}}}
  big:
    transform:
      sql: select * from orders where amount > 100
  count:
    transform:
      sql: select count(*) as n from big
    when: tasks.big.rows > 0
  out:
    load:
      jsonl: {{path: "out/{i}.jsonl"}}
    from: count
  done:
    run: [echo, "${{{{ params.region }}}}"]
    depends_on: [out]
"""

# As in the tests of the language: each task reads the one before it.
CHAINED = """  t{i}:
    transform:
      sql: |
        select *, $run_id as run
        from t{before}
    when: tasks.t{before}.rows > 0
    retry: {{limit: 3, delay: 5s}}
"""


def chained(count):
    return "tasks:\n  t0: {ingest: {csv: {path: a.csv}}}\n" + "".join(
        CHAINED.format(i=i, before=i - 1) for i in range(1, count))


def plain(count):
    return "tasks:\n" + "".join(f"  t{i}: {{noop: {{}}}}\n" for i in range(count))


def hostile(count):
    """Files of a few MiB in which a reader that is not careful looks up each name in all others."""
    def env(value):
        return "  z:\n    run: [env]\n    env:\n" + "".join(
            f"      E{i}: ${{{{ {value.format(i=i)} }}}}\n" for i in range(count))
    params = "params:\n" + "".join(
        f"  p{i}: {{type: string, default: a}}\n" for i in range(count)) + "tasks:\n"
    outputs = "tasks:\n  a:\n    run: [b]\n    outputs:\n" + "".join(
        f"      o{i}: string\n" for i in range(count))
    yield "params", params + env("params.p{i}")
    yield "unknown params", params + env("params.q{i}")
    yield "reasons", "tasks:\n  a: {noop: {}}\n" + env("tasks.a.attempts")
    yield "outputs", outputs + env("tasks.a.outputs.o{i}")
    yield "cycle", "tasks:\n" + "".join(
        f"  t{i}: {{noop: {{}}, depends_on: [t{(i + 1) % count}]}}\n" for i in range(count))
    yield "unknown tables", chained(count // 2).replace("from t", "from u")


def kib_of(pid, name):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def seconds_of(pid):
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(what, figure, target=""):
    print(f"{what:<52}{figure:>22}  {target}", flush=True)


def validate(home, path, times=1):
    """Median of the clock and of the user time, in seconds."""
    clock, user = [], []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        begun = time.monotonic()
        subprocess.run([home.binary, "--home", str(home.path), "validate", str(path)],
                       env=home.env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        clock.append(time.monotonic() - begun)
        user.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    return statistics.median(clock), statistics.median(user)


def one_file(home):
    path = home.folder / "one.yaml"
    path.write_text(DAG.format(i=1, minute=1))
    clock, user = validate(home, path, 50)
    say("validate a file of 5 tasks, median of 50", f"{clock * 1e3:.0f} ms ({user * 1e3:.0f} user)", "<= 30 ms")
    for name, text in (("plain", plain(20_000)), ("SQL and `when`", chained(20_000))):
        path.write_text(text)
        clock, user = validate(home, path)
        say(f"validate 20,000 tasks, {name}", f"{clock:.2f} s ({user:.2f} user)", "<= 1 s")
    for name, text in hostile(40_000):
        path.write_text(text)
        clock, user = validate(home, path)
        say(f"validate what is hostile: {name}", f"{clock:.2f} s ({user:.2f} user)")


def folder(home, count):
    for i in range(count):
        home.dag(f"team_{i // 100:03}/d{i:05}", DAG.format(i=i, minute=i % 60))
    begun = time.monotonic()
    server = home.serve()
    pid = server.process.pid
    say(f"serve {count} files until it says where", f"{time.monotonic() - begun:.2f} s", "<= 2 s")
    say("  of which processor", f"{seconds_of(pid):.2f} s")
    say("  resident, and its peak",
        f"{kib_of(pid, 'VmRSS') // 1024} / {kib_of(pid, 'VmHWM') // 1024} MiB", "<= 300 MiB")
    begun = time.monotonic()
    page = server.get("/dags")
    say(f"  first page of DAGs ({len(page) // 1024} KiB)", f"{(time.monotonic() - begun) * 1e3:.0f} ms", "<= 200 ms")
    before = seconds_of(pid)
    time.sleep(10)
    say("  processor while nothing happens", f"{(seconds_of(pid) - before) * 10:.1f} %")
    seen = []
    for i in range(5):
        path = home.dags / "team_000" / "d00000.yaml"
        old = server.get("/api/v1/dags/d00000")["version"]
        time.sleep(0.37 * i)
        path.write_text(DAG.format(i=0, minute=i + 7))
        begun = time.monotonic()
        eventually("the new version", lambda: server.get("/api/v1/dags/d00000")["version"] != old)
        seen.append(time.monotonic() - begun)
    say("a change is seen after (median, longest of 5)",
        f"{statistics.median(seen):.2f} s, {max(seen):.2f} s", "<= 200 ms")
    begun, used = time.monotonic(), seconds_of(pid)
    for path in home.dags.rglob("*.yaml"):
        path.write_text(path.read_text().replace("File number", "Changed"))
    written = time.monotonic()
    last = f"d{count - 1:05}"
    eventually("all of them", lambda: "Changed" in (server.get(f"/api/v1/dags/{last}")["description"] or ""), 600)
    say("all files changed: all seen after the last write", f"{time.monotonic() - written:.2f} s", "<= 2 s")
    say("  of which processor, from the first write", f"{seconds_of(pid) - used:.2f} s")
    server.stop()
    begun = time.monotonic()
    server = home.serve()
    say("serve again on the same home", f"{time.monotonic() - begun:.2f} s", "<= 2 s")
    say("  of which processor", f"{seconds_of(server.process.pid):.2f} s")
    server.stop()


def main():
    words = sys.argv[1:]
    count = int(next((word for word in words if word.isdigit()), 10_000))
    place = pathlib.Path(tempfile.mkdtemp(prefix="measure-files-"))
    home = Home(pathlib.Path(os.environ["TIDEMILL_BIN"]).resolve(), place)
    try:
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        if "folder" not in words:
            one_file(home)
        if "file" not in words:
            folder(home, count)
    finally:
        home.close()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
