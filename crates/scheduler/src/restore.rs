//! The kernel as it was, from what the store gives back.
//!
//! Stored records say how far they reach, so an event that a record contains is passed over: the
//! journal's tail may be replayed any number of times.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidemill_model::run::StoredItem;
use tidemill_model::{
    AttemptId, Dag, DagId, DagRun, Event, Limits, PoolName, Position, RunEvent, RunId, TaskIx,
    Timestamp, Version,
};
use tidemill_store::{Recovered, Store, StoreError, StoredRunAt};

use crate::kernel::{DagEntry, Kernel};

/// Where a restored kernel finds what the recovery data only name.
pub trait Past {
    /// A DAG version, if its text still loads.
    fn dag(&self, version: &Version) -> Option<Arc<Dag>>;
    /// What is stored.
    fn store(&self) -> &dyn Store;
}

/// A kernel and what the operator should know about how it came back.
#[derive(Debug)]
pub struct Restored {
    /// The kernel. Its lost attempts are not settled yet.
    pub kernel: Kernel,
    /// The last event of each live run.
    pub positions: HashMap<RunId, Position>,
    /// The last event of each DAG.
    pub dag_positions: HashMap<DagId, Position>,
    /// Runs that the kernel does not have: those that finished after their stored record was
    /// written, which readers need until the projector has caught up, and those that are not to be
    /// carried on.
    pub aside: Vec<DagRun>,
    /// In words.
    pub notes: Vec<String>,
}

/// What of the past a process goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Carry {
    /// With every unfinished run and every schedule.
    #[default]
    Everything,
    /// With this run, to end it: nothing is started.
    ToEnd(RunId),
    /// With nothing. Unfinished runs and schedules wait for a process that serves.
    Nothing,
}

impl Carry {
    /// Whether it goes on with this run.
    pub fn includes(&self, run: &RunId) -> bool {
        match self {
            Self::Everything => true,
            Self::ToEnd(only) => only == run,
            Self::Nothing => false,
        }
    }
}

/// Puts the kernel together again.
pub fn restore(
    recovered: Recovered,
    past: &dyn Past,
    limits: Limits,
    pools: impl IntoIterator<Item = (PoolName, u32)>,
    carry: &Carry,
) -> Result<Restored, StoreError> {
    let mut fold = Fold {
        past,
        dags: HashMap::new(),
        kernel: Kernel::new(limits, pools),
        runs: HashMap::new(),
        lost: HashMap::new(),
        notes: recovered.notes,
    };
    for dag in recovered.dags {
        let entry = DagEntry { record: dag.record, ..DagEntry::default() };
        fold.kernel.dags.insert(dag.id.clone(), entry);
        fold.dags.insert(dag.id, dag.position);
    }
    for stored in recovered.unfinished {
        fold.take_in(stored);
    }
    for (position, event) in &recovered.tail {
        match event {
            Event::Run(id, event) => fold.run_event(*position, id, event)?,
            Event::Dag(id, event) => {
                let at = fold.dags.entry(id.clone()).or_default();
                if *position > *at {
                    *at = *position;
                    fold.kernel.dags.entry(id.clone()).or_default().record.apply(event);
                }
            }
        }
    }
    Ok(fold.finish(carry))
}

struct Fold<'a> {
    past: &'a dyn Past,
    kernel: Kernel,
    dags: HashMap<DagId, Position>,
    runs: HashMap<RunId, (Position, DagRun)>,
    /// Runs that cannot be followed, and the position up to which their events are known.
    lost: HashMap<RunId, Position>,
    notes: Vec<String>,
}

