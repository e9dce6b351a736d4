//! The server's view of a node.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tidemill_executor::logs::{self, Stream, log_path};
use tidemill_model::admission::PoolState;
use tidemill_model::rerun::{MarkRequest, Marked, Rerun, RerunRequest};
use tidemill_model::run::StoredItem;
use tidemill_model::words::counted;
use tidemill_model::{Dag, DagId, Instance, RunId, RunState, TableRef, TaskIx, Timestamp, Version};
use tidemill_scheduler::{Clock, DagView as LiveDag, RunView, stats::COMMIT_BUCKETS_US};
use tidemill_server::backend::{
    AnswerRequest, Backend, BackupMade, Column, DagDetail, DagView, Health, HealthPart, Labels,
    LogFrom, LogLine, LogPage, LogQuery, LogStream, Metric, NoteRequest, ProfileDoc, ProfilePage,
    Question, RECENT_RUNS_MAX, RawLog, RunDetail, RunFileRequest, Samples, SqlAnswer, TableSample,
    TriggerRequest,
};
use tidemill_server::error::{ApiError, ErrorCode};
use tidemill_spec::{Diagnostic, Severity, codes};
use tidemill_store::doctor::How;
use tidemill_store::{DagSource, RunPage, RunQuery, RunSummary, Store};

use crate::folder::{DagFile, read_dag};
use crate::history;
use crate::neighbours::{Siblings, called_by};
use crate::node::{Mode, Node, SystemClock};
use crate::refused::{ended, internal, not_deployed, refused, stored};
use crate::rows::rows_of;

/// Runs that are read at once to find the newest of each DAG.
const RECENT_PAGE: usize = 500;

/// A node as the server sees it.
pub(crate) struct NodeBackend {
    node: Arc<Node>,
}

impl NodeBackend {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Runs work that may touch a disk off the async workers.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Node) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || work(&node))
            .await
            .map_err(|error| ApiError::internal(format!("a question was not answered: {error}")))?
    }

    async fn run_version(
        &self,
        dag: Arc<Dag>,
        source: DagSource,
        called: Vec<(Arc<Dag>, DagSource)>,
        request: tidemill_scheduler::TriggerRequest,
    ) -> Result<RunId, ApiError> {
        self.node.scheduler.run_version(dag, source, called, request).await.map_err(refused)
    }
}

/// The version of a DAG that was served last, where no folder is served.
fn stored_dag(node: &Node, id: &DagId) -> Option<(Arc<Dag>, DagSource)> {
    let record = node.scheduler.live().dag(id)?.record;
    let version = record.version.filter(|_| !record.retired)?;
    Some((node.scheduler.version(&version)?, stored_source(node, &version)?))
}

#[async_trait]
impl Backend for NodeBackend {
    fn now(&self) -> Timestamp {
        Clock::now(&SystemClock)
    }

    async fn dags(&self) -> Result<Vec<DagView>, ApiError> {
        self.blocking(|node| {
            let mut recent = recent_runs(node)?;
            let mut views = dag_views(node);
            for view in &mut views {
                if let Some(id) = &view.id {
                    view.recent = recent.remove(id).unwrap_or_default();
                }
            }
            Ok(views)
        })
        .await
    }

    async fn dag(&self, id: &DagId) -> Result<Option<DagDetail>, ApiError> {
        let id = id.clone();
        self.blocking(move |node| {
            let Some(mut view) = dag_view(node, &id) else { return Ok(None) };
            let query =
                RunQuery { dag: Some(id.clone()), limit: RECENT_RUNS_MAX, ..RunQuery::default() };
            view.recent = node.scheduler.runs(&query).map_err(stored)?.runs;
            let live = node.scheduler.live().dag(&id);
            let source = node.lock_folder().as_ref().and_then(|folder| {
                folder.files().get(&view.file).map(|file| file.source.text.clone())
            });
            // A DAG that was run from a file of its own is in no folder: its text is with its version.
            let source = source.or_else(|| Some(stored_source(node, view.version()?)?.text));
            Ok(Some(DagDetail {
                source: source.unwrap_or_default(),
                deployed_at: live.and_then(|live| live.record.deployed_at),
                view,
            }))
        })
        .await
    }

