//! Runs of a part of a DAG.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_model::selection::{Choice, Parts, parts};
use tidemill_model::{
    Dag, DagRun, Instance, RunEvent, RunState, TaskIx, TaskResult, TaskState, decide,
};

use crate::house::{Sketch, at, dag, dag_of, run_of, sketches};

fn set(all: &[u32]) -> BTreeSet<TaskIx> {
    all.iter().copied().map(TaskIx).collect()
}

fn check(choice: Choice, stubbed: &[u32], given: &[u32], left_out: &[u32]) {
    let dag = dag("a; b < a; c < b; d < c; e < b; f");
    let expected = Parts { given: set(given), left_out: set(left_out) };
    assert_eq!(parts(&dag, choice, &set(stubbed)), expected);
}

#[test]
fn a_part_is_what_is_chosen_and_what_comes_right_before_it() {
    check(Choice::All, &[], &[], &[]);
    check(Choice::Only(TaskIx(2)), &[], &[1], &[0, 3, 4, 5]);
    check(Choice::Only(TaskIx(0)), &[], &[], &[1, 2, 3, 4, 5]);
    check(Choice::From(TaskIx(1)), &[], &[0], &[5]);
    check(Choice::From(TaskIx(2)), &[], &[1], &[0, 4, 5]);
    check(Choice::All, &[1], &[1], &[]);
    check(Choice::Only(TaskIx(2)), &[1], &[1], &[0, 3, 4, 5]);
    check(Choice::From(TaskIx(2)), &[2], &[2], &[0, 1, 4, 5]);
}

/// Runs a part to its end; `fails` names the tasks whose attempts fail.
fn run(dag: &Arc<Dag>, choice: Choice, fails: &[&str]) -> DagRun {
    let Parts { given, left_out } = parts(dag, choice, &BTreeSet::new());
    let mut run = run_of(dag, 1);
    for ix in given {
        let (result, reason) = (Box::default(), "an earlier run".to_owned());
        run.apply(&RunEvent::TaskGiven { task: ix.into(), result, reason, at: at(1) }).unwrap();
    }
    for ix in left_out {
        run.apply(&RunEvent::TaskRemoved { task: ix.into(), at: at(1) }).unwrap();
    }
    run.apply(&RunEvent::Started { at: at(2) }).unwrap();
    while !run.head.state.is_final() {
        let mut events = decide(&run, at(3));
        let queued =
            |at: &Instance| run.instance(*at).is_some_and(|t| t.state == TaskState::Queued);
        let open: Vec<Instance> = run.open_instances().filter(queued).collect();
        for task in open {
            let (attempt, at) = (1, at(3));
            events.push(RunEvent::AttemptStarted { task, attempt, map: None, until: None, at });
            let is_bad = fails.contains(&dag.task(task.task).name.as_str());
            events.push(if is_bad {
                let error =
                    tidemill_model::TaskError::new(tidemill_model::FailureKind::Data, "bad");
                RunEvent::AttemptFailed { task, attempt, error, retry_at: None, at }
            } else {
                RunEvent::AttemptSucceeded { task, attempt, result: TaskResult::default(), at }
            });
        }
        assert!(!events.is_empty(), "it stands still: {run:?}");
        for event in events {
            run.apply(&event).unwrap();
        }
    }
    run
}

fn states(run: &DagRun) -> String {
    run.tasks().iter().map(|task| task.state.label()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_goes_goes_and_decides_how_the_run_ends() {
    let dag = dag("a; b < a; c < b; d < c");
    let only = run(&dag, Choice::Only(TaskIx(2)), &[]);
    assert_eq!(states(&only), "removed succeeded succeeded removed");
    assert_eq!(only.head.state, RunState::Succeeded);
    assert_eq!((only.task(TaskIx(1)).attempts, only.task(TaskIx(2)).attempts), (0, 1));
    let failed = run(&dag, Choice::Only(TaskIx(2)), &["c"]);
    assert_eq!(failed.head.state, RunState::Failed);
    let from = run(&dag, Choice::From(TaskIx(2)), &["c"]);
    assert_eq!(states(&from), "removed succeeded failed upstream_failed");
    assert_eq!(from.head.state, RunState::Failed);
}

#[test]
fn groups_and_mapped_tasks_are_given_as_a_whole() {
    let mut sketches = sketches("a; g < a; m; n < m; z < g; k < z; end < k");
    sketches[1].holds = true;
    (sketches[2].group, sketches[3].group) = (Some(1), Some(1));
    sketches[5].map = Some((3, 2, 0));
    let dag = dag_of("d", &sketches);
    let after = run(&dag, Choice::Only(TaskIx(4)), &[]);
    assert_eq!(states(&after), "removed succeeded skipped skipped succeeded removed removed");
    let end = run(&dag, Choice::Only(TaskIx(6)), &[]);
    assert_eq!(end.head.state, RunState::Succeeded);
    assert_eq!(end.task(TaskIx(5)).state, TaskState::Succeeded);
    let mut mapped: Vec<Sketch> = sketches.clone();
    mapped[1].map = Some((2, 2, 0));
    let dag = dag_of("d", &mapped);
    let after = run(&dag, Choice::Only(TaskIx(4)), &[]);
    assert_eq!(after.head.state, RunState::Succeeded);
    assert!(after.tasks().iter().all(|task| task.state.is_final()));
    let without = run(&dag, Choice::Only(TaskIx(0)), &[]);
    assert!(without.tasks().iter().all(|task| task.state.is_final()));
}

#[test]
fn only_a_run_that_has_not_begun_can_be_given_results() {
    let dag = dag("a; b < a");
    let mut run = run_of(&dag, 1);
    let given = |task: u32| RunEvent::TaskGiven {
        task: TaskIx(task).into(),
        result: Box::default(),
        reason: String::new(),
        at: at(1),
    };
    run.apply(&given(0)).unwrap();
    assert!(run.apply(&given(0)).is_err(), "twice");
    run.apply(&RunEvent::Started { at: at(2) }).unwrap();
    assert!(run.apply(&given(1)).is_err(), "too late");
}
