//! The contract between Tidemill and everything that moves or changes rows.
//!
//! A **connector** knows one kind of system: it reads rows from it (a [`Source`]), writes rows to
//! it (a [`Sink`]), or both. A **transform** makes tables from tables. Rows travel as Arrow
//! record batches; a finished, immutable set of them is a [`Table`].
//!
//! Read in this order:
//!
//! * [`table`]: what a task reads and writes: [`Table`], [`TableWriter`], [`Outputs`];
//! * [`mod@connector`]: [`Connector`], the typed trait that one file implements, and
//!   [`AnyConnector`], its erased twin that the registry holds;
//! * [`transform`]: the same pair for transforms;
//! * [`connection`]: named endpoints with their secrets;
//! * [`config`]: how the text of a DAG file becomes a config struct, and the schema annotations
//!   that let the DAG language check it before anything runs;
//! * [`error`]: what may go wrong, classified, so that the executor decides on retries;
//! * [`parallel`]: work shared by the processors;
//! * [`conformance`]: the suite that every connector passes.
//!
//! **Invariants.** A connector classifies its errors and never retries, sleeps, logs or counts:
//! the executor does so for all. No source or sink holds a whole table in memory. Every attempt
//! has a thread of its own, so a source or a sink may block in its calls.

pub mod config;
pub mod conformance;
pub mod connection;
pub mod connector;
pub mod error;
pub mod parallel;
pub mod registry;
pub mod table;
pub mod transform;

pub use connection::Connection;
pub use connector::{
    AnyConnector, Connector, Guarantee, RejectedRow, Sink, SinkContext, Source, SourceContext,
    Written,
};
pub use error::{Blame, ConnectorError, ErrorKind};
pub use registry::Registry;
pub use table::{BatchIter, MemoryOutputs, MemoryTable, Outputs, Table, TableWriter, part_of};
pub use transform::{AnyTransform, Beforehand, Binds, Description, Transform, TransformContext};

pub use arrow::datatypes::SchemaRef;
pub use arrow::record_batch::RecordBatch;
