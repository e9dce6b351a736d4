//! Limits of time on runs and on waiting, and DAGs that pause themselves.

use std::sync::Arc;
use std::time::Duration;

use tidemill_model::dag::{DagHead, Task};
use tidemill_model::{
    Action, AttemptId, AttemptReport, Dag, FailureKind, ReportOutcome, RunState, TaskError, TaskIx,
    TaskState, Timestamp, Version,
};

use crate::desk::Desk;

fn at(minute: u32) -> Timestamp {
    format!("2026-03-02T{:02}:{:02}:00Z", 10 + minute / 60, minute % 60).parse().unwrap()
}

fn dag(change: impl Fn(&mut DagHead, &mut Vec<Task>)) -> Arc<Dag> {
    let task =
        |name: &str| Task::new(name.parse().unwrap(), "default".parse().unwrap(), Action::Noop);
    let mut tasks = vec![task("a"), task("b")];
    let mut head = DagHead::new("d".parse().unwrap(), Version::of(b"limits"));
    change(&mut head, &mut tasks);
    Arc::new(Dag::new(head, tasks).unwrap())
}

fn report(desk: &mut Desk, run: &str, task: u32, outcome: ReportOutcome, now: Timestamp) {
    let id = AttemptId { run: run.parse().unwrap(), task: TaskIx(task).into(), attempt: 1 };
    assert!(desk.kernel.report(AttemptReport { id, outcome, small_tables: Vec::new() }, now));
    desk.step(now);
}

fn failed() -> ReportOutcome {
    ReportOutcome::Failed(TaskError::new(FailureKind::Exit, "it ended with code 1"))
}

/// What runs is ended first, then the run has failed, and the next one has its place.
#[test]
fn a_run_that_takes_too_long_fails() {
    let mut desk = Desk::new([("default", 1)]);
    let long = dag(|head, _| head.timeout = Some(Duration::from_mins(30)));
    desk.deploy(&long, at(0));
    desk.call("d", at(1));
    assert_eq!(desk.kernel.next_wake(at(1)), Some(at(31)));
    desk.step(at(30));
    assert_eq!(desk.state("d.1"), RunState::Running);
    desk.step(at(31));
    assert_eq!(desk.state("d.1"), RunState::Running, "an attempt is still being ended");
    // It is ended only once, whatever time it is.
    assert!(desk.step(at(40)).is_empty());
    report(&mut desk, "d.1", 0, ReportOutcome::Cancelled, at(41));
    assert_eq!(desk.state("d.1"), RunState::Failed);
    let head = &desk.kernel.run(&"d.1".parse().unwrap()).unwrap().head;
    assert_eq!(head.reason.as_deref(), Some("it took longer than its timeout of 30 min 0 s"));
}

#[test]
fn a_task_that_waits_too_long_for_a_slot_fails() {
    let mut desk = Desk::new([("default", 1)]);
    let patient = dag(|_, tasks| tasks[1].queue_timeout = Some(Duration::from_mins(5)));
    desk.deploy(&patient, at(0));
    desk.call("d", at(1));
    assert_eq!(desk.under_way(), ["d.1/a"]);
    desk.restart(at(2));
    desk.deploy(&patient, at(2));
    assert_eq!(desk.kernel.next_wake(at(2)), Some(at(6)), "from when it was ready");
    desk.step(at(6));
    let run = desk.kernel.run(&"d.1".parse().unwrap()).unwrap();
    let task = run.task(TaskIx(1));
    assert_eq!(task.state, TaskState::Failed);
    let error = task.error.as_ref().unwrap();
    let text = "waited longer than its queue_timeout of 5 min 0 s for pool `default`";
    assert_eq!((error.kind, error.message.as_str()), (FailureKind::Timeout, text));
    // Its place in the queue is gone.
    let pools = desk.kernel.admission().waits(at(6));
    assert_eq!(pools.pools()[0].queued, 0);
}

/// Runs that people start do not count, one that succeeds begins the count anew.
#[test]
fn a_dag_pauses_itself() {
    let mut desk = Desk::new([("default", 8)]);
    let fragile = dag(|head, tasks| {
        tasks.pop();
        head.auto_pause = Some(2);
        head.triggers = vec![crate::house::trigger("*/10 * * * *", chrono_tz::UTC)];
    });
    desk.deploy(&fragile, at(9));
    let mut number = 0;
    for (minute, outcome) in [(10, true), (20, false), (30, true), (40, true)] {
        desk.step(at(minute));
        number += 1;
        let outcome = if outcome { failed() } else { ReportOutcome::Skipped("none".to_owned()) };
        report(&mut desk, &format!("d.{number}"), 0, outcome, at(minute + 1));
        desk.call("d", at(minute + 1));
        number += 1;
        report(&mut desk, &format!("d.{number}"), 0, failed(), at(minute + 2));
    }
    let id: tidemill_model::DagId = "d".parse().unwrap();
    let record = &desk.kernel.dags()[&id].record;
    assert!(record.paused);
    assert_eq!(record.paused_by.as_deref(), Some("auto_pause: the last 2 runs failed"));
    desk.step(at(55));
    assert!(desk.kernel.run(&"d.9".parse().unwrap()).is_none());
    // Once resumed it counts anew.
    desk.kernel.pause(&id, false, "ada", at(56)).unwrap();
    desk.step(at(60));
    report(&mut desk, "d.9", 0, failed(), at(61));
    assert!(!desk.kernel.dags()[&id].record.paused);
}
