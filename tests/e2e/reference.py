"""The personalization rules, computed a second time and apart from the product.

Nothing here reads what Tidemill wrote. The input files are read with Python's `csv`, the sums are
made with pandas and numpy, the quintiles with DuckDB's SQL; the tests compare the two answers.

Map: `flagship` and `retail` read a shop's files into one shape, `Inputs`; `compute` applies the
rules to it and gives a `Reference`: counts by stage, a row for each profile, recommendations.
"""

import csv
import gzip
import pathlib
import re
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

import duckdb
import numpy as np
import pandas as pd

WEIGHTS = {
    "product_view": 1, "search": 1, "compare": 1, "cart": 2, "wishlist_add": 3, "add_to_cart": 5,
    "shipping_details": 6, "payment_details": 8, "purchase": 10,
}
HALF_LIFE_DAYS = 14
SATURATION = 10
MIN_ITEM_USERS, MIN_PAIR, NEIGHBOURS, TOP = 20, 5, 50, 10


@dataclass
class Inputs:
    """A shop's data in one shape. Texts as they stand in the files."""

    as_of: pd.Timestamp
    files: int
    raw_lines: int
    duplicates: int
    lines: pd.DataFrame  # customer, order, item, description, quantity, value_milli, at, reason
    events: pd.DataFrame  # event_id, customer, event, at; in the order of the file
    crm: pd.DataFrame  # customer, email, ...
    consent: pd.DataFrame  # customer, status
    sessions: pd.DataFrame | None = None  # customer, pages, seconds


@dataclass
class Reference:
    """What must come out."""

    counts: dict = field(default_factory=dict)
    profiles: pd.DataFrame = None  # index customer_id
    recs: pd.DataFrame = None  # customer_id, rank, item, score, source
    neighbours: pd.DataFrame = None  # item, neighbour, similarity, users_both
    titles: dict = field(default_factory=dict)