    async fn runs(&self, query: RunQuery) -> Result<RunPage, ApiError> {
        self.blocking(move |node| node.scheduler.runs(&query).map_err(stored)).await
    }

    async fn run(&self, id: &RunId) -> Result<Option<RunDetail>, ApiError> {
        let id = id.clone();
        self.blocking(move |node| {
            let view = node.scheduler.run(&id).map_err(stored)?;
            Ok(view.map(|RunView { head, tasks, dag, waits }| RunDetail {
                head,
                dag,
                tasks,
                waits,
            }))
        })
        .await
    }

    async fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, ApiError> {
        let run = run.clone();
        self.blocking(move |node| node.scheduler.items(&run, task, first, limit).map_err(stored))
            .await
    }

    async fn trigger(&self, request: TriggerRequest) -> Result<RunId, ApiError> {
        let TriggerRequest { dag, params, interval, who } = request;
        let brought = if self.node.mode == Mode::Own {
            let dag = dag.clone();
            self.blocking(move |node| {
                let stored = stored_dag(node, &dag);
                let called = |dag: &Dag| called_by(dag, |name| stored_dag(node, name));
                Ok(stored.map(|(dag, source)| (called(&dag), dag, source)))
            })
            .await?
        } else {
            None
        };
        let part = tidemill_scheduler::Part::default();
        let request = tidemill_scheduler::TriggerRequest { dag, params, interval, who, part };
        match brought {
            None => {
                let dag = request.dag.clone();
                let triggered = self.node.scheduler.trigger(request).await;
                triggered.map_err(|error| not_deployed(&self.node, &dag, error))
            }
            Some((called, dag, source)) => self.run_version(dag, source, called, request).await,
        }
    }

    async fn run_file(&self, request: RunFileRequest) -> Result<RunId, ApiError> {
        let RunFileRequest { path, params, interval, who, part } = request;
        let loaded = self.blocking(move |node| {
            let (dag, source) = load_file(node, &path)?;
            let beside = Siblings::new(&path, &node.catalog);
            let called = called_by(&dag, |name| beside.find(name));
            Ok((dag, source, called))
        });
        let (dag, source, called) = loaded.await?;
        let part = crate::part::part(&self.node, &dag, &part).await?;
        let id = dag.id.clone();
        let request = tidemill_scheduler::TriggerRequest { dag: id, params, interval, who, part };
        self.run_version(dag, source, called, request).await
    }

    async fn backup(&self, to: PathBuf) -> Result<BackupMade, ApiError> {
        self.blocking(move |node| {
            if is_inside(&to, node.home.layout().root()) {
                let message = format!("`{}` is in the home itself", to.display());
                let help = "name a new folder outside of it, best on another disk";
                return Err(ApiError::invalid(message).help(help));
            }
            let kv = Some(&*node.profiles_kv);
            let made = tidemill_store::backup::backup(&node.store, node.home.layout(), kv, &to)
                .map_err(|error| ApiError::new(ErrorCode::Conflict, error.to_string()))?;
            Ok(BackupMade {
                files: made.files.len(),
                bytes: made.files.iter().map(|file| file.bytes).sum(),
                position: made.to.0,
            })
        })
        .await
    }

    async fn history_sql(&self, sql: String, limit: usize) -> Result<SqlAnswer, ApiError> {
        history::ask(&self.node, &sql, limit).await
    }

    async fn history(&self) -> Result<Value, ApiError> {
        self.blocking(history::show).await
    }

    async fn tidy_history(&self) -> Result<Value, ApiError> {
        self.blocking(history::tidy).await
    }

    async fn doctor(&self) -> Result<Value, ApiError> {
        self.blocking(|node| {
            let mut findings =
                tidemill_store::doctor::doctor(&node.home, How::Live(&node.store), None);
            findings.extend(node.history.check(Some(&node.store)));
            findings.extend(crate::commands::doctor::orphans(node));
            Ok(serde_json::json!({"findings": findings}))
        })
        .await
    }

