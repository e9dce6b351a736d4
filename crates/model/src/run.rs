//! One execution of a DAG, and the only function that changes it.
//!
//! **Invariants.**
//!
//! * An event that is not legal in the current state is an error and changes nothing. Which are
//!   legal is one table, `docs/state-machine.md`, that is generated from this file.
//! * A task in a final state leaves it only by a new generation, or because its group is tried
//!   again. A run is final only when all its tasks are, a group only when its members are.
//! * Attempts of a task are numbered from 1 without gaps, over all generations. At most one is
//!   under way, and only its number may report.
//! * No attempt starts in a run that is not running, or that is being cancelled.
//! * What is derived (counts of upstreams, ready tasks, timers, running tasks) is a function of
//!   the records alone: [`DagRun::restore`] of what is stored equals the live run.
//! * [`DagRun::apply`] costs as much as the task has downstreams, and a group that begins as much
//!   as it has members; only a new generation costs as much as the run has tasks. A mapped list
//!   costs a few bytes for each item that has ended or not begun.
//!
//! * [`records`]: what is stored; `items`: the items of a mapped task; `derived`: what follows from
//!   the records.

mod derived;
mod items;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dag::{Action, Dag};
use crate::decide::waiting::question_of;
use crate::event::{LostCause, RunEvent};
use crate::id::{Instance, RunId, TaskIx};
use crate::state::{AttemptOutcome, RunState, TaskState};
use crate::table::{FailureKind, TaskError, TaskResult};
use crate::time::Timestamp;
use crate::trigger_rule::Upstreams;

