//! Runs, decisions and admission, case by case.

use std::time::Duration;

use tidemill_model::decide::{settle_failure, settle_lost};
use tidemill_model::run::{ATTEMPTS_KEPT_MAX, LOST_ATTEMPTS_MAX};
use tidemill_model::{
    AttemptId, AttemptOutcome, DagRun, Effect, FailureKind, Instance, LostCause, RunEvent,
    RunState, TaskError, TaskIx, TaskResult, Timestamp, decide, effects,
};

use crate::house::{Sketch, at, begun, dag, dag_of, run_of, sketches, states};

fn failure() -> TaskError {
    TaskError::new(FailureKind::Exit, "it ended with code 1\nand more")
}

/// Decides until nothing follows.
pub(crate) fn settle(run: &mut DagRun, now: Timestamp) {
    loop {
        let events = decide(run, now);
        if events.is_empty() {
            return;
        }
        for event in &events {
            run.apply(event).unwrap();
        }
    }
}

/// Starts the next attempt of a task and ends it as `outcome` says.
fn attempt(run: &mut DagRun, task: &str, outcome: &str, now: Timestamp) {
    let ix = run.dag().find(task).unwrap();
    let (task, attempt) = (Instance::from(ix), run.task(ix).attempts + 1);
    run.apply(&RunEvent::AttemptStarted { task, attempt, map: None, until: None, at: now })
        .unwrap();
    let event = match outcome {
        "ok" => {
            RunEvent::AttemptSucceeded { task, attempt, result: TaskResult::default(), at: now }
        }
        "fail" => settle_failure(run, task, failure(), now),
        "throttle" => {
            let asked = failure().retry_after(Some(Duration::from_mins(10)));
            settle_failure(run, task, asked, now)
        }
        "refuse" => settle_failure(run, task, TaskError::new(FailureKind::Refused, "no"), now),
        "skip" => {
            RunEvent::AttemptSkipped { task, attempt, reason: "nothing new".to_owned(), at: now }
        }
        "lose" => settle_lost(run, task, LostCause::Crash, now),
        "stop" => settle_lost(run, task, LostCause::Shutdown, now),
        "cancel" => RunEvent::AttemptCancelled { task, attempt, at: now },
        other => panic!("{other}"),
    };
    run.apply(&event).unwrap();
    settle(run, now);
}

/// A run of `text` in which attempts end in this order.
pub(crate) fn check(text: &str, retries: u32, outcomes: &str, expected: &str) -> DagRun {
    let sketches: Vec<Sketch> =
        sketches(text).into_iter().map(|sketch| Sketch { retries, ..sketch }).collect();
    let mut run = begun(&dag_of("d", &sketches), 1);
    settle(&mut run, at(2));
    for (i, step) in outcomes.split_whitespace().enumerate() {
        let now = at(1_000 * (i as i64 + 1));
        settle(&mut run, now);
        let (task, outcome) = step.split_once('=').unwrap();
        attempt(&mut run, task, outcome, now);
    }
    assert_eq!(format!("{}: {}", run.head.state.label(), states(&run)), expected, "{outcomes}");
    run
}

#[test]
fn leaves_decide() {
    check("a", 0, "a=ok", "succeeded: a=succeeded");
    check("a", 0, "a=skip", "succeeded: a=skipped");
    check("a", 0, "a=fail", "failed: a=failed");
    check("a; b < a", 0, "a=fail", "failed: a=failed b=upstream_failed");
    check("a; b < a", 0, "a=skip", "succeeded: a=skipped b=skipped");
    check("a; b", 0, "a=fail b=ok", "failed: a=failed b=succeeded");
    check("a; b; c < a, b", 0, "a=fail", "running: a=failed b=queued c=upstream_failed");
}

#[test]
fn retries_are_counted_apart_from_losses() {
    let run = check("a", 2, "a=fail a=lose a=lose a=fail a=fail", "failed: a=failed");
    let task = run.task(TaskIx(0));
    assert_eq!((task.attempts, task.retries, task.lost), (5, 2, 2));
    check("a", 2, "a=refuse", "failed: a=failed");
    check("a", 1, "a=fail", "running: a=up_for_retry");
    check("a", 1, "a=fail a=ok", "succeeded: a=succeeded");
    let lost = "a=lose ".repeat(LOST_ATTEMPTS_MAX as usize);
    check("a", 0, &lost, "running: a=queued");
    // Being stopped is nobody's fault, however often it happens.
    let run = check("a", 0, &"a=stop ".repeat(9), "running: a=queued");
    assert_eq!(run.task(TaskIx(0)).lost, 0);
    let run = check("a", 9, &format!("{lost} a=lose"), "failed: a=failed");
    let error = run.task(TaskIx(0)).error.as_deref().map(|error| error.kind);
    assert_eq!(error, Some(FailureKind::Lost));
}

