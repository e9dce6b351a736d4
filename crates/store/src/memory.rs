//! [`MemoryStore`]: the store of tests and of the simulation, with faults to inject and a picture
//! of what a power cut would leave.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidemill_model::run::StoredItem;
use tidemill_model::{DagId, Event, Position, RunId, TaskIx, Version};

use crate::record::RecordMap;
use crate::store::{
    Commit, DagSource, Record, Recovered, RunPage, RunQuery, Store, StoreError, StoredRunAt,
    check_small_tables,
};

/// What goes wrong at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: this one commit is refused, the next is taken.
    Full,
    /// The sync fails: this commit and every later one are refused. Whether its events are on disk
    /// nobody knows; [`MemoryStore::durable_copy`] draws it from its seed.
    Broken,
}

/// A store in memory. It keeps every event for ever.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    events: Vec<Event>,
    tables: HashMap<String, Bytes>,
    versions: HashMap<Version, DagSource>,
    records: RecordMap,
    /// The records as they were at the checkpoint, and what was put since.
    durable: RecordMap,
    since: Vec<Record>,
    checkpoint: Position,
    commits: u64,
    faults: BTreeMap<u64, Fault>,
    broken: bool,
    /// A commit whose sync failed.
    doubtful: Option<Commit>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets commit number `n` fail. The first commit of the store is number 1; refused ones count.
    pub fn fail_commit_at(&self, n: u64, fault: Fault) {
        self.lock().faults.insert(n, fault);
    }

    /// How many commits were asked for, refused ones included.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// The store as it is after a power cut at this moment: every acknowledged commit is there; of
    /// the records put since the checkpoint, each run and each DAG keeps a share from the front
    /// that is drawn from `seed`, possibly none; a commit whose sync failed is there or not. No
    /// fault is left.
    #[must_use]
    pub fn durable_copy(&self, seed: u64) -> Self {
        let state = self.lock();
        let mut copy = State {
            events: state.events.clone(),
            tables: state.tables.clone(),
            versions: state.versions.clone(),
            durable: state.durable.clone(),
            checkpoint: state.checkpoint,
            ..State::default()
        };
        let mut draw = Draw(seed);
        if let Some(commit) = state.doubtful.as_ref().filter(|_| draw.next().is_multiple_of(2)) {
            copy.events.extend(commit.events.iter().cloned());
            copy.tables.extend(tables_of(commit));
        }
        let mut shares: HashMap<Subject, Vec<&Record>> = HashMap::new();
        let mut order = Vec::new();
        for record in &state.since {
            let subject = Subject::of(record);
            let share = shares.entry(subject.clone()).or_default();
            if share.is_empty() {
                order.push(subject);
            }
            share.push(record);
        }
        for share in order.iter().filter_map(|subject| shares.get(subject)) {
            let kept = draw.next() as usize % (share.len() + 1);
            share[..kept].iter().for_each(|record| copy.durable.put(record));
        }
        copy.records.clone_from(&copy.durable);
        Self { state: Mutex::new(copy) }
    }
}

fn tables_of(commit: &Commit) -> impl Iterator<Item = (String, Bytes)> {
    commit.small_tables.iter().map(|table| (table.hash.clone(), table.bytes.clone()))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Run(RunId),
    Dag(DagId),
}

impl Subject {
    fn of(record: &Record) -> Self {
        match record {
            Record::Run { summary, .. } => Self::Run(summary.head.id.clone()),
            Record::Dag { id, .. } => Self::Dag(id.clone()),
        }
    }
}

/// `SplitMix64`: a few lines that give the same numbers everywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn here() -> PathBuf {
    PathBuf::from("memory")
}

impl Store for MemoryStore {
    fn commit(&self, commit: &Commit) -> Result<Position, StoreError> {
        let mut state = self.lock();
        state.commits += 1;
        let number = state.commits;
        if state.broken {
            return Err(StoreError::Broken {
                path: here(),
                error: "an earlier sync failed".into(),
            });
        }
        check_small_tables(commit)?;
        match state.faults.remove(&number) {
            Some(Fault::Full) => return Err(StoreError::Full { path: here() }),
            Some(Fault::Broken) => {
                state.broken = true;
                state.doubtful = Some(commit.clone());
                return Err(StoreError::Broken { path: here(), error: "the sync failed".into() });
            }
            None => {}
        }
        state.tables.extend(tables_of(commit));
        state.events.extend(commit.events.iter().cloned());
        Ok(Position(state.events.len() as u64))
    }

    fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>, StoreError> {
        let state = self.lock();
        let numbered = (1..).map(Position).zip(&state.events);
        Ok(numbered
            .skip(after.0 as usize)
            .take(limit)
            .map(|(position, event)| (position, event.clone()))
            .collect())
    }

    fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut state = self.lock();
        for record in records {
            state.records.put(record);
        }
        state.since.extend_from_slice(records);
        Ok(())
    }

    fn checkpoint(&self, position: Position) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.durable = state.records.clone();
        state.since.clear();
        state.checkpoint = state.checkpoint.max(position);
        Ok(())
    }

    fn recover(&self) -> Result<Recovered, StoreError> {
        let state = self.lock();
        let tail = (1..)
            .map(Position)
            .zip(state.events.iter().cloned())
            .skip(state.checkpoint.0 as usize)
            .collect();
        Ok(Recovered {
            dags: state.records.dags(),
            unfinished: state.records.unfinished(),
            tail,
            last: Position(state.events.len() as u64),
            notes: Vec::new(),
        })
    }

    fn put_version(&self, version: &Version, source: &DagSource) -> Result<(), StoreError> {
        self.lock().versions.insert(version.clone(), source.clone());
        Ok(())
    }

    fn version(&self, version: &Version) -> Result<Option<DagSource>, StoreError> {
        Ok(self.lock().versions.get(version).cloned())
    }

    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        Ok(self.lock().records.run(id))
    }

    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        Ok(self.lock().records.items(run, task, first, limit))
    }

    fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        Ok(self.lock().records.runs(query))
    }

    fn small_table(&self, hash: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().tables.get(hash).cloned())
    }
}
