//! The records behind the journal, as the projector keeps them: committed state alone, only what
//! changed, and a checkpoint that covers no more than was put.

use std::collections::{BTreeSet, HashMap};

use tidemill_model::{DagId, Event, Position, RunEvent, RunId};
use tidemill_scheduler::restore::Restored;
use tidemill_scheduler::{Kernel, Live};
use tidemill_store::{Record, Store, StoreError};

/// What is shown, and what of it is not on the shelf yet.
#[derive(Default)]
pub(crate) struct Shelf {
    live: Live,
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
        shelf.live.adopt(restored, last);
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
        self.live.publish(kernel, self.shown.next(), events);
        self.shown = Position(self.shown.0 + events.len() as u64);
        for event in events {
            self.mark(event);
        }
    }

    /// Puts everything that is dirty.
    pub(crate) fn put(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let dags = std::mem::take(&mut self.dirty_dags);
        let mut records: Vec<Record> =
            dags.iter().filter_map(|id| self.live.dag_record(id)).collect();
        for id in std::mem::take(&mut self.dirty_runs) {
            let since = self.put_at.get(&id).copied().unwrap_or_default();
            records.extend(self.live.run_record(&id, since));
        }
        store.put(&records)?;
        for record in records {
            let Record::Run { position, summary, .. } = record else { continue };
            let id = summary.head.id;
            self.live.forget(&id, position);
            if summary.head.state.is_final() {
                self.put_at.remove(&id);
            } else {
                self.put_at.insert(id, position);
            }
        }
        self.put = self.shown;
        Ok(())
    }

    /// Makes what was put outlast a power cut.
    pub(crate) fn checkpoint(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.checkpoint(self.put)
    }
}
