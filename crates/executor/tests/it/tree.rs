//! The end of a command is the end of everything it started.

use std::time::{Duration, Instant};

use tidemill_model::ReportOutcome;

use crate::house::{House, Plan, pids, runs, until};
use crate::orders::Job;

/// Runs a script that writes the numbers of its processes to `pids`, and succeeds; none of them
/// may run when its end is reported.
async fn check(what: &str, script: &str, at_least: usize) {
    let house = House::new();
    house.done(Job::shell(script, &[])).await;
    let started = pids(&house.path().join("pids"));
    assert!(started.len() >= at_least, "{what}: only {started:?} were started");
    let left: Vec<_> = started.into_iter().filter(|pid| runs(*pid)).collect();
    assert_eq!(left, Vec::<i32>::new(), "{what}: processes are left");
}

/// Waits until the script's processes have said their numbers.
const SAID: &str = "while [ $(wc -l < pids) -lt $n ]; do :; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_background() {
    check("a child", &format!("n=1; : > pids; sleep 1000 & echo $! >> pids; {SAID}"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_ignores_term() {
    let script =
        "n=1; : > pids; (trap '' TERM HUP; sh -c 'echo $$ >> pids; while :; do sleep 1; done') & ";
    check("deaf", &format!("{script}{SAID}"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_in_sessions_of_their_own() {
    let script = "n=1; : > pids; (setsid sh -c 'echo $$ >> pids; exec sleep 1000' &) & ";
    check("a daemon", &format!("{script}{SAID}"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_are_just_becoming_another_program() {
    // Such a process has no environment for a moment, so that it is hard to tell whose it is.
    let script = "n=1; : > pids; (setsid sh -c 'echo $$ >> pids; exec env A=1 sh -c \"exec env B=2 sleep 1000\"' &) & ";
    for _ in 0..20 {
        check("an exec", &format!("{script}{SAID}"), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_let_go_of_their_pipes() {
    let script = "n=1; : > pids; (setsid nohup sh -c 'echo $$ >> pids; exec sleep 1000' >/dev/null 2>&1 &) & ";
    check("a quiet daemon", &format!("{script}{SAID}"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_children() {
    let script = "n=200; : > pids; i=0; while [ $i -lt 200 ]; do sleep 1000 & echo $! >> pids; i=$((i+1)); done; ";
    check("many", &format!("{script}{SAID}"), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_child() {
    let script = "n=1; : > pids; sleep 1000 & echo $! >> pids; kill -STOP $!; ";
    check("stopped", &format!("{script}{SAID}"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_does_not_wait_for_who_holds_the_pipe() {
    let house = House::of(Plan { grace: Duration::from_mins(1), ..Plan::default() });
    // With this grace, only a child that goes on TERM is gone before the end of patience.
    let (id, _) = house.done(Job::shell("sleep 100000 & echo out", &[])).await;
    assert_eq!(house.stdout(&id), "out\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_ended_daemons_is_left_to_collect() {
    let house = House::new();
    let script = "n=1; : > pids; (setsid sh -c 'echo $$ >> pids; exec sleep 1000' &) & ";
    house.done(Job::shell(&format!("{script}{SAID}"), &[])).await;
    let [daemon] = pids(&house.path().join("pids"))[..] else { panic!("one daemon") };
    // A later command finds nothing to look after: the dead are collected, not kept as zombies.
    house.done(Job::argv(["true"])).await;
    let path = format!("/proc/{daemon}");
    until("the daemon was collected", || !std::path::Path::new(&path).exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_command_ends_with_its_tree() {
    let house = House::new();
    let script = "n=2; : > pids; (setsid sh -c 'echo $$ >> pids; exec sleep 1000' &) & sleep 1000 & echo $! >> pids; ";
    let id = house.start(Job::shell(&format!("{script}{SAID}; touch ready; wait"), &[]));
    let ready = house.path().join("ready");
    until("the script is ready", || ready.exists()).await;
    let begun = Instant::now();
    house.executor.cancel(&id);
    let outcome = house.report().await.outcome;
    assert!(matches!(outcome, ReportOutcome::Cancelled), "{outcome:?}");
    let started = pids(&house.path().join("pids"));
    assert_eq!(started.len(), 2);
    assert!(!started.iter().any(|pid| runs(*pid)), "something is left after {:?}", begun.elapsed());
}
