"""Every DAG in `dags/` is valid, and runs as its comments say."""

import datetime
import json
import pathlib
import shutil

import pandas as pd
import pytest

from tidemill import ROOT
from web import Web


@pytest.fixture
def examples(home):
    """A home with copies of the examples, so that nothing is written into the repository."""
    shutil.copytree(ROOT / "dags", home.dags, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("personalize", "out"))
    return home


def dags_in(folder):
    """The DAG files of a folder: not their tests, and not what the DAGs share."""
    return [path for path in sorted(folder.glob("*.yaml"))
            if not path.name.endswith(".test.yaml") and not path.name.startswith("_")]


def succeeded(result):
    return {name for name, state in result.states().items() if state == "succeeded"}


def test_all_are_valid(home):
    done = home.call("validate", ROOT / "dags", "--json")
    folders = [ROOT / "dags" / name for name in (".", "examples", "team", "personalize")]
    files = sum(len(dags_in(folder)) for folder in folders)
    files += len(list((ROOT / "dags").rglob("*.test.yaml")))
    assert (done.json()["files"], done.json()["errors"]) == (files, 0)
    assert "0 warnings" in home.call("validate", ROOT / "dags").out


def test_all_are_covered_here():
    names = {path.stem for path in dags_in(ROOT / "dags")}
    assert names == {"hello", "orders", "retry", "branches", "nightly", "api", "fan_out", "python",
                     "mapping", "groups", "approval", "call_other", "cache", "daily_file", "files",
                     "quality", "first_of", "shell", "wait_until", "export", "clean", "mails",
                     "token"}
    assert [path.stem for path in dags_in(ROOT / "dags" / "examples")] == ["failing"]
    assert [path.stem for path in dags_in(ROOT / "dags" / "team")] == ["weekly"]


def test_each_has_tests_that_pass(examples):
    dags = [path for name in (".", "examples", "team") for path in dags_in(examples.dags / name)]
    told = examples.call("test", examples.dags, "--json").json()
    assert told["failed"] == 0
    tested = {pathlib.Path(test["file"]).resolve() for test in told["tests"]}
    assert tested == {path.with_suffix(".test.yaml").resolve() for path in dags}
    # They have written nothing.
    assert not list(examples.dags.rglob("out"))


def test_hello(examples):
    result = examples.run(examples.dags / "hello.yaml", "--param", "name=Ada")
    assert succeeded(result) == {"hello", "bye"}
    log = examples.call("logs", result.run, "hello", "--raw")
    assert log.out == "hello, Ada\n"
    log = examples.call("logs", result.run, "bye", "--raw")
    assert log.out == "bye, Ada; this is attempt 1 of bye\n"


def test_orders(examples):
    result = examples.run(examples.dags / "orders.yaml", "--param", "least=1")
    assert result.state == "succeeded"
    orders = result.tasks["orders"]["counts"]
    assert (orders["in"], orders["out"]) == (9, 6)
    assert sum(orders["rejected"].values()) == 3
    table = pd.read_parquet(examples.dags / "out" / "revenue.parquet")
    rows = [(r.region, str(r.day)[:10], r.orders, str(r.amount)) for r in table.itertuples()]
    assert rows == [
        ("eu", "2026-01-01", 2, "139.90"), ("eu", "2026-01-02", 1, "30.10"),
        ("us", "2026-01-01", 1, "5.00"), ("us", "2026-01-02", 1, "12.25"),
    ]
    rejected = pd.read_csv(examples.dags / "out" / "rejected-orders.csv", dtype=str)
    assert sorted(rejected.order_id) == ["4", "5", "6"]
    assert rejected.reason.nunique() == 3
    log = examples.call("logs", result.run, "report", "--raw")
    assert log.out == "4 rows of revenue, 3 orders set aside\n"


