//! The kernel: every live run, every DAG and admission, as one value.
//!
//! A step is: inputs ([`Kernel::trigger`], [`Kernel::report`], …) change the state and leave
//! events; [`Kernel::settle`] adds whatever follows from them, until nothing does;
//! [`Kernel::take_batch`] hands over what must become durable and what must happen afterwards. If
//! the commit fails for good, the kernel is thrown away and restored from the store.

mod calls;
mod listening;
pub(crate) mod operations;
mod schedules;
mod starting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_model::dag::BadParam;
use tidemill_model::decide::{settle_failure, settle_lost};
use tidemill_model::effect::adopt;
use tidemill_model::run::IllegalEvent;
use tidemill_model::{
    Admission, AttemptId, AttemptReport, Dag, DagEvent, DagId, DagRecord, DagRun, DataInterval,
    Effect, Event, Instance, Limits, LostCause, PoolName, ReportOutcome, RunEvent, RunId, RunState,
    SmallTable, TaskIx, TaskResult, TaskState, Timestamp, Trigger, decide, effects,
};

/// What one step leaves: to make durable, and to do afterwards.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Small tables that the events refer to.
    pub small_tables: Vec<SmallTable>,
    /// What the world must do once the events are durable.
    pub effects: Vec<Effect>,
}

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// A run that somebody asks for.
#[derive(Debug, Clone)]
pub struct TriggerRequest {
    /// Of this DAG.
    pub dag: DagId,
    /// With these params; the others take their defaults.
    pub params: Map<String, Value>,
    /// About these data; `None`: the last whole interval of the schedule, if there is one.
    pub interval: Option<DataInterval>,
    /// Who asks, as far as is known.
    pub who: String,
    /// What of the DAG has its results already, and what the run does without.
    pub part: Part,
}

/// The tasks of a run that do not go.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Tasks with their results, and where those are from, in words.
    pub given: Vec<(TaskIx, TaskResult, String)>,
    /// The bytes of small tables of the results.
    pub small_tables: Vec<SmallTable>,
    /// Tasks that the run does without.
    pub left_out: Vec<TaskIx>,
}

/// A person's answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Yes or no.
    pub approved: bool,
    /// What was asked for besides.
    pub values: Map<String, Value>,
    /// Who, as far as is known.
    pub who: String,
    /// Why, in their words.
    pub note: Option<String>,
}

/// Why a command was not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such DAG.
    #[error("there is no DAG `{0}`")]
    UnknownDag(DagId),
    /// The DAG's file is gone, or does not load.
    #[error("DAG `{0}` has no version that can run: its file is gone or does not load")]
    NotDeployed(DagId),
    /// A param is wrong.
    #[error(transparent)]
    Param(#[from] BadParam),
    /// Nothing there waits for an answer.
    #[error("task `{task}` of run {run} does not wait for an answer")]
    NotAsked {
        /// The run.
        run: RunId,
        /// The task.
        task: String,
    },
    /// The run has not ended, so nothing of it goes again.
    #[error("run {0} has not ended yet; cancel it first, or wait for its end")]
    NotEnded(RunId),
    /// Nothing of the run failed.
    #[error("nothing failed in run {0}; to run it again all the same, choose all of it or a task")]
    NothingFailed(RunId),
    /// The version that it would go on with cannot run.
    #[error("run {run} cannot go again: {why}")]
    NoVersion {
        /// The run.
        run: RunId,
        /// Why.
        why: String,
    },
    /// The version has no such task.
    #[error("DAG `{dag}` has no task `{task}` in this version; it has {known}")]
    NoTask {
        /// The DAG.
        dag: DagId,
        /// What was named.
        task: String,
        /// What could be.
        known: String,
    },
    /// A task that is to begin anew is under way.
    #[error("task `{task}` of run {run} is under way; cancel the run first, or wait for the task")]
    UnderWay {
        /// The run.
        run: RunId,
        /// The task.
        task: String,
    },
    /// Nobody can say how the task ended.
    #[error("task `{task}` of run {run} cannot be marked: {why}")]
    NoMark {
        /// The run.
        run: RunId,
        /// The task.
        task: String,
        /// Why.
        why: &'static str,
    },
    /// Nothing of the run is in another state.
    #[error("every task of run {run} is {} already", state.label())]
    NothingToMark {
        /// The run.
        run: RunId,
        /// The state.
        state: TaskState,
    },
    /// The task does not wait for a retry.
    #[error("task `{task}` of run {run} does not wait for a retry: it is {}", state.label())]
    NoRetry {
        /// The run.
        run: RunId,
        /// The task.
        task: String,
        /// The state it is in.
        state: TaskState,
    },
    /// No such run among those that are not finished.
    #[error("run {0} is not there, or is already finished")]
    NotLive(RunId),
}

