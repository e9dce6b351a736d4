//! The nouns and the state machine of Tidemill. Pure: no IO, no clock, no threads.
//!
//! Read in this order:
//!
//! * [`id`], [`time`], [`secret`]: names, instants, values that cannot be printed;
//! * [`dag`]: the workflow, validated and immutable; `params`: what a run may be told; [`expr`] and
//!   [`template`]: its expressions;
//! * [`outputs`]: what a command is handed and leaves;
//! * [`setting`]: why the settings of a task can never work;
//! * [`schedule`]: when runs are due;
//! * [`state`]: the states; [`event`]: the facts; [`table`]: what attempts leave behind;
//! * [`run`]: [`DagRun`], whose [`DagRun::apply`] is the only function that changes a run;
//! * [`mod@decide`], [`trigger_rule`], [`retry`]: what should happen next inside one run;
//! * [`admission`]: what may start now, across all runs;
//! * [`words`]: one row, two rows, an integer; [`near`]: the name that a wrong one stands for;
//! * [`lineage`]: where the columns of a table come from;
//! * [`selection`]: runs of a part of a DAG;
//! * [`effect`]: what the world must do because an event is committed.
//!
//! **Invariants.** Values in, values out: time enters with the call, chance comes from hashes.
//! `petgraph` stays inside [`dag`], `cron` inside [`schedule`], `cel` inside [`expr`].

pub mod admission;
pub mod dag;
pub mod decide;
pub mod effect;
pub mod event;
pub mod expr;
pub mod id;
pub mod lineage;
pub mod near;
pub mod outputs;
mod params;
pub mod rerun;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod selection;
pub mod setting;
mod skip;
pub mod state;
pub mod table;
pub mod template;
pub mod time;
pub mod trigger_rule;
pub mod words;

pub use admission::{Admission, Limits};
pub use dag::{Action, Dag, Group, Mapping, Task, Tolerance};
pub use decide::decide;
pub use effect::{
    AttemptId, AttemptOrder, AttemptReport, Effect, ReportOutcome, SmallTable, effects,
};
pub use event::{DagEvent, DagRecord, Event, LostCause, Position, RunEvent, Trigger};
pub use id::{DagId, Instance, PoolName, RunId, TaskIx, TaskName, VarName, Version};
pub use run::{DagRun, RunHead, TaskRun};
pub use secret::Secret;
pub use setting::SettingProblem;
pub use state::{AttemptOutcome, RunState, TaskState};
pub use table::{Counts, FailureKind, ItemsMade, Reused, TableRef, TaskError, TaskResult};
pub use time::{DataInterval, Timestamp};
