//! [`Transform`]: tables in, tables out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidemill_model::SettingProblem;
use tidemill_model::lineage::TableLineage;

use crate::config::{self, Findings};
use crate::error::ConnectorError;
use crate::table::{Outputs, Table};

/// Values for the `$names` of SQL: see `TransformContext::binds`.
pub type Binds = BTreeMap<String, Value>;

/// What a transform is asked about before it runs.
#[derive(Debug, Clone, Copy)]
pub struct Beforehand<'a> {
    /// The columns of the tables that it will read, by the names that its config uses.
    pub tables: &'a IndexMap<String, SchemaRef>,
    /// Values of the `$names` of its SQL, of the types that they will have.
    pub binds: &'a Binds,
    /// The folder of the DAG file.
    pub folder: &'a Path,
}

/// What is known of a transform's result from its settings and the columns that it reads.
#[derive(Debug, Default)]
pub struct Description {
    /// The columns of its tables, by the names of [`Outputs::create`], if they can be told without
    /// running it on tables without rows.
    pub tables: BTreeMap<String, SchemaRef>,
    /// What cannot be: it would fail in a run.
    pub errors: Vec<ConnectorError>,
    /// Where the columns of its tables come from, by the names of [`Outputs::create`]; tables that
    /// are not here cannot be told.
    pub lineage: BTreeMap<String, TableLineage>,
    /// What its author should look at again: each with its place and a remedy, as an error has
    /// them.
    pub notes: Vec<ConnectorError>,
}

/// What a transform is given besides its config.
pub struct TransformContext {
    /// The tables it may read, by the names that its config uses (`tx`, `tx.rejects`).
    pub tables: IndexMap<String, Arc<dyn Table>>,
    /// Values of the `$names` that its SQL may use: params, `bind`, the interval.
    pub binds: Binds,
    /// Where its own tables go.
    pub outputs: Arc<dyn Outputs>,
    /// The folder of the DAG file: relative paths start here.
    pub folder: PathBuf,
}

impl TransformContext {
    /// A table that the config names.
    pub fn table(&self, name: &str) -> Result<Arc<dyn Table>, ConnectorError> {
        self.tables.get(name).cloned().ok_or_else(|| {
            ConnectorError::misconfigured(format!("there is no table `{name}`")).help(format!(
                "this task reads: {}",
                self.tables.keys().cloned().collect::<Vec<_>>().join(", ")
            ))
        })
    }
}

/// One way to make tables from tables. Implement this in one file, add one line to the list.
#[async_trait]
pub trait Transform: Send + Sync + 'static {
    /// Its settings.
    type Config: DeserializeOwned + JsonSchema + Send;

    /// The key under `transform:`.
    const NAME: &'static str;
    /// What it does, in one sentence, for the documentation.
    const SUMMARY: &'static str;
    /// Settings as YAML, which the conformance suite parses.
    const EXAMPLE: &'static str;

    /// Finds what can never work in the settings, by their values alone: it is asked when a DAG is
    /// loaded, and again before `run`.
    fn check(config: &Self::Config, found: &mut Findings) {
        let _ = (config, found);
    }

    /// Tells what can be told before it runs.
    async fn describe(
        &self,
        config: Self::Config,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        let _ = (config, before);
        Ok(Description::default())
    }

    /// Reads, computes, writes. Heavy work may block: an attempt has a thread of its own.
    async fn run(&self, config: Self::Config, cx: TransformContext) -> Result<(), ConnectorError>;
}

/// A transform without its config type: what the registry holds.
#[async_trait]
pub trait AnyTransform: Send + Sync {
    /// The key under `transform:`.
    fn name(&self) -> &'static str;
    /// What it does, in one sentence.
    fn summary(&self) -> &'static str;
    /// Example settings as YAML.
    fn example(&self) -> &'static str;
    /// Schema of its settings.
    fn schema(&self) -> Value;
    /// What can never work in settings as they are written.
    fn problems(&self, settings: &Value) -> Vec<SettingProblem>;
    /// What can be told before it runs.
    async fn describe_any(
        &self,
        config: Value,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError>;
    /// Runs from checked settings.
    async fn run_any(&self, config: Value, cx: TransformContext) -> Result<(), ConnectorError>;
}

#[async_trait]
impl<T: Transform> AnyTransform for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn summary(&self) -> &'static str {
        T::SUMMARY
    }

    fn example(&self) -> &'static str {
        T::EXAMPLE
    }

    fn schema(&self) -> Value {
        config::schema_of::<T::Config>()
    }

    fn problems(&self, settings: &Value) -> Vec<SettingProblem> {
        config::findings(settings, T::check)
    }

    async fn describe_any(
        &self,
        config: Value,
        before: Beforehand<'_>,
    ) -> Result<Description, ConnectorError> {
        self.describe(config::parse("transform", T::NAME, config)?, before).await
    }

    async fn run_any(&self, config: Value, cx: TransformContext) -> Result<(), ConnectorError> {
        let config = config::parse("transform", T::NAME, config)?;
        let mut found = Findings::default();
        T::check(&config, &mut found);
        found.refuse()?;
        self.run(config, cx).await
    }
}

/// A transform as the registry holds it.
pub type SharedTransform = Arc<dyn AnyTransform>;
