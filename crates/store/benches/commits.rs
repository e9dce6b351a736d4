//! Commits per second, durable, with 1, 16 and 256 events each; medians of five.
//!
//! `cargo bench -p tidemill-store` prints them for a temporary home in the folder that `TMPDIR`
//! names, beside bare writes of the same bytes with one sync each.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tidemill_model::Event;
use tidemill_store::conformance::{Script, chain, resolver, source_of};
use tidemill_store::{Commit, Home, RunQuery, SledOptions, SledStore, Store};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(600);

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:>16} {:>12} {:>12} {:>10} {:>10} {:>8}",
        "events/commit", "commits/s", "events/s", "p50", "p99", "of bare"
    );
    for size in [1, 16, 256] {
        let commit = commit_of(size);
        let dir = tempfile::tempdir()?;
        let home = Home::open(dir.path().join("home"))?;
        let (store, _) = SledStore::open(&home, resolver(), SledOptions::default())?;
        let (rate, p50, p99) = measure(|| store.commit(&commit).map(drop).map_err(Into::into))?;
        let bytes = serde_json::to_vec(&commit.events)?;
        let (bare, _, _) = bare(&dir.path().join("bare"), &bytes)?;
        println!(
            "{size:>16} {rate:>12.0} {:>12.0} {:>10} {:>10} {:>7.2}x",
            rate * size as f64,
            format!("{} us", p50.as_micros()),
            format!("{} us", p99.as_micros()),
            rate / bare
        );
    }
    rebuild()
}

/// How long an open takes whose records are gone, for runs of eight tasks.
fn rebuild() -> Result<(), Box<dyn std::error::Error>> {
    const RUNS: u64 = 20_000;
    let dir = tempfile::tempdir()?;
    let home = Home::open(dir.path().join("home"))?;
    let (store, _) = SledStore::open(&home, resolver(), SledOptions::default())?;
    let dag = chain("rebuilt", 8);
    store.put_version(&dag.version, &source_of(&dag))?;
    for first in (1..=RUNS).step_by(100) {
        let runs = (first..first + 100).map(|n| Script::begin(&dag, n, n as i64).start().finish());
        let events = runs.flat_map(|script| script.commit().events).collect();
        store.commit(&Commit { events, ..Commit::default() })?;
    }
    drop(store);
    for what in ["from the journal", "from a picture", "records in place"] {
        drop_state(&home, what)?;
        let started = Instant::now();
        let (store, _) = SledStore::open(&home, resolver(), SledOptions::default())?;
        println!("open, {RUNS} runs, {what}: {:.2} s", started.elapsed().as_secs_f64());
        store.snapshot()?;
        let started = Instant::now();
        let page = store.runs(&RunQuery { limit: 50, ..RunQuery::default() })?;
        println!(
            "a page of {} runs: {:.2} ms",
            page.runs.len(),
            started.elapsed().as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn drop_state(home: &Home, what: &str) -> std::io::Result<()> {
    if what == "records in place" { Ok(()) } else { std::fs::remove_dir_all(home.state()) }
}

/// Events as a run of many tasks makes them.
fn commit_of(size: usize) -> Commit {
    let script = Script::begin(&chain("bench", size.max(2)), 1, 10).start().finish();
    let id = script.run.head.id.clone();
    let events = script.events.iter().skip(2).cycle().take(size);
    Commit {
        events: events.map(|e| Event::Run(id.clone(), e.clone())).collect(),
        ..Commit::default()
    }
}

/// One write and one sync per call, into a file that grows.
fn bare(
    path: &Path,
    bytes: &[u8],
) -> Result<(f64, Duration, Duration), Box<dyn std::error::Error>> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    measure(|| {
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(())
    })
}

/// Calls per second, and the median and 99th percentile of a call: the medians of all rounds.
fn measure(
    mut call: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(f64, Duration, Duration), Box<dyn std::error::Error>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut times = Vec::new();
        while started.elapsed() < ROUND {
            let before = Instant::now();
            call()?;
            times.push(before.elapsed());
        }
        let rate = times.len() as f64 / started.elapsed().as_secs_f64();
        times.sort();
        rounds.push((rate, times[times.len() / 2], times[times.len() * 99 / 100]));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(rounds[ROUNDS / 2])
}
