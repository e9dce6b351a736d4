//! The form of events in the journal. They are written once and read for years: a line of
//! `events.jsonl` may be added, none may change.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use tidemill_model::dag::{Consume, Listen, Signal};
use tidemill_model::event::MapPlan;
use tidemill_model::{
    Counts, DagEvent, DagId, Event, FailureKind, Instance, LostCause, RunEvent, RunState, TableRef,
    TaskError, TaskIx, TaskResult, TaskState, Timestamp, Trigger, Version,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/events.jsonl");

fn run_events() -> Vec<RunEvent> {
    let (task, attempt) = (Instance::from(TaskIx(3)), 2);
    let item = Instance::of_item(TaskIx(3), 17);
    let at = Timestamp::from_micros(1_769_824_800_000_001);
    let tick = Timestamp::from_micros(1_769_824_800_000_000);
    let version = Version::of(b"a");
    let error = TaskError::new(FailureKind::Exit, "it ended with code 1")
        .at(Some("task `load`".to_owned()))
        .help(Some("look at its log".to_owned()));
    let bare = TaskError::new(FailureKind::Lost, "nobody knows");
    let asked = TaskError::new(FailureKind::Transient, "not now")
        .retry_after(Some(std::time::Duration::from_mins(10)));
    let result = TaskResult {
        tables: vec![TableRef {
            name: "orders".to_owned(),
            hash: "00ff".to_owned(),
            rows: 3,
            bytes: 99,
            schema: "0f".to_owned(),
        }],
        counts: Counts {
            rows_in: 6,
            rows_out: 3,
            duplicates: 1,
            rejected: vec![("no key".to_owned(), 2)],
        },
        warnings: vec!["`rows` does not hold".to_owned()],
        outputs: json!({"day": "2026-01-31"}).as_object().unwrap().clone(),
        reused: None,
        items: None,
    };
    let reason = || "it has nothing to do".to_owned();
    let created = |trigger, interval| RunEvent::Created {
        version: version.clone(),
        trigger,
        params: json!({"region": "eu"}).as_object().unwrap().clone(),
        interval,
        lane: None,
        at,
    };
    let called = || "refunds.4".parse().unwrap();
    let answered = |approved| RunEvent::AttemptAnswered {
        task,
        attempt,
        approved,
        values: if approved {
            json!({"limit": 7}).as_object().unwrap().clone()
        } else {
            Map::new()
        },
        who: "ada".to_owned(),
        note: (!approved).then(|| "not today".to_owned()),
        at,
    };
    let due = Trigger::Schedule { tick, trigger: "cron 0 2 * * *".to_owned() };
    let plan = |items, tolerated| Some(MapPlan { items, tolerated });
    vec![
        created(due, "2026-01-30/2026-01-31".parse().ok()),
        created(Trigger::Manual { who: "ada".to_owned() }, None),
        RunEvent::Started { at },
        RunEvent::TaskQueued { task, at },
        RunEvent::TaskWaiting { task, reason: reason(), at },
        RunEvent::TaskSkipped { task, reason: reason(), at },
        RunEvent::TaskUpstreamFailed { task, at },
        RunEvent::TaskFailed { task, error: bare.clone(), at },
        RunEvent::TaskCancelled { task, at },
        RunEvent::TaskRemoved { task, at },
        RunEvent::AttemptStarted { task, attempt, map: None, until: None, at },
        RunEvent::AttemptSucceeded { task, attempt, result, at },
        RunEvent::AttemptSucceeded { task, attempt, result: TaskResult::default(), at },
        RunEvent::AttemptFailed { task, attempt, error, retry_at: Some(tick), at },
        RunEvent::AttemptFailed { task, attempt, error: bare, retry_at: None, at },
        RunEvent::AttemptSkipped { task, attempt, reason: reason(), at },
        RunEvent::AttemptCancelled { task, attempt, at },
        RunEvent::AttemptLost { task, attempt, cause: LostCause::Shutdown, again: true, at },
        RunEvent::CancelRequested { who: "ada".to_owned(), reason: None, at },
        RunEvent::Finished { state: RunState::Succeeded, at },
        RunEvent::Reopened {
            tasks: vec![TaskIx(3)],
            version: version.clone(),
            who: "ada".to_owned(),
            at,
        },
        RunEvent::AttemptFailed { task, attempt, error: asked, retry_at: Some(tick), at },
        RunEvent::AttemptStarted { task, attempt, map: plan(100, 5), until: None, at },
        RunEvent::AttemptStarted { task, attempt, map: plan(1, 0), until: None, at },
        RunEvent::AttemptStarted { task: item, attempt, map: None, until: None, at },
        RunEvent::GroupStopped { task: item, attempt, at },
        RunEvent::AttemptGathers { task, attempt, at },
        RunEvent::AttemptStarted { task, attempt, map: None, until: Some(tick), at },
        RunEvent::AttemptCalled { task, attempt, run: called(), at },
        answered(true),
        answered(false),
        created(Trigger::Call { run: called(), task: item, attempt, depth: 1 }, None),
        RunEvent::TaskGiven { task, result: Box::default(), reason: reason(), at },
        RunEvent::CancelRequested { who: "DAG a".to_owned(), reason: Some(reason()), at },
        created(
            Trigger::Dataset {
                trigger: "dataset crm.a".to_owned(),
                signals: vec![signal()],
                count: 1,
            },
            None,
        ),
        created(
            Trigger::Dag {
                trigger: "dag crm failed".to_owned(),
                signal: Signal { dataset: None, rows: 0, interval: None, ..signal() },
            },
            None,
        ),
        RunEvent::Held { held: true, who: "ada".to_owned(), at },
        RunEvent::TaskMarked {
            task,
            state: TaskState::Skipped,
            who: "ada".to_owned(),
            note: Some(reason()),
            at,
        },
        RunEvent::RetryHastened { task: item, who: "ada".to_owned(), at },
        RunEvent::Noted { about: Some(TaskIx(3)), text: reason(), who: "ada".to_owned(), at },
        RunEvent::Noted { about: None, text: String::new(), who: "ada".to_owned(), at },
        RunEvent::TimedOut { at },
    ]
}

fn datasets() -> Listen {
    Listen::Datasets { names: vec!["crm.a".to_owned()], all: false, consume: Consume::Batch }
}

fn signal() -> Signal {
    Signal {
        run: "crm.3".parse().unwrap(),
        state: RunState::Succeeded,
        dataset: Some("crm.a".to_owned()),
        rows: 12,
        interval: "2026-01-30/2026-01-31".parse().ok(),
    }
}

fn events() -> Vec<Event> {
    let crm: DagId = "crm".parse().unwrap();
    let at = Timestamp::from_micros(1_769_824_800_000_001);
    let key = || "cron 0 2 * * *".to_owned();
    let dag = [
        DagEvent::Deployed {
            version: Version::of(b"a"),
            served: true,
            triggers: vec![key()],
            listens: BTreeMap::new(),
            at,
        },
        DagEvent::Retired { at },
        DagEvent::Ticked { trigger: key(), tick: at, fired: true, at },
        DagEvent::Paused { paused: true, who: "ada".to_owned(), at },
        DagEvent::Paced { task: "load".parse().unwrap(), part_us: 1_000_000, at },
        DagEvent::Deployed {
            version: Version::of(b"a"),
            served: true,
            triggers: Vec::new(),
            listens: [
                ("dataset crm.a".to_owned(), datasets()),
                (
                    "dag crm failed".to_owned(),
                    Listen::Dag { name: crm, states: vec![RunState::Failed] },
                ),
            ]
            .into(),
            at,
        },
        DagEvent::Signalled { trigger: "dataset crm.a".to_owned(), signals: vec![signal()], at },
        DagEvent::Consumed {
            trigger: "dataset crm.a".to_owned(),
            taken: vec![0, 2],
            fired: true,
            at,
        },
        DagEvent::Failing { failures: 3, at },
    ];
    run_events()
        .into_iter()
        .map(|event| Event::Run("orders-daily.17".parse().unwrap(), event))
        .chain(dag.map(|event| Event::Dag("orders-daily".parse().unwrap(), event)))
        .collect()
}

#[test]
fn events_keep_their_form() {
    let lines: Vec<String> =
        events().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    if std::env::var_os("TIDEMILL_UPDATE").is_some() {
        std::fs::write(FILE, lines.join("\n") + "\n").unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert_eq!(written.lines().collect::<Vec<_>>(), lines, "the journal's form has changed");
    let read: Vec<Event> =
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events());
}

/// Journals of earlier builds lack what these events have gained since.
#[test]
fn events_of_earlier_builds_are_read() {
    let at = Timestamp::from_micros(1);
    let read = |text: &str| serde_json::from_str::<Event>(text).unwrap();
    let (task, attempt, cause) = (Instance::from(TaskIx(3)), 2, LostCause::Crash);
    assert_eq!(
        read(r#"{"run":["a.1",{"attempt_lost":{"task":3,"attempt":2,"again":true,"at":1}}]}"#),
        Event::Run(
            "a.1".parse().unwrap(),
            RunEvent::AttemptLost { task, attempt, cause, again: true, at }
        )
    );
    let version = Version::of(b"a");
    assert_eq!(
        read(&format!(r#"{{"dag":["a",{{"deployed":{{"version":"{version}","at":1}}}}]}}"#)),
        Event::Dag(
            "a".parse().unwrap(),
            DagEvent::Deployed {
                version,
                served: true,
                triggers: Vec::new(),
                listens: BTreeMap::new(),
                at,
            }
        )
    );
    let trigger = Trigger::Schedule { tick: at, trigger: String::new() };
    let read: Trigger = serde_json::from_str(r#"{"by":"cron","tick":1}"#).unwrap();
    assert_eq!(read, trigger);
}
