//! The five fields as Unix reads them, and as the matcher wants them.

use std::fmt::Write as _;

use super::days::{Days, Special};
use super::{BadSchedule, EXPRESSION_BYTES_MAX, Surprise};

/// A field: its values as bits, and how it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    values: u64,
    /// Days that depend on the month.
    special: Vec<Special>,
    starts_with_star: bool,
    has_step: bool,
}

/// The fields of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
    misleading: Vec<Surprise>,
}

struct Kind {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
    wraps: bool,
    special: fn(&str) -> Option<Special>,
}

impl Kind {
    const fn plain(name: &'static str, min: u8, max: u8) -> Self {
        Self { name, min, max, names: &[], wraps: false, special: |_| None }
    }
}

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SECOND: Kind = Kind::plain("second", 0, 59);
const MINUTE: Kind = Kind::plain("minute", 0, 59);
const HOUR: Kind = Kind::plain("hour", 0, 23);
const DAY: Kind = Kind { special: special_day, ..Kind::plain("day of the month", 1, 31) };
const MONTH: Kind = Kind { names: MONTHS, ..Kind::plain("month", 1, 12) };
const WEEKDAY: Kind = Kind {
    names: DAYS,
    wraps: true,
    special: special_weekday,
    ..Kind::plain("day of the week", 0, 7)
};

fn bad(message: impl Into<String>, offset: usize, help: impl Into<String>) -> BadSchedule {
    BadSchedule { message: message.into(), offset: Some(offset), help: Some(help.into()) }
}

/// What stands for five fields.
const NICKNAMES: &[(&str, &str)] = &[
    ("yearly", "0 0 1 1 *"),
    ("annually", "0 0 1 1 *"),
    ("monthly", "0 0 1 * *"),
    ("weekly", "0 0 * * 0"),
    ("daily", "0 0 * * *"),
    ("midnight", "0 0 * * *"),
    ("hourly", "0 * * * *"),
];

/// The five fields of a nickname.
fn nickname(text: &str, word: &str, at: usize) -> Result<&'static str, BadSchedule> {
    let word = word.to_ascii_lowercase();
    if let Some((_, fields)) = NICKNAMES.iter().find(|(name, _)| *name == word) {
        return Ok(fields);
    }
    let help = match word.split_ascii_whitespace().next().unwrap_or_default() {
        "every" => "write the minutes or hours as a step: `*/5 * * * *` is every five minutes",
        "reboot" => "a schedule knows instants only, not the start of the server",
        _ => "write five fields, or `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`",
    };
    Err(bad(format!("`{text}` is no schedule"), at, help))
}

/// Reads an expression; with `seconds`, it has a field for them before the others.
pub(super) fn parse(expression: &str, seconds: bool) -> Result<Fields, BadSchedule> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        let message = format!(
            "a schedule has at most {EXPRESSION_BYTES_MAX} bytes, this one has {}",
            expression.len()
        );
        return Err(bad(message, 0, "write ranges and steps instead of long lists"));
    }
    let start = expression.len() - expression.trim_start().len();
    let text = expression.trim();
    let fields = match text.strip_prefix('@') {
        None => text,
        Some(word) => nickname(text, word, start)?,
    };
    let mut words: Vec<(usize, &str)> = Vec::new();
    let mut end = 0;
    for word in fields.split_ascii_whitespace() {
        end += fields[end..].find(word).unwrap_or_default();
        words.push((start + end, word));
        end += word.len();
    }
    if !seconds || text.starts_with('@') {
        words.insert(0, (start, "0"));
    }
    let [second, minute, hour, day, month, weekday] = words.as_slice() else {
        return Err(other_count(words.len(), seconds, start));
    };
    let mut fields = Fields {
        second: field(&SECOND, *second)?,
        minute: field(&MINUTE, *minute)?,
        hour: field(&HOUR, *hour)?,
        day: field(&DAY, *day)?,
        month: field(&MONTH, *month)?,
        weekday: field(&WEEKDAY, *weekday)?,
        misleading: Vec::new(),
    };
    // Sunday is 0 and 7.
    if fields.weekday.values & (1 << 7) != 0 {
        fields.weekday.values = fields.weekday.values & !(1 << 7) | 1;
    }
    fields.misleading = [
        (second.1, 60, "seconds", "minute"),
        (minute.1, 60, "minutes", "hour"),
        (hour.1, 24, "hours", "day"),
        (day.1, 31, "days", "month"),
    ]
    .into_iter()
    .filter_map(|(word, size, unit, whole)| misleading(word, size, unit, whole))
    .collect();
    Ok(fields)
}

