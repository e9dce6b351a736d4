"""The flagship on the real binary, against an independent computation from the same files."""

import email
import email.policy
import json
import shutil
from html import unescape
from urllib.parse import quote

import pandas as pd
import pytest

import compare
import reference
from tidemill import FLAGSHIP, Home


@pytest.fixture(scope="module")
def truth():
    return reference.compute(reference.flagship(FLAGSHIP / "data"))


@pytest.fixture(scope="module")
def ran(binary, tmp_path_factory):
    """One run of the flagship, and where it wrote."""
    home = Home(binary, tmp_path_factory.mktemp("flagship"))
    out = home.folder / "out"
    result = home.run(FLAGSHIP / "personalize.yaml", "--param", f"out={out}")
    yield home, result, out
    home.close()


def test_every_task_succeeds(ran):
    _, result, _ = ran
    assert set(result.states().values()) == {"succeeded"}, result.states()
    assert result.state == "succeeded"


def test_counts_of_every_stage(ran, truth):
    _, result, _ = ran
    counts = truth.counts
    raw, crm_rows = counts["raw_rows"], counts["crm_rows"]
    consent = dict(counts["consent"])
    granted = consent.pop("granted")
    consent["no_record"] = consent.pop("none")
    everyone = counts["profiles"]
    expected = {
        "ingest_purchases": {"in": raw, "out": raw},
        "ingest_crm": {"out": crm_rows},
        "ingest_clicks": {"out": counts["events_raw"]},
        "purchases": {"in": raw, "out": counts["accepted"], "duplicates": counts["duplicates"],
                      "rejected": counts["rejected"]},
        "crm": {"in": crm_rows, "out": crm_rows, "rejected": {}},
        "clicks": {"in": counts["events_raw"], "duplicates": counts["events_duplicate"],
                   "out": counts["events_raw"] - counts["events_duplicate"]},
        "rfm": {"out": counts["customers"]},
        "behaviour": {"out": counts["event_customers"]},
        "customers": {"out": everyone},
        "scores": {"in": everyone, "out": everyone},
        "recs": {"out": counts["recommendations"]},
        "audience": {"in": everyone, "out": granted, "rejected": consent},
        "messages": {"in": granted, "out": granted},
        "outbox": {"in": granted, "out": granted},
        "profiles": {"in": everyone, "out": everyone},
    }
    assert compare.counts(result.value["tasks"], expected) == []


def test_scores_of_every_customer(ran, truth):
    _, _, out = ran
    found = pd.read_parquet(out / "scores.parquet")
    assert compare.scores(found, truth) == []


def test_explanations_add_up(ran):
    _, _, out = ran
    for row in pd.read_parquet(out / "scores.parquet").itertuples():
        points = sum(term["points"] for term in json.loads(row.explained))
        assert abs(points - row.intent) < 1e-9, row.customer_id


def test_recommendations_of_every_customer(ran, truth):
    _, _, out = ran
    found = pd.read_parquet(out / "recs.parquet")
    assert compare.recommendations(found, truth) == []


def test_messages_are_messages(ran, truth):
    _, _, out = ran
    granted = truth.profiles[truth.profiles.consent == "granted"]
    listed = [json.loads(line) for line in (out / "outbox" / "messages.jsonl").read_text().splitlines()]
    files = sorted(path.name for path in (out / "outbox").glob("*.eml"))
    assert sorted(entry["file"] for entry in listed) == files
    top = truth.recs[truth.recs["rank"] == 1].set_index("customer_id")["item"]
    written_to = set()
    for name in files:
        raw = (out / "outbox" / name).read_bytes()
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert message.defects == [], name
        for header in ("From", "To", "Subject", "Message-ID", "Date"):
            assert len(message.get_all(header, [])) == 1, f"{name}: {header}"
        assert message["List-Unsubscribe"].startswith("<https://"), name
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click", name
        assert message["X-Campaign"] == "winter-2018", name
        customer = message["To"].removeprefix("household-").removesuffix("@example.test")
        assert customer not in written_to, f"two messages to {customer}"
        written_to.add(customer)
        text = message.get_body(("plain",)).get_content()
        page = message.get_body(("html",)).get_content()
        title = truth.titles[top[customer]].title()
        assert title.lower() in text.lower(), f"{name}: the first recommendation is missing"
        assert message["List-Unsubscribe"].strip("<>") in unescape(page), name
    assert written_to == set(granted.index)


