//! How long the other side asks to wait.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use tidemill_model::retry::ASKED_WAIT_MAX;

/// The wait that a `Retry-After` header asks for: seconds, or a date.
///
/// A date counts from `date`, the other side's own clock as its `Date` header tells it, so that a
/// clock that is wrong here or there does not matter; without that header it counts from `now`.
/// What is no number and no date, or is negative, asks for nothing; a date that has passed asks
/// to try at once.
pub(super) fn retry_after(value: &str, date: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number holds are surely more than the limit.
        return Some(value.parse().map_or(ASKED_WAIT_MAX, Duration::from_secs).min(ASKED_WAIT_MAX));
    }
    let until = http_date(value)?;
    let from = date.and_then(http_date).unwrap_or(now);
    let wait = until.signed_duration_since(from).max(TimeDelta::zero());
    Some(wait.to_std().unwrap_or(ASKED_WAIT_MAX).min(ASKED_WAIT_MAX))
}

/// The three forms that RFC 9110 knows, all in UTC. The day of the week adds nothing, so a wrong one
/// harms nothing.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    let (_, rest) = text.trim().split_once(' ')?;
    ["%d %b %Y %H:%M:%S GMT", "%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(rest.trim(), form).ok())
        .map(|instant| instant.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_are_asked_for() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T12:00:00Z").unwrap().to_utc();
        let check = |value: &str, date: Option<&str>, seconds: Option<u64>| {
            let got = retry_after(value, date, now);
            assert_eq!(got, seconds.map(Duration::from_secs), "{value:?} {date:?}");
        };
        check("0", None, Some(0));
        check("120", None, Some(120));
        check(" 7 ", None, Some(7));
        check("3601", None, Some(3_601));
        check("86401", None, Some(86_400));
        check("99999999999999999999999999", None, Some(86_400));
        check("-1", None, None);
        check("1.5", None, None);
        check("", None, None);
        check("soon", None, None);
        check("+5", None, None);
        check("Tue, 24 Nov 2026 12:00:30 GMT", None, Some(30));
        check("Tuesday, 24-Nov-26 12:00:30 GMT", None, Some(30));
        check("Tue Nov 24 12:00:30 2026", None, Some(30));
        check("Tue, 24 Nov 2026 11:00:00 GMT", None, Some(0));
        check("Fri, 01 Jan 2100 00:00:00 GMT", None, Some(86_400));
        check("Tue, 24 Nov 2026 12:00:30 GMT", Some("Tue, 24 Nov 2026 12:00:20 GMT"), Some(10));
        check("Tue, 24 Nov 2026 12:00:30 GMT", Some("nonsense"), Some(30));
        check("Mon, 24 Nov 2026 12:00:30 GMT", None, Some(30));
        check("Tue, 99 Nov 2026 12:00:30 GMT", None, None);
        check("Tue, 24 Nov 2026 12:00:30 CET", None, None);
    }
}
