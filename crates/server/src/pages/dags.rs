//! The list of DAGs.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;
use serde::Deserialize;
use tidemill_model::{Dag, RunState, Timestamp};

use super::parts::{History, RunRow};
use super::{Frame, html};
use crate::app::App;
use crate::backend::DagView;
use crate::cursor;
use crate::error::ApiError;
use crate::extract::Query;
use crate::say::When;

/// DAGs on a page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "dags.html")]
struct Page {
    frame: Frame,
    find: String,
    tag: Option<String>,
    total: u64,
    rows: Vec<Row>,
    tags: Vec<String>,
    next: Option<String>,
}

struct Row {
    title: String,
    id: Option<String>,
    description: Option<String>,
    tags: Vec<String>,
    schedule: Option<String>,
    zone: Option<String>,
    next: Option<When>,
    paused: bool,
    retired: bool,
    broken: Option<String>,
    last: Option<RunRow>,
    history: History,
    runnable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// A part of the name, the description, the owner or a tag.
    find: Option<String>,
    tag: Option<String>,
    after: Option<String>,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let now = app.backend.now();
    let dags = app.backend.dags().await?;
    let mut tags: Vec<String> =
        dags.iter().filter_map(|dag| dag.dag.as_ref()).flat_map(|dag| dag.tags.clone()).collect();
    tags.sort();
    tags.dedup();
    let find = query.find.unwrap_or_default();
    let after = query.after.as_deref().map(cursor::read_dag).transpose()?;
    let matching: Vec<DagView> = dags
        .into_iter()
        .filter(|dag| matches(dag, &find.to_lowercase(), query.tag.as_deref()))
        .collect();
    let total = matching.len() as u64;
    let (shown, next) = cursor::page_of_dags(matching, after.as_ref(), PAGE);
    html(&Page {
        frame: Frame::new(&app, "DAGs", "dags"),
        total,
        rows: shown.iter().map(|dag| row(dag, now)).collect(),
        next,
        tags,
        tag: query.tag,
        find,
    })
}

fn matches(view: &DagView, find: &str, tag: Option<&str>) -> bool {
    let title = view.title();
    let dag = view.dag.as_deref();
    let tagged = tag.is_none_or(|tag| dag.is_some_and(|dag| dag.tags.iter().any(|t| t == tag)));
    let texts = dag.into_iter().flat_map(|dag| {
        let single = [dag.description.as_deref(), dag.owner.as_deref()].into_iter().flatten();
        single.chain(dag.tags.iter().map(String::as_str))
    });
    let found =
        std::iter::once(title.as_str()).chain(texts).any(|text| text.to_lowercase().contains(find));
    tagged && found
}

/// A param without a default needs the form on the DAG's page.
fn starts_without_params(dag: &Dag) -> bool {
    dag.params.values().all(|param| param.default.is_some())
}

fn row(view: &DagView, now: Timestamp) -> Row {
    let dag = view.dag.as_deref();
    let schedule = dag.and_then(|dag| dag.schedule_words());
    let zone = dag.filter(|_| schedule.is_some()).map(|dag| dag.timezone.to_string());
    let last = view.recent.iter().find(|run| run.head.state != RunState::Queued);
    Row {
        title: view.title(),
        id: view.id.as_ref().map(ToString::to_string),
        description: dag.and_then(|dag| dag.description.clone()),
        tags: dag.map(|dag| dag.tags.clone()).unwrap_or_default(),
        schedule,
        zone: zone.filter(|zone| zone != "UTC"),
        next: view.next_tick.map(|at| When::new(at, now)),
        paused: view.paused,
        retired: view.retired,
        broken: view
            .diagnostics
            .iter()
            .find(|finding| finding.blocks_run)
            .map(|finding| format!("{} (line {})", finding.message, finding.line)),
        last: last.map(|run| RunRow::new(run, now)),
        history: History::new(&view.recent, now),
        runnable: dag.is_some_and(starts_without_params)
            && !view.retired
            && !view.diagnostics.iter().any(|finding| finding.blocks_run),
    }
}