pub use items::{EndedItem, Item, MapRun};
pub use records::{
    ATTEMPTS_KEPT_MAX, AttemptRecord, MapCounts, RunHead, StoredItem, StoredRun, TaskRun,
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
        let RunEvent::Created { version, trigger, params, interval, at } = event else {
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
            cancel_requested: false,
            created_at: *at,
            started_at: None,
            finished_at: None,
        };
        let tasks = vec![TaskRun::default(); dag.tasks().len()];
        Ok(Self::restore(dag, StoredRun { head, tasks, items: Vec::new() }))
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
        // What is ending waits for its end, and for no instant.
        if self.head.cancel_requested {
            return None;
        }
        self.timers.iter().find(|(_, task)| !self.is_stopping(*task)).map(|(at, _)| *at)
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

    /// Records that `event` happened. The only function that changes a run.
    ///
    /// A `Reopened` event with another version needs [`DagRun::reopen`] instead, because the new
    /// version's definition is not part of the event.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), IllegalEvent> {
        match event.task() {
            Some(at) => self.apply_to_task(at, event),
            None => self.apply_to_run(event),
        }
    }

    fn apply_to_run(&mut self, event: &RunEvent) -> Result<(), IllegalEvent> {
        use RunState::{Queued, Running};
        match (self.head.state, event) {
            (Queued, RunEvent::Started { at }) if !self.head.cancel_requested => {
                self.head.state = Running;
                self.head.started_at = Some(*at);
                self.look_again_at_all();
            }
            (Queued | Running, RunEvent::CancelRequested { .. }) => {
                // Asked again it changes nothing, and is no error: two people may ask.
                self.head.cancel_requested = true;
                self.stir_all();
            }
            // Only a cancelled run ends without having begun.
            (from, RunEvent::Finished { state, at })
                if (from == Running || (from == Queued && self.head.cancel_requested))
                    && state.is_final()
                    && self.unfinished == 0 =>
            {
                self.head.state = *state;
                self.head.finished_at = Some(*at);
            }
            (state, RunEvent::Reopened { version, tasks, .. })
                if state.is_final() && *version == self.head.version =>
            {
                if tasks.iter().any(|t| t.at() >= self.tasks.len()) {
                    return Err(self.illegal(event));
                }
                self.open_generation(tasks);
            }
            _ => return Err(self.illegal(event)),
        }
        Ok(())
    }

    fn apply_to_task(&mut self, at: Instance, event: &RunEvent) -> Result<(), IllegalEvent> {
        let Some((before, attempts)) = self.as_it_is(at) else { return Err(self.illegal(event)) };
        let Some(after) = self.next_state(at, (before, attempts), event) else {
            return Err(self.illegal(event));
        };
        if self.instance(at).is_none() {
            self.begin_item(at);
        }
        self.unlist(at);
        self.note(at, event);
        self.step(at, after, event);
        self.list(at);
        self.look_at_container(at);
        Ok(())
    }

    /// The state and the attempts of an instance; an item that may begin is pending. `None` when
    /// there is no such instance that events could be about.
    fn as_it_is(&self, at: Instance) -> Option<(TaskState, u32)> {
        self.tasks.get(at.task.at())?;
        if at.item.is_none() && self.dag.is_repeated(at.task) {
            return None;
        }
        match self.instance(at) {
            Some(task) => Some((task.state, task.attempts)),
            None if self.is_next_item(at) => Some((TaskState::Pending, 0)),
            None => None,
        }
    }

    /// Whether it is the item of a mapped task that begins next.
    fn is_next_item(&self, at: Instance) -> bool {
        let Some(item) = at.item.filter(|_| self.dag.root(at.task) == Some(at.task)) else {
            return false;
        };
        let whole = self.task(at.task);
        whole.state == TaskState::Running
            && !whole.gathering
            && whole.map.as_ref().is_some_and(|map| item == map.begun && item < map.items)
    }

    /// The state that an event leads to; `None` when it cannot happen.
    fn next_state(
        &self,
        at: Instance,
        (before, attempts): (TaskState, u32),
        event: &RunEvent,
    ) -> Option<TaskState> {
        use TaskState::{Failed, Pending, Queued, Running, Skipped, UpForRetry, Waiting};
        let admitted = self.head.state == RunState::Running;
        let goes_on = admitted && !self.head.cancel_requested && !self.is_stopping(at);
        let takes_slot = self.takes_slot(at);
        // An attempt that waits is under way like any other.
        let waits = before == Waiting && !takes_slot;
        let after = match (before, event) {
            (Pending | UpForRetry | Waiting, RunEvent::TaskQueued { .. })
                if goes_on && takes_slot =>
            {
                Queued
            }
            (Pending, RunEvent::TaskWaiting { .. }) if admitted && takes_slot => Waiting,
            (Pending | Waiting, RunEvent::TaskSkipped { .. }) if admitted && !waits => Skipped,
            (Pending, RunEvent::TaskUpstreamFailed { .. }) if admitted => TaskState::UpstreamFailed,
            (Pending | UpForRetry | Waiting, RunEvent::TaskFailed { .. }) if admitted && !waits => {
                Failed
            }
            (Pending | Queued | UpForRetry | Waiting, RunEvent::TaskCancelled { .. })
                if !self.head.state.is_final() && !waits =>
            {
                TaskState::Cancelled
            }
            (Pending, RunEvent::TaskRemoved { .. }) if admitted => TaskState::Removed,
            (_, RunEvent::AttemptStarted { attempt, map, .. })
                if goes_on
                    && *attempt == attempts + 1
                    && map.is_some() == self.is_map(at)
                    && (before == Queued
                        || (!takes_slot && matches!(before, Pending | UpForRetry))) =>
            {
                if takes_slot || self.is_container(at) { Running } else { Waiting }
            }
            (Running | Waiting, event)
                if admitted && (before == Running || waits) && holds_token(attempts, event) =>
            {
                return self.next_of_running(at, event);
            }
            _ => return None,
        };
        Some(after)
    }

    /// Where the event of an attempt that is under way leads.
    fn next_of_running(&self, at: Instance, event: &RunEvent) -> Option<TaskState> {
        let task = self.instance(at)?;
        let is_container = self.is_container(at);
        let holds_nothing = !is_container || self.open_inside(at) == 0;
        match event {
            RunEvent::GroupStopped { .. } if is_container && !self.is_map(at) && !task.stopping => {
                Some(TaskState::Running)
            }
            RunEvent::AttemptGathers { .. }
                if self.is_map(at)
                    && holds_nothing
                    && !task.gathering
                    && !self.head.cancel_requested
                    && !self.is_stopping(at) =>
            {
                Some(TaskState::Running)
            }
            RunEvent::AttemptCalled { .. } => {
                let is_call = matches!(self.dag.task(at.task).action, Action::Call(_));
                (is_call && !is_container && task.called.is_none()).then_some(TaskState::Waiting)
            }
            RunEvent::AttemptAnswered { approved, .. } => {
                let is_asked = matches!(self.dag.task(at.task).action, Action::Approve(_));
                let after = if *approved { TaskState::Succeeded } else { TaskState::Failed };
                (is_asked && !is_container).then_some(after)
            }
            RunEvent::AttemptLost { again, .. } if is_container => match (task.gathering, again) {
                (false, _) => None,
                // What was gathered is gathered anew.
                (true, true) => Some(TaskState::Running),
                (true, false) => Some(TaskState::Failed),
            },
            _ if !holds_nothing => None,
            RunEvent::AttemptSucceeded { .. } => Some(TaskState::Succeeded),
            RunEvent::AttemptFailed { retry_at: Some(_), .. } if !self.is_map(at) => {
                Some(TaskState::UpForRetry)
            }
            RunEvent::AttemptFailed { retry_at: None, .. } => Some(TaskState::Failed),
            RunEvent::AttemptSkipped { .. } => Some(TaskState::Skipped),
            RunEvent::AttemptCancelled { .. } => Some(TaskState::Cancelled),
            RunEvent::AttemptLost { again: true, .. } if self.takes_slot(at) => {
                Some(TaskState::Queued)
            }
            RunEvent::AttemptLost { again: false, .. } => Some(TaskState::Failed),
            _ => None,
        }
    }

    /// Moves an instance to its next state, and what it holds with it.
    fn step(&mut self, at: Instance, after: TaskState, event: &RunEvent) {
        let Some(task) = self.instance_mut(at) else { return };
        let before = std::mem::replace(&mut task.state, after);
        if before == TaskState::UpForRetry {
            task.retry_at = None;
        }
        match after {
            TaskState::Queued => task.queued_at = Some(event.at()),
            TaskState::Waiting if before != TaskState::Waiting => {
                if let RunEvent::AttemptStarted { until, .. } = event {
                    task.attempts += 1;
                    task.started_at = Some(event.at());
                    task.until = *until;
                }
            }
            // What was gathered in vain is gathered anew, under a new number; the items stay.
            TaskState::Running
                if before != TaskState::Running
                    || matches!(event, RunEvent::AttemptLost { .. }) =>
            {
                task.attempts += 1;
                task.started_at = Some(event.at());
            }
            TaskState::UpForRetry => task.retries += 1,
            _ if after.is_final() => task.finished_at = Some(event.at()),
            _ => {}
        }
        if after != TaskState::Running {
            (task.stopping, task.gathering) = (false, false);
        }
        self.count_item(at, before, after);
        if let RunEvent::AttemptStarted { map, .. } = event {
            match map {
                Some(plan) => self.begin_map(at.task, *plan, event.at()),
                None if self.is_container(at) => {
                    self.begin_members(at, before == TaskState::UpForRetry);
                }
                None => {}
            }
        }
        if after.is_final() {
            self.ended(at, after, event.at());
        }
        if matches!(event, RunEvent::GroupStopped { .. }) {
            // Mapped members are to end as well.
            self.inside(at).into_iter().for_each(|member| self.stir(member));
        }
    }

    /// Writes down what an event says about a task besides its state.
    fn note(&mut self, at: Instance, event: &RunEvent) {
        let generation = self.head.generation;
        // What is asked follows from what is stored, like everything else.
        let question = match event {
            RunEvent::AttemptStarted { .. } => question_of(self, at),
            _ => None,
        };
        let Some(task) = self.instance_mut(at) else { return };
        let mut ended = None;
        match event {
            RunEvent::TaskWaiting { reason, .. } | RunEvent::TaskSkipped { reason, .. } => {
                task.reason = Some(reason.clone());
            }
            RunEvent::TaskFailed { error, .. } => task.error = Some(Box::new(error.clone())),
            RunEvent::AttemptStarted { .. } => {
                (task.error, task.reason) = (None, question);
                (task.until, task.called) = (None, None);
            }
            RunEvent::AttemptCalled { run, .. } => task.called = Some(run.clone()),
            RunEvent::AttemptAnswered { approved: true, values, who, note, .. } => {
                let mut outputs = values.clone();
                outputs.insert("by".to_owned(), who.clone().into());
                outputs.insert("note".to_owned(), note.clone().into());
                task.result = Some(Box::new(TaskResult { outputs, ..TaskResult::default() }));
                ended = Some((AttemptOutcome::Succeeded, None));
            }
            RunEvent::AttemptAnswered { approved: false, who, note, .. } => {
                let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                let message = format!("{who} said no{note}");
                ended = Some((AttemptOutcome::Failed, Some(line_of(&message))));
                task.error = Some(Box::new(TaskError::new(FailureKind::Refused, message)));
            }
            RunEvent::GroupStopped { .. } => task.stopping = true,
            RunEvent::AttemptGathers { .. } => task.gathering = true,
            RunEvent::AttemptSucceeded { result, .. } => {
                task.result = Some(Box::new(result.clone()));
                ended = Some((AttemptOutcome::Succeeded, None));
            }
            RunEvent::AttemptFailed { error, retry_at, .. } => {
                task.error = Some(Box::new(error.clone()));
                task.retry_at = *retry_at;
                ended = Some((AttemptOutcome::Failed, Some(line_of(&error.message))));
            }
            RunEvent::AttemptSkipped { reason, .. } => {
                task.reason = Some(reason.clone());
                ended = Some((AttemptOutcome::Skipped, None));
            }
            RunEvent::AttemptCancelled { .. } => ended = Some((AttemptOutcome::Cancelled, None)),
            RunEvent::AttemptLost { cause, again, .. } => {
                task.lost += u32::from(*cause == LostCause::Crash);
                let error = lost_error(*cause);
                if !again {
                    task.error = Some(Box::new(error.clone()));
                }
                task.gathering = false;
                ended = Some((AttemptOutcome::Lost, Some(error.message)));
            }
            _ => {}
        }
        if let Some((outcome, error)) = ended {
            if outcome != AttemptOutcome::Skipped {
                task.reason = None;
            }
            if task.history.len() == ATTEMPTS_KEPT_MAX {
                task.history.remove(0);
            }
            task.history.push(AttemptRecord {
                attempt: task.attempts,
                generation,
                started_at: task.started_at.unwrap_or(event.at()),
                finished_at: event.at(),
                outcome,
                error,
            });
        }
    }

    fn open_generation(&mut self, tasks: &[TaskIx]) {
        self.head.state = RunState::Queued;
        self.head.generation += 1;
        self.head.cancel_requested = false;
        self.head.started_at = None;
        self.head.finished_at = None;
        let dag = Arc::clone(&self.dag);
        let mut again: BTreeSet<TaskIx> = tasks.iter().copied().collect();
        // A member goes again inside its group; a group of items goes again as a whole.
        again.extend(tasks.iter().filter_map(|ix| dag.task(*ix).group));
        for ix in again.clone() {
            if dag.task(ix).mapping.is_some() {
                again.extend(dag.members(ix));
                self.maps.remove(&ix);
            }
        }
        for ix in again {
            let task = &mut self.tasks[ix.at()];
            let attempts = task.attempts;
            let history = std::mem::take(&mut task.history);
            *task = TaskRun { attempts, history, ..TaskRun::default() };
        }
        self.derive();
    }

    /// A rerun on another version of the DAG. Tasks keep their past by name; the event's tasks
    /// are pending again, and so are tasks that the old version did not have.
    pub fn reopen(&mut self, dag: Arc<Dag>, event: &RunEvent) -> Result<(), IllegalEvent> {
        let RunEvent::Reopened { version, tasks, .. } = event else {
            return Err(self.illegal(event));
        };
        if !self.head.state.is_final()
            || *version != dag.version
            || tasks.iter().any(|t| t.at() >= dag.tasks().len())
        {
            return Err(self.illegal(event));
        }
        let old = std::mem::take(&mut self.tasks);
        self.tasks = dag
            .tasks()
            .iter()
            .map(|t| self.dag.find(t.name.as_str()).map(|ix| old[ix.at()].clone()))
            .map(Option::unwrap_or_default)
            .collect();
        // Items are known by places of the old version, and what they gave is in the whole.
        self.maps.clear();
        self.dag = dag;
        self.head.version = version.clone();
        self.open_generation(tasks);
        Ok(())
    }

    fn illegal(&self, event: &RunEvent) -> IllegalEvent {
        let at = event.task().filter(|at| self.tasks.get(at.task.at()).is_some());
        match at.and_then(|at| Some((at, self.instance(at)?))) {
            Some((at, task)) => IllegalEvent {
                event: event.name(),
                what: format!(
                    "task `{}` of run {} (attempt {})",
                    self.dag.name_of(at),
                    self.head.id,
                    task.attempts
                ),
                state: task.state.label(),
            },
            None => IllegalEvent {
                event: event.name(),
                what: format!("run {}", self.head.id),
                state: self.head.state.label(),
            },
        }
    }
}

/// Whether an attempt's report carries the current token.
fn holds_token(current: u32, event: &RunEvent) -> bool {
    match event {
        RunEvent::AttemptSucceeded { attempt, .. }
        | RunEvent::AttemptFailed { attempt, .. }
        | RunEvent::AttemptSkipped { attempt, .. }
        | RunEvent::AttemptCancelled { attempt, .. }
        | RunEvent::AttemptLost { attempt, .. }
        | RunEvent::GroupStopped { attempt, .. }
        | RunEvent::AttemptCalled { attempt, .. }
        | RunEvent::AttemptAnswered { attempt, .. }
        | RunEvent::AttemptGathers { attempt, .. } => *attempt == current,
        _ => false,
    }
}

/// The error of an attempt that nobody can know the outcome of.
pub fn lost_error(cause: LostCause) -> TaskError {
    let message = match cause {
        LostCause::Crash => {
            "the server ended while this attempt ran; what it had started was ended"
        }
        LostCause::Shutdown => "the server was stopped while this attempt ran",
    };
    TaskError::new(FailureKind::Lost, message)
}

/// The first line of a message, at most 160 characters.
fn line_of(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(160).collect()
}
