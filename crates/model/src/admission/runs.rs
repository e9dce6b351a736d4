//! Which runs are under way at once.
//!
//! Runs that share a limit stand in one lane, all others in lanes that have none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::{RunKey, is_called, run_key};
use crate::dag::Overlap;
use crate::event::{Event, RunEvent};
use crate::id::{DagId, RunId};
use crate::run::DagRun;
use crate::time::Timestamp;

/// The DAG and what its runs have in common besides; nothing for runs that share no limit.
pub(super) type LaneId = Option<(DagId, String)>;

#[derive(Debug, Clone, Default)]
struct Lane {
    limit: Option<u32>,
    running: BTreeSet<RunKey>,
    queue: BTreeSet<RunKey>,
    /// Those that a task of another run waits for.
    called: BTreeSet<RunKey>,
}

impl Lane {
    /// Whether one more may start after so many that are about to.
    fn has_room(&self, begun: usize) -> bool {
        self.limit.is_none_or(|limit| self.running.len() + begun < limit as usize)
    }

    /// The next to start, if one may.
    fn head(&self) -> Option<&RunKey> {
        self.queue.first().filter(|_| self.has_room(0))
    }
}

/// The queues of runs.
#[derive(Debug, Clone, Default)]
pub(super) struct RunQueues {
    lanes: BTreeMap<LaneId, Lane>,
    /// The next run of each lane that has room for it.
    heads: BTreeSet<(RunKey, LaneId)>,
    /// Runs that a task of another run waits for, while they queue. The limit over all runs does not
    /// hold them back: it would hold back what a running one waits for, and both for ever.
    called: BTreeMap<RunKey, LaneId>,
    /// Lanes without room, with their limit and the oldest run under way in each.
    full: Arc<BTreeMap<LaneId, (u32, RunId)>>,
    /// The limits of the versions that are deployed.
    limits: BTreeMap<DagId, Option<u32>>,
    /// Runs under way that no task called for.
    running: u32,
    queued: usize,
}

fn lane_of(run: &DagRun) -> LaneId {
    Some((run.head.id.dag.clone(), run.head.lane.clone()?))
}

impl RunQueues {
    /// Changes a lane, and what is known of its head.
    fn change<T>(&mut self, id: &LaneId, act: impl FnOnce(&mut Lane) -> T) -> T {
        let lane = self.lanes.entry(id.clone()).or_default();
        let before = lane.head().cloned();
        let done = act(lane);
        let after = lane.head().cloned();
        let full = lane.limit.zip(lane.running.first()).filter(|_| !lane.has_room(0));
        let full = full.map(|(limit, (_, oldest))| (limit, oldest.clone()));
        if self.full.get(id) != full.as_ref() {
            let all = Arc::make_mut(&mut self.full);
            match full {
                Some(full) => _ = all.insert(id.clone(), full),
                None => _ = all.remove(id),
            }
        }
        if lane.running.is_empty() && lane.queue.is_empty() && lane.called.is_empty() {
            self.lanes.remove(id);
        }
        if before != after {
            if let Some(key) = before {
                self.heads.remove(&(key, id.clone()));
            }
            self.heads.extend(after.map(|key| (key, id.clone())));
        }
        done
    }

    pub(super) fn enqueue(&mut self, run: &DagRun) {
        let (key, id) = (run_key(run), lane_of(run));
        // That of the version which is deployed: a run may be of an older one.
        let own = || run.dag().concurrency.as_ref().map(|concurrency| concurrency.limit);
        let limit = match &id {
            Some((dag, _)) => self.limits.get(dag).copied().unwrap_or_else(own),
            None => None,
        };
        if is_called(run) {
            self.called.insert(key.clone(), id.clone());
        } else {
            self.queued += 1;
        }
        self.change(&id, |lane| {
            lane.limit = limit;
            if is_called(run) { lane.called.insert(key) } else { lane.queue.insert(key) }
        });
    }

    /// Takes a run out of its queue.
    pub(super) fn withdraw(&mut self, run: &DagRun) {
        self.leave_queue(run);
    }

    pub(super) fn start(&mut self, run: &DagRun) {
        self.leave_queue(run);
        self.change(&lane_of(run), |lane| lane.running.insert(run_key(run)));
        self.running += u32::from(!is_called(run));
    }

