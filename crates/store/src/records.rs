//! Records in sled: live and recent runs and the DAGs, by key.
//!
//! * [`tree`]: one sled tree, with values in small parts; [`guarded`]: calls into sled;
//! * [`values`]: how a value lies in it;
//! * [`keys`]: what lies where; [`items`]: items of mapped tasks.

mod guarded;
mod items;
mod keys;
mod tree;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemill_model::run::StoredItem;
use tidemill_model::{DagId, DagRecord, Position, RunId, RunState, TableRef, TaskIx, TaskRun};

use crate::disk;
use crate::record::{ListKey, RunRecord, page, task_count, wanted};
use crate::store::{Record, RunPage, RunQuery, RunSummary, StoreError, StoredDag, StoredRunAt};
pub(crate) use tree::{Tree, TreeOptions};

/// How records lie in the tree. Those of another format are made again from the journal.
pub(crate) const FORMAT: u32 = 2;

/// A run as its value says it.
#[derive(Debug, Serialize, Deserialize)]
struct RunValue {
    position: Position,
    summary: Box<RunSummary>,
}

/// A DAG as its value says it.
#[derive(Debug, Serialize, Deserialize)]
struct DagValue {
    position: Position,
    record: DagRecord,
}

/// Runs that are removed with one change.
const REMOVE_RUNS: usize = 64;

/// The records of a home.
#[derive(Debug)]
pub(crate) struct Records {
    tree: Tree,
    /// One change at a time: each reads what it is going to replace.
    writing: Mutex<()>,
}

/// Changes that are put together before they are applied as one.
struct Change<'a> {
    tree: &'a Tree,
    pending: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Change<'_> {
    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let bytes = match self.pending.get(key) {
            Some(pending) => pending.clone(),
            None => self.tree.get(key)?,
        };
        bytes.map(|bytes| read(self.tree.path(), key, &bytes)).transpose()
    }

    fn put(&mut self, key: Vec<u8>, value: &impl Serialize) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            disk::damaged(self.tree.path(), format!("a record cannot be written: {error}"))
        })?;
        self.pending.insert(key, Some(bytes));
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.pending.insert(key, None);
    }
}

fn read<T: DeserializeOwned>(path: &Path, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| {
        disk::damaged(path, format!("record `{}` cannot be read: {error}", key.escape_ascii()))
    })
}

impl Records {
    /// Opens or makes the records; an error is the reason in words.
    pub(crate) fn open(path: &Path, options: TreeOptions) -> Result<Self, String> {
        Tree::open(path, options).map(|tree| Self { tree, writing: Mutex::default() })
    }