def rows_of(path):
    """The rows of a CSV file, each as a list of texts; the header first."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def table_of(path):
    header, *rows = rows_of(path)
    return pd.DataFrame(rows, columns=header, dtype="object")


def milli(text):
    """An amount as a whole number of thousandths."""
    return int((Decimal(text) * 1000).to_integral_value(ROUND_HALF_UP))


def distinct_lines(paths):
    """Every distinct raw line of all files, in order, and how many were repeats."""
    seen, kept, repeats, header = set(), [], 0, None
    for path in paths:
        header, *rows = rows_of(path)
        for row in rows:
            key = tuple(row)
            if key in seen:
                repeats += 1
            else:
                seen.add(key)
                kept.append(row)
    return header, kept, repeats


def retail(folder):
    """The acceptance data."""
    folder = pathlib.Path(folder)
    paths = sorted((folder / "transactions").glob("*.csv.gz"))
    _, kept, repeats = distinct_lines(paths)
    product = re.compile(r"^[0-9]{5}[A-Z]*$")
    lines = []
    for invoice, code, description, quantity, at, price, customer, _country in kept:
        item = code.strip().upper()
        quantity, price_milli = int(quantity), milli(price)
        if not customer:
            reason = "no_customer"
        elif not product.match(item):
            reason = "non_product"
        elif invoice.startswith("C"):
            reason = "return"
        elif quantity <= 0:
            reason = "bad_quantity"
        elif price_milli <= 0:
            reason = "bad_price"
        else:
            reason = None
        customer = str(int(float(customer))) if customer else None
        lines.append((customer, invoice, item, description.strip(), quantity,
                      quantity * price_milli, at, reason))
    prepared = folder / "prepared"
    sessions = table_of(prepared / "web_sessions.csv")
    number = lambda name: pd.to_numeric(sessions[name]).fillna(0)  # noqa: E731
    sessions = pd.DataFrame({
        "customer": sessions.customer_id,
        "pages": number("admin_pages") + number("info_pages") + number("product_pages"),
        "seconds": number("admin_seconds") + number("info_seconds") + number("product_seconds"),
    })
    events = table_of(prepared / "web_events.csv.gz").rename(columns={"customer_id": "customer"})
    return Inputs(
        as_of=pd.Timestamp("2011-12-10"), files=len(paths), raw_lines=len(kept) + repeats,
        duplicates=repeats, lines=frame(lines), events=with_time(events),
        crm=table_of(prepared / "crm_customers.csv").rename(columns={"customer_id": "customer"}),
        consent=table_of(prepared / "consent.csv").rename(columns={"customer_id": "customer"}),
        sessions=sessions,
    )


def flagship(folder):
    """The demo data."""
    folder = pathlib.Path(folder)
    paths = sorted((folder / "purchases").glob("*.csv.gz"))
    _, kept, repeats = distinct_lines(paths)
    no_products = {"FUEL", "COUPON", "MISCELLANEOUS", "GM MERCH EXP", "CNTRL/STORE SUP",
                   "POSTAL CENTER", "PROD-WHS SALES"}
    lines = []
    for household, basket, _, department, kind, description, quantity, value, at in kept:
        quantity, value_milli = int(quantity), milli(value)
        if department in no_products:
            reason = "non_product"
        elif not kind:
            reason = "unknown_product"
        elif quantity <= 0:
            reason = "bad_quantity"
        elif value_milli <= 0:
            reason = "bad_price"
        else:
            reason = None
        lines.append((household, basket, kind.strip().upper(), description, quantity,
                      value_milli, at, reason))
    keyed = {"household_id": "customer"}
    return Inputs(
        as_of=pd.Timestamp("2018-01-02"), files=len(paths), raw_lines=len(kept) + repeats,
        duplicates=repeats, lines=frame(lines),
        events=with_time(table_of(folder / "web_events.csv.gz").rename(columns=keyed)),
        crm=table_of(folder / "crm.csv").rename(columns=keyed),
        consent=table_of(folder / "consent.csv").rename(columns=keyed),
    )


def frame(lines):
    names = ["customer", "order", "item", "description", "quantity", "value_milli", "at", "reason"]
    lines = pd.DataFrame(lines, columns=names, dtype="object")
    lines["at"] = pd.to_datetime(lines["at"])
    return lines


def with_time(events):
    events["at"] = pd.to_datetime(events["ts"]).dt.tz_localize(None)
    return events


def compute(inputs):
    """All rules over a shop's inputs."""
    result = Reference()
    counts = result.counts
    counts["files"] = inputs.files
    counts["raw_rows"] = inputs.raw_lines
    counts["duplicates"] = inputs.duplicates
    counts["rejected"] = inputs.lines.reason.value_counts().to_dict()
    tx = inputs.lines[inputs.lines.reason.isna()].copy()
    tx["value_milli"] = tx.value_milli.astype("int64")
    returns = inputs.lines[inputs.lines.reason == "return"]
    counts["accepted"] = len(tx)
    counts["orders"] = tx.order.nunique()
    counts["customers"] = tx.customer.nunique()
    counts["items"] = tx.item.nunique()
    counts["accepted_milli"] = int(tx.value_milli.sum())
    counts["returned_milli"] = int(returns.value_milli.sum())
    counts["crm_rows"] = len(inputs.crm)

    behaviour = behaviour_of(inputs, counts)
    profiles = everyone(inputs)
    profiles = profiles.join(rfm(tx, inputs.as_of)).join(behaviour)
    if inputs.sessions is not None:
        profiles = profiles.join(web(inputs.sessions, counts))
    score(profiles, inputs.as_of)
    status = inputs.consent.set_index("customer").status
    profiles["consent"] = status.reindex(profiles.index)
    result.profiles = profiles
    counts["profiles"] = len(profiles)
    counts["without_purchase"] = int(profiles.frequency.isna().sum())
    for quintile in "RFM":
        counts[quintile] = profiles[quintile].dropna().astype(int).value_counts().sort_index().to_dict()
    counts["bands"] = profiles.band.value_counts().to_dict()
    counts["segments"] = profiles.segment.value_counts().to_dict()
    counts["consent"] = profiles.consent.fillna("none").value_counts().to_dict()

    recommend(tx, profiles.index, result)
    result.titles = titles(tx)
    return result