/// A DAG as the kernel knows it.
#[derive(Debug, Clone, Default)]
pub struct DagEntry {
    /// The fold of its events.
    pub record: DagRecord,
    /// The version that new runs take; `None` while its file does not load.
    pub dag: Option<Arc<Dag>>,
    /// The next due instant, while it is scheduled.
    pub next: Option<Timestamp>,
}

/// The whole state that decisions are made on.
#[derive(Debug, Default)]
pub struct Kernel {
    pub(crate) dags: BTreeMap<DagId, DagEntry>,
    pub(crate) runs: HashMap<RunId, DagRun>,
    pub(crate) admission: Admission,
    ticks: BTreeSet<(Timestamp, DagId)>,
    timers: BTreeSet<(Timestamp, RunId)>,
    timer_of: HashMap<RunId, Timestamp>,
    dirty: BTreeSet<RunId>,
    finished: Vec<RunId>,
    /// Attempts that have begun and may call for a run.
    calls: Vec<(RunId, Instance)>,
    /// Called runs that nobody waits for any more, and since when.
    unwanted: Vec<(RunId, Timestamp)>,
    /// Called runs that have ended, and whose callers have not been told.
    returns: Vec<(RunId, Instance, u32, RunId)>,
    /// Runs that have ended, and whose end nobody was told of who waits for it.
    ended: Vec<RunId>,
    /// The DAGs that wait for what a DAG does.
    listeners: BTreeMap<DagId, BTreeSet<DagId>>,
    /// DAGs for which something may have come.
    stirred: BTreeSet<DagId>,
    /// How many unfinished runs a trigger by what other DAGs do has.
    started: HashMap<(DagId, String), usize>,
    /// Runs in which something happened to an item of a mapped task.
    mapped: BTreeSet<RunId>,
    changed_dags: BTreeSet<DagId>,
    batch: Batch,
    refused_reports: u64,
    keeps_schedules: bool,
    draining: bool,
}

impl Kernel {
    /// An empty world, in which schedules fire.
    pub fn new(limits: Limits, pools: impl IntoIterator<Item = (PoolName, u32)>) -> Self {
        Self { admission: Admission::new(limits, pools), keeps_schedules: true, ..Self::default() }
    }

    /// Schedules do not fire in this process.
    pub(crate) fn ignore_schedules(&mut self) {
        self.keeps_schedules = false;
    }

    /// Starts nothing any more, because the process is about to end: no attempt, no run, no tick.
    /// What is under way may still report.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The DAGs.
    pub fn dags(&self) -> &BTreeMap<DagId, DagEntry> {
        &self.dags
    }

    /// A run that is not finished, or finished in this step.
    pub fn run(&self, id: &RunId) -> Option<&DagRun> {
        self.runs.get(id)
    }

    /// Every run that is not finished, in no order.
    pub fn runs(&self) -> impl Iterator<Item = &DagRun> {
        self.runs.values()
    }

