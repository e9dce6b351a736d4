//! How a command reaches a home: through the server that works on it, or by opening it itself.
//!
//! Either way the command speaks the API: to the server's address, or to the same routes in this
//! process. So there is one way to ask for anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill_model::RunId;
use tidemill_server::InProcess;
use tidemill_spec::Catalog;
use tidemill_store::{Layout, ServerInfo};

use crate::backend::NodeBackend;
use crate::commands::Globals;
use crate::failure::Failure;
use crate::node::{Keep, Mode, Node, NodeSettings, Toolbox};

/// A server that does not answer within this time is taken for gone.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A home, reached one way or the other.
pub(crate) enum Access {
    /// Through the server at this address.
    Remote(Remote),
    /// In this process.
    Local(Arc<Node>, InProcess),
}

/// The server of a home.
pub(crate) struct Remote {
    base: String,
    token: String,
    http: reqwest::Client,
    toolbox: Toolbox,
}

impl Access {
    /// Reaches the home: to look at it, or to work on it.
    pub(crate) async fn open(
        globals: &Globals,
        folder: Option<PathBuf>,
        mode: Mode,
    ) -> Result<Self, Failure> {
        if let Some(running) = Self::running(globals).await? {
            return Ok(running);
        }
        if mode == Mode::Look {
            globals.must_be_a_home()?;
        }
        Self::local(globals.node(folder), mode).await
    }

    /// As [`Access::open`], with finished runs kept so where no server works on the home.
    pub(crate) async fn open_keeping(
        globals: &Globals,
        mode: Mode,
        keep: Keep,
    ) -> Result<Self, Failure> {
        if let Some(running) = Self::running(globals).await? {
            return Ok(running);
        }
        globals.must_be_a_home()?;
        Self::local(NodeSettings { keep, ..globals.node(None) }, mode).await
    }

    async fn local(settings: NodeSettings, mode: Mode) -> Result<Self, Failure> {
        let node = tokio::task::spawn_blocking(move || Node::open(&settings, mode))
            .await
            .map_err(Failure::internal)??;
        let backend = Arc::new(NodeBackend::new(Arc::clone(&node)));
        Ok(Self::Local(node, InProcess::new(backend, crate::node::VERSION)))
    }

    /// The server that works on the home, if one does.
    pub(crate) async fn running(globals: &Globals) -> Result<Option<Self>, Failure> {
        match Layout::new(&globals.home).server() {
            Some(info) => Ok(Remote::connect(globals, &info).await?.map(Self::Remote)),
            None => Ok(None),
        }
    }

    /// What DAG files are checked against.
    pub(crate) fn catalog(&self) -> Catalog {
        match self {
            Self::Remote(remote) => remote.toolbox.catalog.clone(),
            Self::Local(node, _) => node.catalog.clone(),
        }
    }

    /// Where a browser can look, if a server runs.
    pub(crate) fn address(&self) -> Option<&str> {
        match self {
            Self::Remote(remote) => Some(&remote.base),
            Self::Local(..) => None,
        }
    }

    /// Asks.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call("GET", path, None).await
    }

    /// Asks for something to be done.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call("POST", path, Some(body)).await
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, bytes) = self.bytes(method, path, body).await?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if (200..300).contains(&status) { Ok(value) } else { Err(problem(status, &value)) }
    }

    /// Asks, and gives the answer's status and bytes.
    pub(crate) async fn bytes(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        match self {
            Self::Local(_, routes) => {
                let (status, bytes) = routes.call(method, path, body).await;
                Ok((status, bytes.to_vec()))
            }
            Self::Remote(remote) => remote.bytes(method, path, body).await,
        }
    }

    /// Waits `at_most` so long, and no longer than until a run of this process has ended. Of a
    /// server's run nothing is known without asking.
    pub(crate) async fn wait_for_end(&self, run: &str, at_most: Duration) {
        let ended = async {
            if let (Self::Local(node, _), Ok(id)) = (self, run.parse::<RunId>()) {
                let mut commits = node.scheduler.position();
                let state = || node.scheduler.live().run_state(&id);
                while state().is_some_and(|state| !state.is_final()) {
                    if commits.changed().await.is_err() {
                        break;
                    }
                }
            } else {
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(at_most, ended).await;
    }

    /// Lets the home go: what was begun here is ended.
    pub(crate) async fn close(self) {
        if let Self::Local(node, _) = self {
            node.stop().await;
        }
    }
}

fn problem(status: u16, problem: &Value) -> Failure {
    let detail = problem["detail"]
        .as_str()
        .map_or_else(|| format!("the server answered with status {status}"), ToOwned::to_owned);
    let text = match problem["help"].as_str() {
        Some(help) => format!("{detail}; {help}"),
        None => detail,
    };
    match status {
        400 | 413 | 415 | 422 => Failure::argument(text),
        404 => Failure::missing(text),
        409 => Failure::conflict(text),
        500 => Failure::internal(text),
        _ => Failure::server(text),
    }
}

impl Remote {
    /// The server, if it answers; one that was killed leaves its address behind.
    async fn connect(globals: &Globals, info: &ServerInfo) -> Result<Option<Self>, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_MAX)
            .build()
            .map_err(Failure::internal)?;
        let base = format!("http://{}", info.address);
        if http.get(format!("{base}/health")).timeout(CONNECT_MAX).send().await.is_err() {
            return Ok(None);
        }
        let toolbox = Toolbox::open(globals)?;
        Ok(Some(Self { base, token: info.token.clone(), http, toolbox }))
    }

    async fn bytes(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let lost = |error: reqwest::Error| {
            Failure::server(format!("the server at {} does not answer: {error}", self.base))
        };
        let url = format!("{}{path}", self.base);
        let request = if method == "GET" {
            self.http.get(url)
        } else {
            // An empty body is JSON all the same: the server takes nothing else.
            self.http.post(url).json(body.unwrap_or(&Value::Object(serde_json::Map::new())))
        };
        let answer = request.bearer_auth(&self.token).send().await.map_err(lost)?;
        let status = answer.status().as_u16();
        Ok((status, answer.bytes().await.map_err(lost)?.to_vec()))
    }
}