def everyone(inputs):
    """Every customer that any source names, by id."""
    ids = set(inputs.lines.customer.dropna()) | set(inputs.crm.customer)
    ids |= set(inputs.events.customer)
    if inputs.sessions is not None:
        ids |= set(inputs.sessions.customer)
    return pd.DataFrame(index=pd.Index(sorted(ids - {""}), name="customer_id"))


def rfm(tx, as_of):
    lines = tx[["customer", "order", "value_milli", "at", "quantity"]].copy()
    lines["quantity"] = lines.quantity.astype("int64")
    connection = duckdb.connect()
    connection.register("tx", lines.astype({"customer": str, "order": str}))
    connection.execute("set threads to 1")
    moment = as_of.strftime("%Y-%m-%d %H:%M:%S")
    table = connection.execute(f"""
        with sums as (
            select customer, min("at") as first_at, max("at") as last_at,
                   cast(floor(epoch(timestamp '{moment}' - max("at")) / 86400) as bigint) as recency,
                   count(distinct "order") as frequency, sum(value_milli)::bigint as monetary,
                   count(*) as lines, sum(quantity)::bigint as items
            from tx group by customer)
        select *,
            1 + 5 * (rank() over (order by -recency) - 1) // count(*) over () as R,
            1 + 5 * (rank() over (order by frequency) - 1) // count(*) over () as F,
            1 + 5 * (rank() over (order by monetary) - 1) // count(*) over () as M
        from sums""").df()
    return table.rename(columns={"customer": "customer_id"}).set_index("customer_id")


def behaviour_of(inputs, counts):
    """Per customer: B at the moment, and what the segments need."""
    events = inputs.events
    counts["events_raw"] = len(events)
    events = events.drop_duplicates("event_id")
    counts["events_duplicate"] = counts["events_raw"] - len(events)
    known = events[events.customer != ""]
    counts["events_anonymous"] = len(events) - len(known)
    counts["events_identified"] = len(known)
    known = known[known["at"] < inputs.as_of].copy()
    counts["event_customers"] = known.customer.nunique()
    age = (inputs.as_of - known["at"]).dt.total_seconds() / 86400
    weight = known.event.map(WEIGHTS).fillna(0).astype(float)
    known["b"] = weight * np.exp2(-age / HALF_LIFE_DAYS)
    table = pd.DataFrame({
        "B": known.groupby("customer").b.sum(),
        "events": known.groupby("customer").size(),
        "last_cart": known[known.event == "add_to_cart"].groupby("customer")["at"].max(),
        "last_purchase": known[known.event == "purchase"].groupby("customer")["at"].max(),
    })
    table.index.name = "customer_id"
    return table


def web(sessions, counts):
    counts["sessions"] = len(sessions)
    known = sessions[sessions.customer != ""]
    counts["sessions_identified"] = len(known)
    counts["pages"] = int(known.pages.sum())
    counts["seconds"] = float(known.seconds.sum())
    table = known.groupby("customer")[["pages", "seconds"]].sum()
    table.index.name = "customer_id"
    return table


