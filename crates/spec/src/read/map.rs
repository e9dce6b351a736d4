//! `for_each`, `max_parallel`, `tolerate`: a task that runs once for each item of a list.

use tidemill_model::dag::ITEMS_MAX;

use super::value;
use crate::codes;
use crate::keys::MAX_PARALLEL_MAX;
use crate::report::Report;
use crate::spec::{MappingSpec, TaskSpec, TolerateSpec};
use crate::yaml::node::{Data, Entry};

/// Reads one of the three keys.
pub(crate) fn read<'n>(mapping: &mut MappingSpec<'n>, entry: &'n Entry, report: &mut Report) {
    match entry.key.as_str() {
        "for_each" => match &entry.node.data {
            Data::Text(_) | Data::List(_) => mapping.for_each = Some((&entry.node, entry.place)),
            _ => {
                let wanted = ["a list", "an expression that gives one"];
                value::wrong_type("`for_each`", &wanted, &entry.node, entry.place, report)
                    .help("write for example `for_each: params.regions`, or `for_each: [eu, us]`");
            }
        },
        "max_parallel" => {
            let most = u64::from(MAX_PARALLEL_MAX);
            let number = value::integer("`max_parallel`", entry, most, report);
            if number == Some(0) {
                report
                    .error(&codes::NOT_ALLOWED, entry.node.place, "`max_parallel` is 0")
                    .help("with less than 1, no item would ever begin");
            }
            mapping.max_parallel = number.map(|n| (n as u32, entry.place));
        }
        _ => {
            mapping.tolerate = tolerate(entry, report).map(|tolerate| (tolerate, entry.place));
        }
    }
}

fn tolerate<'n>(entry: &'n Entry, report: &mut Report) -> Option<TolerateSpec<'n>> {
    let share = match &entry.node.data {
        Data::Number(number) if number.as_f64().is_some_and(|number| number < 0.0) => {
            report
                .error(&codes::NOT_ALLOWED, entry.node.place, "`tolerate` is less than 0")
                .help("write how many items may fail, or leave it out: then none may");
            return None;
        }
        Data::Text(_) if entry.node.beyond_numbers().is_some() => {
            value::integer("`tolerate`", entry, ITEMS_MAX as u64, report);
            return None;
        }
        Data::Number(_) => return Some(TolerateSpec::Items(&entry.node)),
        Data::Text(text) => match text.trim().strip_suffix('%') {
            None => return Some(TolerateSpec::Items(&entry.node)),
            Some(share) => share.trim().parse::<f64>().ok(),
        },
        _ => {
            let wanted = ["a number of items", "a share such as `5%`"];
            value::wrong_type("`tolerate`", &wanted, &entry.node, entry.place, report);
            return None;
        }
    };
    let share = share.filter(|share| (0.0..=100.0).contains(share));
    if share.is_none() {
        report
            .error(&codes::NOT_ALLOWED, entry.node.place, "`tolerate` is no share from 0% to 100%")
            .help("write for example `5%`, or a number of items");
    }
    share.map(TolerateSpec::Percent)
}

/// Refuses what has no meaning without a list.
pub(crate) fn check(task: &TaskSpec<'_>, report: &mut Report) {
    let mapping = &task.mapping;
    let without_list = [
        ("max_parallel", mapping.max_parallel.as_ref().map(|(_, place)| *place)),
        ("tolerate", mapping.tolerate.as_ref().map(|(_, place)| *place)),
    ];
    for (key, place) in without_list {
        if let (None, Some(place)) = (mapping.for_each, place) {
            let message = format!("`{key}` has no meaning without `for_each`");
            report.error(&codes::NOT_HERE, place, message).help("add `for_each`, or remove it");
        }
    }
}
