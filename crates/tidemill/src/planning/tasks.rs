//! One task: the columns of its tables, and what does not fit those that it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use indexmap::IndexMap;
use serde_json::{Value, json};
use tidemill_connector::connector::SharedConnector;
use tidemill_connector::{
    Beforehand, Connector, ConnectorError, Description, ErrorKind, MemoryOutputs, SchemaRef,
    SourceContext, Table, TransformContext,
};
use tidemill_connectors::dataset::{self, Dataset};
use tidemill_executor::schemas::{BAD_ROWS, RUN_TASKS, of_bad_rows, of_run_tasks};
use tidemill_model::dag::{Task, Tolerance};
use tidemill_model::lineage::TableLineage;
use tidemill_model::outputs::Output;
use tidemill_model::template::Template;
use tidemill_model::{Action, Dag, TaskIx};
use tidemill_spec::codes::{self, Code};
use tidemill_spec::{Finding, Severity, keys_of};

use super::last_run::LastRun;
use super::sources::{LOOK_MAX, Looked, columns_of, declared, literals, look};
use super::tables::{Made, Tables, empty_tables, read, table_name, table_of, together};
use super::values::{Items, Sure, Values};
use super::{FILES, Known, Planned, PlannedTable, outside};
use crate::access::Access;
use crate::node::Toolbox;

/// Goes through the tasks of a DAG.
pub(super) struct Planner<'a> {
    pub(super) dag: &'a Arc<Dag>,
    pub(super) toolbox: &'a Toolbox,
    home: Option<&'a Access>,
    /// The last run of the DAG that succeeded.
    last: Option<LastRun<'a>>,
    pub(super) values: Values,
    pub(super) planned: Planned,
}

/// Why the tables of a task are not known.
enum Unknown {
    /// In words.
    Because(String),
    /// Something is wrong, and told.
    Told,
}

impl<'a> Planner<'a> {
    pub(super) async fn new(
        dag: &'a Arc<Dag>,
        toolbox: &'a Toolbox,
        home: Option<&'a Access>,
        values: Values,
    ) -> Self {
        let last = match home {
            Some(home) => LastRun::of(home, &dag.id).await,
            None => None,
        };
        Self { dag, toolbox, home, last, values, planned: Planned::default() }
    }

    /// Plans a task; those before it are planned.
    pub(super) async fn task(&mut self, ix: TaskIx) {
        let task = self.dag.task(ix);
        match self.of_items(ix).await {
            Ok(tables) => {
                for (name, made) in tables {
                    self.keep(ix, &name, made);
                }
            }
            Err(Unknown::Told) => return,
            Err(Unknown::Because(why)) => self.planned.unknown.push((task.name.to_string(), why)),
        }
        // The table of a group is one of its members', which come behind it.
        if !task.is_group() {
            self.take_from_last_run(ix).await;
        }
        let in_group = |other: &&TaskIx| self.dag.task(**other).group == task.group;
        if let Some(group) = task.group
            && self.dag.order().iter().rev().find(in_group) == Some(&ix)
        {
            self.take_from_last_run(group).await;
        }
    }

