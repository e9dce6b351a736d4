//! The transforms, the sink and the store from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that cannot go on should stop.

mod contract;
mod profiles;
mod store;
mod support;
mod transforms;
