//! The keys of a DAG besides its tasks.

use chrono::{DateTime, LocalResult, TimeZone};
use chrono_tz::Tz;
use indexmap::IndexMap;
use tidemill_model::dag::{Param, ParamKind};
use tidemill_model::schedule::Schedule;
use tidemill_model::time::parse_local;
use tidemill_model::{DagId, Timestamp, VarName};

use super::{Folder, stray, task, value};
use crate::codes;
use crate::keys;
use crate::report::{Place, Report, quoted};
use crate::spec::DagSpec;
use crate::yaml::node::{Data, Entry};

/// Reads what the DAGs of a folder have unless they say otherwise.
pub(crate) fn folder<'n>(entries: &[Entry], report: &mut Report) -> Folder<'n> {
    keys::check(entries.iter().filter(|e| !notes(e)), &[keys::FOLDER], "`_defaults.yaml`", report);
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let defaults = task::defaults(find("defaults"), task::Defaults::default(), report);
    Folder {
        owner: find("owner")
            .and_then(|entry| value::text("`owner`", entry, report))
            .map(str::to_owned),
        tags: find("tags").map(|entry| tags(entry, report)),
        timezone: find("timezone").and_then(|entry| timezone(entry, report)),
        defaults: defaults.for_folder(report),
    }
}

/// Top-level keys that are free to hold anchors.
fn notes(entry: &Entry) -> bool {
    entry.key.starts_with("x-")
}

fn tags(entry: &Entry, report: &mut Report) -> Vec<String> {
    let tags = value::texts("`tags`", entry, report);
    tags.into_iter().map(|(tag, _)| tag.to_owned()).collect()
}

/// Looks at the keys of the DAG, those aside that were meant to be tasks.
pub(crate) fn check(entries: &[Entry], report: &mut Report) {
    let known = [keys::TOP];
    let keys = stray::others(entries, &known).filter(|entry| !notes(entry));
    keys::check(keys, &known, "a DAG file", report);
}

/// Reads everything but the tasks, which are left empty.
pub(crate) fn read<'n>(
    entries: &'n [Entry],
    stem: &str,
    folder: &Folder<'n>,
    report: &mut Report,
) -> DagSpec<'n> {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let words = |key: &str, report: &mut Report| {
        find(key).and_then(|e| value::text(&format!("`{key}`"), e, report)).map(str::to_owned)
    };
    let timezone = find("timezone").and_then(|e| timezone(e, report));
    let timezone = timezone.or(folder.timezone).unwrap_or(Tz::UTC);
    let start = find("start").and_then(|entry| instant(entry, timezone, report));
    not_beside_triggers(find("schedule"), find("triggers"), report);
    let is_started = find("schedule").or(find("triggers")).is_some();
    if let Some(entry) = find("start").filter(|_| start.is_some() && !is_started) {
        report
            .warning(&codes::NOT_HERE, entry.place, "`start` has no meaning without `schedule`")
            .help("nothing starts runs by itself: add a `schedule`, or remove it");
    }
    DagSpec {
        name: name(find("dag"), stem, report),
        description: words("description", report),
        owner: words("owner", report).or_else(|| folder.owner.clone()),
        tags: match find("tags") {
            Some(entry) => tags(entry, report),
            None => folder.tags.clone().unwrap_or_default(),
        },
        timezone,
        start,
        end: find("end").and_then(|entry| end(entry, start, timezone, report)),
        schedule: find("schedule").and_then(|entry| schedule(entry, timezone, report)),
        params: find("params").map(|entry| params(entry, report)).unwrap_or_default(),
        param_names: find("params")
            .and_then(|entry| entry.node.entries())
            .map(|all| all.iter().map(|entry| entry.key.as_str()).collect())
            .unwrap_or_default(),
        vars: find("vars").map_or(&[], |entry| value::entries("`vars`", entry, report)),
        tasks: Vec::new(),
        later: entries.iter().filter(|entry| keys::keeps_its_form(keys::TOP, &entry.key)).collect(),
        handlers: Vec::new(),
    }
}

