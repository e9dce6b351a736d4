//! What nobody looks after any more is ended before anything runs again: commands whose supervisor
//! fell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_model::AttemptId;

use super::protocol::CommandEnd;
use super::record::{self, ProcessRecord, boot_id};
use super::supervisor;
use super::tree::{Tree, started};
use crate::outside::HomePaths;

/// A command that outlived its supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The attempt: `orders.17/load#1`.
    pub attempt: String,
    /// The process that led its session.
    pub pid: i32,
    /// Processes that would not end; empty when the end was verified.
    pub stubborn: Vec<i32>,
}

/// A command that runs while there is no server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// The attempt: `orders.17/load#1`.
    pub attempt: String,
    /// The same, for machines.
    pub id: AttemptId,
    /// Its processes.
    pub pids: Vec<i32>,
    /// The supervisor that looks after it, if there is one.
    pub supervisor: Option<i32>,
}

/// The recorded commands of which something lives. Nothing is ended.
pub fn living_commands(home: &HomePaths) -> Vec<Living> {
    let boot = boot_id();
    let supervisor = supervisor::living(&home.processes);
    (record::all(&home.processes).into_iter())
        .filter_map(|(_, record)| record.filter(|r| r.boot == boot && r.end.is_none()))
        .map(|record| {
            let (attempt, id) = (record.attempt.clone(), record.id.clone());
            Living { attempt, id, pids: tree_of(&record).living(), supervisor }
        })
        .filter(|living| !living.pids.is_empty())
        .collect()
}

/// Ends the recorded commands of `wanted` attempts that have no result, and removes their records.
pub(super) async fn end_others(
    folder: &Path,
    grace: Duration,
    wanted: impl Fn(&AttemptId) -> bool,
) -> Vec<Leftover> {
    let mut trees = tokio::task::JoinSet::new();
    for (path, record) in record::all(folder) {
        match record {
            // It was cut short, so its command never got its go-ahead.
            None => _ = std::fs::remove_file(path),
            Some(record) if record.end.is_some() || !wanted(&record.id) => {}
            Some(record) => _ = trees.spawn(end(path, record, grace)),
        }
    }
    let mut ended: Vec<Leftover> = trees.join_all().await.into_iter().flatten().collect();
    ended.sort_by(|a, b| a.attempt.cmp(&b.attempt));
    ended
}

/// Ends what is left of one command, unless its result is there.
pub(super) async fn end_one(path: &Path, grace: Duration) -> Option<CommandEnd> {
    let record = ProcessRecord::read(path)?;
    if record.end.is_some() {
        return record.end;
    }
    let left = end(path.to_owned(), record, grace).await;
    if let Some(Leftover { attempt, stubborn, .. }) = left.filter(|l| !l.stubborn.is_empty()) {
        tracing::error!(%attempt, ?stubborn, "processes do not end");
    }
    None
}

/// Ends a tree and removes its record; gives what there was to end.
async fn end(path: PathBuf, record: ProcessRecord, grace: Duration) -> Option<Leftover> {
    let (attempt, pid) = (record.attempt.clone(), record.pid);
    // Of an earlier boot nothing lives, and strangers have its numbers.
    let ended = if record.boot == boot_id() { tree_of(&record).end(grace).await } else { Ok(0) };
    let _ = std::fs::remove_file(path);
    if let Some(group) = &record.group {
        group.remove();
    }
    match ended {
        Ok(0) => None,
        Ok(_) => Some(Leftover { attempt, pid, stubborn: Vec::new() }),
        Err(stubborn) => Some(Leftover { attempt, pid, stubborn }),
    }
}

fn tree_of(record: &ProcessRecord) -> Tree {
    // The leader may be gone while its tree lives; a stranger may have its number.
    let leader = if started(record.pid) == Some(record.started) { record.pid } else { i32::MAX };
    Tree::new(leader, record.started, record.token.clone(), record.group.clone())
}
