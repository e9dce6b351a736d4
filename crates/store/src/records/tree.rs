//! One sled tree with transparent parts. The only file that names `sled`.
//!
//! Every call is guarded: a panic inside sled is an error here, and after the first failure no
//! further call reaches it. Whoever owns the tree then drops it and opens it again.
//!
//! sled may pass over damage in silence and give an older state of a part of itself. So the tree
//! keeps a sum over all that it holds, which changes in the same batch as what it sums up, and
//! [`Tree::verify`] compares the two.

use std::collections::HashMap;
use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use crate::disk;
use crate::records::guarded::{Fault, guarded};
use crate::records::values;
use crate::store::StoreError;

/// How a tree is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeOptions {
    /// sled's page cache, in bytes.
    pub(crate) cache_bytes: u64,
    /// The open is given up after this long.
    pub(crate) deadline: Duration,
}

/// Keys are given to the callbacks of scans together with whole values.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], Vec<u8>) -> ControlFlow<()>;

/// An open tree.
pub(crate) struct Tree {
    db: Option<sled::Db>,
    /// Our own handle of sled's file: its `flush` does not outlast a power cut without our sync.
    file: File,
    path: PathBuf,
    failed: Mutex<Option<Fault>>,
    /// Readers of values with several parts never see half of a change.
    gate: RwLock<()>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tree {
    /// Opens or creates a tree in its own thread. An error, a panic or a missed deadline gives the
    /// reason in words; a thread that hangs inside sled is left behind.
    pub(crate) fn open(path: &Path, options: TreeOptions) -> Result<Self, String> {
        let (sender, receiver) = mpsc::channel();
        let folder = path.to_owned();
        std::thread::Builder::new()
            .name("open-records".to_owned())
            .spawn(move || {
                let opened = guarded(&folder, || open_now(&folder, options));
                let _ = sender.send(opened.map_err(|fault| fault.words));
            })
            .map_err(|error| error.to_string())?;
        let db = match receiver.recv_timeout(options.deadline) {
            Ok(opened) => opened?,
            Err(_) => return Err(format!("not open after {} s", options.deadline.as_secs_f64())),
        };
        let file = File::open(path.join("db")).map_err(|error| error.to_string())?;
        disk::sync_dir(path).map_err(|error| error.to_string())?;
        Ok(Self {
            db: Some(db),
            file,
            path: path.to_owned(),
            failed: Mutex::default(),
            gate: RwLock::default(),
        })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> MutexGuard<'_, Option<Fault>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing reaches sled any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed().is_some()
    }

    fn guard<T>(&self, call: impl FnOnce(&sled::Db) -> Result<T, Fault>) -> Result<T, StoreError> {
        if let Some(fault) = &*self.failed() {
            return Err(self.error(fault));
        }
        let Some(db) = &self.db else {
            return Err(disk::damaged(&self.path, "it is closed"));
        };
        guarded(&self.path, || call(db))
            .map_err(|fault| self.error(self.failed().get_or_insert(fault)))
    }

    fn error(&self, fault: &Fault) -> StoreError {
        if disk::says_full(&fault.words) {
            StoreError::Full { path: self.path.clone() }
        } else {
            disk::damaged(&self.path, fault.words.as_str())
        }
    }

    /// A value.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.guard(|db| get(db, key))
    }

    /// Runs several reads that see no change between them.
    pub(crate) fn steady<T>(&self, reads: impl FnOnce(&Steady<'_>) -> T) -> T {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        reads(&Steady(self))
    }

    /// Visits the keys that start with `prefix` in order, or in reverse order, from a bound on.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        from: Bound<&[u8]>,
        reverse: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.guard(|db| {
            let end = end_of(prefix);
            let upper = match &end {
                Some(end) => Bound::Excluded(end.as_slice()),
                None => Bound::Unbounded,
            };
            let (low, high) = if reverse {
                (Bound::Included(prefix), if from == Bound::Unbounded { upper } else { from })
            } else {
                (if from == Bound::Unbounded { Bound::Included(prefix) } else { from }, upper)
            };
            // Bounds that cross mean that nothing is left.
            if let (
                Bound::Included(low) | Bound::Excluded(low),
                Bound::Included(high) | Bound::Excluded(high),
            ) = (low, high)
                && low >= high
            {
                return Ok(());
            }
            let mut range = db.range::<&[u8], _>((low, high));
            loop {
                let next = if reverse { range.next_back() } else { range.next() };
                let Some(entry) = next else { return Ok(()) };
                let (key, first) = entry?;
                if key.first() == Some(&values::PART) {
                    continue;
                }
                let value = decode(db, &key, &first)?;
                if visit(&key, value).is_break() {
                    return Ok(());
                }
            }
        })
    }

