//! Version 1 of the REST API. Field names and words are a contract: they are added to, never
//! changed. Instants are RFC 3339 in UTC, spans are milliseconds.

mod bulk;
mod dags;
mod history;
pub(crate) mod idempotency;
mod items;
mod logs;
mod operations;
mod profiles;
mod questions;
mod runs;
mod subject;
mod system;
mod tables;
mod view;

pub(crate) use dags::no_dag;
pub(crate) use items::{page as items_page, states_of as task_states_of};
pub(crate) use logs::{Chosen, attempt_of, from_of, page as log_page};
pub(crate) use profiles::{check_id as check_profile_id, is_known};
pub(crate) use runs::{find as find_run, states_of};
pub(crate) use subject::{Subject, find as find_task, find_table};
pub(crate) use tables::no_table;

use crate::error::ApiError;
use crate::routes::{Permission, Routes};

/// Entries of a page without `limit`.
const LIMIT_DEFAULT: usize = 50;
/// Entries of a page at most.
const LIMIT_MAX: usize = 200;

/// Every route of the API.
pub(crate) fn routes(routes: Routes) -> Routes {
    use Permission::{
        Approve, CancelRuns, OperateRuns, PauseDags, Public, RunFiles, TriggerRuns, ViewDags,
        ViewData, ViewLogs, ViewProfiles, ViewRuns, ViewSystem,
    };
    routes
        .get("/api/v1/dags", ViewDags, dags::list)
        .get("/api/v1/dags/{dag}", ViewDags, dags::show)
        .get("/api/v1/dags/{dag}/runs", ViewRuns, runs::list_of_dag)
        .post("/api/v1/dags/{dag}/runs", TriggerRuns, runs::trigger)
        .post("/api/v1/dags/{dag}/pause", PauseDags, dags::pause)
        .post("/api/v1/dags/{dag}/resume", PauseDags, dags::resume)
        .get("/api/v1/runs", ViewRuns, runs::list)
        .get("/api/v1/runs/{run}", ViewRuns, runs::show)
        .get("/api/v1/runs/{run}/wait", ViewRuns, runs::wait)
        .post("/api/v1/runs/{run}/rerun", TriggerRuns, runs::rerun)
        .post("/api/v1/runs/{run}/cancel", CancelRuns, runs::cancel)
        .post("/api/v1/runs/{run}/pause", OperateRuns, operations::pause)
        .post("/api/v1/runs/{run}/resume", OperateRuns, operations::resume)
        .post("/api/v1/runs/{run}/mark", OperateRuns, operations::mark)
        .post("/api/v1/runs/{run}/note", OperateRuns, operations::note)
        .post("/api/v1/runs/{run}/tasks/{task}/retry", OperateRuns, operations::retry)
        .post("/api/v1/runs/rerun", TriggerRuns, bulk::rerun)
        .post("/api/v1/runs/cancel", CancelRuns, bulk::cancel)
        .post("/api/v1/runs/pause", OperateRuns, bulk::pause)
        .post("/api/v1/runs/resume", OperateRuns, bulk::resume)
        .post("/api/v1/runs/mark", OperateRuns, bulk::mark)
        .post("/api/v1/runs/{run}/tasks/{task}/answer", Approve, questions::answer)
        .get("/api/v1/runs/{run}/tasks/{task}/items", ViewRuns, items::list)
        .get("/api/v1/runs/{run}/tasks/{task}/logs", ViewLogs, logs::read)
        .get("/api/v1/runs/{run}/tables/{table}", ViewData, tables::sample)
        .get("/api/v1/questions", ViewRuns, questions::list)
        .post("/api/v1/run-file", RunFiles, runs::run_file)
        .get("/api/v1/profiles", ViewProfiles, profiles::list)
        .get("/api/v1/profiles/{id}", ViewProfiles, profiles::show)
        .get("/api/v1/history", ViewSystem, history::show)
        .post("/api/v1/history/sql", ViewRuns, history::sql)
        .post("/api/v1/history/tidy", RunFiles, history::tidy)
        .post("/api/v1/backup", RunFiles, system::backup)
        .get("/api/v1/doctor", ViewSystem, system::doctor)
        .get("/health", Public, system::health)
        .get("/metrics", ViewSystem, system::metrics)
}

/// The limit of a page.
fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => {
            Err(ApiError::bad_request(format!("`limit` must be 1 to {LIMIT_MAX}, not {limit}")))
        }
    }
}
