//! Days that depend on the month, ten years of them, against `croner`.

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use tidemill_model::Timestamp;
use tidemill_model::schedule::{CronOptions, Schedule};

const DAYS: [&str; 16] = [
    "0 2 L * *",
    "30 2 LW * *",
    "0 2 1W * *",
    "0 2 15W * *",
    "0 2 1,15,L * *",
    "0 2 31W * *",
    "0 2 29 2 *",
    "0 2 * * 5#2",
    "0 2 * * fri#5",
    "0 2 * * 1L",
    "0 2 * 3,6,9,12 5L",
    "0 2 * * 1#1,3#3",
    "0 2 * * 7#1",
    "*/20 9-10 L * *",
    "0 2 13 * 5#2",
    "0 2 L 2 *",
];

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The ticks from one instant, which is left out, to another, by `croner`.
fn expected(line: &str, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Vec<DateTime<Utc>> {
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    let cron = parser.parse(line).unwrap();
    let next = |at: &DateTime<Utc>| cron.find_next_occurrence(at, false).ok();
    let ticks = std::iter::successors(next(&from), |at| next(at));
    ticks.take_while(|at| *at <= to).collect()
}

fn check(line: &str, options: &CronOptions, span: (DateTime<Utc>, DateTime<Utc>)) {
    let schedule = Schedule::parse_with(line, chrono_tz::UTC, options.clone()).unwrap();
    let expected = expected(line, span);
    assert!(expected.len() > 2, "{line}: {expected:?}");
    let next = |at: Timestamp| schedule.next_after(at);
    let ticks = std::iter::successors(next(span.0.into()), |at| next(*at));
    let ticks: Vec<_> = ticks.map(Timestamp::to_utc).take_while(|at| *at <= span.1).collect();
    assert_eq!(ticks, expected, "{line}");
    // Backwards they are the same.
    let before = |at: Timestamp| schedule.previous(at.minus(std::time::Duration::from_micros(1)));
    let back = std::iter::successors(schedule.previous(span.1.into()), |at| before(*at));
    let mut back: Vec<_> = back.map(Timestamp::to_utc).take_while(|at| *at > span.0).collect();
    back.reverse();
    assert_eq!(back, expected, "{line}, backwards");
}

#[test]
fn days_of_ten_years_are_as_croner_says() {
    for line in DAYS {
        let span = (instant("2024-01-01T00:00:00Z"), instant("2034-01-01T00:00:00Z"));
        check(line, &CronOptions::default(), span);
    }
}

#[test]
fn seconds_are_as_croner_says() {
    let options = CronOptions { seconds: true, ..CronOptions::default() };
    for line in ["*/20 * * * * *", "5,59 */30 9 L * *", "0 0 2 * * mon#1", "30 59 23 * * *"] {
        let end =
            if line.contains(['L', '#']) { "2026-09-01T00:00:00Z" } else { "2026-02-23T12:00:00Z" };
        let span = (instant("2026-02-20T12:00:00Z"), instant(end));
        check(line, &options, span);
    }
}
