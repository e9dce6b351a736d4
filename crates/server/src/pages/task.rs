//! A task of a run: its error, its attempts, its counts, its log, its tables.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde::Deserialize;
use tidemill_model::outputs::Output;
use tidemill_model::{RunId, TaskIx, TaskName, TaskState};

use super::graph::kind_of;
use super::parts::{AttemptRow, Fact, LogRow, Problem, State, facts, problem};
use super::table::Excerpt;
use super::{Frame, fragment, html, text};
use crate::api::{Chosen, attempt_of, find_run, from_of, log_page};
use crate::app::App;
use crate::backend::{LogFrom, LogQuery, RunDetail};
use crate::error::ApiError;
use crate::extract::{Path, Query};
use crate::say::{self, When};

/// Lines that the page opens with.
const LINES: usize = 1_000;
/// Tables that are shown.
const TABLES_MAX: usize = 8;
/// Excerpt of each.
const SAMPLE_ROWS: usize = 8;

#[derive(Template)]
#[template(path = "task.html")]
struct Page {
    frame: Frame,
    body: Body,
    log: Log,
    samples: Vec<Sample>,
}

#[derive(Template)]
#[template(path = "task_body.html")]
struct Body {
    run: String,
    dag: String,
    number: u64,
    task: String,
    kind: String,
    state: State,
    live: bool,
    chosen: u32,
    attempts: Vec<AttemptRow>,
    /// The attempt under way, when there is one.
    current: Option<u32>,
    problem: Option<Problem>,
    waits: Option<String>,
    queued: Option<When>,
    started: Option<When>,
    took: Option<String>,
    retry: Option<When>,
    counts: Option<Counts>,
    warnings: Vec<String>,
    outputs: Vec<Fact>,
    upstream: Vec<Neighbour>,
    downstream: Vec<Neighbour>,
}

struct Counts {
    rows_in: String,
    rows_out: String,
    duplicates: Option<String>,
    rejected: Option<String>,
    reasons: Vec<Rejection>,
    adds_up: bool,
}

struct Rejection {
    reason: String,
    rows: String,
    /// In thousandths of the most frequent one.
    share: u64,
}

struct Neighbour {
    name: String,
    url: String,
    state: State,
    why: String,
}

/// The log of the chosen attempt.
#[expect(clippy::struct_excessive_bools, reason = "each decides on one link of the page")]
struct Log {
    base: String,
    attempt: u32,
    rows: Vec<LogRow>,
    next: u64,
    ended: bool,
    dropped: Option<String>,
    size: String,
    /// There is something to download.
    written: bool,
    /// The page begins in the middle.
    cut: bool,
    tail: bool,
}

struct Sample {
    name: String,
    url: String,
    total: String,
    size: String,
    rows: Excerpt,
}

#[derive(Template)]
#[template(path = "log_lines.html")]
struct Lines {
    rows: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskQuery {
    attempt: Option<u32>,
    /// Where the log begins: an offset, or `tail`.
    from: Option<String>,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, TaskName)>,
    Query(query): Query<TaskQuery>,
) -> Result<Response, ApiError> {
    let detail = find_run(&app, &run).await?;
    let attempt = attempt_of(&detail, &task, query.attempt)?.map_or(0, |chosen| chosen.attempt);
    let from = from_of(Some(query.from.as_deref().unwrap_or("tail")))?;
    let body = body(&app, &detail, &task, attempt).await?;
    let log = log(&app, &run, &task, attempt, from, body.live).await?;
    let samples = samples(&app, &detail, &task).await;
    let title = format!("{task} · {} #{}", run.dag, run.number);
    html(&Page { frame: Frame::new(&app, title, "runs"), body, log, samples })
}

pub(super) async fn live(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, TaskName)>,
    Query(query): Query<TaskQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let detail = find_run(&app, &run).await?;
    let attempt = attempt_of(&detail, &task, query.attempt)?.map_or(0, |chosen| chosen.attempt);
    let body = body(&app, &detail, &task, attempt).await?;
    fragment(&body, &headers, body.live)
}

