//! What people do with runs: let them stand still, say how tasks ended, let tasks begin anew.

use tidemill_model::rerun::{Again, Marking, again};
use tidemill_model::{
    AttemptId, AttemptReport, DagRun, FailureKind, ReportOutcome, RunEvent, RunId, RunState,
    TaskError, TaskIx, TaskState, Timestamp,
};
use tidemill_scheduler::{CommandError, Mark};

use crate::desk::Desk;
use crate::house::dag;

fn at(second: u32) -> Timestamp {
    format!("2026-03-02T10:{:02}:{:02}Z", second / 60, second % 60).parse().unwrap()
}

fn id(run: &str) -> RunId {
    run.parse().unwrap()
}

fn desk(text: &str, retries: u32) -> Desk {
    let mut desk = Desk::new([("default", 8)]);
    desk.deploy(&dag("d", text, None, retries), at(0));
    desk
}

fn run<'d>(desk: &'d Desk, run: &str) -> &'d DagRun {
    desk.kernel.run(&id(run)).unwrap()
}

fn states(desk: &Desk, of: &str) -> Vec<TaskState> {
    run(desk, of).tasks().iter().map(|task| task.state).collect()
}

fn report(desk: &mut Desk, of: &str, task: u32, outcome: ReportOutcome, now: Timestamp) {
    let attempt = run(desk, of).task(TaskIx(task)).attempts;
    let id = AttemptId { run: id(of), task: TaskIx(task).into(), attempt };
    assert!(desk.kernel.report(AttemptReport { id, outcome, small_tables: Vec::new() }, now));
    desk.step(now);
}

fn failed() -> ReportOutcome {
    ReportOutcome::Failed(TaskError::new(FailureKind::Exit, "it ended with code 1"))
}

fn mark(desk: &mut Desk, of: &str, tasks: &[u32], state: TaskState) -> Result<(), CommandError> {
    let tasks: Vec<TaskIx> = tasks.iter().copied().map(TaskIx).collect();
    let marking = Marking::of(run(desk, of), &tasks, state);
    let mark = Mark { state, who: "ada".to_owned(), note: Some("it is done".to_owned()) };
    let ended = run(desk, of).head.state.is_final().then(|| run(desk, of).clone());
    let done = desk.kernel.mark(ended, &id(of), &marking, &mark, at(50));
    desk.step(at(50));
    done
}

/// A run stands still: what runs goes on, what is queued or due does not begin; then all goes on.
#[test]
fn a_paused_run_begins_nothing() {
    let mut desk = Desk::new([("default", 1)]);
    desk.deploy(&dag("d", "a; b; c < a", None, 1), at(0));
    desk.call("d", at(1));
    assert_eq!(desk.under_way(), ["d.1/a"]);
    desk.kernel.hold(&id("d.1"), true, "ada", at(2)).unwrap();
    desk.kernel.hold(&id("d.1"), true, "bob", at(2)).unwrap();
    desk.step(at(2));
    assert_eq!(run(&desk, "d.1").head.held_by.as_deref(), Some("ada"));
    // The slot that it gives back is for others.
    report(&mut desk, "d.1", 0, failed(), at(3));
    assert_eq!(desk.under_way(), [] as [&str; 0]);
    assert_eq!(desk.kernel.next_wake(at(4)), None, "its retry is not due while it stands still");
    desk.call("d", at(4));
    assert_eq!(desk.under_way(), ["d.2/a"]);
    // It stands still after a restart, too.
    desk.restart(at(5));
    desk.deploy(&dag("d", "a; b; c < a", None, 1), at(5));
    assert_eq!(desk.under_way(), ["d.2/a"]);
    desk.finish("d.2", at(6));
    desk.finish("d.2", at(6));
    desk.finish("d.2", at(6));
    assert_eq!(states(&desk, "d.1")[1], TaskState::Queued);
    desk.kernel.hold(&id("d.1"), false, "ada", at(60)).unwrap();
    desk.step(at(60));
    assert_eq!(
        desk.under_way(),
        ["d.1/a"],
        "the retry and `b` are both due, in the order of the DAG"
    );
    for _ in 0..3 {
        desk.finish("d.1", at(61));
    }
    assert_eq!(desk.state("d.1"), RunState::Succeeded);
}

