//! Many profiles, from the first row to the last: nothing is seen before the end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use tidemill_store::kv::Kv;

use super::record::{self, LOAD_PREFIX};
use super::{Applied, BLOCK, ProfileError, ProfileStore, ProfileUpdate};

/// Profiles that are being loaded. Dropped before its end, it leaves nothing behind.
pub(crate) struct Load {
    store: Arc<ProfileStore>,
    /// What keys of this load start with in the store below.
    prefix: Vec<u8>,
    waiting: Vec<ProfileUpdate>,
    waiting_bytes: usize,
    /// Updates that wait in the store below.
    aside: u64,
    /// The ids so far, by the first 16 bytes of their SHA-256.
    ids: HashSet<[u8; 16]>,
}

impl Load {
    /// An empty load.
    pub(crate) fn new(store: Arc<ProfileStore>) -> Self {
        let number = store.loads.fetch_add(1, Ordering::Relaxed);
        let mut prefix = vec![LOAD_PREFIX];
        prefix.extend_from_slice(&number.to_be_bytes());
        Self { store, prefix, waiting: Vec::new(), waiting_bytes: 0, aside: 0, ids: HashSet::new() }
    }

    /// Takes an update. Gives false, and takes nothing, when there was one for this profile already.
    pub(crate) fn add(&mut self, update: ProfileUpdate) -> Result<bool, ProfileError> {
        record::check_id(&update.id)?;
        for identity in update.identities.iter().flatten() {
            record::check_identity(identity)?;
        }
        let bytes = update.fields.bytes();
        if bytes > record::PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLarge { id: update.id, bytes });
        }
        if !self.ids.insert(digest(&update.id)) {
            return Ok(false);
        }
        self.waiting.push(update);
        self.waiting_bytes += bytes;
        if self.waiting_bytes > self.store.options.load_bytes {
            self.set_aside()?;
        }
        Ok(true)
    }

    fn set_aside(&mut self) -> Result<(), ProfileError> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        for some in waiting.chunks(BLOCK) {
            let mut puts = Vec::with_capacity(some.len());
            for update in some {
                let key = self.key(self.aside);
                self.aside += 1;
                puts.push((key, encode(update)?));
            }
            self.store.kv.apply(&puts, &[])?;
        }
        Ok(())
    }

    fn key(&self, number: u64) -> Vec<u8> {
        [&self.prefix[..], &number.to_be_bytes()].concat()
    }

    /// Writes everything; durable on return. With `only`, profiles of other ids are removed.
    pub(crate) fn finish(mut self, only: bool) -> Result<Applied, ProfileError> {
        let mut applied = Applied::default();
        loop {
            let some = self.store.kv.scan(&self.prefix, None, BLOCK)?;
            if some.is_empty() {
                break;
            }
            let updates = some.iter().map(|(_, value)| decode(value));
            let updates = updates.collect::<Result<Vec<_>, _>>()?;
            let keys = some.into_iter().map(|(key, _)| key).collect();
            applied += self.store.apply(updates, keys)?;
        }
        self.aside = 0;
        let mut waiting = std::mem::take(&mut self.waiting).into_iter().peekable();
        while waiting.peek().is_some() {
            let some = waiting.by_ref().take(BLOCK).collect();
            applied += self.store.apply(some, Vec::new())?;
        }
        if only {
            applied += self.remove_others()?;
        }
        self.store.kv.flush()?;
        Ok(applied)
    }

    fn remove_others(&self) -> Result<Applied, ProfileError> {
        let mut applied = Applied::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let prefix = record::profile_key("");
            let some = self.store.kv.scan(&prefix, after.as_deref(), BLOCK)?;
            let Some((last, _)) = some.last() else { return Ok(applied) };
            after = Some(last.clone());
            let mut others = Vec::new();
            for (key, _) in &some {
                let id = record::id_of(key)?;
                if !self.ids.contains(&digest(id)) {
                    others.push(id.to_owned());
                }
            }
            applied += self.store.remove_block(&others)?;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.aside > 0 {
            // What cannot be removed now is removed when the store is opened again.
            let _ = clear(&*self.store.kv, &self.prefix);
        }
    }
}

/// Removes what loads left behind that never ended.
pub(super) fn sweep(kv: &dyn Kv) -> Result<(), ProfileError> {
    clear(kv, &[LOAD_PREFIX])
}

fn clear(kv: &dyn Kv, prefix: &[u8]) -> Result<(), ProfileError> {
    loop {
        let some = kv.scan(prefix, None, BLOCK)?;
        if some.is_empty() {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = some.into_iter().map(|(key, _)| key).collect();
        kv.apply(&[], &keys)?;
    }
}

fn digest(id: &str) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&Sha256::digest(id)[..16]);
    first
}

fn encode(update: &ProfileUpdate) -> Result<Vec<u8>, ProfileError> {
    serde_json::to_vec(update)
        .map_err(|error| ProfileError::Damaged { id: update.id.clone(), what: error.to_string() })
}

fn decode(value: &[u8]) -> Result<ProfileUpdate, ProfileError> {
    serde_json::from_slice(value)
        .map_err(|error| ProfileError::Damaged { id: "?".to_owned(), what: error.to_string() })
}
