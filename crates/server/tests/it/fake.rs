//! A backend of fixed data: no clock, no disk. Tests ask it, and the example `preview` shows it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tidemill_model::rerun::{MarkRequest, Marked, Rerun, RerunRequest};
use tidemill_model::run::StoredItem;
use tidemill_model::{
    Action, Dag, DagId, Instance, RunId, RunState, TableRef, TaskIx, TaskState, Timestamp, Version,
};
use tidemill_server::backend::{
    AnswerRequest, Backend, BackupMade, Column, DagDetail, DagView, Health, HealthPart, LogFrom,
    LogLine, LogPage, LogQuery, Metric, NoteRequest, ProfileDoc, ProfilePage, Question, RawLog,
    RunDetail, RunFileRequest, Samples, SqlAnswer, TableSample, TriggerRequest,
};
use tidemill_server::{ApiError, ErrorCode};
use tidemill_store::{RunPage, RunQuery, RunSummary};

/// When it is.
pub(crate) const NOW: &str = "2026-11-24T12:00:00Z";

/// The data, and what was asked of it.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) dags: Vec<DagDetail>,
    pub(crate) runs: Vec<RunDetail>,
    pub(crate) items: Vec<(RunId, StoredItem)>,
    pub(crate) logs: HashMap<(RunId, String, u32), Vec<LogLine>>,
    /// The ends of the logs were never written, as after a kill.
    pub(crate) logs_cut: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) profiles: Vec<(String, Value)>,
    pub(crate) trouble: Option<String>,
    /// What was asked for that changes something, in order.
    pub(crate) orders: Mutex<Vec<String>>,
}

/// An instant from its text.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

impl Fake {
    /// What was asked for that changes something.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn order(&self, text: String) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Adds a DAG whose runs were added before.
    pub(crate) fn dag(&mut self, dag: &Arc<Dag>, source: &str, change: impl FnOnce(&mut DagView)) {
        let mut recent: Vec<RunSummary> =
            self.runs.iter().filter(|run| run.head.id.dag == dag.id).map(summary).collect();
        recent.sort_by_key(|run| std::cmp::Reverse(run.head.id.number));
        recent.truncate(14);
        let next_tick = dag.timers().find_map(|timer| timer.next_after(at(NOW)));
        let mut view = DagView {
            id: Some(dag.id.clone()),
            file: format!("dags/{}.yaml", dag.id).into(),
            dag: Some(Arc::clone(dag)),
            next_tick,
            paused: false,
            paused_by: None,
            retired: false,
            diagnostics: Vec::new(),
            recent,
        };
        change(&mut view);
        let deployed_at = Some(at("2026-11-20T08:00:00Z"));
        self.dags.push(DagDetail { view, source: source.to_owned(), deployed_at });
    }

    fn find(&self, id: &DagId) -> Option<&DagDetail> {
        self.dags.iter().find(|dag| dag.view.id.as_ref() == Some(id))
    }
}

fn summary(run: &RunDetail) -> RunSummary {
    let mut counts = [0; 11];
    for task in &run.tasks {
        counts[task.state as usize] += 1;
    }
    RunSummary { head: run.head.clone(), counts }
}

#[async_trait]
impl Backend for Fake {
    fn now(&self) -> Timestamp {
        at(NOW)
    }

    async fn dags(&self) -> Result<Vec<DagView>, ApiError> {
        Ok(self.dags.iter().map(|dag| dag.view.clone()).collect())
    }

    async fn dag(&self, id: &DagId) -> Result<Option<DagDetail>, ApiError> {
        Ok(self.find(id).cloned())
    }

    async fn runs(&self, query: RunQuery) -> Result<RunPage, ApiError> {
        let key = |run: &RunSummary| (run.head.created_at, run.head.id.clone());
        let mut runs: Vec<RunSummary> = self.runs.iter().map(summary).collect();
        runs.retain(|run| query.dag.as_ref().is_none_or(|dag| run.head.id.dag == *dag));
        runs.retain(|run| query.states.is_empty() || query.states.contains(&run.head.state));
        runs.retain(|run| query.after.as_ref().is_none_or(|after| key(run) < *after));
        runs.sort_by_key(|run| std::cmp::Reverse(key(run)));
        let more = runs.len() > query.limit;
        runs.truncate(query.limit);
        let next = runs.last().filter(|_| more).map(key);
        Ok(RunPage { runs, next })
    }

