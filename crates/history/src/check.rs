//! The checkup of the history: what is damaged, missing or doubled, and what to do about it.

use std::collections::BTreeMap;

use tidemill_model::words::counted;
use tidemill_model::{DagId, RunId};
use tidemill_store::doctor::{Finding, Severity};
use tidemill_store::{SledStore, StoreError};

use crate::files::failed;
use crate::history::{History, State};
use crate::manifest::{SegmentInfo, segment_in};
use crate::segment::Segment;
use crate::write::verify;

/// Ranges of numbers that are named, and findings of one kind.
const NAMED_MAX: usize = 20;

impl History {
    /// Checks every file of every segment, and with a store also that no run is missing between
    /// what the records hold and what the segments hold.
    pub fn check(&self, store: Option<&SledStore>) -> Vec<Finding> {
        // Nothing is dropped while it is looked at.
        let _upkeep = self.upkeep();
        let mut found = Vec::new();
        let state = self.state();
        for (info, segment) in state.listed() {
            found.extend(self.check_segment(info, segment));
        }
        found.extend(doubled(&state));
        if let Some(store) = store {
            match missing(&state, store) {
                Ok(more) => found.extend(more),
                Err(error) => {
                    found.push(finding(Severity::Error, error.to_string(), "ask again"));
                }
            }
        }
        found
    }

    fn check_segment(&self, info: &SegmentInfo, segment: &Segment) -> Vec<Finding> {
        let mut found = Vec::new();
        for file in &info.files {
            let path = segment_in(&self.root, &info.name).join(&file.name);
            if let Err(what) = verify(&path, file.bytes, &file.sha256) {
                let lost = lost_with(info, segment);
                found.push(finding(
                    Severity::Error,
                    format!("`{}`: {what}, so {lost} cannot be shown", path.display()),
                    LOST_REMEDY,
                ));
            }
        }
        if found.is_empty()
            && let Ok(rows) = segment.runs.rows()
            && rows as u64 != info.runs
        {
            let what = format!(
                "`{}` holds {}, and {} are listed",
                segment.runs.path().display(),
                counted(rows, "run"),
                info.runs
            );
            found.push(finding(Severity::Error, what, LOST_REMEDY));
        }
        found
    }

    /// Takes segments off the list whose files are not as they should be, and moves what is left of
    /// them aside. Gives what was done, in words.
    pub fn set_damaged_aside(&self) -> Result<Vec<String>, StoreError> {
        let _upkeep = self.upkeep();
        let state = self.state();
        let mut manifest = state.manifest.clone();
        let mut done = Vec::new();
        for (info, segment) in state.listed() {
            if self.check_segment(info, segment).is_empty() {
                continue;
            }
            let dir = segment_in(&self.root, &info.name);
            let aside = self.root.join(format!("{}.damaged", info.name));
            if dir.exists() {
                self.files.rename(&dir, &aside).map_err(|error| failed(&dir, &error))?;
            }
            let lost = lost_with(info, segment);
            done.push(format!("{lost} are lost; what is left lies in `{}`", aside.display()));
            let ranges = segment.keys().map(|keys| keys.dags.clone()).unwrap_or_default();
            for (dag, keys) in ranges {
                let end = keys.numbers.last().map_or(0, |(_, end)| *end);
                let highest = manifest.dropped.entry(dag).or_default();
                *highest = (*highest).max(end);
            }
            manifest.segments.retain(|other| other.name != info.name);
        }
        if !done.is_empty() {
            self.publish(manifest)?;
        }
        Ok(done)
    }
}

const LOST_REMEDY: &str = "put the file back from a backup; or stop the server and run `tidemill \
                           doctor --repair`, which goes on without these runs";

fn finding(severity: Severity, what: String, remedy: &str) -> Finding {
    Finding { severity, what, remedy: remedy.to_owned(), repaired: false }
}

