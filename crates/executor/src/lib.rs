//! Runs one attempt of one task, and nothing else.
//!
//! Read in this order:
//!
//! * [`executor`]: [`Executor`], which starts and ends attempts and reports how they ended;
//! * [`attempt`]: what an attempt of each action does;
//! * [`mod@process`]: commands: how they are started, watched and ended, with their whole tree;
//! * [`tables`]: the tables that attempts leave behind; [`logs`]: what they say; [`mask`]: what
//!   they must not say; `import`: tables that no task makes; `rendered`: what an attempt would do;
//! * [`outside`]: the small traits through which secrets, connections, small tables and the clock
//!   come in; [`retry`]: patience inside an attempt.
//!
//! **Invariants.** Every attempt that was started is reported once, unless the executor is shut
//! down. A report comes after the attempt's tables are durable, or are handed over with it. When a
//! report says that a command ended, its tree has ended, and that was verified. Secrets reach the
//! attempt that asked for them and nothing else.

pub mod attempt;
pub mod executor;
mod flag;
mod import;
pub mod logs;
pub mod mask;
pub mod outside;
pub mod process;
mod rendered;
mod retry;
mod scope;
pub mod tables;

pub use attempt::schemas;
pub use executor::{ExecLimits, Executor, ExecutorConfig, ExecutorError};
pub use outside::{Clock, Columns, Connections, HomePaths, Results, Secrets, SmallTables};
pub use process::leftover::{Leftover, Living, living_commands};
pub use rendered::rendered;
pub use scope::run_binds;
