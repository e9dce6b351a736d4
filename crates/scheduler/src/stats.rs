//! What the scheduler's thread has done, as numbers that never stop growing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidemill_model::{Event, RunEvent};

/// Upper bounds of the commit latency histogram, in microseconds.
pub const COMMIT_BUCKETS_US: [u64; 10] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000, 1_000_000];

/// Counters since the start. Readers may see them slightly apart from each other.
#[derive(Debug, Default)]
pub struct Stats {
    /// Commits.
    pub commits: AtomicU64,
    /// Events committed.
    pub events: AtomicU64,
    /// Attempts that ended.
    pub attempts: AtomicU64,
    /// Runs that ended.
    pub runs: AtomicU64,
    /// Reports refused for an old token.
    pub refused_reports: AtomicU64,
    /// Commits by latency: one count for each bound of [`COMMIT_BUCKETS_US`], and one above.
    pub commit_buckets: [AtomicU64; 11],
    /// All commit latencies together, in microseconds.
    pub commit_us: AtomicU64,
    /// The disk is full: a commit is being tried again and nothing is acknowledged meanwhile.
    pub disk_full: AtomicBool,
}

impl Stats {
    pub(crate) fn committed(&self, events: &[Event], took: Duration) {
        let count = |wanted: fn(&RunEvent) -> bool| {
            events.iter().filter(|e| matches!(e, Event::Run(_, e) if wanted(e))).count() as u64
        };
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = COMMIT_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(10);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.commit_buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.commit_us.fetch_add(us, Ordering::Relaxed);
        self.attempts.fetch_add(
            count(|e| {
                matches!(
                    e,
                    RunEvent::AttemptSucceeded { .. }
                        | RunEvent::AttemptFailed { .. }
                        | RunEvent::AttemptSkipped { .. }
                        | RunEvent::AttemptCancelled { .. }
                        | RunEvent::AttemptLost { .. }
                )
            }),
            Ordering::Relaxed,
        );
        self.runs.fetch_add(count(|e| matches!(e, RunEvent::Finished { .. })), Ordering::Relaxed);
    }
}
