//! The same work with a crash at each of its commits. Outcomes are drawn from the task and the
//! retries it has used, never from time, so the end must be the same however often an attempt is
//! lost on the way.

use std::collections::BTreeMap;

use tidemill_model::{
    AttemptId, AttemptOutcome, DagId, FailureKind, ReportOutcome, RunId, RunState, TaskError,
    TaskResult, TaskState,
};

use tidemill_scheduler::Part;

use crate::draw::Draw;
use crate::plan::Traits;
use crate::world::{Crash, Weather, World};
use crate::{Failure, Rule, TRACE_LINES_MAX};

/// How everything ended: each run, and each of its tasks with the retries it took.
type End = BTreeMap<RunId, (RunState, Vec<(TaskState, u32)>)>;

/// Runs that each DAG is asked for.
const RUNS_EACH: u64 = 2;

/// Tells the script of a seed once without a crash, then once for every commit and every place in
/// it where the process can die. Says how many crashes there were.
pub fn every_crash_ends_the_same(seed: u64) -> Result<u64, Failure> {
    let (expected, commits) = tell(seed, None)?;
    let mut crashes = 0;
    for at in 1..=commits {
        for crash in Crash::ALL {
            let (end, _) = tell(seed, Some((at, crash)))?;
            crashes += 1;
            if end != expected {
                let what = format!(
                    "a crash {crash:?} at commit {at} of {commits} ends in\n{end:?}\nnot in\n{expected:?}"
                );
                return Err(Failure { seed, what, trace: Vec::new() });
            }
        }
    }
    Ok(crashes)
}

fn tell(seed: u64, crash_at: Option<(u64, Crash)>) -> Result<(End, u64), Failure> {
    let mut world = World::empty(seed);
    let traits = Traits { scheduled: false, timed: false, around: world.now };
    for i in 0..2 {
        world.write_file(&format!("d{i}"), i, traits);
    }
    world.weather = Weather { crash_at, ..Weather::default() };
    match script(&mut world, seed) {
        Ok(()) => {
            let end = end_of(&world);
            Ok((end, world.figures().commits))
        }
        Err(what) => {
            let what = format!("{what} (crash: {crash_at:?})");
            let from = world.trace().len().saturating_sub(TRACE_LINES_MAX);
            Err(Failure { seed, what, trace: world.trace()[from..].to_vec() })
        }
    }
}

fn script(world: &mut World, seed: u64) -> Rule {
    world.begin()?;
    let gone = "gone".parse().ok().map(|name| (name, 1));
    world.add_pool(gone);
    loop {
        // Whoever asks for a run and gets no answer looks first and asks again.
        if let Some(dag) = missing(world) {
            world.trigger(dag, Part::default());
        } else if let Some(id) = world.work.keys().next().cloned() {
            let outcome = outcome(world, seed, &id);
            world.report(&id, outcome)?;
        } else if let Some(wake) = world.kernel.next_wake(world.now) {
            world.now = world.now.max(wake);
        } else {
            return if world.kernel.runs().next().is_none() {
                Ok(())
            } else {
                Err("runs are left, and nothing will ever happen".to_owned())
            };
        }
        world.turn()?;
        world.step_behind()?;
    }
}

/// A DAG that has fewer runs than were asked for.
fn missing(world: &World) -> Option<DagId> {
    world
        .dag_names()
        .into_iter()
        .find(|dag| world.truth.dags.get(dag).is_none_or(|record| record.last_run < RUNS_EACH))
}

fn outcome(world: &World, seed: u64, id: &AttemptId) -> ReportOutcome {
    let run = world.truth.runs.get(&id.run);
    let task = run.and_then(|run| run.instance(id.task));
    // A group that is tried again has members that have not been retried.
    let tries = task.map_or(0, |task| {
        task.retries
            + task.history.iter().filter(|a| a.outcome != AttemptOutcome::Lost).count() as u32
    });
    let item = id.task.item.map_or(0, |item| u64::from(item) + 1);
    let salt = (item << 16) | (u64::from(id.task.task.0) << 8) | u64::from(tries);
    let name = id.run.dag.as_str().bytes().fold(id.run.number, |n, byte| n * 31 + u64::from(byte));
    let mut draw = Draw::new(seed ^ (name << 20) ^ salt);
    match draw.below(10) {
        0..6 => ReportOutcome::Succeeded(TaskResult::default()),
        6..9 => ReportOutcome::Failed(TaskError::new(FailureKind::Exit, "it did not go well")),
        _ => ReportOutcome::Skipped("nothing new".to_owned()),
    }
}

fn end_of(world: &World) -> End {
    let runs = world.truth.runs.iter();
    runs.map(|(id, run)| {
        let tasks = run.tasks().iter().map(|task| (task.state, task.retries)).collect();
        (id.clone(), (run.head.state, tasks))
    })
    .collect()
}
