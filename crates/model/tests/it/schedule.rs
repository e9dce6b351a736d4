//! Schedules: a table of known cases, and random fields against a calendar that is walked by days.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use proptest::prelude::*;
use tidemill_model::Timestamp;
use tidemill_model::schedule::Schedule;

use crate::cases;

pub(crate) fn schedule(expression: &str, zone: Tz) -> Schedule {
    Schedule::parse(expression, zone).unwrap()
}

/// The ticks after an instant, in local time with its offset.
fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
    let zone: Tz = zone.parse().unwrap();
    let schedule = schedule(expression, zone);
    let mut at: Timestamp = from.parse().unwrap();
    for expected in expected {
        let next = schedule.next_after(at).unwrap();
        let text = next.to_utc().with_timezone(&zone).format("%m-%d %H:%M %:z").to_string();
        assert_eq!(text, *expected, "{expression} in {zone} after {at}");
        assert_eq!(schedule.previous(next), Some(next), "{expression} in {zone}");
        at = next;
    }
}

#[test]
fn a_daily_time_in_the_gap_fires_at_the_first_instant_after_it() {
    for expression in ["0 2 * * *", "30 2 * * *"] {
        let tail =
            if expression.starts_with('3') { "03-27 02:30 +02:00" } else { "03-27 02:00 +02:00" };
        let expected = ["03-26 03:00 +02:00", tail];
        check(expression, "Europe/Zurich", "2023-03-25T12:00:00Z", &expected);
    }
    // Both fall on the same instant, which fires once.
    check(
        "0,30 2,3 * * *",
        "Europe/Zurich",
        "2023-03-25T12:00:00Z",
        &["03-26 03:00 +02:00", "03-26 03:30 +02:00", "03-27 02:00 +02:00"],
    );
    check(
        "0 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T12:00:00Z",
        &["10-04 02:30 +11:00", "10-05 02:00 +11:00"],
    );
    // Midnight does not exist.
    check(
        "@daily",
        "Africa/Cairo",
        "2026-04-23T12:00:00Z",
        &["04-24 01:00 +03:00", "04-25 00:00 +03:00"],
    );
    // A whole day does not exist.
    check(
        "0 9 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00:00Z",
        &["12-29 09:00 -10:00", "12-31 00:00 +14:00", "12-31 09:00 +14:00", "01-01 09:00 +14:00"],
    );
}

#[test]
fn a_daily_time_in_the_fold_fires_at_the_first_pass() {
    check(
        "30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        &["11-01 01:30 -04:00", "11-02 01:30 -05:00"],
    );
    // A restart between the two passes does not fire it again.
    check("30 1 * * *", "America/New_York", "2026-11-01T06:10:00Z", &["11-02 01:30 -05:00"]);
    check(
        "0,30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        &["11-01 01:00 -04:00", "11-01 01:30 -04:00", "11-02 01:00 -05:00"],
    );
    // The fold crosses midnight.
    check(
        "30 23 29 2 *",
        "Asia/Almaty",
        "2024-02-28T12:00:00Z",
        &["02-29 23:30 +06:00", "02-29 23:30 +05:00"],
    );
}

#[test]
fn what_repeats_follows_real_time() {
    check(
        "*/30 * * * *",
        "America/New_York",
        "2026-11-01T04:45:00Z",
        &[
            "11-01 01:00 -04:00",
            "11-01 01:30 -04:00",
            "11-01 01:00 -05:00",
            "11-01 01:30 -05:00",
            "11-01 02:00 -05:00",
            "11-01 02:30 -05:00",
        ],
    );
    // A restart in the second pass.
    check("*/30 * * * *", "America/New_York", "2026-11-01T06:10:00Z", &["11-01 01:30 -05:00"]);
    for hourly in ["0 * * * *", "0 0-23 * * *", "@hourly"] {
        check(
            hourly,
            "America/New_York",
            "2027-03-14T05:30:00Z",
            &["03-14 01:00 -05:00", "03-14 03:00 -04:00", "03-14 04:00 -04:00"],
        );
        check(
            hourly,
            "America/New_York",
            "2026-11-01T04:30:00Z",
            &["11-01 01:00 -04:00", "11-01 01:00 -05:00", "11-01 02:00 -05:00"],
        );
    }
    check(
        "*/15 * * * *",
        "Europe/Zurich",
        "2023-03-26T00:35:00Z",
        &["03-26 01:45 +01:00", "03-26 03:00 +02:00", "03-26 03:15 +02:00"],
    );
    check(
        "*/30 * * * *",
        "Australia/Lord_Howe",
        "2026-10-03T15:10:00Z",
        &["10-04 02:30 +11:00", "10-04 03:00 +11:00"],
    );
}

