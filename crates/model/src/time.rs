//! Instants and spans, as values. Nothing here reads a clock.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant: microseconds since 1970-01-01T00:00:00Z. Stored and compared as such; zones are
/// applied where a person reads.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first instant that a run can carry: 0001-01-01.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// The last instant that a run can carry: 9999-12-31.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `span` later, or [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }

    /// The instant `span` earlier, or [`Timestamp::MIN`].
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros)).max(Self::MIN)
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a chrono instant, for zones and formats.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The instant without a fraction: seconds are enough for names and titles.
    pub fn to_seconds_text(self) -> String {
        self.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many digits as the fraction needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// The text is neither a date nor an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date or an instant, for example `2026-01-31` or `2026-01-31T02:00:00Z`")]
pub struct BadTimestamp(pub String);

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    /// Reads RFC 3339, or a date or local instant taken as UTC, from [`Timestamp::MIN`] to
    /// [`Timestamp::MAX`].
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        read(text)
            .filter(|instant| (Self::MIN..=Self::MAX).contains(instant))
            .ok_or_else(|| BadTimestamp(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Timestamp> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.with_timezone(&Utc).into());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
            return Some(local.and_utc().into());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_time(chrono::NaiveTime::MIN).and_utc().into())
}

/// The half-open span of data that a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInterval {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// The text is not an interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadInterval {
    /// There is no `/`.
    #[error("`{0}` has one end only")]
    OneEnd(String),
    /// An end is no instant.
    #[error(transparent)]
    End(#[from] BadTimestamp),
    /// Nothing is in it.
    #[error("the interval starts and ends at {0}, so nothing is in it")]
    Empty(Timestamp),
    /// It ends before it starts.
    #[error("the interval starts at {start} and ends before that, at {end}")]
    Reversed {
        /// The first end as written.
        start: Timestamp,
        /// The second end as written.
        end: Timestamp,
    },
}

impl BadInterval {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::OneEnd(_) | Self::End(_) => {
                "write START/END, two dates or instants, the earlier first: `2026-01-31/2026-02-01`"
                    .to_owned()
            }
            Self::Empty(start) => {
                let day = start.plus(Duration::from_hours(24));
                format!("the end is not part of it: for one day write `{start}/{day}`")
            }
            Self::Reversed { start, end } => format!("swap them: `{end}/{start}`"),
        }
    }
}

impl FromStr for DataInterval {
    type Err = BadInterval;

    /// Reads `START/END`.
    fn from_str(text: &str) -> Result<Self, BadInterval> {
        let (start, end) =
            text.split_once('/').ok_or_else(|| BadInterval::OneEnd(text.to_owned()))?;
        let (start, end): (Timestamp, Timestamp) = (start.parse()?, end.parse()?);
        match start.cmp(&end) {
            Ordering::Less => Ok(Self { start, end }),
            Ordering::Equal => Err(BadInterval::Empty(start)),
            Ordering::Greater => Err(BadInterval::Reversed { start, end }),
        }
    }
}

/// The text is not a span such as `100ms`, `10s`, `5m`, `2h`, `1d`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write a number and a unit: `100ms`, `10s`, `5m`, `2h` or `1d`")]
pub struct BadDuration(pub String);

/// The longest span a DAG may ask for, in days; longer ones are slips of the pen.
const DURATION_DAYS_MAX: u64 = 3660;

/// A day, which stands for its midnight, or a local time, with seconds or without: `2026-01-31`,
/// `2026-01-31T02:00`, `2026-01-31 02:00:00`.
pub fn parse_local(text: &str) -> Option<NaiveDateTime> {
    const FORMS: [&str; 4] =
        ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let time = FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    time.or_else(|| Some(day()?.and_time(NaiveTime::MIN)))
}

/// Reads `100ms`, `10s`, `5m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let millis = number.checked_mul(millis).ok_or_else(bad)?;
    if millis > DURATION_DAYS_MAX * 86_400_000 {
        return Err(bad());
    }
    Ok(Duration::from_millis(millis))
}

/// A span as the language writes it: `90s`, `10m`, `1d`.
pub fn written_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let whole = units.into_iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    whole.map_or_else(String::new, |(name, unit)| format!("{}{name}", millis / unit))
}

/// A span as a person says it: `5.3 s`, `2 min 10 s`, `340 ms`.
pub fn human_duration(span: Duration) -> String {
    let micros = span.as_micros();
    let seconds = span.as_secs();
    match seconds {
        _ if micros < 1_000 => format!("{micros} µs"),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("100ms", 100),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1.5h", "-1s", "10 s", "10S", "99999999999999999d", "4000d"] {
            assert_eq!(parse_duration(text), Err(BadDuration(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn instants_round_trip() {
        for text in ["2026-01-31T02:00:00Z", "2026-01-31T02:00:00.123456Z", "0001-01-01T00:00:00Z"]
        {
            assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
        let day: Timestamp = "2026-01-31".parse().unwrap_or_default();
        assert_eq!(day.to_string(), "2026-01-31T00:00:00Z");
        for text in ["yesterday", "+12345-01-01", "-0001-01-01", "2026-02-30", ""] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_holds_something() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = text.parse::<DataInterval>();
            let got = got.map(|it| format!("{}/{}", it.start, it.end));
            let got = got.map_err(|error| format!("{error}; {}", error.help()));
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned));
        };
        check(
            "2026-01-31/2026-02-01T06:00:00+01:00",
            Ok("2026-01-31T00:00:00Z/2026-02-01T05:00:00Z"),
        );
        check(
            "2026-02-01/2026-01-01",
            Err("the interval starts at 2026-02-01T00:00:00Z and ends before that, at \
                 2026-01-01T00:00:00Z; swap them: `2026-01-01T00:00:00Z/2026-02-01T00:00:00Z`"),
        );
        check(
            "2026-01-01/2026-01-01T00:00:00Z",
            Err("the interval starts and ends at 2026-01-01T00:00:00Z, so nothing is in it; the \
                 end is not part of it: for one day write \
                 `2026-01-01T00:00:00Z/2026-01-02T00:00:00Z`"),
        );
        check(
            "2026-01-01",
            Err("`2026-01-01` has one end only; write START/END, two dates or instants, the \
                 earlier first: `2026-01-31/2026-02-01`"),
        );
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn spans_read_well() {
        let say = |millis| human_duration(Duration::from_millis(millis));
        assert_eq!(
            [say(340), say(5_340), say(130_000), say(7_260_000), say(90_000_000)],
            ["340 ms", "5.3 s", "2 min 10 s", "2 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["1ms", "1500ms", "90s", "10m", "25h", "2d", "3660d"] {
            let span = parse_duration(text).expect(text);
            assert_eq!(written_duration(span), text);
        }
        assert_eq!(written_duration(Duration::from_hours(1)), "1h");
        assert_eq!(written_duration(Duration::ZERO), "0d");
    }
}
