//! One execution of a DAG, and the only function that changes it.
//!
//! **Invariants.**
//!
//! * An event that is not legal in the current state is an error and changes nothing. Which are
//!   legal is one table, `docs/state-machine.md`, that is generated from this file.
//! * A task in a final state leaves it only by a new generation. A run is final only when all its
//!   tasks are.
//! * Attempts of a task are numbered from 1 without gaps, over all generations. At most one is
//!   under way, and only its number may report.
//! * No attempt starts in a run that is not running, or that is being cancelled.
//! * What is derived (counts of upstreams, ready tasks, timers, running tasks) is a function of
//!   the records alone: [`DagRun::restore`] of what is stored equals the live run.
//! * [`DagRun::apply`] costs as much as the task has downstreams; only a new generation costs as
//!   much as the run has tasks.

mod records;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dag::Dag;
use crate::event::{LostCause, RunEvent};
use crate::id::{RunId, TaskIx};
use crate::state::{AttemptOutcome, RunState, TaskState};
use crate::table::{FailureKind, TaskError};
use crate::time::Timestamp;
use crate::trigger_rule::{Upstreams, Verdict};

pub use records::{ATTEMPTS_KEPT_MAX, AttemptRecord, RunHead, StoredRun, TaskRun};

/// Lost attempts that a task may have before it fails, apart from its retries.
pub const LOST_ATTEMPTS_MAX: u32 = 3;

