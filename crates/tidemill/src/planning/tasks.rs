//! One task: the columns of its tables, and what does not fit those that it reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_connector::{
    ConnectorError, Description, ErrorKind, MemoryOutputs, MemoryTable, SchemaRef, SourceContext,
    Table, TransformContext,
};
use tidemill_connectors::ColumnType;
use tidemill_executor::schemas::{BAD_ROWS, RUN_TASKS, of_bad_rows, of_run_tasks, with_item};
use tidemill_model::dag::{OnFail, Task};
use tidemill_model::lineage::{ColumnName, Origins, TableLineage};
use tidemill_model::outputs::Output;
use tidemill_model::template::Template;
use tidemill_model::{Action, Dag, TaskIx, Timestamp};
use tidemill_spec::codes::{self, Code};
use tidemill_spec::{Finding, Severity, keys_of};
use tidemill_sql::{CheckRequest, run_checks};

use super::last_run::LastRun;
use super::values::Values;
use super::{FILES, Known, Planned, PlannedTable, outside};
use crate::node::Toolbox;

/// What takes longer to look at is left unknown.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Goes through the tasks of a DAG.
pub(super) struct Planner<'a> {
    dag: &'a Arc<Dag>,
    toolbox: &'a Toolbox,
    last: Option<&'a LastRun<'a>>,
    values: Values,
    pub(super) planned: Planned,
}

/// A table as a task makes it: what stands behind the task's name, columns, lineage in the names
/// that the task's settings use, and how surely it is known.
type Made = (String, SchemaRef, Option<TableLineage>, Known);