    async fn run(&self, id: &RunId) -> Result<Option<RunDetail>, ApiError> {
        Ok(self.runs.iter().find(|run| run.head.id == *id).cloned())
    }

    async fn trigger(&self, request: TriggerRequest) -> Result<RunId, ApiError> {
        let dag = self
            .find(&request.dag)
            .and_then(|dag| dag.view.dag.clone())
            .ok_or_else(|| ApiError::not_found(format!("there is no DAG `{}`", request.dag)))?;
        dag.params_of(&request.params).map_err(|error| ApiError::invalid(error.to_string()))?;
        let params = Value::Object(request.params);
        self.order(format!("trigger {} {params} {}", request.dag, request.who));
        Ok(RunId { dag: request.dag, number: 100 + self.orders().len() as u64 })
    }

    async fn run_file(&self, request: RunFileRequest) -> Result<RunId, ApiError> {
        self.order(format!("run-file {} {}", request.path.display(), request.who));
        Ok(RunId { dag: "file".parse().expect("a name"), number: self.orders().len() as u64 })
    }

    async fn backup(&self, to: PathBuf) -> Result<BackupMade, ApiError> {
        self.order(format!("backup {}", to.display()));
        Ok(BackupMade { files: 3, bytes: 300, position: 30 })
    }

    async fn history_sql(&self, sql: String, limit: usize) -> Result<SqlAnswer, ApiError> {
        self.order(format!("history-sql {limit} {sql}"));
        let column = Column { name: "runs".to_owned(), kind: "int64".to_owned() };
        Ok(SqlAnswer { columns: vec![column], rows: vec![vec![7.into()]], more: false })
    }

    async fn history(&self) -> Result<serde_json::Value, ApiError> {
        Ok(serde_json::json!({"recent": 7, "runs": 0, "tasks": 0, "bytes": 0, "segments": []}))
    }

    async fn tidy_history(&self) -> Result<serde_json::Value, ApiError> {
        self.order("tidy".to_owned());
        Ok(serde_json::json!({"folded": 0, "dropped": 0, "bytes": 0}))
    }

    async fn doctor(&self) -> Result<serde_json::Value, ApiError> {
        Ok(serde_json::json!({"findings": []}))
    }

    async fn rerun(&self, request: RerunRequest) -> Result<Rerun, ApiError> {
        let RerunRequest { run, what, latest, preview, who } = request;
        self.order(format!("rerun {run} {what:?} {latest} {preview} {who}"));
        let version = Version::of(b"a");
        let (again, kept) = (vec!["b".to_owned()], vec!["a".to_owned()]);
        let (started, loads) = (!preview, Vec::new());
        Ok(Rerun { id: run, started, generation: 2, version, again, kept, loads })
    }

    async fn hold(&self, run: &RunId, held: bool, who: &str) -> Result<(), ApiError> {
        self.order(format!("hold {run} {held} {who}"));
        Ok(())
    }

    async fn hasten(&self, run: &RunId, task: Instance, who: &str) -> Result<(), ApiError> {
        self.order(format!("hasten {run} {} {who}", task.task.0));
        Ok(())
    }

    async fn mark(&self, request: MarkRequest) -> Result<Marked, ApiError> {
        let MarkRequest { run, tasks, state, note, preview, who } = request;
        self.order(format!("mark {run} {tasks:?} {state:?} {note:?} {preview} {who}"));
        let again = vec!["b".to_owned()];
        let ended_first = Vec::new();
        Ok(Marked { id: run, done: !preview, state, marked: tasks, ended_first, again })
    }

    async fn note(&self, request: NoteRequest) -> Result<(), ApiError> {
        let NoteRequest { run, task, text, who } = request;
        self.order(format!("note {run} {task:?} {text} {who}"));
        Ok(())
    }

    async fn cancel(&self, run: &RunId, who: &str) -> Result<(), ApiError> {
        self.order(format!("cancel {run} {who}"));
        Ok(())
    }

