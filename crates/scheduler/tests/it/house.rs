//! A scheduler to test with: DAGs from a line of text, attempts that end as their task's name says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Map;
use tidemill_model::dag::{DagHead, Edge, Task, TriggerDef};
use tidemill_model::retry::RetryPolicy;
use tidemill_model::schedule::{self, Schedule, Timer};
use tidemill_model::{
    Action, AttemptReport, Dag, Effect, FailureKind, Limits, ReportOutcome, RunId, RunState,
    TaskError, TaskIx, TaskResult, Timestamp, Version,
};
use tidemill_scheduler::{
    Carry, Clock, Outlets, RunView, Scheduler, Settings, Started, TriggerRequest,
};
use tidemill_store::{DagSource, Store};

/// A clock that stands where it is put.
#[derive(Default)]
pub(crate) struct Hands(Mutex<Timestamp>);

impl Hands {
    pub(crate) fn put(&self, text: &str) {
        *self.0.lock().unwrap() = text.parse().unwrap();
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A DAG from text such as `a; b < a; c < a, b`. A task fails while its name starts with `bad`,
/// fails and asks for ten minutes while it starts with `busy`,
/// and is never answered while it starts with `slow`.
pub(crate) fn dag(name: &str, text: &str, schedule: Option<&str>, retries: u32) -> Arc<Dag> {
    let rows: Vec<(&str, Vec<&str>)> = text
        .split(';')
        .map(|row| {
            let (task, ups) = row.split_once('<').unwrap_or((row, ""));
            (task.trim(), ups.split(',').map(str::trim).filter(|up| !up.is_empty()).collect())
        })
        .collect();
    let place = |name: &str| rows.iter().position(|(task, _)| *task == name).unwrap() as u32;
    let tasks = rows
        .iter()
        .map(|(task, ups)| Task {
            upstream: (ups.iter())
                .map(|up| Edge { task: TaskIx(place(up)), why: vec!["depends_on".to_owned()] })
                .collect(),
            retry: RetryPolicy {
                limit: retries,
                delay: Duration::from_secs(10),
                jitter: 0.0,
                ..RetryPolicy::default()
            },
            ..Task::new(task.parse().unwrap(), "default".parse().unwrap(), Action::Noop)
        })
        .collect();
    let zone = chrono_tz::Europe::Zurich;
    let head = DagHead {
        timezone: zone,
        triggers: schedule.into_iter().map(|line| trigger(line, zone)).collect(),
        ..DagHead::new(
            name.parse().unwrap(),
            Version::of(format!("{name} {text} {schedule:?} {retries}").as_bytes()),
        )
    };
    Arc::new(Dag::new(head, tasks).unwrap())
}

pub(crate) fn trigger(line: &str, zone: chrono_tz::Tz) -> TriggerDef {
    let clock = schedule::Clock::Cron(Schedule::parse(line, zone).unwrap());
    TriggerDef::by_clock(Timer::new(clock, zone))
}

/// A DAG and its text, which here is its version.
pub(crate) fn with_source(dag: &Arc<Dag>) -> (Arc<Dag>, DagSource) {
    let source = DagSource { path: "a.yaml".into(), text: dag.version.to_string(), defaults: None };
    (Arc::clone(dag), source)
}

/// A running scheduler and what it told the world to do.
pub(crate) struct House {
    pub(crate) scheduler: Scheduler,
    pub(crate) clock: Arc<Hands>,
    pub(crate) started: Arc<Mutex<Vec<String>>>,
    pub(crate) notes: Vec<String>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl House {
    /// Starts on a store, with the DAGs that may be asked for by their version.
    pub(crate) fn start(store: Arc<dyn Store>, dags: &[Arc<Dag>], slots: u32, now: &str) -> Self {
        let house = Self::carrying(Carry::Everything, store, dags, slots, now);
        house.scheduler.deploy(dags.iter().map(with_source).collect()).unwrap();
        house
    }

    /// Starts without deploying anything.
    pub(crate) fn carrying(
        carry: Carry,
        store: Arc<dyn Store>,
        dags: &[Arc<Dag>],
        slots: u32,
        now: &str,
    ) -> Self {
        let clock = Arc::new(Hands::default());
        clock.put(now);
        let known: HashMap<Version, Arc<Dag>> =
            dags.iter().map(|dag| (dag.version.clone(), Arc::clone(dag))).collect();
        let settings = Settings {
            limits: Limits::default(),
            pools: vec![("default".parse().unwrap(), slots)],
            resolver: Arc::new(move |version, _| known.get(version).cloned()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            carry,
            held: Vec::new(),
        };
        let started: Arc<Mutex<Vec<String>>> = Arc::default();
        let answer: Arc<std::sync::OnceLock<Scheduler>> = Arc::default();
        let (log, reply) = (Arc::clone(&started), Arc::clone(&answer));
        let Started { scheduler, thread, notes } = Scheduler::start(store, settings, |_| Outlets {
            effect: Box::new(move |effect| {
                let Effect::StartAttempt(order) = effect else { return };
                let name = order.dag.task(order.id.task.task).name.to_string();
                log.lock().unwrap().push(format!("{}:{name}#{}", order.id.run, order.id.attempt));
                let outcome = if name.starts_with("slow") {
                    return;
                } else if name.starts_with("bad") {
                    ReportOutcome::Failed(TaskError::new(FailureKind::Exit, "it is bad"))
                } else if name.starts_with("busy") {
                    let error = TaskError::new(FailureKind::Transient, "not now");
                    ReportOutcome::Failed(error.retry_after(Some(Duration::from_mins(10))))
                } else {
                    ReportOutcome::Succeeded(TaskResult::default())
                };
                let id = order.id.clone();
                reply.wait().report(AttemptReport { id, outcome, small_tables: Vec::new() });
            }),
            committed: Box::new(|_, _| {}),
        })
        .unwrap();
        answer.set(scheduler.clone()).ok().unwrap();
        Self { scheduler, clock, started, notes, thread: Some(thread) }
    }

    pub(crate) async fn trigger(&self, dag: &str) -> RunId {
        let request = TriggerRequest {
            dag: dag.parse().unwrap(),
            params: Map::new(),
            interval: None,
            part: tidemill_scheduler::Part::default(),
            who: "test".to_owned(),
        };
        self.scheduler.trigger(request).await.unwrap()
    }

    pub(crate) async fn finish(&self, run: &RunId) -> RunState {
        self.scheduler.wait(run).await.unwrap().unwrap()
    }

    /// `a=succeeded b=failed`.
    pub(crate) fn states(&self, run: &RunId) -> String {
        let RunView { tasks, dag, .. } = self.scheduler.run(run).unwrap().unwrap();
        let dag = dag.unwrap();
        let pairs = tasks.iter().zip(dag.tasks());
        pairs
            .map(|(state, task)| format!("{}={}", task.name, state.state.label()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Waits until a condition on the committed state holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Scheduler) -> bool) {
        let mut position = self.scheduler.position();
        let wait = async {
            while !holds(&self.scheduler) {
                position.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
    }

    pub(crate) fn stop(mut self) {
        self.scheduler.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
