//! Runs that tasks call for: made in the same commit as the event that says so, ended when their
//! caller is, and told of when they end.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_model::dag::Call;
use tidemill_model::decide::settle_failure;
use tidemill_model::decide::waiting::{CALL_DEPTH_MAX, params_of_call, settle_call};
use tidemill_model::{
    Action, Dag, DagRun, FailureKind, Instance, RunEvent, RunId, TaskError, TaskRun, TaskState,
    Timestamp, Trigger,
};

use super::{CommandError, Kernel};

/// What an attempt calls for.
struct Callee {
    dag: Arc<Dag>,
    params: Map<String, Value>,
    /// How many calls lead to the run, one inside the other.
    depth: u32,
}

impl Kernel {
    /// Fails calls whose run is not there any more, because it could not go on.
    pub(crate) fn settle_lost_calls(&mut self, now: Timestamp) {
        let mut lost = Vec::new();
        for run in self.runs.values() {
            let gone = run.calls().filter(|(_, called)| !self.runs.contains_key(*called));
            lost.extend(gone.map(|(at, called)| {
                let message = format!("run {called}, which it waited for, could not go on");
                let error = TaskError::new(FailureKind::Internal, message);
                (run.head.id.clone(), settle_failure(run, at, error, now))
            }));
        }
        for (id, event) in lost {
            let _ = self.record(&id, event);
        }
    }

    /// Makes the runs that are called for, ends those that are not wanted any more, and tells
    /// callers of those that have ended; false when there is nothing of it.
    pub(super) fn settle_calls(&mut self, now: Timestamp) -> bool {
        let mut moved = false;
        for (id, at) in std::mem::take(&mut self.calls) {
            moved |= self.call(&id, at, now);
        }
        for (id, since) in std::mem::take(&mut self.unwanted) {
            let is_open = |run: &DagRun| !run.head.state.is_final() && !run.head.cancel_requested;
            if self.runs.get(&id).is_some_and(is_open) {
                let event = RunEvent::CancelRequested {
                    who: "its caller".to_owned(),
                    reason: None,
                    at: since,
                };
                moved |= self.record(&id, event).is_ok();
            }
        }
        for (caller, at, attempt, called) in std::mem::take(&mut self.returns) {
            let (Some(run), Some(called)) = (self.runs.get(&caller), self.runs.get(&called)) else {
                continue;
            };
            // It may have stopped waiting.
            if run.instance(at).is_some_and(|task| task.attempts == attempt) {
                let event = settle_call(run, at, called, now);
                moved |= self.record(&caller, event).is_ok();
            }
        }
        moved
    }

    /// Makes the run that an attempt calls for, or fails the attempt.
    fn call(&mut self, id: &RunId, at: Instance, now: Timestamp) -> bool {
        let Some(run) = self.runs.get(id) else { return false };
        let dag = Arc::clone(run.dag());
        let Action::Call(call) = &dag.task(at.task).action else { return false };
        // It may have been taken back since.
        let waits = |task: &&TaskRun| task.state == TaskState::Waiting && task.called.is_none();
        let Some(attempt) = run.instance(at).filter(waits).map(|task| task.attempts) else {
            return false;
        };
        let event = match self.callee(run, at, call) {
            Ok(Callee { dag: callee, params, depth }) => {
                let interval = run.head.interval;
                let (run, task) = (id.clone(), at);
                let trigger = Trigger::Call { run, task, attempt, depth };
                let run = self.create(&callee, trigger, params, interval, now);
                RunEvent::AttemptCalled { task: at, attempt, run, at: now }
            }
            Err(error) => settle_failure(run, at, error, now),
        };
        self.record(id, event).is_ok()
    }

    /// What an attempt calls for.
    fn callee(&self, run: &DagRun, at: Instance, call: &Call) -> Result<Callee, TaskError> {
        let wrong = |message: String| {
            TaskError::new(FailureKind::Misconfigured, message)
                .at(Some(format!("`call` of task `{}`", run.dag().name_of(at))))
        };
        let depth = match run.head.trigger {
            Trigger::Call { depth, .. } => depth + 1,
            _ => 1,
        };
        if depth > CALL_DEPTH_MAX {
            let message = format!("{CALL_DEPTH_MAX} calls lead to this one, one inside the other");
            return Err(
                wrong(message).help(Some("a DAG that calls itself needs an end".to_owned()))
            );
        }
        let entry = self.dags.get(&call.dag);
        let Some(callee) = entry.and_then(|entry| entry.dag.clone()) else {
            let why = match entry {
                None => format!("there is no DAG `{}`", call.dag),
                Some(_) => CommandError::NotDeployed(call.dag.clone()).to_string(),
            };
            let help = "put its file into the folder that is served, or beside the one that is run";
            return Err(wrong(why).help(Some(help.to_owned())));
        };
        let given = params_of_call(run, at, call)?;
        let params = callee.params_of(&given).map_err(|error| wrong(error.to_string()))?;
        Ok(Callee { dag: callee, params, depth })
    }
}