/// New lines of a log, as rows to append; `x-next` says where to go on.
pub(super) async fn lines(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, TaskName)>,
    Query(query): Query<TaskQuery>,
) -> Result<Response, ApiError> {
    let detail = find_run(&app, &run).await?;
    let Chosen { attempt, over } = attempt_of(&detail, &task, query.attempt)?
        .ok_or_else(|| ApiError::not_found("no attempt has started yet"))?;
    let from = from_of(query.from.as_deref())?;
    let asked = LogQuery { run, task, attempt, from, limit: LINES };
    let page = log_page(&app, asked, over, true).await?;
    let again = if page.ended { "no" } else { "yes" };
    let headers = [
        ("content-type", "text/html; charset=utf-8".to_owned()),
        ("x-next", page.next.to_string()),
        ("x-again", again.to_owned()),
    ];
    let body = text(&Lines { rows: page.lines.iter().map(LogRow::from).collect() })?;
    Ok((headers, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

async fn body(app: &App, run: &RunDetail, name: &TaskName, chosen: u32) -> Result<Body, ApiError> {
    let now = app.backend.now();
    let ix = run.find(name.as_str()).ok_or_else(|| {
        ApiError::not_found(format!("run `{}` has no task `{name}`", run.head.id))
    })?;
    let task = &run.tasks[ix.at()];
    let shows_error = matches!(task.state, TaskState::Failed | TaskState::UpForRetry);
    let newest = chosen == task.attempts;
    let problem = if shows_error && newest && task.error.is_some() {
        Some(problem(app, run, ix, 0).await)
    } else {
        None
    };
    let result = task.result.as_deref();
    let running = task.state == TaskState::Running;
    let waits = run.waits.iter().find(|(of, _)| *of == Some(ix)).map(|(_, why)| why.clone());
    Ok(Body {
        run: run.head.id.to_string(),
        dag: run.head.id.dag.to_string(),
        number: run.head.id.number,
        task: name.to_string(),
        kind: run.dag.as_ref().map(|dag| kind_of(dag, ix)).unwrap_or_default(),
        state: task.state.into(),
        live: !task.state.is_final() && !run.head.state.is_final(),
        chosen,
        attempts: task.history.iter().map(|past| AttemptRow::new(past, chosen, now)).collect(),
        current: running.then_some(task.attempts),
        problem,
        waits: waits.or_else(|| task.reason.clone()),
        queued: task.queued_at.map(|at| When::new(at, now)),
        started: task.started_at.map(|at| When::new(at, now)),
        took: say::span(task.started_at, task.finished_at, now),
        retry: task.retry_at.filter(|_| !task.state.is_final()).map(|at| When::new(at, now)),
        counts: result.map(|result| counts(&result.counts)).filter(|_| has_rows(run, ix)),
        warnings: result.map(|result| result.warnings.clone()).unwrap_or_default(),
        outputs: result.map(|result| facts(&result.outputs)).unwrap_or_default(),
        upstream: upstream(run, ix),
        downstream: downstream(run, ix),
    })
}

/// Places where branches meet handle no rows, and commands only those of tables that they read or
/// leave.
fn has_rows(run: &RunDetail, ix: TaskIx) -> bool {
    let Some(task) = run.dag.as_ref().map(|dag| dag.task(ix)) else { return true };
    match task.action.key() {
        "noop" => false,
        "run" => {
            let is_table = |output: &Output| matches!(output, Output::Table { .. });
            !task.reads.is_empty() || task.outputs.values().any(is_table)
        }
        _ => true,
    }
}

fn counts(counts: &tidemill_model::Counts) -> Counts {
    let most = counts.rejected.iter().map(|(_, rows)| *rows).max().unwrap_or(1).max(1);
    let rejected = counts.rejected_total();
    let some = |n: u64| (n > 0).then(|| say::count(n));
    Counts {
        rows_in: say::count(counts.rows_in),
        rows_out: say::count(counts.rows_out),
        duplicates: some(counts.duplicates),
        rejected: some(rejected),
        reasons: counts
            .rejected
            .iter()
            .map(|(reason, rows)| Rejection {
                reason: reason.clone(),
                rows: say::count(*rows),
                share: rows * 1000 / most,
            })
            .collect(),
        adds_up: rejected + counts.duplicates > 0
            && counts.rows_in == counts.rows_out + counts.duplicates + rejected,
    }
}

fn neighbour(run: &RunDetail, ix: TaskIx, why: String) -> Option<Neighbour> {
    let name = run.task_name(ix);
    let state = run.tasks.get(ix.at())?.state.into();
    Some(Neighbour { url: format!("/runs/{}/tasks/{name}", run.head.id), name, state, why })
}

fn upstream(run: &RunDetail, ix: TaskIx) -> Vec<Neighbour> {
    let edges = run.dag.as_ref().map(|dag| dag.task(ix).upstream.clone()).unwrap_or_default();
    edges.iter().filter_map(|edge| neighbour(run, edge.task, edge.why.join(", "))).collect()
}

fn downstream(run: &RunDetail, ix: TaskIx) -> Vec<Neighbour> {
    let after = run.dag.as_ref().map(|dag| dag.downstream(ix).to_vec()).unwrap_or_default();
    after.iter().filter_map(|ix| neighbour(run, *ix, String::new())).collect()
}

async fn log(
    app: &App,
    run: &RunId,
    task: &TaskName,
    attempt: u32,
    from: LogFrom,
    live: bool,
) -> Result<Log, ApiError> {
    let base = format!("/runs/{run}/tasks/{task}");
    let page = if attempt == 0 {
        crate::backend::LogPage { ended: !live, ..Default::default() }
    } else {
        let asked = LogQuery { run: run.clone(), task: task.clone(), attempt, from, limit: LINES };
        app.backend.logs(asked).await?
    };
    Ok(Log {
        base,
        attempt,
        next: page.next,
        ended: page.ended,
        dropped: (page.dropped > 0).then(|| say::bytes(page.dropped)),
        size: say::bytes(page.bytes),
        written: page.bytes > 0,
        cut: page.lines.first().is_some_and(|line| line.offset > 0),
        tail: from == LogFrom::Tail,
        rows: page.lines.iter().map(LogRow::from).collect(),
    })
}

async fn samples(app: &App, run: &RunDetail, task: &TaskName) -> Vec<Sample> {
    let tables = run
        .find(task.as_str())
        .and_then(|ix| run.tasks[ix.at()].result.as_ref())
        .map(|result| result.tables.clone())
        .unwrap_or_default();
    let shown = tables.into_iter().take(TABLES_MAX).map(|table| async move {
        let rows = app.backend.table(&table, SAMPLE_ROWS).await.map_err(|error| error.detail);
        Sample {
            url: format!("/runs/{}/tables/{}", run.head.id, table.name),
            total: say::plural(table.rows, "row"),
            size: say::bytes(table.bytes),
            name: table.name,
            rows: Excerpt::new(rows),
        }
    });
    join_all(shown).await
}
