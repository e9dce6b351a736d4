//! Orders to the outside world.

use std::sync::Arc;

use serde_json::json;
use tidemill_model::dag::{Command, Dag, Read, Task};
use tidemill_model::outputs::FileFormat;
use tidemill_model::template::Template;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{
    Action, AttemptOrder, Counts, DagRun, Effect, Instance, RunEvent, RunState, TableRef, TaskIx,
    TaskResult, effects,
};

use crate::house::{at, begun, dag, head, sketches};
use crate::runs::settle;

#[test]
fn effects_follow_from_events() {
    let mut run = begun(&dag("a"), 1);
    let words = |run: &DagRun, event: &RunEvent| -> Vec<String> {
        let word = |effect: Effect| match effect {
            Effect::StartAttempt(order) => {
                format!("start {} of {}", order.id.attempt, order.dag.task(order.id.task.task).name)
            }
            Effect::AdoptAttempt(order) => format!("adopt {}", order.id.attempt),
            Effect::CancelAttempt(id) => format!("cancel {}", id.attempt),
            Effect::RunFinished(id) => format!("finished {id}"),
        };
        effects(run, event).into_iter().map(word).collect()
    };
    let mut seen = Vec::new();
    let task = Instance::from(TaskIx(0));
    for event in [
        RunEvent::TaskQueued { task, at: at(1) },
        RunEvent::AttemptStarted { task, attempt: 1, map: None, until: None, at: at(1) },
        RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: at(2) },
        RunEvent::AttemptCancelled { task, attempt: 1, at: at(3) },
        RunEvent::Finished { state: RunState::Cancelled, at: at(3) },
    ] {
        run.apply(&event).unwrap();
        seen.extend(words(&run, &event));
    }
    assert_eq!(seen, ["start 1 of a", "cancel 1", "finished d.1"]);
}

fn table(name: &str) -> TableRef {
    TableRef {
        name: name.to_owned(),
        hash: name.len().to_string(),
        rows: 3,
        bytes: 9,
        schema: "s".to_owned(),
    }
}

/// The order of the last task of `a; b < a` after `a` has succeeded with two tables.
fn order_of(change: impl FnOnce(&mut Task)) -> Arc<AttemptOrder> {
    let mut tasks: Vec<Task> =
        sketches("a; b < a").iter().map(crate::house::Sketch::task).collect();
    change(&mut tasks[1]);
    let mut run = begun(&Arc::new(Dag::new(head("d", b"order"), tasks).unwrap()), 1);
    settle(&mut run, at(1));
    let result = TaskResult {
        tables: vec![table("a"), table("a.rejects")],
        counts: Counts {
            rows_in: 5,
            rows_out: 3,
            rejected: vec![("no key".to_owned(), 2)],
            ..Counts::default()
        },
        outputs: json!({"day": "2026-01-31"}).as_object().unwrap().clone(),
        ..TaskResult::default()
    };
    let (a, b) = (Instance::from(TaskIx(0)), Instance::from(TaskIx(1)));
    run.apply(&RunEvent::AttemptStarted { task: a, attempt: 1, map: None, until: None, at: at(2) })
        .unwrap();
    run.apply(&RunEvent::AttemptSucceeded { task: a, attempt: 1, result, at: at(3) }).unwrap();
    settle(&mut run, at(4));
    let started =
        RunEvent::AttemptStarted { task: b, attempt: 1, map: None, until: None, at: at(5) };
    run.apply(&started).unwrap();
    match effects(&run, &started).remove(0) {
        Effect::StartAttempt(order) => order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_holds_the_tables_it_reads_by_their_alias() {
    let read = |alias: &str, table: &str| Read {
        alias: alias.to_owned(),
        table: table.to_owned(),
        task: TaskIx(0),
        format: FileFormat::Arrow,
    };
    let order = order_of(|task| {
        task.reads =
            vec![read("orders", "a"), read("bad", "a.rejects"), read("none", "a.duplicates")];
    });
    let inputs: Vec<(&str, &str)> =
        order.inputs.iter().map(|(alias, table)| (alias.as_str(), table.name.as_str())).collect();
    assert_eq!(inputs, [("orders", "a"), ("bad", "a.rejects")]);
    assert_eq!(order.run_tasks, None);
}

#[test]
fn an_order_tells_the_tables_whose_tasks_were_skipped() {
    let mut tasks: Vec<Task> =
        sketches("a; b < a").iter().map(crate::house::Sketch::task).collect();
    let read = |alias: &str, table: &str| Read {
        alias: alias.to_owned(),
        table: table.to_owned(),
        task: TaskIx(0),
        format: FileFormat::Arrow,
    };
    tasks[1].reads = vec![read("orders", "a"), read("bad", "a.rejects")];
    tasks[1].trigger_rule = TriggerRule::AllDone;
    let mut run = begun(&Arc::new(Dag::new(head("d", b"order"), tasks).unwrap()), 1);
    settle(&mut run, at(1));
    let (a, b) = (Instance::from(TaskIx(0)), Instance::from(TaskIx(1)));
    let started =
        |task| RunEvent::AttemptStarted { task, attempt: 1, map: None, until: None, at: at(2) };
    run.apply(&started(a)).unwrap();
    let reason = "nothing to do".to_owned();
    run.apply(&RunEvent::AttemptSkipped { task: a, attempt: 1, reason, at: at(3) }).unwrap();
    settle(&mut run, at(4));
    run.apply(&started(b)).unwrap();
    let Effect::StartAttempt(order) = effects(&run, &started(b)).remove(0) else {
        panic!("no attempt")
    };
    assert!(order.inputs.is_empty());
    let skipped = [("orders", "a"), ("bad", "a.rejects")];
    assert_eq!(order.skipped, skipped.map(|(alias, table)| (alias.to_owned(), table.to_owned())));
}

#[test]
fn an_order_shows_its_expressions_only_what_they_name() {
    let words = |words: &[&str]| {
        let words = words.iter().map(|word| Template::parse(&json!(word)).unwrap()).collect();
        Action::Run(Command::Argv(words))
    };
    let order = order_of(|task| {
        task.action = words(&["echo", "${{ tasks.a.rows }}", "${{ tasks.a.outputs.day }}"]);
    });
    let expected = json!({"tasks": {"a": {
        "state": "succeeded", "rows": 3, "rejected": 2, "duplicates": 0, "attempts": 1,
        "outputs": {"day": "2026-01-31"},
    }}});
    assert_eq!(serde_json::Value::Object(order.scope.clone()), expected);
    let order = order_of(|task| task.action = words(&["echo", "${{ run.id }}"]));
    assert_eq!(order.scope.keys().collect::<Vec<_>>(), ["run"]);
    assert_eq!(order.scope["run"]["id"], "d.1");
    assert!(order_of(|_| {}).scope.is_empty());
}

#[test]
fn the_run_s_own_tasks_are_a_table_for_those_who_read_it() {
    let order = order_of(|task| task.reads_run_tasks = true);
    let rows: Vec<(String, u64)> = (order.run_tasks.as_ref().unwrap().iter())
        .map(|row| (format!("{} {}", row.task, row.state.label()), row.counts.rows_out))
        .collect();
    assert_eq!(rows, [("a succeeded".to_owned(), 3)]);
}
