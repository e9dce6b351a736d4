//! Local time and the instants it stands for.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

/// What the clocks of a zone show.
pub(super) fn local(instant: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    instant.with_timezone(&zone).naive_local()
}

/// The instant of a time that is meant once: in a fold the first of the two, in a gap the first
/// instant after it.
pub(super) fn instant_of(naive: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&naive) {
        MappedLocalTime::Single(at) => at.to_utc(),
        MappedLocalTime::Ambiguous(one, other) => one.min(other).to_utc(),
        MappedLocalTime::None => end_of_gap(naive, zone),
    }
}

/// The first instant after the gap that swallowed a local time.
pub(super) fn end_of_gap(naive: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    // Around one gap local time only grows, so the place is found by halves. Clocks change on whole
    // seconds.
    let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap_or_default();
    let middle = naive.and_utc().timestamp();
    let (mut before, mut after) = (middle - 48 * 3_600, middle + 48 * 3_600);
    while after - before > 1 {
        let half = before + (after - before) / 2;
        if local(at(half), zone) < naive { before = half } else { after = half }
    }
    at(after)
}
