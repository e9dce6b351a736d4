//! Timeouts, cancels, and panics: what is asked to stop stops, and says so once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidemill_model::{Action, FailureKind, ReportOutcome};

use crate::connectors::{Broken, Busy, Endless, Hanging};
use crate::house::{House, Plan, failure, until};
use crate::orders::{Job, template};

fn ingest(connector: &str) -> Job {
    Job::of(Action::Ingest { connector: connector.to_owned(), config: template(&json!({})) })
}

fn with_odd_connectors() -> House {
    House::of(Plan {
        connectors: vec![Arc::new(Hanging), Arc::new(Endless), Arc::new(Broken), Arc::new(Busy)],
        ..Plan::default()
    })
}

/// Starts a script that makes the file `ready`, and waits for it.
async fn ready(
    house: &House,
    script: &str,
    timeout: Option<Duration>,
) -> tidemill_model::AttemptId {
    let id = house.start(Job { timeout, ..Job::shell(script, &[]) });
    let path = house.path().join("ready");
    until("the script is ready", || path.exists()).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_ends_a_command() {
    let house = House::new();
    let job = Job { timeout: Some(Duration::from_millis(50)), ..Job::argv(["sleep", "1000"]) };
    let (id, outcome) = house.run(job).await;
    let (kind, text) = failure(outcome);
    assert_eq!(kind, FailureKind::Timeout);
    assert!(text.starts_with("took longer than its timeout of"), "{text}");
    assert!(house.lines(&id).1, "the log has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_ends_a_command_that_ignores_term() {
    let house = House::new();
    let script = "trap '' TERM; touch ready; while :; do sleep 0.05; done";
    ready(&house, script, Some(Duration::from_secs(1))).await;
    assert_eq!(failure(house.report().await.outcome).0, FailureKind::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_is_a_failure_even_when_the_command_then_ends_well() {
    let house = House::of(Plan { grace: Duration::from_secs(30), ..Plan::default() });
    let script = "trap 'exit 0' TERM; touch ready; while :; do sleep 0.05; done";
    ready(&house, script, Some(Duration::from_secs(1))).await;
    assert_eq!(failure(house.report().await.outcome).0, FailureKind::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_command_is_cancelled_whatever_code_it_ends_with() {
    for code in [0, 1, 99] {
        let house = House::of(Plan { grace: Duration::from_secs(30), ..Plan::default() });
        let script = format!("trap 'exit {code}' TERM; touch ready; while :; do sleep 0.05; done");
        let id = ready(&house, &script, None).await;
        house.executor.cancel(&id);
        let outcome = house.report().await.outcome;
        assert!(matches!(outcome, ReportOutcome::Cancelled), "code {code}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_at_any_moment_give_one_report() {
    let house = House::new();
    for turn in 0..40_u32 {
        let id = house.start(Job::argv(["true"]));
        for _ in 0..turn * 50 {
            tokio::task::yield_now().await;
        }
        house.executor.cancel(&id);
        house.executor.cancel(&id);
        let report = house.report().await;
        assert_eq!(report.id, id, "each attempt is reported once, in turn");
        assert!(
            matches!(report.outcome, ReportOutcome::Succeeded(_) | ReportOutcome::Cancelled),
            "{:?}",
            report.outcome
        );
    }
    house.executor.shutdown().await;
    assert_eq!(house.records(), 0, "no record outlives its command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_has_just_begun_is_ended_too() {
    // Each in a house of its own: its process is a new one, which has nothing yet to tell it by.
    for turn in 0..40_u32 {
        let house = House::new();
        let id = house.start(Job::argv(["sleep", "1000"]));
        for _ in 0..turn * 50 {
            tokio::task::yield_now().await;
        }
        house.executor.cancel(&id);
        let outcome = house.report().await.outcome;
        assert!(matches!(outcome, ReportOutcome::Cancelled), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_hangs_can_be_cancelled() {
    let house = with_odd_connectors();
    let id = house.start(ingest("hanging"));
    let path = house.log_path(&id);
    until("the attempt has begun", || path.exists()).await;
    house.executor.cancel(&id);
    let outcome = house.report().await.outcome;
    assert!(matches!(outcome, ReportOutcome::Cancelled), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_hangs_meets_its_timeout() {
    let house = with_odd_connectors();
    let job = Job { timeout: Some(Duration::from_millis(50)), ..ingest("hanging") };
    assert_eq!(failure(house.run(job).await.1).0, FailureKind::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_end_stops_between_batches() {
    let house = with_odd_connectors();
    let job = Job { timeout: Some(Duration::from_millis(200)), ..ingest("endless") };
    assert_eq!(failure(house.run(job).await.1).0, FailureKind::Timeout);
    let left = std::fs::read_dir(house.path().join("tables")).unwrap().count();
    assert_eq!(left, 0, "no half table is left");
}

/// Five minutes are waited for within an attempt, ten are not: they are passed on to the retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_for_a_long_pause_ends_the_attempt_and_is_reported() {
    let house = with_odd_connectors();
    let (_, outcome) = house.run(ingest("busy")).await;
    let ReportOutcome::Failed(error) = outcome else { panic!("it did not fail: {outcome:?}") };
    assert_eq!(error.kind, FailureKind::Transient);
    assert_eq!(error.retry_after, Some(Duration::from_mins(10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_its_attempt_and_nothing_else() {
    let house = with_odd_connectors();
    let (_, outcome) = house.run(ingest("broken")).await;
    let (kind, text) = failure(outcome);
    assert_eq!(kind, FailureKind::Internal);
    assert!(text.contains("this connector panics on purpose"), "{text}");
    house.done(Job::argv(["true"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_the_log_of_its_attempt() {
    let house = with_odd_connectors();
    let (id, _) = house.run(ingest("broken")).await;
    let (lines, ended) = house.lines(&id);
    assert!(ended, "who follows the log learns that it has ended");
    assert!(lines.iter().any(|line| line.contains("panics on purpose")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_everything_and_reports_interruptions() {
    let house = House::new();
    let under_way = ready(&house, "echo $$ > pid; touch ready; exec sleep 1000", None).await;
    house.executor.shutdown().await;
    assert_eq!(house.executor.under_way(), 0);
    let pid = crate::house::pids(&house.path().join("pid"))[0];
    assert!(!crate::house::runs(pid), "the command has ended");
    // What comes too late does not begin.
    let late = house.start(Job::argv(["true"]));
    for id in [under_way, late] {
        let report = house.report().await;
        assert_eq!(report.id, id);
        assert!(matches!(report.outcome, ReportOutcome::Interrupted), "{:?}", report.outcome);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_logs_and_sources_that_hang() {
    let house = with_odd_connectors();
    let id = ready(&house, "touch ready; exec sleep 1000", None).await;
    house.start(ingest("hanging"));
    house.executor.shutdown().await;
    assert_eq!(house.executor.under_way(), 0);
    assert!(house.lines(&id).1, "its log has ended");
}
