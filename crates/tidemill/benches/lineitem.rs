//! CSV, an aggregate in SQL, Parquet: the product beside the bare engine.
//!
//! `cargo bench -p tidemill --bench lineitem` makes TPC-H's `lineitem` at scale factor 1 (or at
//! that of the environment variable `SF`), asks query 1 of it, and prints medians of five in
//! alternation. The product keeps the table that it read, so that a restart never reads it again;
//! the bare engine does not, hence a second figure for it: with the table kept as Parquet.
//! Times decide nothing here; that all give the same result does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)] // A bench that fails should stop.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::util::pretty::pretty_format_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{CsvReadOptions, ParquetReadOptions, SessionContext};
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::LineItemGenerator;

const RUNS: usize = 5;

const COLUMNS: [(&str, &str); 16] = [
    ("l_orderkey", "int64"),
    ("l_partkey", "int64"),
    ("l_suppkey", "int64"),
    ("l_linenumber", "int64"),
    ("l_quantity", "decimal(15,2)"),
    ("l_extendedprice", "decimal(15,2)"),
    ("l_discount", "decimal(15,2)"),
    ("l_tax", "decimal(15,2)"),
    ("l_returnflag", "string"),
    ("l_linestatus", "string"),
    ("l_shipdate", "date"),
    ("l_commitdate", "date"),
    ("l_receiptdate", "date"),
    ("l_shipinstruct", "string"),
    ("l_shipmode", "string"),
    ("l_comment", "string"),
];

const USED: &str = "l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, \
                    l_shipdate";

const QUERY: &str = "select l_returnflag, l_linestatus, sum(l_quantity) as sum_qty, \
    sum(l_extendedprice) as sum_base_price, \
    sum(l_extendedprice * (1 - l_discount)) as sum_disc_price, \
    sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) as sum_charge, \
    avg(l_quantity) as avg_qty, avg(l_extendedprice) as avg_price, avg(l_discount) as avg_disc, \
    count(*) as count_order from lineitem where l_shipdate <= date '1998-09-02' \
    group by l_returnflag, l_linestatus order by l_returnflag, l_linestatus";

/// What is measured, and its name.
type Way<'a> = (&'a str, Box<dyn Fn() + 'a>);

fn main() {
    if let Some(folder) = std::env::var_os(BARE) {
        return bare(Path::new(&folder), std::env::var_os(KEEP).is_some());
    }
    let scale = std::env::var("SF").ok().and_then(|sf| sf.parse().ok()).unwrap_or(1.0);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    generate(&folder.join("lineitem.csv"), scale);
    std::fs::write(folder.join("full.yaml"), dag("full", "")).expect("writes");
    let select = format!("select: [{USED}], ");
    std::fs::write(folder.join("select.yaml"), dag("select", &select)).expect("writes");

    let ways: [Way<'_>; 4] = [
        ("bare engine", Box::new(|| bare_process(folder, false))),
        ("bare engine, table kept", Box::new(|| bare_process(folder, true))),
        ("tidemill, all 16 columns", Box::new(|| product(folder, "full"))),
        ("tidemill, `select` of 7", Box::new(|| product(folder, "select"))),
    ];
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..RUNS {
        for ((_, run), times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            run();
            times.push(start.elapsed());
        }
    }
    let results = ["bare", "kept", "full", "select"].map(|name| shown(folder, name));
    assert!(results.iter().all(|result| *result == results[0]), "{results:#?}");

    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    println!("scale factor {scale}, medians of {RUNS}");
    for ((name, _), time) in ways.iter().zip(&medians) {
        let ratio = |beside: Duration| time.as_secs_f64() / beside.as_secs_f64();
        println!(
            "{name:<26} {:>7.3} s  × {:.2} of bare  × {:.2} of bare, table kept",
            time.as_secs_f64(),
            ratio(medians[0]),
            ratio(medians[1]),
        );
    }
}

fn generate(path: &Path, scale: f64) {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    writeln!(file, "{}", LineItemCsv::header()).expect("writes");
    for line in LineItemGenerator::new(scale, 1, 1).iter() {
        writeln!(file, "{}", LineItemCsv::new(line)).expect("writes");
    }
    file.flush().expect("writes");
}

fn dag(name: &str, select: &str) -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, kind)| format!("{name}: '{kind}'")).collect();
    format!(
        "dag: {name}\ntasks:\n  lineitem:\n    ingest: {{csv: {{path: lineitem.csv, {select}\
         columns: {{{}}}}}}}\n  pricing:\n    transform: {{sql: \"{QUERY}\"}}\n  out:\n    \
         from: pricing\n    load: {{parquet: {{path: {name}.parquet}}}}\n",
        columns.join(", ")
    )
}

/// A run as a user starts it: a process with a fresh home.
fn product(folder: &Path, name: &str) {
    let home = tempfile::tempdir_in(folder).expect("a folder");
    let status = Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(["run", &format!("{name}.yaml"), "--home"])
        .arg(home.path())
        .current_dir(folder)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("starts").success());
}

/// Asks this program to be the bare engine in a folder, and to keep the table.
const BARE: &str = "LINEITEM_BARE";
const KEEP: &str = "LINEITEM_KEEP";

/// The bare engine, started as the product is: what starting costs is in both.
fn bare_process(folder: &Path, keep: bool) {
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.env(BARE, folder).stdout(Stdio::null());
    if keep {
        command.env(KEEP, "1");
    }
    assert!(command.status().expect("starts").success());
}

/// The same in the bare engine, on as many threads as it likes.
fn bare(folder: &Path, keep: bool) {
    let path = |name: &str| folder.join(name).display().to_string();
    let work = async {
        let context = SessionContext::new();
        let schema = schema();
        let options = CsvReadOptions::new().schema(&schema);
        context.register_csv("lineitem", path("lineitem.csv"), options).await?;
        if keep {
            let kept = path("kept");
            let table = context.table("lineitem").await?;
            table.write_parquet(&kept, DataFrameWriteOptions::new(), None).await?;
            context.deregister_table("lineitem")?;
            context.register_parquet("lineitem", kept, ParquetReadOptions::default()).await?;
        }
        let out = path(if keep { "kept.parquet" } else { "bare.parquet" });
        let result = context.sql(QUERY).await?;
        result.write_parquet(&out, DataFrameWriteOptions::new(), None).await
    };
    let _ = std::fs::remove_dir_all(folder.join("kept"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work).expect("works");
}

fn schema() -> Arc<Schema> {
    let field = |(name, kind): &(&str, &str)| {
        let data_type = match *kind {
            "int64" => DataType::Int64,
            "date" => DataType::Date32,
            "string" => DataType::Utf8,
            _ => DataType::Decimal128(15, 2),
        };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

/// A result as text.
fn shown(folder: &Path, name: &str) -> String {
    let path = folder.join(format!("{name}.parquet")).display().to_string();
    let work = async {
        let context = SessionContext::new();
        let table = context.read_parquet(path, ParquetReadOptions::default()).await?;
        table.collect().await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let batches = runtime.expect("a runtime").block_on(work).expect("reads");
    pretty_format_batches(&batches).expect("shows").to_string()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
