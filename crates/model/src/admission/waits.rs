//! Why something waits: a picture of the limits, for those who ask beside the scheduler.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::runs::LaneId;
use super::tasks::Paced;
use crate::dag::{Pace, Rate, Task};
use crate::event::Trigger;
use crate::id::{DagId, PoolName, RunId};
use crate::run::RunHead;
use crate::time::{Timestamp, written_duration};
use crate::words::counted;

/// Why something waits, for the API, the command line and the UI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// The limit on running runs is reached.
    RunLimit {
        /// The limit.
        limit: u32,
    },
    /// The DAG has as many runs under way as its `concurrency` allows.
    Concurrency {
        /// The limit.
        limit: u32,
        /// What those runs have in common besides; empty where that is nothing.
        key: String,
        /// The oldest of them.
        oldest: RunId,
    },
    /// The limit on attempts is reached.
    AttemptLimit {
        /// The limit.
        limit: u32,
    },
    /// The pool has not as many free slots as the task takes.
    PoolFull {
        /// The pool.
        pool: PoolName,
        /// Its slots.
        slots: u32,
        /// Those that are taken.
        used: u32,
        /// How many the task takes.
        wanted: u32,
    },
    /// The pool will never have as many slots as the task takes.
    PoolTooSmall {
        /// The pool.
        pool: PoolName,
        /// Its slots.
        slots: u32,
        /// How many the task takes.
        wanted: u32,
    },
    /// There is no such pool.
    NoPool {
        /// The name.
        pool: PoolName,
    },
    /// Attempts of the task may not begin so often.
    Rate {
        /// So many.
        limit: u32,
        /// In this time.
        per: Duration,
        /// When the next one may begin.
        at: Timestamp,
    },
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunLimit { limit } => {
                write!(f, "the limit of {} is reached", counted(*limit, "running run"))
            }
            Self::Concurrency { limit, key, oldest } => {
                let runs = counted(*limit, "run");
                let of = if key.is_empty() { String::new() } else { format!(" for {key}") };
                write!(f, "`concurrency` allows {runs} at once{of}, and {oldest} is under way")
            }
            Self::AttemptLimit { limit } => {
                write!(f, "the limit of {} is reached", counted(*limit, "running attempt"))
            }
            Self::PoolFull { pool, slots, used, wanted } => {
                let taken = if used >= slots { "all".to_owned() } else { format!("{used} of") };
                let taken = format!("{taken} {slots} slots of pool `{pool}` are taken");
                let needs =
                    if *wanted > 1 { format!(", and it takes {wanted}") } else { String::new() };
                write!(f, "{taken}{needs}")
            }
            Self::PoolTooSmall { pool, slots, wanted } => write!(
                f,
                "it takes {wanted} slots, and pool `{pool}` has {slots}; change one of the two"
            ),
            Self::NoPool { pool } => {
                write!(f, "there is no pool `{pool}`; add it to pools.yaml")
            }
            Self::Rate { limit, per, at } => {
                let (per, at) = (written_duration(*per), at.to_seconds_text());
                write!(f, "`rate` allows {limit} in {per}; the next may begin at {at}")
            }
        }
    }
}

/// A pool as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// Its name.
    pub name: PoolName,
    /// Its slots; `None` where it is not configured.
    pub slots: Option<u32>,
    /// Slots in use.
    pub used: u32,
    /// Tasks that wait for slots.
    pub queued: usize,
}

/// The limits and what is taken of them, at an instant. Cheap to make.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
    pub(super) running_runs: u32,
    pub(super) running_attempts: u32,
    pub(super) pools: Vec<PoolState>,
    pub(super) full: Arc<BTreeMap<LaneId, (u32, RunId)>>,
    pub(super) paces: Arc<HashMap<Paced, Pace>>,
}

impl Waits {
    /// The pools.
    pub fn pools(&self) -> &[PoolState] {
        &self.pools
    }

    /// Why a queued run does not start; `None` when it may.
    pub fn why_run(&self, run: &RunHead) -> Option<WaitReason> {
        let lane = run.lane.as_ref().map(|key| (run.id.dag.clone(), key.clone()));
        if let (Some((limit, oldest)), Some((_, key))) = (self.full.get(&lane), &lane) {
            let (limit, key, oldest) = (*limit, key.clone(), oldest.clone());
            return Some(WaitReason::Concurrency { limit, key, oldest });
        }
        let limit = self.limits.running_runs_max;
        let is_called = matches!(run.trigger, Trigger::Call { .. });
        (self.running_runs >= limit && !is_called).then_some(WaitReason::RunLimit { limit })
    }

    /// Why a queued task does not start; `None` when it may.
    pub fn why_task(&self, dag: &DagId, task: &Task) -> Option<WaitReason> {
        self.why_pool(&task.pool, task.slots).or_else(|| {
            let rate = task.rate?;
            let pace = self.paces.get(&(dag.clone(), task.name.clone()))?;
            let at = rate.next(pace, self.now);
            let Rate { limit, per } = rate;
            (at > self.now).then_some(WaitReason::Rate { limit, per, at })
        })
    }

    /// Why a task that takes so many slots of a pool does not start; `None` when it may.
    pub fn why_pool(&self, pool: &PoolName, wanted: u32) -> Option<WaitReason> {
        let state = self.pools.iter().find(|state| state.name == *pool);
        let pool = pool.clone();
        let Some((slots, used)) = state.and_then(|state| Some((state.slots?, state.used))) else {
            return Some(WaitReason::NoPool { pool });
        };
        if slots > 0 && wanted > slots {
            return Some(WaitReason::PoolTooSmall { pool, slots, wanted });
        }
        if used.saturating_add(wanted) > slots {
            return Some(WaitReason::PoolFull { pool, slots, used, wanted });
        }
        let limit = self.limits.running_attempts_max;
        (self.running_attempts >= limit).then_some(WaitReason::AttemptLimit { limit })
    }
}
