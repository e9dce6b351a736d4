//! Commands that went on while no server was there: what becomes of their attempts at the start.

use std::collections::BTreeSet;

use tidemill_model::rerun::Marking;
use tidemill_model::{AttemptId, RunId, TaskIx, TaskState};
use tidemill_scheduler::Mark;

use crate::admission::at;
use crate::desk::Desk;
use crate::house::dag;

fn attempt(run: &str, task: u32, attempt: u32) -> AttemptId {
    AttemptId { run: run.parse::<RunId>().unwrap(), task: TaskIx(task).into(), attempt }
}

/// A run whose two tasks are under way.
fn desk() -> Desk {
    let mut desk = Desk::new([("default", 9)]);
    desk.deploy(&dag("d", "a; b", None, 0), at(0));
    desk.call("d", at(0));
    assert_eq!(desk.under_way(), ["d.1/a", "d.1/b"]);
    desk
}

#[test]
fn what_is_held_goes_on_and_the_rest_is_lost() {
    let mut desk = desk();
    let done = desk.restart_with(&[attempt("d.1", 0, 1)], at(1));
    assert_eq!(done, ["adopt d.1/0#1", "start d.1/1#2"]);
    desk.finish("d.1", at(2));
    assert_eq!(desk.under_way(), [""; 0], "both reports are those of current attempts");
}

#[test]
fn what_is_not_wanted_is_ended() {
    let mut desk = desk();
    let held = [
        // An attempt that was lost before, one of a run that nobody knows, one of a task that has
        // none.
        attempt("d.1", 0, 7),
        attempt("d.2", 0, 1),
        attempt("e.1", 0, 1),
        attempt("d.1", 1, 1),
    ];
    let done = desk.restart_with(&held, at(1));
    let expected = ["adopt d.1/1#1", "cancel d.1/0#7", "cancel d.2/0#1", "cancel e.1/0#1"];
    assert_eq!(done[..4], expected);
    assert_eq!(done[4..], ["start d.1/0#2"]);
}

#[test]
fn what_was_to_be_cancelled_is_taken_up_and_ended() {
    let mut desk = desk();
    desk.kernel.cancel(&"d.1".parse().unwrap(), "ada", at(1)).unwrap();
    desk.step(at(1));
    let done = desk.restart_with(&[attempt("d.1", 0, 1)], at(2));
    assert_eq!(done, ["adopt d.1/0#1", "cancel d.1/0#1"]);
    assert_eq!(desk.under_way(), ["d.1/a"], "the other one is lost, and not begun again");
}

#[test]
fn what_was_marked_is_taken_up_and_ended() {
    let mut desk = desk();
    let id: RunId = "d.1".parse().unwrap();
    let marking = Marking { again: BTreeSet::new(), marked: BTreeSet::from([TaskIx(0)]) };
    let mark = Mark { state: TaskState::Skipped, who: "ada".to_owned(), note: None };
    desk.kernel.mark(None, &id, &marking, &mark, at(1)).unwrap();
    desk.step(at(1));
    let done = desk.restart_with(&[attempt("d.1", 0, 1), attempt("d.1", 1, 1)], at(2));
    assert_eq!(done, ["adopt d.1/0#1", "cancel d.1/0#1", "adopt d.1/1#1"]);
}
