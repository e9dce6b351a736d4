//! Single values: texts, numbers, durations, names.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::{TZ_VARIANTS, Tz};
use tidemill_model::id::BadName;
use tidemill_model::schedule::{BadSchedule, Surprise};
use tidemill_model::time::parse_duration;

use crate::codes;
use crate::report::{Draft, Place, Report, Source, quoted};
use crate::settings::type_help;
use crate::yaml::node::{Data, Entry, Node};

/// Reports a value of another type than the key takes. `key` is where to point when the value is
/// nothing.
pub(crate) fn wrong_type<'r>(
    what: &str,
    wanted: &[&str],
    node: &Node,
    key: Place,
    report: &'r mut Report,
) -> &'r mut Draft {
    let place = if node.is_null() { key } else { node.place };
    let help = only_an_anchor(node, key, &report.source)
        .or_else(|| takes_no_expr(wanted, node))
        .or_else(|| type_help(wanted, node, &report.source))
        .or_else(|| form(wanted, node));
    let message = format!("{what} must be {}, not {}", wanted.join(" or "), node.kind());
    report.error(&codes::WRONG_TYPE, place, message).maybe_help(help)
}

/// What to do about an expression where none is read.
fn takes_no_expr(wanted: &[&str], node: &Node) -> Option<String> {
    let help = match wanted {
        ["a mapping"] => "write its keys out: no expression gives them",
        _ => NO_EXPR,
    };
    node.holds_expr().then(|| help.to_owned())
}

/// The remedy for an expression where none is read.
pub(crate) const NO_EXPR: &str = "write the value itself: this key takes no `${{ … }}`";

/// Reports an expression where only `wanted` is read; false when it is none.
pub(crate) fn is_expr(
    what: &str,
    wanted: &str,
    text: &str,
    place: Place,
    report: &mut Report,
) -> bool {
    let is_expr = text.contains("${{");
    if is_expr {
        let message = format!("{what} must be {wanted}, not an expression");
        report.error(&codes::WRONG_TYPE, place, message).help(NO_EXPR);
    }
    is_expr
}

/// What to do about a text that was taken for the anchor of nothing, because of its `&`.
fn only_an_anchor(node: &Node, key: Place, source: &Source) -> Option<String> {
    let behind = source.text.get(key.end as usize..).filter(|_| node.is_null())?;
    let behind = behind.lines().next()?.trim_start_matches([':', ' ']).trim_end();
    let text = behind.split(['}', ',', ']']).next()?;
    text.starts_with('&').then(|| format!("a text that starts with `&` needs quotes: `\"{text}\"`"))
}

/// How a value of a type is written.
fn form(wanted: &[&str], node: &Node) -> Option<String> {
    if node.is_null() {
        return Some("give it a value, or leave it out".to_owned());
    }
    let form = match *wanted.first()? {
        "a string" => "write one text",
        "an integer" => "write a whole number, for example `3`",
        "a number" => "write a number, for example `1.5`",
        "a list" => "write a list, for example `[a, b]`",
        "a mapping" => "write keys with values, for example `{a: b}`",
        "a column" => "write the name of a column, or a list of names",
        _ => return None,
    };
    Some(form.to_owned())
}

/// The text of a key.
pub(crate) fn text<'n>(what: &str, entry: &'n Entry, report: &mut Report) -> Option<&'n str> {
    text_of(what, &entry.node, entry.place, report)
}

/// A text that may stand in a list.
pub(crate) fn text_of<'n>(
    what: &str,
    node: &'n Node,
    key: Place,
    report: &mut Report,
) -> Option<&'n str> {
    let text = node.text();
    if text.is_none() {
        wrong_type(what, &["a string"], node, key, report);
    }
    text
}

/// The texts of a list.
pub(crate) fn texts<'n>(
    what: &str,
    entry: &'n Entry,
    report: &mut Report,
) -> Vec<(&'n str, Place)> {
    let Data::List(items) = &entry.node.data else {
        wrong_type(what, &["a list"], &entry.node, entry.place, report);
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| {
            let what = format!("an item of {what}");
            text_of(&what, item, entry.place, report).map(|text| (text, item.place))
        })
        .collect()
}

