//! `calendars.yaml`: days that do not count.

use chrono::NaiveDate;
use indexmap::IndexMap;
use tidemill_model::DagId;

use super::named_entries;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::keys::runs::{CALENDAR, ROLLS, WEEKDAYS};
use crate::read::value;
use crate::report::{Report, SourceText, listed, quoted};
use crate::schema;
use crate::settings::{self, Kind, Owner};
use crate::yaml::node::{Data, Entry, Node};

/// A calendar as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarSpec {
    /// Its name.
    pub name: String,
    /// Days that do not count, in order.
    pub holidays: Vec<NaiveDate>,
    /// Days of the week that do not count: `sat`, `sun` unless it says otherwise.
    pub weekends: Vec<&'static str>,
    /// What becomes of a run on such a day.
    pub roll: Roll,
    /// Calendars whose holidays are its own too.
    pub include: Vec<String>,
}

/// What becomes of a run on a day that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roll {
    /// It is left out.
    #[default]
    Skip,
    /// It takes place on the next day that counts.
    Next,
    /// It takes place on the last day before that counts.
    Previous,
}

/// Where no calendar says otherwise.
const WEEKENDS: [&str; 2] = ["sat", "sun"];

/// Reads `calendars.yaml`: `NAME: {holidays: [2026-01-01], weekends: [sat, sun], roll: next}`.
///
/// Calendars that can be read come back even when others cannot.
pub fn parse_calendars(source: SourceText) -> (Vec<CalendarSpec>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let entries = named_entries(&mut report);
    let read = entries.iter().filter_map(|entry| calendar(entry, &mut report));
    let calendars: Vec<CalendarSpec> = read.collect();
    includes(&entries, &mut report);
    (calendars, report.finish())
}

fn calendar(entry: &Entry, report: &mut Report) -> Option<CalendarSpec> {
    let name: Option<DagId> =
        value::name_of(Some("calendar name"), &entry.key, entry.place, report);
    let owner_name = format!("calendar {}", quoted(&entry.key));
    let example = "{holidays: [2026-01-01], roll: next}";
    let owner = Owner { name: &owner_name, kind: Kind::Entry, entry, example };
    let schema = schema::mapping(CALENDAR);
    let (marks, problems) = settings::shape((&schema, &schema), owner, report);
    let mut holidays = Vec::new();
    let mut is_good = name.is_some() && problems.is_empty();
    for mark in marks.iter().filter(|mark| mark.format == "day") {
        match day(mark.node) {
            Some(day) => holidays.push(day),
            None => {
                is_good = false;
                let text = mark.node.text().unwrap_or_default();
                report
                    .error(&codes::INSTANT, mark.node.place, format!("{} is no day", quoted(text)))
                    .help("write year, month and day: `2026-01-31`");
            }
        }
    }
    holidays.sort_unstable();
    holidays.dedup();
    let texts = |key: &str| entry.node.entry(key).map(|entry| texts(&entry.node));
    let weekends = match texts("weekends") {
        None => WEEKENDS.to_vec(),
        Some(days) => WEEKDAYS.into_iter().filter(|day| days.contains(day)).collect(),
    };
    if weekends.len() == WEEKDAYS.len() {
        let place = entry.node.entry("weekends").map_or(entry.place, |entry| entry.node.place);
        report
            .error(&codes::NOT_ALLOWED, place, format!("no day of {owner_name} counts"))
            .help("leave out the days of the week on which there is work");
        return None;
    }
    let roll = entry.node.entry("roll").and_then(|entry| entry.node.text());
    let include = texts("include").unwrap_or_default();
    is_good.then(|| CalendarSpec {
        name: entry.key.clone(),
        holidays,
        weekends,
        roll: roll.map_or(Roll::Skip, roll_of),
        include: include.into_iter().map(str::to_owned).collect(),
    })
}

fn day(node: &Node) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(node.text()?, "%Y-%m-%d").ok()
}

fn roll_of(text: &str) -> Roll {
    let rolls = [Roll::Skip, Roll::Next, Roll::Previous];
    let found = ROLLS.iter().zip(rolls).find(|(name, _)| **name == text);
    found.map_or(Roll::Skip, |(_, roll)| roll)
}

/// The texts of a list, those that are none left out.
fn texts(node: &Node) -> Vec<&str> {
    match &node.data {
        Data::List(items) => items.iter().filter_map(Node::text).collect(),
        _ => Vec::new(),
    }
}

/// Refuses calendars that include what is not there, or themselves.
fn includes(entries: &[Entry], report: &mut Report) {
    let all: IndexMap<&str, Vec<&Node>> = entries
        .iter()
        .map(|entry| {
            let items = match entry.node.entry("include").map(|include| &include.node.data) {
                Some(Data::List(items)) => items.iter().collect(),
                _ => Vec::new(),
            };
            (entry.key.as_str(), items)
        })
        .collect();
    for (name, included) in &all {
        for node in included {
            let Some(other) = node.text() else { continue };
            if !all.contains_key(other) {
                let near = report.did_you_mean(other, all.keys().copied());
                let message =
                    format!("calendar `{name}` includes {}, which does not exist", quoted(other));
                report
                    .error(&codes::UNKNOWN_CALENDAR, node.place, message)
                    .maybe_help(near)
                    .or_help(|| format!("there are {}", listed(all.keys().copied())));
            } else if reaches(&all, other, name) {
                let message = format!("calendar `{name}` includes itself");
                let help = if other == *name {
                    "remove it".to_owned()
                } else {
                    format!("`{other}` includes it already: remove one of the two")
                };
                report.error(&codes::NOT_ALLOWED, node.place, message).help(help);
            }
        }
    }
}

/// Whether a calendar is or includes another one, however far.
fn reaches(all: &IndexMap<&str, Vec<&Node>>, from: &str, to: &str) -> bool {
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(name) = seen.get(at).copied() {
        if name == to {
            return true;
        }
        let next = all.get(name).into_iter().flatten().filter_map(|node| node.text());
        let new: Vec<&str> = next.filter(|next| !seen.contains(next)).collect();
        seen.extend(new);
        at += 1;
    }
    false
}
