//! The place of the records in a store: how they are opened, rebuilt, and opened again.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tidemill_model::Position;

use super::Inner;
use crate::disk::{self, NO_SPACE};
use crate::records::{FORMAT, Records, TreeOptions};
use crate::replay::Replay;
use crate::snapshot;
use crate::store::{Record, StoreError};

/// The pause between two tries to open records that failed while the store was at work.
const HEAL_PAUSE: Duration = Duration::from_secs(1);

/// The records, while they are usable.
#[derive(Debug)]
pub(crate) struct RecordsSlot {
    options: TreeOptions,
    records: RwLock<Option<Arc<Records>>>,
    healed: Mutex<Option<Instant>>,
    /// Where records are made when the disk has no space for them.
    spare: Option<PathBuf>,
    spare_made: AtomicBool,
}

impl RecordsSlot {
    pub(crate) fn new(options: TreeOptions, spare: Option<PathBuf>) -> Self {
        let (records, healed) = (RwLock::default(), Mutex::default());
        Self { options, records, healed, spare, spare_made: AtomicBool::new(false) }
    }

    /// The end of the store: what was made beside the home goes.
    pub(crate) fn end(&self) {
        self.close();
        if let Some(spare) = self.spare.as_ref().filter(|_| self.spare_made.load(Ordering::Acquire))
        {
            let _ = std::fs::remove_dir_all(spare);
        }
    }

    /// A new folder, for this user alone: what another one left under its name is not used.
    fn make_spare(&self, spare: &Path) -> Result<(), StoreError> {
        self.end();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(spare)
            .map_err(|error| disk::failed(spare, &error))?;
        self.spare_made.store(true, Ordering::Release);
        Ok(())
    }