/// Refuses so many fields, that of the seconds included.
fn other_count(count: usize, seconds: bool, at: usize) -> BadSchedule {
    if seconds {
        let message = format!("with `seconds` a cron line has six fields, this one has {count}");
        return bad(message, at, "write the second before the minute: `30 0 2 * * *`");
    }
    let help = match count - 1 {
        6 => "leave the seconds out, or say that they are there: `seconds: true`",
        7 => {
            "leave the seconds and the year out: minute, hour, day of the month, month, day of \
             the week"
        }
        _ => {
            "write minute, hour, day of the month, month, day of the week: `0 2 * * *` is every \
             day at 02:00"
        }
    };
    bad(format!("a schedule has five fields, this one has {}", count - 1), at, help)
}

/// What is misleading about a step that does not divide its field.
fn misleading(word: &str, size: u32, unit: &str, whole: &str) -> Option<Surprise> {
    let step: u32 = word.strip_prefix("*/")?.parse().ok()?;
    if step >= size {
        let message =
            format!("`{word}` does not mean every {step} {unit}: it fires once in each {whole}");
        let first = u32::from(unit == "days");
        return Some(Surprise { message, help: format!("write `{first}`, which says the same") });
    }
    // Months differ in length, so that no step divides them all.
    let dividers = || (1..size).filter(|n| size.is_multiple_of(*n) && unit != "days");
    (!size.is_multiple_of(step)).then(|| Surprise {
        message: format!(
            "`{word}` does not mean every {step} {unit}: it starts anew with each {whole}, so the \
             last gap is shorter"
        ),
        help: match (dividers().rfind(|n| *n < step), dividers().find(|n| *n > step)) {
            (Some(less), Some(more)) => format!(
                "write a step that divides the {whole}, such as `*/{less}` or `*/{more}`, or list \
                 the {unit}"
            ),
            (Some(less), None) => format!(
                "write a step that divides the {whole}, such as `*/{less}`, or list the {unit}"
            ),
            _ => format!("list the {unit} if that is not what you want"),
        },
    })
}

fn field(kind: &Kind, (offset, word): (usize, &str)) -> Result<Field, BadSchedule> {
    let (mut values, mut special) = (0_u64, Vec::new());
    let mut at = offset;
    for item in word.split(',') {
        match (kind.special)(item) {
            Some(day) => special.push(day),
            None => values |= item_values(kind, at, item)?,
        }
        at += item.len() + 1;
    }
    Ok(Field {
        values,
        special,
        starts_with_star: word.starts_with(['*', '?']),
        has_step: word.contains('/'),
    })
}

/// `L`, `LW`, `15W`.
fn special_day(item: &str) -> Option<Special> {
    let item = item.to_ascii_uppercase();
    match item.strip_suffix('W') {
        None => (item == "L").then_some(Special::Last),
        Some("L") => Some(Special::LastWorking),
        Some(near) => value(&DAY, near).map(Special::NearestWorking),
    }
}

