//! Any sequence of runs, reruns, folds, crashes and retention: every run is found exactly once, and
//! is what it was.

use std::sync::Arc;

use proptest::prelude::*;
use tidemill_history::Retention;
use tidemill_model::{RunId, RunState};
use tidemill_store::Store;
use tidemill_store::conformance::Script;

use crate::support::{Model, MortalFiles, SETTINGS, World, reopen};

#[derive(Debug, Clone)]
enum Step {
    Succeed(usize),
    Fail(usize),
    Begin(usize),
    /// A finished run goes again, and ends or not.
    Again(usize, bool),
    /// An unfinished run ends.
    End(usize),
    Fold,
    FoldAndEnd(u64),
    Retain(u64),
    RetainAndEnd(u64, u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize).prop_map(Step::Succeed),
        4 => (0..2_usize).prop_map(Step::Fail),
        1 => (0..2_usize).prop_map(Step::Begin),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(at, end)| Step::Again(at, end)),
        2 => any::<usize>().prop_map(Step::End),
        4 => Just(Step::Fold),
        3 => (1..30_u64).prop_map(Step::FoldAndEnd),
        1 => (3..9_u64).prop_map(Step::Retain),
        1 => (3..9_u64, 1..20_u64).prop_map(|(runs, at)| Step::RetainAndEnd(runs, at)),
        1 => Just(Step::Restart),
    ]
}

const DAGS: [&str; 2] = ["one", "two"];

/// The run at a place among those that are finished, or that are not.
fn pick(model: &Model, at: usize, finished: bool) -> Option<RunId> {
    let all: Vec<&RunId> = (model.runs.iter())
        .filter(|(_, script)| script.run.head.state.is_final() == finished)
        .map(|(id, _)| id)
        .collect();
    (!all.is_empty()).then(|| all[at % all.len()].clone())
}

/// Takes dropped runs out of the model, each of which must be one that may go.
fn forget(model: &mut Model, world: &World, keep: u64, before: &[(RunId, RunState)]) {
    for (id, state) in before {
        if world.store.run(id).unwrap().is_some() {
            continue;
        }
        let newest =
            before.iter().filter(|(other, _)| other.dag == id.dag).map(|(id, _)| id.number);
        assert!(id.number + keep <= newest.max().unwrap(), "{id} is too young");
        let later = before.iter().filter(|(other, state)| {
            other.dag == id.dag && other.number > id.number && *state == RunState::Succeeded
        });
        assert!(*state != RunState::Succeeded || later.count() > 0, "{id} was the last success");
        assert!(state.is_final(), "{id} is at work");
        model.runs.remove(id);
    }
}

fn play(steps: &[Step]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home");
    let mut world = World::open(&path);
    let mut model = Model::with(&world.store, &[("one", 2), ("two", 1)]);
    for step in steps {
        let store = Arc::clone(&world.store);
        let before: Vec<(RunId, RunState)> =
            model.runs.iter().map(|(id, script)| (id.clone(), script.run.head.state)).collect();
        match step {
            Step::Succeed(dag) => _ = model.succeed(&store, DAGS[*dag]),
            Step::Fail(dag) => _ = model.fail(&store, DAGS[*dag]),
            Step::Begin(dag) => _ = model.run(&store, DAGS[*dag], |script| script),
            Step::Again(at, end) => {
                if let Some(id) = pick(&model, *at, true) {
                    model.go_on(&store, &id, |script| {
                        let script = reopen(&[0])(script);
                        if *end { script.finish() } else { script }
                    });
                }
            }
            Step::End(at) => {
                if let Some(id) = pick(&model, *at, false) {
                    model.go_on(&store, &id, Script::finish);
                }
            }
            Step::Fold => _ = world.fold().unwrap(),
            Step::Retain(runs) => {
                let retention = Retention { age: None, runs: Some(*runs), bytes: None };
                world.retain(&retention, 1_000_000).unwrap();
                forget(&mut model, &world, *runs, &before);
            }
            Step::FoldAndEnd(_) | Step::RetainAndEnd(..) | Step::Restart => {
                drop((store, world));
                end_in_the_middle(&path, step);
                world = World::open(&path);
                if let Step::RetainAndEnd(runs, _) = step {
                    forget(&mut model, &world, *runs, &before);
                }
            }
        }
        model.check_runs(&world.store);
    }
    model.check(&world.store);
    world.fold().unwrap();
    model.check(&world.store);
    let doubled = |what: &str| what.contains("segments");
    let found = world.history.check(Some(&world.store));
    assert!(!found.iter().any(|finding| doubled(&finding.what)), "{found:?}");
}

fn end_in_the_middle(path: &std::path::Path, step: &Step) {
    let call = match step {
        Step::FoldAndEnd(call) | Step::RetainAndEnd(_, call) => *call,
        _ => return,
    };
    let files = MortalFiles::dying_at(call);
    let opened = std::panic::catch_unwind(|| World::open_on(path, files, SETTINGS));
    let Ok(world) = opened else { return };
    match step {
        Step::RetainAndEnd(runs, _) => {
            let retention = Retention { age: None, runs: Some(*runs), bytes: None };
            _ = world.retain(&retention, 1_000_000);
        }
        _ => _ = world.fold(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_run_is_found_once(steps in proptest::collection::vec(step(), 1..60)) {
        play(&steps);
    }
}
