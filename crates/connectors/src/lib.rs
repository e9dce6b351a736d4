//! The catalogue of Tidemill: one file per kind of system that rows come from or go to.
//!
//! Each file holds a connector whole: its settings, whose doc comments become its reference page,
//! its source, its sink, its tests. What grew beyond a screenful lies in a folder of that name.
//! To add a connector, write its file and add a line to [`connectors`].
//!
//! * [`csv`], [`jsonl`], [`mod@parquet`]: files;
//! * [`http`]: rows from JSON, JSON lines or CSV behind a URL, page by page;
//! * [`dataset`]: the table that another DAG made;
//! * [`outbox`]: a folder of messages, ready to be sent.
//!
//! They share: `ahead` (reading on several threads, in order), `files` (patterns, unpacking, encodings, publishing), `columns` (types by name,
//! inference, building of batches), `json` (an exact parser), `cells` (values as text), `rejects`
//! (bad rows).
//!
//! **Invariants.** No connector retries, sleeps, logs or counts: it classifies its errors, and the
//! executor does so for all. None holds a whole table. A file that a sink writes is seen whole or
//! not at all. A value is read exactly or refused with its place; none is changed in silence.

mod ahead;
mod cells;
mod columns;
pub mod csv;
pub mod dataset;
mod files;
pub mod http;
mod json;
pub mod jsonl;
pub mod outbox;
pub mod parquet;
mod rejects;

use std::sync::Arc;

pub use columns::{ColumnType, ColumnTypes, OnBadRow, Rename, RenameRule, type_name};
use tidemill_connector::connector::SharedConnector;

use self::dataset::{Dataset, Datasets};

/// Every connector of this crate, in the order of the documentation. Datasets are found in
/// `datasets`.
pub fn connectors(datasets: Arc<dyn Datasets>) -> Vec<SharedConnector> {
    vec![
        Arc::new(csv::Csv),
        Arc::new(jsonl::Jsonl),
        Arc::new(parquet::Parquet),
        Arc::new(http::Http),
        Arc::new(Dataset::new(datasets)),
        Arc::new(outbox::Outbox),
    ]
}