/// The runs of a segment, in words.
fn lost_with(info: &SegmentInfo, segment: &Segment) -> String {
    let runs = counted(info.runs, "run");
    let Ok(keys) = segment.keys() else {
        return format!("{runs} ({} to {})", info.first, info.last);
    };
    let mut ranges = keys.dags.iter().flat_map(|(dag, keys)| {
        keys.numbers.iter().map(move |(first, last)| named(dag, *first, *last))
    });
    let mut named: Vec<String> = ranges.by_ref().take(NAMED_MAX).collect();
    let more = ranges.count();
    if more > 0 {
        named.push(format!("and {more} more ranges"));
    }
    format!("{runs} ({})", named.join(", "))
}

fn named(dag: &DagId, first: u64, last: u64) -> String {
    if first == last { format!("{dag}.{first}") } else { format!("{dag}.{first} to {last}") }
}

/// Ranges of numbers by DAG, each with the segment that holds it.
fn ranges(state: &State) -> BTreeMap<DagId, Vec<(u64, u64, usize)>> {
    let mut all: BTreeMap<DagId, Vec<(u64, u64, usize)>> = BTreeMap::new();
    for (at, segment) in state.segments.iter().enumerate() {
        let Ok(keys) = segment.keys() else { continue };
        for (dag, keys) in &keys.dags {
            let ranges = keys.numbers.iter().map(|(first, last)| (*first, *last, at));
            all.entry(dag.clone()).or_default().extend(ranges);
        }
    }
    for ranges in all.values_mut() {
        ranges.sort_unstable();
    }
    all
}

/// Runs that two segments show.
fn doubled(state: &State) -> Vec<Finding> {
    let mut found = Vec::new();
    for (dag, ranges) in ranges(state) {
        for (place, (first, last, at)) in ranges.iter().enumerate() {
            let later = ranges[place + 1..].iter().take_while(|(begin, _, _)| begin <= last);
            for (begin, end, other) in later {
                for number in *begin.max(first)..=*end.min(last) {
                    let id = RunId { dag: dag.clone(), number };
                    let shows = |at: usize| {
                        let row = state.segments[at].row(&id).ok().flatten();
                        let hidden = &state.manifest.segments[at].hidden;
                        row.is_some_and(|row| !hidden.contains(&(row as u32)))
                    };
                    if shows(*at) && shows(*other) && found.len() < NAMED_MAX {
                        let (a, b) = (&state.segments[*at].name, &state.segments[*other].name);
                        let what = format!("run {id} is in the history segments `{a}` and `{b}`");
                        found.push(finding(
                            Severity::Warning,
                            what,
                            "it is shown once, as the newer one says; report it as a bug",
                        ));
                    }
                }
            }
        }
    }
    found
}

/// Runs that are nowhere, between those that are.
fn missing(state: &State, store: &SledStore) -> Result<Vec<Finding>, StoreError> {
    let mut all: BTreeMap<DagId, Vec<(u64, u64)>> = BTreeMap::new();
    for (dag, ranges) in ranges(state) {
        all.entry(dag).or_default().extend(ranges.iter().map(|(a, b, _)| (*a, *b)));
    }
    for id in store.run_ids()? {
        all.entry(id.dag).or_default().push((id.number, id.number));
    }
    let mut found = Vec::new();
    for (dag, mut ranges) in all {
        ranges.sort_unstable();
        let Some((lowest, _)) = ranges.first().copied() else { continue };
        let dropped = state.manifest.dropped.get(&dag).copied().unwrap_or(0);
        let mut next = lowest;
        for (first, last) in ranges {
            let from = next.max(dropped + 1);
            if from < first && found.len() < NAMED_MAX {
                found.push(finding(
                    Severity::Warning,
                    format!(
                        "{} is neither recent nor in the history",
                        named(&dag, from, first - 1)
                    ),
                    "restore a backup if it is needed",
                ));
            }
            next = next.max(last + 1);
        }
    }
    Ok(found)
}
