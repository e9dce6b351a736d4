//! A run: what went wrong, its graph, its tasks with their times and counts.

use askama::Template;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::join_all;
use tidemill_model::{RunId, RunState, TaskIx, TaskRun, Timestamp};

use super::graph::{Graph, graph, items_of, kind_of};
use super::parts::{
    Fact, NoteShown, Problem, Progress, Segment, State, facts, failed_tasks, problem, why,
};
use super::{Frame, fragment, html};
use crate::api::find_run;
use crate::app::App;
use crate::backend::RunDetail;
use crate::error::ApiError;
use crate::extract::Path;
use crate::say::{self, When};

/// Failed tasks that are shown in full.
const PROBLEMS_MAX: usize = 3;
/// Lines of a log below an error.
const LOG_LINES: usize = 8;
/// Rows of the table of tasks; further tasks are in the graph and in the API.
const ROWS_MAX: usize = 500;

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    frame: Frame,
    body: Body,
}

#[derive(Template)]
#[template(path = "run_body.html")]
#[expect(clippy::struct_excessive_bools, reason = "each shows or hides a part of the page")]
struct Body {
    id: String,
    dag: String,
    number: u64,
    state: State,
    live: bool,
    /// It has ended, and not well.
    failed: bool,
    cancel_requested: bool,
    /// Why it was cancelled, where that is known.
    reason: Option<String>,
    why: String,
    created: When,
    finished: Option<When>,
    took: Option<String>,
    interval: Option<String>,
    version: String,
    generation: u32,
    params: Vec<Fact>,
    waits: Option<String>,
    /// Who lets it stand still.
    paused: Option<String>,
    /// It goes on, and some of it has failed.
    failing: bool,
    note: Option<NoteShown>,
    progress: Progress,
    problems: Vec<Problem>,
    more_problems: usize,
    graph: Option<Graph>,
    rows: Vec<Row>,
    hidden: usize,
    /// Marks of the axis of time: its start, its middle, its end.
    scale: Vec<String>,
}

/// A task in the table.
struct Row {
    name: String,
    url: String,
    kind: String,
    state: State,
    attempts: u32,
    took: Option<String>,
    timeline: Vec<Segment>,
    rows_in: Option<String>,
    rows_out: Option<String>,
    duplicates: Option<String>,
    rejected: Option<String>,
    reasons: String,
    /// Why it waits, was skipped or failed, in a line.
    note: Option<String>,
    warnings: usize,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Path(id): Path<RunId>,
) -> Result<Response, ApiError> {
    let run = find_run(&app, &id).await?;
    let title = format!("{} #{}", id.dag, id.number);
    html(&Page { frame: Frame::new(&app, title, "runs"), body: body(&app, &run).await })
}

pub(super) async fn live(
    Shared(app): Shared<App>,
    Path(id): Path<RunId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let run = find_run(&app, &id).await?;
    fragment(&body(&app, &run).await, &headers, !run.head.state.is_final())
}

async fn body(app: &App, run: &RunDetail) -> Body {
    let now = app.backend.now();
    let head = &run.head;
    let failed = failed_tasks(run);
    let shown = failed.iter().take(PROBLEMS_MAX);
    let problems = join_all(shown.map(|ix| problem(app, run, *ix, LOG_LINES))).await;
    let order: Vec<TaskIx> = match &run.dag {
        Some(dag) => dag.order().iter().copied().filter(|ix| ix.at() < run.tasks.len()).collect(),
        None => (0..run.tasks.len() as u32).map(TaskIx).collect(),
    };
    let axis = Axis::of(run, now);
    Body {
        id: head.id.to_string(),
        dag: head.id.dag.to_string(),
        number: head.id.number,
        state: head.state.into(),
        live: !head.state.is_final(),
        failed: matches!(head.state, RunState::Failed | RunState::Cancelled),
        cancel_requested: head.cancel_requested,
        reason: head.reason.as_ref().map(|reason| {
            let how = if head.timed_out { "ended, because" } else { "cancelled by" };
            format!("This run was {how} {reason}")
        }),
        why: why(head),
        created: When::new(head.created_at, now),
        finished: head.finished_at.map(|at| When::new(at, now)),
        took: say::span(head.started_at, head.finished_at, now),
        interval: head.interval.map(say::interval),
        version: head.version.short().to_owned(),
        generation: head.generation,
        params: facts(&head.params),
        paused: head.held_by.clone().filter(|_| !head.state.is_final()),
        failing: !failed.is_empty(),
        note: head.note.as_deref().map(|note| NoteShown::new(note, now)),
        waits: run
            .waits
            .iter()
            .find(|(task, _)| task.is_none() && head.held_by.is_none())
            .map(|(_, why)| why.clone()),
        progress: Progress::of(run),
        more_problems: failed.len().saturating_sub(PROBLEMS_MAX),
        problems,
        graph: run.dag.as_ref().and_then(|dag| graph(dag, Some(run), now)),
        rows: order.iter().take(ROWS_MAX).map(|ix| row(run, *ix, &axis)).collect(),
        hidden: order.len().saturating_sub(ROWS_MAX),
        scale: axis.marks(),
    }
}

