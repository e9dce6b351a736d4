//! The committed state, for readers and for the projector.
//!
//! Live runs are served from here; finished ones stay until the records behind the journal hold
//! them. The scheduler's thread writes after each commit, so a reader never sees what is not
//! durable; nobody holds the lock across a disk access.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidemill_model::admission::{PoolState, Waits};
use tidemill_model::run::{StoredItem, StoredRun};
use tidemill_model::{
    Action, Dag, DagId, DagRecord, DagRun, Event, Instance, Position, RunEvent, RunHead, RunId,
    RunState, TaskIx, TaskRun, TaskState, Timestamp, Trigger,
};
use tidemill_store::{Record, RunQuery, RunSummary};

use crate::kernel::Kernel;
use crate::restore::Restored;

/// A run for readers.
#[derive(Debug, Clone)]
pub struct RunView {
    /// The run.
    pub head: RunHead,
    /// Its tasks, in the order of its DAG version.
    pub tasks: Vec<TaskRun>,
    /// Its DAG version, if that still loads.
    pub dag: Option<Arc<Dag>>,
    /// Why each of its waiting tasks waits, and why the run itself does, in words.
    pub waits: Vec<(Option<TaskIx>, String)>,
}

/// A DAG for readers.
#[derive(Debug, Clone)]
pub struct DagView {
    /// Which.
    pub id: DagId,
    /// What is known.
    pub record: DagRecord,
    /// The version that new runs take.
    pub dag: Option<Arc<Dag>>,
    /// The next due instant.
    pub next: Option<Timestamp>,
}

#[derive(Debug)]
struct LiveRun {
    head: RunHead,
    dag: Arc<Dag>,
    tasks: Vec<TaskRun>,
    changed: Vec<Position>,
    /// Items of mapped tasks that have not ended, or that the records do not hold yet, and the
    /// position of the last event of each.
    items: BTreeMap<(TaskIx, u32), (Position, StoredItem)>,
    position: Position,
}

impl LiveRun {
    fn of(run: &DagRun, position: Position) -> Self {
        let mut live = Self {
            head: run.head.clone(),
            dag: Arc::clone(run.dag()),
            tasks: run.tasks().to_vec(),
            changed: vec![position; run.tasks().len()],
            items: BTreeMap::new(),
            position,
        };
        for (root, map) in run.maps() {
            for (item, _) in map.items() {
                live.take_item(run, root, item, position);
            }
        }
        live
    }

    /// Takes in what an event changed.
    fn follow(&mut self, run: &DagRun, event: &RunEvent, position: Position) {
        if let RunEvent::Reopened { .. } = event {
            // Perhaps with another version, and with other items. Items that stay, and that the run
            // remembers in brief alone, may not be in the records yet.
            let before = std::mem::replace(self, Self::of(run, position)).items;
            for ((task, item), of_item) in before {
                if run.map(task).is_some_and(|map| map.attempt() == of_item.1.attempt) {
                    self.items.entry((task, item)).or_insert(of_item);
                }
            }
            return;
        }
        self.position = position;
        let Some(at) = event.task() else { return };
        let dag = Arc::clone(run.dag());
        let mut changed = |task: TaskIx| {
            self.changed[task.at()] = position;
            self.tasks[task.at()].clone_from(run.task(task));
        };
        changed(at.task);
        // An event about a group moves its members, one about an item what counts it.
        dag.members(at.task).iter().copied().for_each(&mut changed);
        if let (Some(item), Some(root)) = (at.item, dag.root(at.task)) {
            changed(root);
            self.take_item(run, root, item, position);
        }
    }

    fn take_item(&mut self, run: &DagRun, root: TaskIx, item: u32, position: Position) {
        let Some(map) = run.map(root) else { return };
        if let Some(of_item) = map.item(item) {
            let (attempt, runs) = (map.attempt(), of_item.runs.clone());
            let stored = StoredItem { task: root, item, attempt, runs };
            self.items.insert((root, item), (position, stored));
        }
    }
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    runs: HashMap<RunId, LiveRun>,
    dags: BTreeMap<DagId, (DagView, Position)>,
    waits: Waits,
}

