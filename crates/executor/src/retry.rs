//! Patience inside an attempt: short retries of calls whose error says that they may be repeated.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use tidemill_connector::{ConnectorError, ErrorKind};

use crate::flag::StopFlag;
use crate::logs::AttemptLog;

/// Calls that are made in all before an error is passed on.
const CALLS_MAX: u32 = 5;

/// The longest wait that another side may ask for; a longer one is left to the task's own retry.
const ASKED_WAIT_MAX: Duration = Duration::from_mins(5);

/// The waits between the calls of one connector operation.
pub(crate) struct Patience {
    calls: u32,
    waits: backoff::ExponentialBackoff,
}

impl Patience {
    pub(crate) fn new() -> Self {
        let waits = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(500))
            .with_multiplier(2.0)
            .with_max_interval(Duration::from_secs(30))
            // Without this, work that takes longer than 15 minutes is never repeated.
            .with_max_elapsed_time(None)
            .build();
        Self { calls: 1, waits }
    }

    /// Waits before the call is repeated, or gives the error back when it should not be.
    pub(crate) async fn after(
        &mut self,
        what: &str,
        error: ConnectorError,
        log: &AttemptLog,
        stop: &StopFlag,
    ) -> Result<(), ConnectorError> {
        let ErrorKind::Retryable { after } = error.kind else { return Err(error) };
        if self.calls >= CALLS_MAX || after.is_some_and(|wait| wait > ASKED_WAIT_MAX) {
            return Err(error);
        }
        self.calls += 1;
        let own = self.waits.next_backoff().unwrap_or(Duration::from_secs(30));
        // What the other side asked for is a floor; a share on top keeps clients apart.
        let wait = after.map_or(own, |asked| asked + own / 4);
        log.note(&format!(
            "{what}: {error}; call {} of {CALLS_MAX} in {:.1} s",
            self.calls,
            wait.as_secs_f64()
        ));
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = stop.raised() => Err(ConnectorError::cancelled()),
        }
    }
}

/// Makes a call until it succeeds, must not be repeated, or the attempt should stop.
macro_rules! patiently {
    ($what:expr, $log:expr, $stop:expr, $call:expr) => {{
        let mut patience = $crate::retry::Patience::new();
        loop {
            match $stop.unless($call).await {
                Ok(value) => break Ok(value),
                Err(error) => {
                    if let Err(error) = patience.after($what, error, $log, $stop).await {
                        break Err(error);
                    }
                }
            }
        }
    }};
}
pub(crate) use patiently;