    async fn pause(&self, dag: &DagId, paused: bool, who: &str) -> Result<(), ApiError> {
        if self.find(dag).is_none() {
            return Err(ApiError::not_found(format!("there is no DAG `{dag}`")));
        }
        self.order(format!("pause {dag} {paused} {who}"));
        Ok(())
    }

    async fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, ApiError> {
        let items = self
            .items
            .iter()
            .filter(|(of, item)| of == run && item.task == task && item.item >= first);
        Ok(items.take(limit).map(|(_, item)| item.clone()).collect())
    }

    async fn answer(&self, run: &RunId, answer: AnswerRequest) -> Result<(), ApiError> {
        let AnswerRequest { task, approved, values, note, who } = answer;
        let asked = self.questions().iter().any(|asked| asked.run == *run && asked.at == task);
        if !asked {
            return Err(ApiError::new(ErrorCode::Conflict, "it does not wait for an answer"));
        }
        let values = serde_json::Value::Object(values);
        self.order(format!("answer {run} {approved} {values} {note:?} {who}"));
        Ok(())
    }

    fn questions(&self) -> Vec<Question> {
        let mut found = Vec::new();
        for run in &self.runs {
            let Some(dag) = &run.dag else { continue };
            for (i, task) in run.tasks.iter().enumerate() {
                let at = Instance::from(TaskIx(i as u32));
                let asks = matches!(dag.task(at.task).action, Action::Approve(_));
                if asks && task.state == TaskState::Waiting {
                    let (run, dag) = (run.head.id.clone(), Arc::clone(dag));
                    found.push(Question { run, dag, at, task: task.clone(), callers: Vec::new() });
                }
            }
        }
        found
    }

    async fn wait(&self, run: &RunId, _: Duration) -> Result<RunState, ApiError> {
        let run = self.runs.iter().find(|other| other.head.id == *run);
        run.map(|run| run.head.state).ok_or_else(|| ApiError::not_found("there is no such run"))
    }

    async fn logs(&self, query: LogQuery) -> Result<LogPage, ApiError> {
        let LogQuery { run, task, attempt, from, limit } = query;
        let running = self.runs.iter().find(|other| other.head.id == run).is_some_and(|run| {
            run.find(task.as_str()).is_some_and(|ix| !run.tasks[ix.at()].state.is_final())
        });
        let Some(lines) = self.logs.get(&(run, task, attempt)) else {
            return Ok(LogPage { ended: !running, ..LogPage::default() });
        };
        let bytes: u64 = lines.iter().map(|line| line.text.len() as u64 + 1).sum();
        let first = match from {
            LogFrom::Offset(offset) => lines.iter().position(|l| l.offset >= offset),
            LogFrom::Tail => Some(lines.len().saturating_sub(limit)),
        };
        let first = first.unwrap_or(lines.len());
        let shown: Vec<LogLine> = lines[first..].iter().take(limit).cloned().collect();
        let next = lines.get(first + shown.len()).map_or(bytes, |line| line.offset);
        let ended = next == bytes && !running && !self.logs_cut;
        Ok(LogPage { kept: true, ended, lines: shown, next, dropped: 0, bytes })
    }

    async fn raw_log(
        &self,
        run: &RunId,
        task: &str,
        attempt: u32,
    ) -> Result<Option<RawLog>, ApiError> {
        let lines = self.logs.get(&(run.clone(), task.to_owned(), attempt));
        Ok(lines.map(|lines| {
            let mut text = lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(
                "
",
            );
            text.push('\n');
            let chunk = Ok(Bytes::from(text));
            RawLog { bytes: None, stream: futures::stream::iter([chunk]).boxed() }
        }))
    }

    async fn table(&self, table: &TableRef, limit: usize) -> Result<TableSample, ApiError> {
        if table.hash == "gone" {
            return Err(ApiError::new(ErrorCode::NotFound, "its file was removed"));
        }
        let rows = self.rows.iter().take(limit.min(table.rows as usize)).cloned().collect();
        Ok(TableSample { columns: self.columns.clone(), rows })
    }

    async fn profiles(&self, after: Option<&str>, limit: usize) -> Result<ProfilePage, ApiError> {
        let mut docs: Vec<ProfileDoc> =
            self.profiles.iter().map(|(id, json)| document(id, json)).collect();
        docs.sort_by(|a, b| a.id.cmp(&b.id));
        let total = docs.len() as u64;
        docs.retain(|doc| after.is_none_or(|after| doc.id.as_str() > after));
        let more = docs.len() > limit;
        docs.truncate(limit);
        let next = docs.last().filter(|_| more).map(|doc| doc.id.clone());
        Ok(ProfilePage { profiles: docs, next, total })
    }