def score(profiles, as_of):
    bought = profiles.frequency.notna()
    sum_of_quintiles = profiles.R + profiles.F + profiles.M
    profiles["rfm_norm"] = ((sum_of_quintiles - 3) / 12).where(bought, 0.0).astype(float)
    profiles["B"] = profiles.B.fillna(0.0)
    profiles["behaviour_norm"] = 1 - np.exp(-profiles.B / SATURATION)
    profiles["intent"] = 100 * (0.5 * profiles.rfm_norm + 0.5 * profiles.behaviour_norm)
    profiles["band"] = np.select([profiles.intent >= 70, profiles.intent >= 40], ["hot", "warm"], "cold")
    week_ago = as_of - pd.Timedelta(days=7)
    abandoned = (profiles.last_cart >= week_ago) & ~(profiles.last_purchase >= profiles.last_cart)
    profiles["segment"] = np.select(
        [
            abandoned,
            bought & (profiles.R >= 4) & (profiles.F >= 4) & (profiles.M >= 4),
            bought & (profiles.R <= 2) & (profiles.F >= 3),
            bought & (profiles.frequency == 1) & (profiles.recency <= 30),
            ~bought,
        ],
        ["cart_abandoner", "champion", "at_risk", "new", "no_purchase"], "regular",
    )


def recommend(tx, customers, result):
    pairs = tx[["customer", "item"]].drop_duplicates()
    popularity = pairs.item.value_counts()
    order = sorted(popularity.index, key=lambda item: (-popularity[item], item))
    items = sorted(item for item in popularity.index if popularity[item] >= MIN_ITEM_USERS)
    result.counts["frequent_items"] = len(items)
    place = {item: k for k, item in enumerate(items)}
    buyers = sorted(pairs.customer.unique())
    row = {customer: k for k, customer in enumerate(buyers)}
    matrix = np.zeros((len(buyers), len(items)), dtype=np.float64)
    frequent = pairs[pairs.item.isin(place)]
    matrix[frequent.customer.map(row).to_numpy(), frequent.item.map(place).to_numpy()] = 1.0
    both = matrix.T @ matrix  # whole numbers below 2^53: exact
    users = both.diagonal().copy()
    np.fill_diagonal(both, 0)
    result.counts["directed_pairs"] = int((both >= MIN_PAIR).sum())
    similar, neighbours = np.zeros_like(both), []
    for k, item in enumerate(items):
        near = np.flatnonzero(both[k] >= MIN_PAIR)
        close = both[k][near] / np.sqrt(users[k] * users[near])
        for j in np.lexsort((near, -close))[:NEIGHBOURS]:
            similar[k, near[j]] = close[j]
            neighbours.append((item, items[near[j]], close[j], int(both[k][near[j]])))
    result.neighbours = pd.DataFrame(
        neighbours, columns=["item", "neighbour", "similarity", "users_both"])
    result.counts["neighbour_rows"] = len(neighbours)
    owned = pairs.groupby("customer").item.apply(set).to_dict()
    rows = []
    for customer in customers:
        have = owned.get(customer, set())
        total = np.zeros(len(items))
        for item in sorted(have & place.keys()):
            total += similar[place[item]]  # in ascending order of items, one at a time
        total[[place[item] for item in have if item in place]] = 0.0
        near = np.flatnonzero(total > 0)
        best = near[np.lexsort((near, -total[near]))][:TOP]
        found = [(items[k], total[k], "item_item") for k in best]
        taken = have | {item for item, _, _ in found}
        for item in order:
            if len(found) == TOP:
                break
            if item not in taken:
                found.append((item, None, "popular"))
        rows += [(customer, k + 1, *entry) for k, entry in enumerate(found)]
    result.recs = pd.DataFrame(rows, columns=["customer_id", "rank", "item", "score", "source"])
    result.counts["recommendations"] = len(rows)
    result.counts["recommendation_sources"] = result.recs.source.value_counts().to_dict()


def titles(tx):
    """Of each item the most frequent description; of several the smallest."""
    counted = tx[tx.description != ""].groupby(["item", "description"]).size().reset_index(name="n")
    counted = counted.sort_values(["item", "n", "description"], ascending=[True, False, True])
    return counted.drop_duplicates("item").set_index("item").description.to_dict()