def test_retry(examples):
    result = examples.run(examples.dags / "retry.yaml")
    assert succeeded(result) == {"flaky", "after"}
    assert result.tasks["flaky"]["attempts"] == 3
    for attempt in (1, 2, 3):
        log = examples.call("logs", result.run, "flaky", "--attempt", attempt, "--raw")
        # The two streams of a command may overtake each other.
        assert f"attempt {attempt}" in log.out.splitlines()


def test_branches(examples):
    check = {
        "false": {"full_load": "skipped", "small_load": "succeeded"},
        "true": {"full_load": "succeeded", "small_load": "skipped"},
    }
    for full, loads in check.items():
        result = examples.run(examples.dags / "branches.yaml", "--param", f"full={full}")
        assert result.state == "succeeded"
        assert result.states() == {
            **loads, "loaded": "succeeded", "nothing_to_do": "skipped", "clean_up": "succeeded"}


def test_nightly_takes_its_interval(examples):
    result = examples.run(
        examples.dags / "nightly.yaml", "--interval", "2026-01-31T01:00:00Z/2026-02-01T01:00:00Z")
    assert result.state == "succeeded"
    row = json.loads((examples.dags / "out" / "nightly.jsonl").read_text())
    assert row["starts_at"].startswith("2026-01-31T01:00:00")
    assert row["ends_at"].startswith("2026-02-01T01:00:00")
    plan = examples.call("plan", examples.dags / "nightly.yaml")
    assert "T01:00:00" in plan.out or "T00:00:00" in plan.out or "02:00" in plan.out


def test_fan_out(examples):
    result = examples.run(examples.dags / "fan_out.yaml")
    assert len(succeeded(result)) == 18


def test_python(examples):
    result = examples.run(examples.dags / "python.yaml")
    assert result.state == "succeeded"
    orders = pd.concat(map(pd.read_csv, sorted((examples.dags / "data").glob("orders-*.csv"))))
    totals = orders.fillna({"region": ""}).groupby("region").amount.sum()
    best = json.loads((examples.dags / "out" / "best.jsonl").read_text())
    assert best == {"region": totals.idxmax(), "total": round(totals.max(), 2)}
    shown = examples.call("show", result.run, "--json").json()
    (score,) = [task for task in shown["tasks"] if task["name"] == "score"]
    assert score["outputs"] == {"regions": len(totals)}
    assert f"regions = {len(totals)}" in examples.call("show", result.run).out


def test_mapping(examples):
    result = examples.run(examples.dags / "mapping.yaml")
    assert result.state == "succeeded"
    shown = examples.call("show", result.run, "--json").json()
    orders = next(task for task in shown["tasks"] if task["name"] == "orders")
    assert orders["items"] == {
        "total": 3, "begun": 3, "tolerated": 1, "by_state": {"succeeded": 2, "failed": 1}}
    [warning] = orders["warnings"]
    assert warning.startswith("1 of 3 items failed, which is tolerated; `orders[")
    log = examples.call("logs", result.run, "report", "--raw")
    assert log.out == "2 of 3 days\n"
    failed = examples.call("show", result.run, "orders", "--state", "failed").out
    assert "orders[2]" in failed and "orders[1]" not in failed
    assert "orders-2026-01-03.csv" in examples.call("logs", result.run, "orders[2]").out
    # Two missing days are too many.
    days = json.dumps(["2026-01-01", "2026-02-01", "2026-02-02"])
    result = examples.run(examples.dags / "mapping.yaml", "--param", f"days={days}", code=1)
    assert "2 of 3 items failed, 1 is tolerated" in result.error("orders")


def test_groups(examples):
    result = examples.run(examples.dags / "groups.yaml")
    assert succeeded(result) == {
        "orders", "publish", "publish.good", "publish.file", "publish.finally", "report"}
    assert examples.call("logs", result.run, "report", "--raw").out == "4 of 5 rows\n"
    number = result.run.rpartition(".")[2]
    assert not (examples.dags / "out" / f"groups-{number}.csv").exists()


