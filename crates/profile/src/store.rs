//! [`ProfileStore`]: profiles by id and by identity.
//!
//! * `record`: what a stored profile looks like; `apply`: what a load makes of a profile;
//! * [`Object`]: the object, with values as they were written; `cache`: profiles in memory; `load`: many profiles, from the first row to the last.
//!
//! A profile is a JSON object. It is serialized once, when it is written, and read as those bytes.
//! Its last key is `meta`, which is the store's: `version` counts the changes of the profile, from
//! 1, `updated_at` is the time of the last one, and a load may add more. A write that changes
//! nothing leaves the bytes as they are.

mod apply;
mod cache;
mod load;
mod object;
mod record;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tidemill_connector::ConnectorError;
use tidemill_store::StoreError;
use tidemill_store::kv::{Kv, Pair};

pub use apply::ProfileUpdate;
use cache::Cache;
pub(crate) use load::Load;
pub use object::Object;
use record::{COUNT_KEY, Record};
pub use record::{ID_BYTES_MAX, IDENTITY_BYTES_MAX, PROFILE_BYTES_MAX};

/// Why profiles cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The store below.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The id is empty or too long.
    #[error("an id has 1 to {ID_BYTES_MAX} bytes, not {bytes}")]
    BadId {
        /// The size of what was given.
        bytes: usize,
    },
    /// An identity is not `type:value`, is too long, or holds a zero byte.
    #[error(
        "`{identity}` is no identity: it is written `type:value` and has at most {IDENTITY_BYTES_MAX} bytes"
    )]
    BadIdentity {
        /// The first 100 characters of it.
        identity: String,
    },
    /// The profile is too large. Nothing of it is stored.
    #[error("the profile `{id}` would have {bytes} bytes, at most {PROFILE_BYTES_MAX} are stored")]
    TooLarge {
        /// Its id.
        id: String,
        /// Its size as JSON.
        bytes: usize,
    },
    /// What is stored is no profile.
    #[error("the stored profile `{id}` is damaged: {what}; load it again")]
    Damaged {
        /// Its id.
        id: String,
        /// What is wrong.
        what: String,
    },
}

impl From<ProfileError> for ConnectorError {
    fn from(error: ProfileError) -> Self {
        match &error {
            ProfileError::Store(StoreError::Full { .. }) => Self::retryable(error.to_string()),
            ProfileError::Store(_) | ProfileError::Damaged { .. } => {
                Self::internal(error.to_string())
            }
            ProfileError::BadId { .. }
            | ProfileError::BadIdentity { .. }
            | ProfileError::TooLarge { .. } => Self::data(error.to_string()),
        }
    }
}

/// How a [`ProfileStore`] is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// Profiles in memory, in bytes. While all fit, every profile is read from the store below at
    /// most once.
    pub cache_bytes: usize,
    /// Rows of a load that wait in memory for its end, in bytes; more wait in the store below.
    pub load_bytes: usize,
    /// The clock, for `updated_at`.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 256 * 1024 * 1024,
            load_bytes: 32 * 1024 * 1024,
            clock: Arc::new(SystemTime::now),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("load_bytes", &self.load_bytes)
            .finish_non_exhaustive()
    }
}

/// A profile as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProfile {
    /// Its id.
    pub id: String,
    /// The JSON object.
    pub json: Bytes,
    /// Changes exactly when the object does; 32 hexadecimal digits.
    pub etag: String,
}

/// Some profiles, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfilePage {
    /// The profiles.
    pub profiles: Vec<StoredProfile>,
    /// Ask with this as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Profiles that are new or have changed.
    pub changed: u64,
    /// Profiles that were the same already.
    pub unchanged: u64,
    /// Profiles that are gone.
    pub removed: u64,
    /// The size of the changed and unchanged profiles as JSON.
    pub bytes: u64,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.removed += other.removed;
        self.bytes += other.bytes;
    }
}

/// Profiles that are put into the store below at a time.
const BLOCK: usize = 256;

/// Profiles by id and by identity. Any thread may call; a read from memory takes about a
/// microsecond, every other call may block on disk.
pub struct ProfileStore {
    kv: Arc<dyn Kv>,
    options: StoreOptions,
    cache: Cache,
    count: AtomicU64,
    /// One write at a time: each reads what it is going to replace.
    writing: Mutex<()>,
    loads: AtomicU64,
}

