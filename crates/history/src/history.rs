//! [`History`]: the segments of a home.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::{RunId, TaskIx, Timestamp};
use tidemill_store::archive::Held;
use tidemill_store::{Archive, RunQuery, RunSummary, StoreError, StoredRunAt};

use crate::files::{Files, failed};
use crate::manifest::{Manifest, SegmentInfo, path_in, segment_in, segments_in};
use crate::segment::{Index, Segment};

/// How a history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Newest runs that stay in the records.
    pub recent_runs: usize,
    /// Runs are folded when at least so many are beyond those.
    pub fold_runs: usize,
    /// Small segments are put together up to about so many runs.
    pub segment_runs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { recent_runs: 50_000, fold_runs: 5_000, segment_runs: 50_000 }
    }
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Segments.
    pub segments: u64,
    /// Runs in them.
    pub runs: u64,
    /// Tasks of those.
    pub tasks: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Indexes that are held in memory, about 1 MiB each.
const INDEXES_MAX: usize = 12;

/// The segments of a home. Any thread reads; one at a time folds, drops or copies.
#[derive(Debug)]
pub struct History {
    pub(crate) root: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) settings: Settings,
    state: RwLock<Arc<State>>,
    upkeep: Mutex<()>,
    indexes: Mutex<VecDeque<(String, Arc<Index>)>>,
    told: Mutex<HashSet<String>>,
}

/// What is listed at a moment.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) manifest: Manifest,
    /// In the order of the manifest.
    pub(crate) segments: Vec<Arc<Segment>>,
}

impl State {
    /// Segments with what the manifest says of them, oldest first.
    pub(crate) fn listed(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&SegmentInfo, &Arc<Segment>)> + ExactSizeIterator {
        self.manifest.segments.iter().zip(&self.segments)
    }
}

impl History {
    /// Opens the history in a folder, or begins one. The notes say what the operator should know.
    /// With `look`, nothing on disk is changed.
    pub fn open(
        root: &Path,
        files: Arc<dyn Files>,
        settings: Settings,
        look: bool,
    ) -> Result<(Arc<Self>, Vec<String>), StoreError> {
        let mut notes = Vec::new();
        let read = match Manifest::read(root) {
            Ok(read) => read,
            Err(error) => {
                let what = "the list of history segments was made again from what lies there";
                notes.push(format!("{error}; {what}"));
                None
            }
        };
        let was_read = read.is_some();
        let manifest = read.unwrap_or_else(|| Manifest::from_segments(root));
        let state = RwLock::new(Arc::new(opened(root, manifest.clone(), None)));
        let history = Self {
            root: root.to_owned(),
            files,
            settings,
            state,
            upkeep: Mutex::default(),
            indexes: Mutex::default(),
            told: Mutex::default(),
        };
        if !look {
            history.settle(was_read, &manifest)?;
        }
        notes.extend(history.lacking());
        Ok((Arc::new(history), notes))
    }

    /// Puts the folder in order after whatever ended the process before.
    fn settle(&self, was_read: bool, manifest: &Manifest) -> Result<(), StoreError> {
        let (root, files) = (&self.root, &*self.files);
        let segments = segments_in(root);
        if !segments.exists() {
            files.make_dir(&segments).map_err(|error| failed(&segments, &error))?;
        }
        if was_read {
            self.remove_unlisted(manifest);
            return Ok(());
        }
        let damaged = path_in(root);
        if damaged.exists() {
            let aside = damaged.with_extension(format!("json.damaged-{}", manifest.next));
            files.rename(&damaged, &aside).map_err(|error| failed(&damaged, &error))?;
        }
        manifest.write(files, root)
    }

    /// Removes folders that are not listed: a fold that was not finished, or what was put together.
    fn remove_unlisted(&self, manifest: &Manifest) {
        let listed: BTreeSet<&str> =
            manifest.segments.iter().map(|info| info.name.as_str()).collect();
        for entry in std::fs::read_dir(segments_in(&self.root)).into_iter().flatten().flatten() {
            if !listed.contains(entry.file_name().to_string_lossy().as_ref())
                && let Err(error) = self.files.remove_dir(&entry.path())
            {
                tracing::warn!(%error, path = %entry.path().display(), "cannot be removed");
            }
        }
    }

    /// Files that are listed and not there, by name.
    fn lacking(&self) -> Vec<String> {
        let state = self.state();
        let mut notes = Vec::new();
        for (info, _) in state.listed() {
            for file in &info.files {
                let path = segment_in(&self.root, &info.name).join(&file.name);
                if std::fs::metadata(&path).map_or(true, |meta| meta.len() != file.bytes) {
                    notes.push(format!(
                        "`{}` is missing or damaged, so {} of {} to {} may not be shown; run \
                         `tidemill doctor`",
                        path.display(),
                        tidemill_model::words::counted(info.runs, "run"),
                        info.first,
                        info.last
                    ));
                }
            }
        }
        notes
    }

    /// What is listed now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One at a time changes what is listed.
    pub(crate) fn upkeep(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a changed manifest durable, shows it, and removes what it does not list any more.
    /// The caller holds [`History::upkeep`].
    pub(crate) fn publish(&self, mut manifest: Manifest) -> Result<(), StoreError> {
        manifest.segments.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        manifest.write(&*self.files, &self.root)?;
        let before = self.state();
        let state = Arc::new(opened(&self.root, manifest, Some(&before)));
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&state);
        for info in &before.manifest.segments {
            if !state.manifest.segments.iter().any(|now| now.name == info.name) {
                let dir = segment_in(&self.root, &info.name);
                if let Err(error) = self.files.remove_dir(&dir) {
                    // The next start removes it: it is not listed any more.
                    tracing::warn!(%error, path = %dir.display(), "cannot be removed");
                }
            }
        }
        Ok(())
    }

