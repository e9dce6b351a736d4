//! How much of the machine a command may take. Where no control group can be made the log says so,
//! and nothing else is promised.

use tidemill_model::dag::Resources;
use tidemill_model::{AttemptId, FailureKind, ReportOutcome};

use crate::house::{House, failure, pids, runs};
use crate::orders::Job;

/// Runs a script with limits. `None` if this machine cannot keep them, which is said.
async fn limited(
    house: &House,
    resources: Resources,
    script: &str,
) -> Option<(AttemptId, ReportOutcome)> {
    let (id, outcome) = house.run(Job { resources, ..Job::shell(script, &[]) }).await;
    let said = house.log(&id);
    if can_limit() {
        assert!(!said.contains("not kept"), "{said}");
        return Some((id, outcome));
    }
    assert!(said.contains("not kept"), "{said}");
    None
}

/// Whether this user may make control groups of version 1, as the machine of the tests has them, or
/// of version 2.
fn can_limit() -> bool {
    let probe = format!("tidemill-test-{}", std::process::id());
    ["pids", "."].iter().any(|below| {
        let folder = std::path::Path::new("/sys/fs/cgroup").join(below).join(&probe);
        std::fs::create_dir(&folder).is_ok() && std::fs::remove_dir(&folder).is_ok()
    })
}

/// Groups that were made for commands and are still there.
fn groups_left() -> Vec<String> {
    fn below(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            found.extend(name.starts_with("tidemill-").then_some(name));
            below(&entry.path(), found);
        }
    }
    let mut found = Vec::new();
    below(std::path::Path::new("/sys/fs/cgroup"), &mut found);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_wants_too_much_memory_is_ended_and_named() {
    let house = House::new();
    let resources = Resources { memory_bytes: Some(64 << 20), ..Resources::default() };
    // `tail` keeps what has no line in memory.
    let script = "head -c 400000000 /dev/zero | tail -c 300000000 > /dev/null";
    let Some((_, outcome)) = limited(&house, resources, script).await else { return };
    let (kind, text) = failure(outcome);
    assert!(matches!(kind, FailureKind::Exit | FailureKind::Signal), "{kind:?}");
    assert!(text.starts_with("wanted more memory than its 64MiB; "), "{text}");
    assert!(text.contains("resources: {memory: …}"), "{text}");
    // Others are none the worse for it.
    house.done(Job::argv(["true"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_is_contained() {
    let house = House::new();
    let resources = Resources { processes: Some(32), ..Resources::default() };
    let script = "echo $$ > pids; f() { sleep 1000 & f; }; f";
    let Some((_, outcome)) = limited(&house, resources, script).await else { return };
    let (_, text) = failure(outcome);
    assert!(text.contains("it was refused a process, because it had 32 at once"), "{text}");
    assert!(!runs(pids(&house.path().join("pids"))[0]));
    house.done(Job::argv(["true"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_session_parent_and_environment_does_not_outlive_its_command() {
    if !can_limit() {
        return;
    }
    let house = House::new();
    let script = "n=1; : > pids; (env -i setsid sh -c '(echo $$ >> pids; exec sleep 1000) &' &) & \
                  while [ $(wc -l < pids) -lt 1 ]; do :; done";
    house.done(Job::shell(script, &[])).await;
    let left: Vec<_> = pids(&house.path().join("pids")).into_iter().filter(|p| runs(*p)).collect();
    assert_eq!(left, [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_files_and_processor_time() {
    let house = House::new();
    let resources = Resources { files: Some(100), cpu_millis: Some(500), ..Resources::default() };
    let script = "ulimit -n; ulimit -Hn; cat /proc/self/cgroup";
    let Some((id, _)) = limited(&house, resources, script).await else { return };
    let said = house.stdout(&id);
    assert!(said.starts_with("100\n100\n"), "{said}");
    assert!(said.contains("/tidemill-"), "{said}");
    // Nothing was said: more than it had before is not given, and no group is needed for it.
    let (id, _) = house.done(Job::argv(["sh", "-c", "ulimit -n"])).await;
    let files: u64 = house.stdout(&id).trim().parse().unwrap();
    assert!(files <= Resources::FILES_DEFAULT, "{files}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_group_is_left() {
    let house = House::new();
    let resources = Resources { memory_bytes: Some(64 << 20), ..Resources::default() };
    let script = "cat /proc/self/cgroup; (setsid sleep 1000 &)";
    let Some((id, _)) = limited(&house, resources, script).await else { return };
    let own = house.stdout(&id);
    let at = own.find("/tidemill-").expect("a group") + 1;
    let name = own[at..].lines().next().unwrap();
    assert!(!groups_left().iter().any(|left| left == name), "{name} is left");
}
