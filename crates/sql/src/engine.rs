//! [`Engine`]: queries and expressions over tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::planner::SqlToRel;
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connector::{ConnectorError, Table};
use tidemill_model::lineage::TableLineage;
use tokio::runtime::Runtime;

use crate::bounds::{Budget, bound_functions, bound_plan};
use crate::cartesian;
use crate::error::{broken, explain};
use crate::expr::RowExpr;
use crate::lineage::{is_function, lineage_of};
use crate::names::Names;
use crate::parse;
use crate::rows::{Rows, Task, panic_text};
use crate::scan::Readable;
use crate::session::{parser_options, session};
use crate::slices::sliced;
use crate::turns::{Wanted, take_turns};
use crate::types::Shape;

/// Deep trees are walked recursively, in frames that are large without optimisation.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// Settings of an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Memory that one query may use before it sets rows aside on disk, or fails where it cannot.
    ///
    /// It is meant per query, so that a query behaves the same whatever runs beside it; the number
    /// of queries at a time is bounded by the slots of the pools.
    pub memory_bytes: usize,
    /// Threads for the work of all queries; at least 1.
    pub threads: usize,
    /// The folder for rows set aside. It is created; after a crash its owner empties it.
    pub spill: PathBuf,
    /// Rows in a batch, as a rule.
    pub batch_rows: usize,
}

/// Runs SQL over tables, on threads of its own.
///
/// Results are repeatable: the same query over the same tables, with the same settings, gives the
/// same rows in the same order, and sums of floats that are equal to the last bit. To that end a
/// query is one stream of batches in row order, but for aggregates whose result cannot depend on
/// it; other threads read its files ahead and write its results, and other queries run beside it.
pub struct Engine {
    shared: Arc<Shared>,
    // `None` only while it is dropped.
    runtime: Option<Runtime>,
}

struct Shared {
    state: SessionState,
    env: RuntimeEnv,
    memory_bytes: usize,
}

impl Engine {
    /// Starts an engine.
    pub fn new(config: EngineConfig) -> Result<Arc<Self>, ConnectorError> {
        let EngineConfig { memory_bytes, threads, spill, batch_rows } = config;
        std::fs::create_dir_all(&spill)
            .map_err(|e| ConnectorError::io("create the folder", &spill, &e))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("tidemill-sql")
            .thread_stack_size(STACK_BYTES)
            .build()
            .map_err(|e| ConnectorError::internal(format!("cannot start SQL threads: {e}")))?;
        let env = RuntimeEnvBuilder::new()
            .with_temp_file_path(spill)
            .build()
            .map_err(|e| explain(&e, memory_bytes))?;
        let state = session(batch_rows, memory_bytes);
        let shared = Arc::new(Shared { state, env, memory_bytes });
        Ok(Arc::new(Self { shared, runtime: Some(runtime) }))
    }

    /// Memory that one query may use, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory_bytes
    }

    /// Starts a query over tables, by the names that its text uses. `binds` are the values of its
    /// `$names`: JSON texts, numbers, booleans and nulls, `{"$timestamp": µs}` for an instant in
    /// UTC and `{"$date": "2026-03-01"}` for a day.
    pub async fn query(
        &self,
        sql: &str,
        tables: &IndexMap<String, Arc<dyn Table>>,
        binds: &BTreeMap<String, Value>,
    ) -> Result<Rows, ConnectorError> {
        let statement = (sql.to_owned(), binds.clone());
        let readable: Vec<_> =
            tables.iter().map(|(n, t)| (n.clone(), Readable::table(t.clone()))).collect();
        let shared = self.shared.clone();
        let runtime = self.runtime()?.clone();
        let handle = runtime.clone();
        Task(runtime.spawn(async move {
            let plan = shared.plan(statement, readable).await?;
            shared.start(plan, &handle)
        }))
        .join()
        .await?
    }

    /// What a query gives, without running it.
    pub async fn describe(
        &self,
        sql: &str,
        schemas: &IndexMap<String, SchemaRef>,
        binds: &BTreeMap<String, Value>,
    ) -> Result<Described, ConnectorError> {
        let statement = (sql.to_owned(), binds.clone());
        let readable: Vec<_> =
            schemas.iter().map(|(n, s)| (n.clone(), Readable::schema_only(s))).collect();
        let shared = self.shared.clone();
        Task(self.runtime()?.spawn(async move { shared.describe(statement, readable).await }))
            .join()
            .await?
    }

    /// Compiles an expression over the columns of `schema`.
    pub fn compile(
        &self,
        expr: &str,
        schema: &SchemaRef,
        binds: &BTreeMap<String, Value>,
    ) -> Result<RowExpr, ConnectorError> {
        let shared = &self.shared;
        on_deep_stack(|| {
            let mut state = shared.state.clone();
            state.mark_start_execution();
            let budget = Budget::new(shared.memory_bytes);
            bound_functions(&mut state, &budget);
            RowExpr::compile(&state, &budget, expr, schema, binds)
        })
    }

    /// Compiles an expression that must be a condition: true, false or null.
    pub fn condition(
        &self,
        expr: &str,
        schema: &SchemaRef,
        binds: &BTreeMap<String, Value>,
    ) -> Result<RowExpr, ConnectorError> {
        let compiled = self.compile(expr, schema, binds)?;
        compiled.require_condition()?;
        Ok(compiled)
    }

    fn runtime(&self) -> Result<&tokio::runtime::Handle, ConnectorError> {
        self.runtime.as_ref().map(Runtime::handle).ok_or_else(ConnectorError::cancelled)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Waiting for threads is not allowed inside another runtime, where engines may be dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("memory_bytes", &self.shared.memory_bytes)
            .finish_non_exhaustive()
    }
}

