//! When runs are due: cron as Unix reads it, in a time zone, with the days that Quartz adds (`L`,
//! `LW`, `15W`, `5#2`, `5L`) and, where asked for, a field for seconds.
//!
//! `cron` is the matcher of fields and stays inside this module. Its own stepping through a zone
//! loses, doubles and reorders ticks at clock changes, so ticks are found in naive local time and
//! then placed in the zone here:
//!
//! * a schedule with a fixed hour and minute fires exactly once a local day: in a gap at the first
//!   instant after it, in a fold at the first of the two, or at the last where [`Fold`] says so;
//! * a schedule that repeats within the hour or every hour (`*` or a step in one of the two fields)
//!   follows real time: nothing is lost in a gap, nothing doubled, and both passes of a fold count.
//!
//! **Invariants.** Only instants are stored and compared. [`Schedule::next_after`] is strictly
//! after, and [`Schedule::previous`] undoes it, whatever the clocks of the zone do. The calendar
//! ends with the year 2100, which is as far as the matcher counts.

mod blackout;
mod calendar;
mod days;
mod every;
mod fields;
mod timer;
mod zone;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{
    DateTime, MappedLocalTime, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use crate::time::{DataInterval, Timestamp};

pub use blackout::Blackout;
pub use calendar::{Calendar, Roll};
pub use every::Every;
pub use timer::{CAUGHT_UP_MAX, Catchup, Clock, Due, GRACE_MIN, Tick, Timer, ticks};

/// A text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadSchedule {
    /// What is wrong, in one line.
    pub message: String,
    /// The byte in the text where it is wrong, if it is one place.
    pub offset: Option<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

/// What an author may have meant otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surprise {
    /// What the schedule really means, in one line.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// How a line is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CronOptions {
    /// Whether it begins with a field for seconds.
    pub seconds: bool,
    /// When a fixed time of the day is due that comes twice.
    pub fold: Fold,
    /// The days that count, where not all do.
    pub calendar: Option<Arc<Calendar>>,
}

/// Which of the two is meant when clocks go back and a time of the day comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fold {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

/// When runs are due. Cheap to clone.
#[derive(Clone)]
pub struct Schedule(Arc<Inner>);

struct Inner {
    expression: String,
    zone: Tz,
    options: CronOptions,
    /// A tick is due when any of these matches.
    matchers: Vec<cron::Schedule>,
    /// And its day is one of these, where the matchers do not know them.
    days: Option<days::Days>,
    repeats: bool,
    warnings: Vec<Surprise>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in {}", self.0.expression, self.0.zone)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&*self.0, &*other.0);
        let same_line = one.expression == other.expression && one.options == other.options;
        same_line && one.zone == other.zone
    }
}

/// The longest text of a schedule, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 512;

/// Clock changes are looked for so far around an instant. More than a day, because zones have
/// crossed the date line.
const CHANGE_RADIUS: TimeDelta = TimeDelta::hours(25);

/// The release of the time zone database that is compiled in, for example `2025b`.
pub fn zone_data_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

impl Schedule {
    /// Reads five fields, or one of `@yearly @annually @monthly @weekly @daily @midnight @hourly`.
    pub fn parse(expression: &str, zone: Tz) -> Result<Self, BadSchedule> {
        Self::parse_with(expression, zone, CronOptions::default())
    }

