//! The words of the parser, and the places of names.

use crate::report::quoted;

/// The parser's message in the words of the house: it lists every token that it knows.
pub(super) fn readable(message: &str) -> String {
    const LEAD: &str = "the expression does not parse: ";
    let Some(detail) = message.strip_prefix(LEAD) else { return message.to_owned() };
    let detail = detail.split(" expecting ").next().unwrap_or(detail);
    let found = |text: &str| match text.trim_matches('\'') {
        "<EOF>" => "it ends too early".to_owned(),
        token => format!("unexpected {}", quoted(token)),
    };
    let starts = [
        "mismatched input ",
        "extraneous input ",
        "no viable alternative at input ",
        "token recognition error at: ",
    ];
    if let Some(rest) = starts.iter().find_map(|start| detail.strip_prefix(start)) {
        return format!("{LEAD}{}", found(rest));
    }
    if let Some((missing, at)) = detail.strip_prefix("missing ").and_then(|d| d.split_once(" at "))
    {
        let at = match at.trim_matches('\'') {
            "<EOF>" => "at the end".to_owned(),
            token => format!("before {}", quoted(token)),
        };
        return format!("{LEAD}{} is missing {at}", quoted(missing.trim_matches('\'')));
    }
    format!("{LEAD}{detail}")
}

/// Where a name stands in an expression; the whole expression when it is written in another form.
pub(super) fn find_name(source: &str, written: &str) -> (usize, usize) {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: &usize| {
        let before = source[..*at].chars().next_back();
        let after = source[at + written.len()..].chars().next();
        !before.is_some_and(|c| is_name(c) || c == '.') && !after.is_some_and(is_name)
    };
    let found = source.match_indices(written).map(|(at, _)| at).find(whole);
    found.map_or((0, source.len()), |at| (at, written.len()))
}
