//! The DAGs, runs and logs of [`Fake`].

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_model::dag::{Command, DagHead, Edge, Param, ParamKind, TriggerDef};
use tidemill_model::run::AttemptRecord;
use tidemill_model::schedule::{Clock, Schedule, Timer};
use tidemill_model::{
    Action, AttemptOutcome, Counts, Dag, FailureKind, RunHead, RunId, RunState, TableRef, Task,
    TaskError, TaskIx, TaskResult, TaskRun, TaskState, Timestamp, Trigger, Version,
};
use tidemill_server::backend::{Column, LogLine, LogStream, RunDetail};
use tidemill_spec::{Diagnostic, Severity};

use crate::fake::{Fake, NOW, at, profile};

/// A text that stands wherever a person, a file or a task can put one.
pub(crate) struct Texts {
    pub(crate) description: String,
    pub(crate) any: Option<String>,
}

impl Texts {
    fn or(&self, text: &str) -> String {
        self.any.clone().unwrap_or_else(|| text.to_owned())
    }
}

fn action(key: &str, kind: &str) -> Action {
    let config = tidemill_model::template::Template::parse(&Value::Null).expect("a template");
    match key {
        "ingest" => Action::Ingest { connector: kind.to_owned(), config },
        "load" => Action::Load { connector: kind.to_owned(), config },
        "transform" => Action::Transform { kind: kind.to_owned(), config, outputs: vec![] },
        "run" => Action::Run(Command::Argv(Vec::new())),
        _ => Action::Noop,
    }
}

/// A DAG of `(name, action, kind, upstream names)`.
pub(crate) fn dag(
    id: &str,
    schedule: Option<&str>,
    texts: &Texts,
    lines: &[(&str, &str, &str, &[&str])],
) -> Arc<Dag> {
    let place = |name: &str| lines.iter().position(|line| line.0 == name).expect("an upstream");
    let tasks = lines.iter().map(|(name, key, kind, upstream)| Task {
        upstream: upstream
            .iter()
            .map(|up| Edge {
                task: TaskIx(place(up) as u32),
                why: vec![texts.any.clone().unwrap_or_else(|| format!("reads table {up}"))],
            })
            .collect(),
        retry: tidemill_model::retry::RetryPolicy {
            limit: if *key == "ingest" { 2 } else { 0 },
            ..Default::default()
        },
        timeout: (*key == "run").then_some(Duration::from_mins(30)),
        ..Task::new(
            name.parse().expect("a name"),
            "default".parse().expect("a name"),
            action(key, kind),
        )
    });
    let param = |kind, default: Value, allowed: Vec<Value>, text: &str| Param {
        kind,
        default: (!default.is_null()).then_some(default),
        allowed,
        description: Some(texts.or(text)),
    };
    let mut params = IndexMap::new();
    if !matches!(id, "hello" | "fan_out" | "wide") {
        let choices = vec![json!("eu"), json!("us"), json!(texts.or("apac"))];
        params.insert(
            "region".parse().expect("a name"),
            param(ParamKind::String, json!("eu"), choices, "which shops"),
        );
        params.insert(
            "as_of".parse().expect("a name"),
            param(ParamKind::Date, json!("2011-12-10"), vec![], "the day that scores are about"),
        );
        params.insert(
            "limit".parse().expect("a name"),
            param(ParamKind::Integer, json!(5000), vec![], "messages at most"),
        );
    }
    let head = DagHead {
        description: Some(texts.or(&texts.description)),
        owner: Some(texts.or("shop-data")),
        tags: vec![texts.or(if id.starts_with('p') { "email" } else { "shop" })],
        triggers: schedule.into_iter().map(daily).collect(),
        params,
        ..head(id)
    };
    Arc::new(Dag::new(head, tasks.collect()).expect("no cycle"))
}

fn daily(line: &str) -> TriggerDef {
    let cron = Schedule::parse(line, Tz::UTC).expect("a schedule");
    TriggerDef::by_clock(Timer::new(Clock::Cron(cron), Tz::UTC))
}

/// The head of a DAG, with nothing but its name.
pub(crate) fn head(id: &str) -> DagHead {
    DagHead {
        folder: "dags".into(),
        ..DagHead::new(id.parse().expect("a name"), Version::of(id.as_bytes()))
    }
}