/// A run: the fold of its events.
#[derive(Debug, Clone)]
pub struct DagRun {
    /// The facts about the run itself.
    pub head: RunHead,
    dag: Arc<Dag>,
    tasks: Vec<TaskRun>,
    waits: Vec<Upstreams>,
    unfinished: u32,
    ready: BTreeSet<TaskIx>,
    timers: BTreeSet<(Timestamp, TaskIx)>,
    running: BTreeSet<TaskIx>,
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
        Ok(Self::restore(dag, StoredRun { head, tasks }))
    }

    /// A run from its stored records. What can be derived is derived here, in one place.
    pub fn restore(dag: Arc<Dag>, stored: StoredRun) -> Self {
        let StoredRun { head, mut tasks } = stored;
        tasks.resize_with(dag.tasks().len(), TaskRun::default);
        let mut run = Self {
            head,
            waits: Vec::new(),
            unfinished: 0,
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            running: BTreeSet::new(),
            dag,
            tasks,
        };
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

    /// How many tasks are not in a final state.
    pub fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// Pending tasks whose trigger rule has something to say.
    pub fn ready(&self) -> impl Iterator<Item = TaskIx> {
        self.ready.iter().copied()
    }

    /// Tasks with an attempt under way.
    pub fn running(&self) -> impl ExactSizeIterator<Item = TaskIx> {
        self.running.iter().copied()
    }

    /// The next instant at which time alone makes something happen.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Tasks whose retry is due.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = TaskIx> {
        self.timers.iter().take_while(move |(at, _)| *at <= now).map(|(_, task)| *task)
    }

    /// What the trigger rule of a task says now.
    pub fn verdict(&self, ix: TaskIx) -> Verdict {
        self.dag.task(ix).trigger_rule.verdict(self.waits[ix.at()])
    }

    /// Records that `event` happened. The only function that changes a run.
    ///
    /// A `Reopened` event with another version needs [`DagRun::reopen`] instead, because the new
    /// version's definition is not part of the event.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), IllegalEvent> {
        match event.task() {
            Some(task) if self.tasks.get(task.at()).is_some() => self.apply_to_task(task, event),
            Some(_) => Err(self.illegal(event)),
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

    fn apply_to_task(&mut self, ix: TaskIx, event: &RunEvent) -> Result<(), IllegalEvent> {
        use TaskState::{Failed, Pending, Queued, Running, Skipped, UpForRetry, Waiting};
        let before = self.tasks[ix.at()].state;
        let admitted = self.head.state == RunState::Running;
        let goes_on = admitted && !self.head.cancel_requested;
        let after = match (before, event) {
            (Pending | UpForRetry | Waiting, RunEvent::TaskQueued { .. }) if goes_on => Queued,
            (Pending, RunEvent::TaskWaiting { .. }) if admitted => Waiting,
            (Pending | Waiting, RunEvent::TaskSkipped { .. }) if admitted => Skipped,
            (Pending, RunEvent::TaskUpstreamFailed { .. }) if admitted => TaskState::UpstreamFailed,
            (Pending | Waiting, RunEvent::TaskFailed { .. }) if admitted => Failed,
            (Pending | Queued | UpForRetry | Waiting, RunEvent::TaskCancelled { .. })
                if !self.head.state.is_final() =>
            {
                TaskState::Cancelled
            }
            (Pending, RunEvent::TaskRemoved { .. }) if admitted => TaskState::Removed,
            (Queued, RunEvent::AttemptStarted { attempt, .. })
                if goes_on && *attempt == self.tasks[ix.at()].attempts + 1 =>
            {
                Running
            }
            (Running, event) if admitted && self.holds_token(ix, event) => match event {
                RunEvent::AttemptSucceeded { .. } => TaskState::Succeeded,
                RunEvent::AttemptFailed { retry_at: Some(_), .. } => UpForRetry,
                RunEvent::AttemptFailed { retry_at: None, .. } => Failed,
                RunEvent::AttemptSkipped { .. } => Skipped,
                RunEvent::AttemptCancelled { .. } => TaskState::Cancelled,
                RunEvent::AttemptLost { again: true, .. } => Queued,
                RunEvent::AttemptLost { again: false, .. } => Failed,
                _ => return Err(self.illegal(event)),
            },
            _ => return Err(self.illegal(event)),
        };
        self.note(ix, event);
        self.step(ix, after, event.at());
        Ok(())
    }

    /// Whether an attempt's report carries the current token.
    fn holds_token(&self, ix: TaskIx, event: &RunEvent) -> bool {
        match event {
            RunEvent::AttemptSucceeded { attempt, .. }
            | RunEvent::AttemptFailed { attempt, .. }
            | RunEvent::AttemptSkipped { attempt, .. }
            | RunEvent::AttemptCancelled { attempt, .. }
            | RunEvent::AttemptLost { attempt, .. } => *attempt == self.tasks[ix.at()].attempts,
            _ => false,
        }
    }

    /// Moves a task to its next state and keeps everything derived in step.
    fn step(&mut self, ix: TaskIx, after: TaskState, at: Timestamp) {
        let task = &mut self.tasks[ix.at()];
        let before = std::mem::replace(&mut task.state, after);
        if before == TaskState::Running {
            self.running.remove(&ix);
        }
        if let Some(retry_at) = task.retry_at.filter(|_| before == TaskState::UpForRetry) {
            self.timers.remove(&(retry_at, ix));
            task.retry_at = None;
        }
        self.ready.remove(&ix);
        match after {
            TaskState::Queued => task.queued_at = Some(at),
            TaskState::Running => {
                task.attempts += 1;
                task.started_at = Some(at);
                self.running.insert(ix);
            }
            TaskState::UpForRetry => {
                task.retries += 1;
                if let Some(retry_at) = task.retry_at {
                    self.timers.insert((retry_at, ix));
                }
            }
            _ if after.is_final() => {
                task.finished_at = Some(at);
                self.unfinished -= 1;
                self.tell_downstream(ix, after);
            }
            _ => {}
        }
    }

    /// Writes down what an event says about a task besides its state.
    fn note(&mut self, ix: TaskIx, event: &RunEvent) {
        let generation = self.head.generation;
        let task = &mut self.tasks[ix.at()];
        let mut ended = None;
        match event {
            RunEvent::TaskWaiting { reason, .. } | RunEvent::TaskSkipped { reason, .. } => {
                task.reason = Some(reason.clone());
            }
            RunEvent::TaskFailed { error, .. } => task.error = Some(Box::new(error.clone())),
            RunEvent::AttemptStarted { .. } => {
                task.error = None;
                task.reason = None;
            }
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
                ended = Some((AttemptOutcome::Lost, Some(error.message)));
            }
            _ => {}
        }
        if let Some((outcome, error)) = ended {
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

    fn tell_downstream(&mut self, ix: TaskIx, state: TaskState) {
        let dag = Arc::clone(&self.dag);
        for down in dag.downstream(ix) {
            count(&mut self.waits[down.at()], state);
            self.look_again(*down);
        }
    }

    fn look_again(&mut self, ix: TaskIx) {
        if self.head.state == RunState::Running
            && self.tasks[ix.at()].state == TaskState::Pending
            && self.verdict(ix) != Verdict::Wait
        {
            self.ready.insert(ix);
        }
    }

    fn look_again_at_all(&mut self) {
        for i in 0..self.tasks.len() {
            self.look_again(TaskIx(i as u32));
        }
    }

    fn open_generation(&mut self, tasks: &[TaskIx]) {
        self.head.state = RunState::Queued;
        self.head.generation += 1;
        self.head.cancel_requested = false;
        self.head.started_at = None;
        self.head.finished_at = None;
        for ix in tasks {
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
        self.dag = dag;
        self.head.version = version.clone();
        self.open_generation(tasks);
        Ok(())
    }

    fn derive(&mut self) {
        self.waits = (self.dag.tasks().iter())
            .map(|task| Upstreams { total: task.upstream.len() as u32, ..Upstreams::default() })
            .collect();
        self.ready.clear();
        self.timers.clear();
        self.running.clear();
        self.unfinished = 0;
        let dag = Arc::clone(&self.dag);
        for (i, task) in self.tasks.iter().enumerate() {
            let ix = TaskIx(i as u32);
            if task.state.is_final() {
                for down in dag.downstream(ix) {
                    count(&mut self.waits[down.at()], task.state);
                }
            } else {
                self.unfinished += 1;
            }
            if task.state == TaskState::Running {
                self.running.insert(ix);
            }
            if let (TaskState::UpForRetry, Some(at)) = (task.state, task.retry_at) {
                self.timers.insert((at, ix));
            }
        }
        self.look_again_at_all();
    }

    fn illegal(&self, event: &RunEvent) -> IllegalEvent {
        let task = event.task().and_then(|ix| Some((ix, self.tasks.get(ix.at())?)));
        match task {
            Some((ix, task)) => IllegalEvent {
                event: event.name(),
                what: format!(
                    "task `{}` of run {} (attempt {})",
                    self.dag.task(ix).name,
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

fn count(waits: &mut Upstreams, state: TaskState) {
    match state {
        TaskState::Succeeded => waits.succeeded += 1,
        TaskState::Skipped => waits.skipped += 1,
        TaskState::Failed | TaskState::Cancelled => waits.failed += 1,
        TaskState::UpstreamFailed => waits.upstream_failed += 1,
        // A removed task is no upstream any more.
        TaskState::Removed => waits.total -= 1,
        _ => {}
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
