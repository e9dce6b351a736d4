//! `retry`: a number, or a mapping.

use tidemill_model::expr::Expr;
use tidemill_model::retry::RetryPolicy;

use super::value;
use crate::codes;
use crate::keys::{self, RETRIES_MAX};
use crate::report::Report;
use crate::spec::RetryWhen;
use crate::yaml::node::{Data, Entry};

/// Reads `retry`; keys that it does not give keep the values of `base`.
pub(crate) fn read(entry: &Entry, base: RetryPolicy, report: &mut Report) -> RetryPolicy {
    let mut policy = base;
    let Some(entries) = entry.node.entries() else {
        let is_number = matches!(entry.node.data, Data::Number(_));
        if is_number || entry.node.beyond_numbers().is_some() {
            if let Some(limit) = value::integer("`retry`", entry, RETRIES_MAX.into(), report) {
                policy.limit = limit as u32;
            }
        } else {
            let wanted = ["an integer", "a mapping"];
            value::wrong_type("`retry`", &wanted, &entry.node, entry.place, report);
        }
        return policy;
    };
    keys::check(entries, &[keys::RETRY], "`retry`", report);
    let mut max_delay_place = None;
    for entry in entries {
        let what = format!("`retry.{}`", entry.key);
        match entry.key.as_str() {
            "limit" => {
                if let Some(limit) = value::integer(&what, entry, RETRIES_MAX.into(), report) {
                    policy.limit = limit as u32;
                }
            }
            "delay" => {
                policy.delay = value::duration(&what, entry, report).unwrap_or(policy.delay);
                max_delay_place.get_or_insert(entry.node.place);
            }
            "max_delay" => {
                policy.max_delay =
                    value::duration(&what, entry, report).unwrap_or(policy.max_delay);
                max_delay_place = Some(entry.node.place);
            }
            "factor" => {
                policy.factor =
                    value::number(&what, entry, 1.0..=100.0, report).unwrap_or(policy.factor);
            }
            "jitter" => {
                policy.jitter =
                    value::number(&what, entry, 0.0..=1.0, report).unwrap_or(policy.jitter);
            }
            _ => {}
        }
    }
    if let Some(place) = max_delay_place.filter(|_| policy.delay > policy.max_delay) {
        let message = "`retry.delay` is longer than `retry.max_delay`, so it is never waited for";
        report
            .error(&codes::NOT_ALLOWED, place, message)
            .help("raise `max_delay`, which is `10m` unless it is given");
    }
    policy
}

/// Reads `retry.when`, which is not part of the policy yet.
pub(crate) fn when<'n>(entry: &'n Entry, report: &mut Report) -> Option<RetryWhen<'n>> {
    let when = entry.node.entry("when")?;
    if matches!(when.node.data, Data::Text(_) | Data::Bool(_)) {
        return Some(RetryWhen::Here(&when.node));
    }
    value::wrong_type("`retry.when`", &["an expression"], &when.node, when.place, report)
        .help("write for example `when: error.message.contains('timed out')`");
    None
}

/// What `retry.when` means for another file, in which its places are none: its names can be looked
/// up only where there is a DAG, so only its form is checked.
pub(crate) fn for_folder<'other>(
    when: RetryWhen<'_>,
    report: &mut Report,
) -> Option<RetryWhen<'other>> {
    match when {
        RetryWhen::Folder(text) => Some(RetryWhen::Folder(text)),
        RetryWhen::Here(node) => {
            let text = node.text().map_or_else(|| node.to_json().to_string(), str::to_owned);
            match Expr::parse(&text) {
                Ok(_) => Some(RetryWhen::Folder(text)),
                Err(error) => {
                    report
                        .error(&codes::EXPR_SYNTAX, node.place, error.message)
                        .maybe_help(error.help);
                    None
                }
            }
        }
    }
}
