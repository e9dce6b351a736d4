//! Bytes that flip inside sled's files. sled itself passes over some of them and gives an older state
//! of a part of itself: whatever it does, no run is lost, and what is said is said in our words.

use std::fs;
use std::path::{Path, PathBuf};

use tidemill_model::Position;
use tidemill_store::conformance::{Script, chain};
use tidemill_store::doctor::{How, doctor};
use tidemill_store::{Home, RunQuery, SledStore, Store};

use crate::support::{check_filled, files, fill, open, open_at};

const RUNS: u64 = 480;

/// A home after several sessions, so that sled has more than one segment and a snapshot of its own.
fn filled(path: &Path) -> Home {
    let (home, store, _) = open_at(path);
    drop(store);
    for session in 0..4 {
        let (store, notes) = open(&home);
        assert_eq!(notes, Vec::<String>::new());
        for part in 0..4 {
            let from = session * 120 + part * 30 + 1;
            let last = fill(&store, from..=from + 29);
            store.checkpoint(last).unwrap();
        }
    }
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Nothing in it says where or how sled keeps things.
fn check_words(said: &str, place: &str) {
    for foreign in ["sled", "offset", "panic", "lsn", "pid", "assert", "unwrap", "Error {"] {
        assert!(!said.contains(foreign), "{place}: {said}");
    }
}

/// Every run is there, whichever way it is asked for, and work goes on.
fn check_whole(store: &SledStore, place: &str) {
    check_filled(store, 1..=RUNS);
    let all = RunQuery { limit: 1_000, ..RunQuery::default() };
    let of_dag = RunQuery { dag: Some("filled".parse().unwrap()), ..all.clone() };
    for query in [all, of_dag] {
        assert_eq!(store.runs(&query).unwrap().runs.len() as u64, RUNS, "{place}: {query:?}");
    }
    let later = Script::begin(&chain("later", 1), 1, 1).start().finish();
    let position: Position = store.commit(&later.commit()).unwrap();
    store.put(&[later.record(position)]).unwrap();
    store.checkpoint(position).unwrap();
    assert!(store.run(&later.run.head.id).unwrap().is_some(), "{place}");
}

#[test]
fn a_flipped_byte_in_the_records_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = filled(dir.path());
    let (mut tried, mut rebuilt) = (0, 0);
    for path in files(&home.state()) {
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 24).max(1);
        for at in (0..whole.len()).step_by(step) {
            let place = format!("byte {at} of `{}`", path.display());
            let to = tempfile::tempdir().unwrap();
            copy(dir.path(), to.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(to.path().join(path.strip_prefix(dir.path()).unwrap()), bytes).unwrap();
            let home = Home::open(to.path()).unwrap();
            for finding in doctor(&home, How::Closed, None) {
                check_words(&finding.what.replace(&*to.path().to_string_lossy(), ""), &place);
            }
            let (store, notes) = open(&home);
            for note in &notes {
                check_words(&note.replace(&*to.path().to_string_lossy(), ""), &place);
            }
            check_whole(&store, &place);
            drop(store);
            assert_eq!(open(&home).1, Vec::<String>::new(), "{place}");
            tried += 1;
            rebuilt += usize::from(!notes.is_empty());
        }
    }
    assert!(tried > 60 && rebuilt > tried / 3, "{rebuilt} of {tried}");
}

/// Damage under a store that is at work is met when it is read, and mended then.
#[test]
fn records_that_are_damaged_under_a_store_at_work_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let home = filled(dir.path());
    let (store, _) = open(&home);
    let db: PathBuf = home.state().join("db");
    let mut bytes = fs::read(&db).unwrap();
    for at in (1..bytes.len()).step_by(50) {
        bytes[at] ^= 4;
    }
    // In place: sled has the file open.
    let file = fs::OpenOptions::new().write(true).open(&db).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    check_whole(&store, "at work");
    drop(store);
    let (store, notes) = open(&home);
    check_filled(&store, 1..=RUNS);
    for note in notes {
        check_words(&note.replace(&*dir.path().to_string_lossy(), ""), "after work");
    }
}
