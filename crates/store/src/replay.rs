//! The fold of the journal into records: how they come back after a crash.
//!
//! A record says how far it reaches, so events that it contains are passed over, and a replay may
//! begin anywhere before it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidemill_model::run::StoredItem;
use tidemill_model::{
    Dag, DagId, DagRecord, DagRun, Event, Position, RunEvent, RunHead, RunId, RunState, TaskIx,
    TaskRun, TaskState, Version,
};

use crate::archive::Archive;
use crate::record::counts_of;
use crate::records::Records;
use crate::store::{Record, RunSummary, StoreError, StoredRunAt};

/// Loads a DAG version from the text that was stored with it.
pub type Resolver =
    Arc<dyn Fn(&Version, &crate::store::DagSource) -> Option<Arc<Dag>> + Send + Sync>;

/// Runs held at once, unless more are unfinished; then those that are over are written.
const RUNS_HELD_MAX: usize = 2_048;

/// Notes of one replay; the rest is counted.
const NOTES_MAX: usize = 20;

/// A replay under way.
pub(crate) struct Replay<'a> {
    records: &'a Records,
    archive: Option<&'a dyn Archive>,
    dag: &'a dyn Fn(&Version) -> Option<Arc<Dag>>,
    runs: HashMap<RunId, Folding>,
    dags: HashMap<DagId, (Position, DagRecord)>,
    unknown: HashSet<RunId>,
    runs_max: usize,
    notes: Vec<String>,
    notes_more: usize,
}

struct Folding {
    position: Position,
    changed: bool,
    run: Run,
}

enum Run {
    /// With its DAG version.
    Known(Box<DagRun>),
    /// Without: its head and the states of its tasks, as far as events name them.
    Loose(Box<RunHead>, Vec<TaskRun>),
}

impl<'a> Replay<'a> {
    /// A replay into `records`.
    pub(crate) fn new(
        records: &'a Records,
        archive: Option<&'a dyn Archive>,
        dag: &'a dyn Fn(&Version) -> Option<Arc<Dag>>,
    ) -> Self {
        Self {
            records,
            archive,
            dag,
            runs: HashMap::new(),
            dags: HashMap::new(),
            unknown: HashSet::new(),
            runs_max: RUNS_HELD_MAX,
            notes: Vec::new(),
            notes_more: 0,
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        } else {
            self.notes_more += 1;
        }
    }

    /// Takes in the next event.
    pub(crate) fn event(&mut self, position: Position, event: &Event) -> Result<(), StoreError> {
        match event {
            Event::Dag(id, event) => {
                let (at, record) = self.dag_record(id)?;
                if position > *at {
                    *at = position;
                    record.apply(event);
                }
            }
            Event::Run(id, event) => {
                if let RunEvent::Created { .. } = event {
                    let (at, record) = self.dag_record(&id.dag)?;
                    *at = position.max(*at);
                    record.created(id.number);
                }
                self.run_event(position, id, event)?;
                if self.runs.len() >= self.runs_max {
                    self.write_runs(true)?;
                    self.runs_max = RUNS_HELD_MAX.max(2 * self.runs.len());
                }
            }
        }
        Ok(())
    }

    fn dag_record(&mut self, id: &DagId) -> Result<&mut (Position, DagRecord), StoreError> {
        if !self.dags.contains_key(id) {
            let stored = self.records.dag(id)?;
            let entry = stored.map_or_else(Default::default, |dag| (dag.position, dag.record));
            self.dags.insert(id.clone(), entry);
        }
        Ok(self.dags.entry(id.clone()).or_default())
    }

    fn run_event(
        &mut self,
        position: Position,
        id: &RunId,
        event: &RunEvent,
    ) -> Result<(), StoreError> {
        if !self.runs.contains_key(id) {
            if let Some(stored) = self.stored(id)? {
                let folding = self.restore(stored);
                self.runs.insert(id.clone(), folding);
            } else if let RunEvent::Created { version, .. } = event {
                let folding = self.create(position, id, version, event);
                self.runs.insert(id.clone(), folding);
                return Ok(());
            } else {
                if self.unknown.insert(id.clone()) {
                    self.note(format!(
                        "the journal goes on with run {id}, whose beginning is gone"
                    ));
                }
                return Ok(());
            }
        }
        let Some(folding) = self.runs.get_mut(id) else { return Ok(()) };
        if position <= folding.position {
            return Ok(());
        }
        folding.position = position;
        folding.changed = true;
        if let Err(note) = apply(&mut folding.run, event, self.dag) {
            self.note(format!("event {}: {note}", position.0));
        }
        Ok(())
    }

