//! The engine from outside: real queries over real tables.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that cannot go on should stop.

mod bounds;
mod checks;
mod clean;
mod errors;
mod expressions;
mod functions;
mod language;
mod queries;
mod repeatable;
mod slices;
mod spill;
mod support;
mod turns;
