//! What happens to a DAG, and what is known of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dag::Pace;
use crate::dag::listen::{Listen, Pending, Signal, Taken};
use crate::id::{TaskName, Version};
use crate::time::Timestamp;

/// Something that happened to a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DagEvent {
    /// A version became the one that new runs take.
    Deployed {
        /// The version.
        version: Version,
        /// Whether it comes from a served folder, so that its schedule counts; otherwise its file
        /// was run by hand.
        #[serde(default = "always")]
        served: bool,
        /// What starts its runs by the clock: the keys of those triggers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        triggers: Vec<String>,
        /// What its triggers wait for that other DAGs do, by their keys.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        listens: BTreeMap<String, Listen>,
        /// When.
        at: Timestamp,
    },
    /// Its file is gone: no new runs, history stays.
    Retired {
        /// When.
        at: Timestamp,
    },
    /// Every due instant of a trigger up to this one was dealt with: a run was created for it, or it
    /// was passed over.
    Ticked {
        /// The trigger: [`crate::dag::TriggerDef::key`].
        #[serde(default)]
        trigger: String,
        /// The instant.
        tick: Timestamp,
        /// Whether a run was created.
        fired: bool,
        /// When.
        at: Timestamp,
    },
    /// Its schedule stands still, or goes on.
    Paused {
        /// Still or on.
        paused: bool,
        /// Who, as far as is known.
        who: String,
        /// When.
        at: Timestamp,
    },
    /// An attempt of a task with a `rate` begins.
    Paced {
        /// The task.
        task: TaskName,
        /// The length of the parts of its span, in microseconds: see [`Rate::part`](crate::dag::Rate::part).
        part_us: u64,
        /// When.
        at: Timestamp,
    },
    /// So many runs that its triggers started have failed one after the other.
    Failing {
        /// How many; none after one that succeeded.
        failures: u32,
        /// When.
        at: Timestamp,
    },
    /// Another DAG did what a trigger waits for.
    Signalled {
        /// The trigger: [`crate::dag::TriggerDef::key`].
        trigger: String,
        /// What.
        signals: Vec<Signal>,
        /// When.
        at: Timestamp,
    },
    /// A trigger took what had come: a run was created for it, or it was passed over.
    Consumed {
        /// The trigger.
        trigger: String,
        /// What of the pending signals.
        taken: Taken,
        /// Whether a run was created.
        fired: bool,
        /// When.
        at: Timestamp,
    },
}

/// What was written before files that are run by hand were told apart is served.
fn always() -> bool {
    true
}

/// What is known of a DAG besides its definition: the fold of its [`DagEvent`]s and of the
/// `Created` events of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DagRecord {
    /// The version that new runs take.
    pub version: Option<Version>,
    /// When it was deployed.
    pub deployed_at: Option<Timestamp>,
    /// Its file is in a served folder: its schedule counts, and a file that is run by hand does
    /// not take its place.
    #[serde(default = "always")]
    pub served: bool,
    /// Its file is gone.
    pub retired: bool,
    /// Its schedule stands still.
    pub paused: bool,
    /// Who paused it, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// How many runs that its triggers started have failed one after the other, where that counts.
    #[serde(default, skip_serializing_if = "crate::skip::is_default")]
    pub failures: u32,
    /// Up to where the due instants of each trigger were dealt with, by its key.
    #[serde(default)]
    pub ticks: BTreeMap<String, Timestamp>,
    /// When attempts of tasks with a `rate` have begun, as far as that counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paces: BTreeMap<TaskName, Pace>,
    /// What its triggers wait for that other DAGs do, by their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listens: BTreeMap<String, Listen>,
    /// What has come for those triggers and was not taken yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<String, Pending>,
    /// The number of its newest run; 0 before the first.
    pub last_run: u64,
}

impl DagRecord {
    /// Records that `event` happened.
    pub fn apply(&mut self, event: &DagEvent) {
        match event {
            DagEvent::Deployed { version, served, triggers, listens, at } => {
                self.version = Some(version.clone());
                self.deployed_at = Some(*at);
                (self.served, self.retired) = (*served, false);
                if *served {
                    self.take_over(triggers);
                    self.listens.clone_from(listens);
                    self.pending.retain(|key, _| listens.contains_key(key));
                }
            }
            DagEvent::Retired { .. } => {
                (self.served, self.retired) = (false, true);
                // Nobody is there any more whom it would concern.
                self.listens.clear();
                self.pending.clear();
            }
            DagEvent::Signalled { trigger, signals, .. } => {
                let pending = self.pending.entry(trigger.clone()).or_default();
                pending.push(self.listens.get(trigger), signals);
            }
            DagEvent::Consumed { trigger, taken, .. } => {
                if let Some(pending) = self.pending.get_mut(trigger) {
                    pending.take(taken);
                    if pending.signals.is_empty() && pending.lost == 0 {
                        self.pending.remove(trigger);
                    }
                }
            }
            DagEvent::Ticked { trigger, tick, .. } => {
                let last = self.ticks.entry(trigger.clone()).or_insert(*tick);
                *last = (*last).max(*tick);
            }
            DagEvent::Paused { paused, who, .. } => {
                self.paused = *paused;
                self.paused_by = paused.then(|| who.clone());
                self.failures = 0;
            }
            DagEvent::Failing { failures, .. } => self.failures = *failures,
            DagEvent::Paced { task, part_us, at } => {
                let part = Duration::from_micros(*part_us);
                self.paces.entry(task.clone()).or_default().begin(part, *at);
            }
        }
    }

    /// From now on the triggers are these. One that is new goes on from where those that are gone
    /// have come to: a schedule that was changed repeats nothing.
    fn take_over(&mut self, triggers: &[String]) {
        let gone = self.ticks.iter().filter(|(key, _)| !triggers.contains(key));
        if let Some(newest) = gone.map(|(_, tick)| *tick).max() {
            for key in triggers {
                self.ticks.entry(key.clone()).or_insert(newest);
            }
            self.ticks.retain(|key, _| triggers.contains(key));
        }
    }

    /// Records that a run was created.
    pub fn created(&mut self, number: u64) {
        self.last_run = self.last_run.max(number);
    }
}