/// Why the tables of a task are not known.
enum Unknown {
    /// In words.
    Because(String),
    /// Something is wrong, and told.
    Told,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        dag: &'a Arc<Dag>,
        toolbox: &'a Toolbox,
        last: Option<&'a LastRun<'a>>,
        now: Timestamp,
    ) -> Self {
        let values = Values::new(dag, now);
        Self { dag, toolbox, last, values, planned: Planned::default() }
    }

    /// Plans a task; those before it are planned.
    pub(super) async fn task(&mut self, ix: TaskIx) {
        let task = self.dag.task(ix);
        if let Action::Ingest { connector, config } | Action::Load { connector, config } =
            &task.action
            && let Ok(config) = self.values.render(ix, config)
        {
            self.planned.outside.insert(task.name.to_string(), outside::of(connector, &config));
        }
        let made = match &task.action {
            Action::Ingest { connector, config } => self.ingest(ix, connector, config).await,
            Action::Transform { kind, config, .. } => self.transform(ix, kind, config).await,
            Action::Run(_) => Ok(self.command(ix)),
            Action::Group(group) => {
                let member =
                    group.table.as_ref().and_then(|(_, name)| self.planned.tables.get(name));
                let same =
                    |table: &PlannedTable| (String::new(), table.schema.clone(), None, table.known);
                Ok(member.map(same).into_iter().collect())
            }
            Action::Call(call) if call.table.is_some() => {
                Err(Unknown::Because(format!("its table is made by `{}`", call.dag)))
            }
            _ => Ok(Vec::new()),
        };
        match made {
            Ok(made) => {
                for (name, schema, lineage, known) in made {
                    self.keep(ix, &name, (schema, known), lineage);
                }
                if !task.checks.is_empty() {
                    self.checks(ix).await;
                }
            }
            Err(Unknown::Told) => {}
            Err(Unknown::Because(why)) => self.planned.unknown.push((task.name.to_string(), why)),
        }
        self.take_from_last_run(ix).await;
    }

    fn keep(
        &mut self,
        ix: TaskIx,
        name: &str,
        (schema, known): (SchemaRef, Known),
        lineage: Option<TableLineage>,
    ) {
        let task = self.dag.task(ix);
        let lineage = lineage.map(|lineage| in_tables(&lineage, task));
        let schema = match task.mapping {
            Some(_) => with_item(schema.fields().iter().map(|field| field.as_ref().clone())),
            None => schema,
        };
        let table = PlannedTable { schema, known, lineage };
        self.planned.tables.insert(table_name(task, name), table);
    }

    async fn ingest(
        &mut self,
        ix: TaskIx,
        kind: &str,
        config: &Template,
    ) -> Result<Vec<Made>, Unknown> {
        let Some(connector) = self.toolbox.registry.connector(kind) else {
            return Err(Unknown::Because(format!("there is no connector `{kind}`")));
        };
        if !FILES.contains(&kind) {
            return Err(Unknown::Because(format!(
                "`{kind}` tells its columns only when it is asked"
            )));
        }
        let config = self.values.render(ix, config).map_err(Unknown::Because)?;
        // Messages name the folder, and `.` is no name to a reader.
        let folder = std::path::absolute(&self.dag.folder).unwrap_or(self.dag.folder.clone());
        let cx = SourceContext { batch_rows: 1, folder, connection: None };
        let declared = config.get("columns").and_then(declared);
        match tokio::time::timeout(LOOK_MAX, connector.open_source(config, cx)).await {
            Ok(Ok(source)) => {
                let nothing = || Some(TableLineage::default());
                let bad = (BAD_ROWS.to_owned(), of_bad_rows(), nothing(), Known::Now);
                let main = (String::new(), source.schema(), nothing(), Known::Now);
                let bad = self.is_read(ix, BAD_ROWS).then_some(bad);
                Ok([main].into_iter().chain(bad).collect())
            }
            Ok(Err(error)) => {
                // A file may be there at another hour; a column that it does not have is wrong now.
                let blames = error.blame.is_some();
                if let Some(schema) = declared.filter(|_| !blames) {
                    let lineage = Some(TableLineage::default());
                    return Ok(vec![(String::new(), schema, lineage, Known::Declared)]);
                }
                let code = if blames { &codes::SETTING_TABLES } else { &codes::SOURCE_UNREAD };
                let severity = if blames { Severity::Error } else { Severity::Warning };
                self.tell(ix, &["ingest", kind], (code, severity), error);
                Err(Unknown::Told)
            }
            Err(_) => Err(Unknown::Because("its files take long to look at".to_owned())),
        }
    }

    async fn transform(
        &mut self,
        ix: TaskIx,
        kind: &str,
        config: &Template,
    ) -> Result<Vec<Made>, Unknown> {
        let Some(transform) = self.toolbox.registry.transform(kind) else {
            return Err(Unknown::Because(format!("there is no transform `{kind}`")));
        };
        let config = self.values.render(ix, config).map_err(Unknown::Because)?;
        let task = self.dag.task(ix);
        let (inputs, known) = self.inputs(task).map_err(Unknown::Because)?;
        let (binds, certain) = self.values.binds(ix, task);
        let outputs = MemoryOutputs::default();
        let cx = TransformContext {
            tables: empty_tables(&inputs),
            binds: binds.clone(),
            outputs: Arc::new(outputs.clone()),
            folder: self.dag.folder.clone(),
        };
        let look = async {
            transform.run_any(config.clone(), cx).await?;
            transform.describe_any(config, &inputs, &binds).await
        };
        let code = if kind == "sql" { &codes::SQL_TABLES } else { &codes::SETTING_TABLES };
        match tokio::time::timeout(LOOK_MAX, look).await {
            Ok(Ok(Description { lineage, notes })) => {
                for note in notes {
                    let cartesian = (&codes::CARTESIAN, Severity::Warning);
                    self.tell(ix, &["transform", kind], cartesian, note);
                }
                Ok(made_by(&outputs, lineage, known))
            }
            Ok(Err(error)) if !certain && error.kind != ErrorKind::Misconfigured => {
                Err(Unknown::Because("it depends on params and values of a run".to_owned()))
            }
            Ok(Err(error)) => {
                self.tell(ix, &["transform", kind], (code, known.severity()), error);
                Err(Unknown::Told)
            }
            Err(_) => Err(Unknown::Because("it takes long to look at".to_owned())),
        }
    }

    /// Of the tables of a command, the columns that are declared are known.
    fn command(&self, ix: TaskIx) -> Vec<Made> {
        let tables = self.dag.task(ix).outputs.iter().filter_map(|(name, output)| match output {
            Output::Table { columns, .. } => Some((name, declared(&json!(columns))?)),
            Output::Value(_) => None,
        });
        tables.map(|(name, schema)| (name.to_string(), schema, None, Known::Declared)).collect()
    }

    async fn checks(&mut self, ix: TaskIx) {
        let task = self.dag.task(ix);
        let Some(main) = self.planned.tables.get(task.name.as_str()) else { return };
        let (schema, known) = (main.schema.clone(), main.known);
        // A check of SQL may read tables that are not known.
        let Ok((inputs, _)) = self.inputs(task) else { return };
        let (binds, certain) = self.values.binds(ix, task);
        let outputs = MemoryOutputs::default();
        let request = CheckRequest {
            task: task.name.as_str(),
            table: Arc::new(MemoryTable::new(schema.clone(), Vec::new())),
            tables: &empty_tables(&inputs),
            checks: &task.checks,
            binds: &binds,
            outputs: &outputs,
        };
        match run_checks(&self.toolbox.engine, request).await {
            Err(error) if certain || error.kind == ErrorKind::Misconfigured => {
                self.tell(ix, &["checks"], (&codes::CHECK_TABLES, known.severity()), error);
            }
            _ => {}
        }
        let quarantines = task.checks.iter().any(|check| check.on_fail == OnFail::Quarantine);
        if let Some(rejects) = outputs.table("rejects").filter(|_| quarantines) {
            let own = task.name.as_str();
            let columns = schema.fields().iter().map(|field| field.name().as_str());
            let lineage = TableLineage::same(own, columns);
            let table = PlannedTable { schema: rejects.schema(), known, lineage: Some(lineage) };
            self.planned.tables.insert(table_name(task, "rejects"), table);
        }
    }

    /// The columns of the tables that a task reads, by the names that its settings use, and how surely
    /// they are known; why not, if one of them is not known.
    fn inputs(&self, task: &Task) -> Result<(IndexMap<String, SchemaRef>, Known), String> {
        let mut inputs = IndexMap::new();
        let mut known = Known::Now;
        for read in &task.reads {
            match self.planned.tables.get(&read.table) {
                Some(table) => {
                    known = known.max(table.known);
                    inputs.insert(read.alias.clone(), table.schema.clone());
                }
                None => return Err(format!("the columns of `{}` are not known", read.table)),
            }
        }
        if task.reads_run_tasks {
            inputs.insert(RUN_TASKS.to_owned(), of_run_tasks());
        }
        Ok((inputs, known))
    }

    /// Takes what others read of a task, and is not known, from the last run.
    async fn take_from_last_run(&mut self, ix: TaskIx) {
        let Some(last) = self.last else { return };
        let name = self.dag.task(ix).name.to_string();
        let mut wanted: Vec<String> = vec![name.clone()];
        let reads = self.dag.tasks().iter().flat_map(|task| &task.reads);
        wanted.extend(reads.filter(|read| read.task == ix).map(|read| read.table.clone()));
        for table in wanted {
            if !self.planned.tables.contains_key(&table)
                && let Some(schema) = last.schema(&table).await
            {
                let table_of = PlannedTable { schema, known: Known::LastRun, lineage: None };
                self.planned.tables.insert(table, table_of);
                self.planned.unknown.retain(|(task, _)| *task != name);
            }
        }
    }

    fn is_read(&self, ix: TaskIx, output: &str) -> bool {
        let table = table_name(self.dag.task(ix), output);
        self.dag.tasks().iter().any(|task| task.reads.iter().any(|read| read.table == table))
    }

    /// Adds what an error says of a part of a task.
    fn tell(
        &mut self,
        ix: TaskIx,
        part: &[&str],
        (code, severity): (&'static Code, Severity),
        error: ConnectorError,
    ) {
        let ConnectorError { message, help, blame, place, .. } = error;
        let blame = blame.map(|blame| *blame).unwrap_or_default();
        let mut keys = keys_of(self.dag, ix);
        keys.extend(part.iter().map(ToString::to_string));
        keys.extend(blame.keys);
        let message = match (blame.line_column, place) {
            (None, Some(place)) => format!("{message} ({place})"),
            _ => message,
        };
        let line_column = blame.line_column;
        self.planned.findings.push(Finding { code, severity, keys, line_column, message, help });
    }
}

