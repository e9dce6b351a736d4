//! A home with runs, what it must hold, and a disk that ends the process when it is told to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidemill_history::files::{Files, OutFile, RealFiles};
use tidemill_history::{History, Retained, Retention, Settings};
use tidemill_model::{
    Dag, DagId, DagRecord, Position, RunEvent, RunId, RunState, TaskIx, TaskState, Timestamp,
};
use tidemill_store::conformance::{Script, chain, resolver, source_of};
use tidemill_store::{Archive, Home, Record, RunQuery, SledOptions, SledStore, Store, StoreError};

/// Small figures, so that a test meets every boundary.
pub(crate) const SETTINGS: Settings = Settings { recent_runs: 4, fold_runs: 3, segment_runs: 24 };

/// A disk that goes away after so many calls. What was not synced by then is gone or torn.
#[derive(Debug, Default)]
pub(crate) struct MortalFiles(Arc<Mortal>);

#[derive(Debug, Default)]
struct Mortal {
    /// Calls that are left; 0 is for ever.
    left: AtomicU64,
    dead: AtomicU64,
    unsynced: Mutex<BTreeMap<PathBuf, u64>>,
}

impl MortalFiles {
    pub(crate) fn dying_at(call: u64) -> Arc<Self> {
        let files = Self::default();
        files.0.left.store(call, Ordering::Relaxed);
        Arc::new(files)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed) > 0
    }
}

impl Mortal {
    fn step(&self) -> io::Result<()> {
        if self.dead.load(Ordering::Relaxed) > 0 {
            return Err(io::Error::other("the process has ended"));
        }
        if self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.dead.store(1, Ordering::Relaxed);
            // A power cut takes what was not synced: half of it here.
            for (path, len) in &*self.unsynced.lock().unwrap() {
                if let Ok(file) = File::options().write(true).open(path) {
                    file.set_len(len / 2).unwrap();
                }
            }
            return Err(io::Error::other("the process has ended"));
        }
        Ok(())
    }
}

struct MortalFile {
    file: Box<dyn OutFile>,
    path: PathBuf,
    written: u64,
    disk: Arc<Mortal>,
}

impl Write for MortalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        self.disk.unsynced.lock().unwrap().insert(self.path.clone(), self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl OutFile for MortalFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step()?;
        self.file.sync()?;
        self.disk.unsynced.lock().unwrap().remove(&self.path);
        Ok(())
    }
}

impl Files for MortalFiles {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        RealFiles.make_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        self.0.step()?;
        let (file, path) = (RealFiles.create(path)?, path.to_owned());
        Ok(Box::new(MortalFile { file, path, written: 0, disk: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        RealFiles.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step()?;
        RealFiles.sync_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if let Err(ended) = self.0.step() {
            // It ended in the middle: one file is gone.
            let first = std::fs::read_dir(path).ok().and_then(|mut dir| dir.next()?.ok());
            first.map_or(Ok(()), |file| std::fs::remove_file(file.path())).unwrap();
            return Err(ended);
        }
        RealFiles.remove_dir(path)
    }
}

/// A home at work.
pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) history: Arc<History>,
    pub(crate) store: Arc<SledStore>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn options() -> SledOptions {
    SledOptions { cache_bytes: 8 << 20, ..SledOptions::default() }
}

impl World {
    pub(crate) fn open(path: &Path) -> Self {
        Self::open_on(path, Arc::new(RealFiles), SETTINGS)
    }

    pub(crate) fn open_on(path: &Path, files: Arc<dyn Files>, settings: Settings) -> Self {
        let home = Home::open(path).unwrap();
        let (history, notes) = History::open(&home.history(), files, settings, false).unwrap();
        let archive = Some(Arc::clone(&history) as Arc<dyn Archive>);
        let options = SledOptions { archive, ..options() };
        let (store, more) = SledStore::open(&home, resolver(), options).unwrap();
        assert_eq!(more, Vec::<String>::new());
        Self { home, history, store: Arc::new(store), notes }
    }

    pub(crate) fn fold(&self) -> Result<u64, StoreError> {
        self.history.fold(&self.store, None, &|| true).map(|folded| folded.runs)
    }