    /// A run as it was before: one that is archived may go again, or be told of once more.
    /// An archive that cannot be read must not keep a home from being opened.
    fn stored(&mut self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        let stored = self.records.run(id)?;
        let Some(archive) = self.archive.filter(|_| stored.is_none()) else { return Ok(stored) };
        Ok(archive.run(id).unwrap_or_else(|error| {
            self.note(error.to_string());
            None
        }))
    }

    fn restore(&mut self, stored: StoredRunAt) -> Folding {
        let StoredRunAt { position, run } = stored;
        let run = match (self.dag)(&run.head.version) {
            Some(dag) => Run::Known(Box::new(DagRun::restore(dag, run))),
            None => {
                self.note_unresolved(&run.head.id, &run.head.version);
                Run::Loose(Box::new(run.head), run.tasks)
            }
        };
        Folding { position, changed: false, run }
    }

    fn create(
        &mut self,
        position: Position,
        id: &RunId,
        version: &Version,
        event: &RunEvent,
    ) -> Folding {
        let known = (self.dag)(version).and_then(|dag| DagRun::create(dag, id.clone(), event).ok());
        let run = match known {
            Some(run) => Run::Known(Box::new(run)),
            None => {
                self.note_unresolved(id, version);
                Run::Loose(Box::new(loose_head(id, event)), Vec::new())
            }
        };
        Folding { position, changed: true, run }
    }

    fn note_unresolved(&mut self, id: &RunId, version: &Version) {
        self.note(format!(
            "run {id}: its DAG version {} does not load in this release; its state is kept",
            version.short()
        ));
    }

    /// Writes what changed; with `only_final`, of runs that are over, and lets go of those.
    fn write_runs(&mut self, only_final: bool) -> Result<(), StoreError> {
        let mut records = Vec::new();
        for folding in self.runs.values_mut() {
            if only_final && !folding.run.state().is_final() {
                continue;
            }
            if std::mem::take(&mut folding.changed) {
                records.push(folding.record());
            }
            if records.len() >= 256 {
                self.records.put(&records)?;
                records.clear();
            }
        }
        if !records.is_empty() {
            self.records.put(&records)?;
        }
        self.runs.retain(|_, folding| !folding.run.state().is_final());
        Ok(())
    }

    /// Writes everything, and gives the notes.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, StoreError> {
        self.write_runs(false)?;
        let dags: Vec<Record> = (self.dags.drain())
            .map(|(id, (position, record))| Record::Dag { position, id, record })
            .collect();
        for dags in dags.chunks(256) {
            self.records.put(dags)?;
        }
        if self.notes_more > 0 {
            self.notes.push(format!("and {} notes like these", self.notes_more));
        }
        Ok(self.notes)
    }
}

impl Folding {
    fn record(&self) -> Record {
        let (head, tasks, items) = match &self.run {
            Run::Known(run) => (run.head.clone(), run.tasks().to_vec(), items_of(run)),
            Run::Loose(head, tasks) => (head.as_ref().clone(), tasks.clone(), Vec::new()),
        };
        let summary = Box::new(RunSummary { counts: counts_of(&tasks), head });
        let tasks = (0..).map(TaskIx).zip(tasks).collect();
        Record::Run { position: self.position, summary, tasks, items }
    }
}

/// The items of a run's mapped tasks, as far as it remembers them in full.
pub(crate) fn items_of(run: &DagRun) -> Vec<StoredItem> {
    let mut items = Vec::new();
    for (task, map) in run.maps() {
        let attempt = map.attempt();
        let stored = map.items().map(|(item, of_item)| StoredItem {
            task,
            item,
            attempt,
            runs: of_item.runs.clone(),
        });
        items.extend(stored);
    }
    items
}

impl Run {
    fn state(&self) -> RunState {
        match self {
            Self::Known(run) => run.head.state,
            Self::Loose(head, _) => head.state,
        }
    }
}

/// Applies an event, with the new version of a rerun where the event names one.
fn apply(
    run: &mut Run,
    event: &RunEvent,
    resolve: &dyn Fn(&Version) -> Option<Arc<Dag>>,
) -> Result<(), String> {
    let new_version = match (&*run, event) {
        (Run::Known(run), RunEvent::Reopened { version, .. }) if run.head.version != *version => {
            Some(version)
        }
        _ => None,
    };
    match (run, new_version) {
        (Run::Known(known), None) => known.apply(event).map_err(|error| error.to_string()),
        (Run::Known(known), Some(version)) => match resolve(version) {
            Some(dag) => known.reopen(dag, event).map_err(|error| error.to_string()),
            None => Err(format!("its DAG version {} does not load", version.short())),
        },
        (Run::Loose(head, tasks), _) => {
            apply_loosely(head, tasks, event);
            Ok(())
        }
    }
}

