//! Retention: what is old goes, with what belongs to it.
//!
//! The last run of each DAG that succeeded stays whatever its age: the next run may ask for it. A
//! run's logs go first, then the run, so that a crash in the middle leaves nothing that nobody
//! finds again; its tables go when nothing refers to them any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tidemill_model::{DagId, RunId, RunState, Timestamp};
use tidemill_store::{SledStore, StoreError};

use crate::fold::GoOn;
use crate::history::{History, State};
use crate::keys::DagKeys;
use crate::manifest::{Manifest, SegmentInfo};
use crate::rewrite::Row;
use crate::segment::Segment;

/// How long finished runs are kept. What is `None` is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since they were created.
    pub age: Option<Duration>,
    /// The newest so many of each DAG, at least.
    pub runs: Option<u64>,
    /// Bytes of segments.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Some(Duration::from_hours(24 * 730)),
            runs: Some(1_000_000),
            bytes: Some(20 << 30),
        }
    }
}

/// What was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Runs.
    pub runs: u64,
    /// Bytes of segments.
    pub bytes: u64,
}

/// Recent runs that are dropped at once.
const RECENT_BATCH: usize = 64;

/// A segment of which less than one in so many runs could go is left as it is.
const WORTH_ONE_IN: usize = 4;

/// The rules at a moment.
struct Rules<'a> {
    store: &'a SledStore,
    oldest: Option<Timestamp>,
    runs: Option<u64>,
    last: HashMap<DagId, u64>,
    /// The last success of DAGs, where the records know none.
    needed: HashSet<RunId>,
}

impl Rules<'_> {
    fn is_old(&self, id: &RunId, created: Timestamp) -> bool {
        let last = || self.last.get(&id.dag).copied().unwrap_or(0);
        self.oldest.is_some_and(|oldest| created < oldest)
            || self.runs.is_some_and(|runs| id.number.saturating_add(runs) <= last())
    }

    /// Whether a row of a segment stays, whatever its age.
    fn stays(&self, id: &RunId) -> Result<bool, StoreError> {
        // One that goes again has its items here.
        Ok(self.needed.contains(id) || self.store.holds(id)?)
    }
}

