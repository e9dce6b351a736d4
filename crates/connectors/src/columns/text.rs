//! From the text of a cell to a value. Each function is exact: what does not fit is `None`.
//!
//! Written by hand over bytes, because these run once for every cell of every file.

/// So many digits fit into 64 bits, whatever they are.
const DIGITS_SAFE: usize = 18;

/// A whole number, with an optional sign.
pub(crate) fn int64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    if digits.len() <= DIGITS_SAFE {
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Built downwards, since the smallest number has no positive twin.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A floating-point number: `1`, `-2.50`, `1e-7`, `NaN`, `inf`. A number too large is `None`.
pub(crate) fn float64(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let overflown = value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit());
    (!overflown).then_some(value)
}

/// Texts of booleans, in any case.
pub(crate) const TRUE: [&str; 5] = ["true", "t", "yes", "y", "1"];
pub(crate) const FALSE: [&str; 5] = ["false", "f", "no", "n", "0"];

/// One of [`TRUE`] or [`FALSE`].
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if TRUE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        Some(true)
    } else if FALSE.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        Some(false)
    } else {
        None
    }
}

/// `YYYY-MM-DD` as days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let (days, rest) = leading_date(text)?;
    rest.is_empty().then_some(days)
}

/// A date, or a date and a time with an optional offset from UTC, as microseconds since
/// 1970-01-01T00:00:00Z. Without an offset the text is taken as UTC; digits of the fraction
/// after the sixth are dropped.
pub(crate) fn timestamp(text: &[u8]) -> Option<i64> {
    let (days, rest) = leading_date(text)?;
    let midnight = i64::from(days) * 86_400_000_000;
    let [b'T' | b't' | b' ', time @ ..] = rest else {
        return rest.is_empty().then_some(midnight);
    };
    let (micros, rest) = leading_time(time)?;
    let offset = offset_minutes(rest)?;
    Some(midnight + micros - offset * 60_000_000)
}

/// An exact number as its digits: `12.5` at scale 2 is 1250. Digits beyond the scale must be
/// zeros, since nothing is rounded in silence.
#[inline]
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if let Some(value) = short_decimal(digits, precision, scale) {
        return Some(i128::from(if negative { -value } else { value }));
    }
    long_decimal(negative, digits, precision, scale)
}

/// [`decimal`] for any number of digits.
fn long_decimal(negative: bool, digits: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = usize::try_from(scale).ok()?;
    let (kept, beyond) = fraction.split_at(fraction.len().min(scale));
    if beyond.iter().any(|b| *b != b'0') {
        return None;
    }
    let mut value: i128 = 0;
    let padding = std::iter::repeat_n(&b'0', scale - kept.len());
    for byte in whole.iter().chain(kept).chain(padding) {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// A number without a sign whose digits and scale fit into 64 bits, as nearly all do. `None` says
/// that it must be looked at with more care.
#[inline]
fn short_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i64> {
    let mut value: i64 = 0;
    let mut point = None;
    for (at, byte) in text.iter().enumerate().take(DIGITS_SAFE) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let fraction = point.map_or(0, |at| text.len() - at - 1);
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction)?;
    let digits = text.len() - usize::from(point.is_some());
    if digits == 0 || text.len() + missing > DIGITS_SAFE {
        return None;
    }
    let value = value * POWERS_OF_TEN[missing];
    let limit = POWERS_OF_TEN.get(usize::from(precision)).copied().unwrap_or(i64::MAX);
    (value < limit).then_some(value)
}

const POWERS_OF_TEN: [i64; DIGITS_SAFE + 1] = {
    let mut powers = [1; DIGITS_SAFE + 1];
    let mut at = 1;
    while at <= DIGITS_SAFE {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Days of the Gregorian calendar since 1970-01-01, counted in years that start in March, so
/// that the leap day is the last of its year.
const fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A number of exactly these digits.
fn digits(text: &[u8]) -> Option<i32> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0'))
    })
}

