"""Holds tables that the product wrote against the reference. Gives complaints, as texts."""

import math

COMPLAINTS_MAX = 10
RELATIVE = 1e-9


def close(a, b):
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-12)


def empty(value):
    return value is None or value != value


def scores(found, reference):
    """`found` has a row for each customer: customer_id, r, f, m, behaviour, intent, ..."""
    found = found.set_index("customer_id")
    expected = reference.profiles
    complaints = []
    if sorted(found.index) != sorted(expected.index):
        extra = sorted(set(found.index) - set(expected.index))[:3]
        missing = sorted(set(expected.index) - set(found.index))[:3]
        return [f"other customers: {extra} too many, {missing} missing"]
    whole = {"r": "R", "f": "F", "m": "M", "frequency": "frequency", "monetary_milli": "monetary",
             "recency_days": "recency", "lines": "lines", "items": "items"}
    real = {"behaviour": "B", "rfm_norm": "rfm_norm", "behaviour_norm": "behaviour_norm",
            "intent": "intent"}
    words = ["band", "segment"]
    for customer, want in expected.iterrows():
        got = found.loc[customer]
        for mine, theirs in whole.items():
            a = 0 if empty(got[mine]) else int(got[mine])
            b = 0 if empty(want[theirs]) else int(want[theirs])
            if a != b:
                complaints.append(f"customer {customer}: {mine} is {a}, not {b}")
        for mine, theirs in real.items():
            if not close(float(got[mine]), float(want[theirs])):
                complaints.append(f"customer {customer}: {mine} is {got[mine]}, not {want[theirs]}")
        for name in words:
            if got[name] != want[name]:
                complaints.append(f"customer {customer}: {name} is {got[name]}, not {want[name]}")
        if "email_marketing" in got.index:
            want_consent = "none" if empty(want["consent"]) else want["consent"]
            if got["email_marketing"] != want_consent:
                complaints.append(f"customer {customer}: consent is {got['email_marketing']}")
    return complaints[:COMPLAINTS_MAX]


def recommendations(found, reference):
    """`found` has customer_id, rank, item, score, source; items and order must be the same."""
    key = ["customer_id", "rank"]
    found = found.sort_values(key).reset_index(drop=True)
    expected = reference.recs.sort_values(key).reset_index(drop=True)
    if len(found) != len(expected):
        return [f"{len(found)} recommendations, not {len(expected)}"]
    complaints = []
    rows = zip(found.itertuples(), expected.itertuples())
    for got, want in rows:
        same = (got.customer_id, got.rank, got.item, got.source) == (
            want.customer_id, want.rank, want.item, want.source)
        scores_same = (empty(got.score) and empty(want.score)) or (
            not empty(got.score) and not empty(want.score) and close(got.score, want.score))
        if not (same and scores_same):
            complaints.append(
                f"customer {want.customer_id}, rank {want.rank}: "
                f"{got.item} ({got.score}, {got.source}), not {want.item} ({want.score}, {want.source})")
            if len(complaints) == COMPLAINTS_MAX:
                break
    return complaints


def counts(tasks, expected):
    """`tasks` as `run --json` prints them; `expected` maps a task to the counts it must have."""
    by_name = {task["name"]: task for task in tasks}
    complaints = []
    for name, want in expected.items():
        got = by_name[name]["counts"]
        # Reasons for which no row was rejected are not compared.
        rejected = {reason: rows for reason, rows in got["rejected"].items() if rows}
        have = {"in": got["in"], "out": got["out"], "duplicates": got["duplicates"],
                "rejected": rejected}
        for key, value in want.items():
            if have[key] != value:
                complaints.append(f"{name}: {key} is {have[key]}, not {value}")
    return complaints
