//! Joins backend, routes and guard into one router.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::{Router, response::IntoResponse};

use crate::api;
use crate::api::idempotency::Keys;
use crate::backend::Backend;
use crate::error::{ApiError, ErrorCode};
use crate::guard::{self, Hosts};
use crate::metrics::{self, HttpMetrics};
use crate::pages;
use crate::routes::{Gate, Loopback, Route, Routes};

/// The longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The token of this server, which only its operating-system user can read. A request that
    /// carries it as a bearer token may run files, and need not come from a page.
    pub token: Option<String>,
    /// Names besides `localhost`, `127.0.0.1` and `[::1]` under which the server may be asked,
    /// with a port or for any.
    pub allowed_hosts: Vec<String>,
    /// The version of the program, for the pages and `/health`.
    pub version: String,
}

/// What handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// See [`App`].
pub struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hosts: Hosts,
    pub(crate) token: Option<String>,
    pub(crate) version: String,
    pub(crate) http: HttpMetrics,
    pub(crate) keys: Keys,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A router and its table.
pub struct Site {
    /// Every route with its permission.
    pub table: Vec<Route>,
    /// Answers requests.
    pub router: Router,
}

/// The routes of the API, for its documentation.
pub fn api_table() -> Vec<Route> {
    api::routes(Routes::new(Arc::new(Loopback))).finish().0
}

/// The whole site for a server that listens on a port.
pub fn site(backend: Arc<dyn Backend>, options: &ServerOptions, port: u16) -> Site {
    site_behind(backend, options, port, Arc::new(Loopback))
}

/// The whole site behind a gate.
pub fn site_behind(
    backend: Arc<dyn Backend>,
    options: &ServerOptions,
    port: u16,
    gate: Arc<dyn Gate>,
) -> Site {
    let app = App(Arc::new(Shared {
        backend,
        hosts: Hosts::new(port, &options.allowed_hosts),
        token: options.token.clone(),
        version: options.version.clone(),
        http: HttpMetrics::default(),
        keys: Keys::default(),
    }));
    let (table, router) = pages::routes(api::routes(Routes::new(gate))).finish();
    let router = router
        .fallback(|| async { ApiError::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(ErrorCode::MethodNotAllowed, "this address does not take this method")
                .into_response()
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .layer(middleware::from_fn(crate::gzip::gzip))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .with_state(app);
    Site { table, router }
}