/// The committed state. Cheap to share.
#[derive(Debug, Default)]
pub struct Live {
    state: RwLock<State>,
}

impl Live {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last committed event.
    pub fn position(&self) -> Position {
        self.read().position
    }

    /// How many runs are held, finished ones that wait for the projector included.
    pub fn len(&self) -> usize {
        self.read().runs.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a restored state; `last` is the position that the store has reached.
    pub fn adopt(&self, restored: &Restored, last: Position) {
        let mut state = self.write();
        state.position = last;
        for run in restored.kernel.runs().chain(&restored.aside) {
            let id = &run.head.id;
            let position = restored.positions.get(id).copied().unwrap_or(last);
            state.runs.insert(id.clone(), LiveRun::of(run, position));
        }
        for (id, entry) in restored.kernel.dags() {
            let view = DagView {
                id: id.clone(),
                record: entry.record.clone(),
                dag: entry.dag.clone(),
                next: entry.next,
            };
            let position = restored.dag_positions.get(id).copied().unwrap_or_default();
            state.dags.insert(id.clone(), (view, position));
        }
    }

    /// Publishes a commit: `events` are those after the published position, and `kernel` has them
    /// applied.
    pub fn publish(&self, kernel: &Kernel, first: Position, events: &[Event]) {
        let mut state = self.write();
        let mut runs: HashSet<&RunId> = HashSet::new();
        let mut dags: HashSet<&DagId> = HashSet::new();
        for (i, event) in events.iter().enumerate() {
            let position = Position(first.0 + i as u64);
            state.position = position;
            match event {
                Event::Run(id, event) => {
                    let Some(run) = kernel.run(id) else { continue };
                    runs.insert(id);
                    let live = state.runs.entry(id.clone());
                    let live = live.or_insert_with(|| LiveRun::of(run, position));
                    live.follow(run, event, position);
                    if matches!(event, RunEvent::Created { .. }) {
                        dags.insert(&id.dag);
                        if let Some((_, at)) = state.dags.get_mut(&id.dag) {
                            *at = position;
                        }
                    }
                }
                Event::Dag(id, _) => {
                    dags.insert(id);
                    let entry = state.dags.entry(id.clone()).or_insert_with(|| {
                        (
                            DagView {
                                id: id.clone(),
                                record: DagRecord::default(),
                                dag: None,
                                next: None,
                            },
                            position,
                        )
                    });
                    entry.1 = position;
                }
            }
        }
        for id in runs {
            if let (Some(live), Some(run)) = (state.runs.get_mut(id), kernel.run(id)) {
                live.head.clone_from(&run.head);
            }
        }
        for id in dags {
            if let (Some((view, _)), Some(entry)) = (state.dags.get_mut(id), kernel.dags().get(id))
            {
                view.record = entry.record.clone();
            }
        }
    }

    /// Publishes what is no event: the definitions and next ticks of these DAGs.
    pub(crate) fn publish_dags(&self, kernel: &Kernel, changed: &BTreeSet<DagId>) {
        if changed.is_empty() {
            return;
        }
        let mut state = self.write();
        for id in changed {
            if let (Some((view, _)), Some(entry)) = (state.dags.get_mut(id), kernel.dags().get(id))
            {
                view.next = entry.next;
                view.dag.clone_from(&entry.dag);
            }
        }
    }

    /// Publishes why things wait.
    pub(crate) fn publish_waits(&self, kernel: &Kernel, now: Timestamp) {
        let waits = kernel.admission().waits(now);
        self.write().waits = waits;
    }

    /// A run that is held here.
    pub fn run(&self, id: &RunId) -> Option<RunView> {
        let state = self.read();
        let live = state.runs.get(id)?;
        Some(RunView {
            head: live.head.clone(),
            tasks: live.tasks.clone(),
            dag: Some(Arc::clone(&live.dag)),
            waits: waits_of(&state, live),
        })
    }

    /// Items of a mapped task that are held here, from `first` on, and whether the run is.
    pub fn items(&self, id: &RunId, task: TaskIx, first: u32) -> Vec<StoredItem> {
        let state = self.read();
        let live = state.runs.get(id).into_iter();
        let items = live.flat_map(|live| live.items.range((task, first)..=(task, u32::MAX)));
        items.map(|(_, (_, item))| item.clone()).collect()
    }

    /// The state of a run that is held here.
    pub fn run_state(&self, id: &RunId) -> Option<RunState> {
        self.read().runs.get(id).map(|live| live.head.state)
    }

    /// Runs that are held here and match, newest first, at most `query.limit`; and all that are
    /// held here in the same moment.
    pub fn runs(&self, query: &RunQuery) -> (Vec<RunSummary>, HashSet<RunId>) {
        let state = self.read();
        let mut found: Vec<&LiveRun> = state
            .runs
            .values()
            .filter(|live| {
                let head = &live.head;
                query.dag.as_ref().is_none_or(|dag| *dag == head.id.dag)
                    && (query.states.is_empty() || query.states.contains(&head.state))
                    && query
                        .after
                        .as_ref()
                        .is_none_or(|(at, id)| (head.created_at, &head.id) < (*at, id))
            })
            .collect();
        found.sort_by(|a, b| (b.head.created_at, &b.head.id).cmp(&(a.head.created_at, &a.head.id)));
        found.truncate(query.limit);
        (found.into_iter().map(summary_of).collect(), state.runs.keys().cloned().collect())
    }

    /// Every DAG.
    pub fn dags(&self) -> Vec<DagView> {
        self.read().dags.values().map(|(view, _)| view.clone()).collect()
    }

    /// A DAG.
    pub fn dag(&self, id: &DagId) -> Option<DagView> {
        self.read().dags.get(id).map(|(view, _)| view.clone())
    }

    /// The run that called for a run that is not finished.
    pub fn caller(&self, run: &RunId) -> Option<RunId> {
        match &self.read().runs.get(run)?.head.trigger {
            Trigger::Call { run, .. } => Some(run.clone()),
            _ => None,
        }
    }

    /// What waits for a person's answer, oldest first.
    pub fn questions(&self) -> Vec<(RunId, Arc<Dag>, Instance, TaskRun)> {
        let state = self.read();
        let mut found = Vec::new();
        for live in state.runs.values().filter(|live| live.head.state == RunState::Running) {
            let asks = |ix: TaskIx| matches!(live.dag.task(ix).action, Action::Approve(_));
            let mut add = |at: Instance, task: &TaskRun| {
                let is_asked = asks(at.task) && task.state == TaskState::Waiting;
                if is_asked && task.attempts > 0 {
                    found.push((live.head.id.clone(), Arc::clone(&live.dag), at, task.clone()));
                }
            };
            for (i, task) in live.tasks.iter().enumerate() {
                add(TaskIx(i as u32).into(), task);
            }
            for (_, stored) in live.items.values() {
                let members = live.dag.members(stored.task).iter().copied();
                for (ix, task) in std::iter::once(stored.task).chain(members).zip(&stored.runs) {
                    add(Instance::of_item(ix, stored.item), task);
                }
            }
        }
        found.sort_by_key(|(run, _, at, task)| (task.started_at, run.clone(), *at));
        found
    }

    /// The pools.
    pub fn pools(&self) -> Vec<PoolState> {
        self.read().waits.pools().to_vec()
    }

    /// Runs by state: queued, running.
    pub fn run_counts(&self) -> (usize, usize) {
        let state = self.read();
        let count = |wanted| state.runs.values().filter(|run| run.head.state == wanted).count();
        (count(RunState::Queued), count(RunState::Running))
    }

    /// Finished runs that are still held, with the position of their last event.
    pub fn finished(&self) -> Vec<(RunId, Position)> {
        self.read()
            .runs
            .values()
            .filter(|live| live.head.state.is_final())
            .map(|live| (live.head.id.clone(), live.position))
            .collect()
    }

    /// Lets go of what the records hold up to `position`: items that have ended, and the run if it
    /// is finished.
    pub fn forget(&self, id: &RunId, position: Position) {
        let mut state = self.write();
        if let Some(live) = state.runs.get_mut(id) {
            live.items.retain(|_, (at, item)| *at > position || !has_ended(item));
        }
        if state.runs.get(id).is_some_and(|l| l.head.state.is_final() && l.position <= position) {
            state.runs.remove(id);
        }
    }

    /// The record of a run with the tasks that changed after `since`.
    pub fn run_record(&self, id: &RunId, since: Position) -> Option<Record> {
        let state = self.read();
        let live = state.runs.get(id)?;
        let tasks = (live.changed.iter().zip(&live.tasks).enumerate())
            .filter(|(_, (changed, _))| **changed > since)
            .map(|(i, (_, task))| (TaskIx(i as u32), task.clone()))
            .collect();
        let items = live.items.values().filter(|(changed, _)| *changed > since);
        let items = items.map(|(_, item)| item.clone()).collect();
        let summary = Box::new(summary_of(live));
        Some(Record::Run { position: live.position, summary, tasks, items })
    }

    /// The record of a DAG.
    pub fn dag_record(&self, id: &DagId) -> Option<Record> {
        let state = self.read();
        let (view, position) = state.dags.get(id)?;
        Some(Record::Dag { position: *position, id: id.clone(), record: view.record.clone() })
    }
}

fn has_ended(item: &StoredItem) -> bool {
    item.runs.first().is_some_and(|whole| whole.state.is_final())
}

fn summary_of(live: &LiveRun) -> RunSummary {
    let mut counts = [0_u32; 11];
    for task in &live.tasks {
        counts[task.state as usize] += 1;
    }
    RunSummary { head: live.head.clone(), counts }
}

/// Why a run's waiting tasks wait, in words.
fn waits_of(state: &State, live: &LiveRun) -> Vec<(Option<TaskIx>, String)> {
    let held = live.head.held_by.as_ref().filter(|_| !live.head.cancel_requested);
    if let Some(who) = held {
        return vec![(None, format!("it was paused by {who}; it goes on when it is resumed"))];
    }
    if live.head.state == RunState::Queued {
        let why = state.waits.why_run(&live.head).map(|why| why.to_string());
        return vec![(None, why.unwrap_or_else(|| "it starts in the next step".to_owned()))];
    }
    let mut waits = Vec::new();
    for (i, task) in live.tasks.iter().enumerate() {
        let ix = TaskIx(i as u32);
        let why = match task.state {
            TaskState::Pending => {
                let open: Vec<&str> = (live.dag.task(ix).upstream.iter())
                    .filter(|edge| !live.tasks[edge.task.at()].state.is_final())
                    .map(|edge| live.dag.task(edge.task).name.as_str())
                    .collect();
                match open.as_slice() {
                    [] => continue,
                    [one] => format!("waits for `{one}`"),
                    many => format!("waits for {}", quoted(many)),
                }
            }
            TaskState::Queued => {
                let task = live.dag.task(ix);
                match state.waits.why_task(&live.head.id.dag, task) {
                    Some(why) => why.to_string(),
                    None => format!("waits for its turn in pool `{}`", task.pool),
                }
            }
            TaskState::UpForRetry => match task.retry_at {
                Some(at) => {
                    let asked = task.error.as_ref().and_then(|error| error.asked_wait());
                    let asked = asked.map(|asked| format!("; {asked}")).unwrap_or_default();
                    format!("is tried again at {}{asked}", at.to_seconds_text())
                }
                None => continue,
            },
            TaskState::Waiting => match (&task.called, task.until, &live.dag.task(ix).action) {
                (Some(run), ..) => format!("waits for run {run}"),
                (_, Some(until), _) => format!("waits until {}", until.to_seconds_text()),
                (_, _, Action::Approve(_)) => match &task.reason {
                    Some(question) => format!("waits for an answer: {question}"),
                    None => "waits for an answer".to_owned(),
                },
                _ => task.reason.clone().unwrap_or_else(|| "it begins in the next step".to_owned()),
            },
            _ => continue,
        };
        waits.push((Some(ix), why));
    }
    waits
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A stored run as readers see it.
pub(crate) fn view_of(stored: StoredRun, dag: Option<Arc<Dag>>) -> RunView {
    let StoredRun { head, tasks, .. } = stored;
    RunView { head, tasks, dag, waits: Vec::new() }
}
