"""When runs are due: as `schedule simulate` tells it before any is started, and as a server does it."""

import json
import time

from tidemill import eventually

DAG = "tasks: {a: {noop: {}}}\n"


def ticks(home, text, *words):
    path = home.dag("due", text + DAG)
    told = home.call("schedule", "simulate", path, "--json", *words)
    return [(tick["tick"], tick["trigger"]) for tick in json.loads(told.out)["ticks"]]


def test_a_schedule_over_a_gap_and_a_fold(home):
    text = 'timezone: Europe/Zurich\nschedule: "30 2 * * *"\n'
    spring = ticks(home, text, "--from", "2027-03-27", "--to", "2027-03-30")
    assert [tick for tick, _ in spring] == [
        "2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]
    autumn = ticks(home, text, "--from", "2026-10-25", "--to", "2026-10-26T00:00")
    assert autumn == [("2026-10-25T00:30:00Z", "cron 30 2 * * *")]


def test_triggers_by_the_clock_are_merged_in_order(home):
    home.dags.joinpath("calendars.yaml").write_text(
        "office: {holidays: [2026-12-25], roll: next}\nch: {include: [office]}\n")
    text = """timezone: Europe/Zurich
end: 2027-01-01
triggers:
  - cron: "0 6 25 * *"
    calendar: office
  - cron: "30 5 0 L * *"
    seconds: true
    calendar: ch
  - every: 1d
    blackout: [{from: "22:00", to: "06:00", days: [mon, tue]}]
    enabled: false
  - at: 2026-12-26T12:00:00+01:00
  - dataset: crm.customers
"""
    assert ticks(home, text, "--from", "2026-12-24") == [
        ("2026-12-26T11:00:00Z", "at 2026-12-26T11:00:00Z"),
        # The 25th is a holiday, the two days after it a weekend.
        ("2026-12-28T05:00:00Z", "cron 0 6 25 * *"),
        ("2026-12-30T23:05:30Z", "cron 30 5 0 L * *"),
    ]


def test_windows_and_jitter(home):
    text = """triggers:
  - every: 6h
    blackout: [{from: "00:00", to: "06:00"}, {from: "18:00", to: "20:00", days: [sun]}]
    jitter: 10m
"""
    path = home.dag("due", text + DAG)
    told = home.call("schedule", "simulate", path, "--json", "--from", "2026-11-28", "--to", "2026-11-30")
    told = json.loads(told.out)["ticks"]
    assert [tick["tick"][5:16] for tick in told] == [
        "11-28T06:00", "11-28T12:00", "11-28T18:00", "11-29T06:00", "11-29T12:00"]
    # What a window leaves out is in the data of the run after it.
    assert told[3]["interval"] == {"start": "2026-11-28T18:00:00Z", "end": "2026-11-29T06:00:00Z"}
    # The offset is always the same, and below the jitter.
    offsets = {tick["begins_at"][14:] for tick in told}
    assert len(offsets) == 1 and offsets.pop()[:2] < "10"


def test_what_is_wrong_is_told(home):
    home.dags.joinpath("calendars.yaml").write_text("office: {roll: next}\nskips: {}\n")

    def refused(trigger):
        path = home.dag("due", f"triggers:\n  - {trigger}\n{DAG}")
        return home.call("schedule", "simulate", path, code=2).err

    assert "never happens on a day that counts in calendar `skips`" in refused(
        '{cron: "0 6 * * sat", calendar: skips}')
    assert "calendar `office` moves days, and `every` is not of whole days" in refused(
        "{every: 15m, calendar: office}")
    assert "`every` is shorter than a second" in refused("{every: 100ms}")
    path = home.dag("due", DAG)
    assert "nothing is due by the clock" in home.call("schedule", "simulate", path).out
    wrong = home.call("schedule", "simulate", path, "--from", "soon", code=1).err
    assert "`--from soon` is no instant" in wrong


def test_people_read_a_table(home):
    path = home.dag("due", 'timezone: Asia/Tokyo\nschedule: "0 9 * * mon"\n' + DAG)
    told = home.call("schedule", "simulate", path, "--from", "2026-11-30", "--limit", "2").out
    lines = [line.split() for line in told.splitlines()]
    assert lines[1] == ["Mon", "2026-11-30", "09:00:00", "JST", "2026-11-30T00:00:00Z",
                        "2026-11-23", "09:00", "cron", "0", "9", "*", "*", "mon"]
    assert told.splitlines()[-1].startswith("the first 2 runs; zones as of 20")


def test_a_server_starts_runs_by_every_clock(home):
    """`every` and `at` fire by themselves, with params and a condition; the API says which and why."""
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    home.dag("ticking", f"""
params: {{why: {{type: string, default: nobody}}}}
triggers:
  - every: 1s
    params: {{why: "${{{{ trigger.by }}}} at ${{{{ trigger.tick }}}}"}}
  - at: {soon}
    params: {{why: once}}
  - every: 1s
    when: false
  - cron: "* * * * * *"
    seconds: true
    enabled: false
tasks:
  say: {{run: "echo $WHY ${{{{ trigger.tick }}}}", env: {{WHY: "${{{{ params.why }}}}"}}}}
""")
    server = home.serve()
    dag = server.get("/api/v1/dags/ticking")
    assert dag["schedule"] == f"every 1s, at {soon}, every 1s" and dag["next_tick"]

    def enough():
        runs = server.get("/api/v1/dags/ticking/runs?limit=50")["items"]
        done = [run for run in runs if run["state"] == "succeeded"]
        once = [run for run in done if run["params"]["why"] == "once"]
        return done if len(done) >= 5 and once else None
    runs = eventually("runs", enough)
    assert all(run["trigger"]["by"] == "schedule" for run in runs)
    once = [run for run in runs if run["trigger"]["trigger"] == f"at {soon}"]
    assert len(once) == 1 and once[0]["logical_time"] == soon and once[0]["interval"] is None
    others = [run for run in runs if run["trigger"]["trigger"] == "every 1s"]
    assert len(others) == len(runs) - 1
    for run in others:
        assert run["params"]["why"] == f"schedule at {run['trigger']['tick']}"
        begin, end = run["interval"]["start"], run["interval"]["end"]
        assert end == run["trigger"]["tick"] and begin < end
    # Each tick once, and none is left out.
    ticks = sorted(run["trigger"]["tick"] for run in others)
    seconds = [int(tick[17:19]) for tick in ticks]
    assert all((b - a) % 60 == 1 for a, b in zip(seconds, seconds[1:])), ticks
    said = home.call("logs", others[0]["id"], "say", "--raw").out.strip()
    assert said == f"{others[0]['params']['why']} {others[0]['trigger']['tick']}"


def test_catching_up_after_the_server_was_down(home):
    """What came while nobody was there is made up for, as the trigger says."""
    for catchup in ("none", "latest", "all"):
        home.dag(catchup, f"triggers:\n  - {{every: 1s, catchup: {catchup}}}\ntasks: {{a: {{noop: {{}}}}}}\n")
    server = home.serve()
    runs = lambda dag: server.get(f"/api/v1/dags/{dag}/runs?limit=100")["items"]
    eventually("first runs", lambda: all(runs(dag) for dag in ("none", "latest", "all")))
    server.kill()
    # Three ticks pass while nobody is there to say so.
    time.sleep(3)
    back = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    server = home.serve()
    eventually("runs after the restart", lambda: all(
        runs(dag)[0]["trigger"]["tick"] > back for dag in ("none", "latest", "all")))
    at = {dag: [r["trigger"]["tick"] for r in reversed(runs(dag))] for dag in ("none", "latest", "all")}
    span = lambda ticks: [int(b[17:19]) - int(a[17:19]) for a, b in zip(ticks, ticks[1:])]
    assert all(step % 60 == 1 for step in span(at["all"])), at
    assert any(step % 60 >= 3 for step in span(at["latest"])), at
    assert any(step % 60 >= 3 for step in span(at["none"])), at
