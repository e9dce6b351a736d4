//! Upkeep: finished runs fold into the history, and what is too old goes, with its logs and the
//! tables that nobody refers to any more.
//!
//! All of it happens on a thread of its own, which gives way to others, while the server works.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill_history::{Folded, Retained};
use tidemill_model::RunId;
use tidemill_scheduler::Clock;
use tidemill_store::{StoreError, TablesNeeded};

use crate::node::{Node, SystemClock};

/// How often is looked whether enough has finished to be folded.
const FOLD_EVERY: Duration = Duration::from_mins(1);

/// How often old things are looked for.
const CLEAN_EVERY: Duration = Duration::from_hours(1);

/// The rest after that, in times that it took: a large history takes longer.
const CLEAN_REST: u32 = 50;

/// A table may belong to an attempt that has not reported yet, so young ones stay.
const TABLE_AGE_MIN: Duration = Duration::from_hours(24);

/// How far the janitor stands back behind other threads.
const NICE: i32 = 10;

/// The thread that keeps a home in order.
pub(crate) struct Janitor {
    node: Arc<Node>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Janitor {
    /// Starts it; without a thread, nothing is folded or dropped until the next start.
    pub(crate) fn start(node: &Arc<Node>) -> Option<Self> {
        let (stop, stopped) = channel();
        let at_work = Arc::clone(node);
        let thread = std::thread::Builder::new().name("janitor".to_owned()).spawn(move || {
            // Linux counts this for the thread alone.
            let _ = rustix::process::setpriority_process(None, NICE);
            let (mut cleaned, mut rest) = (Instant::now(), CLEAN_EVERY);
            while stopped.recv_timeout(FOLD_EVERY) == Err(RecvTimeoutError::Timeout) {
                let all = cleaned.elapsed() >= rest;
                let begun = Instant::now();
                let what = if all { Sweep::Regular } else { Sweep::Fold };
                if let Err(error) = sweep(&at_work, what) {
                    tracing::warn!(%error, "old runs could not be put away");
                }
                if all {
                    cleaned = Instant::now();
                    rest = CLEAN_EVERY.max(begun.elapsed() * CLEAN_REST);
                }
            }
        });
        match thread {
            Ok(thread) => Some(Self { node: Arc::clone(node), stop, thread }),
            Err(error) => {
                tracing::warn!(%error, "nothing is folded into the history until the next start");
                None
            }
        }
    }

    /// Ends it: what it is in the middle of is left, and done again at the next start.
    pub(crate) async fn stop(self) {
        let Self { node, stop, thread } = self;
        node.stopping.store(true, Ordering::Relaxed);
        drop(stop);
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Fold if enough is there for it.
    Fold,
    /// That, and drop what is too old.
    Regular,
    /// Fold whatever there is, and drop what is too old.
    Everything,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Swept {
    pub(crate) folded: Folded,
    pub(crate) dropped: Retained,
}

/// Folds and drops. May take a while; nothing waits for it.
pub(crate) fn sweep(node: &Node, what: Sweep) -> Result<Swept, StoreError> {
    let stopping: &AtomicBool = &node.stopping;
    let go_on = || !stopping.load(Ordering::Relaxed);
    let at_least = if what == Sweep::Everything { Some(1) } else { None };
    let folded = node.history.fold(&node.store, at_least, &go_on)?;
    let mut swept = Swept { folded, ..Swept::default() };
    if folded.runs > 0 {
        let Folded { runs, segments } = folded;
        tracing::info!(runs, segments, "folded finished runs into the history");
    }
    if what == Sweep::Fold {
        return Ok(swept);
    }
    let (live, logs) = (node.scheduler.live(), node.home.logs());
    let mut gone = |run: &RunId| {
        let idle = live.run_state(run).is_none();
        if idle {
            remove_logs(&logs, run);
        }
        idle
    };
    let now = Clock::now(&SystemClock);
    swept.dropped = node.history.retain(&node.store, &node.retention, now, &mut gone, &go_on)?;
    let mut tables = 0;
    let large = |needed: &TablesNeeded| tables = remove_tables(&node.home.tables(), needed);
    let bytes = node.store.sweep_small_tables(large)?;
    node.results.sweep(now)?;
    let Retained { runs, bytes: segments } = swept.dropped;
    if runs > 0 || tables > 0 || bytes > 0 {
        tracing::info!(
            runs,
            segment_bytes = segments,
            tables,
            small_table_bytes = bytes,
            "removed what is old"
        );
    }
    Ok(swept)
}

fn remove_logs(logs: &Path, run: &RunId) {
    let folder = logs.join(run.dag.as_str()).join(run.number.to_string());
    // A run without logs has no folder.
    let _ = std::fs::remove_dir_all(folder);
}

/// Removes files of tables that no run refers to; gives how many.
fn remove_tables(tables: &Path, needed: &TablesNeeded) -> usize {
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