#[test]
fn a_success_forgets_the_error_and_keeps_the_history() {
    let run = check("a", 1, "a=fail a=ok", "succeeded: a=succeeded");
    let task = run.task(TaskIx(0));
    assert_eq!(task.error, None);
    let history: Vec<_> =
        task.history.iter().map(|r| (r.attempt, r.outcome, r.error.as_deref())).collect();
    assert_eq!(
        history,
        [
            (1, AttemptOutcome::Failed, Some("it ended with code 1")),
            (2, AttemptOutcome::Succeeded, None)
        ]
    );
    let many = "a=fail ".repeat(ATTEMPTS_KEPT_MAX + 3);
    let run = check("a", 99, &many, "running: a=up_for_retry");
    let history = &run.task(TaskIx(0)).history;
    assert_eq!((history.len(), history[0].attempt), (ATTEMPTS_KEPT_MAX, 4));
}

#[test]
fn a_retry_waits_for_its_instant() {
    let mut run = check("a", 1, "a=fail", "running: a=up_for_retry");
    // 10 s after the failure at 1000.
    assert_eq!(run.next_timer(), Some(at(1_010)));
    settle(&mut run, at(1_009));
    assert_eq!(states(&run), "a=up_for_retry");
    settle(&mut run, at(1_010));
    assert_eq!((states(&run).as_str(), run.next_timer()), ("a=queued", None));
}

#[test]
fn a_retry_starts_no_sooner_than_the_other_side_asked_for() {
    let mut run = check("a", 1, "a=throttle", "running: a=up_for_retry");
    assert_eq!(run.next_timer(), Some(at(1_600)));
    settle(&mut run, at(1_599));
    assert_eq!(states(&run), "a=up_for_retry");
    settle(&mut run, at(1_600));
    assert_eq!(states(&run), "a=queued");
    // A wish is no reason to try more often than the task says.
    check("a", 1, "a=throttle a=throttle", "failed: a=failed");
}

#[test]
fn cancelling_ends_what_does_not_run_and_waits_for_what_does() {
    let mut run = begun(&dag("a; b; c < a"), 1);
    settle(&mut run, at(1));
    run.apply(&RunEvent::AttemptStarted {
        task: TaskIx(0).into(),
        attempt: 1,
        map: None,
        until: None,
        at: at(1),
    })
    .unwrap();
    let cancel = RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: at(2) };
    run.apply(&cancel).unwrap();
    let ended: Vec<AttemptId> = effects(&run, &cancel)
        .into_iter()
        .map(|effect| match effect {
            Effect::CancelAttempt(id) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ended, [AttemptId { run: run.head.id.clone(), task: TaskIx(0).into(), attempt: 1 }]);
    settle(&mut run, at(3));
    assert_eq!(states(&run), "a=running b=cancelled c=cancelled");
    assert_eq!(decide(&run, at(3)), []);
    // A failure is not tried again, and a result that comes first counts.
    let mut failed = run.clone();
    let event = settle_failure(&failed, TaskIx(0), failure(), at(4));
    failed.apply(&event).unwrap();
    settle(&mut failed, at(4));
    assert_eq!(failed.head.state, RunState::Cancelled);
    for cause in [LostCause::Crash, LostCause::Shutdown] {
        let lost = settle_lost(&run, TaskIx(0), cause, at(4));
        assert_eq!(
            lost,
            RunEvent::AttemptLost {
                task: TaskIx(0).into(),
                attempt: 1,
                cause,
                again: false,
                at: at(4)
            }
        );
    }
}

#[test]
fn a_queued_run_is_cancelled_without_beginning() {
    let mut run = run_of(&dag("a; b < a"), 1);
    run.apply(&RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: at(2) })
        .unwrap();
    settle(&mut run, at(3));
    assert_eq!((run.head.state, run.head.started_at), (RunState::Cancelled, None));
    assert_eq!(states(&run), "a=cancelled b=cancelled");
    assert!(
        run.apply(&RunEvent::CancelRequested { who: "bob".to_owned(), reason: None, at: at(4) })
            .is_err()
    );
}

