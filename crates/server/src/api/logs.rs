//! Logs of attempts: pages, following, raw bytes.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tidemill_model::{RunId, TaskState};
use tokio::time::Instant;

use super::subject::Subject;
use super::view::At;
use crate::app::App;
use crate::backend::{LogFrom, LogPage, LogQuery, LogStream};
use crate::error::ApiError;
use crate::extract::{Path, Query};

/// Lines of a page without `limit`.
const LINES_DEFAULT: usize = 1_000;
/// Lines of a page at most.
const LINES_MAX: usize = 5_000;
/// How long a following request waits for a line.
const FOLLOW_MAX: Duration = Duration::from_secs(20);
/// How often it looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(150);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {
    attempt: Option<u32>,
    /// An offset, or `tail`.
    from: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    raw: bool,
    #[serde(default)]
    follow: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    at: Option<At>,
    stream: LogStream,
    text: String,
    offset: u64,
}

#[derive(Debug, Serialize)]
struct LogAnswer {
    run: RunId,
    task: String,
    attempt: u32,
    /// Whether there is a log at all.
    kept: bool,
    lines: Vec<Line>,
    next: u64,
    ended: bool,
    dropped: u64,
    bytes: u64,
}

/// An attempt whose log is asked for.
pub(crate) struct Chosen {
    /// Its number.
    pub(crate) attempt: u32,
    /// It has ended, so its log does not grow any more.
    pub(crate) over: bool,
}

/// The attempt that is meant: the given one, which must have started, or the newest. `None` when
/// none has started yet.
pub(crate) fn attempt_of(
    subject: &Subject,
    given: Option<u32>,
) -> Result<Option<Chosen>, ApiError> {
    let Subject { name, task: state, .. } = subject;
    let newest = state.attempts;
    let attempt = match given {
        None if newest == 0 => return Ok(None),
        None => newest,
        Some(attempt) if (1..=newest).contains(&attempt) => attempt,
        Some(attempt) => {
            return Err(ApiError::not_found(format!("task `{name}` has no attempt {attempt}"))
                .help(format!("it has had {newest} so far")));
        }
    };
    let over = attempt < newest || state.state != TaskState::Running;
    Ok(Some(Chosen { attempt, over }))
}

/// Reads `from`.
pub(crate) fn from_of(text: Option<&str>) -> Result<LogFrom, ApiError> {
    match text {
        None => Ok(LogFrom::Offset(0)),
        Some("tail") => Ok(LogFrom::Tail),
        Some(text) => text.parse().map(LogFrom::Offset).map_err(|_| {
            ApiError::bad_request(format!("`from` must be an offset or `tail`, not `{text}`"))
        }),
    }
}

/// A page of lines; with `follow`, waits for the first line or the end. A server that was killed
/// could not write the end of a log: where the attempt was `over` before the page was read, an empty
/// page is the end too.
pub(crate) async fn page(
    app: &App,
    query: LogQuery,
    over: bool,
    follow: bool,
) -> Result<LogPage, ApiError> {
    let until = Instant::now() + FOLLOW_MAX;
    loop {
        let mut page = app.backend.logs(query.clone()).await?;
        page.ended |= over && page.lines.is_empty();
        if !follow || page.ended || !page.lines.is_empty() || Instant::now() >= until {
            return Ok(page);
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

pub(super) async fn read(
    State(app): State<App>,
    Path((run, task)): Path<(RunId, String)>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let (_, subject) = super::subject::find(&app, &run, &task).await?;
    let attempt = attempt_of(&subject, query.attempt)?;
    let limit = match query.limit {
        None => LINES_DEFAULT,
        Some(limit @ 1..=LINES_MAX) => limit,
        Some(limit) => {
            let detail = format!("`limit` must be 1 to {LINES_MAX}, not {limit}");
            return Err(ApiError::bad_request(detail));
        }
    };
    let Some(Chosen { attempt, over }) = attempt else {
        let ended = subject.task.state.is_final();
        let empty = LogPage { ended, ..LogPage::default() };
        return Ok(Json(lines(run, task, 0, empty)).into_response());
    };
    if query.raw {
        return raw(&app, &run, &task, attempt).await;
    }
    let from = from_of(query.from.as_deref())?;
    let asked = LogQuery { run: run.clone(), task: task.clone(), attempt, from, limit };
    let page = page(&app, asked, over, query.follow).await?;
    Ok(Json(lines(run, task, attempt, page)).into_response())
}

fn lines(run: RunId, task: String, attempt: u32, page: LogPage) -> LogAnswer {
    let LogPage { kept, lines, next, ended, dropped, bytes } = page;
    let lines = lines
        .into_iter()
        .map(|line| Line {
            at: line.at.map(At),
            stream: line.stream,
            text: line.text,
            offset: line.offset,
        })
        .collect();
    LogAnswer { run, task, attempt, kept, lines, next, ended, dropped, bytes }
}

/// The bytes, to be saved and never to be shown as a page: they are a task's, not ours.
async fn raw(app: &App, run: &RunId, task: &str, attempt: u32) -> Result<Response, ApiError> {
    let log = app.backend.raw_log(run, task, attempt).await?.ok_or_else(|| {
        ApiError::not_found(format!("attempt {attempt} of task `{task}` has no log"))
    })?;
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    let name = format!("attachment; filename=\"{run}.{task}.{attempt}.log\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if let Some(bytes) = log.bytes {
        headers.insert(header::CONTENT_LENGTH, bytes.into());
    }
    Ok((headers, Body::from_stream(log.stream)).into_response())
}
