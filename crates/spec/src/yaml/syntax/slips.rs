//! The slips behind what a reader of YAML stumbles over.

use granit_parser::ErrorKind;

use super::{Slip, Stop};
use crate::codes;
use crate::report::{Place, quoted};
use crate::yaml::scan::TAG_HELP;

const SPACES_OF_KEYS: &str = "give all keys of a mapping the same number of spaces before them";
const SPACES_OF_BLOCK: &str =
    "give the lines of a block the same number of spaces, more than its key has";
/// A key in one line is no longer.
const KEY_CHARS_MAX: usize = 1024;

impl<'a> Stop<'_, 'a> {
    pub(super) fn tab(&self, kind: &ErrorKind) -> Option<Slip> {
        let start = self.source.line_start(self.line);
        let indent = indent_of(self.written());
        if let Some(tab) = self.written()[..indent].find('\t') {
            return Some(self.tab_at(start + tab));
        }
        let is_tab = matches!(
            kind,
            ErrorKind::TabNotAllowed
                | ErrorKind::TabInBlockIndentation
                | ErrorKind::TabAtBlockScalarStart
                | ErrorKind::TabInIndentation
                | ErrorKind::TabInPlainScalar
                | ErrorKind::InvalidBlockEntryWhitespace
                | ErrorKind::InvalidMappingValueWhitespace
        );
        let (before, after) = self.source.text.split_at(self.at);
        let next = after.find('\t').map(|tab| self.at + tab);
        is_tab.then(|| self.tab_at(next.or_else(|| before.rfind('\t')).unwrap_or(self.at)))
    }

    pub(super) fn tab_at(&self, at: usize) -> Slip {
        let line = self.source.line_start(self.source.line_of(at));
        let is_indent = self.source.text[line..at].trim().is_empty();
        let what = if is_indent { "a tab cannot indent a line" } else { "a tab cannot stand here" };
        let (message, help) = (what.to_owned(), "replace it by spaces".to_owned());
        Slip { code: &codes::TAB, place: Place::new(at, at + 1), message, help }
    }

    /// What a merge leaves in a file when it is not finished.
    pub(super) fn conflict(&self, _: &ErrorKind) -> Option<Slip> {
        let is_mark = |line: &usize| {
            let text = self.source.line_text(*line);
            text.starts_with("<<<<<<< ") || text.starts_with(">>>>>>> ") || text == "======="
        };
        let line = (0..=self.line).find(is_mark)?;
        let message = "a merge of two versions of the file is not finished";
        let help = "keep one of the two texts, and remove the lines with `<<<<<<<`, `=======` and \
                    `>>>>>>>`";
        Some(Slip::new(self.source.line_place(line), message, help))
    }

    pub(super) fn template(&self, _: &ErrorKind) -> Option<Slip> {
        self.template_in(self.line)
    }

    fn template_in(&self, line: usize) -> Option<Slip> {
        let written = self.source.line_text(line).trim_start();
        let start = ["{%", "{{", "{#"].into_iter().find(|start| written.starts_with(start))?;
        let message = format!("a line that starts with `{start}` is one of a template");
        let help = "a DAG file is YAML, not a template: write the values, or use `params` and \
                    `${{ … }}`";
        Some(Slip::new(self.source.line_place(line), &message, help))
    }

    /// An expression without quotes, whose braces and colons are read as YAML.
    pub(super) fn expression(&self, kind: &ErrorKind) -> Option<Slip> {
        let may_be = matches!(
            kind,
            ErrorKind::ExpectedFlowMappingSeparator
                | ErrorKind::ExpectedFlowSequenceSeparator
                | ErrorKind::ExpectedBlockMappingKey
                | ErrorKind::MappingValueNotAllowed
                | ErrorKind::InvalidColonPlacement
                | ErrorKind::FlowMappingValueAdjacentCollection
                | ErrorKind::MismatchedFlowCollectionEnd { .. }
                | ErrorKind::MisplacedFlowCollectionEnd
                | ErrorKind::UnclosedFlowCollection { .. }
        );
        let is_bare = |line: &usize| {
            let before = self.source.line_text(*line).split_once("${{").map(|(before, _)| before);
            before.is_some_and(|before| {
                let is_value = before.contains([':', '[', '{']) || before.trim_start() == "- ";
                let is_quoted = ['"', '\''].iter().any(|q| before.matches(*q).count() % 2 == 1);
                is_value && !is_quoted
            })
        };
        let mut lines = (0..=2).filter_map(|back| self.line.checked_sub(back));
        let line = lines.find(|line| may_be && is_bare(line))?;
        let message = "the signs inside of a `${{ … }}` without quotes are read as YAML";
        let help = "quote the value that holds `${{ … }}`: `key: \"${{ … }}\"`";
        Some(Slip::new(self.source.line_place(line), message, help))
    }

    /// A bracket that is not closed at all; what the reader stops at is then far below it.
    pub(super) fn unclosed(&self, kind: &ErrorKind) -> Option<Slip> {
        let is_end = matches!(kind, ErrorKind::UnclosedFlowCollection { .. });
        let open = match kind {
            ErrorKind::UnclosedFlowCollection { .. } => self.at,
            ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::InvalidFlowScalarIndent
            | ErrorKind::InvalidIndentation
            | ErrorKind::MappingValueNotAllowed => self.open?,
            _ => return None,
        };
        let text = self.source.text.get(open..)?;
        let bracket = text.chars().next().filter(|c| matches!(c, '[' | '{'))?;
        let is_above = self.source.line_of(open) < self.line;
        if !is_end && (!is_above || is_closed(text)) {
            return None;
        }
        let close = if bracket == '[' { ']' } else { '}' };
        let message = format!("the `{bracket}` is not closed");
        let mut help = format!("close it with `{close}`");
        if !is_end {
            help.push_str(&format!("; line {} is read as part of it", self.line + 1));
        }
        Some(Slip::new(Place::new(open, open + 1), &message, help))
    }

    /// A `: ` where no key can be.
    pub(super) fn second_colon(&self) -> Slip {
        let (before, after) = self.split();
        if before.chars().count() > KEY_CHARS_MAX {
            let message = format!("a key has at most {KEY_CHARS_MAX} letters");
            let help = "write a shorter one; a value that holds `: ` needs quotes";
            return Slip::new(self.place(), &message, help);
        }
        if let Some((key, value)) = key_and_value(before) {
            let value = format!("{value}{}", without_comment(after));
            let example = in_quotes(value.trim()).map(|value| quoted(&format!("{key}: {value}")));
            let message =
                format!("the value of {} holds a `:` with a space behind it", quoted(key));
            let help = match example {
                Some(example) => format!("a value that holds `: ` needs quotes: {example}"),
                None => format!("write the value below `{key}: |`, with more spaces than it has"),
            };
            return Slip::new(self.place(), &message, help);
        }
        let place = self.source.line_place(self.line);
        let Some((above, text)) = self.above() else {
            return Slip::new(place, "a key cannot stand here", SPACES_OF_KEYS);
        };
        if let Some((key_above, _)) = key_and_value(text) {
            let key = quoted(without_dash(before));
            let above = quoted(key_above);
            let message = format!("{key} stands deeper than {above} above it, which has a value");
            return Slip::new(place, &message, SPACES_OF_KEYS);
        }
        self.lacks_colon(above)
    }

    /// A line among keys that is none.
    pub(super) fn no_colon(&self) -> Slip {
        if self.written().trim_start().starts_with(['{', '[']) {
            let message = "brackets stand where a key is wanted";
            let help = "write the key of this value, with its `:`, before it";
            return Slip::new(self.source.line_place(self.line), message, help);
        }
        if self.is_below_block() {
            let message = "this is no key, and stands too far left for the block of text above it";
            return Slip::new(self.source.line_place(self.line), message, SPACES_OF_BLOCK);
        }
        self.lacks_colon(self.line)
    }

    /// A line that was to be a key, and has no `:` or no space behind it.
    fn lacks_colon(&self, line: usize) -> Slip {
        let text = without_comment(self.source.line_text(line)).trim();
        let start = self.source.line_place(line).start as usize;
        let place = Place::new(start, start + text.len());
        let text = without_dash(text);
        let first = text.split([' ', ':']).next().unwrap_or_default().trim_matches('"');
        if !first.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
            let message = "the line is neither a key nor an item";
            let help = "a key has a `:` behind it, an item a `-` before it; a text of several lines \
                        stands below `|`, with more spaces than its key has";
            return Slip::new(place, message, help);
        }
        let (message, example) = match (text.split_once(':'), text.split_once(' ')) {
            (Some((key, value)), _) if !key.is_empty() && !value.is_empty() => {
                let example = format!("{key}: {}", value.trim_start());
                ("there is no space behind the `:`".to_owned(), example)
            }
            (_, Some((key, value))) => {
                (format!("{} has no `:`", quoted(text)), format!("{key}: {}", value.trim_start()))
            }
            _ => (format!("{} has no `:` behind it", quoted(text)), format!("{text}:")),
        };
        let example = quoted(&example);
        let help = format!("write {example}, or indent the line if it belongs to a text above it");
        Slip::new(place, &message, help)
    }

    /// Something among keys that is none.
    pub(super) fn no_key(&self) -> Slip {
        let (before, after) = self.split();
        let close = before.trim_end().chars().next_back().filter(|c| matches!(c, ']' | '}'));
        if let Some(close) = close {
            return self.text_behind(close, after, "remove it, or put the whole value in quotes");
        }
        if !without_dash(before).is_empty() {
            let message = "there is more in this line than one value";
            let help = "a value has at most one anchor, `&`, and one tag; put a text in quotes";
            return Slip::new(self.place(), message, help);
        }
        let place = self.source.line_place(self.line);
        if self.written().trim_start().starts_with("- ") {
            let message = "an item with `-` stands among keys, or too far left for its list";
            let help = "give all items of a list the same number of spaces before their `-`, and \
                        put no keys among them";
            return Slip::new(place, message, help);
        }
        if self.is_below_block() {
            let message = "the block of text stands too far left for its key";
            return Slip::new(place, message, SPACES_OF_BLOCK);
        }
        let message = "the line has other spaces before it than the keys above";
        Slip::new(place, message, SPACES_OF_KEYS)
    }

    fn text_behind(&self, close: char, after: &str, help: impl Into<String>) -> Slip {
        let rest = without_comment(after).trim_end();
        let message = format!("there is text behind the closing `{close}`");
        Slip::new(Place::new(self.at, self.at + rest.len().max(1)), &message, help)
    }

    /// Something behind the one value of the file.
    pub(super) fn after_the_end(&self) -> Slip {
        let holds = |line: &usize| !is_blank(self.source.line_text(*line));
        let first = (0..self.line).find(holds);
        let text = |line: usize| self.source.line_text(line);
        if let Some(line) = first.filter(|line| text(*line).starts_with('%')) {
            return self.directive(line);
        }
        if let Some(slip) = first.and_then(|line| self.template_in(line)) {
            return slip;
        }
        let (before, after) = self.split();
        if !before.is_empty() && after.starts_with(':') {
            return self.lacks_colon(self.line);
        }
        if let Some(line) = first.filter(|line| text(*line).starts_with(' ')) {
            let place = self.source.line_place(line);
            let key = text(line).trim().split(':').next().unwrap_or_default();
            let message = format!("{} stands deeper than the keys below it", quoted(key));
            return Slip::new(place, &message, SPACES_OF_KEYS);
        }
        if let Some((line, _)) = self.above().filter(|(_, text)| text.ends_with(['"', '\''])) {
            return self.lacks_colon(line);
        }
        let (place, message) = match first {
            Some(_) => (
                self.source.line_place(self.line),
                "the one value of the file ends above this line",
            ),
            None => (self.place(), "the one value of the file ends before this"),
        };
        let help = "a file is one mapping: write each key on a line of its own, without brackets \
                    around some of them";
        Slip::new(place, message, help)
    }

    /// Text behind a closing quote.
    pub(super) fn behind_quote(&self, quote: char) -> Slip {
        let (escape, other) = if quote == '"' { ("\\\"", '\'') } else { ("''", '"') };
        let read = self.source.text.get(self.read..self.at).unwrap_or_default();
        let open = read.find(quote).map_or(self.at, |open| self.read + open);
        if self.source.line_of(open) < self.line {
            let message = format!("the `{quote}` is closed only in line {}", self.line + 1);
            let help =
                format!("close it where its text ends; a `{quote}` inside is written `{escape}`");
            return Slip::new(Place::new(open, open + 1), &message, help);
        }
        let help = format!(
            "put the whole value into `{other}…{other}`; a `{quote}` inside of `{quote}…{quote}` \
             is written `{escape}`"
        );
        self.text_behind(quote, self.split().1, help)
    }

    /// A `\` in double quotes that means nothing.
    pub(super) fn unknown_escape(&self) -> Slip {
        const KNOWN: &str = "0abtnvfre \"/\\N_LPxuU\t\r\n";
        let mut letters = self.source.text[self.at..].char_indices();
        let mut found = None;
        while let (None, Some((at, c))) = (found, letters.next()) {
            let next = if c == '\\' { letters.next() } else { None };
            found = next.filter(|(_, next)| !KNOWN.contains(*next)).map(|(_, next)| (at, next));
        }
        let (place, message) = match found {
            None => (self.place(), "a `\\` in double quotes means nothing here".to_owned()),
            Some((at, next)) => {
                let place = Place::new(self.at + at, self.at + at + 1 + next.len_utf8());
                (place, format!("`\\{next}` means nothing in double quotes"))
            }
        };
        let help = "write `\\\\` for a backslash, or put the text in single quotes";
        Slip::new(place, &message, help)
    }

    /// A character that can begin nothing.
    pub(super) fn unexpected(&self, c: char) -> Slip {
        if matches!(c, '|' | '>') {
            let message = format!("a block of text with `{c}` cannot stand inside of brackets");
            let help = "put the text in quotes, or write its key on a line without brackets";
            return Slip::new(self.place(), &message, help);
        }
        if c.is_ascii_graphic() {
            return self.needs_quotes();
        }
        let message = format!("the character U+{:04X} cannot stand here", u32::from(c));
        Slip::new(self.place(), &message, "remove it, with an editor that shows it")
    }

    /// A value that starts with a sign of YAML.
    pub(super) fn needs_quotes(&self) -> Slip {
        let c = self.character().unwrap_or(' ');
        let message = format!("a value cannot start with {}", named(c));
        Slip::new(self.place(), &message, self.quotes_help(c))
    }

    pub(super) fn quotes_help(&self, c: char) -> String {
        let help = format!("a value that starts with {} needs quotes", named(c));
        let (key, value) = self.value();
        match in_quotes(value).filter(|_| !value.contains('`')) {
            Some(value) => format!("{help}: {}", quoted(&format!("{key}{value}"))),
            None => help,
        }
    }

    /// The value that starts at the place, and the key with its colon before it, if there is one.
    pub(super) fn value(&self) -> (String, &'a str) {
        let (before, after) = self.split();
        let before = before.trim_end();
        let key = before.strip_suffix(':').map(|before| {
            let key = before.rsplit(['{', '[', ',', ' ']).next().unwrap_or_default();
            format!("{key}: ")
        });
        let is_inside = before.contains(['{', '[']);
        let end = if is_inside { after.find([',', ']', '}']) } else { None };
        let value = &after[..end.unwrap_or(after.len())];
        (key.unwrap_or_default(), without_comment(value).trim_end())
    }

    /// What starts with `!` and is not even a tag.
    pub(super) fn tag(&self) -> Slip {
        // The place may be inside of it.
        let (before, after) = self.split();
        let inside = before.rfind('!').filter(|_| !after.starts_with('!'));
        let start = inside.unwrap_or(before.len());
        let tag = self.written()[start..].split([' ', ',', ']', '}']).next().unwrap_or_default();
        let at = self.source.line_start(self.line) + start;
        let message = format!("the tag {} has no meaning here", quoted(tag));
        let (place, help) = (Place::new(at, at + tag.len().max(1)), TAG_HELP.to_owned());
        Slip { code: &codes::TAG, place, message, help }
    }

    /// A line that starts with `%`.
    pub(super) fn directive(&self, line: usize) -> Slip {
        let message = "a line cannot start with `%`";
        let help = "remove it, or give it spaces if it belongs to a text above; a value that starts \
                    with `%` needs quotes";
        Slip::new(self.source.line_place(line), message, help)
    }

    /// The nearest line above that holds more than a comment, without the comment at its end.
    fn above(&self) -> Option<(usize, &'a str)> {
        let mut above = (0..self.line).rev().map(|line| (line, self.source.line_text(line)));
        let (line, text) = above.find(|(_, text)| !is_blank(text))?;
        Some((line, without_comment(text).trim()))
    }

    /// Whether the lines right above are a block of text: its key is the nearest line that is not
    /// deeper than this one, or the one just above.
    fn is_below_block(&self) -> bool {
        let here = indent_of(self.written());
        let text = |line: usize| self.source.line_text(line);
        let above = |line: &usize| !text(*line).trim().is_empty();
        let nearest = (0..self.line).rev().find(above);
        let key = (0..self.line).rev().find(|line| above(line) && indent_of(text(*line)) <= here);
        let starts_block = |line: usize| {
            let text = without_comment(text(line)).trim_end();
            let text = text.trim_end_matches(|c: char| c.is_ascii_digit() || "+-".contains(c));
            [": |", ": >", "- |", "- >"].iter().any(|start| text.ends_with(start))
        };
        [nearest, key].into_iter().flatten().any(starts_block)
    }
}

/// A character in a message.
fn named(c: char) -> String {
    match c {
        '`' => "a backtick".to_owned(),
        c => format!("`{c}`"),
    }
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Whether the bracket at the start of a text is closed in it, quotes aside.
fn is_closed(text: &str) -> bool {
    let mut depth = 0_usize;
    text.chars().any(|c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => return false,
        }
        depth == 0
    })
}

fn without_comment(text: &str) -> &str {
    text.split_once(" #").map_or(text, |(text, _)| text)
}

/// A key without the dashes of the items that it begins.
fn without_dash(text: &str) -> &str {
    text.trim_start_matches(['-', ' '])
}

/// The key and the value that a line, or the part of one, begins with.
fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let (key, value) = without_dash(text).split_once(": ")?;
    Some((key, value.trim_start()))
}

/// A text in quotes of which it holds none.
fn in_quotes(text: &str) -> Option<String> {
    let quote = ['"', '\''].into_iter().find(|quote| !text.contains(*quote))?;
    let is_plain = quote == '\'' || !text.contains('\\');
    (is_plain && !text.is_empty()).then(|| format!("{quote}{text}{quote}"))
}