#[test]
fn a_paused_run_that_queues_is_passed_by() {
    let mut desk = Desk::new([("default", 1)]);
    desk.deploy(&dag("d", "a", None, 0), at(0));
    desk.kernel.drain();
    let first = desk.call("d", at(1));
    desk.kernel.hold(&first, true, "ada", at(1)).unwrap();
    desk.step(at(1));
    desk.restart(at(2));
    desk.deploy(&dag("d", "a", None, 0), at(2));
    desk.call("d", at(3));
    assert_eq!(desk.under_way(), ["d.2/a"]);
    assert_eq!(desk.state("d.1"), RunState::Queued);
    // One that stands still can be ended.
    desk.kernel.cancel(&first, "ada", at(4)).unwrap();
    desk.step(at(4));
    assert_eq!(desk.state("d.1"), RunState::Cancelled);
}

#[test]
fn a_retry_is_hastened() {
    let mut desk = desk("a", 1);
    desk.call("d", at(1));
    let none = desk.kernel.hasten(&id("d.1"), TaskIx(0).into(), "ada", at(2)).unwrap_err();
    assert_eq!(none.to_string(), "task `a` of run d.1 does not wait for a retry: it is running");
    report(&mut desk, "d.1", 0, failed(), at(3));
    assert_eq!(states(&desk, "d.1"), [TaskState::UpForRetry]);
    desk.kernel.hasten(&id("d.1"), TaskIx(0).into(), "ada", at(4)).unwrap();
    desk.step(at(4));
    assert_eq!(desk.under_way(), ["d.1/a"]);
    // It was that retry, not one more.
    report(&mut desk, "d.1", 0, failed(), at(5));
    assert_eq!(desk.state("d.1"), RunState::Failed);
}

/// A task that failed counts as succeeded, and what could not run because of it runs.
#[test]
fn a_mark_lets_others_run() {
    let mut desk = desk("a; b < a; c < b", 0);
    desk.call("d", at(1));
    desk.kernel.report(
        AttemptReport {
            id: AttemptId { run: id("d.1"), task: TaskIx(0).into(), attempt: 1 },
            outcome: failed(),
            small_tables: Vec::new(),
        },
        at(2),
    );
    desk.step(at(2));
    assert_eq!(desk.state("d.1"), RunState::Failed);
    assert_eq!(states(&desk, "d.1")[1..], [TaskState::UpstreamFailed; 2]);
    mark(&mut desk, "d.1", &[0], TaskState::Succeeded).unwrap();
    let task = run(&desk, "d.1").task(TaskIx(0)).clone();
    assert_eq!((task.state, task.attempts), (TaskState::Succeeded, 1));
    assert_eq!(task.reason.as_deref(), Some("marked as succeeded by ada: it is done"));
    assert_eq!(desk.under_way(), ["d.1/b"]);
    desk.finish("d.1", at(51));
    desk.finish("d.1", at(51));
    assert_eq!(desk.state("d.1"), RunState::Succeeded);
    assert_eq!(run(&desk, "d.1").head.generation, 2);
}

/// One that runs is ended first, and holds its slot until it has.
#[test]
fn a_running_task_is_ended_and_then_as_marked() {
    let mut desk = Desk::new([("default", 1)]);
    desk.deploy(&dag("d", "a; b < a", None, 3), at(0));
    desk.call("d", at(1));
    mark(&mut desk, "d.1", &[0], TaskState::Failed).unwrap();
    assert_eq!(states(&desk, "d.1")[0], TaskState::Running);
    assert_eq!(desk.kernel.admission().running_attempts(), 1);
    // However it ends, it is what was said, and is not tried again.
    report(&mut desk, "d.1", 0, failed(), at(51));
    assert_eq!(states(&desk, "d.1"), [TaskState::Failed, TaskState::UpstreamFailed]);
    let error = run(&desk, "d.1").task(TaskIx(0)).error.clone().unwrap();
    assert_eq!(error.message, "marked as failed by ada: it is done");
    assert_eq!(desk.kernel.admission().running_attempts(), 0);
    desk.call("d", at(52));
    mark(&mut desk, "d.2", &[0, 1], TaskState::Succeeded).unwrap();
    report(&mut desk, "d.2", 0, ReportOutcome::Cancelled, at(53));
    assert_eq!(desk.state("d.2"), RunState::Succeeded);
}

