//! What may start now, across all runs.

use std::sync::Arc;

use tidemill_model::admission::WaitReason;
use tidemill_model::{
    Admission, Dag, DagRun, Event, Limits, PoolName, RunEvent, RunState, TaskIx, TaskResult,
    TaskState, decide,
};

use crate::house::{Sketch, at, begun, dag, dag_of, run_of};
use crate::runs::{check, settle};

/// Runs that have begun, with every task queued.
fn queued(admission: &mut Admission, dags: &[Arc<Dag>]) -> Vec<DagRun> {
    dags.iter()
        .zip(1..)
        .map(|(dag, number)| {
            let mut run = begun(dag, number);
            settle(&mut run, at(50));
            admission.adopt(&run);
            run
        })
        .collect()
}

fn pool_dag(name: &str, pools: &[&'static str]) -> Arc<Dag> {
    let sketches: Vec<Sketch> = pools
        .iter()
        .enumerate()
        .map(|(i, pool)| Sketch { name: format!("t{i}"), pool, ..Sketch::default() })
        .collect();
    dag_of(name, &sketches)
}

/// `d.1/t0`.
fn started(admission: &Admission, runs: &[DagRun]) -> Vec<String> {
    admission
        .admit(at(60))
        .into_iter()
        .map(|event| match event {
            Event::Run(id, RunEvent::AttemptStarted { task, .. }) => {
                let run = runs.iter().find(|run| run.head.id == id).unwrap();
                format!("{id}/{}", run.dag().task(task.task).name)
            }
            Event::Run(id, event) => format!("{id} {}", event.name()),
            Event::Dag(..) => panic!("{event:?}"),
        })
        .collect()
}

fn pool(name: &str, slots: u32) -> (PoolName, u32) {
    (name.parse().unwrap(), slots)
}

#[test]
fn a_full_pool_holds_up_nobody_else() {
    let pools = [pool("default", 1), pool("narrow", 0)];
    let mut admission = Admission::new(Limits::default(), pools);
    let dags = [pool_dag("a", &["narrow", "gone"]), pool_dag("b", &["default", "default"])];
    let runs = queued(&mut admission, &dags);
    assert_eq!(started(&admission, &runs), ["b.2/t0"]);
    let waits = admission.waits(at(60));
    let why = |name: &str| waits.why_pool(&name.parse().unwrap(), 1).map(|why| why.to_string());
    assert_eq!(why("narrow").as_deref(), Some("all 0 slots of pool `narrow` are taken"));
    assert_eq!(why("gone").as_deref(), Some("there is no pool `gone`; add it to pools.yaml"));
    assert_eq!(why("default"), None);
}

#[test]
fn the_oldest_run_goes_first_whatever_its_pool_is_called() {
    let limits = Limits { running_attempts_max: 2, ..Limits::default() };
    let pools = [pool("aaa", 9), pool("zzz", 9)];
    let mut admission = Admission::new(limits, pools);
    let dags = [pool_dag("old", &["zzz", "aaa"]), pool_dag("young", &["aaa", "aaa"])];
    let runs = queued(&mut admission, &dags);
    assert_eq!(started(&admission, &runs), ["old.1/t0", "old.1/t1"]);
}

#[test]
fn slots_that_were_taken_away_are_waited_for() {
    let mut admission = Admission::new(Limits::default(), [pool("default", 2)]);
    let mut runs = queued(&mut admission, &[pool_dag("d", &["", "", ""])]);
    for event in admission.admit(at(60)) {
        let Event::Run(_, event) = event else { panic!() };
        runs[0].apply(&event).unwrap();
        admission.apply(&runs[0], &event);
    }
    admission.set_pools([pool("default", 1)]);
    assert_eq!(started(&admission, &runs), [""; 0]);
    let done = |task| RunEvent::AttemptSucceeded {
        task: TaskIx(task).into(),
        attempt: 1,
        result: TaskResult::default(),
        at: at(61),
    };
    for (task, expected) in [(0, &[][..]), (1, &["d.1/t2"][..])] {
        runs[0].apply(&done(task)).unwrap();
        admission.apply(&runs[0], &done(task));
        assert_eq!(started(&admission, &runs), expected);
    }
}

#[test]
fn runs_begin_in_order_within_the_limit() {
    let limits = Limits { running_runs_max: 2, ..Limits::default() };
    let mut admission = Admission::new(limits, [pool("default", 9)]);
    let mut runs: Vec<DagRun> = (1..=3).map(|number| run_of(&dag("a"), number)).collect();
    runs.iter().rev().for_each(|run| admission.adopt(run));
    assert_eq!(started(&admission, &runs), ["d.1 started", "d.2 started"]);
    for run in &mut runs[..2] {
        let event = RunEvent::Started { at: at(60) };
        run.apply(&event).unwrap();
        admission.apply(run, &event);
    }
    assert_eq!(started(&admission, &runs), [""; 0]);
    assert_eq!(
        admission.waits(at(60)).why_run(&runs[0].head),
        Some(WaitReason::RunLimit { limit: 2 })
    );
    // Cancelled while it waits: it leaves the queue, not a slot.
    for event in [
        RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at: at(61) },
        RunEvent::TaskCancelled { task: TaskIx(0).into(), at: at(61) },
        RunEvent::Finished { state: RunState::Cancelled, at: at(61) },
    ] {
        runs[2].apply(&event).unwrap();
        admission.apply(&runs[2], &event);
    }
    assert_eq!((admission.queued_runs(), admission.running_runs()), (0, 2));
}

#[test]
fn a_rerun_waits_at_its_place_and_takes_slots_again() {
    let limits = Limits { running_runs_max: 1, ..Limits::default() };
    let mut admission = Admission::new(limits, [pool("default", 9)]);
    let mut run = check("a", 0, "a=fail", "failed: a=failed");
    let event = RunEvent::Reopened {
        tasks: vec![TaskIx(0)],
        version: run.dag().version.clone(),
        who: String::new(),
        at: at(5_000),
    };
    run.apply(&event).unwrap();
    admission.apply(&run, &event);
    for expected in [&["d.1 started"][..], &["d.1/a"]] {
        assert_eq!(started(&admission, std::slice::from_ref(&run)), expected);
        for event in admission.admit(at(5_001)) {
            let Event::Run(_, event) = event else { panic!() };
            run.apply(&event).unwrap();
            admission.apply(&run, &event);
            for event in decide(&run, at(5_001)) {
                run.apply(&event).unwrap();
                admission.apply(&run, &event);
            }
        }
    }
    assert_eq!(run.task(TaskIx(0)).state, TaskState::Running);
    assert_eq!((run.task(TaskIx(0)).attempts, admission.running_attempts()), (2, 1));
}
