//! [`SledStore`]: the journal, the slab and the records of one home, joined.
//!
//! A commit syncs its small tables, then its events; nothing else. The records follow by
//! [`Store::put`], and every few seconds [`Store::checkpoint`] makes them durable. When they are
//! lost, or sled does not open, they are made again from the newest picture and the journal.

mod archived;
mod records_slot;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tidemill_model::run::StoredItem;
use tidemill_model::{Dag, Event, Position, RunId, TaskIx, Version};

use crate::archive::{Archive, TablesNeeded};
use crate::disk::{self, Disk, RealDisk};
use crate::home::{Home, Layout};
use crate::journal::{Journal, JournalOptions};
use crate::records::{Records, TreeOptions};
use crate::replay::Resolver;
use crate::slab::{Slab, SlabOptions};
use crate::snapshot;
use crate::store::{
    Commit, DagSource, Record, Recovered, RunPage, RunQuery, Store, StoreError, StoredRunAt,
    check_small_tables,
};
use records_slot::RecordsSlot;

/// The largest DAG text that is stored, in bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 16 << 20;

/// How a [`SledStore`] is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// Size of a journal segment, in bytes.
    pub segment_bytes: u64,
    /// Size of a slab file, in bytes.
    pub slab_bytes: u64,
    /// A picture of the records is taken after so many bytes of journal.
    pub snapshot_bytes: u64,
    /// sled's page cache, in bytes. A target: measured use is about 1.4 times as much.
    pub cache_bytes: u64,
    /// Opening the records is given up after this long, and they are rebuilt.
    pub open_deadline: Duration,
    /// Where the journal and the slabs make their files.
    pub disk: Arc<dyn Disk>,
    /// The store is only looked at: nothing is committed, and the journal's torn end stays where it
    /// is. Where the home's disk has no space for records, they are made in this folder, which must
    /// not be there yet and goes with the store.
    pub look: Option<PathBuf>,
    /// Finished runs that have left the records.
    pub archive: Option<Arc<dyn Archive>>,
}

impl SledOptions {
    /// For a slab whose values are at most so large, in bytes.
    pub(crate) fn slab(&self, value_bytes_max: usize) -> SlabOptions {
        let (file_bytes, disk) = (self.slab_bytes, Arc::clone(&self.disk));
        SlabOptions { file_bytes, value_bytes_max, disk }
    }
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            slab_bytes: 64 << 20,
            snapshot_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            open_deadline: Duration::from_secs(10),
            disk: Arc::new(RealDisk),
            look: None,
            archive: None,
        }
    }
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreFigures {
    /// The last durable event.
    pub last: Position,
    /// Replay begins after this event.
    pub checkpoint: Position,
    /// Bytes of journal after the checkpoint, about.
    pub replay_bytes: u64,
    /// Bytes of the records on disk.
    pub records_bytes: u64,
}

/// The store of a home.
#[derive(Debug)]
pub struct SledStore {
    inner: Arc<Inner>,
    picture: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) journal: Journal,
    pub(crate) slab: Slab,
    pub(crate) versions: Slab,
    pub(crate) slot: RecordsSlot,
    pub(crate) archive: Option<Arc<dyn Archive>>,
    resolver: ResolverBox,
    snapshot_bytes: u64,
    /// The position of the newest picture.
    pictured: AtomicU64,
    checkpoint: AtomicU64,
    picturing: AtomicBool,
    /// One picture at a time, whoever asks for it.
    picture: Mutex<()>,
}

struct ResolverBox(Resolver);

impl std::fmt::Debug for ResolverBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl SledStore {
    /// Opens the store of a home, and brings the records up to the journal's end. The notes say
    /// what the operator should know: a torn end that was cut, records that were rebuilt.
    pub fn open(
        home: &Home,
        resolver: Resolver,
        options: SledOptions,
    ) -> Result<(Self, Vec<String>), StoreError> {
        Self::open_at(home.layout(), resolver, options)
    }

