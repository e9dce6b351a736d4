//! What the tests of a process share.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tidemill_connector::{Connection, ConnectorError};
use tidemill_executor::{
    Connections, ExecLimits, Executor, ExecutorConfig, HomePaths, Results, Secrets, SmallTables,
};
use tidemill_model::{AttemptReport, Secret, SmallTable, TableRef, Timestamp};
use tidemill_spec::test_file::{RowSource, Rows};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::failure::Failure;
use crate::node::{SystemClock, Toolbox, own_program};
use crate::part::connector_of;
use crate::past::KnownColumns;
use crate::rows::rows_of;

/// An executor in a folder that goes away with it.
pub(crate) struct Ground {
    pub(crate) executor: Executor,
    pub(crate) reports: UnboundedReceiver<AttemptReport>,
    pub(crate) small: Arc<Small>,
    folder: PathBuf,
    /// Files of rows so far.
    written: AtomicU64,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Ground {
    /// An executor with the connectors and transforms of the toolbox, and neither connections nor
    /// secrets: a test has none.
    pub(crate) fn open(toolbox: &Toolbox) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("tidemill-test-{}", std::process::id()));
        let small = Arc::new(Small::default());
        let (send, reports) = unbounded_channel();
        let config = ExecutorConfig {
            registry: toolbox.registry.clone(),
            engine: Arc::clone(&toolbox.engine),
            home: HomePaths {
                tables: folder.join("tables"),
                logs: folder.join("logs"),
                processes: folder.join("processes"),
                spill: folder.join("spill"),
            },
            small: Arc::clone(&small) as _,
            connections: Arc::new(Nothing),
            secrets: Arc::new(Nothing),
            results: Arc::new(Nothing),
            columns: Arc::new(KnownColumns::new(toolbox.clone(), None)),
            program: own_program()?,
            keep_commands: false,
            limits: ExecLimits::default(),
            clock: Arc::new(SystemClock),
        };
        let report = Arc::new(move |report| {
            // Nobody waits any more when the test has ended.
            let _ = send.send(report);
        });
        let executor = Executor::new(config, report).map_err(Failure::home)?;
        Ok(Self { executor, reports, small, folder, written: AtomicU64::new(0) })
    }

    /// Makes a table of rows. `beside` is the folder of the DAG.
    pub(crate) async fn table(
        &self,
        (task, table): (&str, &str),
        rows: &Rows,
        beside: &Path,
    ) -> Result<TableRef, ConnectorError> {
        let (connector, settings) = self.source(rows, beside)?;
        let made = self.executor.import((task, table), connector, settings, beside).await;
        let (table, small) = made?;
        self.small.keep(small);
        Ok(table)
    }

    /// A connector that reads rows, and its settings.
    pub(crate) fn source(
        &self,
        rows: &Rows,
        beside: &Path,
    ) -> Result<(&'static str, Value), ConnectorError> {
        let (connector, path) = match &rows.from {
            RowSource::Inline(rows) => ("jsonl", self.write(rows)?),
            RowSource::File(name) => (connector_of(Path::new(name))?, beside.join(name)),
        };
        let mut settings = json!({"path": path});
        if let Some(columns) = &rows.columns {
            settings["columns"] = columns.clone();
        }
        Ok((connector, settings))
    }

    /// A message with rows of the test in the place of the files that they were written to.
    pub(crate) fn in_rows(&self, text: &str) -> String {
        let lead = format!("{}/rows-", self.folder.display());
        let mut pieces = text.split(&lead);
        let mut said = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
            match rest.strip_prefix(".jsonl:") {
                Some(row) => said.push_str(&format!("row {row}")),
                None => said.push_str(rest.strip_prefix(".jsonl").unwrap_or(rest)),
            }
        }
        said
    }

    fn write(&self, rows: &[Value]) -> Result<PathBuf, ConnectorError> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("rows-{number}.jsonl"));
        let mut text = String::new();
        for row in rows {
            let _ = writeln!(text, "{row}");
        }
        std::fs::write(&path, text).map_err(|error| ConnectorError::io("write", &path, &error))?;
        Ok(path)
    }

    /// The names of the columns of a table, and its rows, decimals as text.
    pub(crate) fn rows(
        &self,
        table: &TableRef,
    ) -> Result<(Vec<String>, Vec<Vec<Value>>), ConnectorError> {
        let open = self.executor.tables().open(table)?;
        let rows = rows_of(&*open, usize::MAX)?;
        let names = open.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok((names, rows))
    }
}

/// Small tables, in memory.
#[derive(Default)]
pub(crate) struct Small(Mutex<HashMap<String, Bytes>>);

impl Small {
    /// Keeps tables.
    pub(crate) fn keep(&self, tables: impl IntoIterator<Item = SmallTable>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(tables.into_iter().map(|table| (table.hash, table.bytes)));
    }
}

impl SmallTables for Small {
    fn get(&self, hash: &str) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned())
    }
}

/// What a test does not have.
struct Nothing;

impl Connections for Nothing {
    fn get(&self, _: &Path, name: &str) -> Result<Connection, ConnectorError> {
        Err(ConnectorError::misconfigured(format!("a test has no connection `{name}`"))
            .help("give the task a stub"))
    }
}

impl Secrets for Nothing {
    /// A text that is no secret, so that what names one can be tested.
    fn get(&self, name: &str) -> Result<Secret, ConnectorError> {
        Ok(Secret::new(format!("secret {name}")))
    }

    fn values(&self) -> Vec<Secret> {
        Vec::new()
    }
}

impl Results for Nothing {
    fn get(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _: &str, _: &[u8], _: Timestamp) {}
}
