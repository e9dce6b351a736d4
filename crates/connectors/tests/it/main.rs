//! The connectors from outside: real files in folders of their own, real servers on 127.0.0.1.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod contract;
mod csv_read;
mod csv_write;
mod dataset;
mod http;
mod jsonl;
mod language;
mod outbox;
mod parquet;
mod server;
mod support;
