//! Days on which there is work.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};

/// The days that count, and what becomes of what is due on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Its name.
    pub name: String,
    /// Days that do not count.
    pub holidays: BTreeSet<NaiveDate>,
    /// Days of the week that do not count: bit 0 is Sunday.
    pub weekend: u8,
    /// What becomes of what is due on a day that does not count.
    pub roll: Roll,
}

/// What becomes of what is due on a day that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roll {
    /// It is left out.
    #[default]
    Skip,
    /// It takes place on the next day that counts.
    Next,
    /// It takes place on the last day before that counts.
    Previous,
}

/// So many days in a row do not count at most; of a longer row, nothing takes place elsewhere.
pub(super) const ROW_MAX: usize = 60;

impl Calendar {
    /// Whether there is work on a day.
    pub fn counts(&self, date: NaiveDate) -> bool {
        let weekday = date.weekday().num_days_from_sunday();
        self.weekend & (1 << weekday) == 0 && !self.holidays.contains(&date)
    }

    /// Where what is due on a day takes place, if it does.
    pub fn place(&self, date: NaiveDate) -> Option<NaiveDate> {
        let counts = |date: &NaiveDate| self.counts(*date);
        match self.roll {
            Roll::Skip => Some(date).filter(counts),
            Roll::Next => date.iter_days().take(ROW_MAX + 1).find(counts),
            Roll::Previous => back(date).take(ROW_MAX + 1).find(counts),
        }
    }

    /// The days of which what is due takes place on this one: itself, and the row of days that do
    /// not count beside it. None, if this one does not count.
    pub(super) fn sources(&self, date: NaiveDate) -> impl Iterator<Item = NaiveDate> {
        let is_here = self.counts(date);
        let is_idle = |date: &NaiveDate| !self.counts(*date);
        let before = back(date).skip(1).take(ROW_MAX).take_while(is_idle);
        let after = date.iter_days().skip(1).take(ROW_MAX).take_while(is_idle);
        let before = before.filter(|_| self.roll == Roll::Next);
        let after = after.filter(|_| self.roll == Roll::Previous);
        std::iter::once(date).chain(before).chain(after).filter(move |_| is_here)
    }
}

fn back(date: NaiveDate) -> impl Iterator<Item = NaiveDate> {
    std::iter::successors(Some(date), NaiveDate::pred_opt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    fn calendar(roll: Roll) -> Calendar {
        let holidays = ["2026-12-25", "2027-01-01"].map(day).into();
        Calendar { name: "ch".to_owned(), holidays, weekend: 0b100_0001, roll }
    }

    #[test]
    fn days_take_place_on_days_that_count() {
        let place = |roll, date| calendar(roll).place(day(date)).map(|day| day.to_string());
        for (date, next, previous) in [
            ("2026-12-24", "2026-12-24", "2026-12-24"),
            ("2026-12-25", "2026-12-28", "2026-12-24"),
            ("2026-12-26", "2026-12-28", "2026-12-24"),
            ("2027-01-01", "2027-01-04", "2026-12-31"),
        ] {
            assert_eq!(place(Roll::Next, date).as_deref(), Some(next));
            assert_eq!(place(Roll::Previous, date).as_deref(), Some(previous));
            assert_eq!(place(Roll::Skip, date).is_some(), date == next);
        }
    }

    #[test]
    fn sources_are_the_days_that_take_place_there() {
        for roll in [Roll::Skip, Roll::Next, Roll::Previous] {
            let calendar = calendar(roll);
            for date in day("2026-12-20").iter_days().take(20) {
                let mut sources: Vec<NaiveDate> = calendar.sources(date).collect();
                sources.sort_unstable();
                let around = day("2026-12-01").iter_days().take(60);
                let expected: Vec<NaiveDate> =
                    around.filter(|other| calendar.place(*other) == Some(date)).collect();
                assert_eq!(sources, expected, "{roll:?} {date}");
            }
        }
    }

    #[test]
    fn a_calendar_without_a_day_ends() {
        let never = Calendar { weekend: 0x7f, ..calendar(Roll::Next) };
        assert_eq!(never.place(day("2026-01-01")), None);
    }
}