    async fn rerun(&self, request: RerunRequest) -> Result<Rerun, ApiError> {
        let id = request.run.clone();
        let done = self.blocking(move |node| Ok(node.scheduler.rerun_blocking(&request))).await?;
        done.map_err(refused)?.ok_or_else(|| ApiError::not_found(format!("there is no run `{id}`")))
    }

    async fn cancel(&self, run: &RunId, who: &str) -> Result<(), ApiError> {
        match self.node.scheduler.cancel(run.clone(), who.to_owned()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(ended(&self.node, run, error).await),
        }
    }

    async fn hold(&self, run: &RunId, held: bool, who: &str) -> Result<(), ApiError> {
        match self.node.scheduler.hold(run.clone(), held, who.to_owned()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(ended(&self.node, run, error).await),
        }
    }

    async fn hasten(&self, run: &RunId, task: Instance, who: &str) -> Result<(), ApiError> {
        match self.node.scheduler.hasten(run.clone(), task, who.to_owned()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(ended(&self.node, run, error).await),
        }
    }

    async fn mark(&self, request: MarkRequest) -> Result<Marked, ApiError> {
        let id = request.run.clone();
        let done = self.blocking(move |node| Ok(node.scheduler.mark_blocking(&request))).await?;
        done.map_err(refused)?.ok_or_else(|| ApiError::not_found(format!("there is no run `{id}`")))
    }

    async fn note(&self, request: NoteRequest) -> Result<(), ApiError> {
        let NoteRequest { run, task, text, who } = request;
        let id = run.clone();
        let note =
            move |node: &Node| Ok(node.scheduler.note_blocking(&run, task.as_deref(), (text, who)));
        let found = self.blocking(note).await?.map_err(refused)?;
        if found { Ok(()) } else { Err(ApiError::not_found(format!("there is no run `{id}`"))) }
    }

    async fn answer(&self, run: &RunId, answer: AnswerRequest) -> Result<(), ApiError> {
        let AnswerRequest { task, approved, values, note, who } = answer;
        let answer = tidemill_scheduler::Answer { approved, values, who, note };
        match self.node.scheduler.answer(run.clone(), task, answer).await {
            Ok(()) => Ok(()),
            Err(error) => Err(ended(&self.node, run, error).await),
        }
    }

    fn questions(&self) -> Vec<Question> {
        let live = self.node.scheduler.live();
        let asked = live.questions().into_iter();
        asked
            .map(|(run, dag, at, task)| {
                let callers = std::iter::successors(live.caller(&run), |run| live.caller(run));
                Question { callers: callers.collect(), run, dag, at, task }
            })
            .collect()
    }

    async fn pause(&self, dag: &DagId, paused: bool, who: &str) -> Result<(), ApiError> {
        self.node.scheduler.pause(dag.clone(), paused, who.to_owned()).await.map_err(refused)
    }

    async fn wait(&self, run: &RunId, timeout: Duration) -> Result<RunState, ApiError> {
        let unknown = || ApiError::not_found(format!("there is no run {run}"));
        match tokio::time::timeout(timeout, self.node.scheduler.wait(run)).await {
            Ok(state) => state
                .map_err(|error| ApiError::new(ErrorCode::Unavailable, error.to_string()))?
                .ok_or_else(unknown),
            Err(_) => Ok(self.run(run).await?.ok_or_else(unknown)?.head.state),
        }
    }

    async fn logs(&self, query: LogQuery) -> Result<LogPage, ApiError> {
        self.blocking(move |node| {
            let path = log_path(&node.home.logs(), &query.run, &query.task, query.attempt);
            let from = match query.from {
                LogFrom::Offset(from) => from,
                LogFrom::Tail => logs::pieces(&path).saturating_sub(query.limit as u64),
            };
            let kept = path.exists();
            let page = logs::read(&path, from, query.limit).map_err(internal)?;
            Ok(LogPage {
                kept,
                lines: page.lines.into_iter().map(line).collect(),
                next: page.next,
                ended: page.ended,
                dropped: page.dropped,
                bytes: std::fs::metadata(&path).map_or(0, |meta| meta.len()),
            })
        })
        .await
    }

