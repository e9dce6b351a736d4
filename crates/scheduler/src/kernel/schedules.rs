//! Runs that are due by the clock.
//!
//! How far each trigger has come is durable, as [`DagEvent::Ticked`]: a restart, a pause and an edit
//! all go on from there, by the one rule of [`Timer::due`](tidemill_model::schedule::Timer::due).

use std::sync::Arc;

use tidemill_model::schedule::Timer;
use tidemill_model::{
    Dag, DagEvent, DagId, RunEvent, RunId, TaskError, TaskIx, Timestamp, Trigger,
};

use super::{DagEntry, Kernel};

/// A due instant to deal with: when, by which trigger, and whether a run is wanted.
type DueTick = (Timestamp, usize, bool);

impl Kernel {
    /// Begins to look after the triggers of a DAG that was deployed: new ones take the tick that has
    /// only just passed, and are owed all that come from now on.
    pub(super) fn begin_schedule(&mut self, id: &DagId, now: Timestamp) {
        if self.keeps_schedules && !self.draining {
            self.tick(id, now);
        } else {
            self.plan_tick(id, now);
        }
    }

    /// Fires or passes over the due ticks of one DAG and plans its next.
    pub(super) fn tick(&mut self, id: &DagId, now: Timestamp) {
        if let Some(dag) = self.dags.get(id).and_then(scheduled) {
            for (tick, at, fire) in self.due_ticks(id, &dag, now) {
                self.deal_with(&dag, (tick, at, fire), now);
            }
            self.watch_from(id, &dag, now);
        }
        self.plan_tick(id, now);
    }

    /// What is due, oldest first. Where triggers are due at one instant for the same, one run is
    /// enough.
    fn due_ticks(&self, id: &DagId, dag: &Dag, now: Timestamp) -> Vec<DueTick> {
        let Some(entry) = self.dags.get(id).filter(|entry| !entry.record.paused) else {
            return Vec::new();
        };
        let mut ticks: Vec<DueTick> = timers(dag)
            .flat_map(|(at, key, timer)| {
                let due = timer.due(entry.record.ticks.get(key).copied(), now);
                due.ticks.into_iter().map(move |(tick, fire)| (tick, at, fire))
            })
            .collect();
        ticks.sort_unstable();
        let mut begun: Vec<(Timestamp, usize)> = Vec::new();
        for (tick, at, fire) in &mut ticks {
            begun.retain(|(other, _)| other == tick);
            let same = |(_, other): &(Timestamp, usize)| {
                let (one, other) = (&dag.triggers[*at], &dag.triggers[*other]);
                (&one.params, &one.when) == (&other.params, &other.when)
            };
            *fire = *fire && !begun.iter().any(same);
            if *fire {
                begun.push((*tick, *at));
            }
        }
        ticks
    }

    fn deal_with(&mut self, dag: &Arc<Dag>, (tick, at, fire): DueTick, now: Timestamp) {
        let def = &dag.triggers[at];
        let key = || def.key.clone();
        let ticked = |fired| DagEvent::Ticked { trigger: key(), tick, fired, at: now };
        if !fire {
            self.record_dag(&dag.id, ticked(false));
            return;
        }
        let interval = def.timer().and_then(|timer| timer.data_of(tick));
        let trigger = Trigger::Schedule { tick, trigger: key() };
        self.start_by(dag, def, trigger, interval, now, ticked);
    }

    /// Fails a run that cannot begin, where everybody sees it.
    pub(super) fn fail_start(&mut self, run: &RunId, dag: &Dag, error: &TaskError, now: Timestamp) {
        for (at, task) in (0..).map(TaskIx).zip(dag.tasks()) {
            if task.upstream.is_empty() && task.group.is_none() {
                let event = RunEvent::TaskFailed { task: at.into(), error: error.clone(), at: now };
                // Nothing of the run has begun.
                let _ = self.record(run, event);
            }
        }
    }

    /// Every trigger that nothing is known of is owed what is due from now on.
    fn watch_from(&mut self, id: &DagId, dag: &Dag, now: Timestamp) {
        for (_, key, timer) in timers(dag) {
            let known = self.dags.get(id).is_some_and(|entry| entry.record.ticks.contains_key(key));
            if !known {
                let (trigger, tick) = (key.to_owned(), now.minus(timer.offset));
                self.record_dag(id, DagEvent::Ticked { trigger, tick, fired: false, at: now });
            }
        }
    }

    /// Plans when to look at a DAG's triggers again.
    pub(super) fn plan_tick(&mut self, id: &DagId, now: Timestamp) {
        let Some(entry) = self.dags.get_mut(id) else { return };
        self.changed_dags.insert(id.clone());
        if let Some(at) = entry.next.take() {
            self.ticks.remove(&(at, id.clone()));
        }
        let dag = scheduled(entry).filter(|_| self.keeps_schedules && !entry.record.paused);
        let looks = dag.iter().flat_map(|dag| timers(dag)).filter_map(|(_, key, timer)| {
            let due = timer.due(entry.record.ticks.get(key).copied(), now);
            // What is due already is dealt with at the next wake, which is at once.
            if due.ticks.is_empty() { due.next } else { Some(now) }
        });
        entry.next = looks.min();
        if let Some(at) = entry.next {
            self.ticks.insert((at, id.clone()));
        }
    }
}

/// The version whose triggers count.
fn scheduled(entry: &DagEntry) -> Option<Arc<Dag>> {
    entry.dag.clone().filter(|_| entry.record.served)
}

/// The triggers by the clock: place, key, timer.
fn timers(dag: &Dag) -> impl Iterator<Item = (usize, &str, &Timer)> {
    let all = dag.triggers.iter().enumerate();
    all.filter_map(|(at, def)| Some((at, def.key.as_str(), def.timer()?)))
}
