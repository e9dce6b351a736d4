//! Commands: started, watched, and ended with their whole tree.
//!
//! * [`entry`]: the first lines of `main`, in which a new process becomes a task's command;
//! * [`spawn`]: from a command to a process that has been recorded and waits for its go-ahead;
//! * [`tree`]: which processes belong to an attempt, and their verified end;
//! * [`record`]: what is written before a command begins; [`leftover`]: what a crash left running.

mod entry;
pub mod leftover;
pub(crate) mod record;
pub(crate) mod spawn;
pub(crate) mod tree;

pub use entry::entry;
