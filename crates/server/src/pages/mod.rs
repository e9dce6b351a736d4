//! The pages: what an operator looks at. Rendered on the server from `web/templates`; they read
//! without scripts, and the scripts of `web/static` only keep them fresh and send orders to the
//! API.

mod assets;
mod dag;
mod dags;
pub(crate) mod error;
mod graph;
mod home;
mod json;
mod parts;
mod profiles;
mod run;
mod runs;
mod table;
mod task;

use std::hash::{DefaultHasher, Hash, Hasher};

use askama::Template;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api;
use crate::app::App;
use crate::error::ApiError;
use crate::routes::{Permission, Routes};

/// Every route of the pages.
pub(crate) fn routes(routes: Routes) -> Routes {
    use Permission::{Public, ViewDags, ViewData, ViewLogs, ViewProfiles, ViewRuns};
    routes
        .get("/", ViewRuns, home::page)
        .get("/live", ViewRuns, home::live)
        .get("/dags", ViewDags, dags::page)
        .get("/dags/{dag}", ViewDags, dag::page)
        .get("/runs", ViewRuns, runs::page)
        .get("/runs/{run}", ViewRuns, run::page)
        .get("/runs/{run}/live", ViewRuns, run::live)
        .get("/runs/{run}/tasks/{task}", ViewLogs, task::page)
        .get("/runs/{run}/tasks/{task}/live", ViewLogs, task::live)
        .get("/runs/{run}/tasks/{task}/lines", ViewLogs, task::lines)
        .get("/runs/{run}/tables/{table}", ViewData, table::page)
        .get("/profiles", ViewProfiles, profiles::list)
        .get("/profiles/{id}", ViewProfiles, profiles::show)
        .get("/static/{file}", Public, assets::file)
}

/// What surrounds every page.
pub(crate) struct Frame {
    /// In the window's title.
    title: String,
    /// The entry of the menu that is marked.
    section: &'static str,
    version: String,
    healthy: bool,
    health: String,
    style: String,
    script: String,
    /// The server's clock, which pages count from.
    now: String,
}

impl Frame {
    fn new(app: &App, title: impl Into<String>, section: &'static str) -> Self {
        let health = app.backend.health();
        let trouble: Vec<String> = health
            .parts
            .iter()
            .filter(|part| !part.ok)
            .map(|part| format!("{}: {}", part.name, part.detail))
            .collect();
        Self {
            title: title.into(),
            section,
            version: app.version.clone(),
            healthy: health.ok,
            health: if health.ok { "All systems work".to_owned() } else { trouble.join("; ") },
            style: assets::address("tidemill.css"),
            script: assets::address("tidemill.js"),
            now: app.backend.now().to_string(),
        }
    }
}

fn text(template: &impl Template) -> Result<String, ApiError> {
    template.render().map_err(|error| ApiError::internal(format!("cannot draw the page: {error}")))
}

fn html(template: &impl Template) -> Result<Response, ApiError> {
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text(template)?).into_response())
}

/// A part of a page that is asked for again and again: 304 while it stays the same.
fn fragment(
    template: &impl Template,
    headers: &HeaderMap,
    again: bool,
) -> Result<Response, ApiError> {
    let text = text(template)?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("{:016x}", hasher.finish());
    let again = if again { "yes" } else { "no" };
    let common = [("etag", format!("W/\"{tag}\"")), ("x-again", again.to_owned())];
    if api::is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((kind, common, text).into_response())
}
