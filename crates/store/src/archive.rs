//! [`Archive`]: where finished runs are kept once they have left the records.
//!
//! **Invariant.** A finished run is at every moment in the records or in the archive. Where both
//! hold it, the records are right: it went again, or is about to leave them.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};

use tidemill_model::run::StoredItem;
use tidemill_model::{Position, RunId, TaskIx, TaskRun, Timestamp};

use crate::store::{RunQuery, RunSummary, StoreError, StoredRunAt};

/// Tells whether the records hold a run.
pub type Held<'a> = &'a dyn Fn(&RunId) -> Result<bool, StoreError>;

/// Finished runs that are not in the records any more. Every call may block on disk.
pub trait Archive: Debug + Send + Sync + 'static {
    /// A run, without the items of its mapped tasks.
    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError>;

    /// Items of a mapped task from `first` on, in order, at most `limit` of them.
    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError>;

    /// Runs, newest first, without those that are `held`; one more than asked for tells that
    /// there are more.
    fn runs(&self, query: &RunQuery, held: Held<'_>) -> Result<Vec<RunSummary>, StoreError>;

    /// When the newest of its runs was created. Touches no disk.
    fn newest(&self) -> Option<Timestamp>;

    /// The hash of every table that its runs name; one may be told several times.
    fn visit_tables(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError>;

    /// Puts all of it into a folder, laid out as in a home, and names the files there.
    fn copy_to(&self, dest: &Path) -> Result<Vec<PathBuf>, StoreError>;
}

/// A stored run as a whole, without the items of its mapped tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeRun {
    /// The last event that is contained.
    pub position: Position,
    /// The run and its counts.
    pub summary: Box<RunSummary>,
    /// Its tasks.
    pub tasks: Vec<TaskRun>,
}

/// Tables that something refers to. It may take another table for one of them, never the other way
/// round: it remembers 8 bytes of each, because they may be millions.
#[derive(Debug, Default)]
pub struct TablesNeeded(HashSet<u64>);

impl TablesNeeded {
    /// Takes in a table; whether it is a new one.
    pub fn insert(&mut self, hash: &str) -> bool {
        self.0.insert(print_of(hash))
    }

    /// Whether a table is needed.
    pub fn contains(&self, hash: &str) -> bool {
        self.0.contains(&print_of(hash))
    }
}

fn print_of(hash: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(hash)
}
