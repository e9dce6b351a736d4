//! `tidemill bench history`: a home with a large history, made by the code that folds, and a server
//! that is killed, started and asked on it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tidemill_history::History;
use tidemill_history::files::RealFiles;
use tidemill_model::run::{AttemptRecord, RunHead};
use tidemill_model::{
    AttemptOutcome, Counts, Dag, DagEvent, DagRecord, Event, FailureKind, Position, RunId,
    RunState, TableRef, TaskError, TaskIx, TaskResult, TaskRun, TaskState, Timestamp, Trigger,
};
use tidemill_spec::{SourceText, load_dag};
use tidemill_store::{
    Archive, Commit, DagSource, Home, Record, RunSummary, SledOptions, SledStore, Store, WholeRun,
};

use crate::cli::Bench;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::{Toolbox, own_program, resolver};
use crate::print::{Align, number, table};

/// DAGs that the runs are of.
const DAGS: u64 = 100;
/// Tasks of each.
const TASKS: u64 = 10;
/// Runs that are put into the records at once.
const BATCH: u64 = 256;
/// Requests of each kind.
const REQUESTS: u64 = 300;
/// Starts that are timed.
const STARTS: usize = 5;
/// When the first run was created, and the time between two.
const BEGIN_US: i64 = 1_750_000_000_000_000;
const STEP_US: i64 = 1_000_000;

pub(crate) fn run(globals: &Globals, command: &Bench) -> Result<(), Failure> {
    let folder = globals.home.join("bench");
    let _ = std::fs::remove_dir_all(&folder);
    let place = Place { home: folder.join("home"), dags: folder.join("dags") };
    let made = place.make(globals, command.runs)?;
    let mut rows = vec![made];
    let runtime = runtime()?;
    let done = runtime.block_on(place.measure(command.runs, &mut rows));
    let _ = std::fs::remove_dir_all(&folder);
    done?;
    let head = [
        ("what", Align::Left),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("besides", Align::Left),
    ];
    print!("{}", table(&head, &rows));
    if cfg!(debug_assertions) {
        println!("\nThis is a development build; figures are taken from a release build.");
    }
    Ok(())
}

struct Place {
    home: PathBuf,
    dags: PathBuf,
}

