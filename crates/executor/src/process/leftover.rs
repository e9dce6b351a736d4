//! What a crash left running is ended before anything runs again.

use std::path::PathBuf;
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
    let found: Vec<_> = (records(home).into_iter())
        .filter(|(_, record)| {
            record.as_ref().and_then(ProcessRecord::run).is_none_or(|run| wanted(&run))
        })
        .collect();
    let living = found.iter().filter_map(|(_, record)| record.clone());
    let ended = end_all(living.filter(|record| record.boot == boot).collect(), grace);
    for (path, _) in &found {
        let _ = std::fs::remove_file(path);
    }
    ended
}

/// The recorded commands of a server that is gone of which something lives: the attempt, and the
/// processes. Nothing is ended.
pub fn living_leftovers(home: &HomePaths) -> Vec<(String, Vec<i32>)> {
    let boot = boot_id();
    (records(home).into_iter())
        .filter_map(|(_, record)| record.filter(|record| record.boot == boot))
        .map(|record| (record.attempt.clone(), tree_of(record).living()))
        .filter(|(_, living)| !living.is_empty())
        .collect()
}

/// The files of records. One that was cut short is of a command that never got its go-ahead.
fn records(home: &HomePaths) -> Vec<(PathBuf, Option<ProcessRecord>)> {
    let entries = std::fs::read_dir(&home.processes).into_iter().flatten().flatten();
    let read = |path: PathBuf| {
        let record = serde_json::from_slice(&std::fs::read(&path).unwrap_or_default()).ok();
        (path, record)
    };
    entries.map(|entry| read(entry.path())).collect()
}

fn tree_of(record: ProcessRecord) -> Tree {
    // The leader may be gone while its tree lives; a stranger may have its number.
    let leader = if started(record.pid) == Some(record.started) { record.pid } else { i32::MAX };
    Tree::new(leader, record.started, record.token)
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
    let (attempt, pid) = (record.attempt.clone(), record.pid);
    match tree_of(record).end(grace).await {
        Ok(0) => None,
        Ok(_) => Some(Leftover { attempt, pid, stubborn: Vec::new() }),
        Err(stubborn) => Some(Leftover { attempt, pid, stubborn }),
    }
}
