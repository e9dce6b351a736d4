//! [`Connector`]: one kind of system, in one file.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;
use tidemill_model::{SettingProblem, TableRef};

use crate::config::{self, Findings};
use crate::connection::Connection;
use crate::error::ConnectorError;

/// What a sink promises about a load that is repeated or cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Rows and the ledger row go in one transaction: a repeated load adds nothing.
    Transactional,
    /// Staged, then renamed or swapped: readers see all of a load or none of it.
    AtomicPublish,
    /// Keyed upserts: a repeated load writes the same values again.
    Idempotent,
    /// A repeated load may write rows twice.
    AtLeastOnce,
}

impl Guarantee {
    /// The word of the documentation.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::AtomicPublish => "atomic publish",
            Self::Idempotent => "idempotent",
            Self::AtLeastOnce => "at least once",
        }
    }
}

/// What a source is given besides its config.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// At most this many rows in a batch.
    pub batch_rows: usize,
    /// The folder of the DAG file: relative paths start here.
    pub folder: PathBuf,
    /// The connection that the config names, if it names one.
    pub connection: Option<Connection>,
}

impl SourceContext {
    /// `path` as meant: relative to the folder of the DAG file.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// What a sink is given besides its config.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The columns that will be written.
    pub schema: SchemaRef,
    /// The folder of the DAG file: relative paths start here.
    pub folder: PathBuf,
    /// The connection that the config names, if it names one.
    pub connection: Option<Connection>,
    /// The same for every repetition of the same load: (dag, run, task).
    pub idempotency_key: String,
}

impl SinkContext {
    /// `path` as meant: relative to the folder of the DAG file.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The position of a column that must be there, with a "did you mean" when it is not.
    pub fn column(&self, key: &str, name: &str) -> Result<usize, ConnectorError> {
        self.schema.index_of(name).map_err(|_| unknown_column(key, name, &self.schema))
    }
}

/// The error for a column that the input does not have.
pub fn unknown_column(key: &str, name: &str, schema: &SchemaRef) -> ConnectorError {
    let names = schema.fields().iter().map(|f| f.name().as_str());
    let error = ConnectorError::misconfigured(format!(
        "`{key}` names the column `{name}`, which the input does not have"
    ))
    .blame(&[key])
    .missing(name);
    let near = did_you_mean(name, names.clone());
    error.help(near.unwrap_or_else(|| format!("it has: {}", listed(names))))
}

/// A row that a source could not read and set aside, because its config says `quarantine`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RejectedRow {
    /// Why, as a word that can be counted: `bad_value`, `too_few_fields`.
    pub reason: String,
    /// The file or address it came from.
    pub source: String,
    /// The line in it, from 1.
    pub line: u64,
    /// The column, if one is to blame.
    pub column: Option<String>,
    /// The value as read, if one is to blame (at most 200 characters).
    pub value: Option<String>,
    /// The raw row (at most 2,000 characters).
    pub row: String,
}

/// The reading end. Blocking calls are fine: an attempt has a thread of its own.
#[async_trait]
pub trait Source: Send {
    /// The columns; every batch has this schema.
    fn schema(&self) -> SchemaRef;

    /// The next rows, at most `batch_rows` of them; `None` at the end.
    ///
    /// After a retryable error the same call may be made again; no row is lost or repeated.
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError>;

    /// The table that this source reads whole, if it lies in the home: it is then handed on, and
    /// no row is read.
    fn stored(&self) -> Option<TableRef> {
        None
    }

    /// Rows set aside since the last call.
    fn take_rejects(&mut self) -> Vec<RejectedRow> {
        Vec::new()
    }
}

/// What a sink did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows that the other side now holds from this load.
    pub rows: u64,
    /// Bytes sent or written, as far as the sink knows.
    pub bytes: u64,
}

/// The writing end. Dropping it unfinished leaves nothing that a reader can see.
#[async_trait]
pub trait Sink: Send {
    /// Takes a batch of the schema in the context.
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError>;

    /// Publishes what was written.
    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError>;
}

