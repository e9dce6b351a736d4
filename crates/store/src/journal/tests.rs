use std::fs;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use tidemill_model::{DagEvent, Timestamp};

use super::*;
use crate::disk::{LogFile, RealDisk};

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 600, disk: Arc::new(RealDisk), read_only: false }
}

fn open(dir: &Path) -> Journal {
    Journal::open(dir, options()).expect("open").0
}

fn event(number: u64) -> Event {
    let at = Timestamp::from_micros(number as i64);
    let who = format!("person {number}");
    Event::Dag("dag".parse().expect("name"), DagEvent::Paused { paused: true, who, at })
}

fn events(numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    numbers.map(event).collect()
}

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<(Position, Event)> {
    numbers.map(|number| (Position(number), event(number))).collect()
}

/// Ten commits of one to three events; the position after each.
fn filled(dir: &Path) -> Vec<u64> {
    let journal = open(dir);
    let mut last = 0;
    let mut ends = Vec::new();
    for i in 0..10 {
        let next = last + 1 + i % 3;
        journal.append(&events(last + 1..=next)).expect("append");
        ends.push(next);
        last = next;
    }
    ends
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    disk::numbered(dir, "log").expect("list").into_iter().map(|(_, path)| path).collect()
}

#[test]
fn events_come_back_from_any_place() {
    let dir = tempfile::tempdir().expect("dir");
    let last = *filled(dir.path()).last().expect("commits");
    assert!(segments(dir.path()).len() > 2, "it spans segments");
    let journal = open(dir.path());
    assert_eq!(journal.last(), Position(last));
    for after in 0..=last {
        for limit in [1, 4, 100] {
            let found = journal.read(Position(after), limit).expect("read");
            let end = last.min(after + limit as u64);
            assert_eq!(found, numbered(after + 1..=end), "after {after}, limit {limit}");
        }
    }
}

#[test]
fn a_torn_commit_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().expect("dir");
    let ends = filled(dir.path());
    let before = ends[ends.len() - 2];
    let path = segments(dir.path()).pop().expect("a segment");
    let whole = fs::read(&path).expect("read");
    let found = scan(
        &path,
        Position(disk::numbered(dir.path(), "log").expect("list").pop().expect("one").0),
    );
    let start = found.expect("scan").frames.last().expect("a frame").offset as usize;
    for len in start + 1..whole.len() {
        let case = tempfile::tempdir().expect("dir");
        for segment in segments(dir.path()) {
            fs::copy(&segment, case.path().join(segment.file_name().expect("name"))).expect("copy");
        }
        let torn = case.path().join(path.file_name().expect("name"));
        fs::write(&torn, &whole[..len]).expect("write");
        let (journal, notes) = Journal::open(case.path(), options()).expect("open");
        assert_eq!((journal.last(), notes.len()), (Position(before), 1), "{len} bytes");
        // It goes on as if nothing had been there.
        journal.append(&events(before + 1..=before + 2)).expect("append");
        let (again, notes) = Journal::open(case.path(), options()).expect("open");
        assert_eq!(notes, Vec::<String>::new());
        assert_eq!(again.read(Position(0), 100).expect("read"), numbered(1..=before + 2));
    }
}

/// Every flipped bit gives all events, or an error with the place, or, in the last commit, a note.
#[test]
fn a_flipped_bit_is_never_silent() {
    let dir = tempfile::tempdir().expect("dir");
    let ends = filled(dir.path());
    let (last, before) = (ends[ends.len() - 1], ends[ends.len() - 2]);
    for path in segments(dir.path()) {
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).expect("write");
            let case = format!("{} byte {at}", path.display());
            match Journal::open(dir.path(), options()) {
                Err(StoreError::Damaged { path: named, what }) => {
                    assert_eq!(named, path, "{case}");
                    assert!(!what.is_empty());
                }
                Err(error) => panic!("{case}: {error}"),
                Ok((journal, notes)) => match journal.read(Position(0), 100) {
                    Err(StoreError::Damaged { path: named, .. }) => {
                        assert_eq!(named, path, "{case}");
                    }
                    Err(error) => panic!("{case}: {error}"),
                    Ok(found) => {
                        assert_eq!((notes.len(), found), (1, numbered(1..=before)), "{case}");
                        // What was cut is put back for the next case.
                        for aside in fs::read_dir(dir.path()).expect("list").flatten() {
                            if aside.file_name().to_string_lossy().contains(".torn-") {
                                fs::remove_file(aside.path()).expect("remove");
                            }
                        }
                    }
                },
            }
            fs::write(&path, &whole).expect("write");
        }
    }
    assert_eq!(open(dir.path()).read(Position(0), 100).expect("read"), numbered(1..=last));
}

