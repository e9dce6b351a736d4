"""The same steps written plainly, in DuckDB and pandas: what the run's time is compared with.

It reads, cleans, scores, segments and recommends. It writes no messages, no profiles and no history,
and starts from nothing each time.
"""

import json
import pathlib
import resource
import sys
import time

import duckdb
import pandas as pd

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))

import reference  # noqa: E402

LINES = r"""
    with lines as (
        select *, upper(trim(StockCode)) as item,
               Quantity * cast(round(UnitPrice * 1000) as bigint) as value_milli
        from (select distinct * from read_csv('{files}', header = true, columns = {{
            'InvoiceNo': 'varchar', 'StockCode': 'varchar', 'Description': 'varchar',
            'Quantity': 'bigint', 'InvoiceDate': 'timestamp', 'UnitPrice': 'decimal(12,3)',
            'CustomerID': 'varchar', 'Country': 'varchar'}})))
    select split_part(CustomerID, '.', 1) as customer, InvoiceNo as "order", item,
           trim(Description) as description, Quantity as quantity, value_milli,
           InvoiceDate as "at",
           case when coalesce(CustomerID, '') = '' then 'no_customer'
                when not regexp_matches(item, '^[0-9]{{5}}[A-Z]*$') then 'non_product'
                when InvoiceNo like 'C%' then 'return'
                when Quantity <= 0 then 'bad_quantity'
                when UnitPrice <= 0 then 'bad_price' end as reason
    from lines
"""


def inputs(folder):
    """The acceptance data, read and cleaned by DuckDB."""
    folder = pathlib.Path(folder)
    files = folder / "transactions" / "*.csv.gz"
    connection = duckdb.connect()
    raw = connection.execute(
        f"select count(*) from read_csv('{files}', header = true, all_varchar = true)").fetchone()[0]
    lines = connection.execute(LINES.format(files=files)).df()
    lines["reason"] = lines.reason.astype("object").where(lines.reason.notna(), None)
    prepared = folder / "prepared"
    table = lambda name: pd.read_csv(prepared / name, dtype=str, keep_default_na=False)  # noqa: E731
    keyed = lambda name: table(name).rename(columns={"customer_id": "customer"})  # noqa: E731
    sessions = table("web_sessions.csv")
    total = lambda what: sum(  # noqa: E731
        pd.to_numeric(sessions[f"{page}_{what}"]).fillna(0) for page in ("admin", "info", "product"))
    return reference.Inputs(
        as_of=pd.Timestamp("2011-12-10"), files=len(list(files.parent.glob(files.name))),
        raw_lines=raw, duplicates=raw - len(lines), lines=lines,
        events=reference.with_time(keyed("web_events.csv.gz")), crm=keyed("crm_customers.csv"),
        consent=keyed("consent.csv"),
        sessions=pd.DataFrame({"customer": sessions.customer_id, "pages": total("pages"),
                               "seconds": total("seconds")}),
    )


if __name__ == "__main__":
    began = time.monotonic()
    bands = reference.compute(inputs(sys.argv[1])).profiles.band.value_counts().to_dict()
    seconds = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": seconds, "mib": memory, "bands": bands}))
