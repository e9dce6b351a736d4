//! What a record of a run is once it is stored, and how a newer one goes over an older one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::{DagId, DagRecord, Position, RunId, RunState, TaskIx, TaskRun, Timestamp};

use crate::store::{Record, RunPage, RunQuery, RunSummary, StoredDag, StoredRunAt};

/// A whole stored run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// The last event that is contained.
    pub(crate) position: Position,
    /// The run and its counts.
    pub(crate) summary: Box<RunSummary>,
    /// Its tasks.
    pub(crate) tasks: Vec<TaskRun>,
    /// Items of its mapped tasks, where they are kept with it.
    #[serde(skip)]
    pub(crate) items: BTreeMap<(TaskIx, u32), StoredItem>,
}

impl RunRecord {
    /// Takes in a record that is not older.
    fn take(
        &mut self,
        position: Position,
        summary: Box<RunSummary>,
        tasks: &[(TaskIx, TaskRun)],
        items: &[StoredItem],
    ) {
        self.items.extend(items.iter().map(|item| ((item.task, item.item), item.clone())));
        self.position = position;
        self.tasks.resize_with(task_count(&summary), TaskRun::default);
        self.summary = summary;
        for (ix, task) in tasks {
            if let Some(place) = self.tasks.get_mut(ix.at()) {
                place.clone_from(task);
            }
        }
    }

    /// As readers want it: a finished run without the items that it may hold.
    pub(crate) fn stored(&self) -> StoredRunAt {
        let head = self.summary.head.clone();
        let items = self.items.values().filter(|_| !head.state.is_final()).cloned().collect();
        StoredRunAt {
            position: self.position,
            run: StoredRun { head, tasks: self.tasks.clone(), items },
        }
    }

    /// As a record of everything.
    pub(crate) fn into_record(self) -> Record {
        let tasks = (0..).map(TaskIx).zip(self.tasks).collect();
        let items = self.items.into_values().collect();
        Record::Run { position: self.position, summary: self.summary, tasks, items }
    }
}

/// How many tasks a run has: its counts cover all of them.
pub(crate) fn task_count(summary: &RunSummary) -> usize {
    summary.counts.iter().map(|count| *count as usize).sum()
}

/// Tasks by state.
pub(crate) fn counts_of(tasks: &[TaskRun]) -> [u32; 11] {
    let mut counts = [0; 11];
    for task in tasks {
        counts[task.state as usize] += 1;
    }
    counts
}

/// The place of a run in lists: newest first is descending.
pub(crate) type ListKey = (Timestamp, RunId);

/// Records in memory, with the lists that the trait asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordMap {
    runs: HashMap<RunId, RunRecord>,
    list: BTreeSet<ListKey>,
    dags: HashMap<DagId, (Position, DagRecord)>,
}

impl RecordMap {
    /// Takes in a record, unless a newer one is here.
    pub(crate) fn put(&mut self, record: &Record) {
        match record {
            Record::Run { position, summary, tasks, items } => {
                let id = &summary.head.id;
                let run = self.runs.entry(id.clone()).or_insert_with(|| RunRecord {
                    position: Position(0),
                    summary: summary.clone(),
                    tasks: Vec::new(),
                    items: BTreeMap::new(),
                });
                if *position >= run.position {
                    self.list.insert((summary.head.created_at, id.clone()));
                    run.take(*position, summary.clone(), tasks, items);
                }
            }
            Record::Dag { position, id, record } => {
                let old = self.dags.entry(id.clone()).or_default();
                if *position >= old.0 {
                    *old = (*position, record.clone());
                }
            }
        }
    }

    pub(crate) fn run(&self, id: &RunId) -> Option<StoredRunAt> {
        self.runs.get(id).map(RunRecord::stored)
    }

    pub(crate) fn items(
        &self,
        id: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Vec<StoredItem> {
        let run = self.runs.get(id).into_iter();
        let items = run.flat_map(|run| run.items.range((task, first)..=(task, u32::MAX)));
        items.take(limit).map(|(_, item)| item.clone()).collect()
    }

    pub(crate) fn dags(&self) -> Vec<StoredDag> {
        let mut dags: Vec<StoredDag> = (self.dags.iter())
            .map(|(id, (position, record))| StoredDag {
                position: *position,
                id: id.clone(),
                record: record.clone(),
            })
            .collect();
        dags.sort_by(|a, b| a.id.cmp(&b.id));
        dags
    }

    pub(crate) fn unfinished(&self) -> Vec<StoredRunAt> {
        let mut runs: Vec<StoredRunAt> = (self.runs.values())
            .filter(|run| !run.summary.head.state.is_final())
            .map(RunRecord::stored)
            .collect();
        runs.sort_by(|a, b| a.run.head.id.cmp(&b.run.head.id));
        runs
    }

    pub(crate) fn runs(&self, query: &RunQuery) -> RunPage {
        let found = self.list.iter().rev().filter_map(|key| Some((key, self.runs.get(&key.1)?)));
        let runs = found
            .filter(|(key, _)| query.after.as_ref().is_none_or(|after| *key < after))
            .filter(|(key, run)| wanted(query, &key.1, run.summary.head.state))
            .map(|(_, run)| (*run.summary).clone())
            .take(query.limit.saturating_add(1))
            .collect();
        page(runs, query.limit)
    }
}

/// Whether a query asks for a run.
pub(crate) fn wanted(query: &RunQuery, id: &RunId, state: RunState) -> bool {
    query.dag.as_ref().is_none_or(|dag| *dag == id.dag)
        && (query.states.is_empty() || query.states.contains(&state))
}

/// A page from one run more than fits on it.
pub(crate) fn page(mut runs: Vec<RunSummary>, limit: usize) -> RunPage {
    let more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| more).map(|run| (run.head.created_at, run.head.id.clone()));
    RunPage { runs, next }
}
