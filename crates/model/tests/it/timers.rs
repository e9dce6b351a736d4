//! Rules of scheduling, a case for each: catch-up, intervals, calendars, windows, jitter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::Tz;
use tidemill_model::Timestamp;
use tidemill_model::schedule::{
    Blackout, CAUGHT_UP_MAX, Calendar, Catchup, Clock, CronOptions, Due, Every, Roll, Schedule,
    Timer,
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn cron(line: &str, zone: Tz) -> Timer {
    Timer::new(Clock::Cron(Schedule::parse(line, zone).expect("a line")), zone)
}

/// Ticks to deal with, `!` before those that fire, and when to ask again.
fn said(due: &Due) -> String {
    let ticks = due.ticks.iter();
    let mut words: Vec<String> =
        ticks.map(|(tick, fires)| format!("{}{tick}", if *fires { "!" } else { "" })).collect();
    words.push(due.next.map_or("never".to_owned(), |next| format!("> {next}")));
    words.join(" ")
}

#[track_caller]
fn check(timer: &Timer, last: Option<&str>, now: &str, expected: &str) {
    assert_eq!(said(&timer.due(last.map(at), at(now))), expected);
}

fn ticks(timer: &Timer, from: &str, count: usize) -> Vec<String> {
    let next = |tick: &Timestamp| timer.next_after(*tick);
    std::iter::successors(timer.next_after(at(from)), next)
        .take(count)
        .map(|tick| tick.to_string())
        .collect()
}

fn with(timer: Timer, catchup: Catchup) -> Timer {
    Timer { catchup, ..timer }
}

#[test]
fn without_catch_up_the_latest_passed_tick_fires_while_it_is_fresh() {
    let hourly = cron("0 * * * *", Tz::UTC);
    let last = Some("2026-01-01T00:00:00Z");
    check(&hourly, last, "2026-01-02T00:03:00Z", "!2026-01-02T00:00:00Z > 2026-01-02T01:00:00Z");
    check(&hourly, last, "2026-01-02T00:30:00Z", "2026-01-02T00:00:00Z > 2026-01-02T01:00:00Z");
}

#[test]
fn latest_runs_the_newest_missed_tick_alone() {
    let hourly = with(cron("0 * * * *", Tz::UTC), Catchup::Latest);
    let last = Some("2026-01-01T09:00:00Z");
    check(&hourly, last, "2026-01-01T12:30:00Z", "!2026-01-01T12:00:00Z > 2026-01-01T13:00:00Z");
}

#[test]
fn all_runs_every_missed_tick_the_oldest_first() {
    let hourly = with(cron("0 * * * *", Tz::UTC), Catchup::All);
    // From 09:00, which was dealt with, to 12:00, which counts.
    check(
        &hourly,
        Some("2026-01-01T09:00:00Z"),
        "2026-01-01T12:00:00Z",
        "!2026-01-01T10:00:00Z !2026-01-01T11:00:00Z !2026-01-01T12:00:00Z > 2026-01-01T13:00:00Z",
    );
    let daily = with(cron("0 9 * * *", Tz::UTC), Catchup::All);
    let due = daily.due(Some(at("2026-01-01T09:00:00Z")), at("2026-01-04T10:00:00Z"));
    assert_eq!(due.ticks.len(), 3);
}

#[test]
fn a_window_bounds_how_far_back_is_caught_up() {
    let timer = with(cron("0 * * * *", Tz::UTC), Catchup::All);
    let last = Some("2026-01-01T09:00:00Z");
    let short = Timer { window: Some(2 * HOUR), ..timer.clone() };
    check(
        &short,
        last,
        "2026-01-01T12:30:00Z",
        "!2026-01-01T11:00:00Z !2026-01-01T12:00:00Z > 2026-01-01T13:00:00Z",
    );
    let too_short = Timer { window: Some(HOUR / 6), ..timer };
    check(&too_short, last, "2026-01-01T12:30:00Z", "2026-01-01T12:00:00Z > 2026-01-01T13:00:00Z");
}

#[test]
fn every_minute_of_a_month_is_capped_and_the_newest_are_kept() {
    let minutes = with(cron("* * * * *", Tz::UTC), Catchup::All);
    let due = minutes.due(Some(at("2026-01-01T00:00:00Z")), at("2026-01-31T00:00:00Z"));
    assert_eq!(due.ticks.len(), CAUGHT_UP_MAX);
    assert_eq!(due.ticks.last(), Some(&(at("2026-01-31T00:00:00Z"), true)));
}

#[test]
fn a_start_in_the_past_owes_the_ticks_since() {
    let daily = cron("0 3 * * *", Tz::UTC);
    let since =
        |catchup| Timer { start: Some(at("2026-01-01T00:00:00Z")), ..with(daily.clone(), catchup) };
    let now = "2026-01-03T12:00:00Z";
    check(&since(Catchup::None), None, now, "> 2026-01-04T03:00:00Z");
    check(&since(Catchup::Latest), None, now, "!2026-01-03T03:00:00Z > 2026-01-04T03:00:00Z");
    let all = since(Catchup::All).due(None, at(now));
    assert_eq!(all.ticks.len(), 3);
    // Without a start, nothing that had passed before the first deployment is owed.
    check(&with(daily, Catchup::All), None, now, "> 2026-01-04T03:00:00Z");
}

#[test]
fn a_changed_schedule_neither_overlaps_nor_repeats() {
    let last = Some("2026-01-02T12:30:00Z");
    let hourly = with(cron("0 * * * *", Tz::UTC), Catchup::All);
    check(&hourly, last, "2026-01-02T12:45:00Z", "> 2026-01-02T13:00:00Z");
    check(&hourly, last, "2026-01-02T13:00:00Z", "!2026-01-02T13:00:00Z > 2026-01-02T14:00:00Z");
}

#[test]
fn a_clock_that_goes_back_fires_nothing_again() {
    let hourly = with(cron("0 * * * *", Tz::UTC), Catchup::All);
    check(&hourly, Some("2026-01-02T12:00:00Z"), "2026-01-02T10:30:00Z", "> 2026-01-02T13:00:00Z");
}

#[test]
fn an_instant_is_due_once() {
    let once = Timer::new(Clock::At(at("2026-12-31T22:00:00Z")), Tz::UTC);
    check(&once, None, "2026-12-31T21:00:00Z", "> 2026-12-31T22:00:00Z");
    check(&once, None, "2026-12-31T22:00:00Z", "!2026-12-31T22:00:00Z never");
    check(&once, Some("2026-12-31T22:00:00Z"), "2026-12-31T22:01:00Z", "never");
}

#[test]
fn nothing_is_due_after_the_end() {
    let timer = Timer { end: Some(at("2026-01-02T03:00:00Z")), ..cron("0 3 * * *", Tz::UTC) };
    check(&timer, None, "2026-01-02T02:00:00Z", "> 2026-01-02T03:00:00Z");
    let last = Some("2026-01-01T03:00:00Z");
    check(&timer, last, "2026-01-02T03:00:00Z", "!2026-01-02T03:00:00Z never");
    assert_eq!(timer.previous(at("2027-01-01T00:00:00Z")), Some(at("2026-01-02T03:00:00Z")));
}

#[test]
fn a_daily_interval_is_from_tick_to_tick() {
    let daily = cron("30 16 * * *", Tz::UTC);
    let interval = daily.interval_of(at("2026-01-02T16:30:00Z"));
    assert_eq!(interval.start, at("2026-01-01T16:30:00Z"));
    // The first one of all too.
    let daily = Timer { start: Some(at("2026-01-02T00:00:00Z")), ..daily };
    assert_eq!(daily.interval_of(at("2026-01-02T16:30:00Z")), interval);
}

fn office(roll: Roll) -> Arc<Calendar> {
    let holidays: BTreeSet<_> = ["2026-12-25", "2027-01-01"].map(|d| d.parse().unwrap()).into();
    Arc::new(Calendar { name: "office".to_owned(), holidays, weekend: 0b100_0001, roll })
}

fn in_office(line: &str, roll: Roll) -> Timer {
    let options = CronOptions { calendar: Some(office(roll)), ..CronOptions::default() };
    let zone = Tz::Europe__Zurich;
    Timer::new(Clock::Cron(Schedule::parse_with(line, zone, options).unwrap()), zone)
}

#[test]
fn days_that_do_not_count_are_left_out_or_moved() {
    let days = |line, roll| {
        let ticks = ticks(&in_office(line, roll), "2026-12-23T12:00:00Z", 4);
        ticks.into_iter().map(|tick| tick[5..16].to_owned()).collect::<Vec<_>>().join(" ")
    };
    let workdays = "12-24T05:00 12-28T05:00 12-29T05:00 12-30T05:00";
    assert_eq!(days("0 6 * * *", Roll::Skip), workdays);
    // A day that takes place elsewhere falls on one that is due anyway: it is due once.
    assert_eq!(days("0 6 * * *", Roll::Next), workdays);
    assert_eq!(days("0 6 * * sat", Roll::Next), "12-28T05:00 01-04T05:00 01-11T05:00 01-18T05:00");
    assert_eq!(
        days("0 6 * * sat", Roll::Previous),
        "12-24T05:00 12-31T05:00 01-08T05:00 01-15T05:00"
    );
    // The first and the last working day of each month.
    assert_eq!(days("0 6 1 * *", Roll::Next), "01-04T05:00 02-01T05:00 03-01T05:00 04-01T04:00");
    assert_eq!(
        days("0 6 L * *", Roll::Previous),
        "12-31T05:00 01-29T05:00 02-26T05:00 03-31T04:00"
    );
}

#[test]
fn a_line_without_a_day_that_counts_is_refused() {
    let options = CronOptions { calendar: Some(office(Roll::Skip)), ..CronOptions::default() };
    let refused = Schedule::parse_with("0 6 * * sat", Tz::UTC, options);
    let message = refused.map_err(|bad| bad.message);
    let expected = "`0 6 * * sat` never happens on a day that counts in calendar `office`";
    assert_eq!(message, Err(expected.to_owned()));
}

#[test]
fn the_weekend_is_in_the_data_of_monday() {
    let timer = in_office("0 6 * * *", Roll::Skip);
    let interval = timer.interval_of(at("2026-12-28T05:00:00Z"));
    assert_eq!(interval.start, at("2026-12-24T05:00:00Z"));
}

#[test]
fn spans_of_days_follow_a_calendar_too() {
    let zone = Tz::UTC;
    let every = Every::new(DAY, Some(at("2026-12-21T06:00:00Z")), zone).unwrap();
    let timer = |roll| Timer {
        calendar: Some(office(roll)),
        ..Timer::new(Clock::Every(every.clone()), zone)
    };
    let expected = ["2026-12-24T06:00:00Z", "2026-12-28T06:00:00Z", "2026-12-29T06:00:00Z"];
    for roll in [Roll::Skip, Roll::Next, Roll::Previous] {
        assert_eq!(ticks(&timer(roll), "2026-12-23T06:00:00Z", 3), expected, "{roll:?}");
        let back = timer(roll).previous(at("2026-12-28T05:59:00Z"));
        assert_eq!(back, Some(at(expected[0])), "{roll:?}");
    }
    let often = Every::new(Duration::from_secs(1), None, zone).unwrap();
    let often =
        Timer { calendar: Some(office(Roll::Skip)), ..Timer::new(Clock::Every(often), zone) };
    assert_eq!(ticks(&often, "2026-12-24T23:59:59Z", 1), ["2026-12-28T00:00:00Z"]);
    let back = often.previous(at("2026-12-27T12:00:00Z"));
    assert_eq!(back, Some(at("2026-12-24T23:59:59Z")));
}

#[test]
fn nothing_is_due_in_a_window() {
    let clock = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    let night = Blackout { from: clock(22), to: clock(6), days: 0x7f };
    let zone = Tz::Europe__Zurich;
    let timer = Timer { blackout: vec![night], ..cron("0 */4 * * *", zone) };
    // 20:00, 08:00, 12:00 in Zurich.
    let expected = ["2026-01-01T19:00:00Z", "2026-01-02T07:00:00Z", "2026-01-02T11:00:00Z"];
    assert_eq!(ticks(&timer, "2026-01-01T17:00:00Z", 3), expected);
    assert_eq!(timer.previous(at("2026-01-02T06:00:00Z")), Some(at(expected[0])));
    assert_eq!(timer.interval_of(at(expected[1])).start, at(expected[0]));
    // What would be due in windows alone is never due.
    let never = Timer { blackout: vec![night], ..cron("0 23 * * *", zone) };
    assert_eq!(never.next_after(at("2026-01-01T00:00:00Z")), None);
    assert_eq!(never.previous(at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn jitter_is_drawn_from_the_dag_and_its_trigger() {
    let offset = |jitter: Duration, dag: &str, trigger: &str| {
        cron("0 * * * *", Tz::UTC).with_jitter(jitter, &dag.parse().unwrap(), trigger).offset
    };
    let all: BTreeSet<_> =
        (0..100).map(|n| offset(HOUR, &format!("dag{n}"), "cron 0 * * * *")).collect();
    // Spread over the span, and below it.
    assert!(all.len() > 95 && all.iter().all(|offset| *offset < HOUR), "{all:?}");
    assert!(all.first() < Some(&(HOUR / 10)) && all.last() > Some(&(HOUR / 10 * 9)), "{all:?}");
    assert_eq!(offset(HOUR, "a", "one"), offset(HOUR, "a", "one"));
    assert_ne!(offset(HOUR, "a", "one"), offset(HOUR, "a", "other"));
    assert_eq!(offset(Duration::ZERO, "a", "one"), Duration::ZERO);
}

#[test]
fn jitter_moves_the_begin_and_not_the_tick() {
    let offset = Duration::from_secs(90);
    let timer = Timer { offset, ..cron("0 * * * *", Tz::UTC) };
    let last = Some("2026-01-01T11:00:00Z");
    check(&timer, last, "2026-01-01T12:01:29Z", "> 2026-01-01T12:01:30Z");
    check(&timer, last, "2026-01-01T12:01:30Z", "!2026-01-01T12:00:00Z > 2026-01-01T13:01:30Z");
}

#[test]
fn ticks_of_several_timers_are_merged() {
    let timers = [cron("0 */2 * * *", Tz::UTC), cron("0 */3 * * *", Tz::UTC)];
    let after = at("2026-01-01T00:00:00Z");
    let merged: Vec<String> = tidemill_model::schedule::ticks(&timers, after)
        .take(5)
        .map(|(tick, timer)| format!("{tick} {}", timer.clock))
        .collect();
    let expected = [
        "2026-01-01T02:00:00Z cron 0 */2 * * *",
        "2026-01-01T03:00:00Z cron 0 */3 * * *",
        "2026-01-01T04:00:00Z cron 0 */2 * * *",
        "2026-01-01T06:00:00Z cron 0 */2 * * *",
        "2026-01-01T06:00:00Z cron 0 */3 * * *",
    ];
    assert_eq!(merged, expected);
    assert_eq!(tidemill_model::schedule::ticks(&[] as &[Timer], after).count(), 0);
}
