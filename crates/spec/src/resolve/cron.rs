//! Cron lines of triggers: what `schedule` takes, and what it will take later.
//!
//! `L`, `LW`, `15W`, `5#2`, `5L` and a field for seconds have no code that finds their ticks yet.
//! The rest of such a line is read as ever: what is not known stands in for by a value that is, of
//! the same length, so that places stay.

use chrono_tz::Tz;
use tidemill_model::schedule::{BadSchedule, Schedule, Surprise};

/// Checks a line, and tells what may surprise about it.
pub(crate) fn check(text: &str, seconds: bool, zone: Tz) -> Result<Vec<Surprise>, BadSchedule> {
    let words = words(text);
    if text.trim_start().starts_with('@') {
        return Ok(Schedule::parse(text, zone)?.warnings());
    }
    let lead = words.first().map(|(at, _)| *at);
    let (rest, fields) = match (words.as_slice(), seconds) {
        ([second, fields @ ..], true) if fields.len() == 5 => {
            check_seconds(*second)?;
            (fields[0].0, fields)
        }
        (all, true) => {
            return Err(BadSchedule {
                message: format!(
                    "with `seconds` a cron line has six fields, this one has {}",
                    all.len()
                ),
                offset: lead,
                help: Some("write the second before the minute: `30 0 2 * * *`".to_owned()),
            });
        }
        (all, false) => (0, all),
    };
    let mut line = " ".repeat(rest) + &text[rest..];
    for (field, stand_in) in [(2, day as StandIn), (4, weekday)] {
        let Some((at, word)) = fields.get(field).filter(|_| fields.len() == 5) else { continue };
        let items: Vec<String> =
            word.split(',').map(|item| stand_in(item).unwrap_or_else(|| item.to_owned())).collect();
        line.replace_range(*at..*at + word.len(), &items.join(","));
    }
    Ok(Schedule::parse(&line, zone)
        .map_err(|bad| if fields.len() == 6 { with_seconds(bad) } else { bad })?
        .warnings())
}

/// Gives an item that the model does not know as one that it does, if it is one.
type StandIn = fn(&str) -> Option<String>;

fn words(text: &str) -> Vec<(usize, &str)> {
    let mut end = 0;
    let place = |word| {
        end += text[end..].find(word).unwrap_or_default() + str::len(word);
        (end - word.len(), word)
    };
    text.split_ascii_whitespace().map(place).collect()
}

/// A second is written as a minute is.
fn check_seconds((at, word): (usize, &str)) -> Result<(), BadSchedule> {
    let line = format!("{}{word} * * * *", " ".repeat(at));
    let say = |bad: BadSchedule| BadSchedule {
        message: bad.message.replace("is no minute", "is no second"),
        ..bad
    };
    Schedule::parse(&line, Tz::UTC).map(|_| ()).map_err(say)
}

fn with_seconds(bad: BadSchedule) -> BadSchedule {
    let help = "leave the seconds out, or say that they are there: `seconds: true`".to_owned();
    BadSchedule { help: Some(help), ..bad }
}

/// `L`, `LW`, `15W`.
fn day(item: &str) -> Option<String> {
    let item = item.to_ascii_uppercase();
    let is_one = match item.strip_suffix('W') {
        None => item == "L",
        Some("L") => true,
        Some(near) => number(near, 1..=31),
    };
    is_one.then(|| one(item.len()))
}

/// `5#2`, `5L`, `fri#2`, `friL`.
fn weekday(item: &str) -> Option<String> {
    const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let item = item.to_ascii_uppercase();
    let (day, is_counted) = match item.split_once('#') {
        Some((day, count)) => (day, number(count, 1..=5)),
        None => (item.strip_suffix('L')?, true),
    };
    (is_counted && (DAYS.contains(&day) || number(day, 0..=7))).then(|| one(item.len()))
}

fn number(text: &str, range: std::ops::RangeInclusive<u8>) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && text.parse().is_ok_and(|number| range.contains(&number))
}

/// The number one in so many digits.
fn one(digits: usize) -> String {
    format!("{:0>digits$}", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, seconds: bool) -> String {
        match check(text, seconds, Tz::UTC) {
            Ok(warnings) => warnings.into_iter().map(|w| w.message).collect::<Vec<_>>().join("; "),
            Err(bad) => format!("{}@{}", bad.message, bad.offset.unwrap_or_default()),
        }
    }

    #[test]
    fn lines_that_come_later_are_taken() {
        for line in [
            "0 2 L * *",
            "0 2 LW * *",
            "0 2 1,15W * *",
            "0 2 * * 5#2",
            "0 2 * * fri#1,5L",
            "0 2 * * monL",
            "@daily",
            "*/15 * * * *",
            "0 0 l 2 *",
        ] {
            assert_eq!(said(line, false), "", "{line}");
        }
        assert_eq!(said("*/10 0 2 * * *", true), "");
        assert_eq!(said("@hourly", true), "");
    }

    #[test]
    fn lines_that_are_none_are_told_with_their_place() {
        for (line, expected) in [
            ("0 2 32W * *", "`32W` is no day of the month: it is out of range@4"),
            ("0 2 L-3 * *", "`L-3` is no day of the month: it is out of range@4"),
            ("0 2 * * 5#6", "`5#6` is no day of the week: it is out of range@8"),
            ("0 2 * * L", "`L` is no day of the week: it is out of range@8"),
            ("0 L * * *", "`L` is no hour: it is out of range@2"),
            ("0 2 L 13 *", "`13` is no month: it is out of range@6"),
            ("0 0 2 * * *", "a schedule has five fields, this one has 6@0"),
            ("ä L", "a schedule has five fields, this one has 2@0"),
        ] {
            assert_eq!(said(line, false), expected, "{line}");
        }
        let expected = "with `seconds` a cron line has six fields, this one has 5@1";
        assert_eq!(said(" 0 2 * * *", true), expected);
        assert_eq!(said("61 0 2 * * *", true), "`61` is no second: it is out of range@0");
        assert_eq!(said(" 0  61 2 * * *", true), "`61` is no minute: it is out of range@4");
    }

    #[test]
    fn what_surprises_is_told() {
        assert!(said("*/7 * * * *", false).starts_with("`*/7` does not mean every 7 minutes"));
        assert!(said("0 2 L * mon", false).starts_with("both day fields are given"));
    }
}
