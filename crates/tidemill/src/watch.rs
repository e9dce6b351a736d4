//! Tells which files of a folder have become whole: closed by who wrote them, or renamed into their
//! place.
//!
//! It only makes a change seen sooner. Where the system cannot watch, or loses an event, the regular
//! look finds the file when it has stood still.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What is written in one go, as by a checkout, is taken in together.
const GATHER: Duration = Duration::from_millis(20);
/// Files that are taken in together, at most: more would only wait longer.
const GATHER_MAX: usize = 1_000;

/// Watches a folder and those below it.
pub(crate) struct Watch {
    // Dropping it ends the watch.
    _watcher: RecommendedWatcher,
    whole: UnboundedReceiver<PathBuf>,
}

impl Watch {
    /// Begins to watch; `None` where that cannot be done.
    pub(crate) fn of(root: &Path) -> Option<Self> {
        let root = std::path::absolute(root).ok()?;
        let (tell, whole) = unbounded_channel();
        let told = move |event: notify::Result<Event>| {
            for path in event.ok().into_iter().flat_map(made_whole).filter(|path| is_yaml(path)) {
                // Nobody listens any more when the server ends.
                let _ = tell.send(path);
            }
        };
        let watching = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(&root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => Some(Self { _watcher: watcher, whole }),
            Err(error) => {
                tracing::info!(%error, "changed DAG files are found by regular looks alone");
                None
            }
        }
    }

    /// Waits for a file to become whole; gives it, and those that do so along with it.
    pub(crate) async fn next(&mut self) -> BTreeSet<PathBuf> {
        let Some(first) = self.whole.recv().await else {
            return std::future::pending().await;
        };
        tokio::time::sleep(GATHER).await;
        let mut all = BTreeSet::from([first]);
        while all.len() < GATHER_MAX
            && let Ok(path) = self.whole.try_recv()
        {
            all.insert(path);
        }
        all
    }
}

/// What loads of DAGs write below the folder is none of it.
fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The files that are whole after an event.
fn made_whole(event: Event) -> Vec<PathBuf> {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => event.paths,
        // The name before, and the name after.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            event.paths.into_iter().skip(1).collect()
        }
        _ => Vec::new(),
    }
}
