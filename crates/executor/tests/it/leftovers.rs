//! After a crash of the server nothing of its commands is left.

use std::process::{Child, Command};
use std::time::Duration;

use tidemill_executor::{end_leftovers, living_leftovers};

use crate::house::{pids, runs, until};
use crate::orders::paths;

/// A server that runs a script and is ended with KILL once the script has made `ready`.
async fn crashed(home: &std::path::Path, script: &str) -> Child {
    let mut server = Command::new(env!("CARGO_BIN_EXE_tidemill-exec-test"))
        .args(["hold".as_ref(), home.as_os_str(), script.as_ref()])
        .spawn()
        .unwrap();
    let ready = home.join("ready");
    until("the script is ready", || ready.exists()).await;
    server.kill().unwrap();
    server.wait().unwrap();
    server
}

async fn check(what: &str, script: &str) {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), script).await;
    let living = living_leftovers(&paths(home.path()));
    let ended = end_leftovers(&paths(home.path()), Duration::from_millis(200), |_| true);
    let started = pids(&home.path().join("pids"));
    assert_eq!(living.len(), 1, "{what}: {living:?}");
    assert_eq!(living[0].0, "shop.1/work#1");
    assert!(living[0].1.iter().any(|pid| started.contains(pid)), "{what}: {living:?}");
    assert!(!started.is_empty(), "{what}: the script said its numbers");
    let left: Vec<_> = started.into_iter().filter(|pid| runs(*pid)).collect();
    assert_eq!(left, Vec::<i32>::new(), "{what}: processes are left");
    let said: Vec<&str> = ended.iter().map(|leftover| leftover.attempt.as_str()).collect();
    assert_eq!(said, ["shop.1/work#1"], "{what}: what was ended is named");
    assert!(ended.iter().all(|leftover| leftover.stubborn.is_empty()));
    let records = std::fs::read_dir(home.path().join("processes")).unwrap().count();
    assert_eq!(records, 0, "{what}: the record is gone");
    assert_eq!(
        end_leftovers(&paths(home.path()), Duration::ZERO, |_| true),
        [],
        "{what}: nothing twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_of_a_command() {
    check("a child", "sleep 1000 & echo $! > pids; touch ready; wait").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_of_a_command() {
    let script =
        "(setsid sh -c 'echo $$ > pids; touch ready; exec sleep 1000' &) & wait; exec sleep 1000";
    check("a daemon", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ignores_term() {
    let script =
        "(trap '' TERM; sh -c 'echo $$ > pids; touch ready; while :; do sleep 1; done') & wait";
    check("deaf", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_itself_does_not_outlive_its_server() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "echo $$ > pids; touch ready; exec sleep 1000").await;
    let pid = pids(&home.path().join("pids"))[0];
    // Nobody calls `end_leftovers` here.
    until("the command has ended", || !runs(pid)).await;
}

#[test]
fn records_that_cannot_be_read_are_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("processes");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shop.1.work.1.json"), "{\"attempt\": \"sh").unwrap();
    assert_eq!(end_leftovers(&paths(home.path()), Duration::ZERO, |_| true), []);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_that_wait_for_the_next_commands() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_tidemill-exec-test"))
        .args(["hold".as_ref(), home.path().as_os_str(), "touch ready; sleep 1000".as_ref()])
        .spawn()
        .unwrap();
    let server_pid = server.id();
    let waiting = move || -> Vec<i32> {
        let words = format!("__tidemill-exec\0{server_pid}\0");
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).ends_with(&words)
            })
            .collect()
    };
    let ready = home.path().join("ready");
    until("the script is ready", || ready.exists()).await;
    until("a process waits", || !waiting().is_empty()).await;
    server.kill().unwrap();
    server.wait().unwrap();
    until("none is left", || !waiting().into_iter().any(runs)).await;
    end_leftovers(&paths(home.path()), Duration::from_millis(200), |_| true);
}
