//! Tasks that wait: for an instant, for a person, for another run.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, json};
use tidemill_model::dag::{Approve, Call, Edge, Wait};
use tidemill_model::decide::waiting::settle_call;
use tidemill_model::retry::RetryPolicy;
use tidemill_model::template::Template;
use tidemill_model::{
    Action, Admission, Dag, DagRun, Instance, Limits, RunEvent, RunState, Task, TaskIx, TaskState,
    decide, effects,
};

use crate::house::{at, begun, head};
use crate::runs::settle;

const FIRST: Instance = Instance { item: None, task: TaskIx(0) };

/// A run of a task that waits, and of one after it.
fn run_of(action: Action, timeout: Option<u64>, retries: u32) -> DagRun {
    let pool = || "default".parse().unwrap();
    let first = Task {
        timeout: timeout.map(std::time::Duration::from_secs),
        retry: RetryPolicy { limit: retries, jitter: 0.0, ..RetryPolicy::default() },
        ..Task::new("first".parse().unwrap(), pool(), action)
    };
    let upstream = vec![Edge { task: TaskIx(0), why: Vec::new() }];
    let then = Task { upstream, ..Task::new("then".parse().unwrap(), pool(), Action::Noop) };
    let dag = Dag::new(head("d", b"waiting"), vec![first, then]).unwrap();
    let mut run = begun(&Arc::new(dag), 1);
    settle(&mut run, at(2));
    run
}

fn text(text: &str) -> Template {
    Template::parse_text(text).unwrap()
}

fn approve() -> Action {
    let message = Some(text("Run ${{ run.number }}?"));
    Action::Approve(Approve { message, params: IndexMap::new() })
}

fn call(table: Option<&str>) -> Action {
    let params = Template::Literal(json!({}));
    Action::Call(Call { dag: "other".parse().unwrap(), params, table: table.map(str::to_owned) })
}

