//! How much goes on at once, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::time::Timestamp;

/// How many runs of a DAG are under way at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Concurrency {
    /// At most so many of those that have the same key.
    pub limit: u32,
    /// What becomes of one more.
    pub overlap: Overlap,
    /// Gives the key of a run; without it, all runs of the DAG have the same.
    pub key: Option<Expr>,
}

/// What becomes of a run when as many as may be are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It waits until one of them has ended.
    #[default]
    Queue,
    /// It is cancelled, and says why.
    Skip,
    /// The oldest are cancelled, and it begins when they have ended.
    Replace,
}

impl Overlap {
    /// Reads the word of a DAG file.
    pub fn parse(word: &str) -> Option<Self> {
        [("queue", Self::Queue), ("skip", Self::Skip), ("replace", Self::Replace)]
            .into_iter()
            .find_map(|(name, overlap)| (name == word).then_some(overlap))
    }
}

/// How often attempts of a task may begin: so many in any span of this length, over all runs. One
/// that comes too early waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many.
    pub limit: u32,
    /// In this time.
    pub per: Duration,
}

/// A span is counted in so many parts.
const PARTS: u32 = 60;

impl Rate {
    /// The length of a part in which beginnings are counted together.
    pub fn part(&self) -> Duration {
        (self.per / PARTS).max(Duration::from_millis(1))
    }

    /// When the next attempt may begin, after those that have: `now`, if that is at once.
    pub fn next(&self, pace: &Pace, now: Timestamp) -> Timestamp {
        // Where in its part an attempt began is not known: the whole part has to be out of the span.
        let over = |part: Timestamp| part.plus(self.part()).plus(self.per);
        // What is in the future began before the clock was put back: nobody waits for it again.
        let counts = |(part, _): &&(Timestamp, u32)| *part <= now && over(*part) > now;
        let counted: Vec<&(Timestamp, u32)> = pace.0.iter().filter(counts).collect();
        let mut count: u64 = counted.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut at = now;
        for (part, of_part) in counted {
            if count < u64::from(self.limit) {
                break;
            }
            count -= u64::from(*of_part);
            at = over(*part);
        }
        at
    }
}

/// When attempts of a task have begun, as far as that counts: how many in each part of the span.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pace(Vec<(Timestamp, u32)>);

impl Pace {
    /// Another one begins; `part` is that of its rate.
    pub fn begin(&mut self, part: Duration, at: Timestamp) {
        let micros = i64::try_from(part.as_micros()).unwrap_or(i64::MAX).max(1);
        let begin = Timestamp::from_micros(at.as_micros().div_euclid(micros) * micros);
        match self.0.iter_mut().find(|(part, _)| *part == begin) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.0.push((begin, 1)),
        }
        let oldest = begin.minus(part * (PARTS + 1));
        self.0.retain(|(part, _)| (oldest..=begin).contains(part));
        self.0.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever comes when, no span of the length holds more; and nothing waits without need.
    #[test]
    fn no_span_holds_more_than_its_limit() {
        let rate = Rate { limit: 7, per: Duration::from_secs(10) };
        let (mut pace, mut begun) = (Pace::default(), Vec::new());
        let mut now = Timestamp::from_micros(1_000_000_000_000_000);
        for step in 0..2_000_u64 {
            now = now.plus(Duration::from_millis(step * step * 7_919 % 613));
            let next = rate.next(&pace, now);
            let inside = begun.iter().filter(|at: &&Timestamp| at.plus(rate.per) > now).count();
            if next > now {
                // Seven are in the span, or were a part of it ago.
                let near = rate.per + 2 * rate.part();
                let close = begun.iter().filter(|at| at.plus(near) > now).count();
                assert!(close >= 7, "{close} at step {step}");
                assert!(next <= now.plus(near));
                now = next;
                assert_eq!(rate.next(&pace, now), now);
            } else {
                assert!(inside < 7, "{inside} at step {step}");
            }
            pace.begin(rate.part(), now);
            begun.push(now);
            let inside = begun.iter().filter(|at| at.plus(rate.per) > now).count();
            assert!(inside <= 7, "{inside} at step {step}");
        }
        assert!(pace.0.len() <= 62);
    }
}
