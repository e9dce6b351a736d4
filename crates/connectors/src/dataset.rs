//! `dataset`: the table that another DAG made last.
//!
//! No row is read or copied: the table lies in the home already and is handed on.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::config::Findings;
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{
    BatchIter, Connector, ConnectorError, Guarantee, RecordBatch, SchemaRef, Source, SourceContext,
    Table,
};
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;
use tidemill_model::{DagId, RunId, TableRef};

/// The tables of earlier runs.
pub trait Datasets: Send + Sync {
    /// The table of this name that a DAG made last. May block on disk; the error says why it
    /// cannot be told.
    fn latest(&self, dag: &DagId, table: &str) -> Result<Latest, ConnectorError>;
}

/// The last version of a dataset.
#[derive(Debug, Clone)]
pub enum Latest {
    /// It is there.
    Made {
        /// The run that made it, which succeeded.
        run: RunId,
        /// What the run keeps of it.
        reference: TableRef,
        /// Its rows.
        table: Arc<dyn Table>,
    },
    /// No DAG has this name; these have others.
    NoDag(Vec<String>),
    /// No run of the DAG has succeeded.
    NoRun,
    /// None of the last runs made such a table; the last one made these.
    NoTable(Vec<String>),
}

/// Datasets where there is no home.
#[derive(Debug, Clone, Copy)]
pub struct NoDatasets;

impl Datasets for NoDatasets {
    fn latest(&self, dag: &DagId, table: &str) -> Result<Latest, ConnectorError> {
        Err(ConnectorError::misconfigured(format!(
            "`{dag}.{table}` lies in a home, and there is none here"
        )))
    }
}

/// Settings of a `dataset` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSourceConfig {
    /// The DAG and its table: `crm.customers` is the table of task `customers` of DAG `crm`,
    /// `crm.customers.rejects` what its checks set aside. It is read as the last run made it that
    /// succeeded; a run that is under way changes nothing.
    pub name: String,
}

/// The connector.
pub struct Dataset {
    datasets: Arc<dyn Datasets>,
}

impl Dataset {
    /// A connector that finds tables here.
    pub fn new(datasets: Arc<dyn Datasets>) -> Self {
        Self { datasets }
    }

    fn find(&self, config: &DatasetSourceConfig) -> Result<(RunId, Stored), ConnectorError> {
        let (dag, table) = parts(&config.name)?;
        match self.datasets.latest(&dag, table)? {
            Latest::Made { run, reference, table } => Ok((run, Stored { reference, table })),
            missing => Err(not_there(&dag, table, missing)),
        }
    }
}

/// The DAG and the table that a dataset's name holds.
pub fn parts(name: &str) -> Result<(DagId, &str), ConnectorError> {
    let wrong = |what: String| {
        ConnectorError::misconfigured(what)
            .blame(&["name"])
            .help("write the DAG and its table: `crm.customers`")
    };
    let (dag, table) = name
        .split_once('.')
        .filter(|(_, table)| !table.is_empty())
        .ok_or_else(|| wrong(format!("`{name}` names no table of a DAG")))?;
    let dag = dag.parse().map_err(|error| wrong(format!("`{name}` names no DAG: {error}")))?;
    Ok((dag, table))
}

fn not_there(dag: &DagId, table: &str, why: Latest) -> ConnectorError {
    let error = |what: String| ConnectorError::misconfigured(what).blame(&["name"]);
    match why {
        Latest::NoDag(others) => {
            let near = did_you_mean(dag.as_str(), others.iter().map(String::as_str));
            let error = error(format!("there is no DAG `{dag}`")).missing(dag.as_str());
            error.help(near.unwrap_or_else(|| {
                "serve its file in the same folder, or run it in this home".to_owned()
            }))
        }
        Latest::NoTable(others) => {
            let near = did_you_mean(table, others.iter().map(String::as_str));
            let what = format!("the last runs of DAG `{dag}` made no table `{table}`");
            let made = || format!("the last one made: {}", listed(&others));
            error(what).missing(table).help(near.unwrap_or_else(made))
        }
        Latest::NoRun | Latest::Made { .. } => error(format!(
            "no run of DAG `{dag}` has succeeded yet, so `{dag}.{table}` is not there"
        ))
        .help(format!("run it first: `tidemill trigger {dag}`")),
    }
}

#[async_trait]
impl Connector for Dataset {
    type SourceConfig = DatasetSourceConfig;
    type SinkConfig = NoConfig;

    const NAME: &'static str = "dataset";
    const SUMMARY: &'static str = "The table that another DAG made last.";
    const SOURCE_EXAMPLE: &'static str = "{name: crm.customers}";
    const SINK_EXAMPLE: &'static str = "";
    const GUARANTEE: Option<Guarantee> = None;

    fn check_source(config: &DatasetSourceConfig, found: &mut Findings) {
        found.note(&[&["name"]], parts(&config.name).map(|_| ()));
    }

    async fn source(
        &self,
        config: DatasetSourceConfig,
        _cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(DatasetSource { stored: self.find(&config)?.1, rows: None }))
    }

    fn source_state(
        &self,
        config: &DatasetSourceConfig,
        _cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        Ok(Some(self.find(config)?.1.reference.hash))
    }
}

#[derive(Debug)]
struct Stored {
    reference: TableRef,
    table: Arc<dyn Table>,
}

struct DatasetSource {
    stored: Stored,
    rows: Option<BatchIter>,
}

#[async_trait]
impl Source for DatasetSource {
    fn schema(&self) -> SchemaRef {
        self.stored.table.schema()
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        let rows = match self.rows.take() {
            Some(rows) => rows,
            None => self.stored.table.scan()?,
        };
        self.rows.insert(rows).next().transpose()
    }

    fn stored(&self) -> Option<TableRef> {
        Some(self.stored.reference.clone())
    }
}
