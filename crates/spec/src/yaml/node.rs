//! The tree: [`Node`].

use serde_json::{Number, Value};

use super::raw::Raw;
use super::scan::{Kind, Shape};
use crate::report::{Place, Source};

/// How a text was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// Without quotes, or of several lines that are joined.
    #[default]
    Plain,
    /// In quotes of either kind.
    Quoted,
    /// As a block that keeps its lines: `|`.
    Literal,
}

/// A value and its place. An alias gives the place of what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) style: Style,
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// What a file holds in which there is no value.
    pub(crate) fn of_empty_file() -> Self {
        Self { place: Place::default(), style: Style::Plain, data: Data::Null }
    }

    /// Whether it is what a file holds in which nothing is written but comments and `---`.
    pub(crate) fn is_empty_file(&self) -> bool {
        self.is_null() && self.place.start == self.place.end
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Number(n) if n.is_f64() => "a number",
            Data::Number(_) => "an integer",
            Data::Text(_) if self.beyond_numbers().is_some() => "a number out of range",
            Data::Text(_) if self.holds_expr() => "an expression",
            Data::Text(_) => "a string",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// The digits of a number that no value here can hold: it is read as a text, but nobody who
    /// wrote it would call it one.
    pub(crate) fn beyond_numbers(&self) -> Option<&str> {
        let text = self.text().filter(|_| self.style == Style::Plain)?;
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_held = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        let is_infinite = digits.starts_with(|c: char| c.is_ascii_digit())
            && text.parse::<f64>().is_ok_and(f64::is_infinite);
        (is_infinite || (is_whole && !is_held)).then_some(text)
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if it is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entry of a key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// Whether it is nothing: an empty value or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Whether it is a text with an expression inside.
    pub(crate) fn holds_expr(&self) -> bool {
        self.text().is_some_and(|text| text.contains("${{"))
    }

    /// Whether an expression is in it, however deep.
    pub(crate) fn holds_expr_within(&self) -> bool {
        match &self.data {
            Data::List(items) => items.iter().any(Self::holds_expr_within),
            Data::Map(entries) => entries.iter().any(|entry| entry.node.holds_expr_within()),
            _ => self.holds_expr(),
        }
    }

    /// The value below these keys and positions, and where its key is: an item of a list has
    /// none, so that is the place of the item. `None` where one of them is not there.
    pub(crate) fn below(&self, keys: &[String]) -> Option<(Place, &Self)> {
        let (first, rest) = keys.split_first()?;
        let (key, next) = match &self.data {
            Data::List(items) => {
                items.get(first.parse::<usize>().ok()?).map(|item| (item.place, item))?
            }
            _ => self.entry(first).map(|entry| (entry.place, &entry.node))?,
        };
        if rest.is_empty() { Some((key, next)) } else { next.below(rest) }
    }

    /// As JSON, keys in the order written.
    pub(crate) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
            ),
        }
    }

    /// The place of a part of a text: `length` bytes from byte `offset` on. Where the text was
    /// written in a form that cannot be followed back, the place of the whole text.
    pub(crate) fn part(&self, source: &Source, offset: usize, length: usize) -> Place {
        self.text()
            .and_then(|text| self.start_of_part(source, text, offset))
            .map_or(self.place, |start| Place::new(start, start + length.max(1)))
    }

    fn start_of_part(&self, source: &Source, text: &str, offset: usize) -> Option<usize> {
        let (start, end) = (self.place.start as usize, self.place.end as usize);
        let written = source.text.get(start..end)?;
        let offset = offset.min(text.len());
        match self.style {
            Style::Plain => (written.trim_end() == text).then_some(start + offset),
            Style::Quoted => {
                let inner = written.get(1..written.len().checked_sub(1)?)?;
                (inner == text).then_some(start + 1 + offset)
            }
            Style::Literal => literal_part(source, start, text, offset),
        }
    }
}

/// The byte in the file of a byte in a `|` block that starts at `start`.
fn literal_part(source: &Source, start: usize, text: &str, offset: usize) -> Option<usize> {
    let before = text.get(..offset)?;
    let line_in_text = before.matches('\n').count();
    let column = offset - before.rfind('\n').map_or(0, |at| at + 1);
    let (index, content) =
        text.split('\n').enumerate().find(|(_, line)| !line.trim().is_empty())?;
    // The place is that of the `|`, of the first line, or of the first line with content.
    let line = source.line_of(start);
    let fits = |first: &usize| source.line_text(first + index).ends_with(content);
    let first = [Some(line + 1), Some(line), line.checked_sub(index)];
    let first = first.into_iter().flatten().find(fits)?;
    // Every line has lost the same indentation.
    let indent = source.line_text(first + index).strip_suffix(content)?.len();
    let line = first + line_in_text;
    let written = source.line_text(line);
    let at = (indent + column).min(written.len());
    Some(source.line_start(line) + at)
}

/// Joins what the two readers found.
pub(crate) fn join(shape: Shape, raw: Raw) -> Node {
    let Shape { place, style, kind, .. } = shape;
    let data = match (kind, raw) {
        (Kind::List(shapes), Raw::List(raws)) if shapes.len() == raws.len() => {
            Data::List(shapes.into_iter().zip(raws).map(|(s, r)| join(s, r)).collect())
        }
        (Kind::Map(shapes), Raw::Map(raws)) if shapes.len() == raws.len() => Data::Map(
            shapes
                .into_iter()
                .zip(raws)
                .filter(|(shape, _)| shape.kept)
                .map(|(shape, (_, raw))| Entry {
                    key: shape.key,
                    place: shape.place,
                    node: join(shape.value, raw),
                })
                .collect(),
        ),
        (_, raw) => return without_places(raw, place, style),
    };
    Node { place, style, data }
}

/// A value of which only the place of the whole is known.
fn without_places(raw: Raw, place: Place, style: Style) -> Node {
    let data = match raw {
        Raw::Null => Data::Null,
        Raw::Bool(value) => Data::Bool(value),
        Raw::Number(number) => Data::Number(number),
        Raw::Text(text) => Data::Text(text),
        Raw::List(items) => {
            let plain = |item| without_places(item, place, Style::Plain);
            Data::List(items.into_iter().map(plain).collect())
        }
        Raw::Map(entries) => {
            let entry = |(key, value)| {
                let key = match key {
                    Raw::Text(text) => text,
                    Raw::Bool(value) => value.to_string(),
                    Raw::Number(number) => number.to_string(),
                    Raw::Null | Raw::List(_) | Raw::Map(_) => return None,
                };
                Some(Entry { key, place, node: without_places(value, place, Style::Plain) })
            };
            Data::Map(entries.into_iter().filter_map(entry).collect())
        }
    };
    Node { place, style, data }
}
