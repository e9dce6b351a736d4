//! One sled tree with transparent parts. The only file that names `sled`.
//!
//! Every call is guarded: a panic inside sled is an error here, and after the first failure no
//! further call reaches it. Whoever owns the tree then drops it and opens it again.

use std::collections::HashMap;
use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use crate::disk;
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
    failed: Mutex<Option<String>>,
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
                let opened = catch_unwind(AssertUnwindSafe(|| open_now(&folder, options)));
                let _ = sender.send(opened.unwrap_or_else(|panic| Err(panic_text(&*panic))));
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

    /// Why nothing reaches sled any more, if so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn guard<T>(&self, call: impl FnOnce(&sled::Db) -> Result<T, String>) -> Result<T, StoreError> {
        if let Some(reason) = self.failure() {
            return Err(self.error(reason));
        }
        let Some(db) = &self.db else {
            return Err(disk::damaged(&self.path, "it is closed"));
        };
        let done = catch_unwind(AssertUnwindSafe(|| call(db)))
            .unwrap_or_else(|panic| Err(panic_text(&*panic)));
        done.map_err(|reason| {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            self.error(failed.get_or_insert(reason).clone())
        })
    }

    fn error(&self, reason: String) -> StoreError {
        if disk::says_full(&reason) {
            StoreError::Full { path: self.path.clone() }
        } else {
            disk::damaged(&self.path, reason)
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
                let (key, first) = entry.map_err(|error| error.to_string())?;
                if key.first() == Some(&values::PART) {
                    continue;
                }
                let value = values::decode(&first, |part| part_of(db, &key, part))
                    .map_err(|what| format!("{what} (key {})", key.escape_ascii()))?;
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
                let (key, _) = entry.map_err(|error| error.to_string())?;
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
            for (key, value) in changes {
                let old = db.get(key).map_err(|error| error.to_string())?;
                let old_parts = old.as_deref().map_or(0, values::parts);
                let mut parts = 0;
                match value {
                    None => batch.remove(key.as_slice()),
                    Some(value) => {
                        let (first, rest) = values::encode(value)?;
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
            db.apply_batch(batch).map_err(|error| error.to_string())
        })
    }

    /// Makes everything applied so far outlast a power cut.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.guard(|db| db.flush().map(drop).map_err(|error| error.to_string()))?;
        self.guard(|_| self.file.sync_data().map_err(|error| error.to_string()))
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
        if self.failure().is_some_and(|reason| reason.starts_with(PANICKED)) {
            // Its locks may be held for ever, so closing it could hang.
            std::mem::forget(db);
        } else {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}

fn open_now(path: &Path, options: TreeOptions) -> Result<sled::Db, String> {
    disk::make_dir(path).map_err(|error| error.to_string())?;
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
                if error.to_string().contains("could not acquire lock")
                    && started.elapsed() < options.deadline / 2 =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn get(db: &sled::Db, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    match db.get(key).map_err(|error| error.to_string())? {
        None => Ok(None),
        Some(first) => values::decode(&first, |part| part_of(db, key, part)).map(Some),
    }
}

fn part_of(db: &sled::Db, key: &[u8], part: u16) -> Result<Option<Vec<u8>>, String> {
    let found = db.get(values::part_key(key, part)).map_err(|error| error.to_string())?;
    Ok(found.map(|bytes| bytes.to_vec()))
}

/// The first key after all that start with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

const PANICKED: &str = "sled panicked";

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    format!("{PANICKED}: {}", text.lines().next().unwrap_or_default())
}