    /// The tables of a task; of a mapped one, those of its items together.
    async fn of_items(&mut self, ix: TaskIx) -> Result<Tables, Unknown> {
        let items = match self.values.items(ix) {
            Items::None | Items::Unknown => return self.of_one(ix, None).await,
            Items::Empty => {
                let why = "the list that it is mapped over is empty".to_owned();
                return self.of_one(ix, None).await.map_err(|_| Unknown::Because(why));
            }
            Items::First(items) => items,
        };
        let is_open = self.values.has_more_items(ix) || self.is_tolerant(ix);
        let mut all: Vec<(u32, Tables)> = Vec::new();
        let mut unknown = None;
        for (item, number) in items.iter().zip(0..) {
            match self.of_one(ix, Some(item)).await {
                Ok(tables) => all.push((number, tables)),
                Err(why) => unknown = Some(why),
            }
        }
        let all = if all.is_empty() {
            None
        } else {
            match together(self.dag.task(ix).name.as_str(), all) {
                Ok(tables) => Some(tables),
                Err(error) => {
                    self.tell(ix, &["for_each"], (&codes::SETTING_TABLES, Severity::Error), *error);
                    return Err(Unknown::Told);
                }
            }
        };
        match (all, unknown) {
            (Some(tables), None) if !is_open => Ok(tables),
            // What is not known of some items may hold other columns.
            (Some(tables), _) => {
                let open = |made: Made| Made { known: made.known.max(Known::Partly), ..made };
                Ok(tables.into_iter().map(|(name, made)| (name, open(made))).collect())
            }
            (None, why) => Err(why.unwrap_or(Unknown::Told)),
        }
    }

    async fn of_one(&mut self, ix: TaskIx, item: Option<&Value>) -> Result<Tables, Unknown> {
        let task = self.dag.task(ix);
        let mut tables = match &task.action {
            Action::Ingest { connector, config } => {
                self.ingest(ix, item, connector, config).await?
            }
            Action::Transform { kind, config, .. } => {
                self.transform(ix, item, kind, config).await?
            }
            Action::Load { connector, config } => {
                if let Ok(config) = self.values.render(ix, item, config) {
                    let outside = outside::of(connector, &config);
                    self.planned.targets.insert(task.name.to_string(), outside);
                }
                return Ok(Tables::new());
            }
            Action::Run(_) => self.command(ix),
            Action::Call(call) if call.table.is_some() => {
                return Err(Unknown::Because(format!("its table is made by `{}`", call.dag)));
            }
            _ => return Ok(Tables::new()),
        };
        if let Some(main) = tables.get("").cloned().filter(|_| !task.checks.is_empty()) {
            let rejects = self.checks(ix, item, &main).await;
            tables.extend(rejects.map(|rejects| ("rejects".to_owned(), rejects)));
        }
        Ok(tables)
    }

    fn keep(&mut self, ix: TaskIx, name: &str, made: Made) {
        let task = self.dag.task(ix);
        let (name, table) = (table_name(task, name), table_of(task, made));
        self.insert(ix, name, table);
    }

    fn insert(&mut self, ix: TaskIx, name: String, table: PlannedTable) {
        let task = self.dag.task(ix);
        // A group comes before its members in the order of tasks, and its table is one of theirs.
        if let Some(group) = task.group
            && let Action::Group(outputs) = &self.dag.task(group).action
            && outputs.table.as_ref().is_some_and(|(_, table)| *table == name)
        {
            let columns = table.schema.fields().iter().map(|field| field.name().as_str());
            let lineage = TableLineage::same(&name, columns);
            let schema = table.schema.clone();
            let made = Made { schema, known: table.known, lineage: Some(lineage) };
            let group = self.dag.task(group);
            let of_group = table_of(group, made);
            self.planned.tables.insert(name, table);
            self.planned.tables.insert(group.name.to_string(), of_group);
        } else {
            self.planned.tables.insert(name, table);
        }
    }

