//! Triggers whose instants are known ahead, as timers.

use std::sync::Arc;

use chrono::NaiveTime;
use chrono_tz::Tz;
use tidemill_model::Timestamp;
use tidemill_model::dag::TriggerDef;
use tidemill_model::schedule::{
    Blackout, Calendar, Catchup, Clock, CronOptions, Every, Fold, Roll, Schedule, Timer,
};
use tidemill_model::time::parse_duration;

use super::Resolver;
use crate::codes;
use crate::files::weekday_bits;
use crate::read::value;
use crate::yaml::node::{Data, Entry, Node};

const DAY: u64 = 86_400;

impl Resolver<'_, '_, '_, '_> {
    /// That of `schedule`.
    pub(crate) fn trigger_of_schedule(&mut self) {
        if let Some((schedule, _)) = &self.spec.schedule {
            let timer = Timer::new(Clock::Cron(schedule.clone()), self.spec.timezone);
            let timer = Timer { start: self.spec.start, end: self.spec.end, ..timer };
            self.triggers.push(TriggerDef::by_clock(timer));
        }
    }

    /// That of a trigger, if it has one and nothing is wrong with it. What is wrong is told, but for
    /// the shapes of values, which are told already.
    pub(crate) fn timer(&mut self, kind: &Entry, item: &Node) -> Option<Timer> {
        let text = |key: &str| text_of(item, key);
        let span = |key: &str| parse_duration(text(key)?).ok();
        let zone: Tz =
            text("timezone").and_then(|zone| zone.parse().ok()).unwrap_or(self.spec.timezone);
        let calendar = text("calendar").and_then(|name| self.known_calendar(name));
        let clock = self.clock(kind, item, (zone, calendar.as_ref()))?;
        let blackout = match item.entry("blackout").map(|entry| &entry.node.data) {
            Some(Data::List(windows)) => windows.iter().filter_map(window).collect(),
            _ => Vec::new(),
        };
        let timer = Timer {
            start: self.spec.start,
            end: self.spec.end,
            // That of a cron line is its own.
            calendar: calendar.filter(|_| !matches!(clock, Clock::Cron(_))),
            blackout,
            catchup: match text("catchup") {
                Some("latest") => Catchup::Latest,
                Some("all") => Catchup::All,
                _ => Catchup::None,
            },
            window: span("catchup_window"),
            ..Timer::new(clock, zone)
        };
        let written = timer.clock.to_string();
        let jitter = span("jitter").unwrap_or_default();
        Some(timer.with_jitter(jitter, self.spec.name.as_ref()?, &written))
    }

    fn clock(
        &mut self,
        kind: &Entry,
        item: &Node,
        (zone, calendar): (Tz, Option<&Arc<Calendar>>),
    ) -> Option<Clock> {
        let text = kind.node.text()?;
        match kind.key.as_str() {
            "cron" => self.cron(kind, item, (zone, calendar)).map(Clock::Cron),
            "every" => self.every(kind, (zone, calendar)).map(Clock::Every),
            "at" => text.parse::<Timestamp>().ok().map(Clock::At),
            _ => None,
        }
    }

    fn cron(
        &mut self,
        kind: &Entry,
        item: &Node,
        (zone, calendar): (Tz, Option<&Arc<Calendar>>),
    ) -> Option<Schedule> {
        let options = CronOptions {
            seconds: is(item, "seconds", true),
            fold: match text_of(item, "dst_fold") {
                Some("last") => Fold::Last,
                _ => Fold::First,
            },
            calendar: calendar.cloned(),
        };
        match Schedule::parse_with(kind.node.text()?, zone, options) {
            Ok(schedule) => {
                value::schedule_warnings(&schedule.warnings(), &kind.node, self.report);
                Some(schedule)
            }
            Err(bad) => {
                value::bad_schedule(bad, &kind.node, self.report);
                None
            }
        }
    }

    fn every(
        &mut self,
        kind: &Entry,
        (zone, calendar): (Tz, Option<&Arc<Calendar>>),
    ) -> Option<Every> {
        let span = parse_duration(kind.node.text()?).ok()?;
        let Some(every) = Every::new(span, self.spec.start, zone) else {
            self.report
                .error(&codes::NOT_ALLOWED, kind.node.place, "`every` is shorter than a second")
                .help("for what comes in faster, use a trigger that batches: `webhook`, `stream`");
            return None;
        };
        let is_of_days = span.subsec_nanos() == 0 && span.as_secs().is_multiple_of(DAY);
        if let Some(calendar) = calendar.filter(|c| c.roll != Roll::Skip && !is_of_days) {
            let name = &calendar.name;
            let message = format!("calendar `{name}` moves days, and `every` is not of whole days");
            self.report
                .error(&codes::TRIGGER, kind.node.place, message)
                .help("use `cron`, a span such as `1d`, or a calendar with `roll: skip`");
            return None;
        }
        Some(every)
    }

    /// The calendar of this name, where calendars are known.
    fn known_calendar(&self, name: &str) -> Option<Arc<Calendar>> {
        let known = self.catalog.calendars.as_deref()?;
        known.iter().find(|calendar| calendar.name == name).cloned()
    }
}

fn text_of<'n>(item: &'n Node, key: &str) -> Option<&'n str> {
    item.entry(key)?.node.text()
}

pub(super) fn is(item: &Node, key: &str, value: bool) -> bool {
    item.entry(key).is_some_and(|e| matches!(e.node.data, Data::Bool(found) if found == value))
}

/// A window of `blackout`.
fn window(node: &Node) -> Option<Blackout> {
    let clock = |key: &str| {
        let text = node.entry(key)?.node.text()?;
        NaiveTime::parse_from_str(text, "%H:%M").ok()
    };
    let days = node.entry("days").map(|entry| match &entry.node.data {
        Data::List(items) => weekday_bits(&items.iter().filter_map(Node::text).collect::<Vec<_>>()),
        _ => 0,
    });
    let (from, to) = (clock("from")?, clock("to")?);
    Some(Blackout { from, to, days: days.unwrap_or(0x7f) })
}
