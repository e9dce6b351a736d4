//! A disk that is really full: a small file system in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_store::conformance::{Script, chain, resolver, source_of};
use tidemill_store::{Live, Projector, SledOptions, SledStore, Store, StoreError};

use crate::support::{Runs, check_filled, files, fill, open_at, small, wait_until};

struct SmallDisk {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl SmallDisk {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            mounted.status.success(),
            "this test mounts a small tmpfs, so it needs root: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { _dir: dir, path }
    }

    /// Fills the disk to the last byte.
    fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        for size in [1 << 20, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn full(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_full_disk_loses_nothing_and_space_lets_work_go_on() {
    let disk = SmallDisk::new("24m");
    let (home, store, _) = open_at(&disk.path.join("home"));
    let store = Arc::new(store);
    let dag = chain("filled", 3);
    store.put_version(&dag.version, &source_of(&dag)).unwrap();
    let runs = Arc::new(Runs::default());
    let errors = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&errors);
    let settings = tidemill_store::projector::Settings {
        checkpoint_every: std::time::Duration::ZERO,
        on_error: Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }),
        ..Default::default()
    };
    let projector =
        Projector::spawn(Arc::clone(&store) as _, Arc::clone(&runs) as Arc<dyn Live>, settings);
    let mut number = 0;
    let mut work = |expect_full: bool| loop {
        let script = Script::begin(&dag, number + 1, number as i64 + 1).start().finish();
        match store.commit(&script.commit()) {
            Ok(position) => {
                number += 1;
                runs.set(&script, position);
                projector.mark(position, &script.commit().events);
                if !expect_full && number % 500 == 0 {
                    return number;
                }
            }
            Err(StoreError::Full { .. }) if expect_full => return number,
            Err(error) => panic!("{error}"),
        }
    };
    work(false);
    let ballast = disk.fill();
    let at_full = work(true);
    wait_until("the projector meets the full disk", || errors.load(Ordering::Relaxed) > 0);
    assert_eq!(work(true), at_full, "it stays full, and refuses again");
    assert!(full(&ballast) > 0);
    fs::remove_file(&ballast).unwrap();
    let end = work(false);
    assert!(end > at_full);
    wait_until("the records catch up without a restart", || projector.lag().0 == 0);
    check_filled(&store, 1..=end);
    projector.stop();
    assert_eq!(projector.health().errors, 0, "{:?}", projector.health());
    drop((store, home));
    let (_home, store, _) = open_at(&disk.path.join("home"));
    check_filled(&store, 1..=end);
    assert_eq!(store.run_count().unwrap() as u64, end);
}

/// Looking needs no space on the home's disk: what has none is made elsewhere, and goes again.
#[test]
fn a_home_on_a_full_disk_can_be_looked_at() {
    let disk = SmallDisk::new("24m");
    let (home, store, _) = open_at(&disk.path.join("home"));
    let last = fill(&store, 1..=200);
    store.checkpoint(last).unwrap();
    fill(&store, 201..=220);
    drop(store);
    disk.fill();
    // As a kill leaves it when the disk filled within a commit.
    let segment = files(&home.journal()).into_iter().max().unwrap();
    let len = full(&segment);
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(len - 3).unwrap();
    let error = SledStore::open(&home, resolver(), small()).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let spare = tempfile::tempdir().unwrap().path().join("spare");
    fs::create_dir(spare.parent().unwrap()).unwrap();
    let look = SledOptions { look: Some(spare.clone()), ..small() };
    let (store, notes) = SledStore::open(&home, resolver(), look).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    check_filled(&store, 1..=219);
    assert_eq!(full(&segment), len - 3, "nothing of the journal is changed");
    drop(store);
    assert!(!spare.exists());
    fs::remove_dir(spare.parent().unwrap()).unwrap();
}
