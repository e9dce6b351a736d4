"""When runs are due, as `schedule simulate` tells it, before any is started."""

import json

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
