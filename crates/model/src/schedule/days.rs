//! Days that the matcher of fields does not know: those of a month that no number names, such as
//! the last one or the second Friday, and those of a calendar.
//!
//! Where there are any, the matcher is asked for the times of the day alone, and the days are worked
//! out here. Times are the same on all days, so what takes place on another day does so at its time.

use std::sync::Arc;

use chrono::{Datelike, Days as Span, Months, NaiveDate, Weekday};

use super::calendar::Calendar;

/// A day of the month that depends on the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// `L`: the last day.
    Last,
    /// `LW`: the last working day, Monday to Friday.
    LastWorking,
    /// `15W`: the working day nearest to a day, within the month. A month that does not have the day
    /// has none.
    NearestWorking(u8),
    /// `5#2`: the second Friday, if there is one; days of the week count from Sunday, 0.
    Nth(u8, u8),
    /// `5L`: the last Friday.
    LastOfWeek(u8),
}

/// Which days match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Days {
    /// Bit `n` is month `n`.
    pub(super) months: u64,
    /// By the field of the day: bit `n` is day `n`.
    pub(super) of_month: u64,
    /// By the field of the day of the week: bit 0 is Sunday.
    pub(super) of_week: u64,
    /// Of the first field.
    pub(super) special_of_month: Vec<Special>,
    /// Of the second.
    pub(super) special_of_week: Vec<Special>,
    /// Whether a day that one field matches is enough; else both have to.
    pub(super) either: bool,
    /// The days that count, where not all do.
    pub(super) calendar: Option<Arc<Calendar>>,
}

impl Days {
    /// Whether there are days that the matcher of fields does not know.
    pub(super) fn are_special(&self) -> bool {
        let special = [&self.special_of_month, &self.special_of_week];
        self.calendar.is_some() || special.iter().any(|days| !days.is_empty())
    }

    /// Whether a day matches.
    pub(super) fn has(&self, date: NaiveDate) -> bool {
        match &self.calendar {
            None => self.names(date),
            Some(calendar) => calendar.sources(date).any(|day| self.names(day)),
        }
    }

    /// A day after this one before which none matches; it need not match itself.
    pub(super) fn skip_after(&self, date: NaiveDate) -> Option<NaiveDate> {
        if self.calendar.is_some() {
            return date.succ_opt();
        }
        let later = self.of(date) & (u64::MAX << (date.day() + 1));
        match later.trailing_zeros() {
            64 => date.with_day(1)?.checked_add_months(Months::new(1)),
            day => date.with_day(day),
        }
    }

    /// A day before this one after which none matches; it need not match itself.
    pub(super) fn skip_before(&self, date: NaiveDate) -> Option<NaiveDate> {
        if self.calendar.is_some() {
            return date.pred_opt();
        }
        let earlier = self.of(date) & (bit(date.day()) - 1);
        match earlier.checked_ilog2() {
            None => date.with_day(1)?.checked_sub_days(Span::new(1)),
            Some(day) => date.with_day(day),
        }
    }

    /// Whether the fields name a day.
    fn names(&self, date: NaiveDate) -> bool {
        self.of(date) & bit(date.day()) != 0
    }

    /// The days of the month of a date that the fields name.
    fn of(&self, date: NaiveDate) -> u64 {
        if self.months & bit(date.month()) == 0 {
            return 0;
        }
        let month = Month::of(date);
        let add = |bits, special: &Special| bits | month.special(*special);
        let of_month = self.special_of_month.iter().fold(self.of_month, add);
        let by_week = month.all().filter(|day| self.of_week & (1 << month.weekday(*day)) != 0);
        let of_week = by_week.fold(0, |bits, day| bits | bit(day));
        let of_week = self.special_of_week.iter().fold(of_week, add);
        if self.either { of_month | of_week } else { of_month & of_week }
    }
}

fn bit(day: u32) -> u64 {
    1 << day
}

/// A month, as far as its days of the week go.
struct Month {
    days: u32,
    /// The day of the week of its first day, from Sunday, 0.
    first: u32,
}

