//! The records behind the journal, as the projector keeps them: committed state alone, only what
//! changed, and a checkpoint that covers no more than was put.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidemill_model::run::StoredItem;
use tidemill_model::{
    DagId, DagRecord, DagRun, Event, Position, RunEvent, RunHead, RunId, TaskIx, TaskRun,
};
use tidemill_scheduler::Kernel;
use tidemill_scheduler::restore::Restored;
use tidemill_store::{Record, RunSummary, Store, StoreError};

struct Shown {
    head: RunHead,
    tasks: Vec<TaskRun>,
    changed: Vec<Position>,
    items: BTreeMap<(TaskIx, u32), (Position, StoredItem)>,
    position: Position,
}

impl Shown {
    fn of(run: &DagRun, position: Position) -> Self {
        let mut shown = Self {
            head: run.head.clone(),
            tasks: run.tasks().to_vec(),
            changed: vec![position; run.tasks().len()],
            items: BTreeMap::new(),
            position,
        };
        for (root, map) in run.maps() {
            map.items().for_each(|(item, _)| shown.take_item(run, root, item, position));
        }
        shown
    }

    fn take_item(&mut self, run: &DagRun, root: TaskIx, item: u32, position: Position) {
        let Some(map) = run.map(root) else { return };
        if let Some(of_item) = map.item(item) {
            let (attempt, runs) = (map.attempt(), of_item.runs.clone());
            let stored = StoredItem { task: root, item, attempt, runs };
            self.items.insert((root, item), (position, stored));
        }
    }

    fn record(&self, since: Position) -> Record {
        let mut counts = [0_u32; 11];
        self.tasks.iter().for_each(|task| counts[task.state as usize] += 1);
        let tasks = (self.changed.iter().zip(&self.tasks).enumerate())
            .filter(|(_, (changed, _))| **changed > since)
            .map(|(i, (_, task))| (TaskIx(i as u32), task.clone()))
            .collect();
        let summary = Box::new(RunSummary { head: self.head.clone(), counts });
        let items = self.items.values().filter(|(changed, _)| *changed > since);
        let items = items.map(|(_, item)| item.clone()).collect();
        Record::Run { position: self.position, summary, tasks, items }
    }
}

/// What is shown, and what of it is not on the shelf yet.
#[derive(Default)]
pub(crate) struct Shelf {
    runs: HashMap<RunId, Shown>,
    dags: BTreeMap<DagId, (Position, DagRecord)>,
    dirty_runs: BTreeSet<RunId>,
    dirty_dags: BTreeSet<DagId>,
    put_at: HashMap<RunId, Position>,
    /// The last committed event, and the last that a record contains.
    pub(crate) shown: Position,
    put: Position,
}

impl Shelf {
    /// After a restart. The journal's tail may be in no record, so all that it is about is dirty.
    pub(crate) fn restored(
        restored: &Restored,
        tail: &[(Position, Event)],
        last: Position,
    ) -> Self {
        let mut shelf = Self { shown: last, ..Self::default() };
        for run in restored.kernel.runs().chain(&restored.aside) {
            let position = restored.positions.get(&run.head.id).copied().unwrap_or(last);
            shelf.runs.insert(run.head.id.clone(), Shown::of(run, position));
        }
        for (id, entry) in restored.kernel.dags() {
            let position = restored.dag_positions.get(id).copied().unwrap_or_default();
            shelf.dags.insert(id.clone(), (position, entry.record.clone()));
        }
        for (_, event) in tail {
            shelf.mark(event);
        }
        shelf
    }

    fn mark(&mut self, event: &Event) {
        match event {
            Event::Run(id, event) => {
                if matches!(event, RunEvent::Created { .. }) {
                    self.dirty_dags.insert(id.dag.clone());
                }
                self.dirty_runs.insert(id.clone());
            }
            Event::Dag(id, _) => {
                self.dirty_dags.insert(id.clone());
            }
        }
    }

    /// Shows a commit that the kernel has applied.
    pub(crate) fn publish(&mut self, kernel: &Kernel, events: &[Event]) {
        for event in events {
            self.shown = self.shown.next();
            self.mark(event);
            let id = match event {
                Event::Run(id, event) => {
                    self.publish_run(kernel, id, event);
                    &id.dag
                }
                Event::Dag(id, _) => id,
            };
            if self.dirty_dags.contains(id)
                && let Some(entry) = kernel.dags().get(id)
            {
                self.dags.insert(id.clone(), (self.shown, entry.record.clone()));
            }
        }
    }

    fn publish_run(&mut self, kernel: &Kernel, id: &RunId, event: &RunEvent) {
        let Some(run) = kernel.run(id) else { return };
        let position = self.shown;
        if let RunEvent::Reopened { .. } = event {
            // Perhaps with another version, and other tasks.
            self.runs.insert(id.clone(), Shown::of(run, position));
            return;
        }
        let shown = self.runs.entry(id.clone()).or_insert_with(|| Shown::of(run, position));
        shown.position = position;
        shown.head.clone_from(&run.head);
        // All tasks, also those that the event moves by the way.
        for (i, task) in run.tasks().iter().enumerate() {
            if shown.tasks[i] != *task {
                (shown.changed[i], shown.tasks[i]) = (position, task.clone());
            }
        }
        if let Some(at) = event.task()
            && let (Some(item), Some(root)) = (at.item, run.dag().root(at.task))
        {
            shown.take_item(run, root, item, position);
        }
    }

    /// Puts everything that is dirty.
    pub(crate) fn put(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for id in std::mem::take(&mut self.dirty_dags) {
            if let Some((position, record)) = self.dags.get(&id) {
                records.push(Record::Dag { position: *position, id, record: record.clone() });
            }
        }
        for id in std::mem::take(&mut self.dirty_runs) {
            let Some(shown) = self.runs.get(&id) else { continue };
            records.push(shown.record(self.put_at.get(&id).copied().unwrap_or_default()));
            if shown.head.state.is_final() {
                self.put_at.remove(&id);
                self.runs.remove(&id);
            } else {
                self.put_at.insert(id, shown.position);
            }
        }
        store.put(&records)?;
        self.put = self.shown;
        Ok(())
    }

    /// Makes what was put outlast a power cut.
    pub(crate) fn checkpoint(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.checkpoint(self.put)
    }
}
