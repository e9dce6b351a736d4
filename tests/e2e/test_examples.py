"""Every DAG in `dags/` is valid, and runs as its comments say."""

import json
import shutil

import pandas as pd
import pytest

from tidemill import ROOT
from web import Web


@pytest.fixture
def examples(home):
    """A home with copies of the examples, so that nothing is written into the repository."""
    for path in (ROOT / "dags").iterdir():
        if path.is_file():
            shutil.copy(path, home.dags)
    shutil.copytree(ROOT / "dags" / "data", home.dags / "data")
    return home


def succeeded(result):
    return {name for name, state in result.states().items() if state == "succeeded"}


def test_all_are_valid(home):
    done = home.call("validate", ROOT / "dags", "--json")
    files = len([p for p in (ROOT / "dags").rglob("*.yaml")
                 if not {"out", "data"} & set(p.relative_to(ROOT / "dags").parts)])
    assert (done.json()["files"], done.json()["errors"]) == (files, 0)


def test_all_are_covered_here():
    names = {path.stem for path in (ROOT / "dags").glob("*.yaml")}
    assert names == {"hello", "orders", "retry", "branches", "nightly", "api", "fan_out", "python",
                     "mapping", "groups", "approval", "call_other",
                     "cache"}


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
    assert orders["warnings"] == ["1 of 3 items failed, which is tolerated"]
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