def test_cache(examples):
    file = examples.dags / "cache.yaml"
    reused = lambda result: {name for name, task in result.tasks.items() if task["reused"]}  # noqa: E731
    assert reused(examples.run(file)) == set()
    second = examples.run(file)
    assert reused(second) == {"orders", "scores", "large"}
    assert second.tasks["scores"]["outputs"] == {"regions": 3}
    assert reused(examples.run(file, "--param", "least=50")) == {"orders", "scores"}
    with open(examples.dags / "data" / "orders-2026-01-02.csv", "a") as orders:
        orders.write("o-99,eu,60.00,2026-01-02T10:00:00Z\n")
    assert reused(examples.run(file)) == set()


def test_approval(examples):
    file = examples.dags / "approval.yaml"
    result = examples.run(file, "--yes")
    assert succeeded(result) == {"orders", "release", "chosen", "publish"}
    assert result.states()["said_no"] == "skipped"
    assert len((examples.dags / "out" / "published.csv").read_text().splitlines()) == 4
    # Nobody is there to ask: that is a no.
    result = examples.run(file, code=1)
    assert result.states()["release"] == "failed"
    assert "--yes" in result.error("release")
    log = examples.call("logs", result.run, "said_no", "--raw")
    assert log.out == "nothing of 2026-01-01 goes out\n"


def test_call_other(examples):
    result = examples.run(examples.dags / "call_other.yaml")
    assert succeeded(result) == {"large", "pause", "total", "shares", "save", "report"}
    log = examples.call("logs", result.run, "report", "--raw")
    assert log.out == "orders.1 and orders.2\n"
    lines = (examples.dags / "out" / "shares.csv").read_text().splitlines()
    assert lines == ["region,day,large,total", "eu,2026-01-01,120.00,139.90",
                     "eu,2026-01-02,30.10,30.10", "us,2026-01-01,,5.00", "us,2026-01-02,,13.00"]
    called = json.loads(examples.call("show", "orders.1", "--json").out)
    assert called["trigger"]["run"] == result.run


def said(examples, result, task):
    """What a command wrote."""
    return examples.call("logs", result.run, task, "--raw").out


def test_daily_file(examples):
    file, out = examples.dags / "daily_file.yaml", examples.dags / "out" / "daily"
    for _ in range(2):
        examples.run(file, "--interval", "2026-01-02/2026-01-03")
        assert [path.name for path in out.iterdir()] == ["2026-01-02.csv"]
        assert pd.read_csv(out / "2026-01-02.csv").order_id.tolist() == [6, 7, 8]
    # A rerun replaces what the day had, and leaves other days alone.
    with open(examples.dags / "data" / "orders-2026-01-02.csv", "a") as orders:
        orders.write("9,us,1.00,2026-01-02 10:00:00\n")
    examples.run(file, "--interval", "2026-01-01/2026-01-02")
    examples.run(file, "--interval", "2026-01-02/2026-01-03")
    assert pd.read_csv(out / "2026-01-01.csv").order_id.tolist() == [1, 2, 3, 4, 5]
    assert pd.read_csv(out / "2026-01-02.csv").order_id.tolist() == [6, 7, 8, 9]
    # A day without a file.
    result = examples.run(file, "--interval", "2026-02-01/2026-02-02")
    assert result.state == "succeeded" and set(result.states().values()) == {"skipped"}


def test_files(examples):
    shutil.copy(examples.dags / "data" / "orders-2026-01-01.csv",
                examples.dags / "data" / "orders-2026-01-03.csv")
    result = examples.run(examples.dags / "files.yaml")
    shown = examples.call("show", result.run, "--json").json()
    orders = next(task for task in shown["tasks"] if task["name"] == "orders")
    assert orders["items"]["by_state"] == {"succeeded": 3}
    lines = (examples.dags / "out" / "files.csv").read_text().splitlines()
    assert lines == ["file,orders,amount", "data/orders-2026-01-01.csv,5,149.40",
                     "data/orders-2026-01-02.csv,4,73.20", "data/orders-2026-01-03.csv,5,149.40"]
    result = examples.run(examples.dags / "files.yaml", "--param", "pattern=data/none-*.csv")
    assert result.states()["orders"] == "skipped"