/// `5#2`, `5L`, `fri#2`, `friL`.
fn special_weekday(item: &str) -> Option<Special> {
    // Sunday is 0 and 7.
    let day = |text| value(&WEEKDAY, text).map(|day| day % 7);
    match item.split_once('#') {
        Some((weekday, count)) => {
            let count = value_of(count).filter(|count| (1..=5).contains(count))?;
            Some(Special::Nth(day(weekday)?, count))
        }
        None => day(item.strip_suffix(['L', 'l'])?).map(Special::LastOfWeek),
    }
}

fn item_values(kind: &Kind, at: usize, item: &str) -> Result<u64, BadSchedule> {
    let wrong = |what: &str| {
        bad(
            format!("`{item}` is no {}: {what}", kind.name),
            at,
            format!("write {} to {}, `a-b`, `*`, `*/n` or a list of them", kind.min, kind.max),
        )
    };
    let (range, step) = match item.split_once('/') {
        None => (item, None),
        Some((range, step)) => match value_of(step) {
            Some(step) if step > 0 => (range, Some(step)),
            _ => return Err(wrong("a step is a number from 1 to 255")),
        },
    };
    let (first, last) = match range {
        "*" => (kind.min, if kind.wraps { kind.max - 1 } else { kind.max }),
        "?" if matches!(kind.name, "day of the month" | "day of the week") => (kind.min, kind.max),
        _ => match range.split_once('-') {
            Some((first, last)) => (
                value(kind, first).ok_or_else(|| wrong("it is out of range"))?,
                value(kind, last).ok_or_else(|| wrong("it is out of range"))?,
            ),
            None if step.is_some() => {
                return Err(wrong("a step needs a range before it, such as `5-59/15`"));
            }
            None => {
                let only = value(kind, range).ok_or_else(|| wrong("it is out of range"))?;
                (only, only)
            }
        },
    };
    let span = match last.checked_sub(first) {
        Some(span) => span,
        // FRI-MON goes over the end of the week.
        None if kind.wraps => last + 7 - first,
        None => return Err(wrong("the range ends before it begins")),
    };
    let wrap = |n: u8| if kind.wraps && last < first { n % 7 } else { n };
    let step = usize::from(step.unwrap_or(1));
    Ok((0..=span).step_by(step).fold(0, |bits, n| bits | 1 << wrap(first + n)))
}

fn value(kind: &Kind, text: &str) -> Option<u8> {
    let lower = text.to_ascii_lowercase();
    if let Some(place) = kind.names.iter().position(|name| *name == lower) {
        // Months count from 1, days of the week from 0, as `min` says.
        return u8::try_from(place).ok().map(|place| place + kind.min);
    }
    value_of(text).filter(|n| (kind.min..=kind.max).contains(n))
}