#[test]
fn a_lost_attempt_of_a_marked_task_is_not_made_again() {
    let mut desk = desk("a", 3);
    desk.call("d", at(1));
    mark(&mut desk, "d.1", &[0], TaskState::Skipped).unwrap();
    desk.restart(at(60));
    desk.step(at(60));
    assert_eq!(desk.state("d.1"), RunState::Succeeded);
    assert_eq!(states(&desk, "d.1"), [TaskState::Skipped]);
}

/// While a task goes on, another that failed begins anew.
#[test]
fn a_task_begins_anew_while_the_others_go_on() {
    let mut desk = desk("a; b < a; slow", 0);
    desk.call("d", at(1));
    report(&mut desk, "d.1", 0, failed(), at(2));
    assert_eq!(desk.state("d.1"), RunState::Running);
    let dag = std::sync::Arc::clone(run(&desk, "d.1").dag());
    let whole = again(run(&desk, "d.1"), &dag, Again::All);
    let refused = desk.kernel.reopen(&id("d.1"), &whole, "ada", at(3)).unwrap_err();
    assert!(refused.to_string().starts_with("task `slow` of run d.1 is under way"), "{refused}");
    let tasks = again(run(&desk, "d.1"), &dag, Again::Failed);
    desk.kernel.reopen(&id("d.1"), &tasks, "ada", at(3)).unwrap();
    let made = desk.step(at(3));
    assert!(!made.is_empty());
    assert_eq!(desk.under_way(), ["d.1/a", "d.1/slow"]);
    assert_eq!(run(&desk, "d.1").task(TaskIx(0)).attempts, 2);
    desk.finish("d.1", at(4));
    desk.finish("d.1", at(5));
    assert_eq!(desk.state("d.1"), RunState::Succeeded);
}

/// What is in the queue of a pool, and begins anew, is not begun twice.
#[test]
fn what_queues_and_begins_anew_queues_once() {
    let mut desk = Desk::new([("default", 1)]);
    desk.deploy(&dag("d", "a; b < a; c < a", None, 0), at(0));
    desk.call("d", at(1));
    desk.finish("d.1", at(2));
    assert_eq!(desk.under_way(), ["d.1/b"]);
    assert_eq!(states(&desk, "d.1")[2], TaskState::Queued);
    let dag = std::sync::Arc::clone(run(&desk, "d.1").dag());
    let tasks = again(run(&desk, "d.1"), &dag, Again::From(TaskIx(2)));
    desk.kernel.reopen(&id("d.1"), &tasks, "ada", at(3)).unwrap();
    desk.step(at(3));
    desk.finish("d.1", at(4));
    assert_eq!(desk.under_way(), ["d.1/c"]);
    desk.finish("d.1", at(5));
    assert_eq!(desk.state("d.1"), RunState::Succeeded);
    assert_eq!(run(&desk, "d.1").task(TaskIx(2)).attempts, 1);
}

#[test]
fn a_note_on_a_run_that_has_ended_stays() {
    let mut desk = desk("a", 0);
    desk.call("d", at(1));
    desk.finish("d.1", at(2));
    let ended = run(&desk, "d.1").clone();
    desk.kernel.forget_finished();
    assert!(desk.kernel.run(&id("d.1")).is_none());
    let note = ("look".to_owned(), "ada".to_owned());
    desk.kernel.note(Some(ended), &id("d.1"), Some(TaskIx(0)), note, at(3)).unwrap();
    let made = desk.step(at(3));
    assert!(matches!(made.as_slice(), [tidemill_model::Event::Run(_, RunEvent::Noted { .. })]));
    let note = run(&desk, "d.1").task(TaskIx(0)).note.clone().unwrap();
    assert_eq!((note.text.as_str(), note.who.as_str()), ("look", "ada"));
    desk.kernel.forget_finished();
    assert!(desk.kernel.run(&id("d.1")).is_none());
    let nobody = ("x".to_owned(), "ada".to_owned());
    assert!(desk.kernel.note(None, &id("d.9"), None, nobody, at(4)).is_err());
}
