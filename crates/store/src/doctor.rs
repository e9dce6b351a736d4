//! The checkup of a home: what is damaged, missing, left over or stuck, and what to do about it.

mod repair;

use std::collections::HashSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill_model::words::counted;
use tidemill_model::{Event, Position, RunId, RunState, TaskState};

use crate::archive::{Archive, TablesNeeded};
use crate::disk;
use crate::home::{Home, Layout};
use crate::journal::{self, Scan, Stop};
use crate::record::RunRecord;
use crate::records::{Records, TreeOptions};
use crate::replay::Resolver;
use crate::slab;
use crate::sled_store::SledStore;
use crate::snapshot;
use crate::store::StoreError;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is missing or left over; the server works.
    Warning,
    /// The server does not start, or something acknowledged is damaged.
    Error,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What, with its place.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// It was repaired just now.
    pub repaired: bool,
}

/// Files that are younger are not called left over: a running attempt may own them.
const LEFT_OVER_AFTER: Duration = Duration::from_hours(1);

/// How records are opened here.
const TREE: TreeOptions = TreeOptions { cache_bytes: 32 << 20, deadline: Duration::from_secs(10) };

/// Findings of one kind that are listed one by one.
const LISTED_MAX: usize = 50;

/// How a home is checked.
#[derive(Clone, Copy)]
pub enum How<'a> {
    /// At work; nothing is changed.
    Live(&'a SledStore),
    /// With its store closed; nothing is changed.
    Closed,
    /// With its store closed; what can be repaired is. The resolver loads DAG versions, so that
    /// runs can be followed through what is left of the journal.
    Repair(&'a Resolver),
}

/// Checks a home.
///
/// The archive of a store at work is known; that of a closed one is given.
pub fn doctor(home: &Home, how: How<'_>, archive: Option<&dyn Archive>) -> Vec<Finding> {
    let home = home.layout();
    let (store, repair) = match how {
        How::Live(store) => (Some(store), None),
        How::Closed => (None, None),
        How::Repair(resolver) => (None, Some(resolver)),
    };
    let live = store.is_some();
    let archive = store.and_then(|store| store.inner().archive.as_deref()).or(archive);
    let found = Vec::new();
    let mut checkup = Checkup { home, store, archive, live, repair, found, ahead: false };
    let journal = checkup.journal();
    let tables = checkup.slab(&home.slab(), "small table");
    let versions = checkup.slab(&home.versions(), "DAG text");
    checkup.snapshots();
    let known = Known { tables, versions, journal };
    match store {
        Some(store) => match store.inner().slot.get() {
            Ok(records) => _ = checkup.records(&records, &known),
            Err(error) => checkup.add(Severity::Error, error, "restart the server"),
        },
        None => checkup.closed_records(&known),
    }
    checkup.left_over();
    checkup.found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    checkup.found
}

struct Checkup<'a> {
    home: &'a Layout,
    store: Option<&'a SledStore>,
    archive: Option<&'a dyn Archive>,
    live: bool,
    repair: Option<&'a Resolver>,
    found: Vec<Finding>,
    /// The records know more than the journal.
    ahead: bool,
}

/// What is known before the records are looked at.
struct Known {
    tables: HashSet<String>,
    versions: HashSet<String>,
    journal: JournalState,
}

#[derive(Default)]
struct JournalState {
    first: Position,
    last: Position,
    segments: Vec<(Position, PathBuf)>,
    /// It cannot be read to its end.
    damaged: bool,
}

