//! Times of the day in which nothing begins.

use chrono::{Datelike, Days, NaiveDateTime, NaiveTime, Weekday};

/// A window on the clocks of a zone, from a time to one before which it ends. One that ends before
/// it begins goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blackout {
    /// When it begins.
    pub from: NaiveTime,
    /// When it ends; this time itself is outside.
    pub to: NaiveTime,
    /// The days of the week on which it begins: bit 0 is Sunday.
    pub days: u8,
}

impl Blackout {
    /// The begin and the end of the window that holds a local time; `None` if the time is outside.
    pub fn around(&self, local: NaiveDateTime) -> Option<(NaiveDateTime, NaiveDateTime)> {
        let (today, time) = (local.date(), local.time());
        let goes_over = self.to <= self.from;
        if time >= self.from && (goes_over || time < self.to) && self.begins_on(today.weekday()) {
            let last = if goes_over { today.checked_add_days(Days::new(1))? } else { today };
            return Some((today.and_time(self.from), last.and_time(self.to)));
        }
        // The one that began yesterday.
        let before = today.pred_opt()?;
        (goes_over && time < self.to && self.begins_on(before.weekday()))
            .then(|| (before.and_time(self.from), today.and_time(self.to)))
    }

    fn begins_on(&self, day: Weekday) -> bool {
        self.days & (1 << day.num_days_from_sunday()) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(window: Blackout, cases: &[(&str, Option<&str>)]) {
        for (local, expected) in cases {
            let at: NaiveDateTime = local.parse().expect("a local time");
            let around = window.around(at);
            assert_eq!(around.map(|(_, end)| end.to_string()).as_deref(), *expected, "{local}");
            if let Some((begin, end)) = around {
                // Both ends are of the same window, and the end is outside of it.
                assert_eq!(window.around(begin), around);
                assert_eq!(window.around(end), None);
            }
        }
    }

    #[test]
    fn a_window_has_a_begin_and_no_end() {
        let clock = |hour| NaiveTime::from_hms_opt(hour, 0, 0).expect("a time");
        // Monday to Friday; the 27th of November 2026 is a Friday.
        let day = Blackout { from: clock(9), to: clock(17), days: 0b011_1110 };
        check(
            day,
            &[
                ("2026-11-27T08:59:59", None),
                ("2026-11-27T09:00:00", Some("2026-11-27 17:00:00")),
                ("2026-11-27T17:00:00", None),
                ("2026-11-28T09:00:00", None),
            ],
        );
        let night = Blackout { from: clock(22), to: clock(6), days: 0b011_1110 };
        check(
            night,
            &[
                ("2026-11-27T05:59:59", Some("2026-11-27 06:00:00")),
                ("2026-11-27T22:00:00", Some("2026-11-28 06:00:00")),
                ("2026-11-28T05:00:00", Some("2026-11-28 06:00:00")),
                ("2026-11-28T22:00:00", None),
                ("2026-11-30T05:00:00", None),
            ],
        );
    }
}
