//! `Idempotency-Key`: a request that is sent again gives the run that the first one gave.
//!
//! Keys are remembered while the server runs; a client that must know across a restart looks the
//! run up by its params.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::HeaderMap;
use tidemill_model::RunId;
use tokio::sync::Mutex;

use crate::error::{ApiError, ErrorCode};

/// Keys that are remembered.
const KEYS_MAX: usize = 10_000;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 128;

/// Remembered keys.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Known>);

#[derive(Default)]
struct Known {
    runs: HashMap<String, (u64, RunId)>,
    order: VecDeque<String>,
}

/// The key of a request.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or("");
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        let detail = format!("`Idempotency-Key` must have 1 to {KEY_BYTES_MAX} visible characters");
        return Err(ApiError::bad_request(detail));
    }
    Ok(Some(text.to_owned()))
}

/// A number for a request's content.
pub(crate) fn digest(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

impl Keys {
    /// The run of a key, made by `start` when the key is new. Requests with keys start runs one
    /// after the other, so that two of the same key cannot both start one. Only successes are
    /// remembered: what was refused may be sent again.
    pub(crate) async fn once(
        &self,
        key: Option<String>,
        content: u64,
        start: impl Future<Output = Result<RunId, ApiError>>,
    ) -> Result<RunId, ApiError> {
        let Some(key) = key else { return start.await };
        let mut known = self.0.lock().await;
        match known.runs.get(&key) {
            Some((same, run)) if *same == content => return Ok(run.clone()),
            Some(_) => {
                let detail = format!("the key `{key}` was used for another request");
                return Err(ApiError::new(ErrorCode::Conflict, detail).help("use a new key"));
            }
            None => {}
        }
        let run = start.await?;
        if known.order.len() >= KEYS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.runs.remove(&oldest);
        }
        known.order.push_back(key.clone());
        known.runs.insert(key, (content, run.clone()));
        Ok(run)
    }
}