    async fn ingest(
        &mut self,
        ix: TaskIx,
        item: Option<&Value>,
        kind: &str,
        config: &Template,
    ) -> Result<Tables, Unknown> {
        let because = |why: String| Err(Unknown::Because(why));
        let Some(connector) = self.toolbox.registry.connector(kind) else {
            return because(format!("there is no connector `{kind}`"));
        };
        let config = match self.values.render(ix, item, config) {
            Ok(config) => config,
            // What is declared holds, whatever else is not known.
            Err(why) => {
                return match declared(kind, &literals(config)) {
                    Some((schema, known)) => Ok(read(schema, known)),
                    None => because(why),
                };
            }
        };
        let source = outside::of(kind, &config);
        self.planned.sources.insert(self.dag.task(ix).name.to_string(), source);
        if kind == Dataset::NAME {
            return self.dataset(connector, config).await;
        }
        let declared = declared(kind, &config);
        if !FILES.contains(&kind) {
            return match declared {
                Some((schema, known)) => Ok(read(schema, known)),
                None => because(format!("`{kind}` tells its columns only when it is asked")),
            };
        }
        match look(Arc::clone(connector), config, self.cx()).await {
            Looked::Columns(schema) => {
                let mut tables = read(schema, Known::Now);
                if self.is_read(ix, BAD_ROWS) {
                    tables.extend(
                        read(of_bad_rows(), Known::Now)
                            .into_values()
                            .map(|bad| (BAD_ROWS.to_owned(), bad)),
                    );
                }
                Ok(tables)
            }
            Looked::Missing(error) => {
                if let Some((schema, known)) = declared {
                    return Ok(read(schema, known));
                }
                let what = (&codes::SOURCE_UNREAD, Severity::Warning);
                if let Some(writer) = self.writer_before(ix) {
                    return because(format!("`{writer}` may write what it reads"));
                }
                if !self.is_tolerant(ix) && self.dag.task(ix).when.is_none() {
                    self.tell(ix, &["ingest", kind], what, error);
                }
                because("there is nothing to read now".to_owned())
            }
            Looked::Wrong(error) => {
                // What lies there may be another at another hour; what a setting names is wrong.
                let what = match error.blame {
                    Some(_) if self.may_be_skipped(ix) => {
                        (&codes::SETTING_TABLES, Severity::Warning)
                    }
                    Some(_) => (&codes::SETTING_TABLES, Severity::Error),
                    None => (&codes::SOURCE_UNREAD, Severity::Warning),
                };
                self.tell(ix, &["ingest", kind], what, error);
                Err(Unknown::Told)
            }
            Looked::Slow => because("its files take long to look at".to_owned()),
        }
    }

    /// What another DAG made last, as the home tells it.
    async fn dataset(&self, connector: &SharedConnector, config: Value) -> Result<Tables, Unknown> {
        let name = config["name"].as_str().unwrap_or_default().to_owned();
        let last = match (self.home, dataset::parts(&name)) {
            (Some(home), Ok((dag, table))) => match LastRun::of(home, &dag).await {
                Some(last) => last.schema(table).await,
                None => None,
            },
            // In a run that is under way the home is open.
            _ => match look(Arc::clone(connector), config, self.cx()).await {
                Looked::Columns(schema) => Some(schema),
                Looked::Missing(_) | Looked::Wrong(_) | Looked::Slow => None,
            },
        };
        match last {
            Some(schema) => Ok(read(schema, Known::LastRun)),
            None => Err(Unknown::Because(format!("no run has made `{name}` here yet"))),
        }
    }

    fn cx(&self) -> SourceContext {
        // Messages name the folder, and `.` is no name to a reader.
        let folder = std::path::absolute(&self.dag.folder).unwrap_or(self.dag.folder.clone());
        SourceContext { batch_rows: 1, folder, connection: None }
    }

