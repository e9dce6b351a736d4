//! A DAG: its schedule, its last runs as a grid, its graph, its source.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;
use futures::future::join_all;
use serde::Deserialize;
use tidemill_model::dag::{Param, ParamKind};
use tidemill_model::{Dag, DagId, TaskIx, Timestamp, VarName, schedule};
use tidemill_spec::Diagnostic;
use tidemill_store::RunSummary;

use super::graph::{Graph, graph, kind_of};
use super::parts::{RunRow, State, plain, so_far};
use super::{Frame, html};
use crate::api::no_dag;
use crate::app::App;
use crate::backend::{DagDetail, RunDetail};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::say::{self, When};

/// Ticks that are shown.
const TICKS: usize = 3;
/// Tasks in the grid without `all`.
const GRID_ROWS: usize = 40;
/// The height of the tallest bar over the grid, in pixels.
const BAR_HEIGHT: u32 = 48;

#[derive(Template)]
#[template(path = "dag.html")]
struct Page {
    frame: Frame,
    id: String,
    description: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    file: String,
    version: Option<String>,
    deployed: Option<When>,
    schedule: Option<String>,
    zone: Option<String>,
    ticks: Vec<When>,
    paused: bool,
    paused_by: Option<String>,
    retired: bool,
    runnable: bool,
    findings: Vec<Finding>,
    last: Option<RunRow>,
    grid: Grid,
    graph: Option<Graph>,
    tasks: Vec<TaskLine>,
    params: Vec<ParamField>,
    source: Vec<SourceLine>,
}

struct Finding {
    severity: &'static str,
    code: &'static str,
    message: String,
    place: String,
    line: u32,
    before: String,
    marked: String,
    after: String,
    label: Option<String>,
    help: Option<String>,
}

#[derive(Default)]
struct Grid {
    columns: Vec<GridColumn>,
    rows: Vec<GridRow>,
    /// Tasks that are not shown.
    hidden: usize,
    longest: String,
}

struct GridColumn {
    run: String,
    number: u64,
    state: State,
    title: String,
    y: u32,
    height: u32,
}

struct GridRow {
    task: String,
    kind: String,
    cells: Vec<Option<Cell>>,
}

struct Cell {
    run: String,
    state: State,
}

impl Cell {
    /// Signs in a cell stand on its colour: where the usual one is filled, only its inside.
    fn sign(&self) -> &'static str {
        if matches!(self.state.class, "succeeded" | "failed") { "c" } else { "g" }
    }
}

struct TaskLine {
    name: String,
    kind: String,
    upstream: Vec<(String, String)>,
    traits: Vec<String>,
}

pub(super) struct ParamField {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) input: &'static str,
    pub(super) description: Option<String>,
    pub(super) default: String,
    pub(super) required: bool,
    pub(super) choices: Vec<(String, bool)>,
}

