//! From records to segments.
//!
//! The oldest finished runs beyond those that stay recent are written into a segment, the segment
//! is listed, and then they leave the records, unless they went on meanwhile. After a crash in the
//! middle they are in both, and the next fold finds them in the segment and only lets them leave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidemill_model::run::StoredItem;
use tidemill_model::{Position, RunId, TaskIx, Version};
use tidemill_store::{SledStore, StoreError, WholeRun};

use crate::history::{History, State};
use crate::manifest::{Manifest, SegmentInfo};
use crate::segment::Segment;
use crate::write::SegmentWriter;

/// What a fold did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Runs that left the records.
    pub runs: u64,
    /// Segments that were written.
    pub segments: u64,
}

/// Whether to go on: a process that ends does not wait for a fold.
pub type GoOn<'a> = &'a dyn Fn() -> bool;

/// A row of a run that has an older record in a segment.
type Older = (Arc<Segment>, usize);

/// The names of the tasks of DAG versions, each loaded once.
struct Names<'a> {
    store: &'a SledStore,
    known: HashMap<Version, Arc<[String]>>,
}

impl Names<'_> {
    fn of(&mut self, version: &Version) -> Arc<[String]> {
        if let Some(names) = self.known.get(version) {
            return Arc::clone(names);
        }
        let dag = self.store.dag_version(version);
        let tasks = dag.iter().flat_map(|dag| dag.tasks().iter());
        let names: Arc<[String]> = tasks.map(|task| task.name.to_string()).collect();
        self.known.insert(version.clone(), Arc::clone(&names));
        names
    }
}

impl History {
    /// Folds what is old enough, if it is enough of it, and puts small segments together. What is
    /// enough can be given. Blocks on disk, and nothing waits for it.
    pub fn fold(
        &self,
        store: &SledStore,
        at_least: Option<usize>,
        go_on: GoOn<'_>,
    ) -> Result<Folded, StoreError> {
        let _upkeep = self.upkeep();
        let settings = self.settings;
        let mut done = Folded::default();
        loop {
            let oldest = store.oldest(settings.recent_runs, settings.segment_runs)?;
            if oldest.len() < at_least.unwrap_or(settings.fold_runs).max(1) || !go_on() {
                break;
            }
            let Some(part) = self.fold_some(store, oldest, go_on)? else { break };
            done.runs += part.runs;
            done.segments += part.segments;
            if part.runs == 0 {
                break;
            }
        }
        if go_on() {
            self.join_small(go_on)?;
        }
        Ok(done)
    }

    /// Folds these runs; `None` if it was not to go on.
    fn fold_some(
        &self,
        store: &SledStore,
        mut oldest: Vec<(tidemill_model::Timestamp, RunId)>,
        go_on: GoOn<'_>,
    ) -> Result<Option<Folded>, StoreError> {
        oldest.sort_by(|(at, a), (bt, b)| (&a.dag, at, a.number).cmp(&(&b.dag, bt, b.number)));
        let state = self.state();
        let mut manifest = state.manifest.clone();
        let name = Self::next_name(&mut manifest);
        let mut writer = SegmentWriter::begin(&self.files, &self.root, name, Vec::new())?;
        let mut names = Names { store, known: HashMap::new() };
        let (mut leaving, mut replaced) = (Vec::new(), Vec::new());
        let upto = store.checkpointed();
        for (_, id) in &oldest {
            if !go_on() {
                return Ok(None);
            }
            let Some(run) = store.recent(id)? else { continue };
            if run.position > upto || !run.summary.head.state.is_final() {
                continue;
            }
            // What cannot be read is not waited for.
            let older = self.find(&state, id).unwrap_or(None);
            let reaches = older.as_ref().and_then(|(segment, row)| segment.record(*row).ok());
            leaving.push((id.clone(), run.position));
            match older {
                Some(_) if reaches.is_some_and(|record| record.position >= run.position) => {}
                older => {
                    let rows = write_items(&mut writer, store, id, older.as_ref())?;
                    let names = names.of(&run.summary.head.version);
                    writer.run(run, &names, rows)?;
                    replaced.extend(older);
                }
            }
        }
        let info = writer.finish()?;
        let segments = u64::from(info.is_some());
        if let Some(info) = info {
            self.list_folded(manifest, info, &replaced)?;
        }
        let runs = store.remove(&leaving)?.len() as u64;
        Ok(Some(Folded { runs, segments }))
    }

    /// Lists a new segment. The rows that it replaces are not shown from then on.
    fn list_folded(
        &self,
        mut manifest: Manifest,
        info: SegmentInfo,
        replaced: &[Older],
    ) -> Result<(), StoreError> {
        for (segment, row) in replaced {
            if let Some(old) = manifest.segment(&segment.name) {
                old.hidden.insert(*row as u32);
            }
        }
        manifest.segments.push(info);
        self.publish(manifest)
    }

    /// Writes runs that are in no records: for benchmarks, which make a large history in no time.
    /// They come by DAG, creation and number; what they are called by is given for all of them.
    pub fn add(
        &self,
        runs: impl Iterator<Item = WholeRun>,
        names: &[String],
    ) -> Result<(), StoreError> {
        let _upkeep = self.upkeep();
        let mut manifest = self.state().manifest.clone();
        let name = Self::next_name(&mut manifest);
        let mut writer = SegmentWriter::begin(&self.files, &self.root, name, Vec::new())?;
        for run in runs {
            writer.run(run, names, 0)?;
        }
        match writer.finish()? {
            Some(info) => self.list_folded(manifest, info, &[]),
            None => Ok(()),
        }
    }

    /// The position that the history holds a run up to.
    pub fn position(&self, id: &RunId) -> Result<Option<Position>, StoreError> {
        let state: Arc<State> = self.state();
        match self.find(&state, id)? {
            Some((segment, row)) => Ok(Some(segment.record(row)?.position)),
            None => Ok(None),
        }
    }
}

/// Writes the items of a run; of one that went again, those that stayed in the segment, too.
fn write_items(
    writer: &mut SegmentWriter,
    store: &SledStore,
    id: &RunId,
    older: Option<&Older>,
) -> Result<u32, StoreError> {
    let mut rows = 0;
    let Some((segment, row)) = older else {
        store.recent_items(id, &mut |items| {
            rows += writer.items(&items)?;
            Ok(())
        })?;
        return Ok(rows);
    };
    let mut all: BTreeMap<(TaskIx, u32), StoredItem> = BTreeMap::new();
    let kept = segment.items(*row, None, usize::MAX).unwrap_or_default();
    all.extend(kept.into_iter().map(|item| ((item.task, item.item), item)));
    store.recent_items(id, &mut |items| {
        all.extend(items.into_iter().map(|item| ((item.task, item.item), item)));
        Ok(())
    })?;
    let all: Vec<StoredItem> = all.into_values().collect();
    writer.items(&all)
}
