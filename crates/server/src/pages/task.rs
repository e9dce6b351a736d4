//! A task of a run: its error, its attempts, its counts, its log, its tables.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use serde::Deserialize;
use tidemill_model::outputs::Output;
use tidemill_model::{
    Action, Dag, Instance, RunId, RunState, TaskIx, TaskRun, TaskState, Timestamp,
};

use super::dag::{ParamField, param_fields};
use super::graph::{items_of, kind_of};
use super::parts::{AttemptRow, Fact, LogRow, NoteShown, Problem, State, facts, problem_of};
use super::table::Excerpt;
use super::{Frame, fragment, html, text};
use crate::api::{
    Chosen, Subject, attempt_of, find_task, from_of, items_page, log_page, task_states_of,
};
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
    question: Option<Asked>,
}

/// What a person is asked, while the task waits for the answer.
struct Asked {
    url: String,
    message: String,
    params: Vec<ParamField>,
}

#[derive(Template)]
#[template(path = "task_body.html")]
#[expect(clippy::struct_excessive_bools, reason = "each shows or hides a part of the page")]
struct Body {
    run: String,
    dag: String,
    number: u64,
    task: String,
    kind: String,
    state: State,
    live: bool,
    /// It can begin anew.
    again: bool,
    /// It waits for its next try.
    waits_retry: bool,
    /// What it can be marked as.
    marks: Vec<&'static str>,
    /// A note can be left on it.
    has_note: bool,
    note: Option<NoteShown>,
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
    /// The run that it called for.
    called: Option<String>,
    /// Where its result is from, when it used an earlier one again.
    reused: Option<(String, When)>,
    /// The group, or the mapped task whose item it is.
    inside: Option<(String, String)>,
    /// Of a group: its members; those of an item, if it is one.
    members: Vec<Part>,
    items: Option<Items>,
}

/// A member of a group, or an item of a mapped task.
struct Part {
    name: String,
    url: String,
    state: State,
    started: Option<When>,
    took: Option<String>,
    attempts: u32,
    note: Option<String>,
}

/// The items of a mapped task.
struct Items {
    total: u32,
    begun: u32,
    /// States that occur, how many items are in each, and where to see them.
    by_state: Vec<(State, u32, String)>,
    /// The states that are shown alone.
    chosen: String,
    shown: Vec<Part>,
    next: Option<String>,
}

/// Items on a page.
const ITEMS: usize = 100;

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
    /// Only items in these states.
    state: Option<String>,
    /// Items from this one on.
    item: Option<u32>,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, String)>,
    Query(query): Query<TaskQuery>,
) -> Result<Response, ApiError> {
    let (detail, subject) = find_task(&app, &run, &task).await?;
    let attempt = attempt_of(&subject, query.attempt)?.map_or(0, |chosen| chosen.attempt);
    let from = from_of(Some(query.from.as_deref().unwrap_or("tail")))?;
    let body = body(&app, &detail, &subject, attempt, &query).await?;
    let log = log(&app, &run, &subject.name, attempt, from, body.live).await?;
    let samples = samples(&app, &detail, &subject).await;
    let title = format!("{} · {} #{}", subject.name, run.dag, run.number);
    let question = asked(&detail, &subject);
    html(&Page { frame: Frame::new(&app, title, "runs"), body, log, samples, question })
}

pub(super) async fn live(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, String)>,
    Query(query): Query<TaskQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (detail, subject) = find_task(&app, &run, &task).await?;
    let attempt = attempt_of(&subject, query.attempt)?.map_or(0, |chosen| chosen.attempt);
    let body = body(&app, &detail, &subject, attempt, &query).await?;
    fragment(&body, &headers, body.live)
}