/// What is known of a query before it runs.
#[derive(Debug)]
pub struct Described {
    /// The columns that it gives.
    pub schema: SchemaRef,
    /// Where they come from.
    pub lineage: TableLineage,
    /// What its author should look at again: a join without a condition.
    pub notes: Vec<ConnectorError>,
}

/// A query as a plan that can be optimized, and the session it was planned in.
struct Drawn {
    logical: LogicalPlan,
    state: SessionState,
    budget: Arc<Budget>,
}

/// A query, ready to run.
struct Plan {
    physical: Arc<dyn ExecutionPlan>,
    shape: Shape,
    reads: Vec<String>,
    state: SessionState,
    wanted: Wanted,
}

impl Shared {
    fn draw(
        &self,
        (sql, binds): (&str, &BTreeMap<String, Value>),
        tables: Vec<(String, Readable)>,
    ) -> Result<Drawn, ConnectorError> {
        let statement = parse::query(sql, binds)?;
        let mut state = self.state.clone();
        state.mark_start_execution();
        let budget = Budget::new(self.memory_bytes);
        bound_functions(&mut state, &budget);
        let logical = {
            let names = Names::new(&state, tables);
            SqlToRel::new_with_options(&names, parser_options())
                .sql_statement_to_plan(statement)
                .map_err(|e| explain(&e, self.memory_bytes))?
        };
        Ok(Drawn { logical, state, budget })
    }

    async fn plan(
        &self,
        (sql, binds): (String, BTreeMap<String, Value>),
        tables: Vec<(String, Readable)>,
    ) -> Result<Plan, ConnectorError> {
        let explained = |e: DataFusionError| explain(&e, self.memory_bytes);
        let Drawn { logical, state, budget } = self.draw((&sql, &binds), tables)?;
        let reads = tables_of(&logical).map_err(explained)?;
        let physical = state.create_physical_plan(&logical).await.map_err(explained)?;
        let physical = sliced(physical).map_err(explained)?;
        let physical = bound_plan(physical, &budget).map_err(explained)?;
        let wanted = Wanted::default();
        let physical = take_turns(physical, &wanted).map_err(explained)?;
        let shape = Shape::of(&physical.schema())?;
        Ok(Plan { physical, shape, reads, state, wanted })
    }

    async fn describe(
        &self,
        (sql, binds): (String, BTreeMap<String, Value>),
        tables: Vec<(String, Readable)>,
    ) -> Result<Described, ConnectorError> {
        let explained = |e: DataFusionError| explain(&e, self.memory_bytes);
        let Drawn { logical, state, .. } = self.draw((&sql, &binds), tables)?;
        let lineage = lineage_of(&logical).map_err(explained)?;
        let optimized = state.optimize(&logical).map_err(explained)?;
        let notes = cartesian::note(&sql, &optimized).map_err(explained)?.into_iter().collect();
        // The last errors are found on the way to a plan that could run.
        let physical = state.create_physical_plan(&logical).await.map_err(explained)?;
        let schema = Shape::of(&physical.schema())?.schema().clone();
        Ok(Described { schema, lineage, notes })
    }

    fn start(&self, plan: Plan, runtime: &tokio::runtime::Handle) -> Result<Rows, ConnectorError> {
        let pool = Arc::new(FairSpillPool::new(self.memory_bytes));
        let env = RuntimeEnvBuilder::from_runtime_env(&self.env)
            .with_memory_pool(pool)
            .build_arc()
            .map_err(|e| explain(&e, self.memory_bytes))?;
        let context = datafusion::execution::TaskContext::from(&plan.state).with_runtime(env);
        let stream = execute_stream(plan.physical, Arc::new(context))
            .map_err(|e| explain(&e, self.memory_bytes))?;
        let rows = Rows::start(runtime, stream, plan.shape, plan.reads, self.memory_bytes);
        Ok(rows.ends(plan.wanted))
    }
}

/// The tables that a plan scans.
pub(crate) fn tables_of(plan: &LogicalPlan) -> Result<Vec<String>, DataFusionError> {
    let mut names = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let name = scan.table_name.to_string();
            if !is_function(&name) {
                names.insert(name);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names.into_iter().collect())
}

/// Runs `work` on a thread with a deep stack, and waits for it.
fn on_deep_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ConnectorError> + Send,
) -> Result<T, ConnectorError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("tidemill-sql-compile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|e| ConnectorError::internal(format!("cannot start a thread: {e}")))?
            .join()
            .unwrap_or_else(|panic| Err(broken(&panic_text(panic.as_ref()))))
    })
}
