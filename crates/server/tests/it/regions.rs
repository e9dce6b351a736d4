//! A run with a mapped group, made by the model itself.

use std::sync::Arc;

use tidemill_model::dag::{Action, Approve, Group, Mapping, Param, ParamKind, Tolerance};
use tidemill_model::expr::Expr;
use tidemill_model::run::{Item, MapRun, StoredItem};
use tidemill_model::template::Template;
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
            max_parallel: Some(2),
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

/// `release`: asks whether to go on, and by how much.
fn asking() -> Arc<Dag> {
    let param = Param {
        kind: ParamKind::Integer,
        default: Some(100.into()),
        allowed: Vec::new(),
        description: Some("mails at most".to_owned()),
    };
    let approve = Approve {
        message: Some(Template::parse_text("Send mails in run ${{ run.number }}?").expect("text")),
        params: [("limit".parse().expect("a name"), param)].into_iter().collect(),
    };
    let pool = "default".parse().expect("a name");
    let task = Task::new("send".parse().expect("a name"), pool, Action::Approve(approve));
    Arc::new(Dag::new(head("release"), vec![task]).expect("no cycle"))
}

/// Adds a run with items as they are stored, and one that waits for a person.
pub(crate) fn add(fake: &mut Fake, at: Timestamp) {
    add_run(fake, &dag(), at);
    add_run(fake, &asking(), at);
}

fn add_run(fake: &mut Fake, dag: &Arc<Dag>, at: Timestamp) {
    let id = tidemill_model::RunId { dag: dag.id.clone(), number: 1 };
    let event = RunEvent::Created {
        version: dag.version.clone(),
        trigger: Trigger::Manual { who: "browser".to_owned() },
        params: serde_json::Map::new(),
        interval: None,
        lane: None,
        at,
    };
    let mut run = DagRun::create(Arc::clone(dag), id.clone(), &event).expect("a run");
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
        dag: Some(Arc::clone(dag)),
        tasks: run.tasks().to_vec(),
        waits: Vec::new(),
    });
    fake.dag(dag, "tasks: {}\n", |_| {});
}

fn work(run: &mut DagRun, task: Instance, at: Timestamp) {
    let attempt = 1;
    run.apply(&RunEvent::AttemptStarted { task, attempt, map: None, until: None, at })
        .expect("it starts");
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
