//! A run with a mapped group, made by the model itself.

use std::sync::Arc;

use tidemill_model::dag::{Action, Group, Mapping, Tolerance};
use tidemill_model::expr::Expr;
use tidemill_model::run::{Item, MapRun, StoredItem};
use tidemill_model::{
    Counts, Dag, DagRun, FailureKind, Instance, RunEvent, TableRef, Task, TaskError, TaskIx,
    TaskResult, Timestamp, Trigger, decide,
};
use tidemill_server::backend::RunDetail;

use crate::fake::Fake;
use crate::world::head;

/// `regions`: for each of four regions, `fetch` and then `sum`; the third region does not answer.
fn dag() -> Arc<Dag> {
    let task = |name: &str, action| {
        let pool = "default".parse().expect("a name");
        Task::new(name.parse().expect("a name"), pool, action)
    };
    let edge = |ix| tidemill_model::dag::Edge { task: TaskIx(ix), why: vec!["reads table".into()] };
    let group = Task {
        mapping: Some(Mapping {
            list: Expr::parse("['eu', 'us', 'apac', 'mea']").expect("a list"),
            max_parallel: 2,
            tolerate: Tolerance::Items(Expr::parse("1").expect("a number")),
        }),
        ..task("regions", Action::Group(Group::default()))
    };
    let member = |name: &str, upstream: Vec<u32>| Task {
        group: Some(TaskIx(0)),
        upstream: upstream.into_iter().map(edge).collect(),
        ..task(name, Action::Noop)
    };
    let tasks = vec![
        group,
        member("regions.fetch", vec![]),
        member("regions.sum", vec![1]),
        Task { upstream: vec![edge(0)], ..task("total", Action::Noop) },
    ];
    Arc::new(Dag::new(head("regions"), tasks).expect("no cycle"))
}

/// Adds the run, with its items as they are stored.
pub(crate) fn add(fake: &mut Fake, at: Timestamp) {
    let dag = dag();
    let id: tidemill_model::RunId = "regions.1".parse().expect("a run");
    let event = RunEvent::Created {
        version: dag.version.clone(),
        trigger: Trigger::Manual { who: "browser".to_owned() },
        params: serde_json::Map::new(),
        interval: None,
        at,
    };
    let mut run = DagRun::create(Arc::clone(&dag), id.clone(), &event).expect("a run");
    run.apply(&RunEvent::Started { at }).expect("it starts");
    loop {
        let events = decide(&run, at);
        if events.is_empty() {
            break;
        }
        for event in events {
            run.apply(&event).expect("what is decided can happen");
            if let RunEvent::TaskQueued { task, .. } = event {
                work(&mut run, task, at);
            }
        }
    }
    let stored = |(task, map): (TaskIx, &MapRun)| {
        let attempt = map.attempt();
        let item = move |(item, of_item): (u32, &Item)| StoredItem {
            task,
            item,
            attempt,
            runs: of_item.runs.clone(),
        };
        map.items().map(item).collect::<Vec<_>>()
    };
    let items: Vec<StoredItem> = run.maps().flat_map(stored).collect();
    fake.items.extend(items.into_iter().map(|item| (id.clone(), item)));
    fake.runs.push(RunDetail {
        head: run.head.clone(),
        dag: Some(Arc::clone(&dag)),
        tasks: run.tasks().to_vec(),
        waits: Vec::new(),
    });
    fake.dag(&dag, "tasks: {}\n", |_| {});
}

fn work(run: &mut DagRun, task: Instance, at: Timestamp) {
    let attempt = 1;
    run.apply(&RunEvent::AttemptStarted { task, attempt, map: None, at }).expect("it starts");
    let name = run.dag().task(task.task).name.to_string();
    let event = if run.dag().name_of(task) == "regions[2].fetch" {
        let error = TaskError::new(FailureKind::Transient, "no answer from apac");
        RunEvent::AttemptFailed { task, attempt, error, retry_at: None, at }
    } else {
        let table =
            TableRef { hash: name.clone(), name, rows: 3, bytes: 99, schema: String::new() };
        let counts = Counts { rows_in: 3, rows_out: 3, ..Counts::default() };
        let result = TaskResult { tables: vec![table], counts, ..TaskResult::default() };
        RunEvent::AttemptSucceeded { task, attempt, result, at }
    };
    run.apply(&event).expect("it ends");
}
