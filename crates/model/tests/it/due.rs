//! What is due of a cron line without catch-up: after the start, after downtime, at clock changes.

use chrono_tz::Tz;
use tidemill_model::Timestamp;
use tidemill_model::schedule::{Clock, Schedule, Timer};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Ticks to deal with, `!` before those that fire, and when to ask again.
fn check(
    (expression, zone, start): (&str, Tz, Option<&str>),
    cases: &[(Option<&str>, &str, &str)],
) {
    let schedule = Schedule::parse(expression, zone).expect("a schedule");
    for (last, now, expected) in cases {
        let timer = Timer::new(Clock::Cron(schedule.clone()), zone);
        let due = Timer { start: start.map(at), ..timer }.due(last.map(at), at(now));
        let mut words: Vec<String> = due
            .ticks
            .iter()
            .map(|(tick, fire)| format!("{}{tick}", if *fire { "!" } else { "" }))
            .collect();
        words.push(due.next.map_or("never".to_owned(), |next| format!("> {next}")));
        assert_eq!(words.join(" "), *expected, "{expression} after {last:?} at {now}");
    }
}

const DAILY: (&str, Tz, Option<&str>) = ("0 3 * * *", Tz::UTC, None);
const HOURLY: (&str, Tz, Option<&str>) = ("0 * * * *", Tz::UTC, None);

#[test]
fn a_new_dag_takes_the_tick_that_has_just_passed() {
    check(
        DAILY,
        &[
            (None, "2026-01-02T03:00:00Z", "!2026-01-02T03:00:00Z > 2026-01-03T03:00:00Z"),
            (None, "2026-01-02T03:05:00Z", "!2026-01-02T03:00:00Z > 2026-01-03T03:00:00Z"),
            (None, "2026-01-02T05:24:00Z", "!2026-01-02T03:00:00Z > 2026-01-03T03:00:00Z"),
            (None, "2026-01-02T05:24:01Z", "> 2026-01-03T03:00:00Z"),
            (None, "2026-01-02T12:05:00Z", "> 2026-01-03T03:00:00Z"),
            (None, "2026-01-02T02:59:59Z", "> 2026-01-02T03:00:00Z"),
        ],
    );
}

#[test]
fn after_downtime_only_the_newest_tick_may_fire() {
    let last = Some("2026-01-02T03:00:00Z");
    check(
        DAILY,
        &[
            (last, "2026-01-05T04:00:00Z", "!2026-01-05T03:00:00Z > 2026-01-06T03:00:00Z"),
            (last, "2026-01-05T12:00:00Z", "2026-01-05T03:00:00Z > 2026-01-06T03:00:00Z"),
            (last, "2026-01-02T03:00:01Z", "> 2026-01-03T03:00:00Z"),
        ],
    );
    let last = Some("2026-01-02T03:00:00Z");
    check(
        HOURLY,
        &[
            (last, "2026-01-02T09:06:00Z", "!2026-01-02T09:00:00Z > 2026-01-02T10:00:00Z"),
            (last, "2026-01-02T09:06:01Z", "2026-01-02T09:00:00Z > 2026-01-02T10:00:00Z"),
        ],
    );
    // A period of a minute has five minutes of grace all the same.
    check(
        ("* * * * *", Tz::UTC, None),
        &[(last, "2026-01-02T03:04:59Z", "!2026-01-02T03:04:00Z > 2026-01-02T03:05:00Z")],
    );
}

#[test]
fn a_clock_that_goes_back_fires_nothing_again() {
    let last = Some("2026-01-05T03:00:00Z");
    check(
        DAILY,
        &[
            (last, "2026-01-05T02:59:00Z", "> 2026-01-06T03:00:00Z"),
            (last, "2026-01-03T03:01:00Z", "> 2026-01-06T03:00:00Z"),
            (last, "2026-01-05T03:00:00Z", "> 2026-01-06T03:00:00Z"),
            (last, "2026-01-06T03:00:00Z", "!2026-01-06T03:00:00Z > 2026-01-07T03:00:00Z"),
        ],
    );
}

#[test]
fn nothing_is_due_before_the_start() {
    let dag = ("0 * * * *", Tz::UTC, Some("2026-01-02T22:30:00Z"));
    check(
        dag,
        &[
            (None, "2026-01-01T00:00:00Z", "> 2026-01-02T23:00:00Z"),
            (None, "2026-01-02T22:31:00Z", "> 2026-01-02T23:00:00Z"),
            (None, "2026-01-02T23:01:00Z", "!2026-01-02T23:00:00Z > 2026-01-03T00:00:00Z"),
        ],
    );
    let dag = ("0 * * * *", Tz::UTC, Some("2026-01-02T22:00:00Z"));
    check(dag, &[(None, "2026-01-01T00:00:00Z", "> 2026-01-02T22:00:00Z")]);
}

#[test]
fn a_daily_tick_fires_once_in_a_fold() {
    let dag = ("30 2 * * *", Tz::Europe__Zurich, None);
    let last = Some("2026-10-25T00:30:00Z");
    check(
        dag,
        &[
            (None, "2026-10-25T00:30:00Z", "!2026-10-25T00:30:00Z > 2026-10-26T01:30:00Z"),
            (last, "2026-10-25T01:30:00Z", "> 2026-10-26T01:30:00Z"),
        ],
    );
}

#[test]
fn a_changed_schedule_never_repeats_a_tick() {
    // Runs until 12:00 by an hourly schedule, then daily at 12:00.
    let last = Some("2026-01-02T12:00:00Z");
    let daily = ("0 12 * * *", Tz::UTC, None);
    check(daily, &[(last, "2026-01-02T12:01:00Z", "> 2026-01-03T12:00:00Z")]);
}

#[test]
fn the_calendar_ends() {
    check(DAILY, &[(Some("2100-12-31T03:00:00Z"), "2100-12-31T04:00:00Z", "never")]);
}