/// `schedule` is short for one trigger.
fn not_beside_triggers(schedule: Option<&Entry>, triggers: Option<&Entry>, report: &mut Report) {
    let (Some(schedule), Some(triggers)) = (schedule, triggers) else { return };
    let line = schedule.node.text().unwrap_or("…");
    report
        .error(&codes::TRIGGER, triggers.place, "the DAG has both `schedule` and `triggers`")
        .help(format!("make it a trigger of the list: `- cron: \"{}\"`", line.trim()));
}

/// The end of a DAG's runs, which is after their start.
fn end(
    entry: &Entry,
    start: Option<Timestamp>,
    zone: Tz,
    report: &mut Report,
) -> Option<Timestamp> {
    let end = instant(entry, zone, report)?;
    if start.is_some_and(|start| end < start) {
        report
            .error(&codes::NOT_ALLOWED, entry.node.place, "`end` is before `start`")
            .help("between them no run would ever be scheduled");
        return None;
    }
    Some(end)
}

fn name(entry: Option<&Entry>, stem: &str, report: &mut Report) -> Option<DagId> {
    if let Some(entry) = entry {
        let text = value::text("`dag`", entry, report)?;
        return value::name(text, entry.node.place, report);
    }
    if let Ok(name) = stem.parse() {
        return Some(name);
    }
    let message =
        format!("the file's name, {}, is no DAG name, and there is no `dag`", quoted(stem));
    report
        .error(&codes::BAD_NAME, Place::new(0, 0), message)
        .help("add `dag: NAME` with lower-case letters, digits, `_` and `-`");
    None
}

fn timezone(entry: &Entry, report: &mut Report) -> Option<Tz> {
    let text = value::text("`timezone`", entry, report)?;
    value::zone(text, entry.node.place, report)
}

/// A day or an instant, in the zone of the DAG unless it has its offset.
fn instant(entry: &Entry, zone: Tz, report: &mut Report) -> Option<Timestamp> {
    let what = format!("`{}`", entry.key);
    let text = value::text(&what, entry, report)?;
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc().into());
    }
    let Some(local) = parse_local(text) else {
        if value::is_expr(&what, "a date or an instant", text, entry.node.place, report) {
            return None;
        }
        let message = format!("{what} is {}, which is neither a date nor an instant", quoted(text));
        report
            .error(&codes::INSTANT, entry.node.place, message)
            .help("write `2026-01-31` or `2026-01-31T02:00:00`");
        return None;
    };
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => {
            Some(instant.to_utc().into())
        }
        LocalResult::None => {
            let message = format!("the clocks of {zone} skip {}", quoted(text));
            report
                .error(&codes::INSTANT, entry.node.place, message)
                .help("write an hour later, or an instant with its offset");
            None
        }
    }
}

fn schedule(entry: &Entry, zone: Tz, report: &mut Report) -> Option<(Schedule, String)> {
    let text = value::text("`schedule`", entry, report)?;
    match Schedule::parse(text, zone) {
        Ok(schedule) => {
            value::schedule_warnings(&schedule.warnings(), &entry.node, report);
            Some((schedule, value::spaced_once(text)))
        }
        Err(bad) => {
            value::bad_schedule(bad, &entry.node, report);
            None
        }
    }
}

fn params(entry: &Entry, report: &mut Report) -> IndexMap<VarName, Param> {
    let entries = value::entries("`params`", entry, report);
    entries
        .iter()
        .filter_map(|entry| {
            let name: Option<VarName> = value::name(&entry.key, entry.place, report);
            let param = param(entry, report);
            let name = name?;
            if crate::resolve::RUN_VALUES.contains(&name.as_str()) {
                let message = format!("a param cannot have the name `{name}`");
                report
                    .error(&codes::NAME_TAKEN, entry.place, message)
                    .help("SQL has it already, as a value of the run");
            }
            Some((name, param?))
        })
        .collect()
}

