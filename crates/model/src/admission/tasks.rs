//! Which attempts begin: pools with their slots, priorities, and how often a task may begin.
//!
//! In a pool, tasks that take the same number of slots and share a pace stand in one lane: where the
//! first of it cannot begin, no other of it can.

use std::cmp::Reverse;
use std::collections::btree_map::Iter;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::PoolState;
use crate::dag::{Pace, Rate, Task};
use crate::event::{DagEvent, Event, RunEvent};
use crate::id::{DagId, Instance, PoolName, RunId, TaskName};
use crate::run::DagRun;
use crate::time::Timestamp;

/// The highest priority first, then the oldest run; inside a run, the order of the DAG, and of mapped
/// groups one item after the other.
type TaskKey = (Reverse<i32>, Timestamp, RunId, Instance);

/// Whose attempts share a pace.
pub(super) type Paced = (DagId, TaskName);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneId {
    slots: u32,
    paced: Option<Paced>,
}

#[derive(Debug, Clone, Default)]
struct Lane {
    rate: Option<Rate>,
    /// The next attempt's number, by place in the queue.
    queue: BTreeMap<TaskKey, u32>,
}

#[derive(Debug, Clone, Default)]
struct Pool {
    /// `None`: the pool is not configured, so nothing in it starts.
    slots: Option<u32>,
    used: u32,
    lanes: BTreeMap<LaneId, Lane>,
}

/// The queues of tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskQueues {
    pools: BTreeMap<PoolName, Pool>,
    /// When attempts of tasks with a `rate` have begun.
    paces: Arc<HashMap<Paced, Pace>>,
    running: u32,
}

/// The first of a lane that is not dealt with yet, and all that the lane still has.
struct Head<'q> {
    pool: usize,
    lane: &'q LaneId,
    rate: Option<Rate>,
    attempt: u32,
    rest: Iter<'q, TaskKey, u32>,
}

fn paced(run: &DagRun, task: &Task) -> Option<Paced> {
    task.rate.map(|_| (run.head.id.dag.clone(), task.name.clone()))
}

fn task_key(run: &DagRun, at: Instance) -> TaskKey {
    let priority = run.dag().task(at.task).priority;
    (Reverse(priority), run.head.created_at, run.head.id.clone(), at)
}

impl TaskQueues {
    pub(super) fn set_pools(&mut self, pools: impl IntoIterator<Item = (PoolName, u32)>) {
        self.pools.values_mut().for_each(|pool| pool.slots = None);
        for (name, slots) in pools {
            self.pools.entry(name).or_default().slots = Some(slots);
        }
    }

    pub(super) fn adopt_pace(&mut self, dag: &DagId, task: &TaskName, pace: &Pace) {
        Arc::make_mut(&mut self.paces).insert((dag.clone(), task.clone()), pace.clone());
    }

    pub(super) fn begin(&mut self, dag: &DagId, task: &TaskName, part: Duration, at: Timestamp) {
        let paces = Arc::make_mut(&mut self.paces);
        paces.entry((dag.clone(), task.clone())).or_default().begin(part, at);
    }

    /// The pool of a task, and its lane there.
    fn place(&mut self, run: &DagRun, at: Instance) -> (&mut Pool, LaneId) {
        let task = run.dag().task(at.task);
        let lane = LaneId { slots: task.slots, paced: paced(run, task) };
        (self.pools.entry(task.pool.clone()).or_default(), lane)
    }

    pub(super) fn enqueue(&mut self, run: &DagRun, at: Instance) {
        let attempt = run.attempts_of(at) + 1;
        let (pool, id) = self.place(run, at);
        let lane = pool.lanes.entry(id).or_default();
        lane.rate = run.dag().task(at.task).rate;
        lane.queue.insert(task_key(run, at), attempt);
    }

    pub(super) fn dequeue(&mut self, run: &DagRun, at: Instance) {
        let (pool, id) = self.place(run, at);
        if let Some(lane) = pool.lanes.get_mut(&id) {
            lane.queue.remove(&task_key(run, at));
            if lane.queue.is_empty() {
                pool.lanes.remove(&id);
            }
        }
    }

    pub(super) fn take(&mut self, run: &DagRun, at: Instance) {
        let (pool, lane) = self.place(run, at);
        pool.used += lane.slots;
        self.running += 1;
    }

    pub(super) fn give_back(&mut self, run: &DagRun, at: Instance) {
        let (pool, lane) = self.place(run, at);
        pool.used = pool.used.saturating_sub(lane.slots);
        self.running = self.running.saturating_sub(1);
    }

    /// Adds the events that begin attempts: all lanes of all pools are one order.
    pub(super) fn admit(&self, limit: u32, now: Timestamp, events: &mut Vec<Event>) {
        let mut left = limit.saturating_sub(self.running);
        let mut free: Vec<u32> = Vec::with_capacity(self.pools.len());
        let mut heads: BTreeMap<&TaskKey, Head<'_>> = BTreeMap::new();
        for (place, pool) in self.pools.values().enumerate() {
            free.push(pool.slots.unwrap_or(0).saturating_sub(pool.used));
            for (id, lane) in pool.lanes.iter().filter(|_| free[place] > 0) {
                let mut rest = lane.queue.iter();
                if let Some((key, attempt)) = rest.next() {
                    let head =
                        Head { pool: place, lane: id, rate: lane.rate, attempt: *attempt, rest };
                    heads.insert(key, head);
                }
            }
        }
        // With the attempts that begin now.
        let mut paces: HashMap<&Paced, Pace> = HashMap::new();
        while left > 0
            && let Some((key, mut head)) = heads.pop_first()
        {
            let slots = head.lane.slots;
            // Neither the slots of a pool nor the pace of a task gets better within this step.
            if free[head.pool] < slots {
                continue;
            }
            if let (Some(rate), Some(paced)) = (head.rate, &head.lane.paced) {
                let known = || self.paces.get(paced).cloned().unwrap_or_default();
                let pace = paces.entry(paced).or_insert_with(known);
                if rate.next(pace, now) > now {
                    continue;
                }
                pace.begin(rate.part(), now);
                let part_us = u64::try_from(rate.part().as_micros()).unwrap_or(u64::MAX);
                let (dag, task) = paced.clone();
                events.push(Event::Dag(dag, DagEvent::Paced { task, part_us, at: now }));
            }
            free[head.pool] -= slots;
            left -= 1;
            let (_, _, run, task) = key;
            let (task, attempt) = (*task, head.attempt);
            let started =
                RunEvent::AttemptStarted { task, attempt, map: None, until: None, at: now };
            events.push(Event::Run(run.clone(), started));
            if let Some((key, attempt)) = head.rest.next() {
                head.attempt = *attempt;
                heads.insert(key, head);
            }
        }
    }

    /// The next instant at which a pace lets an attempt begin.
    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let lanes = self.pools.values().flat_map(|pool| &pool.lanes);
        let next = lanes.filter_map(|(id, lane)| {
            Some(lane.rate?.next(self.paces.get(id.paced.as_ref()?)?, now))
        });
        next.filter(|next| *next > now).min()
    }

    pub(super) fn pools(&self) -> Vec<PoolState> {
        let pools = self.pools.iter().map(|(name, pool)| PoolState {
            name: name.clone(),
            slots: pool.slots,
            used: pool.used,
            queued: pool.lanes.values().map(|lane| lane.queue.len()).sum(),
        });
        pools.collect()
    }

    pub(super) fn paces(&self) -> Arc<HashMap<Paced, Pace>> {
        Arc::clone(&self.paces)
    }

    pub(super) fn running_attempts(&self) -> u32 {
        self.running
    }
}
