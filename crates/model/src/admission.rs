//! What may start now, across all runs: one serial decision inside the commit.
//!
//! Admission is the fold of the same events as the runs; it holds queues and counts, never time
//! or tasks of its own. `runs` admits runs, `tasks` their
//! attempts, and `waits` says why something waits. No queue blocks another: what
//! one limit holds back stands in a lane of its own, and of the first of each lane the one with the
//! highest priority goes first, and of those the one of the oldest run.
//!
//! **Invariants.** Runs in state `Running` and attempts under way never exceed [`Limits`], runs that
//! have one key never the `concurrency` of their DAG; a pool never hands out more than its slots,
//! however often those change. What admission starts may start: its events are legal for their runs.

mod runs;
mod tasks;
mod waits;

use std::time::Duration;

use crate::dag::{Dag, Pace};
use crate::event::{DagEvent, Event, RunEvent, Trigger};
use crate::id::{DagId, Instance, PoolName, RunId, TaskName};
use crate::run::DagRun;
use crate::state::{RunState, TaskState};
use crate::time::Timestamp;
use runs::RunQueues;
use tasks::TaskQueues;
pub use waits::{PoolState, WaitReason, Waits};

/// Limits over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Runs in state `Running`.
    pub running_runs_max: u32,
    /// Attempts under way.
    pub running_attempts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { running_runs_max: 256, running_attempts_max: 256 }
    }
}

/// The pool of tasks that name none.
pub const DEFAULT_POOL: &str = "default";

/// Slots of the default pool, where `pools.yaml` does not say otherwise.
pub const DEFAULT_POOL_SLOTS: u32 = 32;

/// Oldest first.
type RunKey = (Timestamp, RunId);

/// Queues, pools and limits.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    limits: Limits,
    runs: RunQueues,
    tasks: TaskQueues,
}

impl Admission {
    /// Nothing queued, nothing running.
    pub fn new(limits: Limits, pools: impl IntoIterator<Item = (PoolName, u32)>) -> Self {
        let mut admission = Self { limits, ..Self::default() };
        admission.set_pools(pools);
        admission
    }