    fn profile(&self, id: &str) -> Option<ProfileDoc> {
        let is = |(own, json): &&(String, Value)| {
            own == id
                || json
                    .get("email")
                    .is_some_and(|email| format!("email:{email}").replace('"', "") == id)
        };
        self.profiles.iter().find(is).map(|(id, json)| document(id, json))
    }

    fn health(&self) -> Health {
        let part = |name: &str, ok, detail: &str| HealthPart {
            name: name.to_owned(),
            ok,
            detail: detail.to_owned(),
        };
        let store = self.trouble.as_deref().unwrap_or("12 events behind");
        let ok = self.trouble.is_none();
        Health { ok, parts: vec![part("scheduler", true, "2 runs"), part("store", ok, store)] }
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric {
                name: "tidemill_commits",
                help: "Commits",
                samples: Samples::Counter(vec![(vec![], 7)]),
            },
            Metric {
                name: "tidemill_runs",
                help: "Runs by state",
                samples: Samples::Gauge(vec![
                    (vec![("state", "running".to_owned())], 2.0),
                    (vec![("state", "queued".to_owned())], 0.0),
                ]),
            },
            Metric {
                name: "tidemill_commit_seconds",
                help: "Time to durability",
                samples: Samples::Histogram {
                    sum: 0.5,
                    count: 3,
                    buckets: vec![(0.1, 2), (f64::INFINITY, 1)],
                },
            },
        ]
    }
}

fn document(id: &str, json: &Value) -> ProfileDoc {
    ProfileDoc {
        id: id.to_owned(),
        json: Bytes::from(json.to_string()),
        etag: format!("{:x}", json.to_string().len()),
    }
}

/// A profile as the personalization DAG makes it.
pub(crate) fn profile(id: &str, n: u64) -> Value {
    let recs: Vec<Value> = (1..=5)
        .map(|rank| json!({
            "item": format!("{}", 22_000 + n * 7 + rank), "title": "WHITE HANGING HEART T-LIGHT HOLDER",
            "score": 0.91 - rank as f64 * 0.07, "source": if rank < 5 { "item_item" } else { "popular" },
        }))
        .collect();
    let mut map = Map::new();
    map.insert("customer_id".to_owned(), json!(id));
    map.insert("email".to_owned(), json!(format!("customer{id}@example.test")));
    map.insert("identities".to_owned(), json!([format!("customer:{id}"), "anonymous:a81f"]));
    map.insert("score".to_owned(), json!({
        "intent": 61.537_5 + n as f64, "band": "warm", "rule_version": "2026-11",
        "explained": [
            {"term": "rfm", "points": 41.666_65, "value": 0.833_333, "text": "recency, frequency and value of purchases"},
            {"term": "behaviour", "points": 19.87, "value": 0.397_4, "text": "what was done on the site lately"},
            {"term": "complained", "points": -5, "value": 1, "text": "complained in the last two years"},
        ],
    }));
    map.insert("segment".to_owned(), json!("cart_abandoner"));
    map.insert("tx".to_owned(), json!({"first": "2010-12-01", "last": "2011-12-09", "frequency": 34, "monetary": 5391.21, "lines": 297}));
    map.insert("rfm".to_owned(), json!({"r": 5, "f": 5, "m": 5}));
    map.insert(
        "crm".to_owned(),
        json!({"birth_year": 1971, "education": "Graduation", "income": null, "kids": 1}),
    );
    map.insert(
        "web".to_owned(),
        json!({"pages": 812, "seconds": 30_871.25, "last_event": "2011-12-09T17:12:04Z"}),
    );
    map.insert("recs".to_owned(), Value::Array(recs));
    map.insert("consent".to_owned(), json!({"email_marketing": "granted", "since": "2011-03-02"}));
    map.insert(
        "meta".to_owned(),
        json!({"version": 3, "as_of": "2011-12-10", "updated_at": "2026-11-24T11:52:11Z"}),
    );
    Value::Object(map)
}