impl Fold<'_> {
    fn take_in(&mut self, stored: StoredRunAt) {
        let StoredRunAt { position, run } = stored;
        let (id, version) = (run.head.id.clone(), run.head.version.clone());
        match self.past.dag(&version) {
            Some(dag) => {
                self.runs.insert(id, (position, DagRun::restore(dag, run)));
            }
            None => self.give_up(&id, &version, Position(u64::MAX)),
        }
    }

    fn items_of(&self, stored: &StoredRunAt) -> Result<Vec<StoredItem>, StoreError> {
        let id = &stored.run.head.id;
        let mut items = Vec::new();
        for (task, of_task) in (0..).map(TaskIx).zip(&stored.run.tasks) {
            let Some(counts) = &of_task.map else { continue };
            let all = every_item(|first, limit| self.past.store().items(id, task, first, limit))?;
            // Records of an earlier time may lie behind those of the last one.
            items.extend(all.into_iter().filter(|item| item.attempt == counts.attempt));
        }
        Ok(items)
    }

    fn give_up(&mut self, id: &RunId, version: &Version, until: Position) {
        self.notes.push(format!(
            "run {id} cannot go on: its DAG version {} does not load in this release",
            version.short()
        ));
        self.lost.insert(id.clone(), until);
    }

    fn run_event(
        &mut self,
        position: Position,
        id: &RunId,
        event: &RunEvent,
    ) -> Result<(), StoreError> {
        if let RunEvent::Created { version, .. } = event {
            let at = self.dags.entry(id.dag.clone()).or_default();
            *at = (*at).max(position);
            self.kernel.dags.entry(id.dag.clone()).or_default().record.created(id.number);
            if self.runs.contains_key(id) || self.lost.contains_key(id) {
                return Ok(());
            }
            match self.past.dag(version) {
                None => self.give_up(id, version, Position(u64::MAX)),
                Some(dag) => match DagRun::create(dag, id.clone(), event) {
                    Ok(run) => {
                        self.runs.insert(id.clone(), (position, run));
                    }
                    Err(error) => self.notes.push(error.to_string()),
                },
            }
            return Ok(());
        }
        let unknown = self.lost.get(id).is_none_or(|until| position > *until);
        if !self.runs.contains_key(id) && unknown {
            // Its first event is before the checkpoint, so its record is stored; and it is not
            // among the unfinished ones, so the record is that of a finished run.
            match self.past.store().run(id)? {
                Some(stored) if stored.position >= position => {
                    self.lost.insert(id.clone(), stored.position);
                }
                Some(mut stored) => {
                    // It goes again, and what the items left may be asked for.
                    if stored.run.head.state.is_final() {
                        stored.run.items = self.items_of(&stored)?;
                    }
                    self.take_in(stored);
                }
                None => {
                    self.notes.push(format!("the journal knows run {id}, the records do not"));
                    self.lost.insert(id.clone(), Position(u64::MAX));
                }
            }
        }
        if let Some((at, run)) = self.runs.get_mut(id)
            && position > *at
        {
            *at = position;
            let applied = match event {
                RunEvent::Reopened { version, .. } if *version != run.head.version => {
                    match self.past.dag(version) {
                        Some(dag) => run.reopen(dag, event),
                        None => run.apply(event),
                    }
                }
                _ => run.apply(event),
            };
            if let Err(error) = applied {
                self.notes.push(format!("event {} of the journal: {error}", position.0));
            }
        }
        Ok(())
    }

    fn finish(self, carry: &Carry) -> Restored {
        let Self { mut kernel, dags, runs, notes, past, .. } = self;
        match carry {
            Carry::Everything => {}
            Carry::Nothing => kernel.ignore_schedules(),
            Carry::ToEnd(_) => kernel.drain(),
        }
        for (id, entry) in &kernel.dags {
            for (task, pace) in &entry.record.paces {
                kernel.admission.adopt_pace(id, task, pace);
            }
        }
        let listening = kernel.dags.iter().filter(|(_, entry)| !entry.record.listens.is_empty());
        for id in listening.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            kernel.index_listener(&id);
        }
        // The limit of a DAG is that of its newest version, which no run may be of.
        let live: BTreeSet<&DagId> = runs.keys().map(|id| &id.dag).collect();
        for id in live {
            let version = kernel.dags.get(id).and_then(|entry| entry.record.version.clone());
            if let Some(dag) = version.and_then(|version| past.dag(&version)) {
                kernel.admission.deploy(&dag);
            }
        }
        let mut positions = HashMap::new();
        let mut aside = Vec::new();
        for (id, (position, run)) in runs {
            if !run.head.state.is_final() && carry.includes(&id) {
                kernel.adopt(run);
            } else {
                aside.push(run);
            }
            positions.insert(id, position);
        }
        Restored { kernel, positions, dag_positions: dags, aside, notes }
    }
}

/// All items of a mapped task, read part by part: from a first one on, so many at most.
pub(crate) fn every_item(
    mut read: impl FnMut(u32, usize) -> Result<Vec<StoredItem>, StoreError>,
) -> Result<Vec<StoredItem>, StoreError> {
    const PART: usize = 4_096;
    let mut items: Vec<StoredItem> = Vec::new();
    loop {
        let part = read(items.last().map_or(0, |last| last.item + 1), PART)?;
        if part.is_empty() {
            return Ok(items);
        }
        items.extend(part);
    }
}

/// Brings a restored kernel to rest: attempts that were under way are lost, unless they are `held`;
/// due retries and ticks are dealt with. What it leaves in its batch is the first commit after the
/// start.
pub fn settle_restart(kernel: &mut Kernel, held: &[AttemptId], now: Timestamp) {
    kernel.settle_lost_attempts(held, now);
    kernel.settle_lost_calls(now);
    kernel.wake(now);
    kernel.settle(now);
}
