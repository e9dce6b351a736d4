//! What operators do with DAGs and runs.

use std::sync::Arc;

use serde_json::Map;
use tidemill_model::rerun::{Again, Marking, again};
use tidemill_model::{Action, DagRun, Instance, RunId, TaskIx, TaskState, Trigger};
use tidemill_scheduler::{Answer, Mark};

use super::World;

impl World {
    pub(super) fn cancel_some(&mut self) {
        let mut live: Vec<RunId> = self.kernel.runs().map(|run| run.head.id.clone()).collect();
        live.sort();
        if let Some(id) = self.draw.pick(&live) {
            self.say(format!("cancel {id}"));
            // A run that this step has finished is refused, which is an answer too.
            let _ = self.kernel.cancel(&id, "ada", self.now);
        }
    }

    /// Somebody wants a run that has ended to go again, with its own version or the deployed one.
    pub(super) fn rerun_some(&mut self) {
        let ended = |run: &&DagRun| run.head.state.is_final();
        let ended: Vec<RunId> =
            self.truth.runs.values().filter(ended).map(|run| run.head.id.clone()).collect();
        let Some(id) = self.draw.pick(&ended) else { return };
        let Some(run) = self.truth.runs.get(&id).cloned() else { return };
        let deployed = self.kernel.dags().get(&id.dag).and_then(|entry| entry.dag.clone());
        let own = Arc::clone(run.dag());
        let dag = deployed.filter(|_| self.draw.permille(300)).unwrap_or(own);
        let any = TaskIx(self.draw.below(dag.tasks().len() as u64) as u32);
        let choices = [Again::Failed, Again::Failed, Again::From(any), Again::All];
        let Some(choice) = self.draw.pick(&choices) else { return };
        let tasks = again(&run, &dag, choice);
        if tasks.is_empty() || matches!(run.head.trigger, Trigger::Call { .. }) {
            return;
        }
        self.say(format!("rerun {id}: {choice:?}"));
        // It may have been asked for in this very step.
        let _ = self.kernel.rerun(run, &dag, &tasks, "ada", self.now);
    }

    /// Somebody answers a question; in the end, everyone's.
    pub(super) fn answer_some(&mut self, one: bool) {
        let mut asked = Vec::new();
        for run in self.kernel.runs() {
            let open = run.open_instances().filter(|at| {
                matches!(run.dag().task(at.task).action, Action::Approve(_))
                    && run.instance(*at).is_some_and(|task| task.state == TaskState::Waiting)
            });
            asked.extend(open.map(|at| (run.head.id.clone(), at)));
        }
        asked.sort();
        let asked = if one { self.draw.pick(&asked).into_iter().collect() } else { asked };
        for (run, at) in asked {
            let approved = !one || self.draw.permille(700);
            self.say(format!("answer {run}: {approved}"));
            let (values, who, note) = (Map::new(), "ada".to_owned(), None);
            // A run that is being cancelled, or has ended in this step, takes none.
            let answer = Answer { approved, values, who, note };
            let _ = self.kernel.answer(&run, at, answer, self.now);
        }
    }

    pub(super) fn pause_some(&mut self) {
        let names = self.dag_names();
        let paused = self.draw.permille(400);
        if let Some(id) = self.draw.pick(&names) {
            self.say(format!("pause {id}: {paused}"));
            let _ = self.kernel.pause(&id, paused, "ada", self.now);
        }
    }

    /// Somebody looks after a run: lets it stand still, says how tasks ended, hastens a retry, lets
    /// tasks begin anew while the others go on, leaves a note.
    pub(super) fn operate_some(&mut self) {
        let mut live: Vec<RunId> = self.kernel.runs().map(|run| run.head.id.clone()).collect();
        live.sort();
        let Some(id) = self.draw.pick(&live) else { return };
        match self.draw.below(10) {
            0..3 => {
                let held = self.draw.permille(600);
                self.say(format!("hold {id}: {held}"));
                let _ = self.kernel.hold(&id, held, "ada", self.now);
            }
            3..5 => self.hasten_some(&id),
            5..7 => self.mark_some(&id),
            7..9 => self.begin_anew_some(&id),
            _ => self.note_some(&id),
        }
    }

    /// In the end nobody lets a run stand still.
    pub(super) fn resume_all(&mut self) {
        let held = self.kernel.runs().filter(|run| run.head.held_by.is_some());
        let mut held: Vec<RunId> = held.map(|run| run.head.id.clone()).collect();
        held.sort();
        for id in held {
            let _ = self.kernel.hold(&id, false, "ada", self.now);
        }
    }

    fn hasten_some(&mut self, id: &RunId) {
        let Some(run) = self.kernel.run(id) else { return };
        let waits = |at: &Instance| {
            run.instance(*at).is_some_and(|task| task.state == TaskState::UpForRetry)
        };
        let Some(at) = run.open_instances().find(waits) else { return };
        self.say(format!("hasten {id}"));
        let _ = self.kernel.hasten(id, at, "ada", self.now);
    }

    /// Of a run that is live, or of one that has ended.
    fn mark_some(&mut self, id: &RunId) {
        let ended = |run: &&DagRun| {
            run.head.state.is_final() && !matches!(run.head.trigger, Trigger::Call { .. })
        };
        let ended: Vec<RunId> =
            self.truth.runs.values().filter(ended).map(|run| run.head.id.clone()).collect();
        let other = if self.draw.permille(300) { self.draw.pick(&ended) } else { None };
        let id = other.unwrap_or_else(|| id.clone());
        let Some(run) = self.truth.runs.get(&id).cloned() else { return };
        let any = TaskIx(self.draw.below(run.dag().tasks().len() as u64) as u32);
        let tasks = if self.draw.permille(800) { vec![any] } else { Vec::new() };
        let states = [TaskState::Succeeded, TaskState::Failed, TaskState::Skipped];
        let Some(state) = self.draw.pick(&states) else { return };
        let marking = Marking::of(&run, &tasks, state);
        self.say(format!("mark {id}: {tasks:?} {state:?}"));
        let mark = Mark { state, who: "ada".to_owned(), note: None };
        let ended = run.head.state.is_final().then_some(run);
        // What is under way, or has moved on in this very step, may not be marked.
        let _ = self.kernel.mark(ended, &id, &marking, &mark, self.now);
    }

    fn begin_anew_some(&mut self, id: &RunId) {
        let Some(run) = self.truth.runs.get(id) else { return };
        let dag = Arc::clone(run.dag());
        let any = TaskIx(self.draw.below(dag.tasks().len() as u64) as u32);
        let choices = [Again::Failed, Again::From(any)];
        let Some(choice) = self.draw.pick(&choices) else { return };
        let Some(run) = self.truth.runs.get(id) else { return };
        let tasks = again(run, &dag, choice);
        self.say(format!("begin anew {id}: {choice:?}"));
        let _ = self.kernel.reopen(id, &tasks, "ada", self.now);
    }

    fn note_some(&mut self, id: &RunId) {
        let all: Vec<RunId> = self.truth.runs.keys().cloned().collect();
        let id = self.draw.pick(&all).unwrap_or_else(|| id.clone());
        let Some(run) = self.truth.runs.get(&id).cloned() else { return };
        let about = self.draw.permille(500).then_some(TaskIx(0));
        self.say(format!("note {id}"));
        let ended = run.head.state.is_final().then_some(run);
        let note = ("look here".to_owned(), "ada".to_owned());
        let _ = self.kernel.note(ended, &id, about, note, self.now);
    }
}
