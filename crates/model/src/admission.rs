//! What may start now, across all runs: one serial decision inside the commit.
//!
//! Admission is the fold of the same events as the runs; it holds queues and counts, never time
//! or tasks of its own. No queue blocks another: where a limit over all of them is near, the oldest
//! run goes first, whatever its pool is called.
//!
//! **Invariants.** Runs in state `Running` and attempts under way never exceed [`Limits`]; a pool
//! never hands out more than its slots, however often those change. What admission starts may
//! start: its events are legal for their runs.

use std::cmp::Reverse;
use std::collections::btree_map::Iter;
use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, RunEvent, Trigger};
use crate::id::{Instance, PoolName, RunId};
use crate::run::DagRun;
use crate::state::{RunState, TaskState};
use crate::time::Timestamp;
use crate::words::counted;

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

/// Why something waits, for the API, the command line and the UI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitReason {
    /// The limit on running runs is reached.
    #[error("the limit of {} is reached", counted(*limit, "running run"))]
    RunLimit {
        /// The limit.
        limit: u32,
    },
    /// The limit on attempts is reached.
    #[error("the limit of {} is reached", counted(*limit, "running attempt"))]
    AttemptLimit {
        /// The limit.
        limit: u32,
    },
    /// The pool has no free slot.
    #[error("all {slots} slots of pool `{pool}` are taken")]
    PoolFull {
        /// The pool.
        pool: PoolName,
        /// Its slots.
        slots: u32,
    },
    /// There is no such pool.
    #[error("there is no pool `{pool}`; add it to pools.yaml")]
    NoPool {
        /// The name.
        pool: PoolName,
    },
}

/// Oldest run first; inside a run, the order of the DAG, and of mapped groups one item after the
/// other.
type RunKey = (Timestamp, RunId);
type TaskKey = (Reverse<i32>, Timestamp, RunId, Instance);

#[derive(Debug, Clone, Default)]
struct Pool {
    /// `None`: the pool is not configured, so nothing in it starts.
    slots: Option<u32>,
    used: u32,
    /// The next attempt's number, by place in the queue.
    queue: BTreeMap<TaskKey, u32>,
}