    /// The records.
    pub(crate) fn get(&self) -> Result<Arc<Records>, StoreError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner).clone();
        records.ok_or_else(|| StoreError::Away { path: "state".into() })
    }

    /// Lets go of records that failed.
    pub(crate) fn close(&self) {
        *self.records.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn set(&self, records: Arc<Records>) {
        *self.records.write().unwrap_or_else(PoisonError::into_inner) = Some(records);
    }

    fn is_open(&self) -> bool {
        self.records.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Why records cannot be gone on with.
enum Misfit {
    /// They lack something that the journal or a picture holds.
    Rebuild(String),
    /// They hold what the journal has lost, so they are all there is of it.
    Ahead(String),
}

impl Inner {
    /// Opens the records and brings them up to the journal's end; the notes say what was in the way.
    /// Whoever only looks can do so on a full disk, too.
    pub(crate) fn open_records(&self) -> Result<Vec<String>, StoreError> {
        match (self.open_in_home(), &self.slot.spare) {
            (Err(StoreError::Full { .. }), Some(spare)) => {
                self.slot.make_spare(spare)?;
                let records = Records::open(spare, self.slot.options)
                    .map_err(|why| disk::unopened(spare, why))?;
                self.fill(records)
            }
            (done, _) => done,
        }
    }

    /// Makes empty records what the newest picture and the journal say.
    fn fill(&self, records: Records) -> Result<Vec<String>, StoreError> {
        let mut notes = self.read_picture(&records)?;
        records.begin()?;
        notes.extend(self.catch_up(records)?);
        Ok(notes)
    }

    /// Brings records up to the journal's end and puts them in their place.
    fn catch_up(&self, records: Records) -> Result<Vec<String>, StoreError> {
        let notes = self.replay(&records)?;
        self.moved_checkpoint(records.checkpoint()?);
        self.slot.set(Arc::new(records));
        Ok(notes)
    }

    /// What does not open, or does not fit the journal, is moved aside and rebuilt.
    fn open_in_home(&self) -> Result<Vec<String>, StoreError> {
        let path = self.layout.state();
        let existed = path.exists();
        let mut notes = Vec::new();
        let mut ahead = None;
        let opened = Records::open(&path, self.slot.options).and_then(|records| {
            let misfit = if existed { self.misfit(&records) } else { Ok(None) };
            match misfit {
                Err(StoreError::Damaged { what, .. }) => Err(what),
                Err(StoreError::Full { .. }) => Err(NO_SPACE.to_owned()),
                Err(error) => Err(error.to_string()),
                Ok(Some(Misfit::Rebuild(why))) => Err(why),
                Ok(Some(Misfit::Ahead(why))) => {
                    ahead = Some(why);
                    Ok(records)
                }
                Ok(None) => Ok(records),
            }
        });
        if let Some(why) = ahead {
            return Err(disk::damaged(&self.layout.journal(), why));
        }
        let (records, fresh) = match opened {
            Ok(records) => (records, !existed),
            Err(why) if disk::says_full(&why) => return Err(StoreError::Full { path }),
            Err(why) => {
                let aside = disk::aside_name(&path, "corrupt");
                std::fs::rename(&path, &aside).map_err(|e| disk::failed(&path, &e))?;
                notes.push(format!(
                    "the records were rebuilt from the journal: {why}; the old ones lie in `{}`",
                    aside.display()
                ));
                let records = Records::open(&path, self.slot.options)
                    .map_err(|why| disk::unopened(&path, why))?;
                (records, true)
            }
        };
        if fresh {
            disk::sync_parent(&path)?;
            notes.extend(self.fill(records)?);
        } else {
            notes.extend(self.catch_up(records)?);
        }
        Ok(notes)
    }

    /// Why records that opened cannot be gone on with, if so.
    fn misfit(&self, records: &Records) -> Result<Option<Misfit>, StoreError> {
        records.verify()?;
        let (checkpoint, high) = (records.checkpoint()?, records.high()?);
        let (first, last) = (self.journal.first(), self.journal.last());
        let pictured = snapshot::list(&self.layout.snapshots())?;
        let pictured = pictured.last().map_or(Position(0), |(position, _)| *position);
        let format = records.format()?;
        if let Some(other) = format.filter(|format| *format != FORMAT) {
            let why = format!("they have format {other}, and this release keeps format {FORMAT}");
            return Ok(Some(Misfit::Rebuild(why)));
        }
        if format.is_none() || checkpoint < pictured.min(last) {
            let what = "they have lost what was flushed to them";
            let why = format!("{what}: they end with event {}", checkpoint.0);
            return Ok(Some(Misfit::Rebuild(why)));
        }
        if high > last || checkpoint > last {
            return Ok(Some(Misfit::Ahead(format!(
                "it ends with event {}, and the records know event {}, so a part of it is gone; \
                 `tidemill doctor --repair` goes on with what the records hold",
                last.0,
                high.max(checkpoint).0,
            ))));
        }
        if first > checkpoint.next() {
            return Ok(Some(Misfit::Rebuild(format!(
                "they end with event {}, and the journal begins with {}",
                checkpoint.0, first.0
            ))));
        }
        Ok(None)
    }

    /// Fills empty records from the newest picture that is whole.
    fn read_picture(&self, records: &Records) -> Result<Vec<String>, StoreError> {
        let mut notes = Vec::new();
        let last = self.journal.last();
        for (position, path) in snapshot::list(&self.layout.snapshots())?.into_iter().rev() {
            if position > last {
                notes
                    .push(format!("`{}` is ahead of the journal and was not used", path.display()));
                continue;
            }
            // First to its end: half of a damaged picture must not get in.
            let mut batch = Vec::new();
            let whole = snapshot::read(&path, |_| Ok(())).and_then(|position| {
                snapshot::read(&path, |record| {
                    batch.push(at_most(record, last));
                    if batch.len() < 256 {
                        return Ok(());
                    }
                    records.put(&std::mem::take(&mut batch))
                })?;
                Ok(position)
            });
            match whole {
                Err(error @ StoreError::Damaged { .. }) => notes.push(error.to_string()),
                Err(error) => return Err(error),
                Ok(position) => {
                    records.put(&batch)?;
                    records.set_checkpoint(position)?;
                    return Ok(notes);
                }
            }
        }
        if self.journal.first() > Position(1) {
            notes.push(format!(
                "no picture of the records is readable: what happened before event {} is gone; \
                 restore a backup if it is needed",
                self.journal.first().0
            ));
        }
        Ok(notes)
    }

    /// Folds the journal after the checkpoint into the records, and moves the checkpoint.
    fn replay(&self, records: &Records) -> Result<Vec<String>, StoreError> {
        let (from, last) = (records.checkpoint()?, self.journal.last());
        if from >= last {
            return Ok(Vec::new());
        }
        let dag = |version: &tidemill_model::Version| self.dag(version);
        let mut replay = Replay::new(records, self.archive.as_deref(), &dag);
        let mut done = Ok(());
        self.journal.visit(from, last, |events| {
            for (position, event) in events {
                if position > from && position <= last && done.is_ok() {
                    done = replay.event(position, &event);
                }
            }
            done.is_ok()
        })?;
        done?;
        let notes = replay.finish()?;
        records.set_checkpoint(last)?;
        Ok(notes)
    }

    /// Opens records again that failed while the store was at work, for example because the disk
    /// was full. At most once in [`HEAL_PAUSE`].
    pub(crate) fn heal(&self) -> Result<(), StoreError> {
        if self.slot.is_open() {
            return Ok(());
        }
        let mut healed = self.slot.healed.lock().unwrap_or_else(PoisonError::into_inner);
        if healed.is_some_and(|at| at.elapsed() < HEAL_PAUSE) {
            return self.slot.get().map(drop);
        }
        let done = self.open_records();
        *healed = Some(Instant::now());
        for note in done? {
            tracing::warn!("{note}");
        }
        Ok(())
    }
}

/// A record that does not claim events which the journal has lost: their numbers are given again.
fn at_most(mut record: Record, last: Position) -> Record {
    match &mut record {
        Record::Run { position, .. } | Record::Dag { position, .. } => {
            *position = (*position).min(last);
        }
    }
    record
}
