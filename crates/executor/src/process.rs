//! Commands: started, watched, and ended with their whole tree.
//!
//! * [`entry`]: the first lines of `main`, in which a new process becomes a task's command, as an
//!   [`exec_order`] tells it;
//! * [`waiting`]: such processes, started ahead; [`spawn`]: one is recorded, then given its order;
//! * [`tree`]: which processes belong to an attempt, and their verified end;
//! * [`record`]: what is written before a command begins; [`leftover`]: what a crash left running.

mod entry;
mod exec_order;
pub mod leftover;
pub(crate) mod record;
pub(crate) mod spawn;
pub(crate) mod tree;
mod waiting;

pub use entry::entry;
