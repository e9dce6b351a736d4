//! Tests of DAGs: a run on a clock of its own, with what the test gives in the place of the world,
//! held against what it expects.
//!
//! * [`ground`]: what the tests of a process share: an executor in a folder that goes away;
//! * [`drive`]: the kernel and the executor, step by step, until the run has ended;
//! * [`compare`]: what happened against what was expected; [`table`]: rows against rows;
//! * [`update`]: the file, with what happened in the place of what was expected.

pub(crate) mod compare;
pub(crate) mod drive;
pub(crate) mod ground;
pub(crate) mod table;
pub(crate) mod update;
