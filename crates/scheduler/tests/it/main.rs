//! The scheduler with a store in memory and an executor that answers as the test says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at a surprise")]

mod admission;
mod crash;
mod desk;
mod held;
mod house;
mod limits;
mod operations;
mod runs;
mod schedules;
mod ticks;