fn loose_head(id: &RunId, event: &RunEvent) -> RunHead {
    let (version, trigger, params, interval) = match event {
        RunEvent::Created { version, trigger, params, interval, .. } => {
            (version.clone(), trigger.clone(), params.clone(), *interval)
        }
        _ => {
            let trigger = tidemill_model::Trigger::Manual { who: String::new() };
            (Version::of(b""), trigger, serde_json::Map::new(), None)
        }
    };
    RunHead {
        id: id.clone(),
        version,
        state: RunState::Queued,
        generation: 1,
        trigger,
        params,
        interval,
        lane: None,
        cancel_requested: false,
        reason: None,
        timed_out: false,
        held_by: None,
        note: None,
        past_attempts: 0,
        created_at: event.at(),
        started_at: None,
        finished_at: None,
    }
}

/// The facts of an event, taken without the DAG that could say whether they are legal.
fn apply_loosely(head: &mut RunHead, tasks: &mut Vec<TaskRun>, event: &RunEvent) {
    match event {
        RunEvent::Started { at } => (head.state, head.started_at) = (RunState::Running, Some(*at)),
        RunEvent::CancelRequested { .. } => head.cancel_requested = true,
        RunEvent::TimedOut { .. } => (head.cancel_requested, head.timed_out) = (true, true),
        RunEvent::Finished { state, at } => (head.state, head.finished_at) = (*state, Some(*at)),
        RunEvent::Reopened { version, .. } => {
            head.version = version.clone();
            head.generation += 1;
            if head.state.is_final() {
                head.state = RunState::Queued;
                (head.cancel_requested, head.started_at, head.finished_at) = (false, None, None);
            }
        }
        _ => {}
    }
    // Which items a mapped task has cannot be known without its definition.
    let task = event.task().filter(|at| at.item.is_none()).map(|at| at.task.at());
    let Some(task) = task.filter(|at| *at < LOOSE_TASKS_MAX) else { return };
    if matches!(
        event,
        RunEvent::GroupStopped { .. }
            | RunEvent::AttemptGathers { .. }
            | RunEvent::RetryHastened { .. }
            | RunEvent::Noted { .. }
    ) {
        return;
    }
    if tasks.len() <= task {
        tasks.resize_with(task + 1, TaskRun::default);
    }
    let task = &mut tasks[task];
    task.state = match event {
        RunEvent::TaskQueued { .. } | RunEvent::AttemptLost { again: true, .. } => {
            TaskState::Queued
        }
        RunEvent::TaskWaiting { .. } => TaskState::Waiting,
        RunEvent::TaskSkipped { .. } | RunEvent::AttemptSkipped { .. } => TaskState::Skipped,
        RunEvent::TaskUpstreamFailed { .. } => TaskState::UpstreamFailed,
        RunEvent::TaskCancelled { .. } | RunEvent::AttemptCancelled { .. } => TaskState::Cancelled,
        RunEvent::TaskRemoved { .. } => TaskState::Removed,
        RunEvent::TaskMarked { state, .. } => *state,
        RunEvent::AttemptStarted { .. } => TaskState::Running,
        RunEvent::AttemptSucceeded { .. } | RunEvent::TaskGiven { .. } => TaskState::Succeeded,
        RunEvent::AttemptFailed { retry_at: Some(_), .. } => TaskState::UpForRetry,
        _ => TaskState::Failed,
    };
    match event {
        RunEvent::AttemptStarted { attempt, .. } => task.attempts = *attempt,
        RunEvent::AttemptSucceeded { result, .. } => task.result = Some(Box::new(result.clone())),
        RunEvent::TaskGiven { result, .. } => task.result = Some(result.clone()),
        RunEvent::AttemptFailed { error, .. } | RunEvent::TaskFailed { error, .. } => {
            task.error = Some(Box::new(error.clone()));
        }
        _ => {}
    }
    if task.state.is_final() {
        task.finished_at = Some(event.at());
    }
}

/// A DAG has at most this many tasks; an index beyond it is no task.
const LOOSE_TASKS_MAX: usize = 100_000;
