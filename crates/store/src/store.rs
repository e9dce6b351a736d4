//! [`Store`]: commits in, records behind them, and the way back after a crash.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::table::SLAB_TABLE_BYTES_MAX;
use tidemill_model::{
    DagId, DagRecord, Event, Position, RunHead, RunId, RunState, SmallTable, TaskIx, TaskRun,
    Timestamp, Version,
};

/// What one commit makes durable, all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The events, in order.
    pub events: Vec<Event>,
    /// The small tables that the events refer to.
    pub small_tables: Vec<SmallTable>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing of the commit is durable, and the same call may be made again
    /// when there is space.
    #[error("the disk that holds `{}` is full; free some space and work goes on by itself", path.display())]
    Full {
        /// The file or folder.
        path: PathBuf,
    },
    /// A write or a sync failed. What is on disk is unknown: nothing may be acknowledged any
    /// more, and the process must start again from the journal.
    #[error("cannot write `{}`: {error}; nothing more is acknowledged until a restart", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// Something stored cannot be read.
    #[error("`{}` is damaged: {what}; run `tidemill doctor`", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The records failed, for example on a full disk, and are being opened again. Nothing is lost.
    #[error("`{}` is being opened again after an error; ask again in a moment", path.display())]
    Away {
        /// The folder.
        path: PathBuf,
    },
    /// What was given is over a limit. Nothing of it is stored.
    #[error("{what} has {bytes} bytes, at most {limit} are stored")]
    TooLarge {
        /// The thing.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// The text of a DAG version, from which it can be loaded again as long as a run needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DagSource {
    /// The file it was read from, for messages; its folder is where relative paths start.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The text of the folder's defaults, which it was read with, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<String>,
}

/// A record to write behind the journal. It says what is true at a position, so writing it again,
/// or writing an older one after it, changes nothing: a store keeps the newer.
#[derive(Debug, Clone)]
pub enum Record {
    /// A run, with the tasks that changed since the record before.
    Run {
        /// The last event of this run that is contained.
        position: Position,
        /// The run itself and its counts.
        summary: Box<RunSummary>,
        /// Tasks that changed.
        tasks: Vec<(TaskIx, TaskRun)>,
        /// Items of mapped tasks that changed.
        items: Vec<StoredItem>,
    },
    /// A DAG.
    Dag {
        /// The last event that is contained.
        position: Position,
        /// Which.
        id: DagId,
        /// What is known.
        record: DagRecord,
    },
}

/// A run for lists: its head and how many of its tasks are in which state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub head: RunHead,
    /// Tasks by state, in the order of [`tidemill_model::TaskState::ALL`].
    pub counts: [u32; 11],
}

/// A stored run and how far it reaches.
#[derive(Debug, Clone)]
pub struct StoredRunAt {
    /// The last event of this run that is contained.
    pub position: Position,
    /// The run.
    pub run: StoredRun,
}

/// A stored DAG record and how far it reaches.
#[derive(Debug, Clone)]
pub struct StoredDag {
    /// The last event that is contained.
    pub position: Position,
    /// Which.
    pub id: DagId,
    /// What is known.
    pub record: DagRecord,
}

/// What a scheduler starts from.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Every DAG record.
    pub dags: Vec<StoredDag>,
    /// Every run that is stored in a state that is not final.
    pub unfinished: Vec<StoredRunAt>,
    /// The events after the checkpoint, in order. Records may already contain some of them:
    /// compare positions.
    pub tail: Vec<(Position, Event)>,
    /// The position of the last durable event.
    pub last: Position,
    /// What the operator should know, for example that the records were rebuilt, and why.
    pub notes: Vec<String>,
}

/// Which runs, newest first.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Only of this DAG.
    pub dag: Option<DagId>,
    /// Only in these states; empty = all.
    pub states: Vec<RunState>,
    /// Only runs after this one in the list: the key of the last run of the page before.
    pub after: Option<(Timestamp, RunId)>,
    /// At most so many.
    pub limit: usize,
}

/// A page of runs.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunSummary>,
    /// Ask with this as `after` for the next page; `None` at the end.
    pub next: Option<(Timestamp, RunId)>,
}

/// Refuses tables that do not belong in a commit, before anything is written.
pub(crate) fn check_small_tables(commit: &Commit) -> Result<(), StoreError> {
    for table in &commit.small_tables {
        let bytes = table.bytes.len() as u64;
        if bytes > SLAB_TABLE_BYTES_MAX {
            let what = format!("small table `{}`", table.hash);
            return Err(StoreError::TooLarge { what, bytes, limit: SLAB_TABLE_BYTES_MAX });
        }
    }
    Ok(())
}

/// Where facts are kept. One thread commits; any thread reads. Every call may block on disk, so
/// none is made on an async worker.
pub trait Store: Send + Sync + 'static {
    /// Makes a commit durable and numbers its events; returns the position of the last one.
    fn commit(&self, commit: &Commit) -> Result<Position, StoreError>;

    /// Events after `after`, at most `limit` of them.
    fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>, StoreError>;

    /// Writes records behind the journal. Not durable before the next checkpoint.
    fn put(&self, records: &[Record]) -> Result<(), StoreError>;

    /// Makes every record put so far durable and remembers that they contain every event up to
    /// `position`: the next start replays only what comes after.
    fn checkpoint(&self, position: Position) -> Result<(), StoreError>;

    /// What a scheduler starts from. Called once, before the first commit.
    fn recover(&self) -> Result<Recovered, StoreError>;

    /// Makes the text of a DAG version durable, before an event names the version.
    fn put_version(&self, version: &Version, source: &DagSource) -> Result<(), StoreError>;

    /// As [`Store::put_version`], for many with one sync.
    fn put_versions(&self, versions: &[(Version, DagSource)]) -> Result<(), StoreError> {
        versions.iter().try_for_each(|(version, source)| self.put_version(version, source))
    }

    /// The text of a DAG version.
    fn version(&self, version: &Version) -> Result<Option<DagSource>, StoreError>;

    /// A stored run. One that is finished comes without the items of its mapped tasks.
    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError>;

    /// Stored items of a mapped task from `first` on, in order, at most `limit` of them.
    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError>;

    /// Stored runs, newest first (by `created_at`, then id).
    fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError>;

    /// The bytes of a small table.
    fn small_table(&self, hash: &str) -> Result<Option<Bytes>, StoreError>;
}