def test_quality(examples):
    file, out = examples.dags / "quality.yaml", examples.dags / "out"
    report = out / "quality-report.csv"
    result = examples.run(file)
    assert sum(result.tasks["orders"]["counts"]["rejected"].values()) == 3
    shown = examples.call("show", result.run).out
    assert "`where(amount < 100)` does not hold: 1 of 6 rows" in shown
    assert pd.read_csv(out / "quality.csv").order_id.tolist() == [1, 2, 3, 6, 7, 8]
    assert report.read_text().splitlines()[1:] == ["orders,succeeded,6,3", "gate,succeeded,1,0"]
    # Too much is bad: nothing is published, and the report is written all the same.
    (out / "quality.csv").unlink()
    result = examples.run(file, "--param", "most=2", code=1)
    assert result.states()["publish"] == "upstream_failed" and not (out / "quality.csv").exists()
    assert report.read_text().splitlines()[2].startswith("gate,failed")
    # So is no row at all.
    for path in (examples.dags / "data").glob("orders-*.csv"):
        path.write_text("order_id,region,amount,ordered_at\n")
    result = examples.run(file, code=1)
    assert result.states()["orders"] == "failed" and not (out / "quality.csv").exists()
    assert report.read_text().splitlines()[1].startswith("orders,failed")


def test_first_of(examples):
    file = examples.dags / "first_of.yaml"
    result = examples.run(file)
    assert succeeded(result) == {"far", "answer", "alarm", "summary"}
    assert said(examples, result, "summary") == "near failed, far succeeded, alarm succeeded\n"
    result = examples.run(file, "--param", "down=far")
    assert succeeded(result) == {"near", "answer", "alarm", "summary"}
    result = examples.run(file, "--param", "down=none")
    assert result.states()["alarm"] == "skipped"
    shown = examples.call("show", result.run, "--json").json()
    times = {task["name"]: task for task in shown["tasks"]}
    assert times["answer"]["started_at"] < times["far"]["finished_at"]
    assert times["summary"]["started_at"] >= times["far"]["finished_at"]


def test_shell(examples):
    result = examples.run(examples.dags / "shell.yaml")
    assert said(examples, result, "report") == "2 of 5 orders are large\n"
    result = examples.run(examples.dags / "shell.yaml", "--param", "least=5")
    assert said(examples, result, "report") == "4 of 5 orders are large\n"


def test_wait_until(examples):
    file = examples.dags / "wait_until.yaml"
    result = examples.run(file, "--interval", "2026-01-30/2026-01-31")
    assert said(examples, result, "count") == "2026-01-30, as of 2026-01-31T02:00:00Z\n"
    # Two hours after its end that comes a second from now.
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now - datetime.timedelta(hours=2) + datetime.timedelta(seconds=1)
    begin = end - datetime.timedelta(days=1)
    interval = "/".join(f"{at:%Y-%m-%dT%H:%M:%S.%fZ}" for at in (begin, end))
    result = examples.run(file, "--interval", interval)
    shown = examples.call("show", result.run, "--json").json()
    count = next(task for task in shown["tasks"] if task["name"] == "count")
    due = end + datetime.timedelta(hours=2)
    assert datetime.datetime.fromisoformat(count["started_at"]) >= due


def test_export(examples):
    examples.run(examples.dags / "export.yaml")
    parts = {path.name: pd.read_parquet(path) for path in (examples.dags / "out" / "export").iterdir()}
    assert {name: (set(part.region), len(part)) for name, part in parts.items()} == {
        "eu.parquet": ({"eu"}, 4), "us.parquet": ({"us"}, 4)}