    async fn raw_log(
        &self,
        run: &RunId,
        task: &str,
        attempt: u32,
    ) -> Result<Option<RawLog>, ApiError> {
        let path = log_path(&self.node.home.logs(), run, task, attempt);
        if !path.exists() {
            return Ok(None);
        }
        // A slow reader must not make the log pile up in memory: the channel is short.
        let (to, from) = tokio::sync::mpsc::channel(8);
        tokio::task::spawn_blocking(move || {
            let sent = logs::raw(&path, None, |piece| {
                to.blocking_send(Ok(Bytes::copy_from_slice(piece)))
                    .map_err(|_| std::io::Error::other("the reader has gone"))
            });
            if let Err(error) = sent {
                let _ = to.blocking_send(Err(error));
            }
        });
        let stream = futures::stream::unfold(from, |mut from| async move {
            from.recv().await.map(|piece| (piece, from))
        });
        Ok(Some(RawLog { bytes: None, stream: Box::pin(stream) }))
    }

    async fn table(&self, table: &TableRef, limit: usize) -> Result<TableSample, ApiError> {
        let table = table.clone();
        self.blocking(move |node| sample(node, &table, limit)).await
    }

    async fn profiles(&self, after: Option<&str>, limit: usize) -> Result<ProfilePage, ApiError> {
        let after = after.map(ToOwned::to_owned);
        self.blocking(move |node| {
            let page = node.profiles.list(after.as_deref(), limit).map_err(internal)?;
            Ok(ProfilePage {
                profiles: page.profiles.into_iter().map(profile_doc).collect(),
                next: page.next,
                total: node.profiles.count(),
            })
        })
        .await
    }

    fn profile(&self, id: &str) -> Option<ProfileDoc> {
        let found = self.node.profiles.get(id).ok().flatten();
        let found = found.or_else(|| self.node.profiles.get_by_identity(id).ok().flatten());
        found.map(profile_doc)
    }

    fn health(&self) -> Health {
        let node = &self.node;
        let full = node.scheduler.stats().disk_full.load(std::sync::atomic::Ordering::Relaxed);
        let (events, millis) = node.lag();
        let (queued, running) = node.scheduler.live().run_counts();
        let part = |name: &str, ok, detail| HealthPart { name: name.to_owned(), ok, detail };
        let journal = if full {
            "the disk is full: nothing is acknowledged until there is space".to_owned()
        } else {
            counted(node.scheduler.live().position().0, "event")
        };
        let parts = vec![
            part(
                "scheduler",
                true,
                format!("{} running, {queued} queued", counted(running, "run")),
            ),
            part("journal", !full, journal),
            part("records", true, format!("{}, {millis} ms behind", counted(events, "event"))),
            part(
                "executor",
                true,
                format!("{} under way", counted(node.executor.under_way(), "attempt")),
            ),
        ];
        Health { ok: parts.iter().all(|part| part.ok), parts }
    }

    fn metrics(&self) -> Vec<Metric> {
        metrics(&self.node)
    }
}

/// Whether a path, which need not exist yet, leads into a folder that does.
fn is_inside(path: &Path, folder: &Path) -> bool {
    let real = path.ancestors().find_map(|above| above.canonicalize().ok());
    folder.canonicalize().is_ok_and(|folder| real.is_some_and(|real| real.starts_with(folder)))
}

fn profile_doc(profile: tidemill_profile::StoredProfile) -> ProfileDoc {
    ProfileDoc { id: profile.id, json: profile.json, etag: profile.etag }
}

fn line(line: logs::LogLine) -> LogLine {
    LogLine {
        at: Some(line.at),
        stream: match line.stream {
            Stream::Stdout => LogStream::Stdout,
            Stream::Stderr => LogStream::Stderr,
            Stream::Tidemill => LogStream::Tidemill,
        },
        text: line.text,
        offset: line.piece,
    }
}

