//! Home: what is wrong and why, what runs, what comes next.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::join_all;
use tidemill_model::{RunState, Timestamp};
use tidemill_store::{RunQuery, RunSummary};

use super::parts::{Problem, RunRow, failed_tasks, problem};
use super::{Frame, fragment, html};
use crate::app::App;
use crate::backend::{DagView, Question};
use crate::error::ApiError;
use crate::say::When;

/// DAGs with trouble that are shown in full.
const TROUBLES_MAX: usize = 6;
/// Runs under way that are shown.
const RUNNING_MAX: usize = 12;
/// Runs below them.
const RECENT_MAX: usize = 12;
/// Questions that are shown.
const QUESTIONS_MAX: usize = 8;
/// Due instants that are shown.
const NEXT_MAX: usize = 8;
/// Lines of a log below an error.
const LOG_LINES: usize = 3;

#[derive(Template)]
#[template(path = "home.html")]
struct Page {
    frame: Frame,
    body: Body,
}

#[derive(Template)]
#[template(path = "home_body.html")]
struct Body {
    failing: u64,
    broken: Vec<BrokenFile>,
    asked: Vec<Asked>,
    more_asked: u64,
    running: u64,
    dags: u64,
    troubles: Vec<Trouble>,
    active: Vec<RunRow>,
    recent: Vec<RunRow>,
    next: Vec<Due>,
    more_next: u64,
}

/// A DAG whose newest finished run failed.
struct Trouble {
    dag: String,
    run: String,
    number: u64,
    /// Failures without a success between them, as far as the history goes.
    in_a_row: usize,
    when: When,
    problem: Option<Problem>,
    others: usize,
}

/// A file that does not load.
struct BrokenFile {
    title: String,
    url: Option<String>,
    message: String,
    place: String,
    help: Option<String>,
    more: usize,
}

/// A task that waits for a person.
struct Asked {
    task: String,
    dag: String,
    run: String,
    number: u64,
    url: String,
    message: String,
    since: Option<When>,
}

/// A DAG that will run.
struct Due {
    dag: String,
    schedule: String,
    when: When,
}

pub(super) async fn page(Shared(app): Shared<App>) -> Result<Response, ApiError> {
    let body = body(&app).await?;
    html(&Page { frame: Frame::new(&app, "Home", "home"), body })
}

pub(super) async fn live(
    Shared(app): Shared<App>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    fragment(&body(&app).await?, &headers, true)
}

async fn body(app: &App) -> Result<Body, ApiError> {
    let now = app.backend.now();
    let dags = app.backend.dags().await?;
    let states = vec![RunState::Running, RunState::Queued];
    let active = RunQuery { dag: None, states, after: None, limit: RUNNING_MAX };
    let active = app.backend.runs(active).await?;
    let finished = vec![RunState::Succeeded, RunState::Failed, RunState::Cancelled];
    let recent = RunQuery { dag: None, states: finished, after: None, limit: RECENT_MAX };
    let recent = app.backend.runs(recent).await?;

    let mut questions = app.backend.questions();
    questions.sort_by_key(|question| question.task.started_at);
    let mut failing: Vec<(&DagView, &RunSummary)> =
        dags.iter().filter_map(|dag| Some((dag, failing_run(dag)?))).collect();
    failing.sort_by_key(|(_, run)| std::cmp::Reverse(run.head.finished_at));
    let shown = failing.iter().take(TROUBLES_MAX);
    let troubles = join_all(shown.map(|(dag, run)| trouble(app, dag, run, now))).await;
    let mut next: Vec<(Timestamp, &DagView)> =
        dags.iter().filter_map(|dag| Some((dag.next_tick?, dag))).collect();
    next.sort_by_key(|(at, _)| *at);
    Ok(Body {
        failing: failing.len() as u64,
        broken: dags.iter().filter_map(broken).collect(),
        more_asked: questions.len().saturating_sub(QUESTIONS_MAX) as u64,
        asked: questions.iter().take(QUESTIONS_MAX).map(|question| asked(question, now)).collect(),
        running: active.runs.len() as u64,
        dags: dags.iter().filter(|dag| dag.id.is_some() && !dag.retired).count() as u64,
        troubles,
        active: active.runs.iter().map(|run| RunRow::new(run, now)).collect(),
        recent: recent.runs.iter().map(|run| RunRow::new(run, now)).collect(),
        more_next: next.len().saturating_sub(NEXT_MAX) as u64,
        next: next.into_iter().take(NEXT_MAX).map(|(at, dag)| due(dag, at, now)).collect(),
    })
}

/// The newest finished run, if it failed.
fn failing_run(dag: &DagView) -> Option<&RunSummary> {
    let newest = dag.recent.iter().find(|run| run.head.state.is_final())?;
    (newest.head.state == RunState::Failed).then_some(newest)
}

async fn trouble(app: &App, dag: &DagView, run: &RunSummary, now: Timestamp) -> Trouble {
    // A run that cannot be read still has a line.
    let detail = app.backend.run(&run.head.id).await.ok().flatten();
    let failed = detail.as_ref().map(failed_tasks).unwrap_or_default();
    let problem = match (&detail, failed.first()) {
        (Some(detail), Some(ix)) => Some(problem(app, detail, *ix, LOG_LINES).await),
        _ => None,
    };
    let finished = dag.recent.iter().filter(|run| run.head.state.is_final());
    let in_a_row = finished.take_while(|run| run.head.state == RunState::Failed).count();
    Trouble {
        dag: run.head.id.dag.to_string(),
        run: run.head.id.to_string(),
        number: run.head.id.number,
        in_a_row,
        when: When::new(run.head.finished_at.unwrap_or(run.head.created_at), now),
        problem,
        others: failed.len().saturating_sub(1),
    }
}

fn broken(dag: &DagView) -> Option<BrokenFile> {
    let first = dag.diagnostics.iter().find(|finding| finding.blocks_run)?;
    Some(BrokenFile {
        title: dag.title(),
        url: dag.id.as_ref().map(|id| format!("/dags/{id}")),
        message: first.message.clone(),
        place: format!("{}:{}:{}", first.file, first.line, first.column),
        help: first.help.clone(),
        more: dag.diagnostics.iter().filter(|finding| finding.blocks_run).count() - 1,
    })
}

fn asked(question: &Question, now: Timestamp) -> Asked {
    let task = question.dag.name_of(question.at);
    Asked {
        url: format!("/runs/{}/tasks/{task}", question.run),
        task,
        dag: question.run.dag.to_string(),
        run: question.run.to_string(),
        number: question.run.number,
        message: question.task.reason.clone().unwrap_or_default(),
        since: question.task.started_at.map(|at| When::new(at, now)),
    }
}

fn due(dag: &DagView, at: Timestamp, now: Timestamp) -> Due {
    let schedule = dag.dag.as_ref().and_then(|dag| dag.schedule_words());
    Due { dag: dag.title(), schedule: schedule.unwrap_or_default(), when: When::new(at, now) }
}
