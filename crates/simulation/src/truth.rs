//! What is durable, folded a second time by the model alone, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidemill_model::dag::Signal;
use tidemill_model::trigger_rule::{Upstreams, Verdict};
use tidemill_model::{
    AttemptId, Dag, DagEvent, DagId, DagRecord, DagRun, Event, Instance, Limits, PoolName,
    RunEvent, RunId, RunState, TaskName, TaskState, Timestamp, Trigger, Version,
};

use crate::{Rule, hold};

/// The limits that a commit was decided under, and the versions it may name.
pub(crate) struct Terms<'a> {
    pub(crate) versions: &'a HashMap<Version, Arc<Dag>>,
    pub(crate) limits: Limits,
    pub(crate) pools: &'a [(PoolName, u32)],
}

/// The fold of every durable event.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) events: Vec<Event>,
    pub(crate) runs: BTreeMap<RunId, DagRun>,
    pub(crate) dags: BTreeMap<DagId, DagRecord>,
    /// Attempts that started and have not ended.
    pub(crate) open: BTreeSet<AttemptId>,
    /// Ticks that fired in the commit under way, whose run is still missing.
    owed: BTreeMap<DagId, Trigger>,
    /// When attempts of tasks with a rate began.
    paced: BTreeMap<(DagId, TaskName), Vec<Timestamp>>,
    /// What those that wait for the end of a run must be told in the commit of that end: the DAG,
    /// its trigger, and what.
    untold: Vec<(DagId, String, Vec<Signal>)>,
    pub(crate) signals: u64,
    pub(crate) fired: u64,
    pub(crate) passed_over: u64,
}

impl Truth {
    /// Takes in a commit that is durable.
    pub(crate) fn commit(&mut self, events: &[Event], terms: &Terms<'_>) -> Rule {
        for event in events {
            self.take(event, terms).map_err(|what| format!("{what}, at {event:?}"))?;
            self.events.push(event.clone());
        }
        hold!(self.owed.is_empty(), "triggers fired without a run: {:?}", self.owed);
        hold!(self.untold.is_empty(), "what runs did was not told: {:?}", self.untold);
        Ok(())
    }