    /// As [`SledStore::open`], for one who holds the home already.
    pub(crate) fn open_at(
        layout: &Layout,
        resolver: Resolver,
        options: SledOptions,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let table_bytes = tidemill_model::table::SLAB_TABLE_BYTES_MAX as usize;
        let (slab, mut notes) = Slab::open(&layout.slab(), options.slab(table_bytes))?;
        let (versions, more) = Slab::open(&layout.versions(), options.slab(VERSION_BYTES_MAX))?;
        notes.extend(more);
        let journal_options = JournalOptions {
            segment_bytes: options.segment_bytes,
            disk: options.disk,
            read_only: options.look.is_some(),
        };
        let (journal, more) = Journal::open(&layout.journal(), journal_options)?;
        notes.extend(more);
        disk::make_dir(&layout.snapshots())?;
        let tree =
            TreeOptions { cache_bytes: options.cache_bytes, deadline: options.open_deadline };
        let newest = snapshot::list(&layout.snapshots())?.last().map_or(0, |(at, _)| at.0);
        let inner = Arc::new(Inner {
            layout: layout.clone(),
            journal,
            slab,
            versions,
            slot: RecordsSlot::new(tree, options.look),
            archive: options.archive,
            resolver: ResolverBox(resolver),
            snapshot_bytes: options.snapshot_bytes,
            pictured: AtomicU64::new(newest),
            checkpoint: AtomicU64::new(0),
            picturing: AtomicBool::new(false),
            picture: Mutex::default(),
        });
        notes.extend(inner.open_records()?);
        Ok((Self { inner, picture: Mutex::default() }, notes))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Figures for metrics.
    pub fn figures(&self) -> StoreFigures {
        let checkpoint = Position(self.inner.checkpoint.load(Ordering::Acquire));
        StoreFigures {
            last: self.inner.journal.last(),
            checkpoint,
            replay_bytes: self.inner.journal.bytes_after(checkpoint),
            records_bytes: self.inner.slot.get().map_or(0, |records| records.bytes()),
        }
    }

    /// Takes a picture of the records now, and removes what it makes superfluous.
    pub fn snapshot(&self) -> Result<Position, StoreError> {
        self.inner.take_picture()
    }

    /// Removes slab files whose tables no stored run refers to and no commit used meanwhile.
    /// Returns how many bytes that gave back. `others` is told which tables are needed, small ones
    /// or not.
    pub fn sweep_small_tables(
        &self,
        others: impl FnOnce(&TablesNeeded),
    ) -> Result<u64, StoreError> {
        let mark = self.inner.slab.mark();
        let needed = self.inner.tables_needed()?;
        others(&needed);
        self.inner.slab.sweep(mark, |hash| needed.contains(hash))
    }

    /// Starts a picture in the background when enough journal has come since the last one.
    fn picture_when_due(&self) {
        let inner = &self.inner;
        let pictured = Position(inner.pictured.load(Ordering::Acquire));
        if inner.journal.bytes_after(pictured) < inner.snapshot_bytes
            || inner.picturing.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let worker = Arc::clone(inner);
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            if let Err(error) = worker.take_picture() {
                tracing::warn!(%error, "no picture of the records was taken");
            }
            worker.picturing.store(false, Ordering::Release);
        });
        match thread {
            Ok(thread) => {
                let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
                // The one before has ended: it had cleared the flag.
                *picture = Some(thread);
            }
            Err(error) => {
                inner.picturing.store(false, Ordering::Release);
                tracing::warn!(%error, "no picture of the records was taken");
            }
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let picture = self.picture.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(picture) = picture {
            let _ = picture.join();
        }
        self.inner.slot.end();
    }
}

impl Inner {
    /// A DAG version, if its text is here and loads.
    pub(crate) fn dag(&self, version: &Version) -> Option<Arc<Dag>> {
        let source = self.source(version).ok().flatten()?;
        (self.resolver.0)(version, &source)
    }

    fn source(&self, version: &Version) -> Result<Option<DagSource>, StoreError> {
        let Some(bytes) = self.versions.get(version.as_str())? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            disk::damaged(&self.layout.versions(), format!("version {version}: {error}"))
        })
    }

    pub(crate) fn moved_checkpoint(&self, position: Position) {
        self.checkpoint.fetch_max(position.0, Ordering::AcqRel);
    }

    fn take_picture(&self) -> Result<Position, StoreError> {
        let _picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.slot.get()?;
        let position = records.checkpoint()?;
        let dir = self.layout.snapshots();
        if position.0 > self.pictured.load(Ordering::Acquire) {
            snapshot::write(&records, &snapshot::path_of(&dir, position), position)?;
            self.pictured.store(position.0, Ordering::Release);
        }
        let needed_after = snapshot::thin(&dir)?;
        self.journal.remove_upto(needed_after)?;
        Ok(position)
    }

    fn tables_needed(&self) -> Result<TablesNeeded, StoreError> {
        let mut needed = TablesNeeded::default();
        self.visit_tables(&mut |hash| {
            needed.insert(hash);
            Ok(())
        })?;
        Ok(needed)
    }

    /// The hash of every table that a stored run or an event after the checkpoint refers to.
    pub(crate) fn visit_tables(
        &self,
        visit: &mut dyn FnMut(&str) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let records = self.slot.get()?;
        let from = records.checkpoint()?;
        let mut done = Ok(());
        let mut one = |hash: &str| {
            if done.is_ok() {
                done = visit(hash);
            }
        };
        // The records first: what leaves them meanwhile is in the archive by then.
        for id in records.all()? {
            records.visit_tables(&id, &mut |table| one(&table.hash))?;
        }
        if let Some(archive) = &self.archive {
            archive.visit_tables(&mut one)?;
        }
        self.journal.visit(from, self.journal.last(), |events| {
            for (_, event) in events {
                let Event::Run(_, tidemill_model::RunEvent::AttemptSucceeded { result, .. }) =
                    event
                else {
                    continue;
                };
                result.tables.iter().for_each(|table| one(&table.hash));
            }
            true
        })?;
        done
    }

    /// Reads from the records. Those that turn out to be damaged are made again first.
    pub(crate) fn with_records<T>(
        &self,
        read: impl Fn(&Records) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let records = self.slot.get()?;
        let done = read(&records);
        if done.is_ok() || !records.has_failed() {
            return done;
        }
        drop(records);
        self.slot.close();
        self.heal()?;
        read(&*self.slot.get()?)
    }
}