    async fn transform(
        &mut self,
        ix: TaskIx,
        item: Option<&Value>,
        kind: &str,
        config: &Template,
    ) -> Result<Tables, Unknown> {
        let Some(transform) = self.toolbox.registry.transform(kind) else {
            return Err(Unknown::Because(format!("there is no transform `{kind}`")));
        };
        let config = self.values.render(ix, item, config).map_err(Unknown::Because)?;
        let task = self.dag.task(ix);
        let text = config.to_string();
        let (inputs, known) = self.inputs(task, &text).map_err(Unknown::Because)?;
        let (binds, sure) = self.values.binds(ix, task, item);
        let sure = least_sure(&sure, &text);
        let before = Beforehand { tables: &inputs, binds: &binds, folder: &self.dag.folder };
        let described = transform.describe_any(config.clone(), before).await;
        let Description { tables, errors, mut lineage, notes } = described
            .unwrap_or_else(|error| Description { errors: vec![error], ..Description::default() });
        for note in notes {
            let cartesian = (&codes::CARTESIAN, Severity::Warning);
            self.tell(ix, &["transform", kind], cartesian, note);
        }
        let code = if kind == "sql" { &codes::SQL_TABLES } else { &codes::SETTING_TABLES };
        let is_wrong = !errors.is_empty();
        let mut unknown = Unknown::Because("it depends on values of a run".to_owned());
        for error in errors {
            if self.tell_if(ix, &["transform", kind], (code, known, sure), error) {
                unknown = Unknown::Told;
            }
        }
        // A null that stands for anything has no type, and who reads it knows none either.
        let known_after = if sure == Sure::Nothing { known.max(Known::Guessed) } else { known };
        let made = |schema: SchemaRef, lineage| Made { schema, known: known_after, lineage };
        if is_wrong || !tables.is_empty() {
            let tables = tables.into_iter().map(|(name, schema)| {
                let lineage = lineage.remove(&name);
                (name, made(schema, lineage))
            });
            let tables: Tables = tables.collect();
            return if tables.is_empty() { Err(unknown) } else { Ok(tables) };
        }
        let outputs = MemoryOutputs::default();
        let cx = TransformContext {
            tables: empty_tables(&inputs),
            binds,
            outputs: Arc::new(outputs.clone()),
            folder: self.dag.folder.clone(),
        };
        match tokio::time::timeout(LOOK_MAX, transform.run_any(config, cx)).await {
            Ok(Ok(())) => {
                let tables = outputs.names().into_iter().filter_map(|name| {
                    let schema = outputs.table(&name)?.schema();
                    let lineage = lineage.remove(&name);
                    Some((name, made(schema, lineage)))
                });
                Ok(tables.collect())
            }
            Ok(Err(error)) => {
                if self.tell_if(ix, &["transform", kind], (code, known, sure), error) {
                    unknown = Unknown::Told;
                }
                Err(unknown)
            }
            Err(_) => Err(Unknown::Because("it takes long to look at".to_owned())),
        }
    }

    /// Of the tables of a command, the columns that are declared are known; there may be others.
    fn command(&self, ix: TaskIx) -> Tables {
        let task = self.dag.task(ix);
        let tables = task.outputs.iter().filter_map(|(name, output)| {
            let Output::Table { columns, .. } = output else { return None };
            let schema = Arc::new(Schema::new(columns_of(&json!(columns))?));
            let own = if name.as_str() == task.name.short() { "" } else { name.as_str() };
            Some((own.to_owned(), Made { schema, known: Known::Partly, lineage: None }))
        });
        tables.collect()
    }