impl Month {
    fn of(date: NaiveDate) -> Self {
        let first = date.with_day(1).map_or(Weekday::Sun, |first| first.weekday());
        Self { days: date.num_days_in_month().into(), first: first.num_days_from_sunday() }
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        1..=self.days
    }

    fn weekday(&self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    fn is_working(&self, day: u32) -> bool {
        !matches!(self.weekday(day), 0 | 6)
    }

    /// The day, as a bit; none if the month has none.
    fn special(&self, special: Special) -> u64 {
        let last = |wanted: &dyn Fn(u32) -> bool| self.all().rfind(|day| wanted(*day));
        let day = match special {
            Special::Last => Some(self.days),
            Special::LastWorking => last(&|day| self.is_working(day)),
            Special::NearestWorking(near) => self.nearest_working(near.into()),
            Special::Nth(weekday, count) => {
                let mut all = self.all().filter(|day| self.weekday(*day) == u32::from(weekday));
                all.nth(usize::from(count) - 1)
            }
            Special::LastOfWeek(weekday) => last(&|day| self.weekday(day) == u32::from(weekday)),
        };
        day.map_or(0, bit)
    }

    /// Saturday goes to the day before, Sunday to the day after, but never into another month.
    fn nearest_working(&self, day: u32) -> Option<u32> {
        if !(1..=self.days).contains(&day) {
            return None;
        }
        Some(match self.weekday(day) {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.days => day - 2,
            0 => day + 1,
            _ => day,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(special: Special, month: &str) -> String {
        let days = Days {
            months: u64::MAX,
            calendar: None,
            of_month: 0,
            of_week: 0x7f,
            special_of_month: vec![special],
            special_of_week: Vec::new(),
            either: false,
        };
        let first: NaiveDate = format!("{month}-01").parse().expect("a day");
        let all = first.iter_days().take_while(|day| day.month() == first.month());
        let found: Vec<String> =
            all.filter(|day| days.has(*day)).map(|day| day.format("%a %-d").to_string()).collect();
        found.join(", ")
    }

    #[test]
    fn days_depend_on_the_month() {
        for (special, month, expected) in [
            (Special::Last, "2028-02", "Tue 29"),
            (Special::LastWorking, "2026-02", "Fri 27"),
            (Special::LastWorking, "2026-05", "Fri 29"),
            (Special::NearestWorking(15), "2026-08", "Fri 14"),
            (Special::NearestWorking(15), "2026-02", "Mon 16"),
            (Special::NearestWorking(15), "2026-01", "Thu 15"),
            // Not into another month.
            (Special::NearestWorking(1), "2026-08", "Mon 3"),
            (Special::NearestWorking(31), "2026-05", "Fri 29"),
            (Special::NearestWorking(31), "2026-06", ""),
            (Special::Nth(5, 2), "2026-11", "Fri 13"),
            (Special::Nth(0, 5), "2026-11", "Sun 29"),
            (Special::Nth(5, 5), "2026-11", ""),
            (Special::LastOfWeek(5), "2026-11", "Fri 27"),
            (Special::LastOfWeek(1), "2026-11", "Mon 30"),
        ] {
            assert_eq!(days(special, month), expected, "{special:?} of {month}");
        }
    }

    #[test]
    fn days_that_do_not_match_are_passed_over() {
        let fridays = Days {
            months: u64::MAX,
            calendar: None,
            of_month: 0,
            of_week: 0,
            special_of_month: Vec::new(),
            special_of_week: vec![Special::Nth(5, 2), Special::LastOfWeek(5)],
            either: true,
        };
        let day = |text: &str| text.parse::<NaiveDate>().ok();
        let after = |text| day(text).and_then(|date| fridays.skip_after(date));
        let before = |text| day(text).and_then(|date| fridays.skip_before(date));
        assert_eq!(after("2026-11-01"), day("2026-11-13"));
        assert_eq!(after("2026-11-13"), day("2026-11-27"));
        assert_eq!(after("2026-11-27"), day("2026-12-01"));
        assert_eq!(before("2026-11-30"), day("2026-11-27"));
        assert_eq!(before("2026-11-27"), day("2026-11-13"));
        assert_eq!(before("2026-11-13"), day("2026-10-31"));
    }
}
