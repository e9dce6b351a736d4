//! How a scalar is written: without quotes where that is plainly safe, else in double ones. What
//! holds an expression is always in quotes, so that nobody need know when YAML would misread it.

use std::fmt::Write as _;

use crate::yaml;
use crate::yaml::layout::{Form, Kind, Scalar};

/// Where a scalar stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Behind a key or a `-`, up to the end of the line.
    Line,
    /// Inside of brackets.
    Flow,
    /// Before a `:`.
    Key,
}

/// Words that some reader of YAML takes for something else than a text.
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"];

/// The scalar on one line.
pub(super) fn one_line(scalar: &Scalar<'_>, place: Where) -> String {
    let written = scalar.lines.first().copied().unwrap_or_default();
    match scalar.form {
        Form::Empty => match place {
            Where::Line => String::new(),
            Where::Flow | Where::Key if scalar.text.is_empty() => "null".to_owned(),
            Where::Flow | Where::Key => scalar.text.clone(),
        },
        Form::Plain if holds_expr(&scalar.text) => in_quotes(&scalar.text),
        // It was the value of a key, and becomes an item.
        Form::Plain if place == Where::Flow && scalar.text.contains([',', '[', ']', '{', '}']) => {
            double(&scalar.text)
        }
        Form::Plain if scalar.lines.len() < 2 => written.to_owned(),
        Form::Plain if !scalar.text.contains('\n') => scalar.text.clone(),
        Form::Plain | Form::Literal | Form::Folded => double(&scalar.text),
        // What a tag makes of a text in quotes is not for us to say.
        Form::Single | Form::Double if scalar.kind != Kind::Text => written.to_owned(),
        Form::Single | Form::Double => quoted(scalar, written, place),
    }
}

fn quoted(scalar: &Scalar<'_>, written: &str, place: Where) -> String {
    let text = &scalar.text;
    let is_one_line = scalar.lines.len() < 2;
    if scalar.form == Form::Double && is_one_line && has_escapes(written) {
        return written.to_owned();
    }
    if is_plain(text, place) {
        return text.clone();
    }
    in_quotes(text)
}

/// Whether a text holds an expression.
fn holds_expr(text: &str) -> bool {
    text.contains("${{")
}

/// A text in double quotes, or in single ones where that needs fewer signs before others.
fn in_quotes(text: &str) -> String {
    let count = |wanted: &[char]| text.chars().filter(|c| wanted.contains(c)).count();
    if !text.chars().any(is_unseen) && count(&['\'']) < count(&['"', '\\']) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    double(text)
}

/// Whether its author wrote a character by its name: it is kept as it is.
fn has_escapes(written: &str) -> bool {
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !matches!(chars.next(), Some('"' | '\\')) {
            return true;
        }
    }
    false
}

/// A text in double quotes.
fn double(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            '\t' => write!(quoted, "\\t"),
            c if is_unseen(c) => write!(quoted, "\\u{:04x}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted.push('"');
    quoted
}

/// Whether a character cannot stand in quotes as it is, or would not be seen there.
fn is_unseen(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Whether a text needs no quotes, and nobody could take it for anything but a text: it begins
/// like a word or a path. What begins with a digit or a sign keeps its quotes, cron lines and
/// dates above all; inside of brackets so does what is of several words, whose end they show.
fn is_plain(text: &str, place: Where) -> bool {
    let begins = text.starts_with(|c: char| c.is_alphabetic() || "_/.$(".contains(c));
    let is_word = WORDS.iter().any(|word| text.trim_start_matches('.').eq_ignore_ascii_case(word));
    let is_safe = match place {
        Where::Line => !text.contains(": ") && !text.contains(" #") && !text.ends_with(':'),
        Where::Flow => !text.contains([' ', ',', '[', ']', '{', '}', ':', '#', '"', '\'']),
        Where::Key => text.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c)),
    };
    begins
        && is_safe
        && !holds_expr(text)
        && !is_word
        && !text.starts_with("...")
        && !text.ends_with(' ')
        && !text.chars().any(is_unseen)
        && yaml::reads_as_text(text)
}
