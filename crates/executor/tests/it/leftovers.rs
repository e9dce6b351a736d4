//! Commands go on while no server is there, and are taken up by the next one; what nobody looks
//! after any more is ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidemill_executor::living_commands;
use tidemill_executor::logs::{self, Stream};
use tidemill_model::{AttemptId, FailureKind, LostCause, ReportOutcome};

use crate::house::{House, Plan, failure, pids, records, run_id, runs, until};
use crate::orders::{Job, paths};

const KEEPS: Plan = Plan {
    secrets: &[],
    grace: Duration::from_millis(200),
    log: logs::LogLimits { head_bytes: 1 << 20, tail_bytes: 1 << 20 },
    connectors: Vec::new(),
    keep: true,
};

/// Whatever a script needs to be found again.
const SAYS: &str = "echo $$ >> pids; touch ready";

fn attempt() -> AttemptId {
    AttemptId { run: run_id(1), task: tidemill_model::TaskIx(0).into(), attempt: 1 }
}

/// A server that runs a script.
fn server(home: &Path, mode: &str, script: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tidemill-exec-test"))
        .args([mode.as_ref(), home.as_os_str(), script.as_ref()])
        .spawn()
        .unwrap()
}

/// A server that runs a script and is ended with KILL once the script has made `ready`.
async fn crashed(home: &Path, mode: &str, script: &str) {
    let mut server = server(home, mode, script);
    let ready = home.join("ready");
    until("the script is ready", || ready.exists()).await;
    server.kill().unwrap();
    server.wait().unwrap();
}