/// The span of time that a run covers.
struct Axis {
    start: Timestamp,
    end: Timestamp,
    now: Timestamp,
}

impl Axis {
    fn of(run: &RunDetail, now: Timestamp) -> Self {
        let head = &run.head;
        // The first generation's start, so that a rerun's older attempts are on the page.
        let first = run.tasks.iter().flat_map(|t| t.history.iter().map(|h| h.started_at)).min();
        let start = head.started_at.unwrap_or(head.created_at);
        Self {
            start: first.map_or(start, |first| first.min(start)),
            end: head.finished_at.unwrap_or(now),
            now,
        }
    }

    /// In thousandths.
    fn x(&self, at: Timestamp) -> u64 {
        let whole = self.end.since(self.start).as_micros().max(1);
        (at.since(self.start).as_micros() * 1000 / whole).min(1000) as u64
    }

    fn segment(&self, from: Timestamp, to: Timestamp, class: &'static str) -> Segment {
        let (x, end) = (self.x(from), self.x(to));
        // What happened can be seen, however short it was.
        let width = (end.saturating_sub(x)).max(4);
        Segment { x: x.min(1000 - width), width, class }
    }

    fn marks(&self) -> Vec<String> {
        let whole = self.end.since(self.start);
        vec!["0".to_owned(), say::duration(whole / 2), say::duration(whole)]
    }

    /// What a task did when: it waited for a slot, and it ran.
    fn timeline(&self, task: &TaskRun) -> Vec<Segment> {
        let mut segments: Vec<Segment> = task
            .history
            .iter()
            .map(|past| {
                let class = super::parts::AttemptRow::new(past, 0, self.now).class;
                self.segment(past.started_at, past.finished_at, class)
            })
            .collect();
        let running = task.state == tidemill_model::TaskState::Running;
        if let (Some(start), true) = (task.started_at, running) {
            segments.push(self.segment(start, self.end, "running"));
        }
        let until = if task.state == tidemill_model::TaskState::Queued {
            Some(self.end)
        } else {
            task.started_at
        };
        if let (Some(from), Some(to)) = (task.queued_at, until)
            && self.x(to) > self.x(from) + 3
        {
            segments.insert(0, self.segment(from, to, "queued"));
        }
        segments
    }
}

fn row(run: &RunDetail, ix: TaskIx, axis: &Axis) -> Row {
    let task = &run.tasks[ix.at()];
    let name = run.task_name(ix);
    let counts = task.result.as_ref().map(|result| &result.counts);
    let some = |n: u64| (n > 0).then(|| say::count(n));
    let rejected = counts.map_or(&[] as &[_], |counts| counts.rejected.as_slice());
    let reasons: Vec<String> =
        rejected.iter().map(|(reason, n)| format!("{reason} {}", say::count(*n))).collect();
    let waits = run.waits.iter().find(|(of, _)| *of == Some(ix)).map(|(_, why)| why.clone());
    let error = task.error.as_ref().map(|error| say::line(&error.message, 160));
    let failed = matches!(
        task.state,
        tidemill_model::TaskState::Failed | tidemill_model::TaskState::UpForRetry
    );
    let asked = task.error.as_ref().and_then(|error| error.asked_wait());
    let retry = task.retry_at.filter(|_| !task.state.is_final()).map(|at| {
        let again = format!("tries again {}", say::relative(at, axis.now));
        asked.map_or(again.clone(), |asked| format!("{again}, as {asked}"))
    });
    // What waits for its next try is said to wait for nothing else.
    let items = task.map.as_deref().map(items_of);
    let note = [error.filter(|_| failed), retry.or(waits).or_else(|| task.reason.clone()), items];
    let note: Vec<String> = note.into_iter().flatten().collect();
    Row {
        url: format!("/runs/{}/tasks/{name}", run.head.id),
        kind: run.dag.as_ref().map(|dag| kind_of(dag, ix)).unwrap_or_default(),
        name,
        state: task.state.into(),
        attempts: task.attempts,
        // What is there for each item has no time of its own.
        took: say::span(task.started_at, task.finished_at, axis.now)
            .filter(|_| task.map.is_none() || task.attempts > 0),
        timeline: axis.timeline(task),
        rows_in: counts.and_then(|counts| some(counts.rows_in)),
        rows_out: counts.and_then(|counts| some(counts.rows_out)),
        duplicates: counts.and_then(|counts| some(counts.duplicates)),
        rejected: counts.and_then(|counts| some(counts.rejected_total())),
        reasons: reasons.join(", "),
        note: (!note.is_empty()).then(|| note.join(" · ")),
        warnings: task.result.as_ref().map_or(0, |result| result.warnings.len()),
    }
}