/// Reads the `params` of an `approve`.
pub(crate) fn asked(action: &Entry, report: &mut Report) -> IndexMap<VarName, Param> {
    let Some(entry) = action.node.entry("params") else { return IndexMap::new() };
    let asked = params(entry, report);
    for taken in ["by", "note"] {
        if let Some(entry) = entry.node.entry(taken) {
            let message = format!("the person cannot be asked for {}", quoted(taken));
            report
                .error(&codes::NAME_TAKEN, entry.place, message)
                .help("that is who gave the answer, or why: choose another name");
        }
    }
    asked
}

fn param(entry: &Entry, report: &mut Report) -> Option<Param> {
    let owner = format!("param {}", quoted(&entry.key));
    let Some(entries) = entry.node.entries() else {
        value::wrong_type(&owner, &["a mapping"], &entry.node, entry.place, report)
            .help(format!("write `{}: {{type: string, default: …}}`", entry.key));
        return None;
    };
    keys::check(entries, &[keys::PARAM], &owner, report);
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let Some(kind) = find("type") else {
        let message = format!("{owner} has no `type`");
        report
            .error(&codes::MISSING_KEY, entry.place, message)
            .help(format!("it is one of {}", crate::report::listed(keys::param_types())));
        return None;
    };
    let kind = param_kind(kind, report)?;
    let allowed = find("enum").map_or_else(Vec::new, |entry| {
        let Data::List(items) = &entry.node.data else {
            value::wrong_type("`enum`", &["a list"], &entry.node, entry.place, report);
            return Vec::new();
        };
        for item in items {
            fits(kind, "value of `enum`", item, entry.place, report);
        }
        items.iter().map(crate::yaml::node::Node::to_json).collect()
    });
    let default = find("default").map(|entry| {
        fits(kind, "default", &entry.node, entry.place, report);
        let value = entry.node.to_json();
        if !allowed.is_empty() && kind.admits(&value) && !allowed.contains(&value) {
            let message = "the default is not among the values of `enum`";
            let known: Vec<String> = allowed.iter().map(written).collect();
            let known = crate::report::listed(known.iter().map(String::as_str));
            report
                .error(&codes::PARAM, entry.node.place, message)
                .help(format!("choose one of {known}, or add it to `enum`"));
        }
        value
    });
    let description = find("description")
        .and_then(|entry| value::text("`description`", entry, report))
        .map(str::to_owned);
    Some(Param { kind, default, allowed, description })
}

/// A value as a file has it; texts without quotes.
fn written(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn param_kind(entry: &Entry, report: &mut Report) -> Option<ParamKind> {
    let choices = ParamKind::ALL.map(|kind| (kind.label(), kind));
    value::choice("`type`", entry, &choices, report)
}

fn fits(
    kind: ParamKind,
    what: &str,
    node: &crate::yaml::node::Node,
    key: Place,
    report: &mut Report,
) {
    if kind.admits(&node.to_json()) {
        return;
    }
    let (place, label) = (if node.is_null() { key } else { node.place }, kind.label());
    let wanted: &[&str] = match kind {
        ParamKind::Boolean => &[crate::settings::BOOLEAN],
        ParamKind::String => &["a string"],
        _ => &[],
    };
    let help = match kind {
        _ if node.holds_expr() => Some(value::NO_EXPR.to_owned()),
        ParamKind::Timestamp => Some("write for example `2026-01-31T02:00:00Z`".to_owned()),
        ParamKind::Date => Some("write for example `2026-01-31`".to_owned()),
        _ => crate::settings::type_help(wanted, node, &report.source),
    };
    let message = match (&node.data, kind) {
        (Data::Text(text), ParamKind::Timestamp | ParamKind::Date) => {
            format!("the {what}, {}, is no {label}", quoted(text))
        }
        // A whole number is admitted unless it is out of range.
        (Data::Number(number), ParamKind::Integer) if !number.is_f64() => {
            format!("the {what} must be at most {}, not {number}", i64::MAX)
        }
        (_, ParamKind::Integer) if node.beyond_numbers().is_some() => {
            format!("the {what} must be from {} to {}", i64::MIN, i64::MAX)
        }
        _ if node.beyond_numbers().is_some() => format!("the {what} is a number out of range"),
        _ => format!("the {what} is no {label}, but {}", node.kind()),
    };
    report.error(&codes::PARAM, place, message).maybe_help(help);
}