    /// Whether nothing reaches them any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.tree.has_failed()
    }

    /// Reads everything; an error says that something is damaged or missing.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        self.tree.verify()
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.tree.bytes()
    }

    fn position(&self, key: &[u8]) -> Result<Position, StoreError> {
        let bytes = self.tree.get(key)?;
        Ok(bytes.map(|bytes| read(self.tree.path(), key, &bytes)).transpose()?.unwrap_or_default())
    }

    /// Every event up to here is contained, and outlasts a power cut.
    pub(crate) fn checkpoint(&self) -> Result<Position, StoreError> {
        self.position(keys::CHECKPOINT)
    }

    /// The newest event that any record contains.
    pub(crate) fn high(&self) -> Result<Position, StoreError> {
        self.position(keys::HIGH)
    }

    /// Marks new records once they hold what they start with.
    pub(crate) fn begin(&self) -> Result<(), StoreError> {
        self.begin_as(FORMAT)
    }

    fn begin_as(&self, format: u32) -> Result<(), StoreError> {
        let mut change = self.change();
        change.put(keys::FORMAT.to_vec(), &format)?;
        self.tree.apply(&change.pending)?;
        self.tree.flush()
    }

    /// The format that they were marked with. sled takes some kinds of garbage for an empty database,
    /// which has none.
    pub(crate) fn format(&self) -> Result<Option<u32>, StoreError> {
        let bytes = self.tree.get(keys::FORMAT)?;
        bytes.map(|bytes| read(self.tree.path(), keys::FORMAT, &bytes)).transpose()
    }

    /// Moves the checkpoint on and syncs.
    pub(crate) fn set_checkpoint(&self, position: Position) -> Result<(), StoreError> {
        let _writing = self.writing();
        let position = position.max(self.checkpoint()?);
        let mut change = self.change();
        change.put(keys::CHECKPOINT.to_vec(), &position)?;
        self.tree.apply(&change.pending)?;
        self.tree.flush()
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Change<'_> {
        Change { tree: &self.tree, pending: HashMap::new() }
    }

    /// Takes in records, all of them or none. An older one does not go over a newer one.
    pub(crate) fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        let _writing = self.writing();
        let mut change = self.change();
        let mut high = self.high()?;
        for record in records {
            match record {
                Record::Run { position, summary, tasks, items } => {
                    high = high.max(*position);
                    put_run(&mut change, *position, summary, tasks, items)?;
                }
                Record::Dag { position, id, record } => {
                    high = high.max(*position);
                    let key = keys::dag(id);
                    let old: Option<DagValue> = change.get(&key)?;
                    if old.is_none_or(|old| old.position <= *position) {
                        change
                            .put(key, &DagValue { position: *position, record: record.clone() })?;
                    }
                }
            }
        }
        change.put(keys::HIGH.to_vec(), &high)?;
        self.tree.apply(&change.pending)
    }

    /// A run; one that is not finished with the items of its mapped tasks.
    pub(crate) fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        let Some(run) = self.whole(id)? else { return Ok(None) };
        let mut stored = run.stored();
        if !stored.run.head.state.is_final() {
            let all = &mut stored.run.items;
            self.items_in_parts(id, 4_096, &mut |items| {
                all.extend(items);
                Ok(())
            })?;
        }
        Ok(Some(stored))
    }

    /// Every table that a run's records name.
    pub(crate) fn visit_tables(
        &self,
        id: &RunId,
        visit: &mut dyn FnMut(&TableRef),
    ) -> Result<(), StoreError> {
        let Some(run) = self.whole(id)? else { return Ok(()) };
        let mut of_task = |task: &TaskRun| {
            task.result.iter().flat_map(|result| &result.tables).for_each(&mut *visit);
        };
        run.tasks.iter().for_each(&mut of_task);
        self.items_in_parts(id, 1_000, &mut |items| {
            items.iter().flat_map(|item| &item.runs).for_each(&mut of_task);
            Ok(())
        })
    }

    /// A run with its counts.
    pub(crate) fn whole(&self, id: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.tree.steady(|tree| {
            let key = keys::run(id);
            let Some(bytes) = tree.get(&key)? else { return Ok(None) };
            let RunValue { position, summary } = read(self.tree.path(), &key, &bytes)?;
            let count = task_count(&summary);
            let mut tasks: Vec<TaskRun> = Vec::with_capacity(count);
            for chunk in 0..count.div_ceil(keys::CHUNK) {
                let key = keys::chunk(id, chunk);
                if let Some(bytes) = tree.get(&key)? {
                    tasks.extend(read::<Vec<TaskRun>>(self.tree.path(), &key, &bytes)?);
                }
                tasks.resize_with(count.min((chunk + 1) * keys::CHUNK), TaskRun::default);
            }
            Ok(Some(RunRecord { position, summary, tasks, items: BTreeMap::new() }))
        })
    }

    fn head(&self, id: &RunId) -> Result<Option<RunValue>, StoreError> {
        let key = keys::run(id);
        let bytes = self.tree.get(&key)?;
        bytes.map(|bytes| read(self.tree.path(), &key, &bytes)).transpose()
    }

    /// A run without its tasks.
    pub(crate) fn summary(&self, id: &RunId) -> Result<Option<RunSummary>, StoreError> {
        Ok(self.head(id)?.map(|run| *run.summary))
    }

    fn ids(&self, prefix: &[u8]) -> Result<Vec<RunId>, StoreError> {
        let mut ids = Vec::new();
        self.tree.scan(prefix, Bound::Unbounded, false, &mut |key, _| {
            ids.extend(keys::run_of(key));
            ControlFlow::Continue(())
        })?;
        Ok(ids)
    }

    /// Every run, in the order of ids. Each is read by itself, so the records may grow meanwhile.
    pub(crate) fn all(&self) -> Result<Vec<RunId>, StoreError> {
        self.ids(keys::RUNS)
    }

    /// Every run that is stored in a state that is not final.
    pub(crate) fn unfinished(&self) -> Result<Vec<StoredRunAt>, StoreError> {
        let mut runs = Vec::new();
        for id in self.ids(keys::UNFINISHED)? {
            runs.extend(self.run(&id)?);
        }
        Ok(runs)
    }

    /// A DAG.
    pub(crate) fn dag(&self, id: &DagId) -> Result<Option<StoredDag>, StoreError> {
        let key = keys::dag(id);
        let Some(bytes) = self.tree.get(&key)? else { return Ok(None) };
        let DagValue { position, record } = read(self.tree.path(), &key, &bytes)?;
        Ok(Some(StoredDag { position, id: id.clone(), record }))
    }

    /// Every DAG.
    pub(crate) fn dags(&self) -> Result<Vec<StoredDag>, StoreError> {
        let mut found = Vec::new();
        self.tree.scan(keys::DAGS, Bound::Unbounded, false, &mut |key, bytes| {
            found.push((key.to_vec(), bytes));
            ControlFlow::Continue(())
        })?;
        let path = self.tree.path();
        (found.iter())
            .map(|(key, bytes)| {
                let id = std::str::from_utf8(&key[1..]).ok().and_then(|id| id.parse().ok());
                let id = id.ok_or_else(|| disk::damaged(path, "a DAG has no name"))?;
                let DagValue { position, record } = read(path, key, bytes)?;
                Ok(StoredDag { position, id, record })
            })
            .collect()
    }

    /// Runs, newest first.
    pub(crate) fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let live_only = !query.states.is_empty() && query.states.iter().all(|s| !s.is_final());
        if live_only { self.live_runs(query) } else { self.listed_runs(query) }
    }

    /// Few runs are unfinished, however many there are.
    fn live_runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let mut runs = Vec::new();
        for id in self.ids(keys::UNFINISHED)? {
            runs.extend(self.head(&id)?.map(|run| *run.summary).filter(|run| {
                let key = (run.head.created_at, run.head.id.clone());
                wanted(query, &id, run.head.state)
                    && query.after.as_ref().is_none_or(|after| key < *after)
            }));
        }
        runs.sort_by(|a, b| (b.head.created_at, &b.head.id).cmp(&(a.head.created_at, &a.head.id)));
        Ok(page(runs, query.limit))
    }

    /// Walks a list backwards. The lists hold the states, so that a filter reads no run.
    fn listed_runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let prefix = query.dag.as_ref().map_or_else(|| keys::ALL.to_vec(), keys::of_dag);
        let after = query.after.as_ref().map(|(at, id)| match &query.dag {
            Some(dag) if *dag == id.dag => keys::in_dag(*at, id),
            // Not a key of this list; ids of equal instants sort by DAG first.
            Some(dag) => {
                let number = if id.dag > *dag { u64::MAX } else { 0 };
                keys::in_dag(*at, &RunId { dag: dag.clone(), number })
            }
            None => keys::in_all(*at, id),
        });
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut ids = Vec::new();
        self.tree.scan(&prefix, from, true, &mut |key, state| {
            let state = state.first().and_then(|byte| RunState::ALL.get(usize::from(*byte)));
            if let (Some(id), Some(state)) = (keys::listed(key), state)
                && wanted(query, &id, *state)
            {
                ids.push(id);
            }
            if ids.len() > query.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            runs.extend(self.head(&id)?.map(|run| *run.summary));
        }
        Ok(page(runs, query.limit))
    }

    /// How many runs are stored.
    pub(crate) fn count(&self) -> Result<usize, StoreError> {
        self.tree.count(keys::ALL)
    }

    /// Finished runs beyond the newest `keep` runs, oldest first, at most `limit` of them, with when
    /// they were created.
    pub(crate) fn oldest(&self, keep: usize, limit: usize) -> Result<Vec<ListKey>, StoreError> {
        let beyond = self.count()?.saturating_sub(keep);
        let (mut old, mut seen) = (Vec::new(), 0);
        self.tree.scan(keys::ALL, Bound::Unbounded, false, &mut |key, state| {
            if seen >= beyond || old.len() >= limit {
                return ControlFlow::Break(());
            }
            seen += 1;
            let state = state.first().and_then(|byte| RunState::ALL.get(usize::from(*byte)));
            if state.is_some_and(|state| state.is_final()) {
                old.extend(keys::created_of(key).zip(keys::listed(key)));
            }
            ControlFlow::Continue(())
        })?;
        Ok(old)
    }

    /// Whether a run is here.
    pub(crate) fn holds(&self, id: &RunId) -> Result<bool, StoreError> {
        Ok(self.tree.get(&keys::run(id))?.is_some())
    }

    /// Removes finished runs whose records end with these events still, and says which went. One
    /// that reaches beyond the checkpoint stays: its end is not flushed yet.
    pub(crate) fn remove(&self, runs: &[(RunId, Position)]) -> Result<Vec<RunId>, StoreError> {
        let upto = self.checkpoint()?;
        let mut gone = Vec::new();
        // Few at a time: the projector waits meanwhile.
        for runs in runs.chunks(REMOVE_RUNS) {
            let _writing = self.writing();
            let mut change = self.change();
            for (id, position) in runs {
                let is_that = |run: &RunValue| {
                    run.position == *position
                        && *position <= upto
                        && run.summary.head.state.is_final()
                };
                let Some(run) = self.head(id)?.filter(is_that) else { continue };
                for chunk in 0..task_count(&run.summary).div_ceil(keys::CHUNK) {
                    change.remove(keys::chunk(id, chunk));
                }
                self.tree.scan(&keys::items(id), Bound::Unbounded, false, &mut |key, _| {
                    change.remove(key.to_vec());
                    ControlFlow::Continue(())
                })?;
                let created = run.summary.head.created_at;
                change.remove(keys::in_all(created, id));
                change.remove(keys::in_dag(created, id));
                change.remove(keys::unfinished(id));
                change.remove(keys::run(id));
                gone.push(id.clone());
            }
            self.tree.apply(&change.pending)?;
        }
        Ok(gone)
    }
}