#[test]
fn a_run_without_tasks_succeeds() {
    let mut run = run_of(&dag_of("d", &[]), 1);
    assert_eq!(decide(&run, at(1)), []);
    run.apply(&RunEvent::Started { at: at(1) }).unwrap();
    settle(&mut run, at(1));
    assert_eq!(run.head.state, RunState::Succeeded);
}

#[test]
fn a_rerun_opens_a_generation_and_keeps_the_past() {
    let mut run = check(
        "a; b < a; c < b",
        1,
        "a=ok b=fail b=fail",
        "failed: a=succeeded b=failed c=upstream_failed",
    );
    let version = run.dag().version.clone();
    let event = RunEvent::Reopened {
        tasks: vec![TaskIx(1), TaskIx(2)],
        version,
        who: String::new(),
        at: at(9_000),
    };
    run.apply(&event).unwrap();
    assert_eq!((run.head.generation, run.head.state), (2, RunState::Queued));
    assert_eq!(states(&run), "a=succeeded b=pending c=pending");
    assert_eq!(decide(&run, at(9_000)), []);
    run.apply(&RunEvent::Started { at: at(9_001) }).unwrap();
    settle(&mut run, at(9_001));
    assert_eq!(states(&run), "a=succeeded b=queued c=pending");
    // Numbers go on, so that an attempt of the first generation can report nothing; retries anew.
    attempt(&mut run, "b", "fail", at(9_002));
    let task = run.task(TaskIx(1));
    assert_eq!((task.attempts, task.retries, task.history.len()), (3, 1, 3));
    let generations: Vec<u32> = task.history.iter().map(|record| record.generation).collect();
    assert_eq!(generations, [1, 1, 2]);
}

#[test]
fn a_rerun_by_another_version_keeps_tasks_by_name() {
    let mut run = check("a; b < a", 0, "a=ok b=fail", "failed: a=succeeded b=failed");
    let next = dag("new; a; b < a, new");
    let event = RunEvent::Reopened {
        tasks: vec![TaskIx(2)],
        version: next.version.clone(),
        who: String::new(),
        at: at(9_000),
    };
    assert!(run.apply(&event).is_err(), "the definition is missing");
    let mut other = run.clone();
    assert!(other.reopen(dag("x"), &event).is_err(), "the definition is another one");
    run.reopen(next, &event).unwrap();
    assert_eq!(states(&run), "new=pending a=succeeded b=pending");
    assert_eq!((run.task(TaskIx(2)).attempts, run.head.generation), (1, 2));
    run.apply(&RunEvent::Started { at: at(9_001) }).unwrap();
    settle(&mut run, at(9_001));
    assert_eq!(states(&run), "new=queued a=succeeded b=pending");
}

#[test]
fn waits_do_not_overflow() {
    use tidemill_model::retry::RetryPolicy;
    let run = run_of(&dag("a"), 1).head.id;
    let wait = |policy: RetryPolicy, n| policy.wait(&run, "a", n);
    let nothing = RetryPolicy { delay: Duration::ZERO, ..RetryPolicy::default() };
    assert_eq!(wait(nothing, 50_000), Duration::ZERO);
    let odd = RetryPolicy { factor: f64::NAN, jitter: f64::INFINITY, ..RetryPolicy::default() };
    assert!(wait(odd, u32::MAX) <= Duration::from_mins(20));
}

#[test]
fn when_decides_once_the_upstreams_have() {
    let decided = |when: &'static str| {
        let mut sketches = sketches("a; b < a");
        sketches[1].when = Some(when);
        let mut run = begun(&dag_of("d", &sketches), 1);
        settle(&mut run, at(1));
        assert_eq!(states(&run), "a=queued b=pending");
        attempt(&mut run, "a", "ok", at(2));
        let task = run.task(TaskIx(1));
        let why = task.reason.clone().or_else(|| task.error.as_ref().map(ToString::to_string));
        format!("{} {}", task.state.label(), why.unwrap_or_default())
    };
    assert_eq!(decided("tasks.a.rows == 0"), "queued ");
    assert_eq!(decided("tasks.a.rows > 0"), "skipped `when: tasks.a.rows > 0` is false");
    assert!(decided("tasks.a.outputs.day == 1").starts_with("failed `tasks.a.outputs.day == 1`"));
    assert!(decided("tasks.a.rows").ends_with("is neither true nor false (`when` of task `b`)"));
}
