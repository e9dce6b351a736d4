//! What leaves the records for the archive, and pages of both together.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidemill_model::run::StoredItem;
use tidemill_model::{Dag, DagId, Position, RunId, RunState, Timestamp, Version};

use super::{Inner, SledStore};
use crate::archive::{Archive, WholeRun};
use crate::record::RunRecord;
use crate::records::Records;
use crate::store::{RunPage, RunQuery, RunSummary, StoreError, StoredDag};

/// Items that are read at once, about.
const ITEMS_AT_ONCE: usize = 1_024;

impl SledStore {
    /// How many runs are in the records.
    pub fn run_count(&self) -> Result<usize, StoreError> {
        self.inner.with_records(Records::count)
    }

    /// Every run in the records, in the order of ids.
    pub fn run_ids(&self) -> Result<Vec<RunId>, StoreError> {
        self.inner.with_records(Records::all)
    }

    /// Finished runs in the records beyond the newest `keep` runs, oldest first, at most `limit`,
    /// with when they were created.
    pub fn oldest(&self, keep: usize, limit: usize) -> Result<Vec<(Timestamp, RunId)>, StoreError> {
        self.inner.with_records(|records| records.oldest(keep, limit))
    }

    /// A run as the records hold it.
    pub fn recent(&self, id: &RunId) -> Result<Option<WholeRun>, StoreError> {
        let run = self.inner.with_records(|records| records.whole(id))?;
        Ok(run.map(|RunRecord { position, summary, tasks, .. }| WholeRun {
            position,
            summary,
            tasks,
        }))
    }

    /// A run as the records hold it, without its tasks.
    pub fn recent_summary(&self, id: &RunId) -> Result<Option<RunSummary>, StoreError> {
        self.inner.with_records(|records| records.summary(id))
    }

    /// Items of a run's mapped tasks as the records hold them, in order, many at a time.
    pub fn recent_items(
        &self,
        id: &RunId,
        take: &mut dyn FnMut(Vec<StoredItem>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.inner.slot.get()?.items_in_parts(id, ITEMS_AT_ONCE, take)
    }

    /// Whether the records hold a run.
    pub fn holds(&self, id: &RunId) -> Result<bool, StoreError> {
        self.inner.with_records(|records| records.holds(id))
    }

    /// The newest run of a DAG that the records know to have succeeded.
    pub fn last_success(&self, dag: &DagId) -> Result<Option<RunId>, StoreError> {
        let (states, limit) = (vec![RunState::Succeeded], 1);
        let query = RunQuery { dag: Some(dag.clone()), states, after: None, limit };
        let page = self.inner.with_records(|records| records.runs(&query))?;
        Ok(page.runs.into_iter().next().map(|run| run.head.id))
    }

    /// What is known of every DAG.
    pub fn dags(&self) -> Result<Vec<StoredDag>, StoreError> {
        self.inner.with_records(Records::dags)
    }

    /// A DAG version, if its text is here and loads.
    pub fn dag_version(&self, version: &Version) -> Option<Arc<Dag>> {
        self.inner.dag(version)
    }

    /// Every event up to here is in records that outlast a power cut.
    pub fn checkpointed(&self) -> Position {
        Position(self.inner.checkpoint.load(Ordering::Acquire))
    }

    /// Removes finished runs from the records, unless they went on after these events; says which
    /// went. What belongs to them besides is the caller's.
    pub fn remove(&self, runs: &[(RunId, Position)]) -> Result<Vec<RunId>, StoreError> {
        self.inner.with_records(|records| records.remove(runs))
    }
}

impl Inner {
    /// A page of the records, read before, together with the archive.
    pub(super) fn with_archived(
        &self,
        query: &RunQuery,
        recent: RunPage,
        archive: &dyn Archive,
    ) -> Result<RunPage, StoreError> {
        let live_only = !query.states.is_empty() && query.states.iter().all(|s| !s.is_final());
        let reached = recent.next.as_ref().map(|(at, _)| *at);
        // Most pages end among what is recent, and everything older can wait.
        let beyond = reached.is_some_and(|at| archive.newest().is_none_or(|newest| newest < at));
        if live_only || beyond {
            return Ok(recent);
        }
        let held = |id: &RunId| self.with_records(|records| records.holds(id));
        let archived = archive.runs(query, &held)?;
        let mut runs = recent.runs;
        // What left the records between the two looks is in both.
        let seen: HashSet<RunId> = runs.iter().map(|run| run.head.id.clone()).collect();
        runs.extend(archived.into_iter().filter(|run| !seen.contains(&run.head.id)));
        runs.sort_by(|a, b| (b.head.created_at, &b.head.id).cmp(&(a.head.created_at, &a.head.id)));
        let more = recent.next.is_some() || runs.len() > query.limit;
        runs.truncate(query.limit);
        let last = runs.last().filter(|_| more);
        let next = last.map(|run| (run.head.created_at, run.head.id.clone()));
        Ok(RunPage { runs, next })
    }
}
