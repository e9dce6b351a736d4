//! Orders to test with: a DAG of one task, and what surrounds an executor.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use tidemill_connector::{Connection, ConnectorError, Registry, SchemaRef};
use tidemill_executor::logs::LogLimits;
use tidemill_executor::{
    Clock, Columns, Connections, ExecLimits, ExecutorConfig, HomePaths, Results, Secrets,
    SmallTables,
};
use tidemill_model::dag::{Check, Command, DagHead, Param, ParamKind, Read, Resources, Task};
use tidemill_model::effect::{Gather, RunTask};
use tidemill_model::expr::Expr;
use tidemill_model::outputs::{FileFormat, Output};
use tidemill_model::template::Template;
use tidemill_model::{
    Action, AttemptId, AttemptOrder, Dag, DataInterval, RunId, Secret, TableRef, TaskIx, Timestamp,
    Version,
};
use tidemill_sql::{Engine, EngineConfig, transforms};

/// A task, as a test says it.
#[derive(Default)]
pub(crate) struct Job {
    pub(crate) name: Option<String>,
    pub(crate) action: Option<Action>,
    pub(crate) params: Map<String, Value>,
    pub(crate) kinds: Vec<(&'static str, ParamKind)>,
    pub(crate) env: Vec<(&'static str, Value)>,
    pub(crate) bind: Vec<(&'static str, &'static str)>,
    pub(crate) checks: Vec<Check>,
    pub(crate) inputs: Vec<(String, TableRef)>,
    pub(crate) skipped: Vec<(String, String)>,
    pub(crate) run_tasks: Option<Vec<RunTask>>,
    pub(crate) gather: Option<Gather>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) workdir: Option<Value>,
    pub(crate) resources: Resources,
    /// The form in which its inputs are handed over.
    pub(crate) format: FileFormat,
    pub(crate) outputs: Vec<(&'static str, Output)>,
}

/// A value that may hold `${{ … }}`.
pub(crate) fn template(value: &Value) -> Template {
    Template::parse(value).expect("a good template")
}

impl Job {
    /// A task of this action.
    pub(crate) fn of(action: Action) -> Self {
        Self { action: Some(action), ..Self::default() }
    }

    /// A command as a list of words.
    pub(crate) fn argv<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        let word = |word: W| template(&Value::from(word.as_ref()));
        Self::of(Action::Run(Command::Argv(words.into_iter().map(word).collect())))
    }

    /// A command as a script, with these variables.
    pub(crate) fn shell(script: &str, variables: &[(&str, &str)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Expr::parse(text).expect("an expression")))
            .collect();
        Self::of(Action::Run(Command::Shell { script: script.to_owned(), variables }))
    }

    /// The order for its attempt in run `number`.
    pub(crate) fn order(self, folder: &Path, number: u64) -> Arc<AttemptOrder> {
        let reads = self
            .inputs
            .iter()
            .map(|(alias, table)| Read {
                alias: alias.clone(),
                table: table.name.clone(),
                task: TaskIx(0),
                format: self.format,
            })
            .chain(self.skipped.iter().map(|(alias, table)| Read {
                alias: alias.clone(),
                table: table.clone(),
                task: TaskIx(0),
                format: self.format,
            }))
            .collect();
        let task = Task {
            reads,
            reads_run_tasks: self.run_tasks.is_some(),
            bind: (self.bind.iter())
                .map(|(name, text)| (name.parse().expect("a name"), Expr::parse(text).expect("ok")))
                .collect(),
            timeout: self.timeout,
            resources: self.resources,
            checks: self.checks,
            env: (self.env.iter())
                .map(|(name, value)| ((*name).to_owned(), template(value)))
                .collect(),
            workdir: self.workdir.as_ref().map(template),
            outputs: (self.outputs.into_iter())
                .map(|(name, output)| (name.parse().expect("a name"), output))
                .collect(),
            ..Task::new(
                self.name.as_deref().unwrap_or("work").parse().expect("a name"),
                "default".parse().expect("a name"),
                self.action.unwrap_or(Action::Noop),
            )
        };
        let params: IndexMap<_, _> = (self.kinds.iter())
            .map(|(name, kind)| {
                let param =
                    Param { kind: *kind, default: None, allowed: Vec::new(), description: None };
                (name.parse().expect("a name"), param)
            })
            .collect();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("an instant");
        let head = DagHead {
            timezone: "UTC".parse().expect("a zone"),
            params,
            folder: folder.to_owned(),
            ..DagHead::new("shop".parse().expect("a name"), Version::of(b"shop"))
        };
        let scope = Map::from_iter([("params".to_owned(), Value::Object(self.params.clone()))]);
        Arc::new(AttemptOrder {
            id: AttemptId {
                run: RunId { dag: "shop".parse().expect("a name"), number },
                task: TaskIx(0).into(),
                attempt: 1,
            },
            dag: Arc::new(Dag::new(head, vec![task]).expect("no cycle")),
            scope,
            params: self.params,
            interval: Some(DataInterval { start, end: start.plus(Duration::from_hours(24)) }),
            logical_time: start,
            inputs: self.inputs,
            skipped: self.skipped,
            run_tasks: self.run_tasks,
            gather: self.gather,
        })
    }
}