#[test]
fn wall_clock_times_are_kept_over_changes() {
    check(
        "0 9 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        &["10-31 09:00 -04:00", "11-01 09:00 -05:00"],
    );
    check(
        "0 7-8 * * *",
        "America/Los_Angeles",
        "2020-03-07T23:00:00Z",
        &["03-08 07:00 -07:00", "03-08 08:00 -07:00", "03-09 07:00 -07:00"],
    );
    for (zone, first) in [
        ("Asia/Kolkata", "01-01 06:00 +05:30"),
        ("Asia/Kathmandu", "01-01 06:00 +05:45"),
        ("Australia/Adelaide", "01-01 11:00 +10:30"),
        ("America/St_Johns", "12-31 21:00 -03:30"),
        ("Pacific/Chatham", "01-01 14:00 +13:45"),
    ] {
        check("0 * * * *", zone, "2026-01-01T00:10:00Z", &[first]);
    }
}

#[test]
fn days_are_those_of_unix() {
    let check = |expression, from, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|day| format!("{day} 00:00 +00:00")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(expression, "UTC", from, &expected);
    };
    let sunday = "2026-11-22T12:00:00Z";
    check("0 0 * * 1", sunday, &["11-23", "11-30"]);
    check("0 0 * * 0", sunday, &["11-29", "12-06"]);
    check("0 0 * * 7", sunday, &["11-29", "12-06"]);
    check("0 0 * * 6-7", sunday, &["11-28", "11-29", "12-05"]);
    check("@weekly", sunday, &["11-29"]);
    check("0 0 * * FRI-MON", sunday, &["11-23", "11-27", "11-28", "11-29", "11-30", "12-04"]);
    // Both day fields: either of them, unless one begins with a star.
    check("0 0 13 * FRI", sunday, &["11-27", "12-04", "12-11", "12-13"]);
    check("0 0 */2 * MON", sunday, &["11-23", "12-07"]);
    check(
        "0 0 */10 * *",
        "2026-01-01T12:00:00Z",
        &["01-11", "01-21", "01-31", "02-01", "02-11", "02-21", "03-01"],
    );
    check("0 0 */30 * *", "2026-01-01T12:00:00Z", &["01-31", "02-01", "03-01", "03-31"]);
    check("0 0 31 * *", "2026-01-31T12:00:00Z", &["03-31", "05-31", "07-31"]);
    check("@monthly", "2026-01-31T12:00:00Z", &["02-01", "03-01"]);
    check("@yearly", "2026-01-31T12:00:00Z", &["01-01", "01-01"]);
    check("@annually", "2026-01-31T12:00:00Z", &["01-01"]);
    check("@midnight", "2026-01-31T12:00:00Z", &["02-01"]);
}

#[test]
fn leap_days_are_found_across_2100() {
    let schedule = schedule("2 4 29 2 *", Tz::UTC);
    let next = |from: &str| schedule.next_after(from.parse().unwrap()).map(|tick| tick.to_string());
    assert_eq!(next("2024-03-01T00:00:00Z").as_deref(), Some("2028-02-29T04:02:00Z"));
    // The matcher's calendar ends with 2100, which has no leap day.
    assert_eq!(next("2096-03-01T00:00:00Z"), None);
}

#[test]
fn what_never_happens_is_refused() {
    for expression in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let refused = Schedule::parse(expression, Tz::UTC).map_err(|error| error.message);
        assert_eq!(refused, Err(format!("`{expression}` never happens")));
    }
    // Rare is not never.
    assert!(Schedule::parse("0 0 29 2 */7", Tz::UTC).is_ok());
    // The fifth field alone would do: either of them matches.
    assert!(Schedule::parse("0 0 31 2 MON", Tz::UTC).is_ok());
}

#[test]
fn fractions_of_a_second_are_after_the_tick() {
    let schedule = schedule("0 * * * *", Tz::UTC);
    let tick: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let micro = std::time::Duration::from_micros(1);
    assert_eq!(schedule.next_after(tick.minus(micro)), Some(tick));
    assert_eq!(schedule.previous(tick.plus(micro)), Some(tick));
    assert_eq!(schedule.previous(tick), Some(tick));
    let interval = schedule.interval_of(tick);
    assert_eq!(
        (interval.start.to_string(), interval.end),
        ("2026-01-01T00:00:00Z".to_owned(), tick)
    );
}

