//! `cache`: how long a result is used again.

use super::value;
use crate::codes;
use crate::keys;
use crate::report::Report;
use crate::spec::CacheSpec;
use crate::yaml::node::{Data, Entry};

const HELP: &str = "write `cache: 1d`, or `cache: {for: 1d, key: EXPRESSION}`";

/// Reads `cache`: a duration, or a mapping.
pub(crate) fn read<'n>(entry: &'n Entry, report: &mut Report) -> Option<CacheSpec<'n>> {
    let place = entry.place;
    let Some(entries) = entry.node.entries() else {
        if !matches!(entry.node.data, Data::Text(_) | Data::Number(_)) {
            let wanted = ["a duration", "a mapping"];
            value::wrong_type("`cache`", &wanted, &entry.node, place, report).help(HELP);
            return None;
        }
        let max_age = value::duration("`cache`", entry, report)?;
        return Some(CacheSpec { place, max_age, key: None });
    };
    keys::check(entries, &[keys::CACHE], "`cache`", report);
    let find = |name: &str| entries.iter().find(|entry| entry.key == name);
    let key = find("key").and_then(|entry| match &entry.node.data {
        Data::Text(_) => Some(&entry.node),
        _ => {
            value::wrong_type("`cache.key`", &["an expression"], &entry.node, entry.place, report);
            None
        }
    });
    let Some(max_age) = find("for") else {
        let message = "`cache` does not say for how long";
        report.error(&codes::MISSING_KEY, place, message).help(HELP);
        return None;
    };
    let max_age = value::duration("`cache.for`", max_age, report)?;
    Some(CacheSpec { place, max_age, key })
}
