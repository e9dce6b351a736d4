//! Results that tasks with `cache` use again: in a store of their own, which is opened when the
//! first of them asks, and may be thrown away at any time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tidemill_executor::Results;
use tidemill_model::Timestamp;
use tidemill_store::StoreError;
use tidemill_store::kv::{Kv, KvOptions, SledKv};

/// How many entries are looked at in one step of a sweep.
const SWEEP_STEP: usize = 1_000;

/// Bytes of memory for what was read last.
const CACHE_BYTES: u64 = 4 << 20;

/// The results of a home.
pub(crate) struct KeptResults {
    folder: PathBuf,
    kv: Mutex<Opened>,
}

#[derive(Default)]
enum Opened {
    #[default]
    NotYet,
    Open(std::sync::Arc<SledKv>),
    /// It does not open; that was told.
    Broken,
}

impl KeptResults {
    /// Results in a folder, which need not be there yet.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, kv: Mutex::default() }
    }

    fn kv(&self) -> Option<std::sync::Arc<SledKv>> {
        let mut opened = self.kv.lock().unwrap_or_else(PoisonError::into_inner);
        if let Opened::NotYet = *opened {
            let options = KvOptions { cache_bytes: CACHE_BYTES, ..KvOptions::default() };
            *opened = match SledKv::open_or_move_aside(&self.folder, options) {
                Ok((kv, notes)) => {
                    for note in notes {
                        tracing::warn!("{note}");
                    }
                    Opened::Open(std::sync::Arc::new(kv))
                }
                Err(error) => {
                    tracing::error!(%error, "results cannot be used again: `cache` has no effect");
                    Opened::Broken
                }
            };
        }
        match &*opened {
            Opened::Open(kv) => Some(std::sync::Arc::clone(kv)),
            _ => None,
        }
    }

    /// Removes what is too old; gives how many.
    pub(crate) fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        if !self.folder.exists() {
            return Ok(0);
        }
        let Some(kv) = self.kv() else { return Ok(0) };
        let (mut after, mut removed) = (None::<Vec<u8>>, 0);
        loop {
            let pairs = kv.scan(b"", after.as_deref(), SWEEP_STEP)?;
            let Some((last, _)) = pairs.last() else { return Ok(removed) };
            after = Some(last.clone());
            let old = pairs.iter().filter(|(_, value)| expiry(value).is_none_or(|at| at < now));
            let old: Vec<Vec<u8>> = old.map(|(key, _)| key.clone()).collect();
            kv.apply(&[], &old)?;
            removed += old.len();
        }
    }
}

/// When a value expires: its first eight bytes.
fn expiry(value: &[u8]) -> Option<Timestamp> {
    let (at, _) = value.split_first_chunk::<8>()?;
    Some(Timestamp::from_micros(i64::from_be_bytes(*at)))
}

impl Results for KeptResults {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let value = self.kv()?.get(key.as_bytes()).inspect_err(told).ok()??;
        Some(value.get(8..)?.to_vec())
    }

    fn put(&self, key: &str, value: &[u8], expires: Timestamp) {
        let Some(kv) = self.kv() else { return };
        let value = [&expires.as_micros().to_be_bytes(), value].concat();
        let put = kv.apply(&[(key.as_bytes().to_vec(), value)], &[]);
        // What a task took minutes for shall outlast the process; a sync is small beside that.
        let _ = put.and_then(|()| kv.flush()).inspect_err(told);
    }
}

fn told(error: &StoreError) {
    tracing::warn!(%error, "an earlier result cannot be used again");
}
