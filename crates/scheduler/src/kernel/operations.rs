//! What people do with runs: end them, answer them, let them stand still, say how tasks ended.

use std::sync::Arc;

use serde_json::Map;
use tidemill_model::rerun::Marking;
use tidemill_model::{Action, DagRun, Instance, RunEvent, RunId, TaskIx, TaskState, Timestamp};

use super::{Answer, CommandError, Kernel};

impl Kernel {
    /// Asks to end a run.
    pub fn cancel(&mut self, id: &RunId, who: &str, now: Timestamp) -> Result<(), CommandError> {
        let run = self.runs.get(id).ok_or_else(|| CommandError::NotLive(id.clone()))?;
        if !run.head.cancel_requested {
            let event = RunEvent::CancelRequested { who: who.to_owned(), reason: None, at: now };
            self.record(id, event).map_err(|_| CommandError::NotLive(id.clone()))?;
        }
        Ok(())
    }

    /// Takes in a person's answer to the question of a task.
    pub fn answer(
        &mut self,
        id: &RunId,
        task: Instance,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let run = self.runs.get(id).ok_or_else(|| CommandError::NotLive(id.clone()))?;
        let dag = Arc::clone(run.dag());
        let not_asked = || CommandError::NotAsked { run: id.clone(), task: dag.name_of(task) };
        let state = run.instance(task).ok_or_else(not_asked)?;
        let Action::Approve(approve) = &dag.task(task.task).action else { return Err(not_asked()) };
        let Answer { approved, values, who, note } = answer;
        // Who says no owes no values.
        let values = if approved {
            let owner = format!("`{}`", dag.name_of(task));
            tidemill_model::dag::settled_params(&approve.params, &owner, &values)?
        } else {
            Map::new()
        };
        let attempt = state.attempts;
        let event =
            RunEvent::AttemptAnswered { task, attempt, approved, values, who, note, at: now };
        self.record(id, event).map_err(|_| not_asked())
    }

    /// Lets a run stand still, or go on.
    pub fn hold(
        &mut self,
        id: &RunId,
        held: bool,
        who: &str,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let run = self.runs.get(id).ok_or_else(|| CommandError::NotLive(id.clone()))?;
        if run.head.held_by.is_some() != held {
            let event = RunEvent::Held { held, who: who.to_owned(), at: now };
            self.record(id, event).map_err(|_| CommandError::NotLive(id.clone()))?;
        }
        Ok(())
    }

    /// Lets a retry begin at once.
    pub fn hasten(
        &mut self,
        id: &RunId,
        task: Instance,
        who: &str,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let run = self.runs.get(id).ok_or_else(|| CommandError::NotLive(id.clone()))?;
        let state = run.instance(task).map_or(TaskState::Pending, |task| task.state);
        let (run, name) = (id.clone(), run.dag().name_of(task));
        let event = RunEvent::RetryHastened { task, who: who.to_owned(), at: now };
        self.record(id, event).map_err(|_| CommandError::NoRetry { run, task: name, state })
    }

    /// Says of tasks of a run how they ended. One that has ended is `ended` as it was then.
    pub fn mark(
        &mut self,
        ended: Option<DagRun>,
        id: &RunId,
        marking: &Marking,
        mark: &Mark,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let no_mark = |run: &DagRun, ix: TaskIx| {
            let why = "a group or mapped task that is under way ends with what it holds; mark its \
                       members, or cancel the run";
            let task = run.dag().task(ix).name.to_string();
            CommandError::NoMark { run: id.clone(), task, why }
        };
        let run = ended.as_ref().or_else(|| self.runs.get(id));
        let run = run.ok_or_else(|| CommandError::NotLive(id.clone()))?;
        let is_open = |ix: &&TaskIx| {
            run.task(**ix).state == TaskState::Running && run.is_container((**ix).into())
        };
        if let Some(ix) = marking.marked.iter().find(is_open) {
            return Err(no_mark(run, *ix));
        }
        let dag = Arc::clone(run.dag());
        match ended {
            Some(run) => self.rerun(run, &dag, &marking.again, &mark.who, now)?,
            None if marking.again.is_empty() => {}
            None => self.reopen(id, &marking.again, &mark.who, now)?,
        }
        for ix in &marking.marked {
            let Mark { state, who, note } = mark.clone();
            let event = RunEvent::TaskMarked { task: (*ix).into(), state, who, note, at: now };
            // One that has just ended by itself has.
            let _ = self.record(id, event);
        }
        Ok(())
    }

    /// Leaves a note on a run, or on a task of it. One that has ended is `ended` as it was then.
    pub fn note(
        &mut self,
        ended: Option<DagRun>,
        id: &RunId,
        about: Option<TaskIx>,
        (text, who): (String, String),
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let event = RunEvent::Noted { about, text, who, at: now };
        if let Some(run) = ended.filter(|_| !self.runs.contains_key(id)) {
            self.finished.push(id.clone());
            self.runs.insert(id.clone(), run);
        }
        self.record(id, event).map_err(|_| CommandError::NotLive(id.clone()))
    }
}

/// What somebody says of tasks.
#[derive(Debug, Clone)]
pub struct Mark {
    /// How they ended.
    pub state: TaskState,
    /// Who says so, as far as is known.
    pub who: String,
    /// Why, in their words.
    pub note: Option<String>,
}