    /// A run has ended, whether it had begun or not.
    pub(super) fn finish(&mut self, run: &DagRun) {
        if self.leave_queue(run) {
            return;
        }
        let was_running = self.change(&lane_of(run), |lane| lane.running.remove(&run_key(run)));
        if was_running && !is_called(run) {
            self.running = self.running.saturating_sub(1);
        }
    }

    fn leave_queue(&mut self, run: &DagRun) -> bool {
        let key = run_key(run);
        if is_called(run) {
            self.change(&lane_of(run), |lane| lane.called.remove(&key));
            return self.called.remove(&key).is_some();
        }
        let was_there = self.change(&lane_of(run), |lane| lane.queue.remove(&key));
        self.queued -= usize::from(was_there);
        was_there
    }

    /// From now on the lanes of a DAG have this limit.
    pub(super) fn set_limit(&mut self, dag: &DagId, limit: Option<u32>) {
        self.limits.insert(dag.clone(), limit);
        let first = Some((dag.clone(), String::new()));
        let lanes = self.lanes.range(first..).map(|(id, _)| id);
        let is_its = |id: &&LaneId| id.as_ref().is_some_and(|(of, _)| of == dag);
        let lanes: Vec<LaneId> = lanes.take_while(is_its).cloned().collect();
        for lane in &lanes {
            self.change(lane, |lane| lane.limit = limit);
        }
    }

    pub(super) fn admit(&self, limit: u32, now: Timestamp) -> Vec<Event> {
        let mut begun: BTreeMap<&LaneId, usize> = BTreeMap::new();
        let mut events = Vec::new();
        let start = |run: &RunId| Event::Run(run.clone(), RunEvent::Started { at: now });
        for (key, id) in &self.called {
            let begun = begun.entry(id).or_default();
            if self.lanes.get(id).is_some_and(|lane| lane.has_room(*begun)) {
                *begun += 1;
                events.push(start(&key.1));
            }
        }
        // The heads of lanes, and behind each that starts the next of its lane.
        let mut free = limit.saturating_sub(self.running);
        let mut heads = self.heads.iter().map(|(key, id)| (key, id, 0)).peekable();
        let mut behind: BTreeSet<(&RunKey, &LaneId, usize)> = BTreeSet::new();
        while free > 0 {
            let next = match (heads.peek(), behind.first()) {
                (Some(head), Some(other)) if other < head => behind.pop_first(),
                (None, _) => behind.pop_first(),
                (Some(_), _) => heads.next(),
            };
            let Some((key, id, place)) = next else { break };
            let Some(lane) = self.lanes.get(id) else { continue };
            let begun = begun.entry(id).or_default();
            if lane.has_room(*begun) {
                *begun += 1;
                free -= 1;
                events.push(start(&key.1));
                let after = (Bound::Excluded(key), Bound::Unbounded);
                let next = lane.queue.range::<RunKey, _>(after).next();
                behind.extend(next.map(|key| (key, id, place + 1)));
            }
        }
        events
    }

    /// See [`super::Admission::overlapped`].
    pub(super) fn overlapped(&self, run: &DagRun) -> Vec<(RunId, String)> {
        let Some(concurrency) = &run.dag().concurrency else { return Vec::new() };
        let Some(lane) = self.lanes.get(&lane_of(run)) else { return Vec::new() };
        let key = run_key(run);
        let all = || lane.running.iter().chain(&lane.queue).chain(&lane.called);
        let others = || all().filter(|other| **other != key);
        let excess = (others().count() + 1).saturating_sub(concurrency.limit as usize);
        match concurrency.overlap {
            Overlap::Queue => Vec::new(),
            _ if excess == 0 => Vec::new(),
            Overlap::Skip => {
                let there = others().next().map_or(String::new(), |(_, run)| run.to_string());
                let why = format!("`overlap: skip`: {there} is under way");
                vec![(run.head.id.clone(), why)]
            }
            Overlap::Replace => {
                let why = format!("`overlap: replace`: {} takes its place", run.head.id);
                let mut oldest: Vec<&RunKey> = others().collect();
                oldest.sort_unstable();
                oldest.into_iter().take(excess).map(|(_, id)| (id.clone(), why.clone())).collect()
            }
        }
    }

    /// Lanes without room, with their limit and the oldest run under way in each.
    pub(super) fn full(&self) -> Arc<BTreeMap<LaneId, (u32, RunId)>> {
        Arc::clone(&self.full)
    }

    pub(super) fn running(&self) -> u32 {
        self.running
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }
}
