//! Stands in for the product in tests: `main` begins with the hidden entry.
//!
//! * `hold HOME SCRIPT`: runs the script as a task and stays, so that a test can end it; the command
//!   goes on without it, as that of a server does;
//! * `hold-own HOME SCRIPT`: the same, but the command ends with it;
//! * `adopt HOME -`: takes up the attempt of `hold`, waits for its end, and does not commit it;
//! * `time N`: runs `true` N times, one after the other, and prints the median and the sum.

#[path = "orders.rs"]
mod orders;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orders::{Job, Slab, config};
use tidemill_executor::logs::LogLimits;
use tidemill_executor::{Executor, ExecutorConfig, process};
use tokio::sync::mpsc;

fn main() {
    process::entry(Arc::new(orders::Wall));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["hold", home, script] => runtime.block_on(hold(Path::new(home), script, true)),
        ["hold-own", home, script] => runtime.block_on(hold(Path::new(home), script, false)),
        ["adopt", home, _] => runtime.block_on(adopt(Path::new(home))),
        ["time", n] => runtime.block_on(time(n.parse().expect("a number"))),
        _ => std::process::exit(2),
    }
}

fn executor(home: &Path, keep: bool) -> (Executor, mpsc::UnboundedReceiver<()>) {
    let program = std::env::current_exe().expect("this program");
    let grace = Duration::from_secs(10);
    let slab = Arc::new(Slab::default());
    let config = ExecutorConfig {
        keep_commands: keep,
        ..config(home, &program, &slab, &[], grace, LogLimits::default())
    };
    let (ended, ends) = mpsc::unbounded_channel();
    let executor = Executor::new(
        config,
        Arc::new(move |_| {
            let _ = ended.send(());
        }),
    );
    (executor.expect("an executor"), ends)
}

async fn hold(home: &Path, script: &str, keep: bool) {
    let (executor, mut ends) = executor(home, keep);
    executor.start(Job::shell(script, &[]).order(home, 1));
    ends.recv().await;
}

async fn adopt(home: &Path) {
    let (executor, mut ends) = executor(home, true);
    let (held, _) = executor.take_up(|_| true).await.expect("takes up");
    assert_eq!(held.len(), 1, "one attempt");
    executor.adopt(Job::shell("", &[]).order(home, 1));
    ends.recv().await;
}

async fn time(n: u64) {
    let home = std::env::temp_dir().join(format!("tidemill-time-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder");
    let (executor, mut ends) = executor(&home, false);
    let begun = Instant::now();
    let mut each = Vec::new();
    for number in 1..=n {
        let begun = Instant::now();
        executor.start(Job::argv(["true"]).order(&home, number));
        ends.recv().await;
        each.push(begun.elapsed());
    }
    let all = begun.elapsed();
    each.sort();
    println!("{n} × true: {all:?} in all, median {:?}", each[each.len() / 2]);
    executor.shutdown().await;
    executor.leave().await;
    let _ = std::fs::remove_dir_all(&home);
}
