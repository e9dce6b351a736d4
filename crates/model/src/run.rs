//! One execution of a DAG, and what there is to ask it.
//!
//! **Invariants.**
//!
//! * An event that is not legal in the current state is an error and changes nothing. Which are
//!   legal is one table, `docs/state-machine.md`, that is generated from `apply`.
//! * A task in a final state leaves it only by a new generation, or because its group is tried
//!   again. A run is final only when all its tasks are, a group only when its members are.
//! * Attempts of a task, and of each item, are counted up over all generations; no number is given
//!   twice, whichever version a rerun takes. At most one is
//!   under way, and only its number may report.
//! * No attempt starts in a run that is not running, or that is being cancelled.
//! * What is derived (counts of upstreams, ready tasks, timers, running tasks) is a function of
//!   the records alone: [`DagRun::restore`] of what is stored equals the live run.
//! * [`DagRun::apply`] costs as much as the task has downstreams, and a group that begins as much
//!   as it has members; only a new generation costs as much as the run has tasks. A mapped list
//!   costs a few bytes for each item that has ended or not begun.
//!
//! * `apply`: what events make of a run; [`records`]: what is stored; `items`: the items of a mapped task; `derived`: what follows from
//!   the records.

pub(crate) mod apply;
mod derived;
mod items;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dag::Dag;
use crate::event::{LostCause, RunEvent};
use crate::id::{Instance, RunId, TaskIx};
use crate::state::RunState;
use crate::table::{FailureKind, TaskError};
use crate::time::Timestamp;
use crate::trigger_rule::Upstreams;

pub use items::{EndedItem, Item, MapRun};
pub use records::{
    ATTEMPTS_KEPT_MAX, AttemptRecord, MapCounts, NOTE_CHARS_MAX, Note, RunHead, StoredItem,
    StoredRun, TaskRun,
};

/// Lost attempts that a task may have before it fails, apart from its retries.
pub const LOST_ATTEMPTS_MAX: u32 = 3;

/// A run: the fold of its events.
#[derive(Debug, Clone)]
pub struct DagRun {
    /// The facts about the run itself.
    pub head: RunHead,
    dag: Arc<Dag>,
    tasks: Vec<TaskRun>,
    /// Mapped tasks that have begun.
    maps: BTreeMap<TaskIx, MapRun>,
    waits: Vec<Upstreams>,
    /// Members of groups that have not ended, by the group's place.
    open_members: Vec<u32>,
    unfinished: u32,
    /// Instances that have not ended and that nothing works on.
    idle: u32,
    ready: BTreeSet<Instance>,
    timers: BTreeSet<(Timestamp, Instance)>,
    running: BTreeSet<Instance>,
    /// Groups and mapped tasks for which there is something to decide.
    stirred: BTreeSet<Instance>,
    /// What waits for runs that it called for.
    calls: BTreeMap<Instance, RunId>,
}

/// An event that cannot happen to a run in its state. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` cannot happen to {what} in state `{state}`")]
pub struct IllegalEvent {
    /// The event's name.
    pub event: &'static str,
    /// The run, or the task with the attempt.
    pub what: String,
    /// The state it is in.
    pub state: &'static str,
}

impl DagRun {
    /// A run from its first event. Any other event is illegal.
    pub fn create(dag: Arc<Dag>, id: RunId, event: &RunEvent) -> Result<Self, IllegalEvent> {
        let RunEvent::Created { version, trigger, params, interval, lane, at } = event else {
            return Err(IllegalEvent {
                event: event.name(),
                what: format!("run {id}"),
                state: "not created",
            });
        };
        let head = RunHead {
            id,
            version: version.clone(),
            state: RunState::Queued,
            generation: 1,
            trigger: trigger.clone(),
            params: params.clone(),
            interval: *interval,
            lane: lane.clone(),
            cancel_requested: false,
            reason: None,
            timed_out: false,
            held_by: None,
            note: None,
            past_attempts: 0,
            created_at: *at,
            started_at: None,
            finished_at: None,
        };
        let tasks = vec![TaskRun::default(); dag.tasks().len()];
        Ok(Self::restore(dag, StoredRun { head, tasks, items: Vec::new() }))
    }

