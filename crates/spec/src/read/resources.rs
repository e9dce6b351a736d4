//! `resources`: how much of the machine a command may take.

use tidemill_model::dag::{Resources, parse_size};

use super::value;
use crate::codes;
use crate::keys;
use crate::report::{Report, quoted};
use crate::yaml::node::{Data, Entry};

/// The least memory with which a program can begin.
const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// Reads `resources`; what it does not say is as in `others`.
pub(crate) fn read(entry: &Entry, others: Resources, report: &mut Report) -> Resources {
    let entries = value::entries("`resources`", entry, report);
    keys::check(entries, &[keys::RESOURCES], "`resources`", report);
    let mut own = Resources::default();
    for entry in entries {
        let what = format!("`resources.{}`", entry.key);
        match entry.key.as_str() {
            "memory" => own.memory_bytes = size(&what, entry, report),
            "cpu" => {
                let cpu = value::number(&what, entry, keys::CPU_MIN..=keys::CPU_MAX, report);
                own.cpu_millis = cpu.map(|cpu| (cpu * 1_000.0).round() as u32);
            }
            "processes" => {
                let bounds = 1.0..=f64::from(keys::PROCESSES_MAX);
                own.processes = whole(&what, entry, bounds, report).map(|count| count as u32);
            }
            "files" => {
                let bounds = keys::FILES_MIN as f64..=keys::FILES_MAX as f64;
                own.files = whole(&what, entry, bounds, report);
            }
            _ => {}
        }
    }
    own.or(others)
}

fn whole(
    what: &str,
    entry: &Entry,
    bounds: std::ops::RangeInclusive<f64>,
    report: &mut Report,
) -> Option<u64> {
    let count = value::integer(what, entry, u64::MAX, report)?;
    value::number(what, entry, bounds, report).map(|_| count)
}

/// A size, with its unit.
fn size(what: &str, entry: &Entry, report: &mut Report) -> Option<u64> {
    const HELP: &str = "write a whole number and a unit: `512MiB`, `2GiB`, `2GB`";
    let place = entry.node.place;
    if let Data::Number(number) = &entry.node.data {
        let help = format!("write `{number}MiB` or `{number}GiB`");
        report.error(&codes::NOT_ALLOWED, place, format!("{what} needs a unit")).help(help);
        return None;
    }
    let text = value::text(what, entry, report)?;
    if value::is_expr(what, "a size", text, place, report) {
        return None;
    }
    match parse_size(text) {
        Some(bytes) if bytes >= MEMORY_BYTES_MIN => Some(bytes),
        Some(_) => {
            let message = format!("{what} is {}, with which no program can begin", quoted(text));
            report.error(&codes::NOT_ALLOWED, place, message).help("give it `1MiB` at least");
            None
        }
        None => {
            let message = format!("{what} is {}, which is no size", quoted(text));
            report.error(&codes::NOT_ALLOWED, place, message).help(HELP);
            None
        }
    }
}