/// Digits alone: no sign, as `parse` would take it.
fn value_of(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl Field {
    fn list(&self, names: &[&str]) -> String {
        let mut text = String::new();
        for n in (0..64_usize).filter(|n| self.values & (1 << n) != 0) {
            let comma = if text.is_empty() { "" } else { "," };
            match names.get(n) {
                Some(name) => _ = write!(text, "{comma}{name}"),
                None => _ = write!(text, "{comma}{n}"),
            }
        }
        text
    }
}

impl Fields {
    /// Whether it repeats within the hour or every hour, instead of naming times of the day.
    pub(super) fn repeats(&self) -> bool {
        // All values are a star in other words.
        let repeats = |field: &Field, kind: &Kind| {
            field.starts_with_star
                || field.has_step
                || field.values.count_ones() == u32::from(kind.max - kind.min) + 1
        };
        repeats(&self.minute, &MINUTE) || repeats(&self.hour, &HOUR)
    }

    /// The expressions of the matcher, of which any may match: seconds first, days of the week as
    /// names, because its numbers mean other days.
    pub(super) fn matchers(&self) -> Vec<String> {
        let time = self.times();
        let month = self.month.list(&[]);
        let day = self.day.list(&[]);
        let weekday = self.weekday.list(DAYS);
        if self.day.starts_with_star || self.weekday.starts_with_star {
            return vec![format!("{time} {day} {month} {weekday}")];
        }
        // Both day fields given: Unix takes a day that matches either.
        vec![format!("{time} {day} {month} *"), format!("{time} * {month} {weekday}")]
    }

    /// The expression of the matcher for every day.
    pub(super) fn matcher_of_all_days(&self) -> String {
        format!("{} * * *", self.times())
    }

    fn times(&self) -> String {
        let fields = [&self.second, &self.minute, &self.hour];
        fields.map(|field| field.list(&[])).join(" ")
    }

    /// The days.
    pub(super) fn days(&self) -> Days {
        let (day, weekday) = (&self.day, &self.weekday);
        Days {
            months: self.month.values,
            of_month: day.values,
            of_week: weekday.values,
            special_of_month: day.special.clone(),
            special_of_week: weekday.special.clone(),
            either: !day.starts_with_star && !weekday.starts_with_star,
            calendar: None,
        }
    }

    /// What an author may have meant otherwise.
    pub(super) fn warnings(&self) -> Vec<Surprise> {
        let mut warnings = self.misleading.clone();
        if !self.day.starts_with_star && !self.weekday.starts_with_star {
            warnings.push(Surprise {
                message: "both day fields are given: a day that matches either of them is due"
                    .to_owned(),
                help:
                    "write `*` for the one that is not meant; for days that match both, give one \
                       and ask for the other in `when` of the tasks"
                        .to_owned(),
            });
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: &str) {
        let text = match parse(expression, false) {
            Ok(fields) => fields.matchers().join(" | "),
            Err(error) => format!("{}@{}", error.message, error.offset.unwrap_or_default()),
        };
        assert_eq!(text, expected, "{expression}");
    }

    #[test]
    fn fields_are_those_of_unix() {
        check("5 2 1 1 FRI-MON", "0 5 2 1 1 * | 0 5 2 * 1 sun,mon,fri,sat");
        check(
            "0 0 * * 0-7",
            "0 0 0 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31 1,2,3,4,5,6,7,8,9,10,11,12 sun,mon,tue,wed,thu,fri,sat",
        );
        check("0 0 1 1 6-1", "0 0 0 1 1 * | 0 0 0 * 1 sun,mon,sat");
        check("0 0 1 1 7-2", "0 0 0 1 1 * | 0 0 0 * 1 sun,mon,tue");
        check("0 0 1 1 ?", "0 0 0 1 1 sun,mon,tue,wed,thu,fri,sat");
        check("*/90 2 1 1 ?", "0 0 2 1 1 sun,mon,tue,wed,thu,fri,sat");
        check(
            "5 2 * 1 5-7",
            "0 5 2 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31 1 sun,fri,sat",
        );
        check("*/20 2 1 jan-mar *", "0 0,20,40 2 1 1,2,3 sun,mon,tue,wed,thu,fri,sat");
        check("0 0 1 1 1-5/2", "0 0 0 1 1 * | 0 0 0 * 1 mon,wed,fri");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        check("61 * * * *", "`61` is no minute: it is out of range@0");
        check("0 22-2 * * *", "`22-2` is no hour: the range ends before it begins@2");
        check("0 1,2,x * * *", "`x` is no hour: it is out of range@6");
        check("0 1,,2 * * *", "`` is no hour: it is out of range@4");
        check(
            "0 0 1/2 * *",
            "`1/2` is no day of the month: a step needs a range before it, such as `5-59/15`@4",
        );
        check("0 0 +1 * *", "`+1` is no day of the month: it is out of range@4");
        check("0 0 0 * *", "`0` is no day of the month: it is out of range@4");
        check("0 0 L-3 * *", "`L-3` is no day of the month: it is out of range@4");
        check("0 0 32W * *", "`32W` is no day of the month: it is out of range@4");
        check("0 0 * * L", "`L` is no day of the week: it is out of range@8");
        check("0 0 * * 5#6", "`5#6` is no day of the week: it is out of range@8");
        check("0 L * * *", "`L` is no hour: it is out of range@2");
        check("0 0 * 13 *", "`13` is no month: it is out of range@6");
        check("  0\t0 * 1  8", "`8` is no day of the week: it is out of range@11");
        check("* * * *", "a schedule has five fields, this one has 4@0");
        check("0 * * * * *", "a schedule has five fields, this one has 6@0");
        check("0 0 * * * * 2026", "a schedule has five fields, this one has 7@0");
        check("", "a schedule has five fields, this one has 0@0");
        check("@reboot", "`@reboot` is no schedule@0");
        check(" @every 5m", "`@every 5m` is no schedule@1");
        check("*/0 * * * *", "`*/0` is no minute: a step is a number from 1 to 255@0");
        check("*/+5 * * * *", "`*/+5` is no minute: a step is a number from 1 to 255@0");
        check("ä * * * *", "`ä` is no minute: it is out of range@0");
        check(&"*".repeat(513), "a schedule has at most 512 bytes, this one has 513@0");
    }

    #[test]
    fn help_says_what_to_write() {
        let help = |expression| {
            parse(expression, false).err().and_then(|error| error.help).unwrap_or_default()
        };
        assert!(help("@every 5m").contains("`*/5 * * * *`"));
        assert!(help("@reboot").contains("not the start of the server"));
        assert!(help("0 0 * * * *").starts_with("leave the seconds out"));
        assert!(help("0 0 * * * * *").starts_with("leave the seconds and the year out"));
        assert_eq!(help("60 * * * *"), "write 0 to 59, `a-b`, `*`, `*/n` or a list of them");
    }

    #[test]
    fn what_misleads_is_warned_of() {
        let warnings = |expression| {
            let warnings =
                parse(expression, false).map(|fields| fields.warnings()).unwrap_or_default();
            warnings.into_iter().map(|w| w.message).collect::<Vec<_>>().join("; ")
        };
        for calm in ["*/5 * * * *", "*/15 */6 * * *", "0 0 */2 * MON", "0 0 * * *", "* * * * *"] {
            let expected = if calm.contains("*/2") {
                "`*/2` does not mean every 2 days: it starts anew with each month, so the last \
                 gap is shorter"
            } else {
                ""
            };
            assert_eq!(warnings(calm), expected, "{calm}");
        }
        assert!(warnings("*/7 * * * *").starts_with("`*/7` does not mean every 7 minutes"));
        assert!(warnings("*/33 * * * *").starts_with("`*/33` does not mean every 33 minutes"));
        assert!(warnings("0 */7 * * *").starts_with("`*/7` does not mean every 7 hours"));
        assert!(warnings("*/90 * * * *").ends_with("it fires once in each hour"));
        assert!(warnings("0 0 13 * FRI").starts_with("both day fields are given"));
        let help = |expression| parse(expression, false).map(|f| f.warnings()[0].help.clone());
        let expected =
            "write a step that divides the hour, such as `*/6` or `*/10`, or list the minutes";
        assert_eq!(help("*/7 * * * *"), Ok(expected.to_owned()));
        assert_eq!(help("*/90 * * * *"), Ok("write `0`, which says the same".to_owned()));
    }

    #[test]
    fn a_full_field_repeats_like_a_star() {
        let repeats = |expression| parse(expression, false).map(|fields| fields.repeats());
        for expression in ["* 1 * * *", "0 * * * *", "*/5 1 * * *", "0 0-23 * * *", "0 0-8/2 * * *"]
        {
            assert_eq!(repeats(expression), Ok(true), "{expression}");
        }
        for expression in ["0 1 * * *", "0,30 1 * * *", "0 9-17 * * *"] {
            assert_eq!(repeats(expression), Ok(false), "{expression}");
        }
    }
}
