//! What events make of a run: the only functions that change it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::records::{ATTEMPTS_KEPT_MAX, AttemptRecord, Note, TaskRun};
use super::{DagRun, IllegalEvent, lost_error};
use crate::dag::{Action, Dag, Task};
use crate::decide::waiting::question_of;
use crate::event::{LostCause, RunEvent};
use crate::id::{Instance, TaskIx};
use crate::state::{AttemptOutcome, RunState, TaskState};
use crate::table::{FailureKind, ItemsMade, TaskError, TaskResult};
use crate::time::human_duration;

/// The states that somebody may say a task ended in.
pub(crate) const MARKS: [TaskState; 3] =
    [TaskState::Succeeded, TaskState::Failed, TaskState::Skipped];

/// Why a task that was removed has no part in its run.
pub(crate) const NOT_PART: &str = "not part of this run";

impl DagRun {
    /// Records that `event` happened. The only function that changes a run.
    ///
    /// A `Reopened` event with another version needs [`DagRun::reopen`] instead, because the new
    /// version's definition is not part of the event.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), IllegalEvent> {
        match (event, event.task()) {
            (RunEvent::Noted { about, text, who, at }, _) => {
                let note = Note { text: text.clone(), who: who.clone(), at: *at };
                let place = match about {
                    None => &mut self.head.note,
                    Some(ix) if ix.at() < self.tasks.len() => &mut self.tasks[ix.at()].note,
                    Some(_) => return Err(self.illegal(event)),
                };
                *place = Some(Box::new(note)).filter(|note| !note.text.is_empty());
                Ok(())
            }
            (_, Some(at)) => self.apply_to_task(at, event),
            (_, None) => self.apply_to_run(event),
        }
    }

    fn apply_to_run(&mut self, event: &RunEvent) -> Result<(), IllegalEvent> {
        use RunState::{Queued, Running};
        match (self.head.state, event) {
            (Queued, RunEvent::Started { at })
                if !self.head.cancel_requested && self.head.held_by.is_none() =>
            {
                self.head.state = Running;
                self.head.started_at = Some(*at);
                self.look_again_at_all();
            }
            (Queued | Running, RunEvent::CancelRequested { reason, .. }) => {
                // Asked again it changes nothing, and is no error: two people may ask.
                self.head.cancel_requested = true;
                if self.head.reason.is_none() {
                    self.head.reason.clone_from(reason);
                }
                self.stir_all();
            }
            (Running, RunEvent::TimedOut { .. }) if !self.head.cancel_requested => {
                let limit = self.dag.timeout.unwrap_or_default();
                let reason =
                    format!("it took longer than its timeout of {}", human_duration(limit));
                (self.head.cancel_requested, self.head.timed_out) = (true, true);
                self.head.reason = Some(reason);
                self.stir_all();
            }
            (Queued | Running, RunEvent::Held { held, who, .. }) => {
                self.head.held_by = held.then(|| who.clone());
            }
            // Only a cancelled run ends without having begun.
            (from, RunEvent::Finished { state, at })
                if (from == Running || (from == Queued && self.head.cancel_requested))
                    && state.is_final()
                    && self.unfinished == 0 =>
            {
                self.head.state = *state;
                self.head.finished_at = Some(*at);
            }
            (state, RunEvent::Reopened { version, tasks, .. })
                if state.is_final() && *version == self.head.version =>
            {
                if tasks.iter().any(|t| t.at() >= self.tasks.len()) {
                    return Err(self.illegal(event));
                }
                self.open_generation(tasks);
            }
            // While the others go on.
            (Running, RunEvent::Reopened { version, tasks, .. })
                if !self.head.cancel_requested
                    && *version == self.head.version
                    && tasks.iter().all(|t| t.at() < self.tasks.len())
                    && self.first_under_way(tasks).is_none() =>
            {
                self.head.generation += 1;
                self.begin_anew(tasks);
            }
            _ => return Err(self.illegal(event)),
        }
        Ok(())
    }

    fn apply_to_task(&mut self, at: Instance, event: &RunEvent) -> Result<(), IllegalEvent> {
        let Some((before, attempts)) = self.as_it_is(at) else { return Err(self.illegal(event)) };
        let Some(after) = self.next_state(at, (before, attempts), event) else {
            return Err(self.illegal(event));
        };
        if self.instance(at).is_none() {
            self.begin_item(at);
        }
        self.unlist(at);
        self.note(at, event);
        self.step(at, after, event);
        self.list(at);
        self.look_at_container(at);
        Ok(())
    }

    /// The state and the attempts of an instance; an item that may begin is pending. `None` when
    /// there is no such instance that events could be about.
    fn as_it_is(&self, at: Instance) -> Option<(TaskState, u32)> {
        self.tasks.get(at.task.at())?;
        if at.item.is_none() && self.dag.is_repeated(at.task) {
            return None;
        }
        match self.instance(at) {
            Some(task) => Some((task.state, task.attempts)),
            None if self.is_next_item(at) => Some((TaskState::Pending, self.attempts_of(at))),
            None => None,
        }
    }

    /// Whether it is the item of a mapped task that begins next.
    fn is_next_item(&self, at: Instance) -> bool {
        let Some(item) = at.item.filter(|_| self.dag.root(at.task) == Some(at.task)) else {
            return false;
        };
        let whole = self.task(at.task);
        whole.state == TaskState::Running
            && !whole.gathering
            && whole.map.as_ref().is_some_and(|map| item == map.begun && item < map.items)
    }

    /// The state that an event leads to; `None` when it cannot happen.
    fn next_state(
        &self,
        at: Instance,
        (before, attempts): (TaskState, u32),
        event: &RunEvent,
    ) -> Option<TaskState> {
        use TaskState::{Failed, Pending, Queued, Running, Skipped, UpForRetry, Waiting};
        let admitted = self.head.state == RunState::Running;
        let not_begun = self.head.state == RunState::Queued && at.item.is_none();
        let goes_on = admitted
            && self.head.held_by.is_none()
            && !self.head.cancel_requested
            && !self.is_stopping(at);
        let takes_slot = self.takes_slot(at);
        // An attempt that waits is under way like any other.
        let waits = before == Waiting && !takes_slot;
        let after = match (before, event) {
            (Pending | UpForRetry | Waiting, RunEvent::TaskQueued { .. })
                if goes_on && takes_slot =>
            {
                Queued
            }
            (Pending, RunEvent::TaskWaiting { .. }) if admitted && takes_slot => Waiting,
            (Pending | Waiting, RunEvent::TaskSkipped { .. }) if admitted && !waits => Skipped,
            (Pending, RunEvent::TaskUpstreamFailed { .. }) if admitted => TaskState::UpstreamFailed,
            // A run that started wrongly has failed before it was admitted.
            (Pending, RunEvent::TaskFailed { .. }) if not_begun => Failed,
            (Pending | Queued | UpForRetry | Waiting, RunEvent::TaskFailed { .. })
                if admitted && !waits =>
            {
                Failed
            }
            (Pending | Queued | UpForRetry | Waiting, RunEvent::TaskCancelled { .. })
                if !self.head.state.is_final() && !waits =>
            {
                TaskState::Cancelled
            }
            // What a run is asked for without is settled before it starts.
            (Pending, RunEvent::TaskRemoved { .. }) if admitted || not_begun => TaskState::Removed,
            (Pending, RunEvent::TaskGiven { .. }) if not_begun => TaskState::Succeeded,
            (UpForRetry, RunEvent::RetryHastened { .. }) if admitted => UpForRetry,
            (_, RunEvent::TaskMarked { state, .. })
                if (admitted || not_begun)
                    && at.item.is_none()
                    && MARKS.contains(state)
                    && !before.is_final() =>
            {
                match before {
                    // It is ended first.
                    Running if takes_slot => Running,
                    Running => return None,
                    _ => *state,
                }
            }
            (_, RunEvent::AttemptStarted { attempt, map, .. })
                if goes_on
                    && *attempt == attempts + 1
                    && map.is_some() == self.is_map(at)
                    && (before == Queued
                        || (!takes_slot && matches!(before, Pending | UpForRetry))) =>
            {
                if takes_slot || self.is_container(at) { Running } else { Waiting }
            }
            (Running | Waiting, event)
                if admitted && (before == Running || waits) && holds_token(attempts, event) =>
            {
                return self.next_of_running(at, event);
            }
            _ => return None,
        };
        Some(after)
    }

    /// Where the event of an attempt that is under way leads.
    fn next_of_running(&self, at: Instance, event: &RunEvent) -> Option<TaskState> {
        let task = self.instance(at)?;
        let is_container = self.is_container(at);
        if let Some(marked) = task.marked {
            return Some(marked);
        }
        let holds_nothing = !is_container || self.open_inside(at) == 0;
        match event {
            RunEvent::GroupStopped { .. } if is_container && !self.is_map(at) && !task.stopping => {
                Some(TaskState::Running)
            }
            RunEvent::AttemptGathers { .. }
                if self.is_map(at)
                    && holds_nothing
                    && !task.gathering
                    && !self.head.cancel_requested
                    && !self.is_stopping(at) =>
            {
                Some(TaskState::Running)
            }
            RunEvent::AttemptCalled { .. } => {
                let is_call = matches!(self.dag.task(at.task).action, Action::Call(_));
                (is_call && !is_container && task.called.is_none()).then_some(TaskState::Waiting)
            }
            RunEvent::AttemptAnswered { approved, .. } => {
                let is_asked = matches!(self.dag.task(at.task).action, Action::Approve(_));
                let after = if *approved { TaskState::Succeeded } else { TaskState::Failed };
                (is_asked && !is_container).then_some(after)
            }
            RunEvent::AttemptLost { again, .. } if is_container => match (task.gathering, again) {
                (false, _) => None,
                // What was gathered is gathered anew.
                (true, true) => Some(TaskState::Running),
                (true, false) => Some(TaskState::Failed),
            },
            _ if !holds_nothing => None,
            RunEvent::AttemptSucceeded { .. } => Some(TaskState::Succeeded),
            RunEvent::AttemptFailed { retry_at: Some(_), .. } if !self.is_map(at) => {
                Some(TaskState::UpForRetry)
            }
            RunEvent::AttemptFailed { retry_at: None, .. } => Some(TaskState::Failed),
            RunEvent::AttemptSkipped { .. } => Some(TaskState::Skipped),
            RunEvent::AttemptCancelled { .. } => Some(TaskState::Cancelled),
            RunEvent::AttemptLost { again: true, .. } if self.takes_slot(at) => {
                Some(TaskState::Queued)
            }
            RunEvent::AttemptLost { again: false, .. } => Some(TaskState::Failed),
            _ => None,
        }
    }

    /// Moves an instance to its next state, and what it holds with it.
    fn step(&mut self, at: Instance, after: TaskState, event: &RunEvent) {
        let Some(task) = self.instance_mut(at) else { return };
        let before = std::mem::replace(&mut task.state, after);
        if let RunEvent::RetryHastened { at, .. } = event {
            task.retry_at = Some(*at);
            return;
        }
        if before == TaskState::UpForRetry {
            task.retry_at = None;
        }
        match after {
            TaskState::Queued => task.queued_at = Some(event.at()),
            TaskState::Waiting if before != TaskState::Waiting => {
                if let RunEvent::AttemptStarted { until, .. } = event {
                    task.attempts += 1;
                    task.started_at = Some(event.at());
                    task.until = *until;
                }
            }
            // What was gathered in vain is gathered anew, under a new number; the items stay.
            TaskState::Running
                if before != TaskState::Running
                    || matches!(event, RunEvent::AttemptLost { .. }) =>
            {
                task.attempts += 1;
                task.started_at = Some(event.at());
            }
            TaskState::UpForRetry => task.retries += 1,
            _ if after.is_final() => task.finished_at = Some(event.at()),
            _ => {}
        }
        if after != TaskState::Running {
            (task.stopping, task.gathering) = (false, false);
        }
        let attempts = task.attempts;
        if let Some(root) = self.dag.root(at.task).filter(|_| at.item.is_some()) {
            let most = &mut self.tasks[root.at()].item_attempts;
            *most = (*most).max(attempts);
        }
        self.count_item(at, before, after);
        if let RunEvent::AttemptStarted { map, .. } = event {
            match map {
                Some(plan) => self.begin_map(at.task, *plan, event.at()),
                None if self.is_container(at) => {
                    self.begin_members(at, before == TaskState::UpForRetry);
                }
                None => {}
            }
        }
        if after.is_final() {
            self.ended(at, after, event.at());
        }
        if matches!(event, RunEvent::GroupStopped { .. }) {
            // Mapped members are to end as well.
            self.inside(at).into_iter().for_each(|member| self.stir(member));
        }
    }

    /// Writes down what an event says about a task besides its state.
    fn note(&mut self, at: Instance, event: &RunEvent) {
        let generation = self.head.generation;
        // What is asked follows from what is stored, like everything else.
        let waits = !self.takes_slot(at);
        let question = match event {
            RunEvent::AttemptStarted { .. } => question_of(self, at),
            _ => None,
        };
        let Some(task) = self.instance_mut(at) else { return };
        let mut ended = None;
        match event {
            RunEvent::TaskWaiting { reason, .. } | RunEvent::TaskSkipped { reason, .. } => {
                task.reason = Some(reason.clone());
            }
            RunEvent::TaskGiven { result, reason, .. } => {
                task.result = Some(result.clone());
                task.reason = Some(reason.clone());
            }
            RunEvent::TaskRemoved { .. } => task.reason = Some(NOT_PART.to_owned()),
            RunEvent::TaskMarked { state, who, note, .. } => {
                let why = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                let message = format!("marked as {} by {who}{why}", state.label());
                if task.state == TaskState::Waiting && waits {
                    ended = Some((AttemptOutcome::Cancelled, None));
                }
                let error = TaskError::new(FailureKind::Refused, message.clone());
                task.error = (*state == TaskState::Failed).then(|| Box::new(error));
                task.reason = Some(message);
                task.marked = Some(*state);
            }
            RunEvent::TaskFailed { error, .. } => task.error = Some(Box::new(error.clone())),
            RunEvent::AttemptStarted { .. } => {
                (task.error, task.reason) = (None, question);
                (task.until, task.called) = (None, None);
            }
            RunEvent::AttemptCalled { run, .. } => task.called = Some(run.clone()),
            RunEvent::AttemptAnswered { approved: true, values, who, note, .. } => {
                let mut outputs = values.clone();
                outputs.insert("by".to_owned(), who.clone().into());
                outputs.insert("note".to_owned(), note.clone().into());
                task.result = Some(Box::new(TaskResult { outputs, ..TaskResult::default() }));
                ended = Some((AttemptOutcome::Succeeded, None));
            }
            RunEvent::AttemptAnswered { approved: false, who, note, .. } => {
                let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                let message = format!("{who} said no{note}");
                ended = Some((AttemptOutcome::Failed, Some(line_of(&message))));
                task.error = Some(Box::new(TaskError::new(FailureKind::Refused, message)));
            }
            RunEvent::GroupStopped { .. } => task.stopping = true,
            RunEvent::AttemptGathers { .. } => task.gathering = true,
            RunEvent::AttemptSucceeded { result, .. } => {
                if task.marked.is_none_or(|marked| marked == TaskState::Succeeded) {
                    task.result = Some(Box::new(result.clone()));
                }
                ended = Some((AttemptOutcome::Succeeded, None));
            }
            RunEvent::AttemptFailed { error, retry_at, .. } => {
                if task.marked.is_none() {
                    task.error = Some(Box::new(error.clone()));
                    task.retry_at = *retry_at;
                }
                ended = Some((AttemptOutcome::Failed, Some(line_of(&error.message))));
            }
            RunEvent::AttemptSkipped { reason, .. } => {
                if task.marked.is_none() {
                    task.reason = Some(reason.clone());
                }
                ended = Some((AttemptOutcome::Skipped, None));
            }
            RunEvent::AttemptCancelled { .. } => ended = Some((AttemptOutcome::Cancelled, None)),
            RunEvent::AttemptLost { cause, again, .. } => {
                task.lost += u32::from(*cause != LostCause::Shutdown);
                let error = lost_error(*cause);
                if !again && task.marked.is_none() {
                    task.error = Some(Box::new(error.clone()));
                }
                task.gathering = false;
                ended = Some((AttemptOutcome::Lost, Some(error.message)));
            }
            _ => {}
        }
        if let Some((outcome, error)) = ended {
            if outcome != AttemptOutcome::Skipped && task.marked.is_none() {
                task.reason = None;
            }
            if task.history.len() == ATTEMPTS_KEPT_MAX {
                task.history.remove(0);
            }
            task.history.push(AttemptRecord {
                attempt: task.attempts,
                generation,
                started_at: task.started_at.unwrap_or(event.at()),
                finished_at: event.at(),
                outcome,
                error,
            });
        }
    }

    fn open_generation(&mut self, tasks: &[TaskIx]) {
        self.head.state = RunState::Queued;
        self.head.generation += 1;
        self.head.cancel_requested = false;
        (self.head.reason, self.head.held_by) = (None, None);
        self.head.timed_out = false;
        self.head.started_at = None;
        self.head.finished_at = None;
        self.begin_anew(tasks);
    }

    /// Of the tasks that shall begin anew, the first that somebody works on, or that waits outside.
    pub fn first_under_way(&self, tasks: &[TaskIx]) -> Option<TaskIx> {
        let groups = tasks.iter().filter_map(|ix| self.dag.task(*ix).group);
        let all = tasks.iter().copied().chain(groups);
        all.into_iter().find(|ix| {
            let task = self.task(*ix);
            match task.state {
                TaskState::Running => true,
                TaskState::Waiting => !self.takes_slot((*ix).into()),
                _ => false,
            }
        })
    }

    fn begin_anew(&mut self, tasks: &[TaskIx]) {
        let dag = Arc::clone(&self.dag);
        let mut again: BTreeSet<TaskIx> = tasks.iter().copied().collect();
        // A member goes again inside its group; a group of items goes again as a whole.
        again.extend(tasks.iter().filter_map(|ix| dag.task(*ix).group));
        for ix in again.clone() {
            if dag.task(ix).mapping.is_some() {
                again.extend(dag.members(ix));
                self.maps.remove(&ix);
            }
        }
        for ix in again {
            let task = &mut self.tasks[ix.at()];
            *task = task.begun_anew();
        }
        self.derive();
    }

    /// A rerun on another version of the DAG. Tasks keep their past by name; the event's tasks
    /// are pending again, and so are tasks that the old version did not have.
    pub fn reopen(&mut self, dag: Arc<Dag>, event: &RunEvent) -> Result<(), IllegalEvent> {
        let RunEvent::Reopened { version, tasks, .. } = event else {
            return Err(self.illegal(event));
        };
        if !self.head.state.is_final()
            || *version != dag.version
            || tasks.iter().any(|t| t.at() >= dag.tasks().len())
        {
            return Err(self.illegal(event));
        }
        let old: Vec<TaskRun> = std::mem::take(&mut self.tasks);
        let had = old.iter().map(|task| task.attempts.max(task.item_attempts));
        let most = had.max().unwrap_or(0).max(self.head.past_attempts);
        self.head.past_attempts = most;
        let place = |task: &Task| self.dag.find(task.name.as_str()).map(TaskIx::at);
        let anew = |(at, task): (usize, &Task)| {
            let before = place(task);
            let mut now = before.map(|before| old[before].clone()).unwrap_or_default();
            // Attempts are known by their task's place: no number of a place is given twice.
            if before != Some(at) {
                (now.attempts, now.item_attempts) = (most, most);
            }
            // Items are known by places of the old version; how many there were is kept.
            if let (Some(counts), Some(result)) = (now.map.take(), now.result.as_mut()) {
                let items = ItemsMade { items: counts.items, failed: counts.failed() };
                result.items.get_or_insert(items);
            }
            now
        };
        let mut now: Vec<TaskRun> = dag.tasks().iter().enumerate().map(anew).collect();
        for (ix, task) in (0..).map(TaskIx).zip(dag.tasks()) {
            // Its attempts are those of items, which are counted on from what their root knows.
            if let Some(root) = dag.root(ix).filter(|_| place(task) != Some(ix.at())) {
                now[root.at()].item_attempts = most;
            }
        }
        self.tasks = now;
        self.maps.clear();
        self.dag = dag;
        self.head.version = version.clone();
        self.open_generation(tasks);
        Ok(())
    }

    pub(super) fn illegal(&self, event: &RunEvent) -> IllegalEvent {
        let at = event.task().filter(|at| self.tasks.get(at.task.at()).is_some());
        match at.and_then(|at| Some((at, self.instance(at)?))) {
            Some((at, task)) => IllegalEvent {
                event: event.name(),
                what: format!(
                    "task `{}` of run {} (attempt {})",
                    self.dag.name_of(at),
                    self.head.id,
                    task.attempts
                ),
                state: task.state.label(),
            },
            None => IllegalEvent {
                event: event.name(),
                what: format!("run {}", self.head.id),
                state: self.head.state.label(),
            },
        }
    }
}

/// Whether an attempt's report carries the current token.
fn holds_token(current: u32, event: &RunEvent) -> bool {
    match event {
        RunEvent::AttemptSucceeded { attempt, .. }
        | RunEvent::AttemptFailed { attempt, .. }
        | RunEvent::AttemptSkipped { attempt, .. }
        | RunEvent::AttemptCancelled { attempt, .. }
        | RunEvent::AttemptLost { attempt, .. }
        | RunEvent::GroupStopped { attempt, .. }
        | RunEvent::AttemptCalled { attempt, .. }
        | RunEvent::AttemptAnswered { attempt, .. }
        | RunEvent::AttemptGathers { attempt, .. } => *attempt == current,
        _ => false,
    }
}

/// The first line of a message, at most 160 characters.
pub(super) fn line_of(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(160).collect()
}
