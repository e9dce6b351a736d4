//! Tables of earlier runs: those that other DAGs read as datasets, and the columns of those that
//! this run did not make.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tidemill_connector::{ConnectorError, SchemaRef};
use tidemill_connectors::dataset::{Datasets, Latest};
use tidemill_executor::Columns;
use tidemill_executor::tables::TableStore;
use tidemill_model::{AttemptOrder, DagId, RunId, RunState, TableRef};
use tidemill_scheduler::Scheduler;
use tidemill_store::{RunQuery, StoreError};

use crate::node::Toolbox;
use crate::planning::columns_in_run;

/// Runs that are looked through for a table: one that was skipped in all of them is not there.
const RUNS_LOOKED_AT: usize = 100;

/// The runs of a home. It is made before what it looks into, so it is told of that later; and what
/// it looks into knows it in turn, so it lets go of that at the end.
#[derive(Clone, Default)]
pub(crate) struct Past(Arc<RwLock<Option<Arc<Opened>>>>);

struct Opened {
    scheduler: Scheduler,
    tables: TableStore,
}

/// What the last runs of a DAG that succeeded say of a table.
enum Found {
    Table(RunId, TableRef),
    /// None of them has it; the last one has these.
    Others(Vec<String>),
    NoRun,
}

impl Past {
    /// From now on there is something to look into.
    pub(crate) fn open(&self, scheduler: Scheduler, tables: TableStore) {
        self.set(Some(Arc::new(Opened { scheduler, tables })));
    }

    /// From now on there is nothing any more.
    pub(crate) fn close(&self) {
        self.set(None);
    }

    fn set(&self, opened: Option<Arc<Opened>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = opened;
    }

    fn get(&self) -> Option<Arc<Opened>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn opened(&self) -> Result<Arc<Opened>, ConnectorError> {
        self.get().ok_or_else(|| ConnectorError::internal("the home is not open"))
    }
}

impl Opened {
    /// Finds a table in the last runs of a DAG that succeeded. May block on disk.
    fn find(&self, dag: &DagId, table: &str) -> Result<Found, StoreError> {
        let query = RunQuery {
            dag: Some(dag.clone()),
            states: vec![RunState::Succeeded],
            after: None,
            limit: RUNS_LOOKED_AT,
        };
        let mut last: Option<Vec<String>> = None;
        for run in self.scheduler.runs(&query)?.runs {
            let Some(view) = self.scheduler.run(&run.head.id)? else { continue };
            let made = || view.tasks.iter().flat_map(|task| &task.result).flat_map(|r| &r.tables);
            if let Some(found) = made().find(|made| made.name == table) {
                return Ok(Found::Table(run.head.id, found.clone()));
            }
            last.get_or_insert_with(|| made().map(|made| made.name.clone()).collect());
        }
        Ok(last.map_or(Found::NoRun, Found::Others))
    }
}

impl Datasets for Past {
    fn latest(&self, dag: &DagId, table: &str) -> Result<Latest, ConnectorError> {
        let opened = self.opened()?;
        let found = opened.find(dag, table);
        Ok(match found.map_err(|error| ConnectorError::internal(error.to_string()))? {
            Found::Table(run, reference) => {
                let table = opened.tables.open(&reference)?;
                Latest::Made { run, reference, table }
            }
            Found::Others(tables) => Latest::NoTable(tables),
            Found::NoRun => {
                let live = opened.scheduler.live();
                match live.dag(dag) {
                    Some(_) => Latest::NoRun,
                    None => {
                        let dags = live.dags().into_iter();
                        Latest::NoDag(dags.map(|dag| dag.id.to_string()).collect())
                    }
                }
            }
        })
    }
}

/// The columns of tables that a run did not make: as its DAG tells them with the values of the
/// run, or else as an earlier run made them.
pub(crate) struct KnownColumns {
    toolbox: Toolbox,
    past: Option<Past>,
}

impl KnownColumns {
    /// Columns as the tools of `toolbox` tell them, and, where there is one, the past.
    pub(crate) fn new(toolbox: Toolbox, past: Option<Past>) -> Self {
        Self { toolbox, past }
    }

    fn of_last_run(&self, dag: &DagId, table: &str) -> Option<SchemaRef> {
        let opened = self.past.as_ref()?.get()?;
        match opened.find(dag, table).ok()? {
            Found::Table(_, table) => Some(opened.tables.open(&table).ok()?.schema()),
            Found::Others(_) | Found::NoRun => None,
        }
    }
}

#[async_trait]
impl Columns for KnownColumns {
    async fn of(&self, order: &AttemptOrder, table: &str) -> Option<SchemaRef> {
        let planned = columns_in_run(order, table, &self.toolbox).await;
        let whole = planned.as_ref().filter(|planned| planned.is_whole());
        match whole {
            Some(whole) => Some(whole.schema.clone()),
            None => {
                let last = self.of_last_run(&order.id.run.dag, table);
                last.or_else(|| planned.map(|planned| planned.schema))
            }
        }
    }
}