    /// The same, read as the options say.
    pub fn parse_with(
        expression: &str,
        zone: Tz,
        options: CronOptions,
    ) -> Result<Self, BadSchedule> {
        let fields = fields::parse(expression, options.seconds)?;
        let days = days::Days { calendar: options.calendar.clone(), ..fields.days() };
        let days = Some(days).filter(days::Days::are_special);
        let lines = match days {
            None => fields.matchers(),
            Some(_) => vec![fields.matcher_of_all_days()],
        };
        let matchers = lines
            .iter()
            .map(|text| text.parse::<cron::Schedule>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BadSchedule {
                message: format!("`{expression}` is no schedule: {error}"),
                offset: None,
                help: None,
            })?;
        let inner = Inner {
            expression: expression.trim().to_owned(),
            zone,
            options,
            matchers,
            days,
            repeats: fields.repeats(),
            warnings: fields.warnings(),
        };
        // No clock is needed: a date that exists comes back within 28 years, on any day of the week.
        let from = DateTime::from_timestamp(1_704_067_200, 0).unwrap_or_default().naive_utc();
        if inner.match_after(from).is_none() {
            let never = format!("`{}` never happens", inner.expression);
            let (message, help) = match &inner.options.calendar {
                None => (never, "no month has such a day; look at the third and fourth field"),
                Some(calendar) => (
                    format!("{never} on a day that counts in calendar `{}`", calendar.name),
                    "choose other days, or let the calendar move them: `roll: next`",
                ),
            };
            return Err(BadSchedule { message, offset: None, help: Some(help.to_owned()) });
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The text as written.
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// The zone.
    pub fn zone(&self) -> Tz {
        self.0.zone
    }

    /// What an author may have meant otherwise.
    pub fn warnings(&self) -> Vec<Surprise> {
        self.0.warnings.clone()
    }

    /// The first tick after an instant; `None` after the year 2100.
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let inner = &*self.0;
        let after = instant.to_utc();
        // Before a fold, local order is not real order: look further back in local time.
        let mut naive = inner.local(after).checked_sub_signed(inner.comes_again_after(after))?;
        let mut second_pass: Option<DateTime<Utc>> = None;
        while let Some(next) = inner.match_after(naive) {
            naive = next;
            let (first, second) = inner.place(naive);
            if let Some(first) = first.filter(|tick| *tick > after) {
                // First passes are in order, so nothing earlier can follow.
                return Some(second_pass.map_or(first, |tick| tick.min(first)).into());
            }
            if let Some(second) = second.filter(|tick| *tick > after) {
                second_pass = Some(second_pass.map_or(second, |tick| tick.min(second)));
            }
        }
        second_pass.map(Into::into)
    }

    /// The last tick at or before an instant; `None` before the year 1970.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        let inner = &*self.0;
        let until = instant.to_utc();
        let mut naive = inner.local(until).checked_add_signed(inner.was_before(until))?;
        // The matcher looks strictly before.
        naive += TimeDelta::microseconds(1);
        let mut first_pass: Option<DateTime<Utc>> = None;
        while let Some(before) = inner.match_before(naive) {
            naive = before;
            let (first, second) = inner.place(naive);
            if let Some(last) = second.or(first).filter(|tick| *tick <= until) {
                return Some(first_pass.map_or(last, |tick| tick.max(last)).into());
            }
            if let Some(first) = first.filter(|tick| *tick <= until) {
                first_pass = Some(first_pass.map_or(first, |tick| tick.max(first)));
            }
        }
        first_pass.map(Into::into)
    }

    /// The data of a tick: from the tick before to it.
    pub fn interval_of(&self, tick: Timestamp) -> DataInterval {
        let before = tick.minus(Duration::from_micros(1));
        DataInterval { start: self.previous(before).unwrap_or(tick), end: tick }
    }
}

impl Inner {
    /// The first naive tick after a local time. UTC stands in for "no zone": it has no gaps and no
    /// folds.
    fn match_after(&self, mut naive: NaiveDateTime) -> Option<NaiveDateTime> {
        loop {
            let after = naive.and_utc();
            let next = self.matchers.iter().filter_map(|matcher| matcher.after(&after).next());
            let tick = next.min()?.naive_utc();
            match &self.days {
                Some(days) if !days.has(tick.date()) => {
                    // The matcher looks strictly after.
                    let day = days.skip_after(tick.date())?.and_time(NaiveTime::MIN);
                    naive = day.checked_sub_signed(TimeDelta::microseconds(1))?;
                }
                _ => return Some(tick),
            }
        }
    }

    /// The last naive tick before a local time.
    fn match_before(&self, mut naive: NaiveDateTime) -> Option<NaiveDateTime> {
        loop {
            let before = naive.and_utc();
            let last =
                self.matchers.iter().filter_map(|matcher| matcher.after(&before).next_back());
            let tick = last.max()?.naive_utc();
            match &self.days {
                Some(days) if !days.has(tick.date()) => {
                    let day = days.skip_before(tick.date())?;
                    naive = day.succ_opt()?.and_time(NaiveTime::MIN);
                }
                _ => return Some(tick),
            }
        }
    }