fn states(run: &DagRun) -> String {
    run.tasks().iter().map(|task| task.state.label()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_wait_ends_by_itself_and_takes_no_slot() {
    let mut run = run_of(Action::Wait(Wait::For(text("10s"))), None, 0);
    assert_eq!(states(&run), "waiting pending");
    assert_eq!((run.next_timer(), run.running().count()), (Some(at(12)), 0));
    let mut admission = Admission::new(Limits::default(), []);
    admission.adopt(&run);
    assert_eq!(admission.running_attempts(), 0);
    settle(&mut run, at(11));
    assert_eq!(states(&run), "waiting pending");
    settle(&mut run, at(12));
    assert_eq!(states(&run), "succeeded queued");
    let task = run.task(TaskIx(0));
    assert_eq!((task.attempts, task.history.len()), (1, 1));
    // An instant that has passed is no wait.
    let run = run_of(Action::Wait(Wait::Until(text("2001-01-01T00:00:00Z"))), None, 0);
    assert_eq!(states(&run), "succeeded queued");
    for (wait, expected) in [
        (Wait::For(text("${{ run.number }}")), "is no span of time"),
        (Wait::Until(text("${{ run.dag }}")), "is no instant"),
        (Wait::For(text("${{ params.missing }}")), "has no value"),
    ] {
        let run = run_of(Action::Wait(wait), None, 0);
        assert_eq!(states(&run), "failed upstream_failed");
        let error = run.task(TaskIx(0)).error.as_ref().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_waits_too_long_fails_and_is_tried_again() {
    let mut run = run_of(approve(), Some(60), 1);
    assert_eq!(run.next_timer(), Some(at(62)));
    settle(&mut run, at(62));
    assert_eq!(states(&run), "up_for_retry pending");
    let error = run.task(TaskIx(0)).error.as_ref().unwrap().to_string();
    assert!(error.starts_with("waited longer than its timeout of 1 min"), "{error}");
    settle(&mut run, at(72));
    assert_eq!((states(&run).as_str(), run.task(TaskIx(0)).attempts), ("waiting pending", 2));
    settle(&mut run, at(132));
    assert_eq!(states(&run), "failed upstream_failed");
}

#[test]
fn a_person_says_yes_or_no() {
    let answer = |approved, attempt| {
        let values = json!({"limit": 7}).as_object().unwrap().clone();
        let (who, note) = ("ada".to_owned(), Some("looked".to_owned()));
        RunEvent::AttemptAnswered { task: FIRST, attempt, approved, values, who, note, at: at(5) }
    };
    let mut run = run_of(approve(), None, 3);
    assert_eq!(run.task(TaskIx(0)).reason.as_deref(), Some("Run 1?"));
    assert!(run.apply(&answer(true, 2)).is_err(), "another attempt's");
    run.apply(&answer(true, 1)).unwrap();
    settle(&mut run, at(5));
    assert_eq!(states(&run), "succeeded queued");
    let task = run.task(TaskIx(0));
    let outputs = serde_json::Value::Object(task.result.as_ref().unwrap().outputs.clone());
    assert_eq!(outputs, json!({"limit": 7, "by": "ada", "note": "looked"}));
    assert_eq!(task.reason, None, "nothing is asked any more");
    assert!(run.apply(&answer(false, 1)).is_err(), "it was answered");
    let mut run = run_of(approve(), None, 3);
    run.apply(&answer(false, 1)).unwrap();
    settle(&mut run, at(5));
    assert_eq!(states(&run), "failed upstream_failed");
    assert_eq!(run.task(TaskIx(0)).error.as_ref().unwrap().message, "ada said no: looked");
    // Nobody asks where a command runs.
    let mut run = run_of(Action::Noop, None, 0);
    run.apply(&RunEvent::AttemptStarted {
        task: FIRST,
        attempt: 1,
        map: None,
        until: None,
        at: at(3),
    })
    .unwrap();
    assert!(run.apply(&answer(true, 1)).is_err());
}

#[test]
fn a_cancelled_run_waits_for_nobody_but_the_runs_it_called() {
    for action in [approve(), Action::Wait(Wait::For(text("1h"))), call(None)] {
        let is_call = matches!(action, Action::Call(_));
        let mut run = run_of(action, Some(1_000_000), 0);
        assert!(run.next_timer().is_some());
        if is_call {
            let called = "other.1".parse().unwrap();
            let event = RunEvent::AttemptCalled { task: FIRST, attempt: 1, run: called, at: at(3) };
            run.apply(&event).unwrap();
            assert!(run.apply(&event).is_err(), "it calls once");
        }
        let event = RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: at(4) };
        run.apply(&event).unwrap();
        assert!(effects(&run, &event).is_empty());
        settle(&mut run, at(4));
        let expected = if is_call { "waiting cancelled" } else { "cancelled cancelled" };
        assert_eq!(states(&run), expected);
        assert_eq!(run.next_timer(), None, "what is ending waits for no instant");
        if is_call {
            assert_eq!(run.calls().count(), 1);
            let event = settle_call(&run, FIRST, &ended(RunState::Cancelled), at(5));
            run.apply(&event).unwrap();
            settle(&mut run, at(5));
            assert_eq!(states(&run), "cancelled cancelled");
        }
        assert_eq!(run.head.state, RunState::Cancelled);
    }
}

/// A called run that has ended so.
fn ended(state: RunState) -> DagRun {
    let task = Task::new("work".parse().unwrap(), "default".parse().unwrap(), Action::Noop);
    let dag = Arc::new(Dag::new(head("other", b"other"), vec![task]).unwrap());
    let task = match state {
        RunState::Succeeded => TaskState::Succeeded,
        RunState::Cancelled => TaskState::Cancelled,
        _ => TaskState::Failed,
    };
    let mut record = tidemill_model::TaskRun { state: task, attempts: 1, ..Default::default() };
    let table = tidemill_model::TableRef {
        name: "work".to_owned(),
        hash: "00".to_owned(),
        rows: 5,
        bytes: 9,
        schema: "0".to_owned(),
    };
    let outputs: Map<String, serde_json::Value> = json!({"n": 3}).as_object().unwrap().clone();
    let tables = vec![table];
    let result = tidemill_model::TaskResult { tables, outputs, ..Default::default() };
    record.result = (task == TaskState::Succeeded).then(|| Box::new(result));
    let error = tidemill_model::TaskError::new(tidemill_model::FailureKind::Exit, "code 1\nmore");
    record.error = (task == TaskState::Failed).then(|| Box::new(error));
    crate::house::placed(&dag, state, false, vec![record])
}

#[test]
fn a_call_gives_what_the_called_run_gave() {
    let called = |action, state| {
        let mut run = run_of(action, None, 1);
        let id = "other.1".parse().unwrap();
        run.apply(&RunEvent::AttemptCalled { task: FIRST, attempt: 1, run: id, at: at(3) })
            .unwrap();
        assert!(decide(&run, at(9)).is_empty(), "it waits");
        let event = settle_call(&run, FIRST, &ended(state), at(9));
        run.apply(&event).unwrap();
        settle(&mut run, at(9));
        run
    };
    let run = called(call(Some("work")), RunState::Succeeded);
    assert_eq!(states(&run), "succeeded queued");
    let result = run.task(TaskIx(0)).result.as_deref().unwrap();
    assert_eq!((result.tables[0].name.as_str(), result.counts.rows_out), ("first", 5));
    let outputs = serde_json::Value::Object(result.outputs.clone());
    assert_eq!(outputs, json!({"work": {"n": 3}, "run": "other.1"}));
    let error = |run: &DagRun| run.task(TaskIx(0)).error.as_ref().unwrap().message.clone();
    let run = called(call(None), RunState::Failed);
    assert_eq!(
        (states(&run).as_str(), error(&run).as_str()),
        ("up_for_retry pending", "run other.1 failed: `work`: code 1")
    );
    let run = called(call(None), RunState::Cancelled);
    assert_eq!(
        (states(&run).as_str(), error(&run).as_str()),
        ("failed upstream_failed", "run other.1 was cancelled")
    );
    let run = called(call(Some("nothing")), RunState::Succeeded);
    assert_eq!(error(&run), "run other.1 made no table `nothing`");
}
