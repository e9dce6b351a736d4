//! How numbers, instants and spans read.

use std::time::Duration;

use chrono::{Datelike, Timelike};
use tidemill_model::time::human_duration;
use tidemill_model::words::noun;
use tidemill_model::{DataInterval, Timestamp};

/// An instant for a page: how far away, and exactly.
#[derive(Debug, Clone)]
pub(crate) struct When {
    /// RFC 3339, for programs.
    pub(crate) iso: String,
    /// `2026-11-24 18:55:46 UTC`, for a tooltip.
    pub(crate) full: String,
    /// `2 min ago`, `in 3 h`.
    pub(crate) relative: String,
    /// `18:55:46` on the same day, else `24 Nov 18:55`, with the year if it is another.
    pub(crate) short: String,
}

impl When {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: at.to_seconds_text(),
            full: at.to_utc().format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            relative: relative(at, now),
            short: short(at, now),
        }
    }
}

fn short(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_utc(), now.to_utc());
    let format = match () {
        () if at.date_naive() == now.date_naive() => "%H:%M:%S",
        () if at.year() == now.year() => "%-d %b %H:%M",
        () => "%-d %b %Y",
    };
    at.format(format).to_string()
}

/// `just now`, `2 min ago`, `in 3 h`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let (span, future) = if at > now { (at.since(now), true) } else { (now.since(at), false) };
    let seconds = span.as_secs();
    let text = match seconds {
        0..5 if !future => return "just now".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 if seconds < 36_000 && seconds / 60 % 60 > 0 => {
            format!("{} h {} min", seconds / 3_600, seconds / 60 % 60)
        }
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..5_184_000 => format!("{} d", seconds / 86_400),
        5_184_000..63_072_000 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    };
    if future { format!("in {text}") } else { format!("{text} ago") }
}

/// How long from start to end, or to now.
pub(crate) fn span(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    now: Timestamp,
) -> Option<String> {
    Some(duration(end.unwrap_or(now).since(start?)))
}

/// `541,909`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1_000.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// `1 row`, `2 rows`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    format!("{} {}", count(n), noun(n, one))
}

/// `24 Nov 2026` for a whole day in UTC, else both ends.
pub(crate) fn interval(interval: DataInterval) -> String {
    let (start, end) = (interval.start.to_utc(), interval.end.to_utc());
    let midnight = |at: chrono::DateTime<chrono::Utc>| at.num_seconds_from_midnight() == 0;
    let whole_days = midnight(start) && midnight(end);
    let span = interval.end.since(interval.start);
    if whole_days && span == Duration::from_hours(24) {
        return start.format("%-d %b %Y").to_string();
    }
    let format = if whole_days { "%-d %b %Y" } else { "%-d %b %Y %H:%M" };
    format!("{} – {}", start.format(format), end.format(format))
}

/// A span as a person says it, without an empty second half: `30 min`, not `30 min 0 s`.
pub(crate) fn duration(span: Duration) -> String {
    let text = human_duration(span);
    [" 0 s", " 0 min", " 0 h"]
        .iter()
        .find_map(|end| text.strip_suffix(end))
        .map_or_else(|| text.clone(), ToOwned::to_owned)
}

/// A number in at most four characters: `416k`.
pub(crate) fn compact(n: u64) -> String {
    let short = |unit: u64, name: &str| {
        let value = n as f64 / unit as f64;
        if value < 9.95 { format!("{value:.1}{name}") } else { format!("{value:.0}{name}") }
    };
    match n {
        0..10_000 => count(n),
        10_000..999_500 => short(1_000, "k"),
        999_500..999_500_000 => short(1_000_000, "M"),
        _ => short(1_000_000_000, "G"),
    }
}

/// A message in parts; the ones that are `true` stood between backticks.
pub(crate) fn ticks(text: &str) -> Vec<(bool, &str)> {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without a partner is just a character.
    if parts.len().is_multiple_of(2) {
        return vec![(false, text)];
    }
    let parts = parts.into_iter().enumerate().map(|(at, part)| (at % 2 == 1, part));
    parts.filter(|(_, part)| !part.is_empty()).collect()
}

/// The first line of a text, cut.
pub(crate) fn line(text: &str, chars: usize) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
    match line.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn instants_are_said_from_now() {
        let now = at("2026-11-24T12:00:00Z");
        for (text, expected) in [
            ("2026-11-24T11:59:58Z", "just now"),
            ("2026-11-24T11:59:20Z", "40 s ago"),
            ("2026-11-24T11:02:00Z", "58 min ago"),
            ("2026-11-24T09:30:00Z", "2 h 30 min ago"),
            ("2026-11-23T12:30:00Z", "23 h ago"),
            ("2026-11-20T12:00:00Z", "4 d ago"),
            ("2024-01-01T00:00:00Z", "2 years ago"),
            ("2026-11-24T12:05:00Z", "in 5 min"),
            ("2026-11-24T12:00:02Z", "in 2 s"),
        ] {
            assert_eq!(relative(at(text), now), expected, "{text}");
        }
        assert_eq!(When::new(at("2026-11-24T11:59:58Z"), now).short, "11:59:58");
        assert_eq!(When::new(at("2026-11-04T11:59:58Z"), now).short, "4 Nov 11:59");
        assert_eq!(When::new(at("2025-11-04T11:59:58Z"), now).short, "4 Nov 2025");
    }

    #[test]
    fn numbers_and_spans() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(541_909)],
            ["0", "999", "1,000", "541,909"]
        );
        assert_eq!(
            [compact(9_999), compact(12_345), compact(416_397), compact(1_234_567)],
            ["9,999", "12k", "416k", "1.2M"]
        );
        assert_eq!(
            ticks("no `a` in `b`"),
            [(false, "no "), (true, "a"), (false, " in "), (true, "b")]
        );
        assert_eq!(ticks("it`s"), [(false, "it`s")]);
        let spans = [1_800, 1_830, 7_200].map(|s| duration(Duration::from_secs(s)));
        assert_eq!(spans, ["30 min", "30 min 30 s", "2 h"]);
        assert_eq!([bytes(17), bytes(1_234_567)], ["17 B", "1.2 MB"]);
        assert_eq!([plural(1, "row"), plural(1_200, "row")], ["1 row", "1,200 rows"]);
        assert_eq!(interval("2026-01-31/2026-02-01".parse().expect("ok")), "31 Jan 2026");
        assert_eq!(
            interval("2026-01-01/2026-02-01".parse().expect("ok")),
            "1 Jan 2026 – 1 Feb 2026"
        );
        assert_eq!([line("\n  a\nb", 9), line("abcdef", 3)], ["a", "abc…"]);
    }
}
