//! Items of a mapped task: list.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tidemill_model::run::StoredItem;
use tidemill_model::{RunId, TaskIx, TaskState};

use super::limit_of;
use super::runs::find as find_run;
use super::subject::mapped;
use super::view::{Item, Page};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Path, Query};

/// Items that one request looks at, when it asks for some states alone.
const LOOKED_AT_MAX: usize = 5_000;
/// Items that are read at once.
const STEP: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<String>,
    /// The number of the last item of the page before.
    after: Option<u32>,
    limit: Option<usize>,
}

/// Reads states divided by commas.
pub(crate) fn states_of(text: Option<&str>) -> Result<Vec<TaskState>, ApiError> {
    let known = |word: &str| TaskState::ALL.into_iter().find(|state| state.label() == word);
    let words = text.unwrap_or("").split(',').filter(|word| !word.is_empty());
    let read = words.map(|word| {
        known(word).ok_or_else(|| {
            let all: Vec<&str> = TaskState::ALL.iter().map(|state| state.label()).collect();
            ApiError::bad_request(format!("`{word}` is no state of a task"))
                .help(format!("use: {}", all.join(", ")))
        })
    });
    read.collect()
}

/// Items in these states, or in any, from `first` on; and where to go on, if there may be more.
pub(crate) async fn page(
    app: &App,
    run: &RunId,
    task: TaskIx,
    states: &[TaskState],
    first: u32,
    limit: usize,
) -> Result<(Vec<StoredItem>, Option<u32>), ApiError> {
    let (mut found, mut next, mut looked_at) = (Vec::new(), first, 0);
    loop {
        let step = if states.is_empty() { limit - found.len() } else { STEP };
        let items = app.backend.items(run, task, next, step).await?;
        let is_last = items.len() < step;
        looked_at += items.len();
        for item in items {
            if found.len() == limit {
                return Ok((found, Some(item.item)));
            }
            next = item.item + 1;
            let state = item.runs.first().map(|whole| whole.state).unwrap_or_default();
            if states.is_empty() || states.contains(&state) {
                found.push(item);
            }
        }
        if is_last {
            return Ok((found, None));
        }
        if found.len() == limit || looked_at >= LOOKED_AT_MAX {
            return Ok((found, Some(next)));
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Path((run, task)): Path<(RunId, String)>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Item>>, ApiError> {
    let detail = find_run(&app, &run).await?;
    let ix = mapped(&detail, &task)?;
    let states = states_of(query.state.as_deref())?;
    let first = query.after.map_or(0, |after| after.saturating_add(1));
    let limit = limit_of(query.limit)?;
    let (items, next) = page(&app, &run, ix, &states, first, limit).await?;
    let items = items.iter().map(|item| Item::new(&detail, item)).collect();
    Ok(Json(Page { items, next: next.map(|next| next.saturating_sub(1).to_string()) }))
}
