//! Backup under load, restore, and backups that are not whole.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_model::SmallTable;
use tidemill_store::backup::{BackupError, MANIFEST, backup, restore, verify};
use tidemill_store::conformance::{Script, chain, source_of};
use tidemill_store::kv::{Kv, MemoryKv, SledKv};
use tidemill_store::{Commit, Home, Live, Projector, Store};

use crate::support::{Runs, check_filled, fill, open, open_at};

#[test]
fn what_was_acknowledged_before_a_backup_under_load_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (home, store, _) = open_at(&dir.path().join("home"));
    let store = Arc::new(store);
    let dag = chain("filled", 3);
    store.put_version(&dag.version, &source_of(&dag)).unwrap();
    let runs = Arc::new(Runs::default());
    let projector = Projector::spawn(
        Arc::clone(&store) as _,
        Arc::clone(&runs) as Arc<dyn Live>,
        tidemill_store::projector::Settings::default(),
    );
    let table = |number: u64| SmallTable {
        hash: format!("{number:032x}"),
        bytes: number.to_string().into_bytes().into(),
    };
    let one = |number: u64| {
        let script = Script::begin(&dag, number, number as i64).start().finish();
        let commit = Commit { small_tables: vec![table(number)], ..script.commit() };
        let position = store.commit(&commit).unwrap();
        runs.set(&script, position);
        projector.mark(position, &commit.events);
        position
    };
    let mut before = one(1);
    (2..=400).for_each(|number| before = one(number));
    let large = home.table("aa00");
    fs::create_dir_all(large.parent().unwrap()).unwrap();
    fs::write(&large, "never referred to").unwrap();
    let profiles = MemoryKv::default();
    profiles
        .apply(&[(b"p1".to_vec(), b"{}".to_vec()), (b"p2".to_vec(), vec![7; 9_000])], &[])
        .unwrap();
    let dest = dir.path().join("backup");
    let done = AtomicBool::new(false);
    let manifest = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut number = 401;
            while !done.load(Ordering::Relaxed) {
                one(number);
                number += 1;
            }
        });
        let manifest = backup(&store, &home, Some(&profiles), &dest).unwrap();
        done.store(true, Ordering::Relaxed);
        load.join().unwrap();
        manifest
    });
    assert!(manifest.to >= before && manifest.from <= manifest.to, "{manifest:?}");
    assert!(!dest.join("tables").exists(), "tables that nobody refers to are left out");
    assert_eq!(verify(&dest).unwrap(), manifest);

    let target = Home::open(dir.path().join("restored")).unwrap();
    restore(&dest, &target, false).unwrap();
    let (restored, notes) = open(&target);
    assert_eq!(notes, Vec::<String>::new());
    check_filled(&restored, 1..=400);
    assert_eq!(restored.recover().unwrap().last, manifest.to);
    for number in 1..=400 {
        let table = table(number);
        assert_eq!(restored.small_table(&table.hash).unwrap(), Some(table.bytes));
    }
    let next = Script::begin(&dag, 100_000, 1);
    assert_eq!(restored.commit(&next.commit()).unwrap(), manifest.to.next(), "the numbers go on");
    let kv = SledKv::open(&target.profiles()).unwrap();
    assert_eq!(kv.scan(b"", None, 10).unwrap(), profiles.scan(b"", None, 10).unwrap());
}

#[test]
fn large_tables_of_runs_are_in_the_backup_and_missing_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (home, store, _) = open_at(&dir.path().join("home"));
    let last = fill(&store, 1..=1);
    store.checkpoint(last).unwrap();
    // The run's three tasks refer to tables 0, 1 and 2.
    let hash = |n: u64| format!("{n:032x}");
    for n in [0, 1] {
        let path = home.table(&hash(n));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("table {n}")).unwrap();
    }
    let dest = dir.path().join("backup");
    let manifest = backup(&store, &home, None, &dest).unwrap();
    assert_eq!(manifest.missing_tables, [hash(2)]);
    let again = backup(&store, &home, None, &dest);
    assert!(matches!(again, Err(BackupError::TargetNotEmpty(_))), "{again:?}");
    let target = Home::open(dir.path().join("restored")).unwrap();
    restore(&dest, &target, false).unwrap();
    for n in [0, 1] {
        assert_eq!(fs::read_to_string(target.table(&hash(n))).unwrap(), format!("table {n}"));
    }
}

#[test]
fn an_empty_store_can_be_backed_up() {
    let dir = tempfile::tempdir().unwrap();
    let (home, store, _) = open_at(&dir.path().join("home"));
    let dest = dir.path().join("backup");
    backup(&store, &home, None, &dest).unwrap();
    let target = Home::open(dir.path().join("restored")).unwrap();
    restore(&dest, &target, false).unwrap();
    let (restored, notes) = open(&target);
    assert_eq!(notes, Vec::<String>::new());
    fill(&restored, 1..=2);
    check_filled(&restored, 1..=2);
}

#[test]
fn a_damaged_backup_is_refused_before_anything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (home, store, _) = open_at(&dir.path().join("home"));
    let last = fill(&store, 1..=5);
    store.checkpoint(last).unwrap();
    let dest = dir.path().join("backup");
    let manifest = backup(&store, &home, None, &dest).unwrap();
    let target = Home::open(dir.path().join("restored")).unwrap();
    let mut paths: Vec<PathBuf> = manifest.files.iter().map(|file| dest.join(&file.path)).collect();
    paths.push(dest.join(MANIFEST));
    let tree = || -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(target.root())
            .unwrap()
            .flatten()
            .map(|e| format!("{:?}", e.file_name()))
            .collect();
        names.sort();
        names
    };
    let before = tree();
    for path in paths {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(1 + whole.len() / 40) {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            fs::write(&path, &bad).unwrap();
            let refused = restore(&dest, &target, true);
            assert!(refused.is_err(), "{} byte {at}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(restore(&dest, &target, true), Err(BackupError::Bad { .. })));
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(tree(), before);
    restore(&dest, &target, false).unwrap();
    let refused = restore(&dest, &target, false);
    assert!(matches!(refused, Err(BackupError::HomeNotEmpty(_))), "{refused:?}");
    restore(&dest, &target, true).unwrap();
    let (restored, _) = open(&target);
    check_filled(&restored, 1..=5);
}
