//! The whole site over a backend of fixed data, through its router and through a socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod api;
mod fake;
mod guard;
mod hostile;
mod mapped;
mod pages;
mod questions;
mod reference;
mod regions;
mod socket;
mod support;
mod world;
