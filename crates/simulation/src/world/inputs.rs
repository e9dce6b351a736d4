//! What comes in: time, files, and the reports of the executor.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Map;
use tidemill_model::selection::{self, Choice};
use tidemill_model::{
    AttemptId, AttemptReport, Counts, DagId, Effect, FailureKind, LostCause, PoolName,
    ReportOutcome, RunState, SmallTable, TableRef, TaskError, TaskIx, TaskResult, Version,
};
use tidemill_scheduler::{Part, TriggerRequest};

use super::{Work, World};
use crate::plan::{Traits, pools};
use crate::{Rule, hold};

impl World {
    // ---- inputs -------------------------------------------------------------------------------

    pub(super) fn input(&mut self) -> Rule {
        match self.draw.below(100) {
            0..45 => self.report_some()?,
            45..50 => self.report_old()?,
            50..72 => self.pass_time(),
            72..80 => self.trigger_some(),
            80..84 => self.cancel_some(),
            84..88 => self.pause_some(),
            88..90 => self.answer_some(true),
            90..93 => self.change_file()?,
            93..96 => {
                let slots = self.draw.pick(&[[3, 1], [1, 1], [0, 2], [4, 0]]);
                self.set_pools(slots.unwrap_or([3, 1]));
            }
            96..98 => self.rerun_some(),
            _ => self.operate_some(),
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        let minutes = |n: u64| Duration::from_mins(n);
        self.now = match self.draw.below(20) {
            0..8 => self.now.plus(Duration::from_millis(self.draw.below(30_000))),
            8..14 => self.kernel.next_wake(self.now).map_or(self.now, |wake| wake.max(self.now)),
            14..17 => self.now.plus(minutes(self.draw.below(30))),
            17 | 18 => self.now.plus(minutes(self.draw.below(360))),
            // A clock that is set back.
            _ => self.now.minus(minutes(self.draw.below(150))),
        };
    }

    fn trigger_some(&mut self) {
        let names = self.dag_names();
        if let Some(dag) = self.draw.pick(&names) {
            let part = self.part_of(&dag);
            self.trigger(dag, part);
        }
    }

    /// Asks for a run, and says whether there will be one once the commit is durable.
    pub(crate) fn trigger(&mut self, dag: DagId, part: Part) -> bool {
        let who = "ada".to_owned();
        let request = TriggerRequest { dag, params: Map::new(), interval: None, who, part };
        match self.kernel.trigger(&request, self.now) {
            Ok(id) => {
                self.say(format!("trigger {id}"));
                true
            }
            Err(refused) => {
                self.say(refused.to_string());
                false
            }
        }
    }

    /// Mostly all of a DAG; now and then one task, or one and those after it.
    fn part_of(&mut self, dag: &DagId) -> Part {
        let dag = self.kernel.dags().get(dag).and_then(|entry| entry.dag.clone());
        let Some(dag) = dag.filter(|_| self.draw.permille(200)) else { return Part::default() };
        let tops: Vec<TaskIx> = (0..dag.tasks().len() as u32)
            .map(TaskIx)
            .filter(|ix| dag.task(*ix).group.is_none())
            .collect();
        let Some(ix) = self.draw.pick(&tops) else { return Part::default() };
        let choice = if self.draw.permille(500) { Choice::Only(ix) } else { Choice::From(ix) };
        let parts = selection::parts(&dag, choice, &BTreeSet::new());
        let given = parts.given.into_iter();
        Part {
            given: given
                .map(|ix| (ix, TaskResult::default(), "an earlier run".to_owned()))
                .collect(),
            small_tables: Vec::new(),
            left_out: parts.left_out.into_iter().collect(),
        }
    }

    fn change_file(&mut self) -> Rule {
        let names = self.dag_names();
        let Some(id) = self.draw.pick(&names) else { return Ok(()) };
        if self.draw.permille(300) {
            self.say(format!("the file of {id} is gone"));
            self.files.insert(id.clone(), None);
            self.kernel.retire(&id, self.now);
            return Ok(());
        }
        self.asked += 1;
        let salt = 1_000 + self.asked;
        let traits = Traits { scheduled: true, timed: true, around: self.now };
        self.write_file(id.as_str(), salt, traits);
        self.say(format!("the file of {id} changes"));
        match self.files.get(&id).cloned().flatten() {
            Some(dag) => self.deploy(&dag),
            None => Ok(()),
        }
    }

    pub(crate) fn set_pools(&mut self, slots: [u32; 2]) {
        self.say(format!("pools {slots:?}"));
        self.pools = pools(slots);
        self.kernel.set_pools(self.pools.clone());
    }

    /// Adds a pool that nobody configured so far.
    pub(crate) fn add_pool(&mut self, pool: Option<(PoolName, u32)>) {
        self.pools.extend(pool);
        self.kernel.set_pools(self.pools.clone());
    }

    /// The projector catches up, and now and then makes a checkpoint.
    pub(crate) fn step_behind(&mut self) -> Rule {
        if self.draw.permille(300) {
            self.put()?;
        }
        if self.draw.permille(200) {
            self.checkpoint()?;
        }
        Ok(())
    }

    // ---- the executor -------------------------------------------------------------------------

    fn report_some(&mut self) -> Rule {
        let ready: Vec<AttemptId> = (self.work.iter())
            .filter(|(_, work)| {
                work.cancelled || work.hangs_until.is_none_or(|until| until <= self.now)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let Some(id) = self.draw.pick(&ready) else { return Ok(()) };
        let work = self.work.get(&id).copied();
        let outcome = match (work, self.draw.below(100)) {
            (Some(Work { cancelled: true, .. }), 0..80) => ReportOutcome::Cancelled,
            (Some(Work { hangs_until: Some(_), .. }), _) => failed(FailureKind::Timeout),
            (_, 0..70) => ReportOutcome::Succeeded(TaskResult::default()),
            (_, 70..90) => failed(FailureKind::Exit),
            (_, 90..94) => failed(FailureKind::Refused),
            (_, 94..96) => ReportOutcome::Interrupted,
            (_, 96) => ReportOutcome::Lost(LostCause::Supervisor),
            _ => ReportOutcome::Skipped("nothing new".to_owned()),
        };
        self.report(&id, outcome)
    }

    fn name_of(&self, id: &AttemptId) -> String {
        let run = self.truth.runs.get(&id.run);
        run.map_or_else(String::new, |run| run.dag().name_of(id.task))
    }

    /// An attempt that somebody works on ends, with a small table if it succeeds.
    pub(crate) fn report(&mut self, id: &AttemptId, outcome: ReportOutcome) -> Rule {
        let mut small_tables = Vec::new();
        let outcome = match outcome {
            ReportOutcome::Succeeded(mut result) => {
                let text = format!("{id:?}");
                let hash = Version::of(text.as_bytes()).to_string();
                let bytes = text.len() as u64;
                let name = format!("t{}", id.task.task.0);
                let table =
                    TableRef { name, hash: hash.clone(), rows: 1, bytes, schema: String::new() };
                result.tables.push(table);
                result.counts = Counts { rows_in: 1, rows_out: 1, ..Counts::default() };
                small_tables.push(SmallTable { hash, bytes: Bytes::from(text) });
                ReportOutcome::Succeeded(result)
            }
            other => other,
        };
        let name = self.name_of(id);
        self.say(format!("{} {name} #{}: {}", id.run, id.attempt, word(&outcome)));
        self.work.remove(id);
        self.over.push(id.clone());
        let report = AttemptReport { id: id.clone(), outcome, small_tables };
        let accepted = self.kernel.report(report, self.now);
        hold!(accepted, "the report of attempt {id:?} is refused, and it is the current one");
        Ok(())
    }

    /// An attempt that is over reports again, or for the first time after a crash.
    fn report_old(&mut self) -> Rule {
        let Some(id) = self.draw.pick(&self.over) else { return Ok(()) };
        let before = self.kernel.refused_reports();
        let outcome = ReportOutcome::Succeeded(TaskResult::default());
        let report = AttemptReport { id: id.clone(), outcome, small_tables: Vec::new() };
        let accepted = self.kernel.report(report, self.now);
        hold!(!accepted, "attempt {id:?} is over, and its report is accepted");
        hold!(self.kernel.refused_reports() == before + 1, "a refused report is not counted");
        self.figures.refused += 1;
        Ok(())
    }

    pub(super) fn effect(&mut self, effect: Effect) -> Rule {
        match effect {
            Effect::StartAttempt(order) => {
                let id = order.id.clone();
                hold!(
                    self.truth.open.contains(&id),
                    "attempt {id:?} is ordered before it is durable"
                );
                hold!(self.ordered.insert(id.clone()), "attempt {id:?} is ordered twice");
                let hangs = self.weather.crashes > 0 && self.draw.permille(80);
                let hangs_until = hangs.then(|| self.now.plus(Duration::from_mins(10)));
                self.work.insert(id, Work { cancelled: false, hangs_until });
            }
            Effect::AdoptAttempt(order) => {
                let id = &order.id;
                hold!(self.truth.open.contains(id), "attempt {id:?} is taken up, and is over");
                hold!(self.work.contains_key(id), "attempt {id:?} is taken up, and nobody has it");
            }
            // Nobody wants it: its commit was lost with the crash, or had made it needless.
            Effect::CancelAttempt(id) if !self.truth.open.contains(&id) => {
                if self.work.remove(&id).is_some() {
                    self.over.push(id);
                }
            }
            Effect::CancelAttempt(id) => {
                if let Some(work) = self.work.get_mut(&id) {
                    work.cancelled = true;
                }
            }
            Effect::RunFinished(id) => {
                let state = self.truth.runs.get(&id).map(|run| run.head.state);
                hold!(
                    state.is_some_and(RunState::is_final),
                    "run {id} is told to be over: {state:?}"
                );
            }
        }
        Ok(())
    }
}

fn failed(kind: FailureKind) -> ReportOutcome {
    ReportOutcome::Failed(TaskError::new(kind, "it did not go well"))
}

fn word(outcome: &ReportOutcome) -> &'static str {
    match outcome {
        ReportOutcome::Succeeded(_) => "succeeded",
        ReportOutcome::Failed(error) if error.kind == FailureKind::Timeout => "timed out",
        ReportOutcome::Failed(_) => "failed",
        ReportOutcome::Skipped(_) => "skipped",
        ReportOutcome::Cancelled => "cancelled",
        ReportOutcome::Interrupted => "interrupted",
        ReportOutcome::Lost(_) => "lost",
    }
}
