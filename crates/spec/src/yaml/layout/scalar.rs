//! What a scalar looks like in the text.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::{Form, Kind, Scalar};
use crate::report::Source;
use crate::yaml::node::{Data, Node};

/// What a value is.
pub(super) fn kind(node: &Node) -> Kind {
    match node.data {
        Data::Text(_) => Kind::Text,
        Data::Number(_) => Kind::Number,
        _ => Kind::Other,
    }
}

/// A scalar that is no block.
pub(super) fn flow<'a>(written: &'a str, style: ScalarStyle, node: &Node) -> Scalar<'a> {
    let form = match style {
        ScalarStyle::SingleQuoted => Form::Single,
        ScalarStyle::DoubleQuoted => Form::Double,
        _ if written.is_empty() => Form::Empty,
        _ => Form::Plain,
    };
    let text = node.text().map_or_else(|| written.to_owned(), str::to_owned);
    Scalar { form, kind: kind(node), text, lines: trimmed(written) }
}

/// The key that is written so; one that is not written at all is nothing.
pub(super) fn key<'a>(written: &'a str, style: ScalarStyle, text: &str) -> Scalar<'a> {
    let form = match style {
        ScalarStyle::SingleQuoted => Form::Single,
        ScalarStyle::DoubleQuoted => Form::Double,
        _ => Form::Plain,
    };
    let written = if written.is_empty() { "~" } else { written };
    Scalar { form, kind: Kind::Text, text: text.to_owned(), lines: trimmed(written) }
}

/// The lines of a scalar without the spaces that they lose when they are joined.
fn trimmed(written: &str) -> Vec<&str> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let last = written.matches('\n').count();
    let trim = |(at, line): (usize, &'_ str)| -> Range<usize> {
        let kept = line.trim_end_matches(BLANKS).len();
        // A backslash keeps the blank behind it.
        let escapes = line[..kept].bytes().rev().take_while(|byte| *byte == b'\\').count();
        let end = if at == last { line.len() } else { line.len().min(kept + escapes % 2) };
        let start = line.len() - line.trim_start_matches(BLANKS).len();
        if at == 0 { 0..end } else { start.min(end)..end }
    };
    let lines = written.split('\n').enumerate();
    lines.map(|(at, line)| &line[trim((at, line))]).collect()
}

/// A `|` or `>` whose header is at this byte, and the end of its last line.
pub(super) fn block<'a>(
    source: &Source<'a>,
    header: usize,
    style: ScalarStyle,
    node: &Node,
) -> (Scalar<'a>, usize) {
    let form = if style == ScalarStyle::Literal { Form::Literal } else { Form::Folded };
    let text = node.text().unwrap_or_default().to_owned();
    let first = source.line_of(header) + 1;
    let mut end = source.line_start(first);
    let mut lines = Vec::new();
    if let Some(indent) = indentation(source, first, &text) {
        let mut line = first;
        while source.line_start(line) < source.text.len() {
            let written = source.line_text(line);
            let is_blank = written.trim_start_matches(' ').is_empty();
            if !is_blank && spaces(written) < indent {
                break;
            }
            lines.push(written.get(indent..).unwrap_or_default());
            line += 1;
            if !is_blank {
                end = source.line_start(line - 1) + written.len();
            }
        }
    }
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    (Scalar { form, kind: kind(node), text, lines }, end)
}

/// The indentation of a block: the difference between what is written and what is meant.
fn indentation(source: &Source<'_>, first: usize, text: &str) -> Option<usize> {
    let has_content = |line: &&str| !line.trim_start_matches(' ').is_empty();
    let meant = text.split('\n').find(has_content)?;
    let line = (first..).take_while(|line| source.line_start(*line) < source.text.len());
    let written = line.map(|line| source.line_text(line)).find(has_content)?;
    spaces(written).checked_sub(spaces(meant))
}

fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The first byte of a range that is in no comment and fits.
pub(super) fn find(text: &str, range: Range<usize>, fits: impl Fn(u8) -> bool) -> Option<usize> {
    let mut in_comment = false;
    let bytes = text.as_bytes().get(range.clone())?;
    bytes
        .iter()
        .position(|byte| {
            match byte {
                b'#' => in_comment = true,
                b'\n' => in_comment = false,
                _ => {}
            }
            !in_comment && fits(*byte)
        })
        .map(|at| range.start + at)
}