/// New lines of a log, as rows to append; `x-next` says where to go on.
pub(super) async fn lines(
    Shared(app): Shared<App>,
    Path((run, task)): Path<(RunId, String)>,
    Query(query): Query<TaskQuery>,
) -> Result<Response, ApiError> {
    let (_, subject) = find_task(&app, &run, &task).await?;
    let Chosen { attempt, over } = attempt_of(&subject, query.attempt)?
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

async fn body(
    app: &App,
    run: &RunDetail,
    subject: &Subject,
    chosen: u32,
    query: &TaskQuery,
) -> Result<Body, ApiError> {
    let now = app.backend.now();
    let Subject { at, name, task } = subject;
    let (ix, head) = (at.task, &run.head);
    let shows_error = matches!(task.state, TaskState::Failed | TaskState::UpForRetry);
    let newest = chosen == task.attempts;
    let problem = if shows_error && newest && task.error.is_some() {
        Some(problem_of(app, run, name.clone(), task, 0).await)
    } else {
        None
    };
    let result = task.result.as_deref();
    let running = task.state == TaskState::Running;
    let waits = run.waits.iter().filter(|_| at.item.is_none());
    let waits = waits.clone().find(|(of, _)| *of == Some(ix)).map(|(_, why)| why.clone());
    let dag = run.dag.as_deref();
    Ok(Body {
        run: run.head.id.to_string(),
        dag: run.head.id.dag.to_string(),
        number: run.head.id.number,
        task: name.clone(),
        kind: dag.map(|dag| kind_of(dag, ix)).unwrap_or_default(),
        state: task.state.into(),
        live: !task.state.is_final() && !run.head.state.is_final(),
        again: at.item.is_none()
            && dag.is_some()
            && task.state.is_final()
            && !head.cancel_requested,
        waits_retry: task.state == TaskState::UpForRetry && head.state == RunState::Running,
        marks: marks(run, subject),
        has_note: at.item.is_none() && dag.is_some(),
        note: task.note.as_deref().map(|note| NoteShown::new(note, now)),
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
        upstream: upstream(run, *at),
        downstream: downstream(run, *at),
        called: task.called.as_ref().map(ToString::to_string),
        reused: result.and_then(|result| {
            result.reused.as_ref().map(|reused| (reused.run.to_string(), When::new(reused.at, now)))
        }),
        inside: dag.and_then(|dag| outer_of(dag, *at)).map(|name| link(run, name)),
        members: members(app, run, subject, now).await?,
        items: items(app, run, subject, query, now).await?,
    })
}

/// What a task can be marked as. Of one that succeeded nobody has to say so.
fn marks(run: &RunDetail, subject: &Subject) -> Vec<&'static str> {
    let Subject { at, task, .. } = subject;
    let Some(dag) = &run.dag else { return Vec::new() };
    let is_group = dag.task(at.task).is_group() || dag.task(at.task).mapping.is_some();
    let is_open_group = is_group && task.state == TaskState::Running;
    if at.item.is_some() || dag.is_repeated(at.task) || is_open_group || run.head.cancel_requested {
        return Vec::new();
    }
    let all = [TaskState::Succeeded, TaskState::Skipped, TaskState::Failed];
    let fits = |state: &TaskState| match task.state {
        TaskState::Succeeded | TaskState::Skipped => *state == TaskState::Failed,
        TaskState::Failed | TaskState::UpstreamFailed | TaskState::Cancelled => {
            *state != TaskState::Failed
        }
        _ => true,
    };
    all.into_iter().filter(fits).map(TaskState::label).collect()
}

fn asked(run: &RunDetail, subject: &Subject) -> Option<Asked> {
    let action = &run.dag.as_ref()?.task(subject.at.task).action;
    let Action::Approve(approve) = action else { return None };
    let waits = subject.task.state == TaskState::Waiting && !run.head.cancel_requested;
    waits.then(|| Asked {
        url: format!("/api/v1/runs/{}/tasks/{}/answer", run.head.id, subject.name),
        message: subject.task.reason.clone().unwrap_or_else(|| "Go on?".to_owned()),
        params: param_fields(&approve.params),
    })
}

fn link(run: &RunDetail, name: String) -> (String, String) {
    let url = format!("/runs/{}/tasks/{name}", run.head.id);
    (name, url)
}

/// The group of a member, or the mapped task of an item.
fn outer_of(dag: &Dag, at: Instance) -> Option<String> {
    if at.item.is_some() && dag.root(at.task) == Some(at.task) {
        return Some(dag.name_of(at.task.into()));
    }
    let group = dag.task(at.task).group?;
    Some(dag.name_of(Instance { task: group, ..at }))
}

fn part(run: &RunDetail, name: String, task: &TaskRun, now: Timestamp) -> Part {
    let (name, url) = link(run, name);
    let error = task.error.as_ref().map(|error| say::line(&error.message, 160));
    let counts = task.map.as_deref().map(items_of);
    Part {
        name,
        url,
        state: task.state.into(),
        started: task.started_at.map(|at| When::new(at, now)),
        took: say::span(task.started_at, task.finished_at, now)
            .filter(|_| task.map.is_none() || task.attempts > 0),
        attempts: task.attempts,
        note: error.or_else(|| task.reason.clone()).or(counts),
    }
}

/// The members of a group: of an item those of the item, and else as a whole.
async fn members(
    app: &App,
    run: &RunDetail,
    subject: &Subject,
    now: Timestamp,
) -> Result<Vec<Part>, ApiError> {
    let Some(dag) = &run.dag else { return Ok(Vec::new()) };
    let at = subject.at;
    let members = dag.members(at.task);
    let Some(item) = at.item.filter(|_| !members.is_empty()) else {
        let whole = members.iter().filter(|_| at.item.is_none());
        let whole = whole.map(|ix| part(run, run.task_name(*ix), &run.tasks[ix.at()], now));
        return Ok(whole.collect());
    };
    let found = app.backend.items(&run.head.id, at.task, item, 1).await?;
    let runs = found.into_iter().find(|found| found.item == item).map(|found| found.runs);
    let runs = runs.unwrap_or_default();
    let shown = members.iter().zip(runs.iter().skip(1));
    let shown =
        shown.map(|(ix, task)| part(run, dag.name_of(Instance::of_item(*ix, item)), task, now));
    Ok(shown.collect())
}

