//! When a failed attempt is tried again: a pure function of the policy and the attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::RunId;

/// How often and how patiently a task is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries after the first one.
    pub limit: u32,
    /// The wait before the first retry.
    pub delay: Duration,
    /// What each further wait is multiplied by.
    pub factor: f64,
    /// No wait is longer, jitter aside.
    pub max_delay: Duration,
    /// The share of a wait that chance may add or take, from 0 to 1.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// No retries; when a DAG gives only a limit: 10 s, doubled up to 10 min, ± 20 %.
    fn default() -> Self {
        Self {
            limit: 0,
            delay: Duration::from_secs(10),
            factor: 2.0,
            max_delay: Duration::from_mins(10),
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// The wait before retry `n` (1, 2, …) of a task:
    /// `min(max_delay, delay × factor^(n−1))`, ± the jitter share.
    ///
    /// The share is drawn from a hash of (dag, run, task, n), so that a replay waits as long.
    pub fn wait(&self, run: &RunId, task: &str, n: u32) -> Duration {
        let exponent = f64::from(n.saturating_sub(1));
        // Nothing times infinity is no number.
        if self.delay.is_zero() {
            return Duration::ZERO;
        }
        let plain = (self.delay.as_secs_f64() * self.factor.max(0.0).powf(exponent))
            .min(self.max_delay.as_secs_f64());
        let share = self.jitter.clamp(0.0, 1.0) * (2.0 * draw(run, task, n) - 1.0);
        let seconds = plain * (1.0 + share);
        // A wait of milliseconds keeps the stored instants readable.
        Duration::from_millis((seconds * 1_000.0).round().clamp(0.0, 1e15) as u64)
    }
}

/// However long another side asks to wait, a task is tried again after so long.
pub const ASKED_WAIT_MAX: Duration = Duration::from_hours(24);

/// The wait of a task whose policy says `own` when the other side asked for `asked`: the longer of
/// the two, but for its wish no longer than [`ASKED_WAIT_MAX`].
pub fn asked_wait(own: Duration, asked: Option<Duration>) -> Duration {
    asked.map_or(own, |asked| own.max(asked.min(ASKED_WAIT_MAX)))
}

/// A number in [0, 1) that depends on nothing but its arguments.
fn draw(run: &RunId, task: &str, n: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(run.dag.as_str());
    hash.update([0]);
    hash.update(run.number.to_be_bytes());
    hash.update(task);
    hash.update([0]);
    hash.update(n.to_be_bytes());
    let digest = hash.finalize();
    let bits = digest.iter().take(6).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    bits as f64 / (1_u64 << 48) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(policy: RetryPolicy, n: u32) -> Vec<u64> {
        let run = RunId { dag: "d".parse().expect("a name"), number: 1 };
        let task = "t";
        (1..=n).map(|n| policy.wait(&run, task, n).as_millis() as u64).collect()
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let policy = RetryPolicy {
            delay: Duration::from_mins(1),
            max_delay: Duration::from_mins(3),
            jitter: 0.0,
            ..Default::default()
        };
        assert_eq!(waits(policy, 4), [60_000, 120_000, 180_000, 180_000]);
    }

    #[test]
    fn factor_one_is_constant() {
        let policy = RetryPolicy {
            delay: Duration::from_secs(1),
            factor: 1.0,
            jitter: 0.0,
            ..Default::default()
        };
        assert_eq!(waits(policy, 3), [1_000, 1_000, 1_000]);
    }

    #[test]
    fn jitter_stays_in_its_share_and_repeats() {
        let policy = RetryPolicy {
            delay: Duration::from_secs(10),
            factor: 1.0,
            jitter: 0.2,
            ..Default::default()
        };
        let waits_once = waits(policy, 200);
        assert_eq!(waits_once, waits(policy, 200));
        assert!(waits_once.iter().all(|w| (8_000..=12_000).contains(w)));
        assert!(waits_once.iter().min() < Some(&8_500) && waits_once.iter().max() > Some(&11_500));
    }

    #[test]
    fn what_the_other_side_asks_is_a_floor_with_a_ceiling() {
        let check = |own: u64, asked: Option<u64>, seconds: u64| {
            let wait = asked_wait(Duration::from_secs(own), asked.map(Duration::from_secs));
            assert_eq!(wait, Duration::from_secs(seconds));
        };
        check(10, None, 10);
        check(10, Some(0), 10);
        check(10, Some(600), 600);
        check(700, Some(600), 700);
        check(10, Some(86_400), 86_400);
        check(10, Some(u64::MAX), 86_400);
        check(100_000, Some(u64::MAX), 100_000);
    }

    #[test]
    fn try_fifty_thousand_does_not_overflow() {
        let policy = RetryPolicy { jitter: 0.0, ..Default::default() };
        let run = RunId { dag: "d".parse().expect("a name"), number: 1 };
        let wait = policy.wait(&run, "t", 50_000);
        assert_eq!(wait, Duration::from_mins(10));
    }
}