    /// The columns of the tables that a task reads, by the names that its settings use, and how
    /// surely they are known; why not, if one is not known that `text` names.
    pub(super) fn inputs(
        &self,
        task: &Task,
        text: &str,
    ) -> Result<(IndexMap<String, SchemaRef>, Known), String> {
        let mut inputs = IndexMap::new();
        let mut known = Known::Now;
        for read in &task.reads {
            match self.planned.tables.get(&read.table) {
                Some(table) => {
                    known = known.max(table.known);
                    inputs.insert(read.alias.clone(), table.schema.clone());
                }
                None if !has_word(text, &read.alias) => {}
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
        let Some(last) = &self.last else { return };
        let mut found = Vec::new();
        let name = self.dag.task(ix).name.to_string();
        let mut wanted: Vec<String> = vec![name.clone()];
        let reads = self.dag.tasks().iter().flat_map(|task| &task.reads);
        wanted.extend(reads.filter(|read| read.task == ix).map(|read| read.table.clone()));
        for table in wanted {
            if !self.planned.tables.contains_key(&table)
                && let Some(schema) = last.schema(&table).await
            {
                found.push((table, schema));
            }
        }
        for (table, schema) in found {
            let of_last = PlannedTable { schema, known: Known::LastRun, lineage: None };
            self.insert(ix, table, of_last);
            self.planned.unknown.retain(|(task, _)| *task != name);
        }
    }

    fn is_read(&self, ix: TaskIx, output: &str) -> bool {
        let table = table_name(self.dag.task(ix), output);
        self.dag.tasks().iter().any(|task| task.reads.iter().any(|read| read.table == table))
    }

    /// A task that comes before an ingest and may write what it reads.
    fn writer_before(&self, ix: TaskIx) -> Option<&'a str> {
        let dag: &'a Dag = self.dag;
        let mut open = vec![ix];
        let mut seen = BTreeSet::from([ix]);
        while let Some(ix) = open.pop() {
            let task = dag.task(ix);
            let mut before: Vec<TaskIx> = task.upstream.iter().map(|edge| edge.task).collect();
            before.extend(before.clone().iter().flat_map(|ix| dag.members(*ix)));
            before.extend(task.group);
            for ix in before.into_iter().filter(|ix| seen.insert(*ix)).collect::<Vec<_>>() {
                let task = dag.task(ix);
                if matches!(task.action, Action::Load { .. } | Action::Run(_) | Action::Call(_)) {
                    return Some(task.name.as_str());
                }
                open.push(ix);
            }
        }
        None
    }

    /// Whether an item of it may fail.
    fn is_tolerant(&self, ix: TaskIx) -> bool {
        let mapping = self.dag.root(ix).and_then(|root| self.dag.task(root).mapping.as_ref());
        mapping.is_some_and(|mapping| mapping.tolerate != Tolerance::Nothing)
    }

    /// Whether an item of it may fail, or may not go at all, or there is none.
    fn may_be_skipped(&self, ix: TaskIx) -> bool {
        let when = self.dag.task(ix).when.as_ref();
        let of_item = |path: &[String]| path[0] == "item";
        let reads_item =
            when.is_some_and(|when| when.references().iter().any(|path| of_item(path)));
        let has_none = matches!(self.values.items(ix), Items::Empty);
        self.is_tolerant(ix) || reads_item || has_none
    }

    /// Adds what an error says of a part of a task, if what was known lets it stand; whether it does.
    pub(super) fn tell_if(
        &mut self,
        ix: TaskIx,
        part: &[&str],
        (code, known, sure): (&'static Code, Known, Sure),
        error: ConnectorError,
    ) -> bool {
        let is_of_values = error.kind != ErrorKind::Misconfigured;
        let misses = error.blame.as_ref().is_some_and(|blame| blame.missing.is_some());
        let may_be_fine = match sure {
            Sure::Value => false,
            Sure::Type => is_of_values,
            Sure::Nothing => !misses,
        };
        let is_guess = known == Known::Guessed && !misses;
        if may_be_fine || is_guess || (known == Known::Partly && misses) {
            return false;
        }
        let is_sure = matches!(known, Known::Now | Known::Guessed) && !self.may_be_skipped(ix);
        let severity = if is_sure { Severity::Error } else { Severity::Warning };
        self.tell(ix, part, (code, severity), error);
        true
    }

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
        let (line_column, entry) = (blame.line_column, blame.missing);
        let finding = Finding { code, severity, keys, line_column, entry, message, help };
        // Items say the same.
        if !self.planned.findings.contains(&finding) {
            self.planned.findings.push(finding);
        }
    }
}

/// Whether a text has a name, and not only a longer one.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// How sure the least sure of the `$names` is that a text uses.
pub(super) fn least_sure(binds: &[(String, Sure)], text: &str) -> Sure {
    let used = binds.iter().filter(|(name, _)| has_word(text, &format!("${name}")));
    used.map(|(_, sure)| *sure).max().unwrap_or(Sure::Value)
}
