//! Retention: old runs go, with their logs and the tables that nobody refers to any more.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use tidemill_model::RunId;
use tidemill_scheduler::Clock;
use tidemill_store::{Store, StoreError};

use crate::node::{Node, SystemClock};

/// Finished runs that are kept; older ones go.
const RUNS_KEPT: usize = 50_000;

/// How often old things are looked for.
pub(crate) const CLEAN_EVERY: Duration = Duration::from_hours(1);

/// A table may belong to an attempt that has not reported yet, so young ones stay.
const TABLE_AGE_MIN: Duration = Duration::from_hours(24);

/// Removes what is old. May take a while; nothing waits for it.
pub(crate) fn clean(node: &Node) -> Result<(), StoreError> {
    let gone = node.store.prune(RUNS_KEPT)?;
    for run in &gone {
        remove_logs(&node.home.logs(), run);
    }
    let needed = node.store.tables_needed()?;
    let tables = remove_tables(&node.home.tables(), &needed);
    let bytes = node.store.sweep_small_tables()?;
    node.results.sweep(SystemClock.now())?;
    if !gone.is_empty() || tables > 0 || bytes > 0 {
        tracing::info!(runs = gone.len(), tables, small_table_bytes = bytes, "removed what is old");
    }
    Ok(())
}

fn remove_logs(logs: &Path, run: &RunId) {
    let folder = logs.join(run.dag.as_str()).join(run.number.to_string());
    // A run without logs has no folder.
    let _ = std::fs::remove_dir_all(folder);
}

/// Removes files of tables that no run refers to; gives how many.
fn remove_tables(tables: &Path, needed: &HashSet<String>) -> usize {
    let folders = std::fs::read_dir(tables).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten());
    let mut removed = 0;
    for file in files.flatten() {
        let path = file.path();
        let hash = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_table = path.extension().is_some_and(|extension| extension == "arrow");
        let age =
            file.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_old = age.is_some_and(|age| age >= TABLE_AGE_MIN);
        if is_table && is_old && !needed.contains(hash) && std::fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    removed
}
