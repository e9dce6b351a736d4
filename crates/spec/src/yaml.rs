//! From text to a tree of values in which every key and value knows its place.
//!
//! Two readers look at the text. [`scan`] reads its events, holds it to the limits and finds the
//! places; `serde_yaml` says what each value is. [`node`] is the tree they make together, [`layout`]
//! the one with comments and styles that formatting needs; [`syntax`] says why there is none. No
//! other module reads YAML.

pub(crate) mod layout;
pub(crate) mod node;
mod raw;
mod scan;
mod syntax;

use crate::codes;
use crate::report::{Place, Report};
use node::Node;

/// The largest file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 8 << 20;

/// Reads the file that the report is about. `None` when there is no tree at all; what else is
/// wrong is in the report, and what can be read is in the tree. Whether the file may be empty, its
/// reader knows: see [`Node::is_empty_file`].
pub(crate) fn parse(report: &mut Report) -> Option<Node> {
    let text = report.source.text;
    if text.len() > FILE_BYTES_MAX {
        let mib = text.len() as f64 / f64::from(1 << 20);
        report
            .error(&codes::TOO_LARGE, Place::default(), format!("the file has {mib:.1} MiB"))
            .help("a file has at most 8 MiB");
        return None;
    }
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        forbidden(at, c, report);
        return None;
    }
    let scan::Scanned { shape, last_alias, has_bad_tags } = scan::scan(report)?;
    let Some(shape) = shape else { return Some(Node::of_empty_file()) };
    match serde_yaml::from_str::<raw::Raw>(text) {
        Ok(raw) => Some(node::join(shape, raw)),
        Err(error) => {
            if let (Some(alias), "repetition limit exceeded") = (last_alias, &*error.to_string()) {
                let message = "aliases of aliases repeat what they stand for more than 100 times";
                report
                    .error(&codes::ALIAS, alias, message)
                    .help("write the values out, or give names to fewer of them");
                return None;
            }
            if has_bad_tags {
                return None;
            }
            // The scan accepted it, so this is one of the few texts on which readers differ.
            let at = error.location().map_or(0, |location| location.index());
            syntax::disagreement(report, &error.to_string(), at);
            None
        }
    }
}

/// Reports a character that has no place in a text file.
fn forbidden(at: usize, c: char, report: &mut Report) {
    let text = report.source.text.as_bytes();
    let place = Place::new(at, at + c.len_utf8());
    // Letters with a zero before or after each are UTF-16 without its mark.
    let zeros = text.iter().take(64).filter(|byte| **byte == 0).count();
    let (message, help) = match c {
        '\u{feff}' => (
            "the file holds a byte-order mark, U+FEFF, after its start".to_owned(),
            "remove it, with an editor that shows it",
        ),
        '\0' if (text.len().min(64) / 2).abs_diff(zeros) <= 1 => {
            ("it looks like UTF-16: the file holds U+0000".to_owned(), "save it as UTF-8")
        }
        _ => (
            format!("the file holds the control character U+{:04X}", u32::from(c)),
            "remove it; a value in double quotes may have it as `\\u001b`, with its own number",
        ),
    };
    report.error(&codes::NOT_TEXT, place, message).help(help);
}

/// The value of an example from a connector, if there is one.
pub(crate) fn example(text: &str) -> Option<serde_json::Value> {
    serde_yaml::from_str(text).ok().filter(|value: &serde_json::Value| !value.is_null())
}

/// Whether a text without quotes is read as that very text.
pub(crate) fn reads_as_text(text: &str) -> bool {
    matches!(serde_yaml::from_str(text), Ok(raw::Raw::Text(read)) if read == text)
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')) || c == '\u{feff}'
}