#[test]
fn the_last_whole_interval_of_a_manual_run() {
    let schedule = schedule("@daily", Tz::UTC);
    for now in ["2026-01-05T01:00:00Z", "2026-01-05T00:00:00Z"] {
        let tick = schedule.previous(now.parse().unwrap()).unwrap();
        let interval = schedule.interval_of(tick);
        assert_eq!(interval, "2026-01-04/2026-01-05".parse().unwrap(), "{now}");
    }
}

/// A field: its text, what it means, and whether it begins with a star.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    values: BTreeSet<u32>,
    star: bool,
}

/// Random fields of a kind, written in every way the language has.
fn field(min: u32, max: u32) -> impl Strategy<Value = Field> {
    let item = (min..=max, min..=max, 1..=9_u32, any::<bool>()).prop_map(
        move |(one, other, step, stepped)| {
            let (first, last) = (one.min(other), one.max(other));
            if first == last {
                (first.to_string(), BTreeSet::from([first]))
            } else if stepped {
                let values = (first..=last).step_by(step as usize).collect();
                (format!("{first}-{last}/{step}"), values)
            } else {
                (format!("{first}-{last}"), (first..=last).collect())
            }
        },
    );
    let list = prop::collection::vec(item, 1..4).prop_map(|items| Field {
        text: items.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(","),
        values: items.into_iter().flat_map(|(_, values)| values).collect(),
        star: false,
    });
    let star = (1..=40_u32).prop_map(move |step| Field {
        text: if step == 1 { "*".to_owned() } else { format!("*/{step}") },
        values: (min..=max).step_by(step as usize).collect(),
        star: true,
    });
    prop_oneof![2 => list, 1 => star]
}

#[derive(Debug, Clone)]
struct Fields([Field; 5]);

impl Fields {
    fn text(&self) -> String {
        self.0.iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn is_day(&self, date: NaiveDate) -> bool {
        let [_, _, day, month, weekday] = &self.0;
        let of_month = day.values.contains(&date.day());
        let of_week = weekday.values.contains(&date.weekday().num_days_from_sunday());
        let either =
            if day.star || weekday.star { of_month && of_week } else { of_month || of_week };
        month.values.contains(&date.month()) && either
    }

    /// The first match after a local time, day by day over ten years.
    fn after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        (0..3_660)
            .map(|days| after.date() + TimeDelta::days(days))
            .filter(|date| self.is_day(*date))
            .find_map(|date| {
                let hours = self.0[1].values.iter();
                hours
                    .flat_map(|hour| self.0[0].values.iter().map(move |minute| (*hour, *minute)))
                    .filter_map(|(hour, minute)| date.and_hms_opt(hour, minute, 0))
                    .find(|time| *time > after)
            })
    }
}

fn any_fields() -> impl Strategy<Value = Fields> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6))
        .prop_map(|(a, b, c, d, e)| Fields([a, b, c, d, e]))
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn random_fields_match_a_walk_through_the_days(
        fields in any_fields(),
        from in 1_700_000_000_i64..2_000_000_000,
    ) {
        let text = fields.text();
        let from = DateTime::from_timestamp(from, 0).unwrap();
        match (Schedule::parse(&text, Tz::UTC), fields.after(from.naive_utc())) {
            (Ok(schedule), Some(expected)) => {
                let next = schedule.next_after(from.into()).unwrap();
                prop_assert_eq!(next.to_utc().naive_utc(), expected, "{}", &text);
                let before = schedule.previous(next.minus(std::time::Duration::from_micros(1)));
                let before = before.unwrap().to_utc();
                prop_assert!(before <= from, "{}: {} lies between", &text, before);
                prop_assert_eq!(schedule.next_after(before.into()), Some(next), "{}", &text);
            }
            // The next one may be further away than this walk or the horizon of a schedule.
            (Ok(schedule), None) => {
                let far = schedule.next_after(from.into());
                prop_assert!(far.is_none_or(|at| at.to_utc() - from > TimeDelta::days(3_659)));
            }
            (Err(refused), found) => {
                prop_assert!(refused.message.ends_with("never happens"), "{}", refused);
                prop_assert_eq!(found, None, "{}", &text);
            }
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = Schedule::parse(&text, Tz::UTC);
    }

    #[test]
    fn nothing_close_to_a_schedule_panics(text in "[0-9*/,@a-z?#LW -]{0,24}") {
        let _ = Schedule::parse(&text, Tz::UTC);
    }
}