#[test]
fn a_missing_segment_is_never_silent() {
    let dir = tempfile::tempdir().expect("dir");
    filled(dir.path());
    let path = segments(dir.path()).remove(1);
    fs::remove_file(&path).expect("remove");
    let refused = open(dir.path()).read(Position(0), 100);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_segment_whose_birth_was_cut_is_removed() {
    let dir = tempfile::tempdir().expect("dir");
    let last = *filled(dir.path()).last().expect("commits");
    let unborn = path_of(dir.path(), Position(last + 1));
    for len in 0..HEADER_BYTES as usize {
        fs::write(&unborn, &header(Position(last + 1))[..len]).expect("write");
        let journal = open(dir.path());
        assert_eq!(journal.last(), Position(last));
        assert!(!unborn.exists());
    }
}

#[test]
fn old_segments_go_and_the_numbers_stay() {
    let dir = tempfile::tempdir().expect("dir");
    let last = *filled(dir.path()).last().expect("commits");
    let journal = open(dir.path());
    journal.remove_upto(Position(0)).expect("remove");
    assert_eq!(journal.first(), Position(1));
    let middle = disk::numbered(dir.path(), "log").expect("list")[1].0;
    journal.remove_upto(Position(middle)).expect("remove");
    assert_eq!(journal.first(), Position(middle));
    assert_eq!(journal.read(Position(0), 100).expect("read"), numbered(middle..=last));
    journal.remove_upto(Position(last)).expect("remove");
    assert_eq!(segments(dir.path()).len(), 1);
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.append(&events(last + 1..=last + 1)).expect("append"), Position(last + 1));
}

/// A disk with so many bytes left, and a sync that can fail.
#[derive(Debug)]
struct SmallDisk {
    left: Arc<AtomicI64>,
    syncs_left: Arc<AtomicI64>,
}

#[derive(Debug)]
struct SmallFile {
    file: fs::File,
    left: Arc<AtomicI64>,
    syncs_left: Arc<AtomicI64>,
}

impl Disk for SmallDisk {
    fn append(&self, path: &Path, create: bool) -> io::Result<Box<dyn LogFile>> {
        let file = fs::OpenOptions::new().append(true).create_new(create).open(path)?;
        let (left, syncs_left) = (Arc::clone(&self.left), Arc::clone(&self.syncs_left));
        Ok(Box::new(SmallFile { file, left, syncs_left }))
    }
}

impl LogFile for SmallFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed).max(0) as usize;
        let fits = bytes.len().min(left);
        self.left.fetch_sub(fits as i64, Ordering::Relaxed);
        LogFile::append(&mut self.file, &bytes[..fits])?;
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs_left.fetch_sub(1, Ordering::Relaxed) > 0 {
            self.file.sync_data()
        } else {
            Err(io::Error::other("injected"))
        }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        self.left.fetch_add(before as i64 - len as i64, Ordering::Relaxed);
        self.file.set_len(len)
    }
}

fn small_disk(left: i64, syncs_left: i64) -> (JournalOptions, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(left));
    let syncs_left = Arc::new(AtomicI64::new(syncs_left));
    let disk = SmallDisk { left: Arc::clone(&left), syncs_left };
    (JournalOptions { disk: Arc::new(disk), ..options() }, left)
}

#[test]
fn a_full_disk_refuses_and_space_lets_it_go_on() {
    for space in (0..700).step_by(5) {
        let dir = tempfile::tempdir().expect("dir");
        let (options, left) = small_disk(space, i64::MAX);
        let (journal, _) = Journal::open(dir.path(), options).expect("open");
        let mut last = 0;
        let refused = loop {
            match journal.append(&events(last + 1..=last + 2)) {
                Ok(position) => last = position.0,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Full { .. }), "{space}: {refused}");
        assert_eq!(open(dir.path()).read(Position(0), 100).expect("read"), numbered(1..=last));
        left.store(i64::MAX / 2, Ordering::Relaxed);
        journal.append(&events(last + 1..=last + 3)).expect("append");
        assert_eq!(journal.read(Position(0), 100).expect("read"), numbered(1..=last + 3));
        drop(journal);
        let (again, notes) = Journal::open(dir.path(), super::tests::options()).expect("open");
        assert_eq!(notes, Vec::<String>::new(), "{space}");
        assert_eq!(again.last(), Position(last + 3));
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let dir = tempfile::tempdir().expect("dir");
    let (options, _) = small_disk(i64::MAX / 2, 3);
    let (journal, _) = Journal::open(dir.path(), options).expect("open");
    journal.append(&events(1..=1)).expect("append");
    journal.append(&events(2..=2)).expect("append");
    for _ in 0..3 {
        let refused = journal.append(&events(3..=3));
        assert!(matches!(refused, Err(StoreError::Broken { .. })), "{refused:?}");
    }
    assert_eq!(journal.last(), Position(2));
    assert_eq!(journal.read(Position(0), 10).expect("read"), numbered(1..=2));
    // The doubtful commit may be there after a restart, whole; an acknowledged one must be.
    let again = open(dir.path()).read(Position(0), 10).expect("read");
    assert!(again == numbered(1..=2) || again == numbered(1..=3), "{again:?}");
}

/// Whoever only looks leaves a torn end as it is: the next server cuts it.
#[test]
fn a_torn_end_is_passed_over_where_nothing_may_be_written() {
    let dir = tempfile::tempdir().expect("dir");
    let last = *filled(dir.path()).last().expect("commits");
    let segment = segments(dir.path()).pop().expect("a segment");
    let mut bytes = fs::read(&segment).expect("read");
    bytes.extend([9, 0, 0, 0, 1, 2]);
    fs::write(&segment, &bytes).expect("write");
    let read_only = JournalOptions { read_only: true, ..options() };
    let (journal, notes) = Journal::open(dir.path(), read_only).expect("open");
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(journal.read(Position(0), 1_000).expect("read"), numbered(1..=last));
    assert!(journal.append(&events(last + 1..=last + 1)).is_err());
    assert_eq!(fs::read(&segment).expect("read"), bytes);
}