/// The supervisor of a home.
fn supervisor(home: &Path) -> i32 {
    std::fs::read_to_string(home.join("processes/supervisor.lock")).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// The next server, and what it found.
async fn next_server(home: TempDir) -> (House, Vec<AttemptId>) {
    let house = House::at(home, KEEPS);
    let (held, left) = house.executor.take_up(|_| true).await.unwrap();
    assert_eq!(left, [], "nothing had to be ended");
    (house, held)
}

/// Takes up the command and waits for its end.
async fn adopted(house: &House, job: Job) -> ReportOutcome {
    house.executor.adopt(job.order(house.path(), 1));
    let report = house.report().await;
    assert_eq!(report.id, attempt());
    report.outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_goes_on_and_its_log_has_no_gap() {
    let home = tempfile::tempdir().unwrap();
    let script = format!(
        "{SAYS}; i=0; while [ ! -e enough ]; do echo out $i; echo err $i >&2; i=$((i+1)); \
         sleep 0.001; done; echo last $i"
    );
    crashed(home.path(), "hold", &script).await;
    let pid = pids(&home.path().join("pids"))[0];
    let lines = |home: &Path| {
        let path = logs::log_path(&paths(home).logs, &run_id(1), "work", 1);
        logs::read(&path, 0, usize::MAX).unwrap().lines.len()
    };
    let before = lines(home.path());
    until("it says more without a server", || lines(home.path()) > before + 20).await;
    let living = living_commands(&paths(home.path()));
    assert_eq!((living.len(), living[0].attempt.as_str()), (1, "shop.1/work#1"));
    assert_eq!(living[0].supervisor, Some(supervisor(home.path())));
    assert!(living[0].pids.contains(&pid), "{living:?}");

    let (house, held) = next_server(home).await;
    assert_eq!(held, [attempt()]);
    house.put("enough", "");
    assert!(matches!(adopted(&house, Job::shell("", &[])).await, ReportOutcome::Succeeded(_)));
    let (said, ended) = house.lines(&attempt());
    assert!(ended);
    assert_eq!(said.first().map(String::as_str), Some("attempt 1 of `work`: run shell"));
    assert_eq!(said.last().map(String::as_str), Some("succeeded: 0 rows in, 0 rows out"));
    let out = house.stdout(&attempt());
    let n = out.lines().count() - 1;
    let numbers: Vec<String> = (0..n).map(|i| format!("out {i}")).collect();
    let expected = format!("{}\n", numbers.join("\n"));
    assert_eq!(out, format!("{expected}last {n}\n"));
    let err = String::from_utf8(house.output(&attempt(), Stream::Stderr)).unwrap();
    assert_eq!(err, expected.replace("out", "err"));
    until("its record is gone", || house.records() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_waits_for_the_next_server() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold", &format!("{SAYS}; sleep 0.2; echo why >&2; exit 7")).await;
    let supervisor = supervisor(home.path());
    until("the supervisor has left", || !runs(supervisor)).await;
    assert_eq!(records(home.path()), 1);
    assert_eq!(living_commands(&paths(home.path())), []);
    let (house, held) = next_server(home).await;
    assert_eq!(held, [attempt()]);
    let (kind, text) = failure(adopted(&house, Job::shell("", &[])).await);
    assert_eq!((kind, text.as_str()), (FailureKind::Exit, "ended with code 7: why"));
    assert_eq!(house.records(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_given_again_until_it_is_committed() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold", &format!("{SAYS}; sleep 0.1; exit 7")).await;
    for _ in 0..3 {
        // A server that takes it up, and falls before anything is committed.
        let mut other = server(home.path(), "adopt", "");
        assert!(other.wait().unwrap().success());
        assert_eq!(records(home.path()), 1);
    }
    let (house, _) = next_server(home).await;
    assert_eq!(failure(adopted(&house, Job::shell("", &[])).await).1, "ended with code 7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_leaves_is_taken_in_by_the_next_server() {
    use tidemill_model::outputs::{FileFormat, Output};
    let table =
        || Output::Table { format: FileFormat::Csv, columns: indexmap::IndexMap::default() };
    let job = |script: &str| Job { outputs: vec![("made", table())], ..Job::shell(script, &[]) };
    let house = House::of(KEEPS);
    let script = format!(
        "{SAYS}; until [ -e go ]; do sleep 0.01; done; echo a,b > $TIDEMILL_OUTPUT_MADE; echo 1,x >> $TIDEMILL_OUTPUT_MADE"
    );
    house.start(job(&script));
    let ready = house.path().join("ready");
    until("the script is ready", || ready.exists()).await;
    assert_eq!(house.executor.hand_over().await, 1);
    house.executor.leave().await;
    let folder = house.into_folder();
    let (house, _) = next_server(folder).await;
    house.put("go", "");
    let ReportOutcome::Succeeded(result) = adopted(&house, job("")).await else { panic!() };
    assert_eq!(house.rows(&result.tables[0]), ["1 | x"]);
    let left = std::fs::read_dir(house.path().join("spill/files")).unwrap().count();
    assert_eq!(left, 0, "its files are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_time_goes_on_without_a_server() {
    let house = House::of(KEEPS);
    let job = || Job { timeout: Some(Duration::from_secs(1)), ..Job::shell("sleep 1000", &[]) };
    house.start(Job {
        timeout: Some(Duration::from_secs(1)),
        ..Job::shell(&format!("{SAYS}; sleep 1000"), &[])
    });
    let ready = house.path().join("ready");
    until("the script is ready", || ready.exists()).await;
    house.executor.hand_over().await;
    let folder = house.into_folder();
    let pid = pids(&folder.path().join("pids"))[0];
    until("it was ended", || !runs(pid)).await;
    let (house, _) = next_server(folder).await;
    assert_eq!(failure(adopted(&house, job()).await).0, FailureKind::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_taken_up_can_be_cancelled() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold", &format!("{SAYS}; sleep 1000 & wait")).await;
    let (house, _) = next_server(home).await;
    house.executor.adopt(Job::shell("", &[]).order(house.path(), 1));
    house.executor.cancel(&attempt());
    let outcome = house.report().await.outcome;
    assert!(matches!(outcome, ReportOutcome::Cancelled), "{outcome:?}");
    assert!(!runs(pids(&house.path().join("pids"))[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_wants_is_ended() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold", &format!("{SAYS}; sleep 1000 & wait")).await;
    let (house, held) = next_server(home).await;
    let pid = pids(&house.path().join("pids"))[0];
    for id in &held {
        house.executor.cancel(id);
    }
    until("it has ended", || !runs(pid)).await;
    until("its record is gone", || house.records() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_process_that_is_no_server_end_with_it() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold-own", &format!("{SAYS}; sleep 1000 & echo $! >> pids; wait")).await;
    let started = pids(&home.path().join("pids"));
    // Nobody looks after it here.
    until("all have ended", || !started.iter().any(|pid| runs(*pid))).await;
    let supervisor = supervisor(home.path());
    until("the supervisor has left", || !runs(supervisor)).await;
    // Whoever goes on with the run learns that the attempt is lost.
    let (house, _) = next_server(home).await;
    let outcome = adopted(&house, Job::shell("", &[])).await;
    assert!(matches!(outcome, ReportOutcome::Lost(LostCause::Crash)), "{outcome:?}");
}

/// The scripts whose processes are hard to find.
const NASTY: [(&str, &str); 8] = [
    ("a child", "sleep 1000 & echo $! >> pids; touch ready; wait"),
    (
        "a daemon",
        "(setsid sh -c 'echo $$ >> pids; touch ready; exec sleep 1000' &) & wait; exec sleep 1000",
    ),
    (
        "deaf",
        "(trap '' TERM HUP; sh -c 'echo $$ >> pids; touch ready; while :; do sleep 1; done') & wait",
    ),
    (
        "under nohup",
        "nohup sh -c 'echo $$ >> pids; touch ready; exec sleep 1000' >/dev/null 2>&1 & wait",
    ),
    ("stopped", "sleep 1000 & echo $! >> pids; kill -STOP $!; touch ready; wait"),
    (
        "a deaf daemon",
        "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >> pids; touch ready; while :; do sleep 1; done' &) & wait; exec sleep 1000",
    ),
    (
        "a quiet daemon",
        "(setsid nohup sh -c 'echo $$ >> pids; touch ready; exec sleep 1000' >/dev/null 2>&1 &) & wait; exec sleep 1000",
    ),
    (
        "who holds the pipe",
        "sleep 1000 & echo $! >> pids; (sleep 1000 & echo $! >> pids); touch ready; exec sleep 1000",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_is_killed_takes_its_commands_with_it() {
    for (what, script) in NASTY {
        let house = House::of(KEEPS);
        let id = house.start(Job::shell(script, &[]));
        let ready = house.path().join("ready");
        until("the script is ready", || ready.exists()).await;
        kill(supervisor(house.path()));
        let report = house.report().await;
        assert_eq!(report.id, id);
        let lost = matches!(report.outcome, ReportOutcome::Lost(LostCause::Supervisor));
        assert!(lost, "{what}: {:?}", report.outcome);
        let left: Vec<i32> =
            pids(&house.path().join("pids")).into_iter().filter(|pid| runs(*pid)).collect();
        assert_eq!(left, [0; 0], "{what}: processes are left");
        assert_eq!(house.records(), 0);
        let (said, ended) = house.lines(&id);
        assert!(ended && said.last().is_some_and(|line| line.starts_with("lost: ")), "{said:?}");
        // The next command has another supervisor.
        house.done(Job::argv(["true"])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_server_and_a_supervisor_that_are_killed_nothing_is_left() {
    for (what, script) in NASTY {
        let home = tempfile::tempdir().unwrap();
        crashed(home.path(), "hold", script).await;
        kill(supervisor(home.path()));
        let dead = supervisor(home.path());
        until("the supervisor is dead", || !runs(dead)).await;
        let unsupervised = || {
            living_commands(&paths(home.path())).iter().all(|living| living.supervisor.is_none())
        };
        until("nobody looks after it", unsupervised).await;
        let house = House::at(home, KEEPS);
        let (held, ended) = house.executor.take_up(|_| true).await.unwrap();
        assert_eq!(held, [], "{what}: nothing goes on");
        assert!(ended.iter().all(|left| left.stubborn.is_empty()), "{what}: {ended:?}");
        let left: Vec<i32> =
            pids(&house.path().join("pids")).into_iter().filter(|pid| runs(*pid)).collect();
        assert_eq!(left, [0; 0], "{what}: processes are left");
        assert_eq!(house.records(), 0, "{what}: the record is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_others_are_left_alone() {
    let home = tempfile::tempdir().unwrap();
    crashed(home.path(), "hold", &format!("{SAYS}; exec sleep 1000")).await;
    let pid = pids(&home.path().join("pids"))[0];
    let house = House::at(home, Plan::default());
    assert_eq!(house.executor.take_up(|_| false).await.unwrap().1, []);
    let order = Job::argv(["true"]).order(house.path(), 2);
    house.executor.start(order);
    assert!(matches!(house.report().await.outcome, ReportOutcome::Succeeded(_)));
    house.executor.shutdown().await;
    house.executor.leave().await;
    assert!(runs(pid), "the other's command goes on");
    let (house, held) = next_server(house.into_folder()).await;
    assert_eq!(held, [attempt()]);
    house.executor.cancel(&held[0]);
    until("it has ended", || !runs(pid)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_cannot_be_read_or_are_of_another_boot_are_removed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("processes");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shop.1.work.1.json"), "{\"attempt\": \"sh").unwrap();
    // The number is that of a process that lives: this one.
    let record = serde_json::json!({"attempt": "shop.2/work#1", "boot": "another",
        "id": AttemptId { run: run_id(2), ..attempt() }, "pid": std::process::id(), "started": 1,
        "token": "none"});
    std::fs::write(folder.join("shop.2.work.1.json"), record.to_string()).unwrap();
    let (house, held) = next_server(home).await;
    assert_eq!((held, house.records()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_all_is_done() {
    let house = House::of(Plan::default());
    house.done(Job::argv(["true"])).await;
    let supervisor = supervisor(house.path());
    house.executor.shutdown().await;
    house.executor.leave().await;
    until("the supervisor has left", || !runs(supervisor)).await;
    let left: Vec<PathBuf> = (std::fs::read_dir(house.path().join("processes")).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [house.path().join("processes/supervisor.lock")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_may_have_a_long_name() {
    let mut folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    for _ in 0..3 {
        folder =
            tempfile::Builder::new().prefix(&"long".repeat(25)).tempdir_in(folder.keep()).unwrap();
    }
    crashed(folder.path(), "hold", &format!("{SAYS}; until [ -e go ]; do sleep 0.01; done")).await;
    let (house, held) = next_server(folder).await;
    assert_eq!(held, [attempt()]);
    house.put("go", "");
    assert!(matches!(adopted(&house, Job::shell("", &[])).await, ReportOutcome::Succeeded(_)));
    drop(house);
    std::fs::remove_dir_all(root).unwrap();
}