impl Store for SledStore {
    fn commit(&self, commit: &Commit) -> Result<Position, StoreError> {
        let inner = &self.inner;
        inner.journal.check()?;
        check_small_tables(commit)?;
        if !commit.small_tables.is_empty() {
            let tables = commit.small_tables.iter();
            let tables = tables.map(|table| (table.hash.as_str(), table.bytes.as_ref()));
            inner.slab.append(tables).inspect_err(|error| inner.journal.fail(error))?;
        }
        inner.journal.append(&commit.events)
    }

    fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>, StoreError> {
        self.inner.journal.read(after, limit)
    }

    fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        self.inner.heal()?;
        let slot = self.inner.slot.get()?;
        let done = slot.put(records);
        if slot.has_failed() {
            self.inner.slot.close();
        }
        done
    }

    fn checkpoint(&self, position: Position) -> Result<(), StoreError> {
        self.inner.heal()?;
        let slot = self.inner.slot.get()?;
        let done = slot.set_checkpoint(position);
        if slot.has_failed() {
            self.inner.slot.close();
        }
        done?;
        self.inner.moved_checkpoint(position);
        self.picture_when_due();
        Ok(())
    }

    fn recover(&self) -> Result<Recovered, StoreError> {
        let records = self.inner.slot.get()?;
        let from = records.checkpoint()?;
        let last = self.inner.journal.last();
        let mut tail = Vec::new();
        self.inner.journal.visit(from, last, |events| {
            tail.extend(events.into_iter().filter(|(position, _)| *position > from));
            true
        })?;
        Ok(Recovered {
            dags: records.dags()?,
            unfinished: records.unfinished()?,
            tail,
            last,
            notes: Vec::new(),
        })
    }

    fn put_version(&self, version: &Version, source: &DagSource) -> Result<(), StoreError> {
        self.put_versions(&[(version.clone(), source.clone())])
    }

    fn put_versions(&self, versions: &[(Version, DagSource)]) -> Result<(), StoreError> {
        let texts: Vec<Vec<u8>> = versions
            .iter()
            .map(|(version, source)| {
                serde_json::to_vec(source).map_err(|error| {
                    disk::damaged(
                        &self.inner.layout.versions(),
                        format!("version {version}: {error}"),
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        let pairs = versions.iter().zip(&texts);
        self.inner
            .versions
            .append(pairs.map(|((version, _), text)| (version.as_str(), text.as_slice())))
    }

    fn version(&self, version: &Version) -> Result<Option<DagSource>, StoreError> {
        self.inner.source(version)
    }

    fn run(&self, id: &RunId) -> Result<Option<StoredRunAt>, StoreError> {
        let recent = self.inner.with_records(|records| records.run(id))?;
        match (recent, &self.inner.archive) {
            (None, Some(archive)) => archive.run(id),
            (recent, _) => Ok(recent),
        }
    }

    fn items(
        &self,
        run: &RunId,
        task: TaskIx,
        first: u32,
        limit: usize,
    ) -> Result<Vec<StoredItem>, StoreError> {
        let recent = self.inner.with_records(|records| records.items(run, task, first, limit))?;
        let Some(archive) = &self.inner.archive else { return Ok(recent) };
        // A run that goes again has here what is new of it; the rest stays where it was.
        let older = archive.items(run, task, first, limit)?;
        let mut items: BTreeMap<u32, StoredItem> =
            older.into_iter().map(|item| (item.item, item)).collect();
        items.extend(recent.into_iter().map(|item| (item.item, item)));
        Ok(items.into_values().take(limit).collect())
    }

    fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let recent = self.inner.with_records(|records| records.runs(query))?;
        match &self.inner.archive {
            Some(archive) => self.inner.with_archived(query, recent, &**archive),
            None => Ok(recent),
        }
    }

    fn small_table(&self, hash: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.slab.get(hash)
    }
}
