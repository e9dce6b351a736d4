//! DAGs and runs for tests: legal, and the same each time.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_model::dag::{DagHead, Edge, Mapping, Tolerance};
use tidemill_model::event::MapPlan;
use tidemill_model::expr::Expr;
use tidemill_model::{
    Action, Dag, DagId, DagRun, Event, Instance, Position, RunEvent, RunId, RunState, TableRef,
    Task, TaskIx, TaskResult, TaskState, Timestamp, Trigger, Version,
};

use super::ok;
use crate::record::counts_of;
use crate::replay::{Resolver, items_of};
use crate::store::{Commit, DagSource, Record, RunSummary};

/// A DAG of `tasks` tasks in a row that do nothing.
pub fn chain(id: &str, tasks: usize) -> Arc<Dag> {
    let id: DagId = ok(id.parse(), "a DAG name");
    let text = format!("{id} {tasks}");
    let head =
        DagHead { folder: PathBuf::from("."), ..DagHead::new(id, Version::of(text.as_bytes())) };
    let task = |i: usize| {
        let name = ok(format!("t{i}").parse(), "a task name");
        let upstream = i.checked_sub(1).map(|up| Edge { task: TaskIx(up as u32), why: Vec::new() });
        let task = Task::new(name, ok("default".parse(), "a pool name"), Action::Noop);
        Task { upstream: upstream.into_iter().collect(), ..task }
    };
    let tasks = (0..tasks).map(task);
    match Dag::new(head, tasks.collect()) {
        Ok(dag) => Arc::new(dag),
        Err(cycle) => panic!("a chain has no cycle: {cycle:?}"),
    }
}

/// A DAG of a task that is mapped over a list, and one after it.
pub fn mapped(id: &str, items: u32) -> Arc<Dag> {
    let dag = chain(id, 2);
    let mut tasks = dag.tasks().to_vec();
    tasks[0].mapping = Some(Mapping {
        list: ok(Expr::parse("['a']"), "an expression"),
        max_parallel: Some(items),
        tolerate: Tolerance::Nothing,
    });
    let text = format!("{id} each {items}");
    let head = DagHead { version: Version::of(text.as_bytes()), ..DagHead::clone(&dag) };
    match Dag::new(head, tasks) {
        Ok(dag) => Arc::new(dag),
        Err(cycle) => panic!("a chain has no cycle: {cycle:?}"),
    }
}

/// The source from which [`resolver`] makes a [`chain`] again.
pub fn source_of(dag: &Dag) -> DagSource {
    let text = match dag.tasks().first().and_then(|task| task.mapping.as_ref()) {
        Some(mapping) => format!("{} each {}", dag.id, mapping.at_once()),
        None => format!("{} {}", dag.id, dag.tasks().len()),
    };
    DagSource { path: PathBuf::from("chain.yaml"), text, defaults: None }
}

/// Loads the DAGs of this suite.
pub fn resolver() -> Resolver {
    Arc::new(|_, source| {
        let (id, what) = source.text.split_once(' ')?;
        match what.strip_prefix("each ") {
            Some(items) => Some(mapped(id, items.parse().ok()?)),
            None => Some(chain(id, what.parse().ok()?)),
        }
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
            lane: None,
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
        let ix = TaskIx(task);
        let task = Instance::from(ix);
        let at = self.at();
        self.apply(RunEvent::TaskQueued { task, at });
        let attempt = self.run.task(ix).attempts + 1;
        self.apply(RunEvent::AttemptStarted { task, attempt, map: None, until: None, at });
        let result = self.result_of(ix, rows);
        self.apply(RunEvent::AttemptSucceeded { task, attempt, result, at });
        self
    }

    /// Its first task, a mapped one, knows its items.
    #[must_use]
    pub fn map_over(mut self, items: u32) -> Self {
        let at = self.at();
        let map = Some(MapPlan { items, tolerated: 0 });
        self.apply(RunEvent::AttemptStarted {
            task: TaskIx(0).into(),
            attempt: 1,
            map,
            until: None,
            at,
        });
        self
    }

    /// The next item of its first task runs and gives a table of as many rows.
    #[must_use]
    pub fn item(mut self, item: u32) -> Self {
        let task = Instance::of_item(TaskIx(0), item);
        let at = self.at();
        self.apply(RunEvent::TaskQueued { task, at });
        self.apply(RunEvent::AttemptStarted { task, attempt: 1, map: None, until: None, at });
        let result = self.result_of(TaskIx(0), u64::from(item));
        self.apply(RunEvent::AttemptSucceeded { task, attempt: 1, result, at });
        self
    }

    /// The tables of its first task's items are put together.
    #[must_use]
    pub fn gather(mut self) -> Self {
        let task = TaskIx(0).into();
        let at = self.at();
        self.apply(RunEvent::AttemptGathers { task, attempt: 1, at });
        let result = self.result_of(TaskIx(0), 1);
        self.apply(RunEvent::AttemptSucceeded { task, attempt: 1, result, at });
        self
    }

    fn result_of(&self, task: TaskIx, rows: u64) -> TaskResult {
        let table = TableRef {
            name: self.run.dag().task(task).name.to_string(),
            hash: format!("{rows:032x}"),
            rows,
            bytes: rows * 8,
            schema: "0".repeat(16),
        };
        TaskResult { tables: vec![table], ..TaskResult::default() }
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
        let summary = Box::new(RunSummary { head: self.run.head.clone(), counts });
        Record::Run { position, summary, tasks, items: items_of(&self.run) }
    }
}