/// One kind of system. Implement this in one file, add one line to the crate's list.
///
/// An end that a system does not have keeps its default, which refuses.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Settings of a source; `NoConfig` where there is none.
    type SourceConfig: DeserializeOwned + JsonSchema + Send;
    /// Settings of a sink; `NoConfig` where there is none.
    type SinkConfig: DeserializeOwned + JsonSchema + Send;

    /// The key under `ingest:` and `load:`.
    const NAME: &'static str;
    /// What it is, in one sentence, for the documentation.
    const SUMMARY: &'static str;
    /// A source's settings as YAML, which the conformance suite parses; empty when not a source.
    const SOURCE_EXAMPLE: &'static str;
    /// A sink's settings as YAML; empty when not a sink.
    const SINK_EXAMPLE: &'static str;
    /// What the sink promises; `None` when not a sink.
    const GUARANTEE: Option<Guarantee>;

    /// What its connections hold, as a JSON Schema ([`config::schema_of`]); nothing where it has
    /// none.
    fn connection() -> Option<Value> {
        None
    }

    /// Finds what can never work in a source's settings, by their values alone: it is asked when
    /// a DAG is loaded, and again before `source`.
    fn check_source(config: &Self::SourceConfig, found: &mut Findings) {
        let _ = (config, found);
    }

    /// Finds what can never work in a sink's settings, likewise.
    fn check_sink(config: &Self::SinkConfig, found: &mut Findings) {
        let _ = (config, found);
    }

    /// Opens a source.
    async fn source(
        &self,
        config: Self::SourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        let _ = (config, cx);
        Err(ConnectorError::misconfigured(format!("`{}` cannot be read from", Self::NAME)))
    }

    /// A text that is another one whenever the source would give something else: names, sizes and
    /// times of files, say. `None` where only reading tells.
    fn source_state(
        &self,
        config: &Self::SourceConfig,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        let _ = (config, cx);
        Ok(None)
    }

    /// Opens a sink.
    async fn sink(
        &self,
        config: Self::SinkConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        let _ = (config, cx);
        Err(ConnectorError::misconfigured(format!("`{}` cannot be written to", Self::NAME)))
    }
}

/// The settings of an end that does not exist.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// A connector without its config types: what the registry holds.
#[async_trait]
pub trait AnyConnector: Send + Sync {
    /// The key under `ingest:` and `load:`.
    fn name(&self) -> &'static str;
    /// What it is, in one sentence.
    fn summary(&self) -> &'static str;
    /// Schema of the source's settings; `None` when not a source.
    fn source_schema(&self) -> Option<Value>;
    /// Schema of the sink's settings; `None` when not a sink.
    fn sink_schema(&self) -> Option<Value>;
    /// Schema of what its connections hold; `None` where it has none.
    fn connection_schema(&self) -> Option<Value>;
    /// What can never work in a source's settings as they are written.
    fn source_problems(&self, settings: &Value) -> Vec<SettingProblem>;
    /// What can never work in a sink's settings as they are written.
    fn sink_problems(&self, settings: &Value) -> Vec<SettingProblem>;
    /// Example settings (source, sink) as YAML; empty where the end does not exist.
    fn examples(&self) -> (&'static str, &'static str);
    /// What the sink promises.
    fn guarantee(&self) -> Option<Guarantee>;
    /// Opens a source from checked settings.
    async fn open_source(
        &self,
        config: Value,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError>;
    /// A text that is another one whenever the source would give something else.
    fn state_of_source(
        &self,
        config: Value,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError>;
    /// Opens a sink from checked settings.
    async fn open_sink(
        &self,
        config: Value,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError>;
}

#[async_trait]
impl<C: Connector> AnyConnector for C {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn summary(&self) -> &'static str {
        C::SUMMARY
    }

    fn source_schema(&self) -> Option<Value> {
        (!C::SOURCE_EXAMPLE.is_empty()).then(config::schema_of::<C::SourceConfig>)
    }

    fn sink_schema(&self) -> Option<Value> {
        (!C::SINK_EXAMPLE.is_empty()).then(config::schema_of::<C::SinkConfig>)
    }

    fn connection_schema(&self) -> Option<Value> {
        C::connection()
    }

    fn source_problems(&self, settings: &Value) -> Vec<SettingProblem> {
        config::findings(settings, C::check_source)
    }

    fn sink_problems(&self, settings: &Value) -> Vec<SettingProblem> {
        config::findings(settings, C::check_sink)
    }

    fn examples(&self) -> (&'static str, &'static str) {
        (C::SOURCE_EXAMPLE, C::SINK_EXAMPLE)
    }

    fn guarantee(&self) -> Option<Guarantee> {
        C::GUARANTEE
    }

    async fn open_source(
        &self,
        config: Value,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        let config = config::parse("source", C::NAME, config)?;
        let mut found = Findings::default();
        C::check_source(&config, &mut found);
        found.refuse()?;
        self.source(config, cx).await
    }

    fn state_of_source(
        &self,
        config: Value,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        self.source_state(&config::parse("source", C::NAME, config)?, cx)
    }

    async fn open_sink(
        &self,
        config: Value,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        let config = config::parse("sink", C::NAME, config)?;
        let mut found = Findings::default();
        C::check_sink(&config, &mut found);
        found.refuse()?;
        self.sink(config, cx).await
    }
}

/// A connector as the registry holds it.
pub type SharedConnector = Arc<dyn AnyConnector>;