def test_the_audit_holds(ran):
    _, result, _ = ran
    audit = result.tasks["audit"]
    assert audit["state"] == "succeeded"
    assert audit["counts"]["out"] > 20


def test_profiles_are_served(ran, truth):
    home, _, _ = ran
    server = home.serve()
    seen, after = {}, None
    while True:
        path = "/api/v1/profiles?limit=200" + (f"&after={quote(after)}" if after else "")
        page = server.get(path)
        for item in page["items"]:
            seen[item["customer_id"]] = item
        after = page["next"]
        if not after:
            break
    assert set(seen) == set(truth.profiles.index)
    for customer, want in truth.profiles.iterrows():
        profile = seen[customer]
        assert profile["score"]["band"] == want.band
        assert profile["segment"] == want.segment
        assert compare.close(profile["score"]["intent"], want.intent)
        recs = truth.recs[truth.recs.customer_id == customer].sort_values("rank")
        assert [rec["item"] for rec in profile["recs"]] == list(recs["item"])
        assert [rec["title"] for rec in profile["recs"]] == [truth.titles[item] for item in recs["item"]]
        assert profile["consent"]["email_marketing"] == (
            "none" if compare.empty(want.consent) else want.consent)
    one = next(iter(seen.values()))
    status, headers, body = server.ask("GET", f"/api/v1/profiles/{one['customer_id']}")
    assert (status, body) == (200, one)
    etag = headers["ETag"]
    status, _, _ = server.ask("GET", f"/api/v1/profiles/{one['customer_id']}",
                              headers={"If-None-Match": etag})
    assert status == 304
    known = next(profile for profile in seen.values() if profile.get("email"))
    found = server.get(f"/api/v1/profiles/email:{known['email']}")
    assert found["customer_id"] == known["customer_id"]
    server.stop()
    printed = home.call("profile", one["customer_id"])
    assert one["customer_id"] in printed.out


def test_a_second_run_changes_nothing(ran):
    home, _, out = ran
    before = {path.name: path.read_bytes() for path in (out / "outbox").iterdir()}
    scores = pd.read_parquet(out / "scores.parquet")
    profile = home.call("profile", scores.customer_id[0]).out
    result = home.run(FLAGSHIP / "personalize.yaml", "--param", f"out={out}")
    assert result.state == "succeeded"
    after = {path.name: path.read_bytes() for path in (out / "outbox").iterdir()}
    assert after == before
    pd.testing.assert_frame_equal(pd.read_parquet(out / "scores.parquet"), scores)
    assert home.call("profile", scores.customer_id[0]).out == profile


def test_the_audit_fails_when_rows_are_lost(binary, tmp_path):
    """The audit is no ornament: a stage that drops rows in silence fails the run."""
    home = Home(binary, tmp_path)
    shutil.copytree(FLAGSHIP / "data", home.dags / "data")
    text = (FLAGSHIP / "personalize.yaml").read_text()
    whole = "from: candidates\n"
    assert text.count(whole) == 1
    # Ten customers vanish between `candidates` and `audience`.
    text = text.replace(whole, "from: fewer\n").replace(
        "  audience:", "  fewer:\n    transform:\n      sql: select * from candidates limit 1004\n\n  audience:")
    result = home.run(home.dag("personalize", text), code=1)
    assert result.tasks["audit"]["state"] == "failed"
    assert "expected = found" in result.error("audit")


def test_the_readme_of_the_data_tells_the_truth():
    """The README's counts are the files' own."""
    frames = {
        name: pd.read_csv(FLAGSHIP / "data" / name)
        for name in ("crm.csv", "campaigns.csv", "mailings.csv", "redemptions.csv", "consent.csv",
                     "web_events.csv.gz")
    }
    readme = (FLAGSHIP / "data" / "README.md").read_text()
    for name, frame in frames.items():
        assert f"| `{name}` | {len(frame):,} |" in readme, name
    size = sum(path.stat().st_size for path in (FLAGSHIP / "data").rglob("*") if path.is_file())
    assert size < 6 * 1024 * 1024