    /// Runs that are not finished.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &DagRun> {
        self.runs.values().filter(|run| !run.head.state.is_final())
    }

    fn take(&mut self, event: &Event, terms: &Terms<'_>) -> Rule {
        match event {
            Event::Dag(id, event) => self.dag_event(id, event, terms),
            Event::Run(id, event @ RunEvent::Created { version, trigger, .. }) => {
                self.created(id, event, version, trigger, terms)
            }
            Event::Run(id, event) => self.run_event(id, event, terms),
        }
    }

    fn dag_event(&mut self, id: &DagId, event: &DagEvent, terms: &Terms<'_>) -> Rule {
        let record = self.dags.entry(id.clone()).or_default();
        match event {
            DagEvent::Ticked { trigger, tick, fired, at } => {
                let version = record.version.as_ref().and_then(|v| terms.versions.get(v));
                let dag = version.ok_or("a tick of a DAG that is not deployed")?;
                let def = dag.triggers.iter().find(|def| def.key == *trigger);
                let timer = def.and_then(|def| def.timer()).ok_or("a tick without a trigger")?;
                let last = record.ticks.get(trigger);
                hold!(last.is_none_or(|last| tick > last), "a tick is repeated");
                hold!(timer.begins_at(*tick) <= *at, "a tick of the future");
                if *fired {
                    hold!(!record.paused && !record.retired, "a tick of a DAG that stands still");
                    hold!(dag.start.is_none_or(|start| *tick >= start), "a tick before the start");
                    hold!(timer.previous(*tick) == Some(*tick), "{timer:?} has no such tick");
                    self.fired += 1;
                    let trigger = trigger.clone();
                    self.owed.insert(id.clone(), Trigger::Schedule { tick: *tick, trigger });
                } else {
                    self.passed_over += 1;
                }
            }
            DagEvent::Signalled { trigger, signals, .. } => {
                let told = (id.clone(), trigger.clone(), signals.clone());
                let place = self.untold.iter().position(|untold| *untold == told);
                let place = place.ok_or("it is told what nobody did, or once more")?;
                self.untold.remove(place);
                self.signals += signals.len() as u64;
            }
            DagEvent::Consumed { trigger, taken, fired, .. } => {
                hold!(!record.paused && record.served, "a DAG that stands still takes something");
                let listen = record.listens.get(trigger).ok_or("it does not wait for that")?;
                let pending = record.pending.get(trigger).cloned().unwrap_or_default();
                hold!(
                    listen.next(&pending).as_ref() == Some(taken),
                    "{pending:?} gives no {taken:?}"
                );
                let by_it = |run: &DagRun| {
                    let head = &run.head;
                    head.id.dag == *id
                        && !head.state.is_final()
                        && head.trigger.key() == Some(trigger)
                };
                let waits = listen.gathers() && self.runs.values().any(by_it);
                hold!(!waits, "the run before has not ended");
                if *fired {
                    let trigger = Trigger::by_signals(trigger, listen, pending.at(taken));
                    self.owed.extend(trigger.map(|trigger| (id.clone(), trigger)));
                }
            }
            DagEvent::Deployed { version, .. } => {
                hold!(terms.versions.contains_key(version), "a version that nobody wrote");
            }
            DagEvent::Paced { task, part_us, at } => {
                let begun = self.paced.entry((id.clone(), task.clone())).or_default();
                // A clock that was set back: nobody waits for it.
                begun.retain(|other| other <= at);
                // What is out of the span is forgotten, whichever version is deployed: it does not
                // come back when the clock does.
                let span = std::time::Duration::from_micros(part_us * 60);
                begun.retain(|other| other.plus(span) > *at);
                let version = record.version.as_ref().and_then(|v| terms.versions.get(v));
                let task = version.and_then(|dag| Some(dag.task(dag.find(task.as_str())?)));
                // All versions of a task have one rate in these stories.
                if let Some(rate) = task.and_then(|task| task.rate) {
                    hold!(begun.len() < rate.limit as usize, "{begun:?} began already");
                }
                begun.push(*at);
            }
            DagEvent::Retired { .. } | DagEvent::Paused { .. } | DagEvent::Failing { .. } => {}
        }
        record.apply(event);
        Ok(())
    }

    fn created(
        &mut self,
        id: &RunId,
        event: &RunEvent,
        version: &Version,
        trigger: &Trigger,
        terms: &Terms<'_>,
    ) -> Rule {
        let record = self.dags.entry(id.dag.clone()).or_default();
        hold!(
            id.number == record.last_run + 1,
            "run {} follows run {}",
            id.number,
            record.last_run
        );
        hold!(record.version.as_ref() == Some(version), "a run of a version that is not deployed");
        if let Trigger::Call { run, task, attempt, .. } = trigger {
            let caller = self.runs.get(run).and_then(|run| run.instance(*task));
            let waits = caller.is_some_and(|task| {
                task.state == TaskState::Waiting
                    && task.attempts == *attempt
                    && task.called.is_none()
            });
            hold!(waits, "a run that nobody called for");
        }
        if trigger.key().is_some() {
            let owed = self.owed.remove(&id.dag);
            hold!(owed.as_ref() == Some(trigger), "a run of {trigger:?}, due is {owed:?}");
        }
        record.created(id.number);
        let dag = terms.versions.get(version).ok_or("a version that nobody wrote")?;
        let run = DagRun::create(Arc::clone(dag), id.clone(), event).map_err(|e| e.to_string())?;
        self.runs.insert(id.clone(), run);
        Ok(())
    }

    fn run_event(&mut self, id: &RunId, event: &RunEvent, terms: &Terms<'_>) -> Rule {
        let run = self.runs.get_mut(id).ok_or("an event of a run that was not created")?;
        if let RunEvent::TaskQueued { task, .. } = event {
            let state = run.instance(*task).map(|task| task.state);
            let pending = state == Some(TaskState::Pending);
            let rule = run.dag().task(task.task).trigger_rule;
            let ups = upstreams(run, *task);
            hold!(
                !pending || rule.verdict(ups) == Verdict::Run,
                "{rule:?} does not hold of {ups:?}"
            );
        }
        if let RunEvent::Finished { .. } = event {
            let open = run.tasks().iter().filter(|task| !task.state.is_final()).count();
            hold!(open == 0, "a run ends with {open} tasks that have not");
        }
        match event {
            RunEvent::Reopened { version, .. } if *version != run.head.version => {
                let dag = terms.versions.get(version).ok_or("a version that nobody wrote")?;
                run.reopen(Arc::clone(dag), event).map_err(|e| e.to_string())?;
            }
            _ => run.apply(event).map_err(|e| e.to_string())?,
        }
        let number = |task: Instance, attempt: u32| AttemptId { run: id.clone(), task, attempt };
        let is_container = event.task().is_some_and(|task| !run.takes_slot(task));
        if let Some(map) = event.task().and_then(|at| run.task(at.task).map.as_ref()) {
            let may = event.task().and_then(|at| run.dag().task(at.task).mapping.as_ref());
            let may = may.map_or(u32::MAX, tidemill_model::Mapping::at_once);
            hold!(map.open() <= may, "{} items are open, {may} may", map.open());
        }
        if let RunEvent::Finished { .. } = event {
            for (consumer, record) in &self.dags {
                for (trigger, listen) in &record.listens {
                    let signals = listen.signals(run);
                    if !signals.is_empty() {
                        self.untold.push((consumer.clone(), trigger.clone(), signals));
                    }
                }
            }
        }
        match event {
            RunEvent::Started { .. } => self.check_runs(id, terms),
            RunEvent::AttemptStarted { .. } if is_container => Ok(()),
            RunEvent::AttemptGathers { task, attempt, .. } => {
                hold!(self.open.insert(number(*task, *attempt)), "a task gathers twice");
                Ok(())
            }
            RunEvent::AttemptStarted { task, attempt, .. } => {
                hold!(self.open.insert(number(*task, *attempt)), "an attempt starts twice");
                self.check_attempts(id, *task, terms)
            }
            RunEvent::AttemptSucceeded { task, attempt, .. }
            | RunEvent::AttemptFailed { task, attempt, .. }
            | RunEvent::AttemptSkipped { task, attempt, .. }
            | RunEvent::AttemptCancelled { task, attempt, .. }
            | RunEvent::AttemptLost { task, attempt, .. } => {
                let was_open = self.open.remove(&number(*task, *attempt));
                hold!(was_open || is_container, "an attempt ends that is not open");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_runs(&self, id: &RunId, terms: &Terms<'_>) -> Rule {
        let own =
            self.runs.values().filter(|run| !matches!(run.head.trigger, Trigger::Call { .. }));
        let running = own.filter(|run| run.head.state == RunState::Running).count();
        let limit = terms.limits.running_runs_max;
        hold!(running <= limit as usize, "{running} runs are running, {limit} may");
        let lane = self.runs.get(id).and_then(|run| run.head.lane.clone());
        let in_lane = |run: &&DagRun| {
            let head = &run.head;
            head.state == RunState::Running && head.id.dag == id.dag && head.lane == lane
        };
        let running: Vec<&DagRun> = self.runs.values().filter(in_lane).collect();
        // The limit may have been lowered meanwhile.
        let limit_of = |dag: &Dag| dag.concurrency.as_ref().map_or(u32::MAX, |c| c.limit);
        let record = self.dags.get(&id.dag).and_then(|record| record.version.as_ref());
        let newest = record.and_then(|version| terms.versions.get(version));
        let limits = running.iter().map(|run| limit_of(run.dag()));
        let limit = limits.chain(newest.map(|dag| limit_of(dag))).max().unwrap_or(u32::MAX);
        let is_one = lane.is_none() || running.len() <= limit as usize;
        hold!(is_one, "{} runs of {lane:?} are running, {limit} may", running.len());
        Ok(())
    }

    /// Attempts under way that hold a slot: all but mapped tasks that put tables together.
    pub(crate) fn slots_taken(&self) -> usize {
        self.open.iter().filter(|open| self.holds_slot(open)).count()
    }

    fn holds_slot(&self, open: &AttemptId) -> bool {
        self.runs.get(&open.run).is_some_and(|run| run.takes_slot(open.task))
    }

    fn check_attempts(&self, id: &RunId, task: Instance, terms: &Terms<'_>) -> Rule {
        let limit = terms.limits.running_attempts_max;
        let open = self.slots_taken();
        hold!(open <= limit as usize, "{open} attempts are running, {limit} may");
        let pool_of = |run: &RunId, task: Instance| {
            self.runs.get(run).map(|run| run.dag().task(task.task).pool.clone())
        };
        let pool = pool_of(id, task);
        let holders = self.open.iter().filter(|open| self.holds_slot(open));
        let in_pool = holders.filter(|open| pool_of(&open.run, open.task) == pool);
        let slots_of = |open: &AttemptId| {
            self.runs.get(&open.run).map_or(0, |run| run.dag().task(open.task.task).slots)
        };
        let used: u32 = in_pool.map(slots_of).sum();
        let slots = terms.pools.iter().find(|(name, _)| Some(name) == pool.as_ref());
        let slots = slots.map_or(0, |(_, slots)| *slots);
        hold!(used <= slots, "{used} slots of {slots} are taken in pool {pool:?}");
        Ok(())
    }
}

/// How a task's upstreams ended, counted anew.
fn upstreams(run: &DagRun, at: Instance) -> Upstreams {
    let mut ups = Upstreams::default();
    for edge in &run.dag().task(at.task).upstream {
        ups.total += 1;
        let state = run.instance(Instance { task: edge.task, ..at }).map(|task| task.state);
        match state.unwrap_or_default() {
            TaskState::Succeeded => ups.succeeded += 1,
            TaskState::Skipped => ups.skipped += 1,
            TaskState::Failed | TaskState::Cancelled => ups.failed += 1,
            TaskState::UpstreamFailed => ups.upstream_failed += 1,
            TaskState::Removed => ups.total -= 1,
            _ => {}
        }
    }
    ups
}

/// Two runs are the same, with all that is derived from their records.
pub(crate) fn same(one: &DagRun, other: &DagRun) -> Rule {
    let id = &one.head.id;
    hold!(one.head == other.head, "run {id}: {:?} is not {:?}", one.head, other.head);
    for (a, b) in one.tasks().iter().zip(other.tasks()) {
        hold!(a == b, "run {id}: {a:?} is not {b:?}");
    }
    let derived = |run: &DagRun| {
        let sets: [Vec<Instance>; 4] = [
            run.ready().collect(),
            run.running().collect(),
            run.due(Timestamp::MAX).collect(),
            run.stirred().collect(),
        ];
        let of_item = |at| format!("{at:?} {:?}", run.instance(at));
        let open: Vec<String> =
            run.open_instances().filter(|at| at.item.is_some()).map(of_item).collect();
        let ended: Vec<usize> = run.maps().map(|(_, map)| map.ended().count()).collect();
        (sets, open, ended, run.next_timer(), (run.unfinished(), run.idle()))
    };
    let (a, b) = (derived(one), derived(other));
    hold!(a == b, "run {id}: derived {a:?} is not {b:?}");
    Ok(())
}
