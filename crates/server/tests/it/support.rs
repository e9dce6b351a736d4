//! Asks the router and keeps the answers.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, header};
use serde_json::Value;
use tidemill_server::{ApiError, Caller, ErrorCode, Gate, Permission, ServerOptions, Site};
use tower::ServiceExt;

use crate::fake::Fake;
use crate::world::world;

/// Where the server would listen.
pub(crate) const PORT: u16 = 7100;
/// Its name.
pub(crate) const HOST: &str = "127.0.0.1:7100";
/// Its token.
pub(crate) const TOKEN: &str = "c0ffee";

pub(crate) fn options() -> ServerOptions {
    ServerOptions {
        token: Some(TOKEN.to_owned()),
        allowed_hosts: vec!["tunnel.example:443".to_owned()],
        version: "1.2.3".to_owned(),
    }
}

/// A site over the usual data, and the data.
pub(crate) fn site() -> (Site, Arc<Fake>) {
    let fake = Arc::new(world(None));
    (tidemill_server::site(Arc::clone(&fake) as _, &options(), PORT), fake)
}

/// A gate that lets nobody through.
pub(crate) struct Closed;

impl Gate for Closed {
    fn check(&self, _: Caller, _: Permission) -> Result<(), ApiError> {
        Err(ApiError::new(ErrorCode::Unauthorized, "closed"))
    }
}

/// A site behind a gate that lets nobody through.
pub(crate) fn closed_site() -> Site {
    tidemill_server::site_behind(Arc::new(world(None)), &options(), PORT, Arc::new(Closed))
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// A request with the headers of a command-line client.
pub(crate) fn request(method: &Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, HOST)
}

pub(crate) async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) async fn get(router: &Router, path: &str) -> Answer {
    ask(router, request(&Method::GET, path).body(Body::empty()).expect("a request")).await
}

pub(crate) async fn post(router: &Router, path: &str, body: &str) -> Answer {
    post_with(router, path, body, &[]).await
}

pub(crate) async fn post_with(
    router: &Router,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = request(&Method::POST, path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(router, request.body(Body::from(body.to_owned())).expect("a request")).await
}

/// A path of a route with its parts filled in by things that exist.
pub(crate) fn example(path: &str) -> String {
    path.replace("{run}/tasks/{task}/items", "regions.1/tasks/regions/items")
        .replace("{run}/tasks/{task}/answer", "release.1/tasks/send/answer")
        .replace("{dag}", "personalize")
        .replace("{run}", "orders_daily.21")
        .replace("{task}", "report")
        .replace("{table}", "clean_orders")
        .replace("{id}", "12346")
        .replace("{file}", "tidemill.css")
}

/// The same for a run under way, which can be cancelled.
pub(crate) fn live_example(path: &str) -> String {
    example(&path.replace("{run}/cancel", "personalize.43/cancel"))
}

/// The body with which a route works.
pub(crate) fn body_for(path: &str) -> &'static str {
    let on_many = ["/runs/rerun", "/runs/cancel", "/runs/pause", "/runs/resume"];
    if path.ends_with("/run-file") || path.ends_with("/backup") {
        r#"{"path": "/dags/a.yaml"}"#
    } else if path.ends_with("/sql") {
        r#"{"sql": "select 1"}"#
    } else if path.ends_with("/answer") {
        r#"{"approved": true}"#
    } else if path.ends_with("/runs/mark") {
        r#"{"filter": {"state": "failed"}, "with": {"state": "skipped"}}"#
    } else if path.ends_with("/mark") {
        r#"{"state": "skipped", "tasks": ["load"]}"#
    } else if path.ends_with("/note") {
        r#"{"text": "look"}"#
    } else if on_many.iter().any(|end| path.ends_with(end)) {
        r#"{"filter": {"dag": "personalize", "created_after": "2020-01-01T00:00:00Z"}}"#
    } else {
        "{}"
    }
}
