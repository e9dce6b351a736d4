//! Attempts with the real thing: real processes, real files, real connectors.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod connectors;
mod data;
mod files;
mod gather;
mod house;
mod leftovers;
mod limits;
mod logs;
#[path = "../program/orders.rs"]
mod orders;
mod stops;
mod tree;
mod words;