/// Queues, pools and limits.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    limits: Limits,
    pools: BTreeMap<PoolName, Pool>,
    queued_runs: BTreeSet<RunKey>,
    /// Runs that tasks called for, and that have not begun. They begin at once: a limit of runs that
    /// held back what a running one waits for would hold both for ever.
    called_runs: BTreeSet<RunKey>,
    /// Runs under way that no task called for.
    running_runs: u32,
    running_attempts: u32,
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
        self.pools.values_mut().for_each(|pool| pool.slots = None);
        for (name, slots) in pools {
            self.pools.entry(name).or_default().slots = Some(slots);
        }
    }

    /// Takes in a run as it stands, when the server starts.
    pub fn adopt(&mut self, run: &DagRun) {
        match run.head.state {
            RunState::Queued => self.enqueue_run(run),
            RunState::Running => {
                self.running_runs += u32::from(!is_called(run));
                for at in run.open_instances().filter(|at| run.takes_slot(*at)) {
                    match run.instance(at).map(|task| task.state) {
                        Some(TaskState::Queued) => self.enqueue(run, at),
                        Some(TaskState::Running) => self.take(run, at),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Records that `event` happened to `run`, which has it applied.
    pub fn apply(&mut self, run: &DagRun, event: &RunEvent) {
        if event.task().is_some_and(|at| !run.takes_slot(at)) {
            // Groups and mapped tasks take no slots, what they hold does; and what waits takes none.
            return;
        }
        match event {
            RunEvent::Created { .. } | RunEvent::Reopened { .. } => self.enqueue_run(run),
            RunEvent::Started { .. } => {
                self.called_runs.remove(&run_key(run));
                if self.queued_runs.remove(&run_key(run)) {
                    self.running_runs += 1;
                }
            }
            RunEvent::Finished { .. } => {
                self.called_runs.remove(&run_key(run));
                if !self.queued_runs.remove(&run_key(run)) && !is_called(run) {
                    self.running_runs = self.running_runs.saturating_sub(1);
                }
            }
            RunEvent::TaskQueued { task, .. } => self.enqueue(run, *task),
            RunEvent::TaskCancelled { task, .. } => {
                self.dequeue(run, *task);
            }
            RunEvent::AttemptStarted { task, .. } => {
                self.dequeue(run, *task);
                self.take(run, *task);
            }
            RunEvent::AttemptLost { task, again, .. } => {
                self.give_back(run, *task);
                if *again {
                    self.enqueue(run, *task);
                }
            }
            RunEvent::AttemptSucceeded { task, .. }
            | RunEvent::AttemptFailed { task, .. }
            | RunEvent::AttemptSkipped { task, .. }
            | RunEvent::AttemptCancelled { task, .. } => self.give_back(run, *task),
            RunEvent::TaskWaiting { .. }
            | RunEvent::TaskSkipped { .. }
            | RunEvent::TaskUpstreamFailed { .. }
            | RunEvent::TaskFailed { .. }
            | RunEvent::TaskGiven { .. }
            | RunEvent::TaskRemoved { .. }
            | RunEvent::GroupStopped { .. }
            | RunEvent::AttemptCalled { .. }
            | RunEvent::AttemptAnswered { .. }
            | RunEvent::AttemptGathers { .. }
            | RunEvent::CancelRequested { .. } => {}
        }
    }

    fn enqueue_run(&mut self, run: &DagRun) {
        let queue = if is_called(run) { &mut self.called_runs } else { &mut self.queued_runs };
        queue.insert(run_key(run));
    }

    /// The events that give slots to what waits, in order. Apply them before asking again.
    pub fn admit(&self, now: Timestamp) -> Vec<Event> {
        let free_runs = self.limits.running_runs_max.saturating_sub(self.running_runs);
        let mut events: Vec<Event> = self
            .queued_runs
            .iter()
            .take(free_runs as usize)
            .chain(&self.called_runs)
            .map(|(_, run)| Event::Run(run.clone(), RunEvent::Started { at: now }))
            .collect();
        let free = self.limits.running_attempts_max.saturating_sub(self.running_attempts);
        events.extend(self.next_tasks().take(free as usize).map(|(key, attempt)| {
            let (_, _, run, task) = key;
            let started =
                RunEvent::AttemptStarted { task: *task, attempt, map: None, until: None, at: now };
            Event::Run(run.clone(), started)
        }));
        events
    }

    /// Queued tasks that their pools have slots for, in order over all pools.
    fn next_tasks(&self) -> impl Iterator<Item = (&TaskKey, u32)> {
        let mut heads: BTreeMap<&TaskKey, (u32, u32, Iter<'_, TaskKey, u32>)> = BTreeMap::new();
        for pool in self.pools.values() {
            let slots = pool.slots.unwrap_or(0).saturating_sub(pool.used);
            let mut queue = pool.queue.iter();
            if let Some((key, attempt)) = queue.next().filter(|_| slots > 0) {
                heads.insert(key, (*attempt, slots - 1, queue));
            }
        }
        std::iter::from_fn(move || {
            let (key, (attempt, slots, mut queue)) = heads.pop_first()?;
            if let Some((key, attempt)) = queue.next().filter(|_| slots > 0) {
                heads.insert(key, (*attempt, slots - 1, queue));
            }
            Some((key, attempt))
        })
    }

    /// Why a queued run does not start; `None` when it may.
    pub fn why_run(&self) -> Option<WaitReason> {
        let limit = self.limits.running_runs_max;
        (self.running_runs >= limit).then_some(WaitReason::RunLimit { limit })
    }

    /// Why queued tasks of a pool do not start; `None` when they may.
    pub fn why_task(&self, pool: &PoolName) -> Option<WaitReason> {
        let limit = self.limits.running_attempts_max;
        match self.pools.get(pool).and_then(|p| Some((p.slots?, p.used))) {
            None => Some(WaitReason::NoPool { pool: pool.clone() }),
            Some((slots, used)) if used >= slots => {
                Some(WaitReason::PoolFull { pool: pool.clone(), slots })
            }
            Some(_) if self.running_attempts >= limit => Some(WaitReason::AttemptLimit { limit }),
            Some(_) => None,
        }
    }

    /// Pools with their slots, slots in use, and queue length.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolName, Option<u32>, u32, usize)> {
        self.pools.iter().map(|(name, pool)| (name, pool.slots, pool.used, pool.queue.len()))
    }

    /// Attempts under way.
    pub fn running_attempts(&self) -> u32 {
        self.running_attempts
    }

    /// Runs in state `Running`.
    pub fn running_runs(&self) -> u32 {
        self.running_runs
    }

    /// Runs that wait to be admitted.
    pub fn queued_runs(&self) -> usize {
        self.queued_runs.len()
    }

    /// The limits over all runs.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn pool(&mut self, run: &DagRun, task: Instance) -> &mut Pool {
        self.pools.entry(run.dag().task(task.task).pool.clone()).or_default()
    }

    fn enqueue(&mut self, run: &DagRun, task: Instance) {
        let attempt = run.instance(task).map_or(0, |state| state.attempts) + 1;
        self.pool(run, task).queue.insert(task_key(run, task), attempt);
    }

    fn dequeue(&mut self, run: &DagRun, task: Instance) {
        self.pool(run, task).queue.remove(&task_key(run, task));
    }

    fn take(&mut self, run: &DagRun, task: Instance) {
        self.pool(run, task).used += 1;
        self.running_attempts += 1;
    }

    fn give_back(&mut self, run: &DagRun, task: Instance) {
        let pool = self.pool(run, task);
        pool.used = pool.used.saturating_sub(1);
        self.running_attempts = self.running_attempts.saturating_sub(1);
    }
}

/// Whether a task of another run waits for it.
fn is_called(run: &DagRun) -> bool {
    matches!(run.head.trigger, Trigger::Call { .. })
}

fn run_key(run: &DagRun) -> RunKey {
    (run.head.created_at, run.head.id.clone())
}

fn task_key(run: &DagRun, task: Instance) -> TaskKey {
    (Reverse(0), run.head.created_at, run.head.id.clone(), task)
}
