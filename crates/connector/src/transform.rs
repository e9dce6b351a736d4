//! [`Transform`]: tables in, tables out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidemill_model::SettingProblem;

use crate::config::{self, Findings};
use crate::error::ConnectorError;
use crate::table::{Outputs, Table};

/// What a transform is given besides its config.
pub struct TransformContext {
    /// The tables it may read, by the names that its config uses (`tx`, `tx.rejects`).
    pub tables: IndexMap<String, Arc<dyn Table>>,
    /// Values of the `$names` that its SQL may use: params, `bind`, the interval.
    pub binds: BTreeMap<String, Value>,
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