/// The slab: small tables by their hash.
#[derive(Default)]
pub(crate) struct Slab(pub(crate) Mutex<HashMap<String, Bytes>>);

impl SmallTables for Slab {
    fn get(&self, hash: &str) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().expect("no panic").get(hash).cloned())
    }
}

/// No connection is known.
pub(crate) struct NoConnections;

impl Connections for NoConnections {
    fn get(&self, _: &Path, name: &str) -> Result<Connection, ConnectorError> {
        Err(ConnectorError::misconfigured(format!("there is no connection `{name}`")))
    }
}

/// Secrets by name.
pub(crate) struct Known(pub(crate) Vec<(String, Secret)>);

impl Secrets for Known {
    fn get(&self, name: &str) -> Result<Secret, ConnectorError> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, s)| s.clone());
        found.ok_or_else(|| ConnectorError::misconfigured(format!("there is no secret `{name}`")))
    }

    fn values(&self) -> Vec<Secret> {
        self.0.iter().map(|(_, secret)| secret.clone()).collect()
    }
}

/// The machine's clock.
pub(crate) struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The folders of a home.
pub(crate) fn paths(home: &Path) -> HomePaths {
    HomePaths {
        tables: home.join("tables"),
        logs: home.join("logs"),
        processes: home.join("processes"),
        spill: home.join("spill"),
    }
}

/// Results in memory.
#[derive(Default)]
struct Remembered(Mutex<HashMap<String, Vec<u8>>>);

impl Results for Remembered {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.lock().expect("no panic").get(key).cloned()
    }

    fn put(&self, key: &str, value: &[u8], _expires: Timestamp) {
        self.0.lock().expect("no panic").insert(key.to_owned(), value.to_vec());
    }
}

/// Of `returns` the columns are known: `id` and `why`.
struct Told;

#[async_trait]
impl Columns for Told {
    async fn of(&self, _: &AttemptOrder, table: &str) -> Option<SchemaRef> {
        let field = |name: &str| Field::new(name, DataType::Utf8, true);
        (table == "returns").then(|| Arc::new(Schema::new(vec![field("id"), field("why")])))
    }
}

/// What an executor of this home works with.
pub(crate) fn config(
    home: &Path,
    program: &Path,
    slab: &Arc<Slab>,
    secrets: &[(&str, &str)],
    grace: Duration,
    log: LogLimits,
) -> ExecutorConfig {
    let engine = Engine::new(EngineConfig {
        memory_bytes: 64 << 20,
        threads: 1,
        spill: home.join("spill"),
        batch_rows: 8_192,
    })
    .expect("an engine");
    let named = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(*value));
    ExecutorConfig {
        registry: Registry { connectors: Vec::new(), transforms: transforms(Arc::clone(&engine)) },
        engine,
        home: paths(home),
        small: Arc::clone(slab) as _,
        connections: Arc::new(NoConnections),
        secrets: Arc::new(Known(secrets.iter().map(named).collect())),
        results: Arc::new(Remembered::default()),
        columns: Arc::new(Told),
        program: program.to_owned(),
        keep_commands: true,
        limits: ExecLimits { batch_rows: 100, grace, log },
        clock: Arc::new(Wall),
    }
}