impl Checkup<'_> {
    fn add(&mut self, severity: Severity, what: impl Display, remedy: impl Into<String>) {
        let (what, remedy) = (what.to_string(), remedy.into());
        self.found.push(Finding { severity, what, remedy, repaired: false });
    }

    fn mark_repaired(&mut self) {
        if let Some(finding) = self.found.last_mut() {
            finding.repaired = true;
        }
    }

    /// Adds findings of one kind, the first of them by name.
    fn add_many(&mut self, severity: Severity, all: Vec<String>, kind: &str, remedy: &str) {
        let more = all.len().saturating_sub(LISTED_MAX);
        for what in all.into_iter().take(LISTED_MAX) {
            self.add(severity, what, remedy);
        }
        if more > 0 {
            self.add(severity, format!("and {more} more {kind}"), remedy);
        }
    }

    fn journal(&mut self) -> JournalState {
        let mut state = JournalState { first: Position(1), ..JournalState::default() };
        let segments = match disk::numbered(&self.home.journal(), "log") {
            Ok(segments) => segments,
            Err(error) => {
                self.add(Severity::Error, error, "check the folder's owner and mode");
                return state;
            }
        };
        state.segments =
            segments.into_iter().map(|(first, path)| (Position(first), path)).collect();
        state.first = state.segments.first().map_or(Position(1), |(first, _)| *first);
        let mut expected = state.first;
        for (i, (first, path)) in state.segments.iter().enumerate() {
            let is_last = i + 1 == state.segments.len();
            let scan =
                journal::check_header(path, *first).and_then(|()| journal::scan(path, *first));
            let gap = *first != expected;
            if let Some(what) = trouble(&scan, is_last) {
                if !(is_last
                    && self.live
                    && matches!(&scan, Ok(Scan { stop: Some(Stop::Torn { .. }), .. })))
                {
                    self.add(
                        Severity::Error,
                        format!("`{}`: {what}", path.display()),
                        JOURNAL_REMEDY,
                    );
                    state.damaged = true;
                }
            } else if gap {
                let what = format!(
                    "`{}`: events {} to {} before it are missing",
                    path.display(),
                    expected.0,
                    first.0.saturating_sub(1)
                );
                self.add(Severity::Error, what, JOURNAL_REMEDY);
                state.damaged = true;
            }
            if let Ok(Scan { stop: Some(Stop::Torn { offset }), .. }) = &scan
                && is_last
                && !self.live
            {
                let what = format!("`{}` ends within a commit at byte {offset}", path.display());
                self.add(Severity::Warning, what, "the next start cuts it and keeps what it cut");
            }
            if let Ok(scan) = scan {
                state.last = scan.last;
                expected = scan.last.next();
            }
        }
        state
    }

    fn slab(&mut self, dir: &Path, kind: &str) -> HashSet<String> {
        let mut keys = HashSet::new();
        let files = disk::numbered(dir, "slab").unwrap_or_default();
        let newest = files.last().map(|(number, _)| *number);
        for (number, path) in files {
            match slab::survey(&path, Some(number) == newest, true) {
                Err(error) => self.add(Severity::Error, error, "restore a backup"),
                Ok(found) => {
                    for at in &found.damage {
                        let what =
                            format!("`{}`: a {kind} at byte {at} is damaged", path.display());
                        self.add(Severity::Error, what, "restore a backup, or run the task again");
                    }
                    keys.extend(found.frames.into_iter().map(|(key, _, _)| key));
                }
            }
        }
        keys
    }

    fn snapshots(&mut self) {
        for (_, path) in snapshot::list(&self.home.snapshots()).unwrap_or_default() {
            let Err(error) = snapshot::read(&path, |_| Ok(())) else { continue };
            self.add(
                Severity::Warning,
                error,
                "it is not needed while the records open; `tidemill doctor --repair` moves it aside",
            );
            if self.repair.is_some()
                && std::fs::rename(&path, disk::aside_name(&path, "damaged")).is_ok()
            {
                self.mark_repaired();
            }
        }
    }

    fn closed_records(&mut self, known: &Known) {
        let path = self.home.state();
        if !path.exists() {
            if known.journal.last > Position(0) {
                let remedy = "the next start rebuilds them";
                self.add(Severity::Info, "there are no records", remedy);
            }
            self.repair_journal(None, known);
            return;
        }
        match Records::open(&path, TREE) {
            Err(why) if disk::says_full(&why) => self.add(
                Severity::Error,
                StoreError::Full { path },
                "the records cannot be looked at before there is space",
            ),
            Err(why) => {
                self.add(
                    Severity::Warning,
                    format!("the records in `{}` do not open: {why}", path.display()),
                    "the next start moves them aside and rebuilds them from the journal",
                );
                self.repair_journal(None, known);
            }
            Ok(records) => {
                let readable = self.records(&records, known);
                let records = if readable { Some(records) } else { self.set_aside(records, &path) };
                self.repair_journal(records, known);
            }
        }
    }

    /// Looks at the records; whether all of them can be read.
    fn records(&mut self, records: &Records, known: &Known) -> bool {
        let done = self.positions(records, known).and_then(|()| self.runs(records, known));
        if let Err(error) = &done {
            let remedy = "run `tidemill doctor --repair` without a server: it moves them aside, and \
                          the next start rebuilds them from the journal";
            self.add(Severity::Error, error, remedy);
        }
        done.is_ok()
    }

    /// Moves records aside that cannot be read, if that is wanted: the next start makes new ones.
    fn set_aside(&mut self, records: Records, path: &Path) -> Option<Records> {
        // What they hold and the journal does not is worth more than what cannot be read.
        if self.repair.is_none() || self.ahead {
            return Some(records);
        }
        drop(records);
        if std::fs::rename(path, disk::aside_name(path, "corrupt")).is_ok() {
            self.mark_repaired();
        }
        None
    }

    fn positions(&mut self, records: &Records, known: &Known) -> Result<(), StoreError> {
        let (checkpoint, high) = (records.checkpoint()?, records.high()?);
        if high.max(checkpoint) > known.journal.last && !self.live {
            let what = format!(
                "the records know event {}, and the journal ends with {}",
                high.max(checkpoint).0,
                known.journal.last.0
            );
            let remedy = "a part of the journal is gone: run `tidemill doctor --repair`, which goes \
                          on with what the records hold";
            self.add(Severity::Error, what, remedy);
            self.ahead = true;
        }
        if known.journal.first > checkpoint.next() {
            let what = format!(
                "the records end with event {}, and the journal begins with {}",
                checkpoint.0, known.journal.first.0
            );
            self.add(Severity::Error, what, "the next start rebuilds them from a picture");
        }
        Ok(())
    }

    fn runs(&mut self, records: &Records, known: &Known) -> Result<(), StoreError> {
        let moving = runs_in_tail(records, known)?;
        let (mut needed, mut missing) = (TablesNeeded::default(), Vec::new());
        let (mut unknown, mut stuck) = (Vec::new(), Vec::new());
        for id in records.all()? {
            let Some(run) = records.whole(&id)? else { continue };
            records.visit_tables(&id, &mut |table| {
                let is_small = |hash| {
                    known.tables.contains(hash)
                        || self.store.is_some_and(|store| store.inner().slab.contains(hash))
                };
                if needed.insert(&table.hash)
                    && !is_small(&table.hash)
                    && !self.home.table(&table.hash).is_file()
                {
                    missing.push(format!("table `{}` of run {id} ({})", table.name, table.hash));
                }
            })?;
            if run.summary.head.state.is_final() {
                continue;
            }
            let version = &run.summary.head.version;
            if !known.versions.contains(version.as_str()) {
                unknown.push(format!(
                    "the text of DAG version {} of run {id} is missing",
                    version.short()
                ));
            }
            if !moving.contains(&id) && is_stuck(&run) {
                stuck.push(format!("run {id} is running, and nothing in it can move"));
            }
        }
        self.add_many(Severity::Warning, missing, "missing tables", "run their tasks again");
        self.add_many(
            Severity::Error,
            unknown,
            "missing texts",
            "restore a backup, or cancel the run",
        );
        self.add_many(
            Severity::Error,
            stuck,
            "stuck runs",
            "cancel the run and report it as a bug",
        );
        match self.archived(&mut needed, known) {
            Ok(()) => self.unreferenced(&needed),
            // What runs need that cannot be read must not be taken for left over.
            Err(error) => tracing::debug!(%error, "the archive was not read"),
        }
        Ok(())
    }

    /// Takes in the tables of archived runs.
    fn archived(&mut self, needed: &mut TablesNeeded, known: &Known) -> Result<(), StoreError> {
        let Some(archive) = self.archive else { return Ok(()) };
        let mut missing = 0_u64;
        archive.visit_tables(&mut |hash| {
            let is_here = || {
                known.tables.contains(hash)
                    || self.store.is_some_and(|store| store.inner().slab.contains(hash))
                    || self.home.table(hash).is_file()
            };
            missing += u64::from(needed.insert(hash) && !is_here());
        })?;
        if missing > 0 {
            let what = format!("{} of runs in the history are missing", counted(missing, "table"));
            self.add(Severity::Warning, what, "run their tasks again");
        }
        Ok(())
    }

    fn unreferenced(&mut self, needed: &TablesNeeded) {
        let mut bytes = 0;
        let mut files = Vec::new();
        for path in files_below(&self.home.tables()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !needed.contains(stem) && is_old(&path) {
                bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
                files.push(path);
            }
        }
        if files.is_empty() {
            return;
        }
        let what = format!(
            "table files that belong to no run: {} ({})",
            files.len(),
            counted(bytes, "byte")
        );
        self.add(Severity::Info, what, "`tidemill doctor --repair` removes them");
        if self.repair.is_some() && files.iter().all(|path| std::fs::remove_file(path).is_ok()) {
            self.mark_repaired();
        }
    }

    /// Files with names that only a crash or a repair leaves.
    fn left_over(&mut self) {
        let home = self.home;
        for dir in [home.root().to_owned(), home.journal(), home.snapshots()] {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if disk::is_temp(&path) && is_old(&path) {
                    let what = format!("`{}` is left over from a crash", path.display());
                    self.add(Severity::Info, what, "`tidemill doctor --repair` removes it");
                    if self.repair.is_some() && std::fs::remove_file(&path).is_ok() {
                        self.mark_repaired();
                    }
                } else if [".corrupt-", ".torn-", ".damaged-"].iter().any(|w| name.contains(w)) {
                    let what = format!("`{}` was moved aside", path.display());
                    self.add(Severity::Info, what, "remove it when nobody needs to look at it");
                }
            }
        }
    }

    fn repair_journal(&mut self, records: Option<Records>, known: &Known) {
        let wanted = known.journal.damaged || self.ahead;
        let Some(resolver) = self.repair.filter(|_| wanted) else { return };
        let segments = &known.journal.segments;
        match repair::journal(self.home, records, segments, self.archive, resolver) {
            Ok(what) => {
                for finding in self.found.iter_mut().filter(|f| f.remedy.contains(REPAIR)) {
                    finding.repaired = true;
                }
                self.add(Severity::Warning, what, "start the server");
                self.mark_repaired();
            }
            Err(error) => self.add(Severity::Error, error, "restore a backup"),
        }
    }
}

