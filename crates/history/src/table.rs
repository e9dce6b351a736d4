//! The tables `runs` and `tasks`: everything that is kept of runs, recent or not, for SQL.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connector::table::part_of;
use tidemill_connector::{BatchIter, ConnectorError, Table};
use tidemill_model::{RunId, Version};
use tidemill_store::{SledStore, StoreError, WholeRun};

use crate::columns::{TaskRow, runs_batch, runs_schema, task_count, tasks_batch, tasks_schema};
use crate::history::{History, State};
use crate::segment::joined;

/// Recent runs in a batch.
const RECENT_RUNS: usize = 512;

/// What is told of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A row for each run.
    Runs,
    /// A row for each task of each run.
    Tasks,
}

/// Runs, or their tasks, of a moment: what ends later is not in it.
#[derive(Debug)]
pub struct HistoryTable {
    about: About,
    history: Arc<History>,
    store: Arc<SledStore>,
    moment: OnceLock<Result<Arc<Moment>, String>>,
}

/// What there is at the moment of the first look.
#[derive(Debug)]
struct Moment {
    state: Arc<State>,
    /// Recent runs.
    recent: Vec<RunId>,
    /// Rows of each segment that are not shown.
    passed: Vec<Vec<Range<usize>>>,
    rows: u64,
    /// What can be scanned side by side.
    units: Vec<Unit>,
}

#[derive(Debug, Clone)]
enum Unit {
    /// A row group of a segment.
    Group(usize, usize),
    /// Some of the recent runs.
    Recent(Range<usize>),
}

fn failed(error: &StoreError) -> ConnectorError {
    ConnectorError::internal(error.to_string())
}

impl HistoryTable {
    /// The table of all that `history` and `store` hold.
    pub fn new(about: About, history: Arc<History>, store: Arc<SledStore>) -> Self {
        Self { about, history, store, moment: OnceLock::new() }
    }

    /// Looks at what there is: the first question would else do so. Blocks on disk.
    pub fn ready(&self) -> Result<(), ConnectorError> {
        self.moment().map(drop)
    }

    fn moment(&self) -> Result<&Arc<Moment>, ConnectorError> {
        let look = || self.look().map(Arc::new).map_err(|error| error.to_string());
        let moment = self.moment.get_or_init(look).as_ref();
        moment.map_err(|error| ConnectorError::internal(error.clone()))
    }

    fn look(&self) -> Result<Moment, StoreError> {
        // The records first: what leaves them meanwhile is in the segments that are looked at then,
        // and is left out there.
        let recent = self.store.run_ids()?;
        let state = self.history.state();
        let held: HashSet<&RunId> = recent.iter().collect();
        let (mut rows, mut passed, mut units) = (0, Vec::new(), Vec::new());
        for (at, (info, segment)) in state.listed().enumerate() {
            let keys = segment.keys()?;
            let mut gone: Vec<usize> = info.hidden.iter().map(|row| *row as usize).collect();
            // Few runs are in both: those of DAGs whose numbers meet are looked for.
            for id in held.iter().filter(|id| keys.dags.contains_key(&id.dag)) {
                gone.extend(segment.row(id)?);
            }
            gone.sort_unstable();
            gone.dedup();
            let (file, total) = match self.about {
                About::Runs => (&segment.runs, info.runs),
                About::Tasks => (&segment.tasks, info.tasks),
            };
            let mut without = Vec::new();
            for range in joined(&gone) {
                match self.about {
                    About::Runs => without.push(range),
                    About::Tasks => {
                        for row in range {
                            let record = segment.record(row)?;
                            let from = record.tasks_from as usize;
                            without.push(from..from + task_count(&record.summary));
                        }
                    }
                }
            }
            rows += total - without.iter().map(|rows| rows.len() as u64).sum::<u64>();
            passed.push(without);
            units.extend((0..file.groups()?).map(|group| Unit::Group(at, group)));
        }
        let mut parts = Vec::new();
        for from in (0..recent.len()).step_by(RECENT_RUNS) {
            parts.push(from..recent.len().min(from + RECENT_RUNS));
        }
        rows += match self.about {
            About::Runs => recent.len() as u64,
            About::Tasks => {
                let mut tasks = 0;
                for id in &recent {
                    let run = self.store.recent_summary(id)?;
                    tasks += run.map_or(0, |run| task_count(&run) as u64);
                }
                tasks
            }
        };
        units.extend(parts.into_iter().map(Unit::Recent));
        Ok(Moment { state, recent, passed, rows, units })
    }

