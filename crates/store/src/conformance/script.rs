//! DAGs and runs for tests: legal, and the same each time.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use tidemill_model::dag::{DagHead, Edge};
use tidemill_model::retry::RetryPolicy;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{
    Action, Dag, DagId, DagRun, Event, Position, RunEvent, RunId, RunState, TableRef, Task, TaskIx,
    TaskResult, TaskState, Timestamp, Trigger, Version,
};

use super::ok;
use crate::record::counts_of;
use crate::replay::Resolver;
use crate::store::{Commit, DagSource, Record, RunSummary};

/// A DAG of `tasks` tasks in a row that do nothing.
pub fn chain(id: &str, tasks: usize) -> Arc<Dag> {
    let id: DagId = ok(id.parse(), "a DAG name");
    let text = format!("{id} {tasks}");
    let head = DagHead {
        version: Version::of(text.as_bytes()),
        id,
        description: None,
        owner: None,
        tags: Vec::new(),
        timezone: chrono_tz::UTC,
        start: None,
        schedule: None,
        params: IndexMap::new(),
        vars: IndexMap::new(),
        folder: PathBuf::from("."),
    };
    let tasks = (0..tasks).map(|i| Task {
        name: ok(format!("t{i}").parse(), "a task name"),
        action: Action::Noop,
        upstream: (i.checked_sub(1).into_iter())
            .map(|up| Edge { task: TaskIx(up as u32), why: Vec::new() })
            .collect(),
        reads: Vec::new(),
        reads_run_tasks: false,
        bind: IndexMap::new(),
        when: None,
        trigger_rule: TriggerRule::default(),
        retry: RetryPolicy::default(),
        timeout: None,
        checks: Vec::new(),
        pool: ok("default".parse(), "a pool name"),
        env: IndexMap::new(),
        outputs: IndexMap::new(),
    });
    match Dag::new(head, tasks.collect()) {
        Ok(dag) => Arc::new(dag),
        Err(cycle) => panic!("a chain has no cycle: {cycle:?}"),
    }
}

/// The source from which [`resolver`] makes a [`chain`] again.
pub fn source_of(dag: &Dag) -> DagSource {
    let text = format!("{} {}", dag.id, dag.tasks().len());
    DagSource { path: PathBuf::from("chain.yaml"), text, defaults: None }
}

/// Loads the DAGs of this suite.
pub fn resolver() -> Resolver {
    Arc::new(|_, source| {
        let (id, tasks) = source.text.split_once(' ')?;
        Some(chain(id, tasks.parse().ok()?))
    })
}

/// A run that grows event by event, legally.
#[derive(Debug)]
pub struct Script {
    /// The run as it is.
    pub run: DagRun,
    /// Its events so far.
    pub events: Vec<RunEvent>,
    clock: i64,
}

impl Script {
    /// A run is created.
    pub fn begin(dag: &Arc<Dag>, number: u64, created_at: i64) -> Self {
        let event = RunEvent::Created {
            version: dag.version.clone(),
            trigger: Trigger::Manual { who: "conformance".to_owned() },
            params: serde_json::Map::new(),
            interval: None,
            at: Timestamp::from_micros(created_at),
        };
        let id = RunId { dag: dag.id.clone(), number };
        let run = ok(DagRun::create(Arc::clone(dag), id, &event), "create");
        Self { run, events: vec![event], clock: created_at }
    }

    fn apply(&mut self, event: RunEvent) {
        ok(self.run.apply(&event), "apply");
        self.events.push(event);
    }

    fn at(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_micros(self.clock)
    }

    /// It starts.
    #[must_use]
    pub fn start(mut self) -> Self {
        let at = self.at();
        self.apply(RunEvent::Started { at });
        self
    }

    /// A task of it runs and gives a table of `rows` rows.
    #[must_use]
    pub fn succeed(mut self, task: u32, rows: u64) -> Self {
        let task = TaskIx(task);
        let at = self.at();
        self.apply(RunEvent::TaskQueued { task, at });
        let attempt = self.run.task(task).attempts + 1;
        self.apply(RunEvent::AttemptStarted { task, attempt, at });
        let name = self.run.dag().task(task).name.to_string();
        let table = TableRef {
            name,
            hash: format!("{rows:032x}"),
            rows,
            bytes: rows * 8,
            schema: "0".repeat(16),
        };
        let result = TaskResult { tables: vec![table], ..TaskResult::default() };
        self.apply(RunEvent::AttemptSucceeded { task, attempt, result, at });
        self
    }

    /// All its tasks run, and it ends.
    #[must_use]
    pub fn finish(mut self) -> Self {
        for task in 0..self.run.tasks().len() as u32 {
            if self.run.task(TaskIx(task)).state == TaskState::Pending {
                self = self.succeed(task, u64::from(task));
            }
        }
        let at = self.at();
        self.apply(RunEvent::Finished { state: RunState::Succeeded, at });
        self
    }

    /// Its events, for a commit.
    pub fn commit(&self) -> Commit {
        self.commit_from(0)
    }

    /// Its events after the first `skip`, for a commit.
    pub fn commit_from(&self, skip: usize) -> Commit {
        let id = &self.run.head.id;
        let events =
            self.events.iter().skip(skip).map(|event| Event::Run(id.clone(), event.clone()));
        Commit { events: events.collect(), small_tables: Vec::new() }
    }

    /// Its record with all tasks.
    pub fn record(&self, position: Position) -> Record {
        let tasks = (0..).map(TaskIx).zip(self.run.tasks().iter().cloned()).collect();
        let counts = counts_of(self.run.tasks());
        Record::Run { position, summary: RunSummary { head: self.run.head.clone(), counts }, tasks }
    }
}
