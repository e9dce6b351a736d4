//! How runs begin: asked for, called for, due; and again, after their end.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_model::decide::lane_of_start;
use tidemill_model::{
    Dag, DagRun, DataInterval, Event, RunEvent, RunId, TaskIx, Timestamp, Trigger, Version,
};

use super::{CommandError, Kernel, Part, TriggerRequest};

impl Kernel {
    /// Creates a run of a version that somebody brings along. A DAG that is served keeps its
    /// version; any other is from now on known by this one, without a schedule. The version's text
    /// is already durable.
    pub fn run_version(
        &mut self,
        dag: &Arc<Dag>,
        request: &TriggerRequest,
        now: Timestamp,
    ) -> Result<RunId, CommandError> {
        let params = dag.params_of(&request.params)?;
        self.bring(Arc::clone(dag), now);
        Ok(self.create_manual(dag, request, params, now))
    }

    /// Creates a run that somebody asks for.
    pub fn trigger(
        &mut self,
        request: &TriggerRequest,
        now: Timestamp,
    ) -> Result<RunId, CommandError> {
        let id = &request.dag;
        let entry = self.dags.get(id).ok_or_else(|| CommandError::UnknownDag(id.clone()))?;
        let dag = entry.dag.clone().ok_or_else(|| CommandError::NotDeployed(id.clone()))?;
        let params = dag.params_of(&request.params)?;
        Ok(self.create_manual(&dag, request, params, now))
    }

    fn create_manual(
        &mut self,
        dag: &Arc<Dag>,
        request: &TriggerRequest,
        params: Map<String, Value>,
        now: Timestamp,
    ) -> RunId {
        let interval = request.interval.or_else(|| dag.last_interval(now));
        let trigger = Trigger::Manual { who: request.who.clone() };
        let id = self.create(dag, trigger, params, interval, now);
        let Part { given, small_tables, left_out } = &request.part;
        let given = given.iter().cloned().map(|(ix, result, reason)| RunEvent::TaskGiven {
            task: ix.into(),
            result: Box::new(result),
            reason,
            at: now,
        });
        let left_out =
            left_out.iter().map(|ix| RunEvent::TaskRemoved { task: (*ix).into(), at: now });
        for event in given.chain(left_out) {
            // A task that is named twice, or is a member, is as it was.
            let _ = self.record(&id, event);
        }
        self.batch.small_tables.extend(small_tables.iter().cloned());
        id
    }

    /// Runs tasks of a run that has ended again, with a version of its DAG whose text is durable.
    /// `run` is as it was at its end.
    pub fn rerun(
        &mut self,
        mut run: DagRun,
        dag: &Arc<Dag>,
        tasks: &BTreeSet<TaskIx>,
        who: &str,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let id = run.head.id.clone();
        let is_live = self.runs.get(&id).is_some_and(|run| !run.head.state.is_final());
        if is_live || !run.head.state.is_final() {
            return Err(CommandError::NotEnded(id));
        }
        // Something may have happened to it in this very step, a note for example.
        if let Some(known) = self.runs.get(&id) {
            run = known.clone();
        }
        let (tasks, version) = (tasks.iter().copied().collect(), dag.version.clone());
        let event = RunEvent::Reopened { tasks, version, who: who.to_owned(), at: now };
        let opened = if run.head.version == dag.version {
            run.apply(&event)
        } else {
            run.reopen(Arc::clone(dag), &event)
        };
        opened
            .map_err(|error| CommandError::NoVersion { run: id.clone(), why: error.to_string() })?;
        self.take_in(run, event);
        Ok(())
    }

    /// Lets tasks of a run that is under way begin anew, while the others go on.
    pub fn reopen(
        &mut self,
        id: &RunId,
        tasks: &BTreeSet<TaskIx>,
        who: &str,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let run = self.runs.get(id).ok_or_else(|| CommandError::NotLive(id.clone()))?;
        let (tasks, version): (Vec<TaskIx>, _) =
            (tasks.iter().copied().collect(), run.head.version.clone());
        if let Some(ix) = run.first_under_way(&tasks) {
            let task = run.dag().task(ix).name.to_string();
            return Err(CommandError::UnderWay { run: id.clone(), task });
        }
        let event = RunEvent::Reopened { tasks, version, who: who.to_owned(), at: now };
        self.record(id, event).map_err(|_| CommandError::NotEnded(id.clone()))
    }

    pub(super) fn create(
        &mut self,
        dag: &Arc<Dag>,
        trigger: Trigger,
        params: Map<String, Value>,
        interval: Option<DataInterval>,
        at: Timestamp,
    ) -> RunId {
        let entry = self.dags.entry(dag.id.clone()).or_default();
        let id = RunId { dag: dag.id.clone(), number: entry.record.last_run + 1 };
        entry.record.created(id.number);
        let version: Version = dag.version.clone();
        let mut event = RunEvent::Created { version, trigger, params, interval, lane: None, at };
        let Ok(mut run) = DagRun::create(Arc::clone(dag), id.clone(), &event) else { return id };
        let own = if self.waits_for_its_own(&run) { Ok(None) } else { lane_of_start(&run) };
        if let (RunEvent::Created { lane, .. }, Ok(own)) = (&mut event, &own) {
            lane.clone_from(own);
            run.head.lane.clone_from(own);
        }
        self.take_in(run, event);
        let overlapped = self.runs.get(&id).map(|run| self.admission.overlapped(run));
        for (other, reason) in overlapped.into_iter().flatten() {
            let who = format!("DAG {}", id.dag);
            let event = RunEvent::CancelRequested { who, reason: Some(reason), at };
            // One that is about to end already stays as it is.
            let _ = self.record(&other, event);
        }
        if let Err(error) = own {
            self.fail_start(&id, dag, &error, at);
        }
        id
    }

    /// A run is there, with the event that made it what it is: it waits to be admitted.
    fn take_in(&mut self, run: DagRun, event: RunEvent) {
        let id = run.head.id.clone();
        self.admission.apply(&run, &event);
        self.count_started(&id.dag, &run.head.trigger, true);
        self.runs.insert(id.clone(), run);
        self.batch.events.push(Event::Run(id.clone(), event));
        self.dirty.insert(id);
    }

    /// Whether one of the runs that wait for this one is of the same DAG: each would wait for the
    /// other if they shared a limit.
    fn waits_for_its_own(&self, run: &DagRun) -> bool {
        let mut inner = Some(run);
        while let Some(Trigger::Call { run: caller, .. }) = inner.map(|run| &run.head.trigger) {
            if caller.dag == run.head.id.dag {
                return true;
            }
            inner = self.runs.get(caller);
        }
        false
    }
}
