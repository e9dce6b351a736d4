//! Every clock change of every zone, 2024 to 2034, against `croner`.
//!
//! `croner` knows single times and intervals; what names several times is the union of its single
//! ones. `TIDEMILL_LONG=1` looks at every change; without it, each kind of change that a zone
//! makes is looked at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::Cron;
use tidemill_model::Timestamp;
use tidemill_model::schedule::Schedule;

use crate::long;
use crate::schedule::schedule;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Change {
    at: DateTime<Utc>,
    before: i32,
    after: i32,
}

fn offset(zone: Tz, at: i64) -> i32 {
    let at = DateTime::from_timestamp(at, 0).unwrap();
    zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
}

const DAY: i64 = 86_400;

/// The changes of a zone from 2024 to 2034.
fn changes(zone: Tz) -> Vec<Change> {
    let (mut at, end) = (1_704_067_200, 2_051_222_400);
    let mut found = Vec::new();
    while at < end {
        let (before, after) = (offset(zone, at), offset(zone, at + 5 * DAY));
        if before != after {
            let (mut low, mut high) = (at, at + 5 * DAY);
            while high - low > 1 {
                let half = i64::midpoint(low, high);
                if offset(zone, half) == before { low = half } else { high = half }
            }
            let at = DateTime::from_timestamp(high, 0).unwrap();
            found.push(Change { at, before, after });
        }
        at += 5 * DAY;
    }
    found
}

/// What to look at: each change once, however many names its zone has; without `long`, changes of
/// the same local time and size once.
fn worth_looking_at(long: bool) -> Vec<(Tz, Change)> {
    let mut seen = HashSet::new();
    TZ_VARIANTS
        .iter()
        .flat_map(|zone| changes(*zone).into_iter().map(|change| (*zone, change)))
        .filter(|(_, change)| {
            let local = change.at + TimeDelta::seconds(change.before.into());
            let kind = (local.time(), change.before, change.after);
            seen.insert((long.then_some(change.at), kind))
        })
        .collect()
}

/// The ticks of a window, by `croner`.
fn expected(
    expression: &str,
    zone: Tz,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let mut ticks = BTreeSet::new();
    for single in singles(expression) {
        let cron: Cron = single.parse().unwrap();
        let mut at = from.with_timezone(&zone);
        loop {
            at = cron.find_next_occurrence(&at, false).unwrap();
            if at > to {
                break;
            }
            ticks.insert(at.to_utc());
        }
    }
    ticks.into_iter().collect()
}

/// A list of minutes or hours as one expression for each.
fn singles(expression: &str) -> Vec<String> {
    let (minutes, rest) = expression.split_once(' ').unwrap();
    let (hours, rest) = rest.split_once(' ').unwrap();
    let minutes: Vec<&str> = minutes.split(',').collect();
    hours
        .split(',')
        .flat_map(|hour| minutes.iter().map(move |minute| format!("{minute} {hour} {rest}")))
        .collect()
}

/// Expressions that a change may upset, the local times around it among them.
fn expressions(change: Change) -> Vec<String> {
    let local = |offset: i32| -> NaiveDateTime {
        change.at.naive_utc() + TimeDelta::seconds(offset.into())
    };
    let (one, other) = (local(change.before), local(change.after));
    let (low, high) = (one.min(other), one.max(other));
    let mut texts: Vec<String> =
        ["*/30 * * * *", "0 * * * *", "*/20 */2 * * *", "15 * * * *"].map(str::to_owned).into();
    let inside = low + (high - low) / 2;
    let times = [low - TimeDelta::minutes(1), low, inside, high - TimeDelta::minutes(1), high];
    texts.extend(times.map(|time| format!("{} {} * * *", time.minute(), time.hour())));
    texts.push(format!("*/15 {} * * *", inside.hour()));
    texts.push(format!("{} * * * *", inside.minute()));
    texts.push(format!("0,30 {},{} * * *", low.hour(), (high.hour() + 1) % 24));
    texts
}

fn check(zone: Tz, change: Change, expression: &str) {
    let schedule = schedule(expression, zone);
    let (from, to) = (change.at - TimeDelta::hours(26), change.at + TimeDelta::hours(26));
    let expected = expected(expression, zone, from, to);
    let mut ticks = Vec::new();
    let mut at = Timestamp::from(from);
    while let Some(next) = schedule.next_after(at).filter(|next| next.to_utc() <= to) {
        ticks.push(next.to_utc());
        at = next;
    }
    assert_eq!(ticks, expected, "`{expression}` in {zone} around {change:?}");
    check_starts(&schedule, change, &expected);
}

/// A restart at any moment around the change finds the same ticks, in both directions.
fn check_starts(schedule: &Schedule, change: Change, ticks: &[DateTime<Utc>]) {
    for step in -24..=24 {
        let start = change.at + TimeDelta::minutes(7 * step);
        let next = ticks.iter().find(|tick| **tick > start).copied();
        let before = ticks.iter().rfind(|tick| **tick <= start).copied();
        if let Some(next) = next {
            let found = schedule.next_after(start.into()).map(Timestamp::to_utc);
            assert_eq!(found, Some(next), "{schedule:?} after {start}");
        }
        if let Some(before) = before {
            let found = schedule.previous(start.into()).map(Timestamp::to_utc);
            assert_eq!(found, Some(before), "{schedule:?} before {start}");
        }
    }
}

#[test]
fn every_kind_of_clock_change_is_as_croner_says() {
    let looked_at = worth_looking_at(long());
    let mut kinds: BTreeMap<i32, u32> = BTreeMap::new();
    for (zone, change) in &looked_at {
        *kinds.entry(change.after - change.before).or_default() += 1;
        for expression in expressions(*change) {
            check(*zone, *change, &expression);
        }
    }
    // The database holds gaps and folds of an hour, of half an hour (Lord Howe) and of two (Troll).
    for shift in [-7_200, -3_600, -1_800, 1_800, 3_600, 7_200] {
        assert!(kinds.contains_key(&shift), "no change by {shift} s: {kinds:?}");
    }
}