/// A mapping's entries.
pub(crate) fn entries<'n>(what: &str, entry: &'n Entry, report: &mut Report) -> &'n [Entry] {
    entry.node.entries().unwrap_or_else(|| {
        wrong_type(what, &["a mapping"], &entry.node, entry.place, report);
        &[]
    })
}

/// A duration, which is not zero.
pub(crate) fn duration(what: &str, entry: &Entry, report: &mut Report) -> Option<Duration> {
    if let Data::Number(number) = &entry.node.data {
        let message = format!("{what} needs a unit");
        report
            .error(&codes::DURATION, entry.node.place, message)
            .help(format!("write `{number}s` for seconds; units are `ms`, `s`, `m`, `h`, `d`"));
        return None;
    }
    let text = text(what, entry, report)?;
    duration_text(what, text, entry.node.place, report)
}

/// A text that is a duration, which is not zero.
pub(crate) fn duration_text(
    what: &str,
    text: &str,
    place: Place,
    report: &mut Report,
) -> Option<Duration> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => {
            let message = format!("{what} must be longer than nothing");
            report
                .error(&codes::DURATION, place, message)
                .help("write for example `10s`, or leave the key out");
            None
        }
        Ok(duration) => Some(duration),
        Err(_) => {
            bad_duration(what, text, place, report);
            None
        }
    }
}

/// Reports a text that is no duration.
pub(crate) fn bad_duration(what: &str, text: &str, place: Place, report: &mut Report) {
    if is_expr(what, "a duration", text, place, report) {
        return;
    }
    let message = format!("{what} is {}, which is no duration", quoted(text));
    report
        .error(&codes::DURATION, place, message)
        .help("write a number and a unit: `100ms`, `10s`, `5m`, `2h` or `1d`, at most 3660 days");
}

/// A time zone.
pub(crate) fn zone(text: &str, place: Place, report: &mut Report) -> Option<Tz> {
    if let Ok(zone) = text.parse() {
        return Some(zone);
    }
    if is_expr("a time zone", "a name", text, place, report) {
        return None;
    }
    let city = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.eq_ignore_ascii_case(text) && name.contains('/')
    };
    let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let help = match names().find(|name| city(name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => report.did_you_mean(text, names()).unwrap_or_else(|| {
            "zones have the names of the IANA database, for example `Europe/Zurich`".to_owned()
        }),
    };
    let message = format!("there is no time zone {}", quoted(text));
    report.error(&codes::TIMEZONE, place, message).help(help);
    None
}

/// What may surprise about a schedule.
pub(crate) fn schedule_warnings(warnings: &[Surprise], node: &Node, report: &mut Report) {
    for Surprise { message, help } in warnings {
        report.warning(&codes::SCHEDULE_WARNING, node.place, message.as_str()).help(help.as_str());
    }
}

/// Reports a text that is no schedule, where it is wrong.
pub(crate) fn bad_schedule<'r>(
    bad: BadSchedule,
    node: &Node,
    report: &'r mut Report,
) -> &'r mut Draft {
    let text = node.text().unwrap_or_default();
    if text.contains("${{") {
        let message = "a schedule must be a cron line, not an expression";
        return report.error(&codes::WRONG_TYPE, node.place, message).help(NO_EXPR);
    }
    let place = bad.offset.map_or(node.place, |offset| {
        let rest = text.get(offset..).unwrap_or_default();
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        node.part(&report.source, offset, length)
    });
    report.error(&codes::SCHEDULE, place, bad.message).maybe_help(bad.help)
}