    /// The instants of a local time: the first, and the second where both passes of a fold count.
    fn place(&self, naive: NaiveDateTime) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match self.zone.from_local_datetime(&naive) {
            MappedLocalTime::Single(at) => (Some(at.to_utc()), None),
            MappedLocalTime::Ambiguous(one, other) => {
                let (first, second) = (one.min(other).to_utc(), one.max(other).to_utc());
                match (self.repeats, self.options.fold) {
                    (true, _) => (Some(first), Some(second)),
                    (false, Fold::First) => (Some(first), None),
                    (false, Fold::Last) => (Some(second), None),
                }
            }
            MappedLocalTime::None if self.repeats => (None, None),
            MappedLocalTime::None => (Some(zone::end_of_gap(naive, self.zone)), None),
        }
    }

    fn local(&self, instant: DateTime<Utc>) -> NaiveDateTime {
        zone::local(instant, self.zone)
    }

    fn offset(&self, instant: DateTime<Utc>) -> TimeDelta {
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// How far the zone's clocks move around an instant; mostly not at all.
    fn shift_around(&self, instant: DateTime<Utc>) -> TimeDelta {
        let (before, here) = (self.offset(instant - CHANGE_RADIUS), self.offset(instant));
        let after = self.offset(instant + CHANGE_RADIUS);
        before.max(here).max(after) - before.min(here).min(after)
    }

    /// How much of local time up to an instant comes again after it.
    fn comes_again_after(&self, instant: DateTime<Utc>) -> TimeDelta {
        let shift = self.shift_around(instant);
        (self.offset(instant) - self.offset(instant + shift)).max(TimeDelta::zero())
    }

    /// How much of local time after an instant was there before it.
    fn was_before(&self, instant: DateTime<Utc>) -> TimeDelta {
        let shift = self.shift_around(instant);
        (self.offset(instant - shift) - self.offset(instant)).max(TimeDelta::zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
        let zone: Tz = zone.parse().expect("a zone");
        let schedule = Schedule::parse(expression, zone).expect("a schedule");
        let mut at: Timestamp = from.parse().expect("an instant");
        let mut found = Vec::new();
        for _ in 0..n {
            at = schedule.next_after(at).expect("a next tick");
            found.push(at.to_utc().with_timezone(&zone).format("%m-%d %H:%M %:z").to_string());
        }
        found
    }

    #[test]
    fn days_of_the_week_are_those_of_unix() {
        let week = |expression| ticks(expression, "UTC", "2026-11-22T12:00:00Z", 2);
        assert_eq!(week("0 0 * * 1"), ["11-23 00:00 +00:00", "11-30 00:00 +00:00"]);
        assert_eq!(week("0 0 * * 7"), week("0 0 * * SUN"));
        assert_eq!(week("0 0 * * 0"), week("@weekly"));
        assert_eq!(week("0 0 13 * FRI"), ["11-27 00:00 +00:00", "12-04 00:00 +00:00"]);
        assert_eq!(week("0 0 */2 * MON"), ["11-23 00:00 +00:00", "12-07 00:00 +00:00"]);
    }

    #[test]
    fn a_daily_time_in_a_gap_fires_after_it() {
        let days = |expression| ticks(expression, "Europe/Zurich", "2027-03-27T12:00:00Z", 2);
        assert_eq!(days("30 2 * * *"), ["03-28 03:00 +02:00", "03-29 02:30 +02:00"]);
        assert_eq!(days("0 2 * * *"), ["03-28 03:00 +02:00", "03-29 02:00 +02:00"]);
        let cairo = ticks("@daily", "Africa/Cairo", "2026-04-23T12:00:00Z", 2);
        assert_eq!(cairo, ["04-24 01:00 +03:00", "04-25 00:00 +03:00"]);
    }

    #[test]
    fn a_daily_time_in_a_fold_fires_at_the_first() {
        let days = |from| ticks("30 1 * * *", "America/New_York", from, 2);
        let expected = ["11-01 01:30 -04:00", "11-02 01:30 -05:00"];
        assert_eq!(days("2026-10-31T12:00:00Z"), expected);
        // A restart between the two passes does not fire it again.
        assert_eq!(days("2026-11-01T06:10:00Z")[0], expected[1]);
    }

    #[test]
    fn or_at_the_last_where_that_is_asked_for() {
        let options = CronOptions { fold: Fold::Last, ..CronOptions::default() };
        let zone = Tz::America__New_York;
        let schedule = Schedule::parse_with("30 1 * * *", zone, options).expect("a schedule");
        let tick = |text: &str| Some(text.parse::<Timestamp>().expect("an instant"));
        let next = |text: &str| tick(text).and_then(|at| schedule.next_after(at));
        let before = |text: &str| tick(text).and_then(|at| schedule.previous(at));
        for from in ["2026-10-31T12:00:00Z", "2026-11-01T05:30:00Z", "2026-11-01T06:10:00Z"] {
            assert_eq!(next(from), tick("2026-11-01T06:30:00Z"), "{from}");
            assert_eq!(before(from), tick("2026-10-31T05:30:00Z"), "{from}");
        }
        assert_eq!(next("2026-11-01T06:30:00Z"), tick("2026-11-02T06:30:00Z"));
        assert_eq!(before("2026-11-01T06:30:00Z"), tick("2026-11-01T06:30:00Z"));
    }

    #[test]
    fn what_repeats_follows_real_time() {
        let fold = ticks("*/30 * * * *", "America/New_York", "2026-11-01T04:45:00Z", 6);
        assert_eq!(
            fold,
            [
                "11-01 01:00 -04:00",
                "11-01 01:30 -04:00",
                "11-01 01:00 -05:00",
                "11-01 01:30 -05:00",
                "11-01 02:00 -05:00",
                "11-01 02:30 -05:00"
            ]
        );
        let gap = ticks("0 * * * *", "America/New_York", "2027-03-14T05:30:00Z", 3);
        assert_eq!(gap, ["03-14 01:00 -05:00", "03-14 03:00 -04:00", "03-14 04:00 -04:00"]);
    }

    #[test]
    fn what_never_happens_is_refused() {
        let refused = Schedule::parse("0 0 31 2 *", Tz::UTC).map_err(|e| e.message);
        assert_eq!(refused, Err("`0 0 31 2 *` never happens".to_owned()));
        assert!(Schedule::parse("0 0 29 2 *", Tz::UTC).is_ok());
    }
}
