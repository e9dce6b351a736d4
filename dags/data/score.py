"""Sums the amounts of each region."""

import csv
import json
import os

totals = {}
with open(os.environ["TIDEMILL_INPUT_ORDERS"]) as orders:
    for order in csv.DictReader(orders):
        totals[order["region"]] = totals.get(order["region"], 0) + float(order["amount"] or 0)

with open(os.environ["TIDEMILL_OUTPUT_SCORES"], "w") as scores:
    for region, total in totals.items():
        print(json.dumps({"region": region, "total": round(total, 2)}), file=scores)

with open(os.environ["TIDEMILL_OUTPUTS"], "w") as outputs:
    print(f"regions={len(totals)}", file=outputs)