    /// Queues, pools and limits.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Reports that carried an old token, since the start.
    pub fn refused_reports(&self) -> u64 {
        self.refused_reports
    }

    /// The next instant at which time alone makes something happen.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let tick = self.ticks.first().map(|(at, _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let left = !self.stirred.is_empty() && self.keeps_schedules && !self.draining;
        let left = left.then_some(now);
        [tick, timer, left, self.admission.next_wake(now)].into_iter().flatten().min()
    }

    // ---- inputs -------------------------------------------------------------------------------

    /// Makes a version of a served folder the one that new runs take. Its text is already durable.
    pub fn deploy(&mut self, dag: Arc<Dag>, now: Timestamp) {
        let id = dag.id.clone();
        let record = &self.dags.entry(id.clone()).or_default().record;
        let known = record.served && record.version.as_ref() == Some(&dag.version);
        self.set_version(dag, true, known, now);
        self.begin_schedule(&id, now);
    }

    /// Takes in a version that somebody brings along. A DAG that is served keeps its own.
    pub fn bring(&mut self, dag: Arc<Dag>, now: Timestamp) {
        let record = &self.dags.entry(dag.id.clone()).or_default().record;
        if !record.served {
            let known = !record.retired && record.version.as_ref() == Some(&dag.version);
            self.set_version(dag, false, known, now);
        }
    }

    fn set_version(&mut self, dag: Arc<Dag>, served: bool, known: bool, now: Timestamp) {
        let (id, version) = (dag.id.clone(), dag.version.clone());
        self.admission.deploy(&dag);
        let by_clock = dag.triggers.iter().filter(|def| def.timer().is_some() && served);
        let triggers = by_clock.map(|def| def.key.clone()).collect();
        let by_others = dag.triggers.iter().filter(|_| served);
        let listens = by_others.filter_map(|def| Some((def.key.clone(), def.listen()?.clone())));
        let listens = listens.collect();
        self.dags.entry(id.clone()).or_default().dag = Some(dag);
        if !known {
            let event = DagEvent::Deployed { version, served, triggers, listens, at: now };
            self.record_dag(&id, event);
        }
        self.index_listener(&id);
        self.changed_dags.insert(id);
    }

    /// The DAG's file is gone: no new runs; running ones go on.
    pub fn retire(&mut self, id: &DagId, now: Timestamp) {
        let Some(entry) = self.dags.get_mut(id) else { return };
        entry.dag = None;
        if !entry.record.retired {
            self.record_dag(id, DagEvent::Retired { at: now });
            self.index_listener(id);
        }
        self.plan_tick(id, now);
    }

    /// Stops a DAG's schedule, or lets it go on.
    pub fn pause(
        &mut self,
        id: &DagId,
        paused: bool,
        who: &str,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let entry = self.dags.get(id).ok_or_else(|| CommandError::UnknownDag(id.clone()))?;
        if entry.record.paused != paused {
            self.record_dag(id, DagEvent::Paused { paused, who: who.to_owned(), at: now });
            self.stirred.insert(id.clone());
            self.plan_tick(id, now);
        }
        Ok(())
    }

    /// Changes the slots of pools.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = (PoolName, u32)>) {
        self.admission.set_pools(pools);
    }

    /// Takes in how an attempt ended. A report whose token is not the current one is refused:
    /// the answer is `false` and nothing changes.
    pub fn report(&mut self, report: AttemptReport, now: Timestamp) -> bool {
        let AttemptReport { id, outcome, small_tables } = report;
        let Some(run) = self.runs.get(&id.run) else {
            self.refused_reports += 1;
            return false;
        };
        let (task, attempt) = (id.task, id.attempt);
        let event = match outcome {
            ReportOutcome::Succeeded(result) => {
                RunEvent::AttemptSucceeded { task, attempt, result, at: now }
            }
            ReportOutcome::Skipped(reason) => {
                RunEvent::AttemptSkipped { task, attempt, reason, at: now }
            }
            ReportOutcome::Cancelled => RunEvent::AttemptCancelled { task, attempt, at: now },
            ReportOutcome::Failed(_) | ReportOutcome::Interrupted | ReportOutcome::Lost(_)
                if run.instance(task).is_none_or(|state| state.attempts != attempt) =>
            {
                self.refused_reports += 1;
                return false;
            }
            ReportOutcome::Failed(error) => settle_failure(run, task, error, now),
            ReportOutcome::Interrupted => settle_lost(run, task, LostCause::Shutdown, now),
            ReportOutcome::Lost(cause) => settle_lost(run, task, cause, now),
        };
        let accepted = self.record(&id.run, event).is_ok();
        if accepted {
            self.batch.small_tables.extend(small_tables);
        } else {
            self.refused_reports += 1;
        }
        accepted
    }

    /// Settles every attempt that was under way when the server fell. Those that are `held` went on
    /// without it, or ended with a result, and are taken up; whoever ran the others is gone. What is
    /// held and not wanted any more is ended.
    pub fn settle_lost_attempts(&mut self, held: &[AttemptId], now: Timestamp) {
        let mut unwanted: BTreeSet<&AttemptId> = held.iter().collect();
        let mut lost: Vec<(RunId, RunEvent)> = Vec::new();
        for run in self.runs.values() {
            for task in run.running() {
                let run_id = run.head.id.clone();
                let id = AttemptId { attempt: run.attempts_of(task), run: run_id, task };
                if unwanted.remove(&id) {
                    self.batch.effects.extend(adopt(run, task));
                } else {
                    lost.push((id.run, settle_lost(run, task, LostCause::Crash, now)));
                }
            }
        }
        let unwanted = unwanted.into_iter().cloned().map(Effect::CancelAttempt);
        self.batch.effects.extend(unwanted);
        for (id, event) in lost {
            // A running attempt can always be lost; the matrix says so.
            let _ = self.record(&id, event);
        }
    }

    /// Deals with everything that time alone makes happen: due ticks and due retries.
    pub fn wake(&mut self, now: Timestamp) {
        if self.draining {
            return;
        }
        while let Some((_, id)) = self.ticks.first().filter(|(at, _)| *at <= now).cloned() {
            self.tick(&id, now);
        }
        while let Some((at, id)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.timers.remove(&(at, id.clone()));
            self.timer_of.remove(&id);
            self.dirty.insert(id);
        }
    }

    // ---- steps --------------------------------------------------------------------------------

    /// Adds what follows from the events so far, until nothing does.
    pub fn settle(&mut self, now: Timestamp) {
        loop {
            while let Some(id) = self.dirty.pop_first() {
                self.settle_run(&id, now);
            }
            if self.settle_calls(now) || self.settle_listening(now) {
                continue;
            }
            let started = if self.draining { Vec::new() } else { self.admission.admit(now) };
            if started.is_empty() {
                break;
            }
            for event in started {
                match event {
                    // Admission is the fold of the same events, so what it starts can start.
                    Event::Run(id, event) => _ = self.record(&id, event),
                    Event::Dag(id, event) => self.record_dag(&id, event),
                }
            }
        }
    }

    fn settle_run(&mut self, id: &RunId, now: Timestamp) {
        while let Some(run) = self.runs.get(id) {
            let events = decide(run, now);
            if events.is_empty() {
                break;
            }
            for event in events {
                // `decide` gives legal events; an illegal one would be asked for again for ever.
                if self.record(id, event).is_err() {
                    self.dirty.remove(id);
                    return;
                }
            }
        }
        self.dirty.remove(id);
        self.plan_timer(id);
    }

    /// What has to be committed, and the effects that wait for it.
    pub fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// DAGs whose definition or next tick changed since the last call.
    pub fn take_changed_dags(&mut self) -> BTreeSet<DagId> {
        std::mem::take(&mut self.changed_dags)
    }

    /// Forgets the runs that finished, and items of mapped tasks that ended: call it after their
    /// commit was published.
    pub fn forget_finished(&mut self) {
        for id in std::mem::take(&mut self.mapped) {
            if let Some(run) = self.runs.get_mut(&id) {
                run.forget_ended_items();
            }
        }
        for id in std::mem::take(&mut self.finished) {
            if self.runs.get(&id).is_some_and(|run| run.head.state.is_final()) {
                self.runs.remove(&id);
                if let Some(at) = self.timer_of.remove(&id) {
                    self.timers.remove(&(at, id));
                }
            }
        }
    }

    // ---- inside -------------------------------------------------------------------------------

    /// Applies an event to its run and to admission, and keeps it with its effects.
    fn record(&mut self, id: &RunId, event: RunEvent) -> Result<(), IllegalEvent> {
        let Some(run) = self.runs.get_mut(id) else {
            return Err(IllegalEvent {
                event: event.name(),
                what: format!("run {id}"),
                state: "not live",
            });
        };
        // The run that an attempt called for is not wanted once the attempt is over.
        let called = event.task().and_then(|at| run.instance(at)?.called.clone());
        run.apply(&event)?;
        self.admission.apply(run, &event);
        self.batch.effects.extend(effects(run, &event));
        if let Some(at) = event.task().filter(|at| run.dag().task(at.task).waits()) {
            match (&event, called) {
                (RunEvent::AttemptStarted { .. }, _) => self.calls.push((id.clone(), at)),
                (_, Some(called)) if !run.calls().any(|(open, _)| open == at) => {
                    self.unwanted.push((called, event.at()));
                }
                _ => {}
            }
        }
        if matches!(
            event,
            RunEvent::CancelRequested { .. }
                | RunEvent::TimedOut { .. }
                | RunEvent::GroupStopped { .. }
        ) {
            let ended = |at| run.head.cancel_requested || run.is_stopping(at);
            let ended = run.calls().filter(|(at, _)| ended(*at));
            self.unwanted.extend(ended.map(|(_, called)| (called.clone(), event.at())));
        }
        if matches!(event, RunEvent::Finished { .. }) {
            self.finished.push(id.clone());
            self.ended.push(id.clone());
            let trigger = run.head.trigger.clone();
            if let Trigger::Call { run: caller, task, attempt, .. } = &trigger {
                self.returns.push((caller.clone(), *task, *attempt, id.clone()));
            }
            self.count_started(&id.dag, &trigger, false);
        }
        if event.task().is_some_and(|at| at.item.is_some()) && !self.mapped.contains(id) {
            self.mapped.insert(id.clone());
        }
        self.batch.events.push(Event::Run(id.clone(), event));
        self.dirty.insert(id.clone());
        Ok(())
    }

    fn record_dag(&mut self, id: &DagId, event: DagEvent) {
        self.dags.entry(id.clone()).or_default().record.apply(&event);
        self.admission.apply_to_dag(id, &event);
        self.batch.events.push(Event::Dag(id.clone(), event));
    }

    fn plan_timer(&mut self, id: &RunId) {
        let next = self.runs.get(id).and_then(DagRun::next_timer);
        if self.timer_of.get(id).copied() == next {
            return;
        }
        if let Some(at) = self.timer_of.remove(id) {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some(at) = next {
            self.timers.insert((at, id.clone()));
            self.timer_of.insert(id.clone(), at);
        }
    }

    /// Takes in a run as it was, when the server starts.
    pub(crate) fn adopt(&mut self, run: DagRun) {
        let id = run.head.id.clone();
        if run.head.state == RunState::Queued || run.head.state == RunState::Running {
            self.admission.adopt(&run);
            self.count_started(&id.dag, &run.head.trigger, true);
            self.dirty.insert(id.clone());
            self.runs.insert(id, run);
        }
    }
}