    /// Changes the slots of pools; a pool that is not named has none from now on. Running
    /// attempts keep what they hold.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = (PoolName, u32)>) {
        self.tasks.set_pools(pools);
    }

    /// From now on the limit of runs at once is that of this version, for all runs of the DAG.
    pub fn deploy(&mut self, dag: &Dag) {
        self.runs.set_limit(&dag.id, dag.concurrency.as_ref().map(|c| c.limit));
    }

    /// Takes in what is stored of how often attempts began, when the server starts.
    pub fn adopt_pace(&mut self, dag: &DagId, task: &TaskName, pace: &Pace) {
        self.tasks.adopt_pace(dag, task, pace);
    }

    /// Takes in a run as it stands, when the server starts.
    pub fn adopt(&mut self, run: &DagRun) {
        match run.head.state {
            RunState::Queued if run.head.held_by.is_some() => {}
            RunState::Queued => self.runs.enqueue(run),
            RunState::Running => {
                self.runs.enqueue(run);
                self.runs.start(run);
                for at in instances_in(run, TaskState::Running) {
                    self.tasks.take(run, at);
                }
                self.hold(run, run.head.held_by.is_some());
            }
            _ => {}
        }
    }

    /// Takes what waits of a run out of the queues, or puts it back. A run that has begun keeps its
    /// place among those under way.
    fn hold(&mut self, run: &DagRun, held: bool) {
        match (run.head.state, held) {
            (RunState::Queued, true) => self.runs.withdraw(run),
            (RunState::Queued, false) => self.runs.enqueue(run),
            (_, true) => {
                instances_in(run, TaskState::Queued).for_each(|at| self.tasks.dequeue(run, at));
            }
            (_, false) => {
                instances_in(run, TaskState::Queued).for_each(|at| self.tasks.enqueue(run, at));
            }
        }
    }

    /// Records that `event` happened to a DAG.
    pub fn apply_to_dag(&mut self, dag: &DagId, event: &DagEvent) {
        if let DagEvent::Paced { task, part_us, at } = event {
            self.tasks.begin(dag, task, Duration::from_micros(*part_us), *at);
        }
    }

    /// Records that `event` happened to `run`, which has it applied.
    pub fn apply(&mut self, run: &DagRun, event: &RunEvent) {
        if event.task().is_some_and(|at| !run.takes_slot(at)) {
            // Groups and mapped tasks take no slots, what they hold does; and what waits takes none.
            return;
        }
        match event {
            RunEvent::Reopened { tasks, .. } if run.head.state == RunState::Running => {
                for ix in tasks {
                    self.tasks.dequeue(run, (*ix).into());
                }
            }
            RunEvent::Created { .. } | RunEvent::Reopened { .. } => self.runs.enqueue(run),
            // Said again, it says nothing new.
            RunEvent::Held { held, .. } => {
                self.hold(run, true);
                self.hold(run, *held);
            }
            RunEvent::Started { .. } => self.runs.start(run),
            RunEvent::Finished { .. } => self.runs.finish(run),
            RunEvent::TaskQueued { task, .. } => self.tasks.enqueue(run, *task),
            RunEvent::TaskCancelled { task, .. }
            | RunEvent::TaskFailed { task, .. }
            | RunEvent::TaskMarked { task, .. } => {
                self.tasks.dequeue(run, *task);
            }
            RunEvent::AttemptStarted { task, .. } => {
                self.tasks.dequeue(run, *task);
                self.tasks.take(run, *task);
            }
            RunEvent::AttemptLost { task, .. } => {
                self.tasks.give_back(run, *task);
                let state = run.instance(*task).map(|task| task.state);
                if state == Some(TaskState::Queued) && run.head.held_by.is_none() {
                    self.tasks.enqueue(run, *task);
                }
            }
            RunEvent::AttemptSucceeded { task, .. }
            | RunEvent::AttemptFailed { task, .. }
            | RunEvent::AttemptSkipped { task, .. }
            | RunEvent::AttemptCancelled { task, .. } => self.tasks.give_back(run, *task),
            RunEvent::TaskWaiting { .. }
            | RunEvent::TaskSkipped { .. }
            | RunEvent::TaskUpstreamFailed { .. }
            | RunEvent::TimedOut { .. }
            | RunEvent::TaskGiven { .. }
            | RunEvent::TaskRemoved { .. }
            | RunEvent::GroupStopped { .. }
            | RunEvent::AttemptCalled { .. }
            | RunEvent::AttemptAnswered { .. }
            | RunEvent::AttemptGathers { .. }
            | RunEvent::RetryHastened { .. }
            | RunEvent::Noted { .. }
            | RunEvent::CancelRequested { .. } => {}
        }
    }

    /// The events that give slots to what waits, in order. Apply them before asking again.
    pub fn admit(&self, now: Timestamp) -> Vec<Event> {
        let mut events = self.runs.admit(self.limits.running_runs_max, now);
        self.tasks.admit(self.limits.running_attempts_max, now, &mut events);
        events
    }

    /// What becomes of others, or of itself, because a run came when as many as may be were there:
    /// the runs that are not wanted, and why.
    pub fn overlapped(&self, run: &DagRun) -> Vec<(RunId, String)> {
        self.runs.overlapped(run)
    }

    /// When something that waits for time alone may start.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        self.tasks.next_wake(now)
    }

    /// What is taken of the limits, to say why something waits.
    pub fn waits(&self, now: Timestamp) -> Waits {
        Waits {
            now,
            limits: self.limits,
            running_runs: self.runs.running(),
            running_attempts: self.tasks.running_attempts(),
            pools: self.tasks.pools(),
            full: self.runs.full(),
            paces: self.tasks.paces(),
        }
    }

    /// Attempts under way.
    pub fn running_attempts(&self) -> u32 {
        self.tasks.running_attempts()
    }

    /// Runs in state `Running`, those aside that a task waits for.
    pub fn running_runs(&self) -> u32 {
        self.runs.running()
    }

    /// Runs that wait to be admitted, those aside that a task waits for.
    pub fn queued_runs(&self) -> usize {
        self.runs.queued()
    }

    /// The limits over all runs.
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

/// What of a run is in a state, of what takes slots.
fn instances_in(run: &DagRun, state: TaskState) -> impl Iterator<Item = Instance> {
    let is_in = move |at: &Instance| run.instance(*at).is_some_and(|task| task.state == state);
    run.open_instances().filter(|at| run.takes_slot(*at)).filter(is_in)
}

/// Whether a task of another run waits for it.
fn is_called(run: &DagRun) -> bool {
    matches!(run.head.trigger, Trigger::Call { .. })
}

fn run_key(run: &DagRun) -> RunKey {
    (run.head.created_at, run.head.id.clone())
}