const FLAGSHIP: &[(&str, &str, &str, &[&str])] = &[
    ("raw_tx", "ingest", "csv", &[]),
    ("crm_raw", "ingest", "csv", &[]),
    ("events_raw", "ingest", "jsonl", &[]),
    ("sessions_raw", "ingest", "csv", &[]),
    ("consent_raw", "ingest", "http", &[]),
    ("tx", "transform", "clean", &["raw_tx"]),
    ("crm", "transform", "clean", &["crm_raw"]),
    ("events", "transform", "clean", &["events_raw"]),
    ("web", "transform", "clean", &["sessions_raw"]),
    ("identity", "transform", "identity", &["events"]),
    ("behaviour", "transform", "sql", &["events", "identity"]),
    ("rfm", "transform", "sql", &["tx"]),
    ("neighbours", "transform", "recommend", &["tx"]),
    ("consent", "transform", "sql", &["consent_raw"]),
    ("profiles", "transform", "sql", &["rfm", "behaviour", "crm", "web"]),
    ("score", "transform", "rules", &["profiles"]),
    ("audience", "transform", "sql", &["score", "consent"]),
    ("message", "transform", "render", &["audience", "neighbours", "profiles"]),
    ("outbox", "load", "outbox", &["message"]),
    ("serving", "load", "profiles", &["score", "neighbours", "consent"]),
    (
        "audit",
        "transform",
        "sql",
        &["tx", "crm", "events", "web", "score", "message", "outbox", "serving"],
    ),
];

const ORDERS: &[(&str, &str, &str, &[&str])] = &[
    ("orders", "ingest", "http", &[]),
    ("customers", "ingest", "csv", &[]),
    ("clean_orders", "transform", "clean", &["orders"]),
    ("daily_revenue", "transform", "sql", &["clean_orders", "customers"]),
    ("warehouse", "load", "parquet", &["daily_revenue"]),
    ("report", "run", "command", &["warehouse"]),
    ("notify", "run", "shell", &["report"]),
];

/// What a run looks like.
struct Plan<'a> {
    number: u64,
    created: Timestamp,
    /// The seconds after its start at which it is looked at; later things have not happened.
    seen_after: f64,
    fails: &'a [(&'a str, TaskError)],
    manual: bool,
}

fn seconds(at: Timestamp, seconds: f64) -> Timestamp {
    at.plus(Duration::from_secs_f64(seconds.max(0.0)))
}

