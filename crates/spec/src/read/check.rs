//! `checks`: what must hold of a task's table.

use tidemill_model::dag::{Check, CheckRule, OnFail};

use super::value;
use crate::codes;
use crate::keys;
use crate::report::{Place, Report, listed};
use crate::spec::CheckSpec;
use crate::yaml::node::{Data, Entry, Node};

const RULES: &[&str] = &["not_null", "unique", "rows", "where", "sql"];

/// Reads `checks`.
pub(crate) fn read_all<'n>(entry: &'n Entry, report: &mut Report) -> Vec<CheckSpec<'n>> {
    let Data::List(items) = &entry.node.data else {
        value::wrong_type("`checks`", &["a list"], &entry.node, entry.place, report);
        return Vec::new();
    };
    items.iter().filter_map(|item| read(item, entry, report)).collect()
}

fn read<'n>(item: &'n Node, list: &Entry, report: &mut Report) -> Option<CheckSpec<'n>> {
    let Some(entries) = item.entries() else {
        value::wrong_type("a check", &["a mapping"], item, list.place, report)
            .help("write for example `- not_null: [order_id]`");
        return None;
    };
    keys::check(entries, &[keys::CHECK], "a check", report);
    let mut rules = entries.iter().filter(|entry| RULES.contains(&entry.key.as_str()));
    let (rule, second) = (rules.next(), rules.next());
    let Some(rule_entry) = rule else {
        if !entries.iter().any(|entry| entry.key != "on_fail") {
            report
                .error(&codes::MISSING_KEY, item.place, "the check says not what must hold")
                .help(format!("give it one of {}", listed(RULES.iter().copied())));
        }
        return None;
    };
    if let Some(second) = second {
        let message =
            format!("a check has one rule, this one has `{}` and `{}`", rule_entry.key, second.key);
        report.error(&codes::NOT_ALLOWED, second.place, message).help("make it a check of its own");
        return None;
    }
    let (rule, sql) = rule_of(rule_entry, report)?;
    let on_fail = entries
        .iter()
        .find(|entry| entry.key == "on_fail")
        .and_then(|entry| on_fail(entry, rule_entry, report))
        .unwrap_or_default();
    Some(CheckSpec { check: Check { rule, on_fail }, place: rule_entry.place, sql })
}

fn on_fail(entry: &Entry, rule: &Entry, report: &mut Report) -> Option<OnFail> {
    let choices = [OnFail::Stop, OnFail::Quarantine, OnFail::Warn];
    let choices: Vec<_> = keys::ON_FAIL.iter().copied().zip(choices).collect();
    let chosen = value::choice("`on_fail`", entry, &choices, report)?;
    if chosen == OnFail::Quarantine && matches!(rule.key.as_str(), "rows" | "sql") {
        let message =
            format!("a `{}` check cannot quarantine: no single row is to blame", rule.key);
        report
            .error(&codes::CHECK, entry.node.place, message)
            .help("use `stop` or `warn`, or a check with `where`");
        return None;
    }
    Some(chosen)
}

fn rule_of<'n>(entry: &'n Entry, report: &mut Report) -> Option<(CheckRule, Option<&'n Node>)> {
    Some(match entry.key.as_str() {
        "not_null" => (CheckRule::NotNull(columns(entry, report)?), None),
        "unique" => (CheckRule::Unique(columns(entry, report)?), None),
        "rows" => (rows(entry, report)?, None),
        "where" => {
            let text = value::text("`where`", entry, report)?;
            (CheckRule::Where(text.to_owned()), Some(&entry.node))
        }
        _ => {
            let text = value::text("`sql`", entry, report)?;
            (CheckRule::Sql(text.to_owned()), Some(&entry.node))
        }
    })
}

/// One column or a list of them.
fn columns(entry: &Entry, report: &mut Report) -> Option<Vec<String>> {
    let what = format!("`{}`", entry.key);
    let columns: Vec<(&str, Place)> = match &entry.node.data {
        Data::Text(one) => vec![(one, entry.node.place)],
        Data::List(_) => value::texts(&what, entry, report),
        _ => {
            value::wrong_type(&what, &["a column", "a list"], &entry.node, entry.place, report);
            return None;
        }
    };
    if columns.is_empty() {
        let message = format!("{what} names no column");
        report
            .error(&codes::NOT_ALLOWED, entry.node.place, message)
            .help(format!("name at least one: `{}: [order_id]`", entry.key));
        return None;
    }
    for (column, place) in &columns {
        value::is_expr("a column", "a name", column, *place, report);
    }
    Some(columns.into_iter().map(|(column, _)| column.to_owned()).collect())
}

fn rows(entry: &Entry, report: &mut Report) -> Option<CheckRule> {
    let Some(entries) = entry.node.entries() else {
        value::wrong_type("`rows`", &["a mapping"], &entry.node, entry.place, report)
            .help("write for example `rows: {min: 1}`");
        return None;
    };
    let (mut min, mut max) = (None, None);
    for bound in entries {
        match bound.key.as_str() {
            "min" => min = value::integer("`rows.min`", bound, u64::MAX, report),
            "max" => max = value::integer("`rows.max`", bound, u64::MAX, report),
            other => {
                let help = report.did_you_mean(other, ["min", "max"]);
                let message = format!("`rows` has no key {}", crate::report::quoted(other));
                let help = help.unwrap_or_else(|| "it takes `min`, `max`".to_owned());
                report.error(&codes::UNKNOWN_KEY, bound.place, message).help(help);
            }
        }
    }
    match (min, max) {
        (None, None) => {
            if entries.is_empty() {
                report
                    .error(
                        &codes::MISSING_KEY,
                        entry.node.place,
                        "`rows` has neither `min` nor `max`",
                    )
                    .help("write for example `rows: {min: 1}`");
            }
            None
        }
        (Some(least), Some(most)) if least > most => {
            let message = format!("`rows.min` is {least}, which is more than `rows.max`, {most}");
            report
                .error(&codes::NOT_ALLOWED, entry.node.place, message)
                .help(format!("swap them: `rows: {{min: {most}, max: {least}}}`"));
            None
        }
        (min, max) => Some(CheckRule::Rows { min, max }),
    }
}
