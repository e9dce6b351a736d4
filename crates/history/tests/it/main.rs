//! The history against real homes: folds, crashes, retention, backups.

#![allow(clippy::unwrap_used)]

mod backup;
mod crash;
mod damage;
mod fold;
mod retain;
mod sequences;
mod support;
