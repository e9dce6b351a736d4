//! [`Routes`]: the only way to add a route, and it asks for a permission.
//!
//! A handler without a [`Permission`] does not compile, so no route can be forgotten. Who has which
//! permission is for the [`Gate`] to say, asked anew for each request, on the route that matched
//! and never on the text of the path.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::guard::check_json;

/// What a caller must be allowed for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Nothing: the route tells no more than that a server is here. A closed list.
    Public,
    /// Look at DAGs and their source.
    ViewDags,
    /// Look at runs, params, states and errors.
    ViewRuns,
    /// Read what tasks wrote to their logs.
    ViewLogs,
    /// Look at rows of tables.
    ViewData,
    /// Look at profiles: personal data.
    ViewProfiles,
    /// Look at metrics.
    ViewSystem,
    /// Start runs of DAGs that are there.
    TriggerRuns,
    /// End runs.
    CancelRuns,
    /// Let runs stand still, say how tasks ended, hasten retries, leave notes.
    OperateRuns,
    /// Answer the questions of tasks.
    Approve,
    /// Pause and resume schedules.
    PauseDags,
    /// Run any file of this machine, or write to any folder: the same as a login.
    RunFiles,
}

impl Permission {
    /// Every permission, in order.
    pub const ALL: [Self; 13] = [
        Self::Public,
        Self::ViewDags,
        Self::ViewRuns,
        Self::ViewLogs,
        Self::ViewData,
        Self::ViewProfiles,
        Self::ViewSystem,
        Self::TriggerRuns,
        Self::CancelRuns,
        Self::OperateRuns,
        Self::Approve,
        Self::PauseDags,
        Self::RunFiles,
    ];

    /// Its name in the documentation.
    pub fn label(self) -> &'static str {
        self.described().0
    }

    /// What it allows.
    pub fn about(self) -> &'static str {
        self.described().1
    }

    fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => ("public", "nothing is asked"),
            Self::ViewDags => ("view_dags", "look at DAGs and their source"),
            Self::ViewRuns => ("view_runs", "look at runs, params, states and errors"),
            Self::ViewLogs => ("view_logs", "read what tasks wrote to their logs"),
            Self::ViewData => ("view_data", "look at rows of tables"),
            Self::ViewProfiles => ("view_profiles", "look at profiles: personal data"),
            Self::ViewSystem => ("view_system", "look at metrics and findings"),
            Self::TriggerRuns => ("trigger_runs", "start runs of DAGs that are there"),
            Self::CancelRuns => ("cancel_runs", "end runs"),
            Self::OperateRuns => {
                ("operate_runs", "pause and resume runs, mark tasks, hasten retries, leave notes")
            }
            Self::Approve => ("approve", "answer the questions of tasks"),
            Self::PauseDags => ("pause_dags", "pause and resume schedules"),
            Self::RunFiles => (
                "run_files",
                "run any file of the machine, or write to any folder: takes the token",
            ),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller {
    /// The request carried this server's own token, which only its operating-system user can read.
    pub token: bool,
}

impl Caller {
    /// For the records of who did what.
    pub fn who(self) -> &'static str {
        if self.token { "cli" } else { "browser" }
    }
}

/// Says who may do what.
pub trait Gate: Send + Sync + 'static {
    /// Nothing, or why not.
    fn check(&self, caller: Caller, permission: Permission) -> Result<(), ApiError>;
}

/// The gate of a server on loopback, before there are users: everybody who reaches it may do
/// everything, except what reaches the machine's files, which takes the token.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loopback;

impl Gate for Loopback {
    fn check(&self, caller: Caller, permission: Permission) -> Result<(), ApiError> {
        if permission == Permission::RunFiles && !caller.token {
            let detail = "this takes the token of the server";
            return Err(ApiError::new(ErrorCode::Unauthorized, detail)
                .help("use the command line as the user who started the server"));
        }
        Ok(())
    }
}

/// One line of the table of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The method; `GET` answers `HEAD` too.
    pub method: Method,
    /// The path, with `{names}` for its parts.
    pub path: &'static str,
    /// What it takes.
    pub permission: Permission,
}

/// Routes with their permissions.
pub struct Routes {
    gate: Arc<dyn Gate>,
    table: Vec<Route>,
    router: Router<App>,
}

impl Routes {
    /// No routes yet.
    pub fn new(gate: Arc<dyn Gate>) -> Self {
        Self { gate, table: Vec::new(), router: Router::new() }
    }

    /// A route that changes nothing.
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, permission: Permission, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.add(Method::GET, path, permission, get(handler))
    }

    /// A route that changes something. It takes JSON and nothing else.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, permission: Permission, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let handler = post(handler).route_layer(middleware::from_fn(takes_json));
        self.add(Method::POST, path, permission, handler)
    }

    fn add(
        mut self,
        method: Method,
        path: &'static str,
        permission: Permission,
        handler: MethodRouter<App>,
    ) -> Self {
        let gate = Arc::clone(&self.gate);
        let handler = handler.route_layer(middleware::from_fn_with_state((gate, permission), ask));
        self.table.push(Route { method, path, permission });
        self.router = self.router.route(path, handler);
        self
    }

    /// The table and the router, which hold the same.
    pub(crate) fn finish(self) -> (Vec<Route>, Router<App>) {
        (self.table, self.router)
    }
}

async fn takes_json(request: Request, next: Next) -> Result<Response, ApiError> {
    check_json(request.headers())?;
    Ok(next.run(request).await)
}

type Asked = (Arc<dyn Gate>, Permission);

async fn ask(
    State((gate, permission)): State<Asked>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if permission != Permission::Public {
        let caller = request.extensions().get::<Caller>().copied().unwrap_or_default();
        gate.check(caller, permission)?;
    }
    Ok(next.run(request).await)
}
