//! Upgrades, and those that ended in the middle.

use std::fs;

use tidemill_store::backup::{restore, verify};
use tidemill_store::conformance::resolver;
use tidemill_store::home::FORMAT;
use tidemill_store::upgrade::upgrade;
use tidemill_store::{Home, Store};

use crate::support::{check_filled, fill, open, open_at};

/// A home of the format before, with runs.
fn old(path: &std::path::Path) {
    let (home, store, _) = open_at(path);
    fill(&store, 1..=20);
    let last = store.recover().unwrap().last;
    store.checkpoint(last).unwrap();
    drop(store);
    fs::write(home.layout().format(), "1\n").unwrap();
}

#[test]
fn a_home_is_upgraded_once_after_a_backup_that_the_earlier_release_knows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home");
    old(&path);
    let home = Home::open(&path).unwrap();
    assert_eq!(home.format_now(), 1);
    let done = upgrade(&home, resolver()).unwrap().unwrap();
    assert_eq!((done.from, done.to, home.format_now()), (1, FORMAT, FORMAT));
    assert_eq!(fs::read_to_string(home.layout().format()).unwrap(), format!("{FORMAT}\n"));
    assert_eq!(verify(&done.backup).unwrap().format, 1);
    assert_eq!(upgrade(&home, resolver()).unwrap(), None);
    check_filled(&open(&home).0, 1..=20);
    let target = Home::open(dir.path().join("restored")).unwrap();
    restore(&done.backup, &target, false).unwrap();
    check_filled(&open(&target).0, 1..=20);
}

#[test]
fn an_upgrade_that_ended_anywhere_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home");
    old(&path);
    let home = Home::open(&path).unwrap();
    let done = upgrade(&home, resolver()).unwrap().unwrap();
    let manifest = fs::read(done.backup.join("manifest.json")).unwrap();
    drop(home);
    // In the middle of the backup, after it, and in the middle of the steps.
    let half = || fs::write(done.backup.join("manifest.json"), &manifest[..9]).unwrap();
    let none = || fs::remove_file(done.backup.join("manifest.json")).unwrap();
    let damaged = || fs::write(done.backup.join("versions/1.slab"), "x").unwrap();
    let steps: [&dyn Fn(); 5] =
        [&half, &none, &damaged, &|| (), &|| _ = fs::remove_dir(path.join("history"))];
    for step in steps {
        step();
        fs::write(path.join("FORMAT"), "1\n").unwrap();
        let home = Home::open(&path).unwrap();
        upgrade(&home, resolver()).unwrap().unwrap();
        assert_eq!(home.format_now(), FORMAT);
        assert_eq!(verify(&done.backup).unwrap().format, 1);
        check_filled(&open(&home).0, 1..=20);
    }
}
