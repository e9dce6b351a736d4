//! [`InProcess`]: the API without a socket, for commands that opened the home themselves.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use serde_json::Value;
use tower::ServiceExt;

use crate::app::{ServerOptions, site};
use crate::backend::Backend;

/// Any text will do: it never leaves the process.
const TOKEN: &str = "in-process";

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The routes of a server in this process.
#[derive(Clone)]
pub struct InProcess {
    router: Router,
}

impl InProcess {
    /// The routes over a backend.
    pub fn new(backend: Arc<dyn Backend>, version: &str) -> Self {
        let options = ServerOptions {
            token: Some(TOKEN.to_owned()),
            version: version.to_owned(),
            ..ServerOptions::default()
        };
        Self { router: site(backend, &options, 0).router }
    }

    /// The status and the body of an answer.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:0")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let request = match request {
            Ok(request) => request,
            Err(error) => return (400, Bytes::from(format!("{{\"detail\": \"{error}\"}}"))),
        };
        // A router is never unready and never fails: its errors are answers.
        let answer = match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
        (status, body.unwrap_or_default())
    }
}