    /// The attempts that an instance has had; of an item that has not begun, those that its own are
    /// counted on from.
    pub fn attempts_of(&self, at: Instance) -> u32 {
        if let Some(task) = self.instance(at) {
            return task.attempts;
        }
        let root = self.dag.root(at.task).filter(|_| at.item.is_some());
        root.and_then(|root| self.task(root).map.as_ref()).map_or(0, |counts| counts.base)
    }

    /// A run from its stored records. What can be derived is derived here, in one place.
    pub fn restore(dag: Arc<Dag>, stored: StoredRun) -> Self {
        let StoredRun { head, mut tasks, items } = stored;
        tasks.resize_with(dag.tasks().len(), TaskRun::default);
        let mut run = Self {
            head,
            maps: BTreeMap::new(),
            waits: Vec::new(),
            open_members: Vec::new(),
            unfinished: 0,
            idle: 0,
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            running: BTreeSet::new(),
            stirred: BTreeSet::new(),
            calls: BTreeMap::new(),
            dag,
            tasks,
        };
        run.take_in(items);
        run.derive();
        run
    }

    /// The DAG version it runs.
    pub fn dag(&self) -> &Arc<Dag> {
        &self.dag
    }

    /// Its tasks, in the order of the DAG version.
    pub fn tasks(&self) -> &[TaskRun] {
        &self.tasks
    }

    /// One of its tasks.
    pub fn task(&self, ix: TaskIx) -> &TaskRun {
        &self.tasks[ix.at()]
    }

    /// A task, or an item that has begun and that is still remembered in full.
    pub fn instance(&self, at: Instance) -> Option<&TaskRun> {
        let task = self.tasks.get(at.task.at())?;
        let Some(item) = at.item else { return Some(task) };
        let root = self.dag.root(at.task)?;
        self.maps.get(&root)?.item(item)?.runs.get(self.dag.ordinal(at.task))
    }

    /// A mapped task that has begun.
    pub fn map(&self, ix: TaskIx) -> Option<&MapRun> {
        self.maps.get(&ix)
    }

    /// Every mapped task that has begun.
    pub fn maps(&self) -> impl Iterator<Item = (TaskIx, &MapRun)> {
        self.maps.iter().map(|(ix, map)| (*ix, map))
    }

    /// Keeps of items that have ended only what may still be asked for: their state and their
    /// result. Whoever wants more reads it before.
    pub fn forget_ended_items(&mut self) {
        self.maps.values_mut().for_each(MapRun::forget_ended);
    }

    /// How many tasks are not in a final state.
    pub fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// How many instances have not ended and have no attempt under way.
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// Pending tasks whose trigger rule has something to say.
    pub fn ready(&self) -> impl Iterator<Item = Instance> {
        self.ready.iter().copied()
    }

    /// Groups and mapped tasks for which there is something to decide.
    pub fn stirred(&self) -> impl Iterator<Item = Instance> {
        self.stirred.iter().copied()
    }

    /// What waits for a run that it called for, and that run.
    pub fn calls(&self) -> impl Iterator<Item = (Instance, &RunId)> {
        self.calls.iter().map(|(at, run)| (*at, run))
    }

    /// What has an attempt under way that somebody works on.
    pub fn running(&self) -> impl ExactSizeIterator<Item = Instance> {
        self.running.iter().copied()
    }

    /// The next instant at which time alone makes something happen.
    pub fn next_timer(&self) -> Option<Timestamp> {
        // What is ending waits for its end, what stands still for somebody, and neither for an instant.
        if self.head.cancel_requested || self.head.held_by.is_some() {
            return None;
        }
        let of_task = self.timers.iter().find(|(_, task)| !self.is_stopping(*task));
        of_task.map(|(at, _)| *at).into_iter().chain(self.ends_at()).min()
    }