/// Runs with events that the records may not contain yet: nothing is said about those.
fn runs_in_tail(records: &Records, known: &Known) -> Result<HashSet<RunId>, StoreError> {
    let from = records.checkpoint()?;
    let mut runs = HashSet::new();
    if known.journal.damaged {
        return Ok(runs);
    }
    journal::read_files(&known.journal.segments, from, |position, event| {
        if let Event::Run(id, _) = event
            && position > from
        {
            runs.insert(id);
        }
    })?;
    Ok(runs)
}

/// What every finding says that a repair of the journal mends.
const REPAIR: &str = "`tidemill doctor --repair`, which";

const JOURNAL_REMEDY: &str = "restore a backup, or run `tidemill doctor --repair`, which keeps what \
                              can be read and says what is lost";

/// Why a segment cannot be read, if so. A torn end is no trouble in the last segment.
fn trouble(scan: &Result<Scan, StoreError>, is_last: bool) -> Option<String> {
    match scan {
        Err(StoreError::Damaged { what, .. }) => Some(what.clone()),
        Err(error) => Some(error.to_string()),
        Ok(Scan { stop: Some(Stop::Damaged { offset, what }), .. }) => {
            Some(format!("{what} at byte {offset}"))
        }
        Ok(Scan { stop: Some(Stop::Torn { offset }), .. }) if !is_last => {
            Some(format!("it ends within a commit at byte {offset}"))
        }
        Ok(_) => None,
    }
}

/// Whether a run is at work and nothing in it is. A commit never leaves a task pending that could
/// be settled, so a run whose unfinished tasks are all pending waits for nothing.
fn is_stuck(run: &RunRecord) -> bool {
    run.summary.head.state == RunState::Running
        && run.tasks.iter().all(|task| task.state.is_final() || task.state == TaskState::Pending)
}

fn is_old(path: &Path) -> bool {
    std::fs::metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= LEFT_OVER_AFTER))
}

/// The files of a folder and of the folders in it.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let inner = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
                files.extend(inner.map(|entry| entry.path()).filter(|path| path.is_file()));
            }
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