/// A text with one space between its words.
pub(crate) fn spaced_once(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number between two bounds.
pub(crate) fn number(
    what: &str,
    entry: &Entry,
    bounds: std::ops::RangeInclusive<f64>,
    report: &mut Report,
) -> Option<f64> {
    let (value, number) = match (&entry.node.data, entry.node.beyond_numbers()) {
        (_, Some(number)) => (number.parse().unwrap_or(f64::INFINITY), number.to_owned()),
        (Data::Number(number), _) => (number.as_f64()?, number.to_string()),
        _ => {
            wrong_type(what, &["a number"], &entry.node, entry.place, report);
            return None;
        }
    };
    if bounds.contains(&value) {
        return Some(value);
    }
    let (least, most) = (*bounds.start(), *bounds.end());
    // The greatest number there is has 309 digits, and says nothing.
    let is_open = most >= f64::MAX;
    let range =
        if is_open { format!("at least {least}") } else { format!("from {least} to {most}") };
    let nearest = if value < least || is_open { least } else { most };
    let message = format!("{what} must be {range}, not {number}");
    report
        .error(&codes::NOT_ALLOWED, entry.node.place, message)
        .help(format!("write `{}: {nearest}`", entry.key));
    None
}

/// A whole number from 0 to `max`.
pub(crate) fn integer(what: &str, entry: &Entry, max: u64, report: &mut Report) -> Option<u64> {
    let out_of_range = |number: &dyn Display, report: &mut Report| {
        let upper = if max == u64::MAX { String::new() } else { format!(" and at most {max}") };
        let message = format!("{what} must be at least 0{upper}, not {number}");
        report.error(&codes::NOT_ALLOWED, entry.node.place, message).help(match max {
            u64::MAX => "write a whole number from 0 on".to_owned(),
            max => format!("write a whole number from 0 to {max}"),
        });
    };
    if let Some(number) = entry.node.beyond_numbers() {
        out_of_range(&number, report);
        return None;
    }
    let Data::Number(number) = &entry.node.data else {
        wrong_type(what, &["an integer"], &entry.node, entry.place, report);
        return None;
    };
    match number.as_u64().filter(|value| *value <= max) {
        Some(value) => Some(value),
        None if number.is_f64() => {
            wrong_type(what, &["an integer"], &entry.node, entry.place, report);
            None
        }
        None => {
            out_of_range(number, report);
            None
        }
    }
}

/// A text that is one of a few.
pub(crate) fn choice<T: Copy>(
    what: &str,
    entry: &Entry,
    choices: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let written = text(what, entry, report)?;
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == written) {
        return Some(*value);
    }
    if is_expr(what, "written out", written, entry.node.place, report) {
        return None;
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let help = report.did_you_mean(written, names());
    let message = format!("{what} cannot be {}", quoted(written));
    let help = help.unwrap_or_else(|| format!("it is one of {}", crate::report::listed(names())));
    report.error(&codes::NOT_ALLOWED, entry.node.place, message).help(help);
    None
}

/// A name.
pub(crate) fn name<T: FromStr<Err = BadName>>(
    text: &str,
    place: Place,
    report: &mut Report,
) -> Option<T> {
    name_of(None, text, place, report)
}

/// A name of something that has no type of its own: `what` says of what.
pub(crate) fn name_of<T: FromStr<Err = BadName>>(
    what: Option<&str>,
    text: &str,
    place: Place,
    report: &mut Report,
) -> Option<T> {
    match text.parse() {
        Ok(name) => Some(name),
        Err(BadName { what: kind, rule, .. }) => {
            let what = what.unwrap_or(kind);
            let message = format!("{} is not a {what}", quoted(text));
            let fixed = repaired(text).filter(|fixed| fixed.parse::<T>().is_ok());
            let help = match fixed {
                _ if text.contains("${{") => NO_EXPR.to_owned(),
                Some(fixed) => format!("write `{fixed}`: {rule}"),
                None => rule.to_owned(),
            };
            report.error(&codes::BAD_NAME, place, message).help(help);
            None
        }
    }
}

/// The text with the usual slips repaired: capitals, `-` and spaces.
fn repaired(text: &str) -> Option<String> {
    let fixed = text.to_lowercase().replace(['-', ' ', '.'], "_");
    (!fixed.is_empty()).then_some(fixed)
}

/// A string, number or boolean as the text that was written.
pub(crate) fn scalar(what: &str, node: &Node, key: Place, report: &mut Report) -> Option<String> {
    match &node.data {
        Data::Text(text) => Some(text.clone()),
        Data::Number(_) | Data::Bool(_) => {
            let (start, end) = (node.place.start as usize, node.place.end as usize);
            report.source.text.get(start..end).map(|text| text.trim().to_owned())
        }
        _ => {
            wrong_type(what, &["a string"], node, key, report);
            None
        }
    }
}
