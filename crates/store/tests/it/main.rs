//! The store against real files, real kills and a disk that is really full.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod backup;
mod conformance;
mod crash;
mod damage;
mod flipped;
mod full;
mod kv;
mod projector;
mod support;
mod upgrade;