    /// Drops what is old; the runs that were told of besides.
    pub(crate) fn retain(
        &self,
        retention: &Retention,
        now: i64,
    ) -> Result<(Retained, Vec<RunId>), StoreError> {
        let mut gone = Vec::new();
        let mut tell = |id: &RunId| {
            gone.push(id.clone());
            true
        };
        let now = Timestamp::from_micros(now);
        let done = self.history.retain(&self.store, retention, now, &mut tell, &|| true)?;
        Ok((done, gone))
    }
}

/// Runs as they must be, by id.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) runs: BTreeMap<RunId, Script>,
    dags: BTreeMap<DagId, (Arc<Dag>, DagRecord)>,
    clock: i64,
}

pub(crate) fn id(text: &str) -> RunId {
    text.parse().unwrap()
}

impl Model {
    /// A DAG of so many tasks.
    pub(crate) fn with(store: &SledStore, dags: &[(&str, usize)]) -> Self {
        let mut model = Self::default();
        for (name, tasks) in dags {
            model.add(store, chain(name, *tasks));
        }
        model
    }

    pub(crate) fn add(&mut self, store: &SledStore, dag: Arc<Dag>) {
        store.put_version(&dag.version, &source_of(&dag)).unwrap();
        self.dags.insert(dag.id.clone(), (dag, DagRecord::default()));
    }

    /// Commits events of a run after the first `skip`, with the records that follow them.
    fn keep(&mut self, store: &SledStore, script: Script, skip: usize) {
        let position = store.commit(&script.commit_from(skip)).unwrap();
        self.put(store, &script, script.record(position), position);
        self.runs.insert(script.run.head.id.clone(), script);
    }

    fn put(&mut self, store: &SledStore, script: &Script, record: Record, position: Position) {
        let id = &script.run.head.id;
        let (_, of_dag) = self.dags.get_mut(&id.dag).unwrap();
        of_dag.created(id.number);
        let dag = Record::Dag { position, id: id.dag.clone(), record: of_dag.clone() };
        store.put(&[dag, record]).unwrap();
        store.checkpoint(position).unwrap();
    }

    /// A run of a DAG that is brought to its end by `end`.
    pub(crate) fn run(
        &mut self,
        store: &SledStore,
        dag: &str,
        end: impl FnOnce(Script) -> Script,
    ) -> RunId {
        let (dag, record) = &self.dags[&dag.parse::<DagId>().unwrap()];
        let number = record.last_run + 1;
        self.clock += 100;
        let script = end(Script::begin(dag, number, self.clock).start());
        let id = script.run.head.id.clone();
        self.keep(store, script, 0);
        id
    }

    pub(crate) fn succeed(&mut self, store: &SledStore, dag: &str) -> RunId {
        self.run(store, dag, Script::finish)
    }

    pub(crate) fn fail(&mut self, store: &SledStore, dag: &str) -> RunId {
        self.run(store, dag, fail)
    }

    /// Commits more of a run.
    pub(crate) fn go_on(
        &mut self,
        store: &SledStore,
        id: &RunId,
        what: impl FnOnce(Script) -> Script,
    ) {
        let script = self.runs.remove(id).unwrap();
        let skip = script.events.len();
        self.keep(store, what(script), skip);
    }

    /// As a crash before the projector leaves it: the events are there, and no record.
    pub(crate) fn go_on_in_journal(
        &mut self,
        store: &SledStore,
        id: &RunId,
        what: impl FnOnce(Script) -> Script,
    ) {
        let script = self.runs.remove(id).unwrap();
        let skip = script.events.len();
        let script = what(script);
        store.commit(&script.commit_from(skip)).unwrap();
        self.runs.insert(id.clone(), script);
    }

    /// As [`Model::go_on`], with a record that holds none of the items: they stay where they were.
    pub(crate) fn go_on_without_items(
        &mut self,
        store: &SledStore,
        id: &RunId,
        what: impl FnOnce(Script) -> Script,
    ) {
        let script = self.runs.remove(id).unwrap();
        let skip = script.events.len();
        let script = what(script);
        let position = store.commit(&script.commit_from(skip)).unwrap();
        let mut record = script.record(position);
        if let Record::Run { items, .. } = &mut record {
            items.clear();
        }
        self.put(store, &script, record, position);
        self.runs.insert(id.clone(), script);
    }

