//! The columns of a DAG's tables, as far as they are known before anything runs: from the files
//! that are there, through the queries that read them.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_connector::{SchemaRef, SourceContext};
use tidemill_model::dag::{ParamKind, Task};
use tidemill_model::expr::Scope;
use tidemill_model::{Action, Dag, Timestamp};
use tidemill_sql::{CleanConfig, SqlConfig, clean};

use crate::node::Toolbox;

/// Connectors whose columns can be told without asking another system.
const FILES: [&str; 3] = ["csv", "jsonl", "parquet"];

/// A file that takes longer to look at is left unknown.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Tables with their columns; what is not here is not known yet.
#[derive(Default)]
pub(crate) struct Schemas {
    tables: IndexMap<String, SchemaRef>,
    problems: Vec<String>,
}

impl Schemas {
    /// As JSON: tables, and under each its columns with their types.
    pub(crate) fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|(name, schema)| {
            let columns = schema.fields().iter().map(|field| {
                (field.name().clone(), tidemill_connectors::type_name(field.data_type()).into())
            });
            (name.clone(), Value::Object(columns.collect()))
        });
        json!({"schemas": Value::Object(tables.collect::<Map<_, _>>()), "problems": self.problems})
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.tables.is_empty() {
            text.push_str("\ntables, as far as they are known before a run:\n");
        }
        for (name, schema) in &self.tables {
            let columns: Vec<String> = (schema.fields().iter())
                .map(|field| {
                    let kind = tidemill_connectors::type_name(field.data_type());
                    format!("{} {kind}", field.name())
                })
                .collect();
            text.push_str(&format!("  {name}: {}\n", columns.join(", ")));
        }
        for problem in &self.problems {
            text.push_str(&format!("\nwarning: {problem}\n"));
        }
        text
    }
}

/// The columns of a DAG's tables, with the params' defaults.
pub(crate) async fn of_dag(dag: &Dag, toolbox: &Toolbox) -> Schemas {
    let mut schemas = Schemas::default();
    let mut scope = Scope::new();
    let params = dag.params_of(&Map::new()).unwrap_or_default();
    scope.insert("params".to_owned(), Value::Object(params.clone()));
    for ix in dag.order() {
        let task = dag.task(*ix);
        let found = match &task.action {
            Action::Ingest { connector, config } if FILES.contains(&connector.as_str()) => {
                match config.render(&scope) {
                    Ok(config) => ingest(dag, connector, config, toolbox).await,
                    Err(_) => continue,
                }
            }
            Action::Transform { kind, config, .. } if task.bind.is_empty() => {
                match config.render(&scope) {
                    Ok(config) => {
                        transform(dag, task, kind, config, &params, &schemas, toolbox).await
                    }
                    Err(_) => continue,
                }
            }
            _ => continue,
        };
        match found {
            Ok(tables) => schemas
                .tables
                .extend(tables.into_iter().map(|(name, schema)| (table_name(task, &name), schema))),
            Err(problem) => schemas.problems.push(format!("task `{}`: {problem}", task.name)),
        }
    }
    schemas
}

fn table_name(task: &Task, output: &str) -> String {
    if output.is_empty() { task.name.to_string() } else { format!("{}.{output}", task.name) }
}

type Found = Result<Vec<(String, SchemaRef)>, String>;

async fn ingest(dag: &Dag, connector: &str, config: Value, toolbox: &Toolbox) -> Found {
    let Some(connector) = toolbox.registry.connector(connector) else { return Ok(Vec::new()) };
    // Messages name the folder, and `.` is no name to a reader.
    let folder = std::path::absolute(&dag.folder).unwrap_or_else(|_| dag.folder.clone());
    let cx = SourceContext { batch_rows: 1, folder, connection: None };
    match tokio::time::timeout(LOOK_MAX, connector.open_source(config, cx)).await {
        Ok(Ok(source)) => Ok(vec![(String::new(), source.schema())]),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Ok(Vec::new()),
    }
}

async fn transform(
    dag: &Dag,
    task: &Task,
    kind: &str,
    config: Value,
    params: &Map<String, Value>,
    schemas: &Schemas,
    toolbox: &Toolbox,
) -> Found {
    let mut inputs = IndexMap::new();
    for read in &task.reads {
        match schemas.tables.get(&read.table) {
            Some(schema) => _ = inputs.insert(read.alias.clone(), schema.clone()),
            // What follows from an unknown table is unknown.
            None => return Ok(Vec::new()),
        }
    }
    if task.reads_run_tasks {
        return Ok(Vec::new());
    }
    let binds = binds(dag, params);
    match kind {
        "sql" => {
            let queries = match serde_json::from_value::<SqlConfig>(config) {
                Ok(SqlConfig::One(sql)) => vec![(String::new(), sql)],
                Ok(SqlConfig::Several(queries)) => queries.into_iter().collect(),
                Err(error) => return Err(error.to_string()),
            };
            let mut found = Vec::new();
            for (name, sql) in queries {
                let schema = toolbox.engine.schema(&sql, &inputs, &binds).await;
                found.push((name, schema.map_err(|error| error.to_string())?));
            }
            Ok(found)
        }
        "clean" => {
            let config: CleanConfig =
                serde_json::from_value(config).map_err(|error| error.to_string())?;
            let Some(input) = inputs.get(&config.from) else { return Ok(Vec::new()) };
            clean::output_schema(&toolbox.engine, &config, input, &binds)
                .map(|schema| vec![(String::new(), schema)])
                .map_err(|error| error.to_string())
        }
        _ => Ok(Vec::new()),
    }
}

/// Values of the types that a run binds; which values they are does not matter for columns.
fn binds(dag: &Dag, params: &Map<String, Value>) -> BTreeMap<String, Value> {
    let instant = |at: Timestamp| json!({"$timestamp": at.as_micros()});
    let mut binds: BTreeMap<String, Value> = BTreeMap::new();
    for name in ["interval_start", "interval_end", "logical_time"] {
        binds.insert(name.to_owned(), instant(Timestamp::default()));
    }
    binds.insert("run_id".to_owned(), Value::from(format!("{}.1", dag.id)));
    for (name, param) in &dag.params {
        let given = params.get(name.as_str()).cloned().unwrap_or(Value::Null);
        let text = given.as_str().unwrap_or("1970-01-01");
        let value = match param.kind {
            ParamKind::Timestamp => instant(text.parse().unwrap_or_default()),
            ParamKind::Date => json!({"$date": text}),
            _ => given,
        };
        binds.insert(name.to_string(), value);
    }
    binds
}