struct SourceLine {
    number: usize,
    text: String,
    marked: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DagQuery {
    /// Show every task in the grid.
    #[serde(default)]
    all: bool,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Path(id): Path<DagId>,
    Query(query): Query<DagQuery>,
) -> Result<Response, ApiError> {
    let now = app.backend.now();
    let detail = app.backend.dag(&id).await?.ok_or_else(|| no_dag(&id))?;
    let view = &detail.view;
    let dag = view.dag.as_deref();
    let runs = join_all(view.recent.iter().map(|run| app.backend.run(&run.head.id))).await;
    let runs: Vec<Option<RunDetail>> = runs.into_iter().map(|run| run.ok().flatten()).collect();
    let schedule = dag.and_then(|dag| dag.schedule_words());
    let blocked = view.diagnostics.iter().any(|finding| finding.blocks_run);
    html(&Page {
        frame: Frame::new(&app, id.as_str(), "dags"),
        id: id.to_string(),
        description: dag.and_then(|dag| dag.description.clone()),
        owner: dag.and_then(|dag| dag.owner.clone()),
        tags: dag.map(|dag| dag.tags.clone()).unwrap_or_default(),
        file: view.file.display().to_string(),
        version: view.version().map(|version| version.short().to_owned()),
        deployed: detail.deployed_at.map(|at| When::new(at, now)),
        zone: dag.filter(|_| schedule.is_some()).map(|dag| dag.timezone.to_string()),
        schedule,
        ticks: ticks(&detail, now),
        paused: view.paused,
        paused_by: view.paused_by.clone(),
        retired: view.retired,
        runnable: dag.is_some() && !blocked && !view.retired,
        findings: view.diagnostics.iter().map(finding).collect(),
        last: view.recent.first().map(|run| RunRow::new(run, now)),
        grid: dag.map(|dag| grid(dag, &view.recent, &runs, query.all, now)).unwrap_or_default(),
        graph: dag.and_then(|dag| graph(dag, None, now)),
        tasks: dag.map(task_lines).unwrap_or_default(),
        params: dag.map(|dag| param_fields(&dag.params)).unwrap_or_default(),
        source: source(&detail),
    })
}

/// The next instants at which it is due.
fn ticks(detail: &DagDetail, now: Timestamp) -> Vec<When> {
    let (Some(dag), Some(next)) = (&detail.view.dag, detail.view.next_tick) else {
        return Vec::new();
    };
    // What is due first may have been passed over up to now, and begins at once.
    let begins = schedule::ticks(dag.timers(), now).map(|(tick, timer)| timer.begins_at(tick));
    let later = begins.filter(|at| *at > next);
    std::iter::once(next).chain(later).take(TICKS).map(|at| When::new(at, now)).collect()
}

fn finding(finding: &Diagnostic) -> Finding {
    let chars: Vec<char> = finding.source_line.chars().collect();
    let column = finding.column.saturating_sub(1).saturating_sub(finding.source_offset);
    let from = (column as usize).min(chars.len());
    let to = (from + finding.length as usize).min(chars.len());
    let error = finding.severity == tidemill_spec::Severity::Error;
    Finding {
        severity: if error { "error" } else { "warning" },
        code: finding.code,
        message: finding.message.clone(),
        place: format!("{}:{}:{}", finding.file, finding.line, finding.column),
        line: finding.line,
        before: chars[..from].iter().collect(),
        marked: chars[from..to].iter().collect(),
        after: chars[to..].iter().collect(),
        label: finding.label.clone(),
        help: finding.help.clone(),
    }
}

/// Runs as columns, the newest at the right; tasks as rows, in the order in which they run.
fn grid(
    dag: &Dag,
    recent: &[RunSummary],
    runs: &[Option<RunDetail>],
    all: bool,
    now: Timestamp,
) -> Grid {
    if recent.is_empty() {
        return Grid::default();
    }
    let longest = recent.iter().map(|run| so_far(&run.head, now)).max().unwrap_or_default();
    let columns = recent.iter().rev().map(|run| {
        let head = &run.head;
        let took = so_far(head, now);
        let share = took.as_secs_f64() / longest.as_secs_f64().max(1e-6);
        let height = 3 + (share * f64::from(BAR_HEIGHT - 3)) as u32;
        let when = When::new(head.created_at, now);
        Column {
            run: head.id.to_string(),
            number: head.id.number,
            state: head.state.into(),
            title: format!(
                "#{}: {}, {}, {}",
                head.id.number,
                head.state.label(),
                say::duration(took),
                when.full
            ),
            y: BAR_HEIGHT - height,
            height,
        }
    });
    let shown = if all { dag.order().len() } else { GRID_ROWS };
    let rows = dag.order().iter().take(shown).map(|ix| {
        let name = dag.task(*ix).name.as_str();
        let cells = runs.iter().rev().map(|run| {
            let run = run.as_ref()?;
            let state = run.tasks[run.find(name)?.at()].state;
            Some(Cell { run: run.head.id.to_string(), state: state.into() })
        });
        GridRow { task: name.to_owned(), kind: kind_of(dag, *ix), cells: cells.collect() }
    });
    Grid {
        columns: columns.collect(),
        rows: rows.collect(),
        hidden: dag.order().len().saturating_sub(shown),
        longest: say::duration(longest),
    }
}

use GridColumn as Column;

fn task_lines(dag: &Dag) -> Vec<TaskLine> {
    dag.order().iter().map(|ix| task_line(dag, *ix)).collect()
}

fn task_line(dag: &Dag, ix: TaskIx) -> TaskLine {
    let task = dag.task(ix);
    let upstream = task
        .upstream
        .iter()
        .map(|edge| (dag.task(edge.task).name.to_string(), edge.why.join(", ")));
    let mut traits = Vec::new();
    if let Some(when) = &task.when {
        traits.push(format!("when {}", when.source()));
    }
    if task.retry.limit > 0 {
        traits.push(format!("up to {} retries", task.retry.limit));
    }
    if let Some(timeout) = task.timeout {
        traits.push(format!("timeout {}", say::duration(timeout)));
    }
    if task.pool.as_str() != tidemill_model::admission::DEFAULT_POOL {
        traits.push(format!("pool {}", task.pool));
    }
    if !task.checks.is_empty() {
        traits.push(say::plural(task.checks.len() as u64, "check"));
    }
    TaskLine {
        name: task.name.to_string(),
        kind: kind_of(dag, ix),
        upstream: upstream.collect(),
        traits,
    }
}

pub(super) fn param_fields<'p>(
    params: impl IntoIterator<Item = (&'p VarName, &'p Param)>,
) -> Vec<ParamField> {
    params.into_iter().map(|(name, param)| param_field(name.as_str(), param)).collect()
}

fn param_field(name: &str, param: &Param) -> ParamField {
    let mut choices: Vec<String> = param.allowed.iter().map(plain).collect();
    if param.kind == ParamKind::Boolean && choices.is_empty() {
        choices = vec!["true".to_owned(), "false".to_owned()];
    }
    let default = param.default.as_ref().map(plain).unwrap_or_default();
    ParamField {
        name: name.to_owned(),
        kind: param.kind.label(),
        input: match param.kind {
            ParamKind::Integer | ParamKind::Number => "number",
            ParamKind::Date => "date",
            ParamKind::String | ParamKind::Boolean | ParamKind::Timestamp | ParamKind::Json => {
                "text"
            }
        },
        description: param.description.clone(),
        required: param.default.is_none(),
        choices: choices.into_iter().map(|choice| (choice.clone(), choice == default)).collect(),
        default,
    }
}

fn source(detail: &DagDetail) -> Vec<SourceLine> {
    let marked = |line: usize| detail.view.diagnostics.iter().any(|f| f.line as usize == line);
    detail
        .source
        .lines()
        .enumerate()
        .map(|(at, text)| SourceLine {
            number: at + 1,
            text: text.to_owned(),
            marked: marked(at + 1),
        })
        .collect()
}
