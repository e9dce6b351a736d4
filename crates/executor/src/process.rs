//! Commands: started, watched, and ended with their whole tree.
//!
//! They are not children of the server but of one supervisor of its home, which outlives it:
//!
//! * [`entry`]: the first lines of `main`, in which a new process becomes a task's command, as an
//!   [`exec_order`] tells it, or the supervisor;
//! * [`supervisor`]: the process that starts commands, watches them and writes what they say;
//!   [`waiting`]: processes that it starts ahead;
//! * [`client`]: the server's side of it; [`protocol`]: what they say to each other; [`order`]: what
//!   a command is told;
//! * [`tree`]: which processes belong to an attempt, and their verified end; [`cgroup`]: limits that
//!   hold for all of them;
//! * [`record`]: what stands on disk of a command; [`leftover`]: what a supervisor left that fell.

mod cgroup;
pub(crate) mod client;
mod entry;
mod exec_order;
pub mod leftover;
pub(crate) mod order;
pub(crate) mod protocol;
pub(crate) mod record;
mod supervisor;
pub(crate) mod tree;
mod waiting;

pub(crate) use cgroup::Met;
pub use entry::entry;
pub(crate) use supervisor::make_folder;
