//! Params that a run is given, by a call, a trigger or a test.

use indexmap::IndexMap;
use tidemill_model::VarName;
use tidemill_model::dag::{Param, ParamKind};

use crate::codes;
use crate::report::{Report, listed, quoted};
use crate::settings::{BOOLEAN, type_help};
use crate::yaml::node::{Entry, Node};

/// Reports a param that does not fit those of `owner`. What an expression gives is left to the run.
pub(crate) fn check(
    owner: &str,
    params: &IndexMap<VarName, Param>,
    entry: &Entry,
    report: &mut Report,
) {
    if let Some(param) = find(owner, params, entry, report)
        && !entry.node.holds_expr()
    {
        fits(param, entry, report);
    }
}

/// The param of `owner` that is given, or a report that there is none.
pub(crate) fn find<'p>(
    owner: &str,
    params: &'p IndexMap<VarName, Param>,
    entry: &Entry,
    report: &mut Report,
) -> Option<&'p Param> {
    let found = params.get(entry.key.as_str());
    if found.is_none() {
        let names = || params.keys().map(VarName::as_str);
        let near = report.did_you_mean(&entry.key, names());
        let message = format!("{owner} has no param {}", quoted(&entry.key));
        let known = || {
            let none = "it has none".to_owned();
            if params.is_empty() { none } else { format!("it has {}", listed(names())) }
        };
        report.error(&codes::PARAM, entry.place, message).maybe_help(near).or_help(known);
    }
    found
}

/// Reports a value that is none of the param's.
pub(crate) fn fits(param: &Param, entry: &Entry, report: &mut Report) {
    let value = entry.node.to_json();
    let message = if !param.kind.admits(&value) {
        format!("param {} must be {}, not {value}", quoted(&entry.key), param.kind.value())
    } else if !param.allowed.is_empty() && !param.allowed.contains(&value) {
        format!("param {} cannot be {value}", quoted(&entry.key))
    } else {
        return;
    };
    let allowed: Vec<String> = param.allowed.iter().map(ToString::to_string).collect();
    let wanted = match param.kind {
        ParamKind::String => "a string",
        ParamKind::Boolean => BOOLEAN,
        _ => "a number",
    };
    let help = match allowed.as_slice() {
        [] => type_help(&[wanted], &entry.node, &report.source),
        allowed => Some(format!("it is one of {}", allowed.join(", "))),
    };
    report.error(&codes::PARAM, entry.node.place, message).maybe_help(help);
}

/// The params without a default that are not among those that are given.
pub(crate) fn owed<'p>(params: &'p IndexMap<VarName, Param>, given: Option<&Node>) -> Vec<&'p str> {
    let is_given = |name: &str| given.is_some_and(|given| given.entry(name).is_some());
    let owed =
        params.iter().filter(|(name, param)| param.default.is_none() && !is_given(name.as_str()));
    owed.map(|(name, _)| name.as_str()).collect()
}
