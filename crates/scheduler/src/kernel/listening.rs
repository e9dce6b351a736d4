//! Triggers by what other DAGs do.
//!
//! What a run's end is for others is recorded in the commit of that end, with those that wait for
//! it: so nothing is lost while they are paused, full or not served. What has come is taken, and the
//! run created for it, in one commit, too.

use std::sync::Arc;

use tidemill_model::dag::listen::interval_of;
use tidemill_model::dag::{Listen, TriggerDef};
use tidemill_model::decide::params_of_start;
use tidemill_model::words::counted;
use tidemill_model::{Dag, DagEvent, DagId, DataInterval, RunId, RunState, Timestamp, Trigger};

use super::Kernel;

/// Runs that one step creates for what has come; further ones are of the next.
const STARTS_MAX: usize = 256;

impl Kernel {
    /// From now on a DAG waits for what its record says.
    pub(crate) fn index_listener(&mut self, id: &DagId) {
        for consumers in self.listeners.values_mut() {
            consumers.remove(id);
        }
        self.listeners.retain(|_, consumers| !consumers.is_empty());
        let listens = self.dags.get(id).map(|entry| &entry.record.listens);
        for producer in listens.into_iter().flatten().flat_map(|(_, listen)| listen.producers()) {
            self.listeners.entry(producer).or_default().insert(id.clone());
        }
        self.stirred.insert(id.clone());
    }

    /// Counts the unfinished runs of a trigger by what other DAGs do.
    pub(super) fn count_started(&mut self, dag: &DagId, by: &Trigger, is_there: bool) {
        let (Trigger::Dataset { trigger, .. } | Trigger::Dag { trigger, .. }) = by else { return };
        let place = (dag.clone(), trigger.clone());
        let count = self.started.entry(place.clone()).or_default();
        *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.started.remove(&place);
            self.stirred.insert(place.0);
        }
    }

    /// Tells those that wait for it what runs have done, and starts what follows from it; false when
    /// there is nothing of it.
    pub(super) fn settle_listening(&mut self, now: Timestamp) -> bool {
        let mut moved = false;
        for id in std::mem::take(&mut self.ended) {
            self.count_failures(&id, now);
            moved |= self.announce(&id, now);
        }
        if !self.keeps_schedules || self.draining {
            return moved;
        }
        let mut left = STARTS_MAX;
        while let Some(id) = self.stirred.first().filter(|_| left > 0).cloned() {
            let begun = self.start_for_others(&id, left, now);
            moved |= begun > 0;
            left -= begun;
            if left > 0 {
                self.stirred.remove(&id);
            }
        }
        moved
    }

    /// Pauses a DAG of which too many runs failed one after the other. Runs that people start do not
    /// count: they look at them.
    fn count_failures(&mut self, id: &RunId, now: Timestamp) {
        let Some(run) = self.runs.get(id).filter(|run| run.head.trigger.key().is_some()) else {
            return;
        };
        let Some(limit) = run.dag().auto_pause else { return };
        let failed = run.head.state == RunState::Failed;
        let before = self.dags.get(&id.dag).map_or(0, |entry| entry.record.failures);
        let failures = if failed { before + 1 } else { 0 };
        if run.head.state == RunState::Cancelled || failures == before {
            return;
        }
        self.record_dag(&id.dag, DagEvent::Failing { failures, at: now });
        if failures >= limit {
            let who = format!("auto_pause: the last {} failed", counted(failures, "run"));
            // It is there, so it can be paused.
            let _ = self.pause(&id.dag, true, &who, now);
        }
    }

    fn announce(&mut self, id: &RunId, now: Timestamp) -> bool {
        let (Some(run), Some(consumers)) = (self.runs.get(id), self.listeners.get(&id.dag)) else {
            return false;
        };
        let mut told = Vec::new();
        for consumer in consumers {
            let listens = self.dags.get(consumer).map(|entry| &entry.record.listens);
            for (trigger, listen) in listens.into_iter().flatten() {
                let signals = listen.signals(run);
                if !signals.is_empty() {
                    let trigger = trigger.clone();
                    let event = DagEvent::Signalled { trigger, signals, at: now };
                    told.push((consumer.clone(), event));
                }
            }
        }
        for (consumer, event) in &told {
            self.record_dag(consumer, event.clone());
            self.stirred.insert(consumer.clone());
        }
        !told.is_empty()
    }

    /// Creates the runs of a DAG for what has come, at most so many; gives how many times something
    /// was taken.
    fn start_for_others(&mut self, id: &DagId, at_most: usize, now: Timestamp) -> usize {
        let entry = self.dags.get(id).filter(|entry| !entry.record.paused && entry.record.served);
        let Some(dag) = entry.and_then(|entry| entry.dag.clone()) else { return 0 };
        let mut begun = 0;
        for def in &dag.triggers {
            let Some(listen) = def.listen() else { continue };
            while begun < at_most && self.start_next(&dag, def, listen, now) {
                begun += 1;
            }
        }
        begun
    }

    fn start_next(
        &mut self,
        dag: &Arc<Dag>,
        def: &TriggerDef,
        listen: &Listen,
        now: Timestamp,
    ) -> bool {
        let place = (dag.id.clone(), def.key.clone());
        if listen.gathers() && self.started.contains_key(&place) {
            return false;
        }
        let pending = self.dags.get(&dag.id).and_then(|entry| entry.record.pending.get(&def.key));
        let Some((taken, signals)) = pending.and_then(|pending| {
            let taken = listen.next(pending)?;
            let signals = pending.at(&taken);
            Some((taken, signals))
        }) else {
            return false;
        };
        let interval = interval_of(&signals);
        let Some(trigger) = Trigger::by_signals(&def.key, listen, signals) else { return false };
        self.start_by(dag, def, trigger, interval, now, |fired| DagEvent::Consumed {
            trigger: def.key.clone(),
            taken,
            fired,
            at: now,
        });
        true
    }

    /// Creates the run of a trigger, unless its `when` says no; what was dealt with is recorded
    /// before it.
    pub(super) fn start_by(
        &mut self,
        dag: &Arc<Dag>,
        def: &TriggerDef,
        trigger: Trigger,
        interval: Option<DataInterval>,
        now: Timestamp,
        dealt_with: impl FnOnce(bool) -> DagEvent,
    ) {
        let params = params_of_start(dag, def, &trigger).transpose();
        self.record_dag(&dag.id, dealt_with(params.is_some()));
        let Some(params) = params else { return };
        let (params, error) = match params {
            Ok(params) => (params, None),
            Err(error) => (dag.params_by_default(), Some(error)),
        };
        let run = self.create(dag, trigger, params, interval, now);
        if let Some(error) = error {
            self.fail_start(&run, dag, &error, now);
        }
    }
}
