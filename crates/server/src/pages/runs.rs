//! The list of runs.

use askama::Template;
use axum::extract::State as Shared;
use axum::response::Response;
use serde::Deserialize;
use tidemill_model::{DagId, RunState};
use tidemill_store::RunQuery;

use super::parts::{RunRow, State};
use super::{Frame, html};
use crate::api::states_of;
use crate::app::App;
use crate::cursor;
use crate::error::ApiError;
use crate::extract::Query;

/// Runs on a page.
const PAGE: usize = 50;
/// Names in the choice of DAGs.
const CHOICES_MAX: usize = 500;

#[derive(Template)]
#[template(path = "runs.html")]
struct Page {
    frame: Frame,
    rows: Vec<RunRow>,
    chips: Vec<Chip>,
    dags: Vec<String>,
    dag: String,
    state: String,
    older: Option<String>,
    newest: bool,
}

/// A filter by state.
struct Chip {
    word: &'static str,
    state: Option<State>,
    url: String,
    chosen: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    dag: Option<String>,
    state: Option<String>,
    after: Option<String>,
}

pub(super) async fn page(
    Shared(app): Shared<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let now = app.backend.now();
    // The form sends an empty name for all.
    let dag = query.dag.as_deref().filter(|dag| !dag.is_empty());
    let dag: Option<DagId> = dag
        .map(str::parse)
        .transpose()
        .map_err(|error: tidemill_model::id::BadName| ApiError::bad_request(error.to_string()))?;
    let state = query.state.unwrap_or_default();
    let states = states_of(Some(&state))?;
    let after = query.after.as_deref().map(cursor::read_run).transpose()?;
    let newest = after.is_none();
    let asked = RunQuery { dag: dag.clone(), states, after, limit: PAGE };
    let page = app.backend.runs(asked).await?;
    let names = app.backend.dags().await?.into_iter().filter_map(|dag| dag.id);
    let dags = names.take(CHOICES_MAX).map(|id| id.to_string()).collect();
    let dag = dag.map(|dag| dag.to_string()).unwrap_or_default();
    html(&Page {
        frame: Frame::new(&app, "Runs", "runs"),
        rows: page.runs.iter().map(|run| RunRow::new(run, now)).collect(),
        chips: chips(&dag, &state),
        older: page.next.map(|next| address(&dag, &state, Some(&cursor::write_run(&next)))),
        dags,
        dag,
        state,
        newest,
    })
}

fn chips(dag: &str, state: &str) -> Vec<Chip> {
    let all =
        Chip { word: "all", state: None, url: address(dag, "", None), chosen: state.is_empty() };
    let one = |of: RunState| Chip {
        word: of.label(),
        state: Some(of.into()),
        url: address(dag, of.label(), None),
        chosen: state == of.label(),
    };
    std::iter::once(all).chain(RunState::ALL.into_iter().map(one)).collect()
}

/// Names and cursors hold nothing that an address would have to escape.
fn address(dag: &str, state: &str, after: Option<&str>) -> String {
    let parts = [("dag", dag), ("state", state), ("after", after.unwrap_or(""))];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if parts.is_empty() { "/runs".to_owned() } else { format!("/runs?{}", parts.join("&")) }
}
