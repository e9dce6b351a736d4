//! What a crash left running is ended before anything runs again.

use std::time::Duration;

use tidemill_model::RunId;

use super::record::{ProcessRecord, boot_id};
use super::tree::{Tree, started};
use crate::outside::HomePaths;

/// A command that outlived its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The attempt: `orders.17/load#1`.
    pub attempt: String,
    /// The process that led its session.
    pub pid: i32,
    /// Processes that would not end; empty when the end was verified.
    pub stubborn: Vec<i32>,
}

/// Ends the recorded commands of an earlier server that are of `wanted` runs, and removes their
/// records. Call it before the scheduler starts; it blocks until the trees have ended, at most the
/// grace and a few seconds.
pub fn end_leftovers(
    home: &HomePaths,
    grace: Duration,
    wanted: impl Fn(&RunId) -> bool,
) -> Vec<Leftover> {
    let boot = boot_id();
    let mut records = Vec::new();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&home.processes).into_iter().flatten().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        // A record that was cut short is of a command that never got its go-ahead.
        let record = serde_json::from_slice::<ProcessRecord>(&bytes).ok();
        if record.as_ref().and_then(ProcessRecord::run).is_none_or(|run| wanted(&run)) {
            paths.push(entry.path());
            records.extend(record.filter(|record| record.boot == boot));
        }
    }
    let ended = end_all(records, grace);
    for path in &paths {
        let _ = std::fs::remove_file(path);
    }
    ended
}

/// Ends trees side by side, on a thread of its own, so that it does not matter whether the caller
/// is inside a runtime.
fn end_all(records: Vec<ProcessRecord>, grace: Duration) -> Vec<Leftover> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        let mut trees = tokio::task::JoinSet::new();
        for record in records {
            trees.spawn_on(end(record, grace), runtime.handle());
        }
        let mut ended: Vec<_> = runtime.block_on(trees.join_all()).into_iter().flatten().collect();
        ended.sort_by(|a, b| a.attempt.cmp(&b.attempt));
        Some(ended)
    };
    std::thread::spawn(work).join().ok().flatten().unwrap_or_default()
}

/// Ends a tree; gives what there was to end.
async fn end(record: ProcessRecord, grace: Duration) -> Option<Leftover> {
    let ProcessRecord { attempt, pid, started: begun, token, .. } = record;
    // The leader may be gone while its tree lives; a stranger may have its number.
    let leader = if started(pid) == Some(begun) { pid } else { i32::MAX };
    match Tree::new(leader, begun, token).end(grace).await {
        Ok(0) => None,
        Ok(_) => Some(Leftover { attempt, pid, stubborn: Vec::new() }),
        Err(stubborn) => Some(Leftover { attempt, pid, stubborn }),
    }
}