def test_clean(examples):
    result = examples.run(examples.dags / "clean.yaml")
    assert said(examples, result, "report") == "3 clicks, 1 twice, 2 wrong\n"
    lines = (examples.dags / "out" / "clicks.jsonl").read_text().splitlines()
    clicks = [json.loads(line) for line in lines]
    assert [(c["id"], c["customer"], c["page"], c["seconds"]) for c in clicks] == [
        ("c1", "ada@shop.example", "/tea", 0.42), ("c3", "bob@shop.example", "/cups", 1.3),
        ("c7", "bob@shop.example", "/", 0.07)]
    assert sum(result.tasks["raw"]["counts"]["rejected"].values()) == 2


def test_mails(examples):
    examples.run(examples.dags / "mails.yaml", "--param", "shop=<Tea>")
    lines = (examples.dags / "out" / "mails.jsonl").read_text().splitlines()
    mails = [json.loads(line) for line in lines]
    assert [mail["subject"] for mail in mails] == [
        "<Tea>: 4 orders from eu", "<Tea>: 4 orders from us", "<Tea>: 1 order from elsewhere"]
    assert mails[0]["html"] == "<p>&lt;Tea&gt;: the largest was <b>120.00</b>.</p>"


def test_token(examples):
    secret = {"TIDEMILL_SECRET_SHOP_TOKEN": "3f9c0b7e"}
    result = examples.run(examples.dags / "token.yaml", env=secret)
    assert said(examples, result, "report") == "the token has 8 letters\n"
    assert said(examples, result, "sign") == "signing with ***\n"
    for path in examples.path.rglob("*"):
        assert not path.is_file() or b"3f9c0b7e" not in path.read_bytes(), path
    # Without the secret the error says what to do.
    result = examples.run(examples.dags / "token.yaml", code=1)
    assert "TIDEMILL_SECRET_SHOP_TOKEN" in result.error("sign")


def test_folder_defaults(examples):
    file = examples.dags / "team" / "weekly.yaml"
    result = examples.run(file)
    assert result.tasks["report"]["attempts"] == 2
    assert said(examples, result, "report") == "shop eu, in fr\n"
    (file.parent / "_defaults.yaml").unlink()
    assert examples.run(file, code=1).tasks["report"]["attempts"] == 1


def test_failing(examples):
    file = examples.dags / "examples" / "failing.yaml"
    result = examples.run(file, code=1)
    assert result.states() == {"orders": "succeeded", "total": "failed", "report": "upstream_failed"}
    assert "no column `amount`" in result.error("total") and "price" in result.error("total")
    result = examples.run(file, "--param", "year=2026")
    assert succeeded(result) == {"orders", "total", "report"}


def pages(path, number):
    """Three pages of two orders; the second answers 503 the first time."""
    after = path.partition("cursor=")[2]
    if after == "p2" and number == 2:
        return 503, {"Retry-After": "0"}, b"busy"
    first = {"": 0, "p2": 2, "p3": 4}[after]
    items = [{"id": str(first + k), "region": ["eu", "us"][k], "amount": "1.50"} for k in (0, 1)]
    meta = {"next": {"": "p2", "p2": "p3", "p3": None}[after]}
    body = json.dumps({"data": {"items": items}, "meta": meta}).encode()
    return 200, {"Content-Type": "application/json"}, body


def test_api(examples):
    with Web(pages) as web:
        result = examples.run(examples.dags / "api.yaml", "--param", f"api={web.address}")
    assert result.state == "succeeded"
    assert [path for path, _ in web.asked] == [
        "/orders", "/orders?cursor=p2", "/orders?cursor=p2", "/orders?cursor=p3"]
    lines = (examples.dags / "out" / "api-orders.jsonl").read_text().splitlines()
    rows = [(row["region"], row["orders"], float(row["amount"])) for row in map(json.loads, lines)]
    assert rows == [("eu", 3, 4.5), ("us", 3, 4.5)]
