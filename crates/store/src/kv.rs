//! Keys and values for other crates, on the same guarded ground as the records.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::disk;
use crate::records::{Tree, TreeOptions};
use crate::store::StoreError;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Sorted keys and values. Any thread may call; every call may block on disk.
///
/// Keys are 1 to 1,000 bytes and do not start with byte 0; values are at most 64 MiB.
pub trait Kv: Send + Sync + 'static {
    /// A value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Pairs whose keys start with `prefix`, in order, after the key `after`, at most `limit`.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// Puts pairs, then removes keys, all of it or nothing. Durable after [`Kv::flush`].
    fn apply(&self, puts: &[Pair], deletes: &[Vec<u8>]) -> Result<(), StoreError>;

    /// Makes everything applied so far outlast a power cut.
    fn flush(&self) -> Result<(), StoreError>;

    /// How many keys start with `prefix`.
    fn len_prefix(&self, prefix: &[u8]) -> Result<usize, StoreError>;
}

/// Keys have at most this many bytes.
pub const KEY_BYTES_MAX: usize = 1_000;

/// How a [`SledKv`] is opened.
#[derive(Debug, Clone, Copy)]
pub struct KvOptions {
    /// The page cache, in bytes. A target: measured use is about 1.4 times as much.
    pub cache_bytes: u64,
    /// Opening is given up after this long.
    pub open_deadline: Duration,
}

impl Default for KvOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, open_deadline: Duration::from_secs(10) }
    }
}

/// Keys and values in a folder. Large values are stored in parts that nobody sees.
#[derive(Debug)]
pub struct SledKv {
    tree: Tree,
}

impl SledKv {
    /// Opens or creates the folder.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, KvOptions::default())
    }

    /// As [`SledKv::open`], with options.
    pub fn open_with(path: &Path, options: KvOptions) -> Result<Self, StoreError> {
        let options =
            TreeOptions { cache_bytes: options.cache_bytes, deadline: options.open_deadline };
        Tree::open(path, options).map(|tree| Self { tree }).map_err(|why| {
            let remedy = "restore it from a backup, or move the folder away to start empty";
            disk::unopened(path, format!("{why}; {remedy}"))
        })
    }

    /// As [`SledKv::open`]; a folder that does not open is renamed to `NAME.corrupt-MILLIS`, and
    /// an empty one takes its place. The notes say so.
    pub fn open_or_move_aside(
        path: &Path,
        options: KvOptions,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let why = match Self::open_with(path, options) {
            Ok(kv) => return Ok((kv, Vec::new())),
            Err(error) => error,
        };
        let aside = disk::aside_name(path, "corrupt");
        std::fs::rename(path, &aside).map_err(|e| disk::failed(path, &e))?;
        let kv = Self::open_with(path, options)?;
        let note = format!("{why}; it was moved to `{}` and starts empty", aside.display());
        Ok((kv, vec![note]))
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.tree.bytes()
    }
}

fn check_keys(puts: &[Pair], deletes: &[Vec<u8>]) -> Result<(), StoreError> {
    let mut keys = puts.iter().map(|(key, _)| key).chain(deletes);
    match keys.find(|key| key.is_empty() || key.len() > KEY_BYTES_MAX || key[0] == 0) {
        None => Ok(()),
        Some(key) => Err(StoreError::TooLarge {
            what: format!(
                "a key must have 1 to {KEY_BYTES_MAX} bytes and not start with byte 0; `{}`",
                key.get(..40).unwrap_or(key).escape_ascii()
            ),
            bytes: key.len() as u64,
            limit: KEY_BYTES_MAX as u64,
        }),
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tree.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut pairs = Vec::new();
        if limit == 0 {
            return Ok(pairs);
        }
        // A key before the prefix means: from its first key on.
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Unbounded,
        };
        self.tree.scan(prefix, from, false, &mut |key, value| {
            pairs.push((key.to_vec(), value));
            if pairs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(pairs)
    }

    fn apply(&self, puts: &[Pair], deletes: &[Vec<u8>]) -> Result<(), StoreError> {
        check_keys(puts, deletes)?;
        let mut changes: HashMap<Vec<u8>, Option<Vec<u8>>> =
            puts.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        changes.extend(deletes.iter().map(|key| (key.clone(), None)));
        self.tree.apply(&changes)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.tree.flush()
    }

    fn len_prefix(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.tree.count(prefix)
    }
}

/// Keys and values in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryKv {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        Ok(map
            .range::<[u8], _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn apply(&self, puts: &[Pair], deletes: &[Vec<u8>]) -> Result<(), StoreError> {
        check_keys(puts, deletes)?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.extend(puts.iter().cloned());
        for key in deletes {
            map.remove(key);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn len_prefix(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let from = (Bound::Included(prefix), Bound::Unbounded);
        Ok(map.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix)).count())
    }
}