/// A number that depends on nothing but its arguments.
fn draw(name: &str, number: u64) -> f64 {
    let hash = name.bytes().fold(number.wrapping_mul(0x9e37_79b9), |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn run(dag: &Arc<Dag>, plan: &Plan, texts: &Texts) -> RunDetail {
    let start = seconds(plan.created, 0.02);
    let mut ends = vec![0.0; dag.tasks().len()];
    let mut tasks = vec![TaskRun::default(); dag.tasks().len()];
    for ix in dag.order() {
        let task = dag.task(*ix);
        let ready = task.upstream.iter().map(|e| ends[e.task.at()]).fold(0.0, f64::max);
        let long = if task.action.key() == "ingest" { 2.2 } else { 1.2 };
        let took = 0.05 + long * draw(task.name.as_str(), plan.number);
        let begin = ready + 0.01 + 0.2 * draw("slot", ix.0.into());
        ends[ix.at()] = begin + took;
        let broken =
            |state: TaskState| matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
        let run = &mut tasks[ix.at()].clone();
        if task.upstream.iter().any(|e| broken(tasks[e.task.at()].state)) {
            run.state = TaskState::UpstreamFailed;
            run.finished_at = Some(seconds(start, ready));
        } else if ready > plan.seen_after {
            run.state = TaskState::Pending;
        } else if begin > plan.seen_after {
            run.state = TaskState::Queued;
            run.queued_at = Some(seconds(start, ready));
        } else {
            run.attempts = 1;
            run.queued_at = Some(seconds(start, ready));
            run.started_at = Some(seconds(start, begin));
            run.state = TaskState::Running;
            let fail = plan.fails.iter().find(|(name, _)| *name == task.name.as_str());
            if begin + took <= plan.seen_after {
                finish(run, task, fail.map(|(_, e)| e), seconds(start, begin + took), plan, texts);
            }
        }
        tasks[ix.at()] = run.clone();
    }
    let last = ends.iter().copied().fold(0.0, f64::max);
    let failed = tasks.iter().any(|task| task.state == TaskState::Failed);
    let done = tasks.iter().all(|task| task.state.is_final());
    let state = if !done {
        RunState::Running
    } else if failed {
        RunState::Failed
    } else {
        RunState::Succeeded
    };
    let trigger = if plan.manual {
        Trigger::Manual { who: texts.or("browser") }
    } else {
        Trigger::Schedule { tick: plan.created, trigger: "cron 0 2 * * *".to_owned() }
    };
    let given = Map::new();
    let mut params = dag.params_of(&given).unwrap_or_default();
    if let Some(text) = &texts.any {
        params.insert("note".to_owned(), json!(text));
    }
    let waits = tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.state == TaskState::Queued)
        .map(|(ix, _)| {
            (Some(TaskIx(ix as u32)), texts.or("pool `default` is full (16 of 16 slots)"))
        })
        .collect();
    let end = tasks.iter().filter_map(|task| task.finished_at).max();
    RunDetail {
        head: RunHead {
            id: RunId { dag: dag.id.clone(), number: plan.number },
            version: dag.version.clone(),
            state,
            generation: 1,
            trigger,
            params,
            interval: "2026-11-23/2026-11-24".parse().ok(),
            lane: None,
            cancel_requested: false,
            held_by: None,
            timed_out: false,
            note: None,
            reason: None,
            past_attempts: 0,
            created_at: plan.created,
            started_at: Some(start),
            finished_at: done.then(|| end.unwrap_or_else(|| seconds(start, last))),
        },
        dag: Some(Arc::clone(dag)),
        tasks,
        waits,
    }
}

fn finish(
    run: &mut TaskRun,
    task: &Task,
    fail: Option<&TaskError>,
    end: Timestamp,
    plan: &Plan,
    texts: &Texts,
) {
    run.finished_at = Some(end);
    let Some(begin) = run.started_at else { return };
    let outcome = if fail.is_some() { AttemptOutcome::Failed } else { AttemptOutcome::Succeeded };
    let record =
        |attempt, started_at, finished_at, outcome, error: Option<&TaskError>| AttemptRecord {
            attempt,
            generation: 1,
            started_at,
            finished_at,
            outcome,
            error: error.map(|error| error.message.clone()),
        };
    if let Some(error) = fail {
        run.state = TaskState::Failed;
        run.error = Some(Box::new(error.clone()));
        if task.action.key() == "run" {
            // Two tries before this one.
            run.attempts = 3;
            let first = begin.minus(Duration::from_millis(900));
            run.history.push(record(
                1,
                first,
                first.plus(Duration::from_millis(200)),
                outcome,
                fail,
            ));
            run.history.push(record(
                2,
                begin.minus(Duration::from_millis(500)),
                begin.minus(Duration::from_millis(250)),
                AttemptOutcome::Lost,
                None,
            ));
        }
        run.history.push(record(run.attempts, begin, end, outcome, fail));
        return;
    }
    run.state = TaskState::Succeeded;
    run.history.push(record(1, begin, end, outcome, None));
    let rows_in = (draw(task.name.as_str(), 7) * 540_000.0) as u64 + plan.number;
    let mut counts = Counts { rows_in, rows_out: rows_in, ..Counts::default() };
    let name = task.name.to_string();
    let table = |name: String, rows: u64| TableRef {
        hash: name.clone(),
        name,
        rows,
        bytes: rows * 31,
        schema: String::new(),
    };
    let mut tables = Vec::new();
    match task.action.key() {
        "run" | "noop" => counts = Counts::default(),
        "load" => {}
        _ if task.action.kind() == "clean" => {
            counts.duplicates = rows_in / 97;
            counts.rejected = vec![
                (texts.or("no_customer"), rows_in / 4),
                ("non_product".to_owned(), rows_in / 283),
                ("return".to_owned(), rows_in / 63),
                ("bad_price".to_owned(), rows_in / 16_000),
            ];
            counts.rows_out = rows_in - counts.duplicates - counts.rejected_total();
            tables.push(table(name.clone(), counts.rows_out));
            tables.push(table(format!("{name}.rejects"), counts.rejected_total()));
            tables.push(table(format!("{name}.duplicates"), 0));
        }
        _ => tables.push(table(name.clone(), rows_in)),
    }
    let warnings = if name == "customers" || texts.any.is_some() {
        vec![texts.or("check `rows: {min: 100}` does not hold: the table has 48 rows")]
    } else {
        vec![]
    };
    let mut outputs = Map::new();
    if task.action.key() == "run" {
        outputs.insert("pages".to_owned(), json!(texts.or("12")));
    }
    run.result =
        Some(Box::new(TaskResult { tables, counts, warnings, outputs, ..TaskResult::default() }));
}

fn error(texts: &Texts, kind: FailureKind, message: &str, place: &str, help: &str) -> TaskError {
    TaskError::new(kind, texts.or(message)).at(Some(texts.or(place))).help(Some(texts.or(help)))
}

fn log(start: Timestamp, texts: &Texts, lines: &[(LogStream, &str)]) -> Vec<LogLine> {
    let mut offset = 0;
    lines
        .iter()
        .enumerate()
        .map(|(n, (stream, text))| {
            let line = LogLine {
                at: Some(start.plus(Duration::from_millis(37 * n as u64))),
                stream: *stream,
                text: texts.or(text),
                offset,
            };
            offset += line.text.len() as u64 + 1;
            line
        })
        .collect()
}

const TRACE: &[(LogStream, &str)] = &[
    (LogStream::Tidemill, "attempt 3 started: python report.py --day 2026-11-23"),
    (LogStream::Stdout, "reading \u{1b}[36mwarehouse/revenue.parquet\u{1b}[0m"),
    (LogStream::Stdout, "  4,812 rows, 31 shops"),
    (LogStream::Stdout, "\u{1b}[33mwarning\u{1b}[0m: shop 17 has no target, using the mean"),
    (LogStream::Stderr, "Traceback (most recent call last):"),
    (LogStream::Stderr, "  File \"/jobs/report.py\", line 48, in <module>"),
    (LogStream::Stderr, "    main(day)"),
    (LogStream::Stderr, "  File \"/jobs/report.py\", line 31, in main"),
    (LogStream::Stderr, "    share = revenue / target"),
    (LogStream::Stderr, "            ~~~~~~~~^~~~~~~~"),
    (LogStream::Stderr, "\u{1b}[1;31mZeroDivisionError\u{1b}[0m: division by zero"),
    (LogStream::Tidemill, "attempt 3 failed: exit code 1"),
];

const SOURCE: &str = "dag: orders_daily\ndescription: Yesterday's orders into the warehouse\nowner: shop-data\ntags: [shop]\nschedule: \"0 2 * * *\"\n\nparams:\n  region: {type: string, enum: [eu, us], default: eu}\n\ntasks:\n  orders:\n    ingest:\n      http: {connection: shop, path: /orders, pages: {param: page}}\n    retry: 2\n\n  clean_orders:\n    transform:\n      clean:\n        from: orders\n        dedupe: all\n        reject:\n          - {reason: no_customer, where: customer_id is null}\n\n  daily_revenue:\n    transform:\n      sql: |\n        select shop, sum(amount) as revenue\n        from clean_orders where region = $region group by shop\n\n  report:\n    run: [python, report.py, --day, \"${{ date(run.interval.start) }}\"]\n    depends_on: [warehouse]\n";

fn finding(texts: &Texts) -> Diagnostic {
    Diagnostic {
        code: "TM0107",
        severity: Severity::Error,
        blocks_run: true,
        message: texts.or("task `load_orders` depends on `extract_order`, which does not exist"),
        file: texts.or("dags/returns.yaml"),
        line: 18,
        column: 18,
        length: 13,
        source_line: texts.or("    depends_on: [extract_order]"),
        source_offset: 0,
        label: Some(texts.or("no task has this name")),
        help: Some(texts.or("did you mean `extract_orders`?")),
    }
}

/// Everything, as a good day and a bad one leave it. With `text`, that text stands wherever one
/// can.
pub(crate) fn world(text: Option<&str>) -> Fake {
    let texts = |description: &str| Texts {
        description: description.to_owned(),
        any: text.map(ToOwned::to_owned),
    };
    let mut fake = Fake::default();
    personalize(
        &mut fake,
        &texts("Score customers by purchases and behaviour, and write each a mail"),
    );
    orders(&mut fake, &texts("Yesterday's orders into the warehouse"));
    others(&mut fake, &texts("Says hello"));
    crate::regions::add(&mut fake, at(NOW).minus(Duration::from_hours(300)));
    let all = texts("");
    fake.columns = ["customer_id", "country", "amount", "ordered_at", "note"]
        .into_iter()
        .zip(["string", "string", "double", "timestamp", "string"])
        .map(|(name, kind)| Column { name: name.to_owned(), kind: all.or(kind) })
        .collect();
    fake.rows = (0..300)
        .map(|n| {
            vec![
                json!(format!("{}", 17_850 + n)), json!(["United Kingdom", "Germany", "EIRE"][n % 3]),
                json!((draw("amount", n as u64) * 20_000.0).round() / 100.0),
                json!(format!("2011-12-0{}T08:26:00Z", 1 + n % 9)),
                if n % 4 == 0 { Value::Null } else { json!(all.or("gift wrap, leave with the neighbours at number 14 if nobody is in, and ring twice please")) },
            ]
        })
        .collect();
    fake.profiles = (0..120)
        .map(|n| {
            let id = format!("{}", 12_346 + n * 3);
            let mut document = profile(&id, n % 9);
            if let (Some(text), Some(map)) = (text, document.as_object_mut()) {
                map.insert("segment".to_owned(), json!(text));
                map.insert(text.to_owned(), json!({text: text, "list": [{text: text}]}));
            }
            (id, document)
        })
        .collect();
    fake.trouble = text.map(ToOwned::to_owned);
    fake.dags.sort_by_key(|dag| dag.view.title());
    fake
}

fn personalize(fake: &mut Fake, texts: &Texts) {
    let flagship = dag("personalize", Some("0 */2 * * *"), texts, FLAGSHIP);
    for number in 30..=42 {
        let created = at(NOW).minus(Duration::from_secs((43 - number) * 7_200));
        let plan = Plan { number, created, seen_after: 1e9, fails: &[], manual: number == 35 };
        let mut detail = run(&flagship, &plan, texts);
        if number == 38 {
            detail.head.state = RunState::Cancelled;
        }
        fake.runs.push(detail);
    }
    let plan = Plan {
        number: 43,
        created: at(NOW).minus(Duration::from_secs(4)),
        seen_after: 3.6,
        fails: &[],
        manual: true,
    };
    let running = run(&flagship, &plan, texts);
    if let Some(ix) = running.tasks.iter().position(|task| task.state == TaskState::Running) {
        let name = running.task_name(TaskIx(ix as u32)).parse().expect("a name");
        let lines = [
            (LogStream::Tidemill, "attempt 1 started"),
            (LogStream::Tidemill, "120,000 rows so far"),
        ];
        fake.logs.insert(
            (running.head.id.clone(), name, 1),
            log(at("2026-11-24T11:59:57Z"), texts, &lines),
        );
    }
    fake.runs.push(running);
    fake.dag(&flagship, SOURCE, |_| {});
}

fn orders(fake: &mut Fake, texts: &Texts) {
    let orders = dag("orders_daily", Some("0 2 * * *"), texts, ORDERS);
    let exit = error(
        texts,
        FailureKind::Exit,
        "the command ended with code 1: ZeroDivisionError: division by zero",
        "tasks.report.run in dags/orders_daily.yaml:31",
        "its last lines of output are in the log",
    );
    for number in 8..=21 {
        let fails = [("report", exit.clone())];
        let bad = number >= 19 || number == 12;
        let created = at("2026-11-24T02:00:00Z").minus(Duration::from_secs((21 - number) * 86_400));
        let fails = if bad { &fails[..] } else { &[] };
        let plan = Plan { number, created, seen_after: 1e9, fails, manual: false };
        let detail = run(&orders, &plan, texts);
        if bad {
            let key = (detail.head.id.clone(), "report".parse().expect("a name"), 3);
            fake.logs.insert(key, log(created.plus(Duration::from_secs(4)), texts, TRACE));
        }
        fake.runs.push(detail);
    }
    fake.dag(&orders, SOURCE, |_| {});
}

fn others(fake: &mut Fake, texts: &Texts) {
    let hello = dag("hello", None, texts, &[("hello", "run", "command", &[])]);
    let plan = Plan {
        number: 1,
        created: at("2026-11-21T09:12:00Z"),
        seen_after: 1e9,
        fails: &[],
        manual: true,
    };
    fake.runs.push(run(&hello, &plan, texts));
    fake.dag(&hello, "tasks:\n  hello:\n    run: [echo, hello]\n", |_| {});

    let inventory = Texts {
        description: "Stock levels of all shops, every fifteen minutes".to_owned(),
        any: texts.any.clone(),
    };
    let stock = dag("inventory-sync", Some("*/15 * * * *"), &inventory, &ORDERS[..5]);
    fake.dag(&stock, SOURCE, |view| (view.paused, view.next_tick) = (true, None));

    let names: Vec<String> = (0..200).map(|n| format!("leaf_{n}")).collect();
    let mut lines: Vec<(&str, &str, &str, &[&str])> = vec![("split", "noop", "noop", &[])];
    lines.extend(names.iter().map(|name| (name.as_str(), "run", "command", &["split"] as &[&str])));
    let leaves: Vec<&str> = names.iter().map(String::as_str).collect();
    lines.push(("join", "noop", "noop", &leaves));
    let fan_texts =
        Texts { description: "One to two hundred to one".to_owned(), any: texts.any.clone() };
    let fan = dag("fan_out", None, &fan_texts, &lines);
    let lost = error(
        texts,
        FailureKind::Timeout,
        "it took longer than 30 min",
        "tasks.leaf_17.timeout",
        "raise the timeout or split the work",
    );
    let fails = [("leaf_17", lost.clone()), ("leaf_140", lost)];
    let plan = Plan {
        number: 3,
        created: at("2026-11-24T11:20:00Z"),
        seen_after: 1e9,
        fails: &fails,
        manual: true,
    };
    fake.runs.push(run(&fan, &plan, &fan_texts));
    for name in ["leaf_17", "leaf_140"] {
        let key = ("fan_out.3".parse().expect("an id"), name.parse().expect("a name"), 3);
        let lines = [(LogStream::Stdout, "working"), (LogStream::Stderr, "still working")];
        fake.logs.insert(key, log(at("2026-11-24T11:20:01Z"), &fan_texts, &lines));
    }
    fake.dag(&fan, "tasks: {}\n", |_| {});

    wide(fake, texts);
    let broken = Texts { description: "Returned goods".to_owned(), any: texts.any.clone() };
    let returns = dag("returns", Some("0 5 * * 1"), &broken, &ORDERS[..2]);
    fake.dag(&returns, SOURCE, |view| {
        view.dag = None;
        view.next_tick = None;
        view.diagnostics = vec![finding(texts)];
    });
}

/// A hundred different tasks in ten layers.
fn wide(fake: &mut Fake, texts: &Texts) {
    let kinds =
        [("ingest", "csv"), ("transform", "sql"), ("transform", "clean"), ("run", "command")];
    let names: Vec<String> =
        (0..100).map(|n| format!("step_{}_{}", (b'a' + n / 10) as char, n % 10)).collect();
    let ups: Vec<Vec<&str>> = (0..100_usize)
        .map(|n| match n / 10 {
            0 => vec![],
            layer => {
                let before = (layer - 1) * 10;
                let mut ups = vec![names[before + n % 10].as_str()];
                if n % 3 == 0 {
                    ups.push(names[before + (n * 7 + layer) % 10].as_str());
                }
                ups
            }
        })
        .collect();
    let lines: Vec<(&str, &str, &str, &[&str])> = (0..100)
        .map(|n| {
            let (key, kind) = if n < 10 { kinds[0] } else { kinds[1 + n % 3] };
            (names[n].as_str(), key, kind, ups[n].as_slice())
        })
        .collect();
    let texts = Texts { description: "A hundred tasks".to_owned(), any: texts.any.clone() };
    let wide = dag("wide", None, &texts, &lines);
    let plan = Plan {
        number: 5,
        created: at(NOW).minus(Duration::from_secs(9)),
        seen_after: 6.0,
        fails: &[],
        manual: true,
    };
    fake.runs.push(run(&wide, &plan, &texts));
    fake.dag(&wide, "tasks: {}\n", |_| {});
}