    fn scan_units(&self, columns: &[usize], units: &[Unit]) -> Result<BatchIter, ConnectorError> {
        let moment = Arc::clone(self.moment()?);
        let names: Vec<String> = {
            let schema = self.schema();
            columns.iter().map(|column| schema.field(*column).name().clone()).collect()
        };
        let (about, store, units) = (self.about, Arc::clone(&self.store), units.to_vec());
        let columns = columns.to_vec();
        let scan = units.into_iter().flat_map(move |unit| -> BatchIter {
            let batches = match unit {
                Unit::Group(segment, group) => of_group(&moment, about, (segment, group), &names),
                Unit::Recent(runs) => {
                    of_recent(&store, &moment.recent[runs], about).and_then(|batch| {
                        let batch = batch.project(&columns)?;
                        Ok(Box::new(std::iter::once(Ok(batch))) as BatchIter)
                    })
                }
            };
            batches.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        });
        Ok(Box::new(scan))
    }
}

/// The rows of a row group, with these columns.
fn of_group(
    moment: &Moment,
    about: About,
    (segment, group): (usize, usize),
    names: &[String],
) -> Result<BatchIter, ConnectorError> {
    let of = &moment.state.segments[segment];
    let file = match about {
        About::Runs => &of.runs,
        About::Tasks => &of.tasks,
    };
    // A column must be read to count rows.
    let wanted: Vec<&str> =
        if names.is_empty() { vec!["number"] } else { names.iter().map(String::as_str).collect() };
    let reader = file
        .scan(&wanted, Some(vec![group]), &moment.passed[segment])
        .map_err(|error| failed(&error))?;
    let names = names.to_vec();
    Ok(Box::new(reader.map(move |batch| {
        let batch = batch?;
        let schema = batch.schema();
        let places: Result<Vec<usize>, _> =
            names.iter().map(|name| schema.index_of(name)).collect();
        Ok(batch.project(&places?)?)
    })))
}

/// The rows of recent runs.
fn of_recent(
    store: &SledStore,
    ids: &[RunId],
    about: About,
) -> Result<RecordBatch, ConnectorError> {
    let read = || match about {
        About::Runs => {
            let runs = ids.iter().filter_map(|id| store.recent_summary(id).transpose());
            runs_batch(&runs.collect::<Result<Vec<_>, _>>()?)
        }
        About::Tasks => {
            let runs = ids.iter().filter_map(|id| store.recent(id).transpose());
            tasks_batch(&tasks_of(store, runs.collect::<Result<Vec<_>, _>>()?))
        }
    };
    read().map_err(|error| failed(&error))
}

fn tasks_of(store: &SledStore, runs: Vec<WholeRun>) -> Vec<TaskRow> {
    let mut known: HashMap<Version, Arc<[String]>> = HashMap::new();
    let mut rows = Vec::new();
    for run in runs {
        let head = run.summary.head;
        let names = known.entry(head.version.clone()).or_insert_with(|| {
            let dag = store.dag_version(&head.version);
            dag.iter().flat_map(|dag| dag.tasks().iter()).map(|t| t.name.to_string()).collect()
        });
        rows.extend(run.tasks.into_iter().enumerate().map(|(at, task)| TaskRow {
            run: head.id.clone(),
            name: names.get(at).cloned().unwrap_or_else(|| format!("#{at}")),
            task,
        }));
    }
    rows
}

impl Table for HistoryTable {
    fn schema(&self) -> SchemaRef {
        match self.about {
            About::Runs => runs_schema(),
            About::Tasks => tasks_schema(),
        }
    }

    fn rows(&self) -> u64 {
        self.moment().map_or(0, |moment| moment.rows)
    }

    fn bytes(&self) -> u64 {
        self.history.figures().bytes
    }

    fn scan(&self) -> Result<BatchIter, ConnectorError> {
        let all: Vec<usize> = (0..self.schema().fields().len()).collect();
        self.scan_columns(&all)
    }

    fn scan_columns(&self, columns: &[usize]) -> Result<BatchIter, ConnectorError> {
        let units = self.moment()?.units.clone();
        self.scan_units(columns, &units)
    }

    fn parts_max(&self) -> u64 {
        self.moment().map_or(1, |moment| moment.units.len().max(1) as u64)
    }

    fn scan_part(
        &self,
        columns: &[usize],
        part: u64,
        parts: u64,
    ) -> Result<BatchIter, ConnectorError> {
        let units = &self.moment()?.units;
        let units = units[part_of(units.len(), part, parts)].to_vec();
        self.scan_units(columns, &units)
    }
}