fn put_run(
    change: &mut Change<'_>,
    position: Position,
    summary: &RunSummary,
    tasks: &[(TaskIx, TaskRun)],
    items: &[StoredItem],
) -> Result<(), StoreError> {
    let id = &summary.head.id;
    let key = keys::run(id);
    let old: Option<RunValue> = change.get(&key)?;
    if old.as_ref().is_some_and(|old| old.position > position) {
        return Ok(());
    }
    let mut chunks: HashMap<usize, Vec<TaskRun>> = HashMap::new();
    for (ix, task) in tasks {
        let number = ix.at() / keys::CHUNK;
        let chunk = match chunks.entry(number) {
            std::collections::hash_map::Entry::Occupied(chunk) => chunk.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(change.get(&keys::chunk(id, number))?.unwrap_or_default())
            }
        };
        let place = ix.at() % keys::CHUNK;
        if chunk.len() <= place {
            chunk.resize_with(place + 1, TaskRun::default);
        }
        chunk[place].clone_from(task);
    }
    for (number, chunk) in chunks {
        change.put(keys::chunk(id, number), &chunk)?;
    }
    items::put(change, id, items)?;
    let (old_count, count) =
        (old.as_ref().map_or(0, |old| task_count(&old.summary)), task_count(summary));
    for stale in count.div_ceil(keys::CHUNK)..old_count.div_ceil(keys::CHUNK) {
        change.remove(keys::chunk(id, stale));
    }
    let state = summary.head.state;
    if old.as_ref().is_none_or(|old| old.summary.head.state != state) {
        let created = summary.head.created_at;
        let byte = vec![RunState::ALL.iter().position(|s| *s == state).unwrap_or(0) as u8];
        change.pending.insert(keys::in_all(created, id), Some(byte.clone()));
        change.pending.insert(keys::in_dag(created, id), Some(byte));
        if state.is_final() {
            change.remove(keys::unfinished(id));
        } else {
            change.pending.insert(keys::unfinished(id), Some(Vec::new()));
        }
    }
    change.put(key, &RunValue { position, summary: Box::new(summary.clone()) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::conformance::{Script, chain};
    use tidemill_model::{AttemptOutcome, FailureKind, TaskError, TaskResult, Timestamp};

    fn open_records(dir: &Path) -> Records {
        let options = TreeOptions { cache_bytes: 8 << 20, deadline: Duration::from_secs(10) };
        Records::open(dir, options).expect("open")
    }

    /// A task as large as the limits of the model let it become.
    fn large_task(seed: usize) -> TaskRun {
        // Noise, so that compression does not help.
        let noise = |len: usize, salt: usize| -> String {
            (0..len)
                .map(|i| {
                    let sum = crc32c::crc32c(&[seed, salt, i].map(usize::to_le_bytes).concat());
                    char::from(b' ' + (sum % 90) as u8)
                })
                .collect()
        };
        let table = |i: usize| TableRef {
            name: format!("task{seed}.output{i}"),
            hash: noise(32, i),
            rows: i as u64,
            bytes: 123_456,
            schema: noise(16, i + 100),
        };
        let error = TaskError::new(FailureKind::Data, noise(2_000, 1))
            .at(Some(noise(2_000, 2)))
            .help(Some(noise(2_000, 3)));
        let attempt = |attempt| tidemill_model::run::AttemptRecord {
            attempt,
            generation: 1,
            started_at: Timestamp::MIN,
            finished_at: Timestamp::MAX,
            outcome: AttemptOutcome::Failed,
            error: Some(noise(160, attempt as usize)),
        };
        TaskRun {
            error: Some(Box::new(error)),
            result: Some(Box::new(TaskResult {
                tables: (0..60).map(table).collect(),
                warnings: (0..20).map(|i| noise(200, i)).collect(),
                ..TaskResult::default()
            })),
            history: (1..=12).map(attempt).collect(),
            ..TaskRun::default()
        }
    }

    #[test]
    fn a_run_with_large_results_stays_in_small_values() {
        let dir = tempfile::tempdir().expect("dir");
        let records = open_records(dir.path());
        let script = Script::begin(&chain("large", 20), 1, 10).start();
        let tasks: Vec<TaskRun> = (0..20).map(large_task).collect();
        let Record::Run { position, summary, .. } = script.record(Position(2)) else {
            unreachable!("a script is a run")
        };
        let numbered = (0..).map(TaskIx).zip(tasks.iter().cloned()).collect();
        let items = Vec::new();
        records.put(&[Record::Run { position, summary, tasks: numbered, items }]).expect("put");
        let back = records.run(&script.run.head.id).expect("run").expect("stored");
        assert_eq!(back.run.tasks, tasks);
        let largest = records.tree.largest_value();
        assert!(largest <= 4_096 && largest > 3_900, "{largest} bytes");
        // A smaller record gives the parts back.
        records.put(&[script.record(Position(3))]).expect("put");
        assert!(records.tree.largest_value() < 3_900);
        drop(records);
        assert!(std::fs::read_dir(dir.path().join("blobs")).expect("blobs").next().is_none());
    }

    #[test]
    fn records_of_another_format_are_made_again() {
        use crate::conformance::resolver;
        use crate::{Home, SledOptions, SledStore, Store};
        let dir = tempfile::tempdir().expect("dir");
        let home = Home::open(dir.path().join("home")).expect("home");
        let open = || SledStore::open(&home, resolver(), SledOptions::default()).expect("open");
        let dag = chain("older", 3);
        let script = Script::begin(&dag, 1, 10).start().finish();
        let (store, _) = open();
        store.put_version(&dag.version, &crate::conformance::source_of(&dag)).expect("version");
        store.commit(&script.commit()).expect("commit");
        drop(store);
        let state = open_records(&home.layout().state());
        state.begin_as(FORMAT - 1).expect("mark");
        drop(state);
        let (store, notes) = open();
        let why = format!("they have format {}, and this release keeps format", FORMAT - 1);
        assert!(notes.iter().any(|note| note.contains(&why)), "{notes:?}");
        let run = store.run(&script.run.head.id).expect("run").expect("stored");
        assert_eq!(run.run.tasks, script.run.tasks());
    }

    #[test]
    fn old_finished_runs_are_removed_once_they_are_flushed() {
        let dir = tempfile::tempdir().expect("dir");
        let records = open_records(dir.path());
        let dag = chain("old", 9);
        for number in 1..=10 {
            let script = Script::begin(&dag, number, number as i64);
            let script = if number == 2 { script.start() } else { script.start().finish() };
            records.put(&[script.record(Position(number))]).expect("put");
        }
        records.set_checkpoint(Position(8)).expect("checkpoint");
        let id = |number| RunId { dag: dag.id.clone(), number };
        let numbers = |ids: Vec<RunId>| ids.into_iter().map(|id| id.number).collect::<Vec<_>>();
        let oldest = |keep, limit| -> Vec<(i64, u64)> {
            let old = records.oldest(keep, limit).expect("oldest");
            old.into_iter().map(|(at, id)| (at.as_micros(), id.number)).collect()
        };
        assert_eq!(oldest(4, 99), [(1, 1), (3, 3), (4, 4), (5, 5), (6, 6)]);
        assert_eq!(oldest(0, 3), [(1, 1), (3, 3), (4, 4)]);
        let all: Vec<_> = (1..=10).map(|n| (id(n), Position(if n == 4 { 3 } else { n }))).collect();
        let gone = numbers(records.remove(&all).expect("remove"));
        assert_eq!(gone, [1, 3, 5, 6, 7, 8], "4 went on, and what is not flushed stays");
        let query = RunQuery { limit: 10, ..RunQuery::default() };
        let left = records.runs(&query).expect("runs").runs;
        let left: Vec<u64> = left.iter().map(|run| run.head.id.number).collect();
        assert_eq!(left, [10, 9, 4, 2]);
        assert!(
            records.run(&id(3)).expect("run").is_none() && !records.holds(&id(3)).expect("holds")
        );
    }

    #[test]
    fn records_outlast_a_checkpoint() {
        let dir = tempfile::tempdir().expect("dir");
        let records = open_records(dir.path());
        let script = Script::begin(&chain("flushed", 3), 1, 10).start().finish();
        records.put(&[script.record(Position(9))]).expect("put");
        records.set_checkpoint(Position(9)).expect("checkpoint");
        records.set_checkpoint(Position(4)).expect("checkpoint");
        drop(records);
        let records = open_records(dir.path());
        assert_eq!(records.checkpoint().expect("checkpoint"), Position(9));
        assert_eq!(records.high().expect("high"), Position(9));
        let back = records.run(&script.run.head.id).expect("run").expect("stored");
        assert_eq!(back.run.tasks, script.run.tasks());
    }
}
