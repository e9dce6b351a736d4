//! Asks what should happen next, commits it, and hands out the effects.
//!
//! Read in this order:
//!
//! * [`kernel`]: every live run, every DAG and admission, as one value: inputs in, a [`Batch`] of
//!   events and effects out. It does no IO and reads no clock;
//! * [`restore`]: the kernel as it was, from what the store gives back after a crash;
//! * `rerun`: operations on runs that may have ended: those are brought back as they are stored;
//! * [`live`]: the committed state, for readers and for the projector;
//! * `writer`: the one thread that owns the kernel: take what has queued, step, commit, publish,
//!   acknowledge, then let the effects go; [`service`]: the handle to it.
//!
//! **Invariants.** Nobody sees a state, and no effect leaves, before the commit that holds it is
//! durable. One thread writes. The scheduler does not know the executor: it emits
//! [`Effect`](tidemill_model::Effect)s and takes [`AttemptReport`](tidemill_model::AttemptReport)s.

pub mod kernel;
pub mod live;
mod rerun;
pub mod restore;
pub mod service;
pub mod stats;
pub mod versions;
mod writer;

pub use kernel::operations::Mark;
pub use kernel::{Answer, Batch, CommandError, Kernel, Part, TriggerRequest};
pub use live::{DagView, Live, RunView};
pub use restore::Carry;
pub use service::{Clock, Halted, Outlets, Refused, Scheduler, Settings, Started, Stats};
pub use versions::{Resolver, Versions};
