//! `calendars.yaml`: days that do not count.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use indexmap::IndexMap;
use tidemill_model::DagId;
use tidemill_model::schedule::{Calendar, Roll};

use super::named_entries;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::keys::runs::{CALENDAR, ROLLS, WEEKDAYS};
use crate::read::value;
use crate::report::{Report, SourceText, listed, quoted};
use crate::schema;
use crate::settings::{self, Kind, Owner};
use crate::yaml::node::{Data, Entry, Node};

/// Where no calendar says otherwise.
const WEEKEND: [&str; 2] = ["sat", "sun"];

/// Reads `calendars.yaml`: `NAME: {holidays: [2026-01-01], weekends: [sat, sun], roll: next}`.
///
/// Calendars that can be read come back even when others cannot. Each has the holidays of those that
/// it includes, however far.
pub fn parse_calendars(source: SourceText) -> (Vec<Calendar>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let entries = named_entries(&mut report);
    let included = includes(&entries, &mut report);
    let read = entries.iter().filter_map(|entry| calendar(entry, &mut report));
    let read: Vec<Calendar> = read.collect();
    let whole = |calendar: &Calendar| {
        let reached = reached(&included, &calendar.name);
        let of = read.iter().filter(|other| reached.contains(&other.name.as_str()));
        let holidays: BTreeSet<NaiveDate> = of.flat_map(|other| &other.holidays).copied().collect();
        Calendar { holidays, ..calendar.clone() }
    };
    let calendars = read.iter().map(whole).collect();
    (calendars, report.finish())
}

fn calendar(entry: &Entry, report: &mut Report) -> Option<Calendar> {
    let name: Option<DagId> =
        value::name_of(Some("calendar name"), &entry.key, entry.place, report);
    let owner_name = format!("calendar {}", quoted(&entry.key));
    let example = "{holidays: [2026-01-01], roll: next}";
    let owner = Owner { name: &owner_name, kind: Kind::Entry, entry, example };
    let schema = schema::mapping(CALENDAR);
    let (marks, problems) = settings::shape((&schema, &schema), owner, report);
    let mut holidays = BTreeSet::new();
    let mut is_good = name.is_some() && problems.is_empty();
    for mark in marks.iter().filter(|mark| mark.format == "day") {
        match day(mark.node) {
            Some(day) => _ = holidays.insert(day),
            None => {
                is_good = false;
                let text = mark.node.text().unwrap_or_default();
                report
                    .error(&codes::INSTANT, mark.node.place, format!("{} is no day", quoted(text)))
                    .help("write year, month and day: `2026-01-31`");
            }
        }
    }
    let weekend = entry.node.entry("weekends").map(|entry| texts(&entry.node));
    let weekend = weekday_bits(weekend.as_deref().unwrap_or(&WEEKEND));
    if weekend.count_ones() as usize == WEEKDAYS.len() {
        let place = entry.node.entry("weekends").map_or(entry.place, |entry| entry.node.place);
        report
            .error(&codes::NOT_ALLOWED, place, format!("no day of {owner_name} counts"))
            .help("leave out the days of the week on which there is work");
        return None;
    }
    let roll = entry.node.entry("roll").and_then(|entry| entry.node.text());
    is_good.then(|| Calendar {
        name: entry.key.clone(),
        holidays,
        weekend,
        roll: roll.map_or(Roll::Skip, roll_of),
    })
}

/// Days of the week as the model has them: bit 0 is Sunday.
pub(crate) fn weekday_bits(days: &[&str]) -> u8 {
    let bits = WEEKDAYS.iter().enumerate().filter(|(_, name)| days.contains(name));
    bits.fold(0, |bits, (at, _)| bits | 1 << ((at + 1) % WEEKDAYS.len()))
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

/// The names that each calendar includes. Refuses what is not there, and calendars that include
/// themselves.
fn includes<'n>(entries: &'n [Entry], report: &mut Report) -> IndexMap<&'n str, Vec<&'n Node>> {
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
            } else if reached(&all, other).contains(name) {
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
    all
}

/// A calendar and those that it includes, however far.
fn reached<'n>(all: &IndexMap<&'n str, Vec<&'n Node>>, from: &'n str) -> Vec<&'n str> {
    let mut seen = vec![from];
    let mut at = 0;
    while let Some(name) = seen.get(at).copied() {
        let next = all.get(name).into_iter().flatten().filter_map(|node| node.text());
        let new: Vec<&str> = next.filter(|next| !seen.contains(next)).collect();
        seen.extend(new);
        at += 1;
    }
    seen
}
