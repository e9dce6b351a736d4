//! DAGs to test with, from a line of text.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tidemill_model::dag::{DagHead, Edge, Task};
use tidemill_model::expr::Expr;
use tidemill_model::retry::RetryPolicy;
use tidemill_model::run::{Item, MapRun, StoredItem, StoredRun};
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{
    Action, Dag, DagRun, Group, Mapping, RunEvent, RunHead, RunId, RunState, TaskIx, TaskRun,
    Timestamp, Tolerance, Trigger, Version,
};

/// A task as tests write it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sketch {
    pub(crate) name: String,
    pub(crate) upstream: Vec<usize>,
    pub(crate) rule: TriggerRule,
    pub(crate) retries: u32,
    pub(crate) pool: &'static str,
    pub(crate) when: Option<&'static str>,
    /// It is a group.
    pub(crate) holds: bool,
    /// The place of the group that it is a member of.
    pub(crate) group: Option<usize>,
    pub(crate) is_finally: bool,
    /// It is mapped over so many items, so many at once, of which so many may fail.
    pub(crate) map: Option<(u32, u32, u32)>,
    /// In seconds.
    pub(crate) timeout: Option<u64>,
}

impl Sketch {
    pub(crate) fn task(&self) -> Task {
        let pool = if self.pool.is_empty() { "default" } else { self.pool };
        let action = if self.holds { Action::Group(Group::default()) } else { Action::Noop };
        let mapping = self.map.map(|(items, max_parallel, tolerate)| Mapping {
            list: Expr::parse(&format!("{:?}", (0..items).collect::<Vec<_>>())).unwrap(),
            max_parallel: Some(max_parallel),
            tolerate: Tolerance::Items(Expr::parse(&tolerate.to_string()).unwrap()),
        });
        Task {
            upstream: (self.upstream.iter())
                .map(|up| Edge { task: TaskIx(*up as u32), why: vec!["depends_on".to_owned()] })
                .collect(),
            when: self.when.map(|text| Expr::parse(text).unwrap()),
            trigger_rule: self.rule,
            retry: RetryPolicy {
                limit: self.retries,
                delay: Duration::from_secs(10),
                jitter: 0.0,
                ..RetryPolicy::default()
            },
            timeout: self.timeout.map(Duration::from_secs),
            group: self.group.map(|group| TaskIx(group as u32)),
            mapping,
            is_finally: self.is_finally,
            ..Task::new(self.name.parse().unwrap(), pool.parse().unwrap(), action)
        }
    }
}

/// A DAG's parts besides its tasks.
pub(crate) fn head(name: &str, canonical: &[u8]) -> DagHead {
    DagHead::new(name.parse().unwrap(), Version::of(canonical))
}

/// A DAG from sketches.
pub(crate) fn dag_of(name: &str, sketches: &[Sketch]) -> Arc<Dag> {
    let head = head(name, format!("{name} {sketches:?}").as_bytes());
    Arc::new(Dag::new(head, sketches.iter().map(Sketch::task).collect()).unwrap())
}

/// Sketches from text such as `a; b < a; c < a, b`.
pub(crate) fn sketches(text: &str) -> Vec<Sketch> {
    let rows: Vec<(&str, &str)> =
        text.split(';').map(|row| row.split_once('<').unwrap_or((row, ""))).collect();
    let place = |name: &str| rows.iter().position(|(task, _)| task.trim() == name).unwrap();
    rows.iter()
        .map(|(task, ups)| Sketch {
            name: task.trim().to_owned(),
            upstream: ups
                .split(',')
                .map(str::trim)
                .filter(|up| !up.is_empty())
                .map(place)
                .collect(),
            ..Sketch::default()
        })
        .collect()
}

/// A DAG from text such as `a; b < a; c < a, b`.
pub(crate) fn dag(text: &str) -> Arc<Dag> {
    dag_of("d", &sketches(text))
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn created(dag: &Dag, second: i64) -> RunEvent {
    RunEvent::Created {
        version: dag.version.clone(),
        trigger: Trigger::Manual { who: "test".to_owned() },
        params: Map::new(),
        interval: None,
        lane: None,
        at: at(second),
    }
}

/// A run that has just been called for.
pub(crate) fn run_of(dag: &Arc<Dag>, number: u64) -> DagRun {
    let id = RunId { dag: dag.id.clone(), number };
    DagRun::create(Arc::clone(dag), id, &created(dag, number as i64)).unwrap()
}

/// A run that has begun.
pub(crate) fn begun(dag: &Arc<Dag>, number: u64) -> DagRun {
    let mut run = run_of(dag, number);
    run.apply(&RunEvent::Started { at: at(number as i64) }).unwrap();
    run
}

/// What is stored of a run.
pub(crate) fn stored(run: &DagRun) -> StoredRun {
    StoredRun { head: run.head.clone(), tasks: run.tasks().to_vec(), items: stored_items(run) }
}

/// What is stored of the items of mapped tasks, as far as the run remembers them.
pub(crate) fn stored_items(run: &DagRun) -> Vec<StoredItem> {
    let of_map = |(task, map): (TaskIx, &MapRun)| {
        let attempt = map.attempt();
        let stored = |(item, of_item): (u32, &Item)| StoredItem {
            task,
            item,
            attempt,
            runs: of_item.runs.clone(),
        };
        map.items().map(stored).collect::<Vec<_>>()
    };
    run.maps().flat_map(of_map).collect()
}

/// A run whose records say this.
pub(crate) fn placed(
    dag: &Arc<Dag>,
    state: RunState,
    cancelled: bool,
    tasks: Vec<TaskRun>,
) -> DagRun {
    let head = RunHead { state, cancel_requested: cancelled, ..run_of(dag, 1).head };
    DagRun::restore(Arc::clone(dag), StoredRun { head, tasks, items: Vec::new() })
}

/// `a=succeeded b=failed`.
pub(crate) fn states(run: &DagRun) -> String {
    let pairs = run.tasks().iter().zip(run.dag().tasks());
    pairs
        .map(|(state, task)| format!("{}={}", task.name, state.state.label()))
        .collect::<Vec<_>>()
        .join(" ")
}