    /// How many keys start with `prefix`.
    pub(crate) fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.guard(|db| {
            let mut count = 0;
            for entry in db.scan_prefix(prefix) {
                let (key, _) = entry?;
                count += usize::from(key.first() != Some(&values::PART));
            }
            Ok(count)
        })
    }

    /// Puts and removes values, all of it or nothing. Durable after [`Tree::flush`].
    pub(crate) fn apply(
        &self,
        changes: &HashMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> Result<(), StoreError> {
        for value in changes.values().flatten() {
            if value.len() > values::WHOLE_BYTES_MAX {
                return Err(StoreError::TooLarge {
                    what: format!("a value of {}", self.path.display()),
                    bytes: value.len() as u64,
                    limit: values::WHOLE_BYTES_MAX as u64,
                });
            }
        }
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.guard(|db| {
            let mut batch = sled::Batch::default();
            let mut sum = sum_in(db)?.unwrap_or_default();
            for (key, value) in changes {
                let old = db.get(key)?;
                sum = sum.wrapping_sub(old.as_deref().map_or(0, |old| values::digest(key, old)));
                let old_parts = old.as_deref().map_or(0, values::parts);
                let mut parts = 0;
                match value {
                    None => batch.remove(key.as_slice()),
                    Some(value) => {
                        let (first, rest) = values::encode(value)?;
                        sum = sum.wrapping_add(values::digest(key, &first));
                        batch.insert(key.as_slice(), first);
                        for (i, part) in (1_u16..).zip(rest) {
                            batch.insert(values::part_key(key, i), part);
                            parts = i;
                        }
                    }
                }
                for stale in parts + 1..=old_parts {
                    batch.remove(values::part_key(key, stale));
                }
            }
            batch.insert(values::SUM, &sum.to_le_bytes());
            Ok(db.apply_batch(batch)?)
        })
    }

    /// Reads everything and compares it with its sum; an error says what does not fit.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.guard(|db| {
            let (mut sum, mut parts, mut found) = (0_u64, 0_usize, 0_usize);
            for entry in db.iter() {
                let (key, first) = entry?;
                if key == values::SUM {
                    continue;
                }
                if key.first() == Some(&values::PART) {
                    found += 1;
                    continue;
                }
                values::check(&first, |part| part_of(db, &key, part))?;
                parts += usize::from(values::parts(&first));
                sum = sum.wrapping_add(values::digest(&key, &first));
            }
            if sum_in(db)?.unwrap_or_default() == sum && parts == found {
                Ok(())
            } else {
                Err(Fault::from("a part of what was written is missing".to_owned()))
            }
        })
    }

    /// Makes everything applied so far outlast a power cut.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.guard(|db| Ok(db.flush().map(drop)?))?;
        self.guard(|_| Ok(self.file.sync_data()?))
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// The largest value as sled holds it, in bytes.
    #[cfg(test)]
    pub(crate) fn largest_value(&self) -> usize {
        let db = self.db.as_ref().expect("open");
        db.iter().values().map(|value| value.expect("read").len()).max().unwrap_or(0)
    }
}

/// Reads inside [`Tree::steady`].
pub(crate) struct Steady<'a>(&'a Tree);

impl Steady<'_> {
    /// A value.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.guard(|db| get(db, key))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.failed().as_ref().is_some_and(|fault| fault.panicked) {
            // Its locks may be held for ever, so closing it could hang.
            std::mem::forget(db);
        } else {
            let _ = guarded(&self.path, || {
                drop(db);
                Ok(())
            });
        }
    }
}

fn open_now(path: &Path, options: TreeOptions) -> Result<sled::Db, Fault> {
    disk::make_dir(path)?;
    let started = Instant::now();
    loop {
        let opened = sled::Config::new()
            .path(path)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None)
            .open();
        match opened {
            Ok(db) => return Ok(db),
            // sled's own threads let go of the lock a little after the database is dropped.
            Err(error)
                if error.to_string().contains(LOCKED)
                    && started.elapsed() < options.deadline / 2 =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How sled says that another one has its files.
const LOCKED: &str = "could not acquire lock";

fn get(db: &sled::Db, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    db.get(key)?.map(|first| decode(db, key, &first)).transpose()
}

/// A whole value.
fn decode(db: &sled::Db, key: &[u8], first: &[u8]) -> Result<Vec<u8>, Fault> {
    values::decode(first, |part| part_of(db, key, part)).map_err(|fault: Fault| fault.at(key))
}

fn part_of(db: &sled::Db, key: &[u8], part: u16) -> Result<Option<Vec<u8>>, Fault> {
    let found = db.get(values::part_key(key, part))?;
    Ok(found.map(|bytes| bytes.to_vec()))
}

/// The sum over everything, as it is stored.
fn sum_in(db: &sled::Db) -> Result<Option<u64>, Fault> {
    let bytes = db.get(values::SUM)?;
    Ok(bytes.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))))
}

/// The first key after all that start with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