impl fmt::Debug for ProfileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileStore").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl ProfileStore {
    /// Opens the profiles that lie in `kv`, which holds nothing else. What a load left behind that
    /// a crash cut short is removed.
    pub fn open(kv: Arc<dyn Kv>, options: StoreOptions) -> Result<Self, ProfileError> {
        load::sweep(&*kv)?;
        let count = match kv.get(COUNT_KEY)? {
            Some(bytes) => record::read_count(&bytes)?,
            None => kv.len_prefix(&record::profile_key(""))? as u64,
        };
        Ok(Self {
            cache: Cache::new(options.cache_bytes),
            count: AtomicU64::new(count),
            writing: Mutex::default(),
            loads: AtomicU64::new(0),
            kv,
            options,
        })
    }

    /// A profile by its id.
    pub fn get(&self, id: &str) -> Result<Option<StoredProfile>, ProfileError> {
        if record::check_id(id).is_err() {
            return Ok(None);
        }
        if let Some(record) = self.cache.get(id) {
            return Ok(Some(record.served(id)));
        }
        let seen = self.cache.writes();
        let Some(record) = self.read(id)? else { return Ok(None) };
        self.cache.fill(id, record.clone(), seen);
        Ok(Some(record.served(id)))
    }

    /// A profile by one of its identities, written `type:value`. Of several profiles with this
    /// identity it is the one whose id comes first.
    pub fn get_by_identity(&self, identity: &str) -> Result<Option<StoredProfile>, ProfileError> {
        if record::check_identity(identity).is_err() {
            return Ok(None);
        }
        let prefix = record::identity_key(identity, "");
        let found = self.kv.scan(&prefix, None, 1)?;
        let Some((key, _)) = found.first() else { return Ok(None) };
        let id = std::str::from_utf8(&key[prefix.len()..]).unwrap_or_default();
        self.get(id)
    }

    /// Profiles in the order of their ids, after the id `after`, at most `limit`.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Result<ProfilePage, ProfileError> {
        let after = after.map(record::profile_key);
        // One more tells whether there is a next page.
        let pairs =
            self.kv.scan(&record::profile_key(""), after.as_deref(), limit.saturating_add(1))?;
        let more = pairs.len() > limit;
        let mut profiles = Vec::with_capacity(pairs.len());
        for (key, value) in pairs.iter().take(limit) {
            let id = record::id_of(key)?;
            profiles.push(Record::decode(id, value)?.served(id));
        }
        let next = profiles.last().filter(|_| more).map(|last| last.id.clone());
        Ok(ProfilePage { profiles, next })
    }

    /// How many profiles there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Writes profiles; durable on return. Readers may see them a moment before.
    pub fn upsert(&self, updates: Vec<ProfileUpdate>) -> Result<Applied, ProfileError> {
        let mut applied = Applied::default();
        let mut updates = updates.into_iter().peekable();
        while updates.peek().is_some() {
            applied += self.apply(updates.by_ref().take(BLOCK).collect(), Vec::new())?;
        }
        self.kv.flush()?;
        Ok(applied)
    }

    /// Removes profiles and their identities; durable on return.
    pub fn remove(&self, ids: &[String]) -> Result<Applied, ProfileError> {
        let mut applied = Applied::default();
        for some in ids.chunks(BLOCK) {
            applied += self.remove_block(some)?;
        }
        self.kv.flush()?;
        Ok(applied)
    }

    fn read(&self, id: &str) -> Result<Option<Arc<Record>>, ProfileError> {
        let bytes = self.kv.get(&record::profile_key(id))?;
        bytes.map(|bytes| Record::decode(id, &bytes).map(Arc::new)).transpose()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a block of updates as one; `deletes` are further keys to remove with it.
    fn apply(
        &self,
        updates: Vec<ProfileUpdate>,
        deletes: Vec<Vec<u8>>,
    ) -> Result<Applied, ProfileError> {
        let _writing = self.lock();
        let now = record::instant((self.options.clock)());
        let mut change = Change { deletes, ..Change::default() };
        for update in updates {
            let old = match change.pending(&update.id) {
                Some(pending) => Some(pending),
                None => self.read(&update.id)?,
            };
            let id = update.id.clone();
            match apply::apply(update, old.as_deref(), &now)? {
                None => {
                    change.applied.unchanged += 1;
                    change.applied.bytes += old.map_or(0, |old| old.json.len() as u64);
                }
                Some(new) => change.put(id, old.as_deref(), new),
            }
        }
        self.commit(change)
    }

    fn remove_block(&self, ids: &[String]) -> Result<Applied, ProfileError> {
        let _writing = self.lock();
        let mut change = Change::default();
        for id in ids {
            if let Some(old) = self.read(id)? {
                change.remove(id.clone(), &old);
            }
        }
        self.commit(change)
    }

    fn commit(&self, change: Change) -> Result<Applied, ProfileError> {
        let Change { mut puts, deletes, records, added, applied } = change;
        let count = self.count().saturating_add(added).saturating_sub(applied.removed);
        puts.push((COUNT_KEY.to_vec(), count.to_le_bytes().to_vec()));
        self.kv.apply(&puts, &deletes)?;
        self.cache.write(records);
        self.count.store(count, Ordering::Release);
        Ok(applied)
    }
}

/// Changes that are put together before they are applied as one.
#[derive(Debug, Default)]
struct Change {
    puts: Vec<Pair>,
    deletes: Vec<Vec<u8>>,
    /// What readers see afterwards.
    records: Vec<(String, Option<Arc<Record>>)>,
    added: u64,
    applied: Applied,
}

impl Change {
    /// The record that an earlier update of the same change gave this profile.
    fn pending(&self, id: &str) -> Option<Arc<Record>> {
        let last = self.records.iter().rev().find(|(other, _)| other == id);
        last.and_then(|(_, record)| record.clone())
    }

    fn put(&mut self, id: String, old: Option<&Record>, new: Record) {
        let (before, after) = (old.map(Record::identities).unwrap_or_default(), new.identities());
        for gone in before.iter().filter(|identity| !after.contains(identity)) {
            self.deletes.push(record::identity_key(gone, &id));
        }
        for here in after.iter().filter(|identity| !before.contains(identity)) {
            let key = record::identity_key(here, &id);
            self.deletes.retain(|other| *other != key);
            self.puts.push((key, Vec::new()));
        }
        self.puts.push((record::profile_key(&id), new.encode()));
        self.applied.changed += 1;
        self.applied.bytes += new.json.len() as u64;
        self.added += u64::from(old.is_none());
        self.records.push((id, Some(Arc::new(new))));
    }

    fn remove(&mut self, id: String, old: &Record) {
        for identity in old.identities() {
            self.deletes.push(record::identity_key(&identity, &id));
        }
        self.deletes.push(record::profile_key(&id));
        self.applied.removed += 1;
        self.records.push((id, None));
    }
}