/// `SplitMix64`: the same runs on every machine.
fn drawn(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The run of this number among all; those of a DAG are every hundredth.
fn made_run(dags: &[Arc<Dag>], n: u64, position: Position) -> WholeRun {
    let dag = &dags[(n % DAGS) as usize];
    let created = BEGIN_US + n as i64 * STEP_US;
    let failed = drawn(n).is_multiple_of(33);
    let task = |i: u64| {
        let seed = drawn(n * TASKS + i);
        let started = created + (i as i64) * 40_000 + (seed % 20_000) as i64;
        let finished = started + 5_000 + (seed % 30_000) as i64;
        let fails = failed && i + 1 == TASKS;
        let table = TableRef {
            name: format!("t{i}"),
            hash: format!("{:016x}{seed:016x}", drawn(seed)),
            rows: seed % 10_000,
            bytes: seed % 1_000_000,
            schema: "5d41402abc4b2a76".to_owned(),
        };
        let counts =
            Counts { rows_in: seed % 10_000, rows_out: seed % 10_000, ..Counts::default() };
        let result = TaskResult { tables: vec![table], counts, ..TaskResult::default() };
        let error = || TaskError::new(FailureKind::Exit, "the command ended with code 1");
        let outcome = if fails { AttemptOutcome::Failed } else { AttemptOutcome::Succeeded };
        let attempt = AttemptRecord {
            attempt: 1,
            generation: 1,
            started_at: at(started),
            finished_at: at(finished),
            outcome,
            error: fails.then(|| "the command ended with code 1".to_owned()),
        };
        TaskRun {
            state: if fails { TaskState::Failed } else { TaskState::Succeeded },
            attempts: 1,
            queued_at: Some(at(started - 300)),
            started_at: Some(at(started)),
            finished_at: Some(at(finished)),
            error: fails.then(|| Box::new(error())),
            result: (!fails).then(|| Box::new(result)),
            history: vec![attempt],
            ..TaskRun::default()
        }
    };
    let tasks: Vec<TaskRun> = (0..TASKS).map(task).collect();
    let mut counts = [0; 11];
    for task in &tasks {
        counts[task.state as usize] += 1;
    }
    let head = RunHead {
        id: RunId { dag: dag.id.clone(), number: n / DAGS + 1 },
        version: dag.version.clone(),
        state: if failed { RunState::Failed } else { RunState::Succeeded },
        generation: 1,
        trigger: Trigger::Manual { who: "bench".to_owned() },
        params: Map::from_iter([("region".to_owned(), json!("eu"))]),
        interval: None,
        lane: None,
        cancel_requested: false,
        held_by: None,
        timed_out: false,
        note: None,
        reason: None,
        past_attempts: 0,
        created_at: at(created),
        started_at: Some(at(created + 200)),
        finished_at: Some(at(created + 500_000)),
    };
    WholeRun { position, summary: Box::new(RunSummary { head, counts }), tasks }
}

impl Place {
    /// Makes the home. The newest runs are in the records, the others in segments.
    fn make(&self, globals: &Globals, runs: u64) -> Result<Vec<String>, Failure> {
        std::fs::create_dir_all(&self.dags).map_err(Failure::internal)?;
        let begun = Instant::now();
        let toolbox = Toolbox::open(globals)?;
        let home = Home::open(&self.home).map_err(Failure::home)?;
        let settings = tidemill_history::Settings::default();
        let (history, _) = History::open(&home.history(), Arc::new(RealFiles), settings, false)
            .map_err(Failure::home)?;
        let archive = Some(Arc::clone(&history) as Arc<dyn Archive>);
        let options = SledOptions { archive, ..SledOptions::default() };
        let (store, _) = SledStore::open(&home, resolver(toolbox.catalog.clone()), options)
            .map_err(Failure::home)?;
        let dags = self.dags(&toolbox, &store)?;
        let position = store.figures().last;
        let recent = runs.min(settings.recent_runs as u64) / DAGS * DAGS;
        let part = settings.segment_runs as u64;
        let names: Vec<String> = (0..TASKS).map(|i| format!("t{i}")).collect();
        let mut from = 0;
        while from < runs - recent {
            let to = (from + part).min(runs - recent);
            let of_dag = |dag: u64| (from / DAGS..to.div_ceil(DAGS)).map(move |n| n * DAGS + dag);
            let all = (0..DAGS).flat_map(of_dag).filter(|n| (from..to).contains(n));
            let all = all.map(|n| made_run(&dags, n, position));
            history.add(all, &names).map_err(Failure::home)?;
            from = to;
        }
        put_recent(&store, &dags, from..runs, position)?;
        let took = begun.elapsed();
        let figures = history.figures();
        let per_run = |bytes: u64, runs: u64| bytes / runs.max(1);
        let besides = format!(
            "{:.0} s; {} B a run in {} segments, {} B a run in the records",
            took.as_secs_f64(),
            per_run(figures.bytes, figures.runs),
            figures.segments,
            per_run(store.figures().records_bytes, runs - from),
        );
        let what = format!("make {} runs of {TASKS} tasks", number(runs));
        Ok(vec![what, String::new(), String::new(), besides])
    }

    /// Writes and deploys the DAGs.
    fn dags(&self, toolbox: &Toolbox, store: &SledStore) -> Result<Vec<Arc<Dag>>, Failure> {
        let mut dags = Vec::new();
        let mut commit = Commit::default();
        for n in 0..DAGS {
            let mut text = format!(
                "dag: orders_{n:03}\nparams: {{region: {{type: string, default: eu}}}}\ntasks:\n"
            );
            for task in 0..TASKS {
                let after = task.checked_sub(1).map(|up| format!(", depends_on: [t{up}]"));
                text.push_str(&format!("  t{task}: {{noop: {{}}{}}}\n", after.unwrap_or_default()));
            }
            let path = self.dags.join(format!("orders_{n:03}.yaml"));
            std::fs::write(&path, &text).map_err(Failure::internal)?;
            let loaded = load_dag(SourceText { path: &path, text: &text }, &toolbox.catalog);
            let dag = loaded.dag.ok_or_else(|| Failure::internal("its DAG does not load"))?;
            let source = DagSource { path, text, defaults: None };
            store.put_version(&dag.version, &source).map_err(Failure::home)?;
            let deployed = DagEvent::Deployed {
                listens: std::collections::BTreeMap::new(),
                version: dag.version.clone(),
                served: true,
                triggers: Vec::new(),
                at: at(BEGIN_US),
            };
            commit.events.push(Event::Dag(dag.id.clone(), deployed));
            dags.push(dag);
        }
        store.commit(&commit).map_err(Failure::home)?;
        Ok(dags)
    }

    /// Starts a server; gives it with its address and the time until it was healthy.
    async fn start(&self, http: &reqwest::Client) -> Result<(Child, String, Duration), Failure> {
        let begun = Instant::now();
        let mut child = Command::new(own_program()?)
            .arg("--home")
            .arg(&self.home)
            .args(["serve", "--bind", "127.0.0.1:0", "--dags"])
            .arg(&self.dags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::internal)?;
        let out = child.stdout.take().ok_or_else(|| Failure::internal("no output"))?;
        let mut said = BufReader::new(out).lines().map_while(Result::ok);
        let address = said.find_map(|line| Some(line.strip_prefix("serving ")?.to_owned()));
        let address = address.ok_or_else(|| Failure::internal("the server did not start"))?;
        loop {
            let health = http.get(format!("{address}/health")).send().await;
            if health.is_ok_and(|answer| answer.status().is_success()) {
                return Ok((child, address, begun.elapsed()));
            }
        }
    }

    async fn measure(&self, runs: u64, rows: &mut Vec<Vec<String>>) -> Result<(), Failure> {
        let http = reqwest::Client::builder().no_proxy().build().map_err(Failure::internal)?;
        let mut starts = Vec::new();
        let mut server = self.start(&http).await?;
        for _ in 0..STARTS {
            let body = json!({"params": {}});
            for n in 0..20 {
                let path = format!("/api/v1/dags/orders_{n:03}/runs");
                let _ = http.post(format!("{}{path}", server.1)).json(&body).send().await;
            }
            server.0.kill().and_then(|()| server.0.wait()).map_err(Failure::internal)?;
            server = self.start(&http).await?;
            starts.push(server.2);
        }
        rows.push(row("start to healthy after kill -9", &mut starts, String::new()));
        let (mut child, address, _) = server;
        let asked = self.ask(&http, &address, runs, rows).await;
        let memory = resident(child.id());
        child.kill().and_then(|()| child.wait()).map_err(Failure::internal)?;
        rows.push(vec![
            "memory of the server after that".into(),
            memory,
            String::new(),
            String::new(),
        ]);
        asked
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        address: &str,
        runs: u64,
        rows: &mut Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        let dag = |n: u64| format!("orders_{:03}", drawn(n) % DAGS);
        let run = |n: u64| {
            let n = drawn(n) % runs;
            format!("orders_{:03}.{}", n % DAGS, n / DAGS + 1)
        };
        let kinds: [(&str, &dyn Fn(u64) -> String); 6] = [
            ("list: the newest 50", &|_| "/api/v1/runs?limit=50".to_owned()),
            ("list: 50 of one DAG", &|n| format!("/api/v1/runs?limit=50&dag={}", dag(n))),
            ("list: 50 that failed", &|_| "/api/v1/runs?limit=50&state=failed".to_owned()),
            ("list: 50 of one DAG that failed", &|n| {
                format!("/api/v1/runs?limit=50&state=failed&dag={}", dag(n))
            }),
            ("any run of all", &|n| format!("/api/v1/runs/{}", run(n))),
            ("page of any run of all", &|n| format!("/runs/{}", run(n))),
        ];
        for (what, path) in kinds {
            let mut took = Vec::new();
            for n in 0..REQUESTS {
                let begun = Instant::now();
                let answer = http.get(format!("{address}{}", path(n))).send().await;
                let answer = answer.map_err(Failure::internal)?;
                let (status, path) = (answer.status(), answer.url().path().to_owned());
                answer.bytes().await.map_err(Failure::internal)?;
                took.push(begun.elapsed());
                if !status.is_success() {
                    return Err(Failure::internal(format!("{path} gave {status}")));
                }
            }
            let first = format!("first {}", millis(took[0]));
            rows.push(row(what, &mut took, first));
        }
        rows.push(self.pages(http, address).await?);
        let sql = "select dag, state, count(*) as runs from runs group by dag, state";
        rows.push(self.sql(http, address, "history sql: runs by DAG and state", sql).await?);
        let sql = "select task, state, count(*), avg(seconds) from tasks group by task, state";
        rows.push(self.sql(http, address, "history sql: tasks by name and state", sql).await?);
        Ok(())
    }

    /// Goes from page to page, out of what is recent and through the segments.
    async fn pages(&self, http: &reqwest::Client, address: &str) -> Result<Vec<String>, Failure> {
        let (mut took, mut after, mut seen) = (Vec::new(), String::new(), 0);
        for _ in 0..REQUESTS * 2 {
            let begun = Instant::now();
            let path = format!("{address}/api/v1/runs?limit=200{after}");
            let answer = http.get(path).send().await.map_err(Failure::internal)?;
            let answer: Value = answer.json().await.map_err(Failure::internal)?;
            took.push(begun.elapsed());
            seen += answer["items"].as_array().map_or(0, Vec::len);
            match answer["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let besides = format!("{} runs, one page after another", number(seen as u64));
        Ok(row("list: pages of 200", &mut took, besides))
    }

    async fn sql(
        &self,
        http: &reqwest::Client,
        address: &str,
        what: &str,
        sql: &str,
    ) -> Result<Vec<String>, Failure> {
        let mut took = Vec::new();
        let mut found = 0;
        for _ in 0..5 {
            let begun = Instant::now();
            let asked =
                http.post(format!("{address}/api/v1/history/sql")).json(&json!({"sql": sql}));
            let answer = asked.send().await.map_err(Failure::internal)?;
            let answer: Value = answer.json().await.map_err(Failure::internal)?;
            found = answer["rows"].as_array().map_or(0, Vec::len);
            took.push(begun.elapsed());
        }
        Ok(row(what, &mut took, format!("{found} rows")))
    }
}

fn put_recent(
    store: &SledStore,
    dags: &[Arc<Dag>],
    numbers: std::ops::Range<u64>,
    position: Position,
) -> Result<(), Failure> {
    let mut records = Vec::new();
    for dag in dags {
        let record = DagRecord {
            version: Some(dag.version.clone()),
            deployed_at: Some(at(BEGIN_US)),
            served: true,
            last_run: numbers.end.div_ceil(DAGS),
            ..DagRecord::default()
        };
        records.push(Record::Dag { position, id: dag.id.clone(), record });
    }
    for n in numbers {
        let WholeRun { position, summary, tasks } = made_run(dags, n, position);
        let tasks = (0..).map(TaskIx).zip(tasks).collect();
        records.push(Record::Run { position, summary, tasks, items: Vec::new() });
        if records.len() as u64 >= BATCH {
            store.put(&std::mem::take(&mut records)).map_err(Failure::home)?;
        }
    }
    store.put(&records).map_err(Failure::home)?;
    store.checkpoint(position).map_err(Failure::home)
}

fn row(what: &str, took: &mut [Duration], besides: String) -> Vec<String> {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
    vec![what.to_owned(), millis(at(0.5)), millis(at(0.99)), besides]
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

/// Memory of a process, in MB.
fn resident(pid: u32) -> String {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let line = status.unwrap_or_default();
    let kib = line.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    kib.map_or_else(String::new, |kib| format!("{} MB", kib / 1_000))
}