    /// When it has taken as long as it may.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let begun = self.head.started_at.filter(|_| self.head.state == RunState::Running)?;
        Some(begun.plus(self.dag.timeout?))
    }

    /// What has a retry that is due, or a timeout that has passed.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = Instance> {
        self.timers.iter().take_while(move |(at, _)| *at <= now).map(|(_, task)| *task)
    }

    /// Every instance that has not ended, the parts of mapped tasks that have not begun apart.
    pub fn open_instances(&self) -> impl Iterator<Item = Instance> {
        let tasks = (0..self.tasks.len() as u32).map(TaskIx);
        let tasks = tasks.filter(|ix| !self.dag.is_repeated(*ix)).map(Instance::from);
        let items = self.maps.iter().flat_map(|(root, map)| {
            let members = self.dag.members(*root);
            let whole = std::iter::once(*root).chain(members.iter().copied());
            let whole: Vec<TaskIx> = whole.collect();
            map.items().flat_map(move |(item, of_item)| {
                let begun = whole.clone().into_iter().take(of_item.runs.len());
                begun.map(move |task| Instance::of_item(task, item))
            })
        });
        tasks
            .chain(items)
            .filter(|at| self.instance(*at).is_some_and(|task| !task.state.is_final()))
    }

    /// What holds an instance: its group, or the mapped task whose item it is.
    pub fn container(&self, at: Instance) -> Option<Instance> {
        if at.item.is_some() && self.dag.root(at.task) == Some(at.task) {
            return Some(at.task.into());
        }
        let group = self.dag.task(at.task).group?;
        Some(Instance { task: group, ..at })
    }

    /// What a container holds: the members of a group, or the items of a mapped task that have begun
    /// and are remembered in full.
    pub fn inside(&self, at: Instance) -> Vec<Instance> {
        if self.is_map(at) {
            let items = self.maps.get(&at.task).into_iter().flat_map(MapRun::items);
            return items.map(|(item, _)| Instance::of_item(at.task, item)).collect();
        }
        let members = self.dag.members(at.task).iter();
        members.map(|task| Instance { task: *task, ..at }).collect()
    }

    /// Whether it is a group, or a mapped task as a whole: no work of its own.
    pub fn is_container(&self, at: Instance) -> bool {
        let task = self.dag.task(at.task);
        task.is_group() || self.is_map(at)
    }

    /// Whether its attempts take a slot: those of groups and of what waits do not.
    pub fn takes_slot(&self, at: Instance) -> bool {
        !self.is_container(at) && !self.dag.task(at.task).waits()
    }

    /// Whether it is a mapped task as a whole.
    pub fn is_map(&self, at: Instance) -> bool {
        at.item.is_none() && self.dag.task(at.task).mapping.is_some()
    }

    /// Whether nothing of it may start any more, because its group is to end.
    pub fn is_stopping(&self, at: Instance) -> bool {
        let mut inner = at;
        while let Some(outer) = self.container(inner) {
            let stops = self.instance(outer).is_some_and(|task| task.stopping);
            if stops && !self.dag.task(inner.task).is_finally {
                return true;
            }
            inner = outer;
        }
        false
    }
}

/// The error of an attempt that nobody can know the outcome of.
pub fn lost_error(cause: LostCause) -> TaskError {
    let message = match cause {
        LostCause::Crash => {
            "the server ended while this attempt ran; what it had started was ended"
        }
        LostCause::Shutdown => "the server was stopped while this attempt ran",
        LostCause::Supervisor => {
            "the supervisor of commands ended while this attempt ran; what it had started was ended"
        }
    };
    TaskError::new(FailureKind::Lost, message)
}
