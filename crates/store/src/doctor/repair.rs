//! Damage in the journal, taken out of its way with as little loss as can be.
//!
//! Every event that can still be read is folded into the records, from both sides of the damage. A
//! new picture then stands for all of the past, and the journal begins anew behind it.

use std::path::{Path, PathBuf};

use tidemill_model::{Position, Version};

use super::TREE;
use crate::archive::Archive;
use crate::disk;
use crate::home::Layout;
use crate::journal;
use crate::records::Records;
use crate::replay::{Replay, Resolver};
use crate::slab::Slab;
use crate::sled_store::{SledOptions, VERSION_BYTES_MAX};
use crate::snapshot;
use crate::store::{DagSource, StoreError};

/// Ranges of lost events that are named.
const RANGES_NAMED_MAX: usize = 5;

/// First and last event of each gap.
type Gaps = Vec<(Position, Position)>;

/// Repairs a journal with these segments; gives what was done and what is lost, in words. Without
/// `records`, they are made anew from the newest picture.
pub(super) fn journal(
    home: &Layout,
    records: Option<Records>,
    segments: &[(Position, PathBuf)],
    archive: Option<&dyn Archive>,
    resolver: &Resolver,
) -> Result<String, StoreError> {
    let records = match records {
        Some(records) => records,
        None => from_picture(home)?,
    };
    let (last, gaps) = fold(home, &records, segments, archive, resolver)?;
    // Numbers that records know are not given to other events.
    let end = last.max(records.high()?);
    records.set_checkpoint(end)?;
    snapshot::write(&records, &snapshot::path_of(&home.snapshots(), end), end)?;
    let aside = begin_anew(home, segments, end)?;
    let kept = format!("the damaged journal lies in `{}`", aside.display());
    if gaps.is_empty() {
        return Ok(format!(
            "the records and the readable part of the journal hold every event up to {}, so \
             nothing is lost; {kept}",
            end.0
        ));
    }
    Ok(format!(
        "{} cannot be read; everything else up to event {} is kept, and a run whose events are \
         lost may do a task again; {kept}",
        in_words(&gaps),
        end.0
    ))
}

fn in_words(gaps: &Gaps) -> String {
    let mut named: Vec<String> = (gaps.iter().take(RANGES_NAMED_MAX))
        .map(|(first, last)| {
            if first == last {
                format!("event {}", first.0)
            } else {
                format!("events {} to {}", first.0, last.0)
            }
        })
        .collect();
    if gaps.len() > named.len() {
        named.push(format!("those in {} more gaps", gaps.len() - named.len()));
    }
    named.join(", ")
}

/// Records from the newest picture that is whole; empty ones if there is none. Records that do not
/// open are moved aside.
fn from_picture(home: &Layout) -> Result<Records, StoreError> {
    let path = home.state();
    if path.exists() {
        let aside = disk::aside_name(&path, "corrupt");
        std::fs::rename(&path, &aside).map_err(|e| disk::failed(&path, &e))?;
    }
    let records = Records::open(&path, TREE).map_err(|why| disk::unopened(&path, why))?;
    records.begin()?;
    for (_, picture) in snapshot::list(&home.snapshots())?.into_iter().rev() {
        // First to its end: half of a damaged picture must not get in.
        if snapshot::read(&picture, |_| Ok(())).is_ok() {
            let position = snapshot::read(&picture, |record| records.put(&[record]))?;
            records.set_checkpoint(position)?;
            break;
        }
    }
    Ok(records)
}

/// Folds what can be read into the records. Gives the last event and what is missing before it.
fn fold(
    home: &Layout,
    records: &Records,
    segments: &[(Position, PathBuf)],
    archive: Option<&dyn Archive>,
    resolver: &Resolver,
) -> Result<(Position, Gaps), StoreError> {
    let options = SledOptions::default().slab(VERSION_BYTES_MAX);
    let (versions, _) = Slab::open(&home.versions(), options)?;
    let dag = |version: &Version| {
        let bytes = versions.get(version.as_str()).ok().flatten()?;
        let source: DagSource = serde_json::from_slice(&bytes).ok()?;
        resolver(version, &source)
    };
    let mut last = records.checkpoint()?;
    let mut gaps = Gaps::new();
    let mut replay = Replay::new(records, archive, &dag);
    for (first, path) in segments {
        let mut expected = last.next();
        last = journal::salvage(path, *first, last, |position, event| {
            if position > expected {
                gaps.push((expected, Position(position.0 - 1)));
            }
            expected = position.next();
            replay.event(position, &event)
        })?;
    }
    // What it notes is about events that follow lost ones, and those are named by their numbers.
    replay.finish()?;
    let high = records.high()?;
    if high > last {
        gaps.push((last.next(), high));
    }
    Ok((last, gaps))
}

/// An empty journal that goes on after `end`; the old segments move aside.
fn begin_anew(
    home: &Layout,
    segments: &[(Position, PathBuf)],
    end: Position,
) -> Result<PathBuf, StoreError> {
    let dir = home.journal();
    let aside = disk::aside_name(&dir, "damaged");
    disk::make_dir(&aside)?;
    let moved = |path: &Path| {
        let target = aside.join(path.file_name().unwrap_or_default());
        std::fs::rename(path, target).map_err(|e| disk::failed(path, &e))
    };
    let begin = journal::path_of(&dir, end.next());
    // The new segment comes first: a crash in the middle then leaves a journal that fits.
    if begin.exists() {
        moved(&begin)?;
    }
    disk::write_whole(&begin, &journal::header(end.next()))?;
    for (_, path) in segments.iter().filter(|(_, path)| *path != begin) {
        moved(path)?;
    }
    disk::sync_dir(&dir)?;
    disk::sync_dir(home.root())?;
    Ok(aside)
}
