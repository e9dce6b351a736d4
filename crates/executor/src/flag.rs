//! Why an attempt should stop, seen from async and from blocking code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tidemill_connector::ConnectorError;
use tokio_util::sync::CancellationToken;

/// Why an attempt should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An operator's word.
    Cancel,
    /// Its time is over.
    Timeout,
    /// The process is being shut down.
    Shutdown,
}

/// Raised once; the first reason stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFlag {
    reason: Arc<AtomicU8>,
    /// Whether a supervisor does the work, which can go on without this process.
    supervised: Arc<AtomicBool>,
    token: CancellationToken,
}

impl StopFlag {
    /// Asks the attempt to stop.
    pub(crate) fn raise(&self, stop: Stop) {
        let code = match stop {
            Stop::Cancel => 1,
            Stop::Timeout => 2,
            Stop::Shutdown => 3,
        };
        let _ = self.reason.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        self.token.cancel();
    }

    /// From now on a supervisor does the work.
    pub(crate) fn supervised(&self) {
        self.supervised.store(true, Ordering::SeqCst);
    }

    /// Whether a supervisor does the work.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervised.load(Ordering::SeqCst)
    }

    /// Why it should stop, if it should.
    pub(crate) fn reason(&self) -> Option<Stop> {
        match self.reason.load(Ordering::SeqCst) {
            1 => Some(Stop::Cancel),
            2 => Some(Stop::Timeout),
            3 => Some(Stop::Shutdown),
            _ => None,
        }
    }

    /// An error when it should stop: blocking code asks between batches.
    pub(crate) fn check(&self) -> Result<(), ConnectorError> {
        if self.token.is_cancelled() { Err(ConnectorError::cancelled()) } else { Ok(()) }
    }

    /// The outcome of a call, unless it should stop first: then the call is dropped.
    pub(crate) async fn unless<T>(
        &self,
        call: impl Future<Output = Result<T, ConnectorError>>,
    ) -> Result<T, ConnectorError> {
        tokio::select! {
            biased;
            done = call => done,
            () = self.raised() => Err(ConnectorError::cancelled()),
        }
    }

    /// Resolves when it should stop.
    pub(crate) async fn raised(&self) {
        self.token.cancelled().await;
    }
}
