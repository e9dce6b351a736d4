//! Each time that a span is over.
//!
//! A span of whole days follows the clocks of the zone: `every: 1d` from 09:00 is at 09:00 on both
//! sides of a clock change. Any other span is real time: `every: 36h` is always 36 hours.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::zone;
use crate::time::Timestamp;

/// A day, in seconds.
const DAY: u64 = 86_400;

/// A span, and the instant that it counts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Every {
    span: Duration,
    from: Timestamp,
    zone: Tz,
}

/// How a span is counted.
enum Count {
    /// In so many microseconds.
    Real(i64),
    /// In so many days, from this local time.
    Days(u64, NaiveDateTime),
}

impl Every {
    /// Counts from `start`, or else from midnight of the first day of 1970 in the zone: every 15
    /// minutes is at a quarter past. `None` for a span of less than a second, or of none.
    pub fn new(span: Duration, start: Option<Timestamp>, zone: Tz) -> Option<Self> {
        let midnight = || zone::instant_of(NaiveDateTime::default(), zone);
        let from = start.unwrap_or_else(|| midnight().into());
        (span >= Duration::from_secs(1)).then_some(Self { span, from, zone })
    }

    /// The span.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// The first tick after an instant; `None` where time ends.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut step = self.steps_until(instant).max(-1) - 1;
        loop {
            step += 1;
            let tick = self.tick(step.max(0))?;
            if tick > instant {
                return Some(tick);
            }
        }
    }

    /// The last tick at or before an instant; `None` before the first.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut step = self.steps_until(instant).checked_add(1)?;
        while step >= 0 {
            if let Some(tick) = self.tick(step).filter(|tick| *tick <= instant) {
                return Some(tick);
            }
            step -= 1;
        }
        None
    }

    fn count(&self) -> Count {
        let seconds = self.span.as_secs();
        if self.span.subsec_nanos() == 0 && seconds.is_multiple_of(DAY) {
            let local = zone::local(self.from.to_utc(), self.zone);
            return Count::Days(seconds / DAY, local);
        }
        Count::Real(i64::try_from(self.span.as_micros()).unwrap_or(i64::MAX))
    }

    /// About how many spans are over; a clock change may make one of days off by one.
    fn steps_until(&self, instant: Timestamp) -> i64 {
        let (from, to) = (self.from.to_utc(), instant.to_utc());
        match self.count() {
            Count::Real(micros) => {
                (to - from).num_microseconds().map_or(0, |passed| passed.div_euclid(micros))
            }
            Count::Days(days, start) => {
                let passed = zone::local(to, self.zone) - start;
                passed.num_days().div_euclid(i64::try_from(days).unwrap_or(i64::MAX))
            }
        }
    }

    fn tick(&self, step: i64) -> Option<Timestamp> {
        match self.count() {
            Count::Real(micros) => {
                let passed = TimeDelta::microseconds(micros.checked_mul(step)?);
                let tick: DateTime<Utc> = self.from.to_utc().checked_add_signed(passed)?;
                Some(tick.into())
            }
            Count::Days(days, start) => {
                let days = days.checked_mul(u64::try_from(step).ok()?)?;
                let local = start.checked_add_days(Days::new(days))?;
                Some(zone::instant_of(local, self.zone).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn every(span: u64, start: Option<&str>, zone: Tz) -> Every {
        Every::new(Duration::from_secs(span), start.map(at), zone).expect("a span")
    }

    fn check(every: &Every, from: &str, expected: &[&str]) {
        let mut now = at(from);
        for tick in expected {
            let next = every.next_after(now).expect("a tick");
            assert_eq!(next.to_string(), *tick, "after {now}");
            assert_eq!(every.previous(next), Some(next));
            // Nothing is due in between.
            let before = every.previous(next.minus(Duration::from_micros(1)));
            assert!(before.is_none_or(|before| before <= now), "{before:?}");
            now = next;
        }
    }

    #[test]
    fn quarters_of_an_hour_are_those_of_the_clock() {
        let quarters = every(900, None, Tz::Asia__Kathmandu);
        check(&quarters, "2026-01-01T00:01:00Z", &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]);
    }

    #[test]
    fn days_keep_the_time_of_the_day_hours_do_not() {
        let zone = Tz::America__New_York;
        let days = every(86_400, Some("2026-10-30T13:00:00Z"), zone);
        check(
            &days,
            "2026-10-30T13:00:00Z",
            &["2026-10-31T13:00:00Z", "2026-11-01T14:00:00Z", "2026-11-02T14:00:00Z"],
        );
        let hours = every(36 * 3_600, Some("2026-10-30T13:00:00Z"), zone);
        check(&hours, "2026-10-30T13:00:00Z", &["2026-11-01T01:00:00Z", "2026-11-02T13:00:00Z"]);
    }

    #[test]
    fn a_day_in_a_gap_comes_after_it() {
        let days = every(86_400, Some("2027-03-27T01:30:00Z"), Tz::Europe__Zurich);
        check(&days, "2027-03-27T01:30:00Z", &["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
    }

    #[test]
    fn nothing_comes_before_the_start() {
        let hours = every(3_600, Some("2026-01-01T10:30:00Z"), Tz::UTC);
        assert_eq!(hours.next_after(at("2025-01-01T00:00:00Z")), Some(at("2026-01-01T10:30:00Z")));
        assert_eq!(hours.previous(at("2026-01-01T10:29:59Z")), None);
        assert_eq!(hours.previous(at("2026-01-01T11:31:00Z")), Some(at("2026-01-01T11:30:00Z")));
        assert_eq!(Every::new(Duration::ZERO, None, Tz::UTC), None);
    }
}