/// DAGs and files, by name and then by file, without their runs.
fn dag_views(node: &Node) -> Vec<DagView> {
    let live = node.scheduler.live().dags();
    let by_id: HashMap<&DagId, &LiveDag> = live.iter().map(|dag| (&dag.id, dag)).collect();
    let mut views: Vec<DagView> = Vec::new();
    if let Some(folder) = &*node.lock_folder() {
        let files = folder.files().iter();
        views.extend(files.map(|(path, file)| {
            let known = file.id.as_ref().and_then(|id| by_id.get(id)).copied();
            of_file(path, file, known)
        }));
    }
    let seen: HashSet<DagId> = views.iter().filter_map(|view| view.id.clone()).collect();
    let others = live.into_iter().filter(|dag| !seen.contains(&dag.id));
    views.extend(others.map(|dag| of_live(node, dag)));
    views.sort_by(|a, b| (a.id.is_none(), &a.id, &a.file).cmp(&(b.id.is_none(), &b.id, &b.file)));
    views
}

/// One DAG, by its name.
fn dag_view(node: &Node, id: &DagId) -> Option<DagView> {
    let live = node.scheduler.live().dag(id);
    if let Some(folder) = &*node.lock_folder()
        && let Some((path, file)) = folder.file_of(id)
    {
        return Some(of_file(path, file, live.as_ref()));
    }
    live.map(|dag| of_live(node, dag))
}

fn of_file(path: &Path, file: &DagFile, known: Option<&LiveDag>) -> DagView {
    let diagnostics = diagnostics_of(file);
    DagView {
        id: file.id.clone(),
        file: path.to_owned(),
        dag: known.and_then(|dag| dag.dag.clone()),
        next_tick: known.and_then(|dag| dag.next),
        paused: known.is_some_and(|dag| dag.record.paused),
        paused_by: known.and_then(|dag| dag.record.paused_by.clone()),
        // One that came back is retired until its version is deployed.
        retired: diagnostics.is_empty() && known.is_some_and(|dag| dag.record.retired),
        diagnostics,
        recent: Vec::new(),
    }
}

/// A DAG without a file here.
fn of_live(node: &Node, dag: LiveDag) -> DagView {
    let version = dag.record.version.as_ref();
    let source = version.and_then(|version| stored_source(node, version));
    DagView {
        file: source.map(|source| source.path).unwrap_or_default(),
        next_tick: dag.next,
        paused: dag.record.paused,
        paused_by: dag.record.paused_by.clone(),
        retired: dag.record.retired,
        // Where no folder is served, the version is known by its text alone.
        dag: dag.dag.or_else(|| node.scheduler.version(version?)),
        id: Some(dag.id),
        diagnostics: Vec::new(),
        recent: Vec::new(),
    }
}

/// The text that was stored with a version.
fn stored_source(node: &Node, version: &Version) -> Option<DagSource> {
    node.store.version(version).ok().flatten()
}

fn diagnostics_of(file: &DagFile) -> Vec<Diagnostic> {
    let mut diagnostics = file.diagnostics.clone();
    if let Some(trouble) = &file.trouble {
        diagnostics.push(Diagnostic {
            code: codes::UNUSABLE.id,
            severity: Severity::Error,
            blocks_run: true,
            message: trouble.clone(),
            file: file.source.path.display().to_string(),
            line: 1,
            column: 1,
            length: 1,
            source_line: file.source.text.lines().next().unwrap_or_default().to_owned(),
            source_offset: 0,
            label: None,
            help: None,
        });
    }
    diagnostics
}

/// The newest runs of every DAG, from the newest pages of all.
fn recent_runs(node: &Node) -> Result<HashMap<DagId, Vec<RunSummary>>, ApiError> {
    let query = RunQuery { limit: RECENT_PAGE, ..RunQuery::default() };
    let mut recent: HashMap<DagId, Vec<RunSummary>> = HashMap::new();
    for run in node.scheduler.runs(&query).map_err(stored)?.runs {
        let runs = recent.entry(run.head.id.dag.clone()).or_default();
        if runs.len() < RECENT_RUNS_MAX {
            runs.push(run);
        }
    }
    Ok(recent)
}

