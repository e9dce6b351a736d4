//! Profiles in memory, up to a number of bytes.
//!
//! When there is no more room, the profile goes that has waited longest without being read since
//! its last turn ("second chance"). Reading takes a shared lock and writes nothing but a flag.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::record::Record;

/// What an entry takes beside its profile and two copies of its id, about.
const ENTRY_BYTES: usize = 160;

pub(super) struct Cache {
    bytes_max: usize,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Arc<str>, Entry>,
    /// The order of turns. An id whose number is not that of its entry is out of date.
    turns: VecDeque<(Arc<str>, u64)>,
    next_turn: u64,
    bytes: usize,
    /// How often something was written. What was read before the last write may be old.
    writes: u64,
}

struct Entry {
    record: Arc<Record>,
    read: AtomicBool,
    turn: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: RwLock::default() }
    }

    /// A profile, if it is here.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Record>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.entries.get(id)?;
        // A plain load first: profiles that are read often are not written to by every reader.
        if !entry.read.load(Ordering::Relaxed) {
            entry.read.store(true, Ordering::Relaxed);
        }
        Some(entry.record.clone())
    }

    /// The number of writes so far, to be given to [`Cache::fill`].
    pub(super) fn writes(&self) -> u64 {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).writes
    }

    /// Takes a profile that was read from below after there had been `seen` writes.
    pub(super) fn fill(&self, id: &str, record: Arc<Record>, seen: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.writes == seen {
            inner.put(id, record);
            inner.shrink(self.bytes_max);
        }
    }

    /// Takes what has been written below.
    pub(super) fn write(&self, records: Vec<(String, Option<Arc<Record>>)>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.writes += 1;
        for (id, record) in records {
            match record {
                Some(record) => inner.put(&id, record),
                None => inner.remove(&id),
            }
        }
        inner.shrink(self.bytes_max);
    }
}

fn size(id: &str, record: &Record) -> usize {
    record.memory() + id.len() + ENTRY_BYTES
}

impl Inner {
    fn put(&mut self, id: &str, record: Arc<Record>) {
        self.bytes += size(id, &record);
        if let Some(entry) = self.entries.get_mut(id) {
            self.bytes -= size(id, &entry.record);
            entry.record = record;
            return;
        }
        let id: Arc<str> = id.into();
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.push_back((id.clone(), turn));
        self.entries.insert(id, Entry { record, read: AtomicBool::new(false), turn });
    }

    fn remove(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            self.bytes -= size(id, &entry.record);
        }
        // Turns of what is gone are dropped when they are many.
        if self.turns.len() > 2 * self.entries.len() + 1_000 {
            let entries = &self.entries;
            self.turns.retain(|(id, turn)| entries.get(id).is_some_and(|e| e.turn == *turn));
        }
    }

    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some((id, turn)) = self.turns.pop_front() else { return };
            match self.entries.get(&id) {
                Some(entry) if entry.turn == turn => {
                    if entry.read.swap(false, Ordering::Relaxed) {
                        self.turns.push_back((id, turn));
                    } else {
                        self.remove(&id);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::Object;

    fn record(text: &str) -> Arc<Record> {
        let mut object = Object::default();
        object.insert_text("text", text);
        Arc::new(Record::new("x", &object).expect("a record"))
    }

    fn here(cache: &Cache, ids: &[&str]) -> Vec<bool> {
        let inner = cache.inner.read().expect("the lock");
        ids.iter().map(|id| inner.entries.contains_key(*id)).collect()
    }

    /// Room for this many small profiles.
    fn room_for(count: usize) -> Cache {
        Cache::new(count * size("a", &record("1")))
    }

    #[test]
    fn what_is_read_stays() {
        let cache = room_for(2);
        for id in ["a", "b"] {
            cache.fill(id, record("1"), 0);
        }
        assert!(cache.get("a").is_some());
        cache.fill("c", record("1"), 0);
        assert_eq!(here(&cache, &["a", "b", "c"]), [true, false, true]);
    }

    #[test]
    fn what_was_read_before_a_write_is_not_taken() {
        let cache = room_for(2);
        let seen = cache.writes();
        cache.write(vec![("a".to_owned(), Some(record("2")))]);
        cache.fill("a", record("1"), seen);
        assert_eq!(cache.get("a"), Some(record("2")));
        cache.write(vec![("a".to_owned(), None)]);
        cache.fill("a", record("1"), seen);
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let cache = room_for(10);
        for i in 0..2_000 {
            let (id, gone) = (format!("{}", i % 97), format!("{}", (i * 7) % 97));
            cache.write(vec![(id.clone(), Some(record(&"x".repeat(i % 50)))), (gone, None)]);
            let _ = cache.get(&id);
            let inner = cache.inner.read().expect("the lock");
            let bytes: usize = inner.entries.iter().map(|(id, e)| size(id, &e.record)).sum();
            assert_eq!(bytes, inner.bytes);
            assert!(bytes <= cache.bytes_max);
            assert!(inner.turns.len() <= 2 * inner.entries.len() + 1_001);
        }
    }

    #[test]
    fn a_profile_without_room_is_not_kept() {
        let cache = Cache::new(10);
        cache.fill("a", record("1"), 0);
        assert_eq!(here(&cache, &["a"]), [false]);
    }
}
