//! A kernel to test with: inputs at instants, and what is committed of them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_model::{
    AttemptId, AttemptReport, Dag, Effect, Event, Limits, PoolName, Position, ReportOutcome, RunId,
    RunState, TaskIx, TaskResult, TaskState, Timestamp, Version,
};
use tidemill_scheduler::restore::{Past, restore, settle_restart};
use tidemill_scheduler::{Carry, Kernel, Part, TriggerRequest};
use tidemill_store::{MemoryStore, Recovered, Store};

#[derive(Default)]
struct Library {
    versions: HashMap<Version, Arc<Dag>>,
    store: MemoryStore,
}

impl Past for Library {
    fn dag(&self, version: &Version) -> Option<Arc<Dag>> {
        self.versions.get(version).cloned()
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }
}

/// A kernel whose commits are kept.
pub(crate) struct Desk {
    pub(crate) kernel: Kernel,
    pools: Vec<(PoolName, u32)>,
    events: Vec<Event>,
    library: Library,
}

impl Desk {
    pub(crate) fn new<const N: usize>(pools: [(&str, u32); N]) -> Self {
        let pools = pools.map(|(name, slots)| (name.parse().unwrap(), slots)).to_vec();
        let kernel = Kernel::new(Limits::default(), pools.clone());
        Self { kernel, pools, events: Vec::new(), library: Library::default() }
    }

    /// What follows from the last inputs and the time.
    pub(crate) fn step(&mut self, now: Timestamp) -> Vec<Event> {
        self.kernel.wake(now);
        self.kernel.settle(now);
        let made = self.kernel.take_batch().events;
        self.events.extend(made.iter().cloned());
        made
    }

    pub(crate) fn deploy(&mut self, dag: &Arc<Dag>, now: Timestamp) -> Vec<Event> {
        self.library.versions.insert(dag.version.clone(), Arc::clone(dag));
        self.kernel.deploy(Arc::clone(dag), now);
        self.step(now)
    }

    /// Ends, and begins again from what was committed. No DAG is deployed yet.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.restart_with(&[], now);
    }

    /// As [`Desk::restart`], with commands that went on; gives what is to be done, in words.
    pub(crate) fn restart_with(&mut self, held: &[AttemptId], now: Timestamp) -> Vec<String> {
        let tail: Vec<_> = (1..).map(Position).zip(self.events.iter().cloned()).collect();
        let last = Position(tail.len() as u64);
        let (dags, unfinished, notes) = (Vec::new(), Vec::new(), Vec::new());
        let recovered = Recovered { dags, unfinished, tail, last, notes };
        let (limits, pools) = (Limits::default(), self.pools.clone());
        let back = restore(recovered, &self.library, limits, pools, &Carry::Everything).unwrap();
        assert!(back.notes.is_empty(), "{:?}", back.notes);
        self.kernel = back.kernel;
        settle_restart(&mut self.kernel, held, now);
        let batch = self.kernel.take_batch();
        self.events.extend(batch.events);
        let word = |effect: Effect| match effect {
            Effect::StartAttempt(order) => ("start", order.id.clone()),
            Effect::AdoptAttempt(order) => ("adopt", order.id.clone()),
            Effect::CancelAttempt(id) => ("cancel", id),
            Effect::RunFinished(run) => {
                ("finished", AttemptId { run, task: TaskIx(0).into(), attempt: 0 })
            }
        };
        let word = |effect| {
            let (word, id) = word(effect);
            format!("{word} {}/{}#{}", id.run, id.task.task.0, id.attempt)
        };
        batch.effects.into_iter().map(word).collect()
    }

    pub(crate) fn trigger(&mut self, dag: &str, params: Value, now: Timestamp) -> RunId {
        let Value::Object(params) = params else { panic!("{params}") };
        let request = TriggerRequest {
            dag: dag.parse().unwrap(),
            params,
            interval: None,
            who: "ada".to_owned(),
            part: Part::default(),
        };
        let id = self.kernel.trigger(&request, now).unwrap();
        self.step(now);
        id
    }

    pub(crate) fn call(&mut self, dag: &str, now: Timestamp) -> RunId {
        self.trigger(dag, Value::Object(Map::new()), now)
    }

    /// Every attempt of a run that is under way succeeds.
    pub(crate) fn finish(&mut self, run: &str, now: Timestamp) {
        let id: RunId = run.parse().unwrap();
        let run = self.kernel.run(&id).unwrap();
        let under_way: Vec<AttemptId> = run
            .running()
            .filter_map(|task| {
                let attempt = run.instance(task)?.attempts;
                Some(AttemptId { run: id.clone(), task, attempt })
            })
            .collect();
        for id in under_way {
            let outcome = ReportOutcome::Succeeded(TaskResult::default());
            self.kernel.report(AttemptReport { id, outcome, small_tables: Vec::new() }, now);
        }
        self.step(now);
    }

    pub(crate) fn state(&self, run: &str) -> RunState {
        self.kernel.run(&run.parse().unwrap()).unwrap().head.state
    }

    /// Attempts under way, `d.1/a`, in order.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let of_run = |run: &tidemill_model::DagRun| {
            let name = |at| format!("{}/{}", run.head.id, run.dag().name_of(at));
            run.running().map(name).collect::<Vec<_>>()
        };
        let mut all: Vec<String> = self.kernel.runs().flat_map(of_run).collect();
        all.sort();
        all
    }

    /// Why a run waits, or else its first task that waits for a slot.
    pub(crate) fn why(&self, run: &str, now: Timestamp) -> String {
        let run = self.kernel.run(&run.parse().unwrap()).unwrap();
        let waits = self.kernel.admission().waits(now);
        let of_task = || {
            let queued = |at: &tidemill_model::Instance| {
                run.instance(*at).is_some_and(|task| task.state == TaskState::Queued)
            };
            let at = run.open_instances().find(queued)?;
            waits.why_task(&run.head.id.dag, run.dag().task(at.task))
        };
        let why = if run.head.started_at.is_none() { waits.why_run(&run.head) } else { of_task() };
        why.map_or(String::new(), |why| why.to_string())
    }
}