/// The items of a mapped task.
async fn items(
    app: &App,
    run: &RunDetail,
    subject: &Subject,
    query: &TaskQuery,
    now: Timestamp,
) -> Result<Option<Items>, ApiError> {
    let (Some(dag), Some(map)) = (&run.dag, subject.task.map.as_deref()) else { return Ok(None) };
    let ix = subject.at.task;
    if subject.at.item.is_some() || dag.root(ix) != Some(ix) {
        return Ok(None);
    }
    let states = task_states_of(query.state.as_deref())?;
    let first = query.item.unwrap_or(0);
    let (found, next) = items_page(app, &run.head.id, ix, &states, first, ITEMS).await?;
    let base = format!("/runs/{}/tasks/{}", run.head.id, subject.name);
    let chosen = query.state.clone().unwrap_or_default();
    let by_state = TaskState::ALL.into_iter().filter(|state| map.of(*state) > 0);
    let by_state = by_state.map(|state| {
        let url = format!("{base}?state={}#items", state.label());
        (state.into(), map.of(state), url)
    });
    let only = states.iter().map(|state| state.label()).collect::<Vec<_>>().join(",");
    let shown = found.iter().filter_map(|stored| {
        let name = dag.name_of(Instance::of_item(ix, stored.item));
        Some(part(run, name, stored.runs.first()?, now))
    });
    Ok(Some(Items {
        total: map.items,
        begun: map.begun,
        by_state: by_state.collect(),
        chosen,
        shown: shown.collect(),
        next: next.map(|next| match only.as_str() {
            "" => format!("{base}?item={next}#items"),
            only => format!("{base}?state={only}&item={next}#items"),
        }),
    }))
}

/// Places where branches meet handle no rows, and commands only those of tables that they read or
/// leave.
fn has_rows(run: &RunDetail, ix: TaskIx) -> bool {
    let Some(task) = run.dag.as_ref().map(|dag| dag.task(ix)) else { return true };
    match task.action.key() {
        "noop" | "wait" | "approve" => false,
        "tasks" => {
            !run.tasks[ix.at()].result.as_ref().is_none_or(|result| result.tables.is_empty())
        }
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

fn neighbour(run: &RunDetail, ix: TaskIx, at: Instance, why: String) -> Option<Neighbour> {
    // Inside of a mapped group, the others are those of the same item.
    let dag = run.dag.as_ref()?;
    let same_item = at.item.is_some() && dag.is_repeated(ix) && dag.root(ix) == dag.root(at.task);
    let name = if same_item { dag.name_of(Instance { task: ix, ..at }) } else { run.task_name(ix) };
    let state = run.tasks.get(ix.at())?.state.into();
    Some(Neighbour { url: format!("/runs/{}/tasks/{name}", run.head.id), name, state, why })
}

fn upstream(run: &RunDetail, at: Instance) -> Vec<Neighbour> {
    let dag = run.dag.as_ref();
    let edges = dag.map(|dag| dag.task(at.task).upstream.clone()).unwrap_or_default();
    edges.iter().filter_map(|edge| neighbour(run, edge.task, at, edge.why.join(", "))).collect()
}

fn downstream(run: &RunDetail, at: Instance) -> Vec<Neighbour> {
    let after = run.dag.as_ref().map(|dag| dag.downstream(at.task).to_vec()).unwrap_or_default();
    after.iter().filter_map(|ix| neighbour(run, *ix, at, String::new())).collect()
}

async fn log(
    app: &App,
    run: &RunId,
    task: &str,
    attempt: u32,
    from: LogFrom,
    live: bool,
) -> Result<Log, ApiError> {
    let base = format!("/runs/{run}/tasks/{task}");
    let page = if attempt == 0 {
        crate::backend::LogPage { ended: !live, ..Default::default() }
    } else {
        let asked =
            LogQuery { run: run.clone(), task: task.to_owned(), attempt, from, limit: LINES };
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

async fn samples(app: &App, run: &RunDetail, subject: &Subject) -> Vec<Sample> {
    let result = subject.task.result.as_ref();
    let tables = result.map(|result| result.tables.clone()).unwrap_or_default();
    // The table of an item has the number of the item behind the name of what is mapped.
    let written = |table: &str| match (subject.at.item, &run.dag) {
        (Some(item), Some(dag)) => {
            let root = dag.root(subject.at.task).map_or("", |root| dag.task(root).name.as_str());
            let below = table.strip_prefix(root).unwrap_or_default();
            format!("{root}[{item}]{below}")
        }
        _ => table.to_owned(),
    };
    let shown = tables.into_iter().take(TABLES_MAX).map(|table| (written(&table.name), table));
    let shown = shown.map(|(name, table)| async move {
        let rows = app.backend.table(&table, SAMPLE_ROWS).await.map_err(|error| error.detail);
        Sample {
            url: format!("/runs/{}/tables/{name}", run.head.id),
            total: say::plural(table.rows, "row"),
            size: say::bytes(table.bytes),
            name,
            rows: Excerpt::new(rows),
        }
    });
    join_all(shown).await
}