impl History {
    /// Drops what is old. `gone` is told of each run before it goes, to remove what belongs to it;
    /// it says no to one that is at work again. Blocks on disk, and nothing waits for it.
    pub fn retain(
        &self,
        store: &SledStore,
        retention: &Retention,
        now: Timestamp,
        gone: &mut dyn FnMut(&RunId) -> bool,
        go_on: GoOn<'_>,
    ) -> Result<Retained, StoreError> {
        let _upkeep = self.upkeep();
        let rules = self.rules(store, retention, now)?;
        let mut done = self.drop_recent(&rules, gone, go_on)?;
        let mut over = retention.bytes.map_or(0, |max| self.figures().bytes.saturating_sub(max));
        let state = self.state();
        for (info, segment) in state.listed() {
            if !go_on() {
                break;
            }
            let whole = over > 0;
            match self.drop_of(&rules, (info, segment), whole, gone, go_on) {
                Ok(dropped) => {
                    done.runs += dropped.runs;
                    done.bytes += dropped.bytes;
                    over = over.saturating_sub(if whole { dropped.bytes } else { 0 });
                }
                Err(error @ StoreError::Damaged { .. }) => self.tell(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn rules<'s>(
        &self,
        store: &'s SledStore,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Rules<'s>, StoreError> {
        let last = store.dags()?.into_iter().map(|dag| (dag.id, dag.record.last_run)).collect();
        let mut needed = HashSet::new();
        for (dag, number) in self.successes(store)? {
            // A run that was created earlier may have succeeded when it went again.
            if store.last_success(&dag)?.is_none_or(|recent| recent.number < number) {
                needed.insert(RunId { dag, number });
            }
        }
        let oldest = retention.age.map(|age| now.minus(age));
        Ok(Rules { store, oldest, runs: retention.runs, last, needed })
    }

    /// The newest run of each DAG that succeeded, of those that only segments hold.
    fn successes(&self, store: &SledStore) -> Result<BTreeMap<DagId, u64>, StoreError> {
        let mut newest: BTreeMap<DagId, u64> = BTreeMap::new();
        let state = self.state();
        for (info, segment) in state.listed().rev() {
            let Ok(keys) = segment.keys() else { continue };
            for (dag, keys) in &keys.dags {
                let known = newest.get(dag).copied();
                if keys.last_success <= known {
                    continue;
                }
                let found = match self.last_success((info, segment), dag, keys, store) {
                    Err(error @ StoreError::Damaged { .. }) => {
                        self.tell(&error);
                        continue;
                    }
                    found => found?,
                };
                if found > known
                    && let Some(number) = found
                {
                    newest.insert(dag.clone(), number);
                }
            }
        }
        Ok(newest)
    }

    /// The newest run of a DAG in a segment that succeeded and did not go again since.
    fn last_success(
        &self,
        (info, segment): (&SegmentInfo, &Segment),
        dag: &DagId,
        keys: &DagKeys,
        store: &SledStore,
    ) -> Result<Option<u64>, StoreError> {
        let index = self.index(segment)?;
        let mut found = None;
        for row in keys.rows().rev() {
            let number = index.number[row];
            if index.state[row] != RunState::Succeeded
                || info.hidden.contains(&(row as u32))
                || found >= Some(number)
                || store.holds(&RunId { dag: dag.clone(), number })?
            {
                continue;
            }
            found = Some(number);
            if keys.in_order {
                break;
            }
        }
        Ok(found)
    }

    /// Drops old runs that are in the records still, a few at a time.
    fn drop_recent(
        &self,
        rules: &Rules<'_>,
        gone: &mut dyn FnMut(&RunId) -> bool,
        go_on: GoOn<'_>,
    ) -> Result<Retained, StoreError> {
        let mut done = Retained::default();
        let mut successes: HashMap<DagId, Option<RunId>> = HashMap::new();
        let mut old = Vec::new();
        for (created, id) in rules.store.oldest(0, usize::MAX)? {
            if !rules.is_old(&id, created) {
                continue;
            }
            let last = match successes.get(&id.dag) {
                Some(last) => last.clone(),
                None => {
                    let last = rules.store.last_success(&id.dag)?;
                    successes.entry(id.dag.clone()).or_insert(last).clone()
                }
            };
            if last.as_ref() != Some(&id) {
                old.push(id);
            }
        }
        for ids in old.chunks(RECENT_BATCH) {
            if !go_on() {
                break;
            }
            let mut leaving = Vec::new();
            for id in ids {
                let run = rules.store.recent(id)?;
                if let Some(run) = run.filter(|run| run.position <= rules.store.checkpointed()) {
                    leaving.push((id.clone(), run.position));
                }
            }
            leaving.retain(|(id, _)| gone(id));
            self.note_dropped(leaving.iter().map(|(id, _)| id))?;
            done.runs += rules.store.remove(&leaving)?.len() as u64;
        }
        Ok(done)
    }

    /// Remembers what is dropped from the records, so that nobody takes it for lost. What a segment
    /// has of a run that went again is not shown from then on either.
    fn note_dropped<'r>(
        &self,
        ids: impl Iterator<Item = &'r RunId> + Clone,
    ) -> Result<(), StoreError> {
        let state = self.state();
        let mut manifest = state.manifest.clone();
        let mut changed = note(&mut manifest, ids.clone());
        for id in ids {
            // What cannot be read is not shown either.
            let Ok(Some((segment, row))) = self.find(&state, id) else { continue };
            if let Some(info) = manifest.segment(&segment.name) {
                changed |= info.hidden.insert(row as u32);
            }
        }
        if changed { self.publish(manifest) } else { Ok(()) }
    }

    /// Drops the old runs of a segment, or all of them, if it is worth it.
    fn drop_of(
        &self,
        rules: &Rules<'_>,
        (info, segment): (&SegmentInfo, &Arc<Segment>),
        whole: bool,
        gone: &mut dyn FnMut(&RunId) -> bool,
        go_on: GoOn<'_>,
    ) -> Result<Retained, StoreError> {
        if !whole && !may_be_old(rules, info, segment)? {
            return Ok(Retained::default());
        }
        let (mut old, mut kept) = (Vec::new(), Vec::new());
        for row in self.rows(info, segment)? {
            let goes = whole || rules.is_old(&row.id, row.created);
            if goes && !rules.stays(&row.id)? { old.push(row) } else { kept.push(row) }
        }
        // Rows that are not shown any more go with it.
        let (all, gone_rows) = (info.runs as usize, info.runs as usize - kept.len());
        if gone_rows == 0 || gone_rows * WORTH_ONE_IN < all {
            return Ok(Retained::default());
        }
        let (old, live): (Vec<Row>, Vec<Row>) = old.into_iter().partition(|row| gone(&row.id));
        kept.extend(live);
        let runs = old.len() as u64;
        let bytes = self.replace(info, segment, &old, kept, go_on)?;
        Ok(Retained { runs: if bytes.is_some() { runs } else { 0 }, bytes: bytes.unwrap_or(0) })
    }

    /// Replaces a segment by what is kept of it; gives the bytes that are free then, and `None` if
    /// it was not to go on.
    fn replace(
        &self,
        info: &SegmentInfo,
        segment: &Arc<Segment>,
        old: &[Row],
        kept: Vec<Row>,
        go_on: GoOn<'_>,
    ) -> Result<Option<u64>, StoreError> {
        let state: Arc<State> = self.state();
        let mut manifest = state.manifest.clone();
        let name = Self::next_name(&mut manifest);
        let inputs = [(segment, kept)];
        let smaller =
            if inputs[0].1.is_empty() { None } else { self.rewrite(name, &inputs, go_on)? };
        if !go_on() {
            return Ok(None);
        }
        let free = info.bytes().saturating_sub(smaller.as_ref().map_or(0, SegmentInfo::bytes));
        manifest.segments.retain(|other| other.name != info.name);
        manifest.segments.extend(smaller);
        note(&mut manifest, old.iter().map(|row| &row.id));
        self.publish(manifest)?;
        Ok(Some(free))
    }
}

/// Whether any run of a segment can be old, as far as can be told without reading its rows.
fn may_be_old(
    rules: &Rules<'_>,
    info: &SegmentInfo,
    segment: &Segment,
) -> Result<bool, StoreError> {
    if rules.oldest.is_some_and(|oldest| info.created.0 < oldest) {
        return Ok(true);
    }
    let Some(runs) = rules.runs else { return Ok(false) };
    let keys = segment.keys()?;
    Ok(keys.dags.iter().any(|(dag, keys)| {
        let first = keys.numbers.first().map_or(u64::MAX, |(first, _)| *first);
        let last = rules.last.get(dag).copied().unwrap_or(0);
        first.saturating_add(runs) <= last
    }))
}

/// Takes in the numbers of dropped runs; whether that changed anything.
fn note<'r>(manifest: &mut Manifest, ids: impl Iterator<Item = &'r RunId>) -> bool {
    let mut changed = false;
    for id in ids {
        let highest = manifest.dropped.entry(id.dag.clone()).or_default();
        changed |= id.number > *highest;
        *highest = (*highest).max(id.number);
    }
    changed
}