    /// The name of the next segment, and a manifest that has given it.
    pub(crate) fn next_name(manifest: &mut Manifest) -> String {
        let name = format!("{:08}", manifest.next);
        manifest.next += 1;
        name
    }

    /// Reads what is listed. What was dropped in the middle of it is not missed.
    pub(crate) fn steady<T>(
        &self,
        read: impl Fn(&State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let state = self.state();
            let done = read(&state);
            if done.is_ok() || Arc::ptr_eq(&state, &self.state()) {
                return done;
            }
        }
    }

    /// What lists need of a segment.
    pub(crate) fn index(&self, segment: &Segment) -> Result<Arc<Index>, StoreError> {
        let lock = || self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut indexes = lock();
            if let Some(at) = indexes.iter().position(|(name, _)| *name == segment.name)
                && let Some(found) = indexes.remove(at)
            {
                let index = Arc::clone(&found.1);
                indexes.push_back(found);
                return Ok(index);
            }
        }
        let index = Arc::new(segment.index()?);
        let mut indexes = lock();
        indexes.retain(|(name, _)| *name != segment.name);
        indexes.push_back((segment.name.clone(), Arc::clone(&index)));
        while indexes.len() > INDEXES_MAX {
            indexes.pop_front();
        }
        Ok(index)
    }

    /// Says once that a segment cannot be read: lists go on without it.
    pub(crate) fn tell(&self, error: &StoreError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(error.to_string()) {
            tracing::warn!(%error, "runs of the history are not shown");
        }
    }

    /// The segment and the row of a run, if it is here.
    pub(crate) fn find(
        &self,
        state: &State,
        id: &RunId,
    ) -> Result<Option<(Arc<Segment>, usize)>, StoreError> {
        let mut trouble = None;
        for (info, segment) in state.listed().rev() {
            match segment.row(id) {
                Ok(Some(row)) if !info.hidden.contains(&(row as u32)) => {
                    return Ok(Some((Arc::clone(segment), row)));
                }
                Ok(_) => {}
                Err(error) => {
                    self.tell(&error);
                    // It may be there, and nobody can say.
                    if info.first <= *id && *id <= info.last {
                        trouble = Some(error);
                    }
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// Every segment, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.state().manifest.segments.clone()
    }

    /// Figures for metrics. Touches no disk.
    pub fn figures(&self) -> Figures {
        let state = self.state();
        let mut figures = Figures::default();
        for info in &state.manifest.segments {
            figures.segments += 1;
            figures.runs += info.runs - info.hidden.len() as u64;
            figures.tasks += info.tasks;
            figures.bytes += info.bytes();
        }
        figures
    }
}

/// Opens what a manifest lists; segments that were open stay so.
fn opened(root: &Path, manifest: Manifest, before: Option<&State>) -> State {
    let known: HashMap<&str, &Arc<Segment>> = before
        .into_iter()
        .flat_map(|state| &state.segments)
        .map(|segment| (segment.name.as_str(), segment))
        .collect();
    let segments = (manifest.segments.iter())
        .map(|info| match known.get(info.name.as_str()) {
            Some(segment) => Arc::clone(segment),
            None => Arc::new(Segment::new(root, info)),
        })
        .collect();
    State { manifest, segments }
}

impl Archive for History {
    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        self.steady(|state| {
            let Some((segment, row)) = self.find(state, id)? else { return Ok(None) };
            let whole = segment.whole(row)?;
            let run = StoredRun { head: whole.summary.head, tasks: whole.tasks, items: Vec::new() };
            Ok(Some(StoredRunAt { position: whole.position, run }))
        })
    }

    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        self.steady(|state| match self.find(state, run)? {
            Some((segment, row)) => segment.items(row, Some((task, first)), limit),
            None => Ok(Vec::new()),
        })
    }

    fn runs(&self, query: &RunQuery, held: Held<'_>) -> Result<Vec<RunSummary>, StoreError> {
        self.steady(|state| self.list(state, query, held))
    }

    fn newest(&self) -> Option<Timestamp> {
        self.state().manifest.segments.iter().map(|info| info.created.1).max()
    }

    fn visit_tables(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        // Nothing is dropped meanwhile, so all that is told is read once.
        let _upkeep = self.upkeep();
        self.state().segments.iter().try_for_each(|segment| segment.visit_tables(visit))
    }

    fn copy_to(&self, dest: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let _upkeep = self.upkeep();
        let state = self.state();
        let root = dest.join(self.root.file_name().unwrap_or_default());
        let mut copies = Vec::new();
        for (info, _) in state.listed() {
            let (from, to) = (segment_in(&self.root, &info.name), segment_in(&root, &info.name));
            self.files.make_dir(&to).map_err(|error| failed(&to, &error))?;
            for file in &info.files {
                let copy = to.join(&file.name);
                share(&from.join(&file.name), &copy)?;
                copies.push(copy);
            }
            self.files.sync_dir(&to).map_err(|error| failed(&to, &error))?;
        }
        self.files.make_dir(&root).map_err(|error| failed(&root, &error))?;
        state.manifest.write(&*self.files, &root)?;
        copies.push(path_in(&root));
        Ok(copies)
    }
}

/// Puts a file that never changes at another place, too: by name where that can be, else as a copy.
fn share(from: &Path, to: &Path) -> Result<(), StoreError> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let copy = || {
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_all()
    };
    copy().map_err(|error| failed(to, &error))
}