/// The name in the DAG of a table of a task.
pub(super) fn table_name(task: &Task, output: &str) -> String {
    if output.is_empty() { task.name.to_string() } else { format!("{}.{output}", task.name) }
}

/// Tables of these columns without rows.
fn empty_tables(schemas: &IndexMap<String, SchemaRef>) -> IndexMap<String, Arc<dyn Table>> {
    let empty = |schema: &SchemaRef| Arc::new(MemoryTable::new(schema.clone(), Vec::new())) as _;
    schemas.iter().map(|(name, schema)| (name.clone(), empty(schema))).collect()
}

/// What a transform left, with its lineage.
fn made_by(
    outputs: &MemoryOutputs,
    mut lineage: BTreeMap<String, TableLineage>,
    known: Known,
) -> Vec<Made> {
    let made = |name: String| {
        let schema = outputs.table(&name)?.schema();
        let lineage = lineage.remove(&name);
        Some((name, schema, lineage, known))
    };
    outputs.names().into_iter().filter_map(made).collect()
}

/// The same lineage in the names of the DAG's tables.
fn in_tables(lineage: &TableLineage, task: &Task) -> TableLineage {
    let table = |name: &ColumnName| {
        let read = task.reads.iter().find(|read| read.alias == name.table)?;
        Some(Origins::identity(&read.table, &name.column))
    };
    let columns = lineage.columns.iter();
    TableLineage {
        columns: columns.map(|(name, origins)| (name.clone(), origins.through(table))).collect(),
        rows: lineage.rows.through(table),
    }
}

/// The columns of a setting `{NAME: TYPE}`, if all the types are known.
fn declared(columns: &Value) -> Option<SchemaRef> {
    let field = |(name, of): (&String, &Value)| {
        let of: ColumnType = of.as_str()?.parse().ok()?;
        Some(Field::new(name, of.data_type(), true))
    };
    let columns = columns.as_object().filter(|columns| !columns.is_empty())?;
    let fields = columns.iter().map(field).collect::<Option<Vec<_>>>()?;
    Some(Arc::new(Schema::new(fields)))
}