    /// Whether every run is found exactly once, in every list, and is what it was.
    pub(crate) fn check(&self, store: &SledStore) {
        self.check_runs(store);
        let dags: Vec<Option<DagId>> =
            std::iter::once(None).chain(self.dags.keys().cloned().map(Some)).collect();
        let states = [vec![], vec![RunState::Failed], vec![RunState::Succeeded, RunState::Running]];
        for dag in &dags {
            for states in &states {
                for limit in [1, 3, 50] {
                    self.check_list(store, dag.as_ref(), states, limit);
                }
            }
        }
    }

    pub(crate) fn check_runs(&self, store: &SledStore) {
        for (id, script) in &self.runs {
            let stored = store.run(id).unwrap().unwrap_or_else(|| panic!("run {id} is gone"));
            assert_eq!(stored.run.head, script.run.head, "{id}");
            assert_eq!(stored.run.tasks, script.run.tasks(), "{id}");
        }
    }

    fn check_list(
        &self,
        store: &SledStore,
        dag: Option<&DagId>,
        states: &[RunState],
        limit: usize,
    ) {
        let mut wanted: Vec<_> = (self.runs.iter())
            .filter(|(id, _)| dag.is_none_or(|dag| id.dag == *dag))
            .map(|(id, script)| (script.run.head.created_at, id.clone(), script))
            .filter(|(_, _, s)| states.is_empty() || states.contains(&s.run.head.state))
            .collect();
        wanted.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        let mut query = RunQuery { dag: dag.cloned(), states: states.to_vec(), after: None, limit };
        let mut found = Vec::new();
        loop {
            let page = store.runs(&query).unwrap();
            assert!(page.runs.len() <= limit);
            found.extend(page.runs);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let ids = |runs: &[_]| -> Vec<RunId> {
            runs.iter().map(|run: &tidemill_store::RunSummary| run.head.id.clone()).collect()
        };
        let names: Vec<RunId> = wanted.iter().map(|(_, id, _)| id.clone()).collect();
        assert_eq!(ids(&found), names, "of {dag:?} in {states:?}, {limit} at a time");
        for (run, (_, _, script)) in found.iter().zip(&wanted) {
            assert_eq!(run.head, script.run.head);
        }
    }
}

/// Ends a run as failed.
pub(crate) fn fail(mut script: Script) -> Script {
    let count = script.run.tasks().len() as u32;
    for task in 0..count {
        script = script.succeed(task, u64::from(task));
    }
    let at = script.run.head.created_at.plus(std::time::Duration::from_micros(50));
    apply(&mut script, RunEvent::Finished { state: RunState::Failed, at });
    script
}

/// Ends a run that goes again as failed.
pub(crate) fn fail_again(mut script: Script) -> Script {
    for task in 0..script.run.tasks().len() as u32 {
        if script.run.task(TaskIx(task)).state == TaskState::Pending {
            script = script.succeed(task, 0);
        }
    }
    let at = script.run.head.created_at.plus(std::time::Duration::from_micros(70));
    apply(&mut script, RunEvent::Finished { state: RunState::Failed, at });
    script
}

/// Lets a finished run go again, with some of its tasks, without ending it.
pub(crate) fn reopen(tasks: &[u32]) -> impl FnOnce(Script) -> Script {
    let tasks: Vec<TaskIx> = tasks.iter().copied().map(TaskIx).collect();
    move |mut script| {
        let version = script.run.head.version.clone();
        let at = script.run.head.created_at.plus(std::time::Duration::from_micros(60));
        let who = "test".to_owned();
        apply(&mut script, RunEvent::Reopened { tasks, version, who, at });
        script.start()
    }
}

pub(crate) fn apply(script: &mut Script, event: RunEvent) {
    script.run.apply(&event).unwrap();
    script.events.push(event);
}
