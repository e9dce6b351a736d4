//! Real processes: kills at any moment, and two of them on one home.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tidemill_model::SmallTable;
use tidemill_store::conformance::{Script, chain, source_of};
use tidemill_store::{Commit, Home, HomeError, Live, Projector, ServerInfo, Store};

use crate::support::{Runs, open, open_at};

const CHILD: &str = "TIDEMILL_STORE_TEST_CHILD";

/// The home to work on, in a process that a test has started.
fn child_home() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// This test again, as a process of its own.
fn again(test: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn table(number: u64) -> SmallTable {
    let bytes = vec![number as u8; 100 + number as usize % 900].into();
    SmallTable { hash: format!("{number:032x}"), bytes }
}

/// Commits runs until it is killed, and says so after each.
fn work(path: &Path) {
    let (_home, store, _) = open_at(path);
    let store = Arc::new(store);
    let dag = chain("killed", 3);
    store.put_version(&dag.version, &source_of(&dag)).unwrap();
    let runs = Arc::new(Runs::default());
    let settings = tidemill_store::projector::Settings {
        put_events: 20,
        checkpoint_events: 100,
        ..Default::default()
    };
    let projector =
        Projector::spawn(Arc::clone(&store) as _, Arc::clone(&runs) as Arc<dyn Live>, settings);
    let mut out = std::io::stdout();
    let first = 1 + store.run_count().unwrap() as u64;
    for number in first.. {
        let script = Script::begin(&dag, number, number as i64).start().finish();
        let commit = Commit { small_tables: vec![table(number)], ..script.commit() };
        let position = store.commit(&commit).unwrap();
        runs.set(&script, position);
        projector.mark(position, &commit.events);
        writeln!(out, "ack {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    if let Some(home) = child_home() {
        return work(&home);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0_u64;
    for round in 0..25_u64 {
        let mut child = again("crash::kill_9_loses_nothing_acknowledged", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after a number of acknowledgements that differs from round to round; what the
        // child does at that moment is chance.
        let mut wanted = 1 + round * 37 % 90;
        while wanted > 0 {
            let line = lines.next().expect("the child works until it is killed").unwrap();
            if let Some(number) = line.strip_prefix("ack ") {
                acknowledged = number.parse().unwrap();
                wanted -= 1;
            }
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("ack ").and_then(|n| n.parse().ok()) {
                acknowledged = number;
            }
        }
        child.wait().unwrap();
        check_all(dir.path(), acknowledged);
    }
    assert!(acknowledged > 500, "{acknowledged} commits");
}

fn check_all(path: &Path, acknowledged: u64) {
    let (_home, store, _) = open_at(path);
    let dag = chain("killed", 3);
    for number in 1..=acknowledged {
        let expected = Script::begin(&dag, number, number as i64).start().finish();
        let stored = store.run(&expected.run.head.id).unwrap();
        let stored = stored.unwrap_or_else(|| panic!("run {number} of {acknowledged} is lost"));
        assert_eq!(stored.run.head, expected.run.head);
        assert_eq!(stored.run.tasks, expected.run.tasks());
        let table = table(number);
        assert_eq!(store.small_table(&table.hash).unwrap(), Some(table.bytes), "table {number}");
    }
    let recovered = store.recover().unwrap();
    assert!(recovered.unfinished.is_empty(), "no run is stuck");
    let count = store.run_count().unwrap() as u64;
    assert!(count == acknowledged || count == acknowledged + 1, "{count} of {acknowledged}");
}

#[test]
fn a_second_process_is_told_who_has_the_home() {
    if let Some(path) = child_home() {
        let _home = Home::open(&path).unwrap();
        println!("held");
        std::io::stdout().flush().unwrap();
        // Until the other side closes the pipe or kills.
        let _ = std::io::stdin().lines().next();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = again("crash::a_second_process_is_told_who_has_the_home", dir.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.ends_with("held"))
        .expect("the child holds it");
    let before = std::fs::read(dir.path().join("lock")).unwrap();
    for _ in 0..5 {
        match Home::open(dir.path()) {
            Err(HomeError::InUse { holder, path }) => {
                assert_eq!((holder.pid, path.as_path()), (child.id(), dir.path()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read(dir.path().join("lock")).unwrap(), before, "nothing is changed");
    child.kill().unwrap();
    child.wait().unwrap();
    Home::open(dir.path()).expect("a lock of a killed process does not hold");
}

#[test]
fn a_home_has_its_folders_and_refuses_what_it_does_not_know() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/home");
    let home = Home::open(&path).unwrap();
    for folder in [home.root().to_owned(), home.journal(), home.tables(), home.processes()] {
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let server = ServerInfo { address: "127.0.0.1:1".into(), pid: 7, token: "secret".into() };
    home.write_server(&server).unwrap();
    let mode = std::fs::metadata(home.server_json()).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, home.server()), (0o600, Some(server)));
    home.remove_server();
    assert_eq!(home.server(), None);
    let format = home.format();
    drop(home);
    std::fs::write(&format, "3\n").unwrap();
    std::fs::remove_file(path.join("lock")).unwrap();
    let before = crate::support::files(&path);
    assert!(matches!(Home::open(&path), Err(HomeError::Newer { found: 3, .. })));
    assert_eq!(crate::support::files(&path), before, "not even the lock is taken");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "3\n");
    for wrong in ["0\n", "two\n", ""] {
        std::fs::write(&format, wrong).unwrap();
        assert!(matches!(Home::open(&path), Err(HomeError::Foreign { .. })), "{wrong:?}");
    }
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("thesis.txt"), "mine").unwrap();
    assert!(matches!(Home::open(&other), Err(HomeError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "nothing was put there");
}

#[test]
fn a_store_opens_again_in_the_same_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    for _ in 0..5 {
        let (store, notes) = open(&home);
        assert_eq!(notes, Vec::<String>::new());
        crate::support::fill(&store, 1..=3);
    }
}