fn leading_date(text: &[u8]) -> Option<(i32, &[u8])> {
    let (date, rest) = text.split_at_checked(10)?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?);
    let real =
        year >= 1 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    real.then(|| (first_of_month(year, month) + day - 1, rest))
}

/// The first of a month, as days since 1970-01-01.
fn first_of_month(year: i32, month: i32) -> i32 {
    let known = usize::try_from(year - FIRST_YEAR).ok().and_then(|year| FIRSTS.get(year));
    match known {
        Some(months) => months[(month - 1) as usize],
        None => days_from_civil(year, month, 1),
    }
}

const FIRST_YEAR: i32 = 1900;

/// The firsts of the months of 200 years, in which most dates lie.
static FIRSTS: [[i32; 12]; 200] = {
    let mut firsts = [[0; 12]; 200];
    let mut at = 0;
    while at < 200 * 12 {
        let (year, month) = (at / 12, at % 12);
        firsts[year][month] = days_from_civil(FIRST_YEAR + year as i32, month as i32 + 1, 1);
        at += 1;
    }
    firsts
};

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f` as microseconds of the day.
fn leading_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (minutes, mut rest) = text.split_at_checked(5)?;
    let (hour, minute) = (digits(&minutes[..2])?, digits(&minutes[3..])?);
    if minutes[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let mut micros = (i64::from(hour) * 3_600 + i64::from(minute) * 60) * 1_000_000;
    if let [b':', ten, one, after @ ..] = rest {
        let second = digits(&[*ten, *one]).filter(|second| *second < 60)?;
        micros += i64::from(second) * 1_000_000;
        rest = after;
        if let [b'.' | b',', after @ ..] = rest {
            let length = after.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&length) {
                return None;
            }
            let mut unit = 100_000;
            for byte in &after[..length.min(6)] {
                micros += i64::from(byte - b'0') * unit;
                unit /= 10;
            }
            rest = &after[length..];
        }
    }
    Some((micros, rest))
}

/// Minutes east of UTC: nothing, `Z`, ` UTC`, `+02:00`, `+0200`, `+02`.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [a, b] => (digits(&[*a, *b])?, 0),
        [a, b, c, d] | [a, b, b':', c, d] => (digits(&[*a, *b])?, digits(&[*c, *d])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Duration, NaiveDate, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers() {
        let check = |text: &str, expected| assert_eq!(int64(text.as_bytes()), expected, "{text}");
        check("0", Some(0));
        check("+7", Some(7));
        check("-9223372036854775808", Some(i64::MIN));
        check("9223372036854775807", Some(i64::MAX));
        check("9223372036854775808", None);
        check("-", None);
        check("", None);
        check("1 ", None);
        check("1.0", None);
        check("١", None);
    }

    #[test]
    fn floating_point_numbers() {
        let check = |text: &str, expected| assert_eq!(float64(text), expected, "{text}");
        check("2.55", Some(2.55));
        check("-1e3", Some(-1000.0));
        check("inf", Some(f64::INFINITY));
        check("1e999", None);
        check("1,5", None);
        check("", None);
    }

    #[test]
    fn booleans() {
        for (text, expected) in
            [("TRUE", Some(true)), ("no", Some(false)), ("1", Some(true)), ("2", None), ("", None)]
        {
            assert_eq!(boolean(text), expected, "{text}");
        }
    }

    #[test]
    fn dates() {
        let check = |text: &str, expected| assert_eq!(date(text.as_bytes()), expected, "{text}");
        check("1970-01-01", Some(0));
        check("2000-02-29", Some(11_016));
        check("1900-02-29", None);
        check("2011-00-10", None);
        check("2011-04-31", None);
        check("0000-01-01", None);
        check("2011-4-3", None);
        check("2011-04-03 ", None);
        check("2011/04/03", None);
    }

    #[test]
    fn instants() {
        let check = |text: &str, expected: Option<&str>| {
            let micros = expected.map(|e| {
                DateTime::parse_from_rfc3339(e).expect("a good example").timestamp_micros()
            });
            assert_eq!(timestamp(text.as_bytes()), micros, "{text}");
        };
        check("2010-12-01 08:26:00", Some("2010-12-01T08:26:00Z"));
        check("2010-12-01T08:26:00", Some("2010-12-01T08:26:00Z"));
        check("2010-12-01T08:26:00Z", Some("2010-12-01T08:26:00Z"));
        check("2010-12-01T08:26", Some("2010-12-01T08:26:00Z"));
        check("2010-12-01", Some("2010-12-01T00:00:00Z"));
        check("2010-12-01T08:26:00.5+02:00", Some("2010-12-01T06:26:00.5Z"));
        check("2010-12-01 08:26:00-0130", Some("2010-12-01T09:56:00Z"));
        check("2010-12-01 08:26:00.123456789 UTC", Some("2010-12-01T08:26:00.123456Z"));
        check("1969-12-31T23:59:59.999999Z", Some("1969-12-31T23:59:59.999999Z"));
        check("2010-12-01T24:00:00", None);
        check("2010-12-01T08:60:00", None);
        check("2010-12-01T08:26:60", None);
        check("2010-12-01T08:26:00.", None);
        check("2010-12-01T", None);
        check("2010-12-01x", None);
        check("2010-12-01T08:26:00+2", None);
        check("2010-12-01T08:26:00+24:00", None);
        check("2010-12-01T08:26:00ZZ", None);
    }

    #[test]
    fn exact_numbers() {
        let check = |text: &str, expected| {
            assert_eq!(decimal(text.as_bytes(), 5, 2), expected, "{text}");
        };
        check("12.5", Some(1250));
        check("-0.05", Some(-5));
        check("+7", Some(700));
        check(".5", Some(50));
        check("5.", Some(500));
        check("1.2500", Some(125));
        check("1.255", None);
        check("999.99", Some(99_999));
        check("1000", None);
        check(".", None);
        check("-", None);
        check("1e2", None);
        check("1.2.3", None);
    }

    #[test]
    fn exact_numbers_short_and_long() {
        let check = |text: &str, expected| {
            assert_eq!(decimal(text.as_bytes(), 38, 3), expected, "{text}");
        };
        check("123456789012345", Some(123_456_789_012_345_000));
        check("1234567890123456", Some(1_234_567_890_123_456_000));
        check("-12345678901234567890.5", Some(-12_345_678_901_234_567_890_500));
        check("00000000000000000000000001.5", Some(1_500));
        check("", None);
    }

    proptest! {
        #[test]
        fn every_day_is_counted_as_the_calendar_does(days in -719_162..2_932_896_i32) {
            let epoch = NaiveDate::default();
            let day = epoch + Duration::days(days.into());
            let text = format!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day());
            prop_assert_eq!(date(text.as_bytes()), Some(days));
        }

        #[test]
        fn every_instant_is_read_as_its_standard_says(micros in -62_135_596_800_000_000..253_402_300_799_999_999_i64) {
            let instant = DateTime::from_timestamp_micros(micros).expect("within the years 1 to 9999");
            let text = instant.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(timestamp(text.as_bytes()), Some(micros));
        }

        #[test]
        fn every_whole_number_is_read(value in any::<i64>(), short in -1_000..1_000_i64) {
            prop_assert_eq!(int64(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(int64(short.to_string().as_bytes()), Some(short));
        }

        #[test]
        fn every_exact_number_is_read(
            value in any::<i64>(),
            scale in 0..30_u8,
            zeros in 0..4_usize,
            shift in 0..60_u32,
        ) {
            let value = i128::from(value >> shift);
            let digits = format!("{:0width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{sign}{whole}.{fraction}{}", "0".repeat(zeros));
            prop_assert_eq!(decimal(text.as_bytes(), 38, scale as i8), Some(value));
            let fits = value.unsigned_abs() < 10_u128.pow(7);
            prop_assert_eq!(decimal(text.as_bytes(), 7, scale as i8).is_some(), fits);
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,40}") {
            let _ = (int64(text.as_bytes()), float64(&text), boolean(&text), date(text.as_bytes()));
            let _ = (timestamp(text.as_bytes()), decimal(text.as_bytes(), 38, 10));
        }
    }
}