fn load_file(node: &Node, path: &Path) -> Result<(Arc<Dag>, DagSource), ApiError> {
    let (source, loaded) = read_dag(path, &node.catalog)
        .map_err(|found| ApiError::invalid(found.message.clone()).diagnostics(vec![*found]))?;
    let blocked = loaded.diagnostics.iter().any(|d| d.blocks_run);
    let Some(dag) = loaded.dag.filter(|_| !blocked) else {
        return Err(ApiError::invalid(format!("`{}` cannot run", path.display()))
            .diagnostics(loaded.diagnostics));
    };
    Ok((dag, source))
}

fn sample(node: &Node, table: &TableRef, limit: usize) -> Result<TableSample, ApiError> {
    let open = node.executor.tables().open(table).map_err(internal)?;
    let schema = open.schema();
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        kind: tidemill_connectors::type_name(field.data_type()).into_owned(),
    });
    let columns = columns.collect();
    Ok(TableSample { columns, rows: rows_of(&*open, limit).map_err(internal)? })
}

fn metrics(node: &Node) -> Vec<Metric> {
    use std::sync::atomic::Ordering::Relaxed;
    let stats = node.scheduler.stats();
    let counter = |name, help, value| Metric {
        name,
        help,
        samples: Samples::Counter(vec![(Labels::new(), value)]),
    };
    let gauge = |name, help, value: f64| Metric {
        name,
        help,
        samples: Samples::Gauge(vec![(Labels::new(), value)]),
    };
    let (queued, running) = node.scheduler.live().run_counts();
    let (events, millis) = node.lag();
    let history = node.history.figures();
    let bounds = COMMIT_BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
    let buckets = bounds.zip(stats.commit_buckets.iter().map(|n| n.load(Relaxed))).collect();
    let pools = node.scheduler.live().pools();
    let by_pool = |of: fn(&PoolState) -> f64| {
        let label = |pool: &PoolState| vec![("pool", pool.name.to_string())];
        Samples::Gauge(pools.iter().map(|pool| (label(pool), of(pool))).collect())
    };
    vec![
        counter("tidemill_commits", "Commits made durable", stats.commits.load(Relaxed)),
        counter("tidemill_events", "Events committed", stats.events.load(Relaxed)),
        counter("tidemill_attempts", "Attempts ended", stats.attempts.load(Relaxed)),
        counter("tidemill_runs", "Runs ended", stats.runs.load(Relaxed)),
        counter(
            "tidemill_refused_reports",
            "Reports refused for an old token",
            stats.refused_reports.load(Relaxed),
        ),
        Metric {
            name: "tidemill_commit_seconds",
            help: "Time from a commit's first write to its acknowledgement",
            samples: Samples::Histogram {
                sum: stats.commit_us.load(Relaxed) as f64 / 1e6,
                count: stats.commits.load(Relaxed),
                buckets,
            },
        },
        gauge("tidemill_runs_queued", "Runs that wait to start", queued as f64),
        gauge("tidemill_runs_running", "Runs under way", running as f64),
        gauge("tidemill_attempts_running", "Attempts under way", node.executor.under_way() as f64),
        gauge("tidemill_records_lag_events", "Events the records are behind", events as f64),
        gauge("tidemill_records_lag_seconds", "Time the records are behind", millis as f64 / 1e3),
        gauge(
            "tidemill_disk_full",
            "1 while a commit waits for space",
            f64::from(u8::from(stats.disk_full.load(Relaxed))),
        ),
        gauge("tidemill_history_runs", "Runs in history segments", history.runs as f64),
        gauge("tidemill_history_segments", "History segments", history.segments as f64),
        gauge("tidemill_history_bytes", "Bytes of history segments", history.bytes as f64),
        gauge("tidemill_profiles", "Customer profiles", node.profiles.count() as f64),
        Metric {
            name: "tidemill_pool_slots_used",
            help: "Slots in use",
            samples: by_pool(|pool| f64::from(pool.used)),
        },
        Metric {
            name: "tidemill_pool_queue",
            help: "Tasks that wait for a slot",
            samples: by_pool(|pool| pool.queued as f64),
        },
    ]
}
