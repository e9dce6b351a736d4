"""Runs retail.yaml and compares: with the written table of values, and with the reference."""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import pandas as pd

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import compare  # noqa: E402
import reference  # noqa: E402


def newest_binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    found = [target / kind / "tidemill" for kind in ("release", "debug")]
    found = [path for path in found if path.exists()]
    if not found:
        sys.exit("there is no binary; run `cargo build`, or give one with --binary")
    return max(found, key=lambda path: path.stat().st_mtime)


def run(binary, data, out, home, quick):
    command = [
        binary, "--home", home, "run", HERE / "retail.yaml", "--json",
        "--param", f"data={data}", "--param", f"out={out}",
        "--param", f"count_pairs={'false' if quick else 'true'}",
    ]
    began = time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    took = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"{binary}: {took:.1f} s, at most {memory} MiB")
    beside(data, took)
    result = json.loads(done.stdout)
    for task in result["tasks"]:
        if task["error"]:
            print(f"  {task['name']} {task['state']}: {task['error']}")
    if done.returncode != 0:
        sys.exit(f"the run ended with {done.returncode}")
    return result


def beside(data, took):
    """The same steps written plainly, in the same hour on the same machine."""
    done = subprocess.run([sys.executable, HERE / "plain.py", data], stdout=subprocess.PIPE, check=True)
    plain = json.loads(done.stdout)
    print(f"DuckDB and pandas, without messages, profiles and history: {plain['seconds']:.1f} s, at most"
          f" {plain['mib']} MiB; the run takes {took / plain['seconds']:.2f} times as long")
    if plain["bands"] != {"cold": 3_252, "warm": 1_022, "hot": 98}:
        sys.exit(f"the plain steps are wrong: {plain['bands']}")


def named_values(path):
    lines = path.read_text().splitlines()
    return {line["name"]: line["value"] for line in map(json.loads, lines)}


def table(result, out, data, quick):
    """Every line of the table: what it is, what must come out, what came out."""
    tasks = {task["name"]: task["counts"] for task in result["tasks"]}
    rejected = {name: dict(task.get("rejected", [])) for name, task in tasks.items() if task}
    totals = named_values(out / "totals.jsonl")
    scores = pd.read_parquet(out / "scores.parquet")
    recs = pd.read_parquet(out / "recs.parquet")
    count = lambda column, keys: [int((scores[column] == key).sum()) for key in keys]  # noqa: E731
    reasons = ["no_customer", "non_product", "return", "bad_quantity", "bad_price"]
    cleaned = rejected["transactions"]
    files = len(list((data / "transactions").glob("*.csv.gz")))
    rows = [
        ("files", 305, files),
        ("trading days", 305, totals["trading days"]),
        ("raw rows", 541_909, tasks["ingest_transactions"]["out"]),
        ("duplicates", 5_268, tasks["transactions"]["duplicates"]),
        ("rejected: " + " ".join(reasons), [135_037, 1_915, 8_506, 0, 33],
         [cleaned.get(reason, 0) for reason in reasons]),
        ("accepted lines", 391_150, tasks["transactions"]["out"]),
        ("accepted invoices", 18_402, totals["accepted invoices"]),
        ("accepted customers", 4_334, totals["accepted customers"]),
        ("accepted items", 3_659, totals["accepted items"]),
        ("accepted value", 8_737_227_640, totals["accepted value"]),
        ("returned value", -471_750_710, totals["returned value"]),
        ("CRM rows", 2_240, tasks["crm"]["out"]),
        ("income missing", 24, totals["income missing"]),
        ("events raw", 31_106, tasks["ingest_events"]["out"]),
        ("events duplicate", 30, tasks["events"]["duplicates"]),
        ("events anonymous", 6_462, rejected["known_events"].get("anonymous")),
        ("events identified", 24_614, tasks["known_events"]["out"]),
        ("event customers", 480, totals["event customers"]),
        ("sessions", 12_330, tasks["ingest_sessions"]["out"]),
        ("sessions identified", 10_551, totals["sessions identified"]),
        ("pages", 389_284, totals["pages"]),
        ("seconds (thousandths)", 14_830_670_334, totals["seconds (thousandths)"]),
        ("profiles", 4_372, tasks["profiles"]["out"]),
        ("profiles without purchase", 38, int((scores.frequency == 0).sum())),
        ("R 1..5", [871, 884, 867, 847, 865], count("r", range(1, 6))),
        ("F 1..5", [1505, 831, 502, 631, 865], count("f", range(1, 6))),
        ("M 1..5", [867, 867, 867, 867, 866], count("m", range(1, 6))),
        ("bands cold/warm/hot", [3_252, 1_022, 98], count("band", ["cold", "warm", "hot"])),
        ("segments regular/champion/at_risk/new/cart_abandoner/no_purchase",
         [2_792, 885, 397, 220, 40, 38],
         count("segment", ["regular", "champion", "at_risk", "new", "cart_abandoner", "no_purchase"])),
        ("items with >= 20 customers", 2_399, totals["frequent items"]),
        ("neighbour rows", 119_844, totals["neighbour rows"]),
        ("recommendations", 43_720, len(recs)),
        ("recommendations item_item/popular", [43_190, 530],
         [int((recs.source == source).sum()) for source in ("item_item", "popular")]),
        ("consent granted/pending/withdrawn/suppressed/none", [1_731, 250, 238, 21, 2_132],
         count("email_marketing", ["granted", "pending", "withdrawn", "suppressed", "none"])),
        ("messages", 1_731, len(list((out / "outbox").glob("*.eml")))),
    ]
    if not quick:
        pairs = named_values(out / "pairs.jsonl")["directed pairs"]
        rows.append(("directed pairs with c >= 5", 2_910_684, pairs))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    data = asked.folder.resolve()
    if not (data / "transactions").is_dir():
        sys.exit(f"`{asked.folder}` holds no folder `transactions`; name the folder of the acceptance data")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="tidemill-acceptance-") as temporary:
        out = pathlib.Path(temporary, "out")
        binary = asked.binary or newest_binary()
        result = run(binary, data, out, pathlib.Path(temporary, "home"), asked.quick)
        for name, expected, got in table(result, out, data, asked.quick):
            same = expected == got
            wrong += not same
            print(f"{'ok   ' if same else 'WRONG'} {name}: expected {expected}, got {got}")
        truth = reference.compute(reference.retail(data))
        for name, complaints in (
            ("per customer: R F M, B, intent, band, segment, consent",
             compare.scores(pd.read_parquet(out / "scores.parquet"), truth)),
            ("per customer: recommendations",
             compare.recommendations(pd.read_parquet(out / "recs.parquet"), truth)),
        ):
            wrong += bool(complaints)
            print("ok   " if not complaints else "WRONG", name)
            for complaint in complaints:
                print("      ", complaint)
    print("all values are as they must be" if not wrong else f"{wrong} values are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
