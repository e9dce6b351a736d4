//! The first look at a text: its events, their places, and the limits.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::Style;
use crate::codes;
use crate::report::{Place, Report, quoted};

/// Values in a file, those of aliases counted at each use.
const NODES_MAX: usize = 500_000;
/// Levels of lists and mappings inside each other.
const DEPTH_MAX: usize = 64;
/// The values of longer texts are counted before a tree is made of them.
const COUNTED_FIRST_BYTES: usize = 1 << 20;
/// Aliases in a file.
const ALIASES_MAX: usize = 100;

/// A value of which only place and structure are known.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) place: Place,
    pub(crate) style: Style,
    pub(crate) kind: Kind,
}

/// The structure of a value.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar,
    List(Vec<Shape>),
    Map(Vec<EntryShape>),
}

/// A key, and the structure of its value.
#[derive(Debug, Clone)]
pub(crate) struct EntryShape {
    pub(crate) key: String,
    pub(crate) place: Place,
    /// False for keys that were refused.
    pub(crate) kept: bool,
    pub(crate) value: Shape,
}

/// A list or mapping whose end has not come yet.
struct Open {
    shape: Shape,
    anchor: usize,
    nodes: usize,
    height: usize,
    keys: HashMap<String, Place>,
    key: Option<Key>,
}

struct Key {
    text: String,
    place: Place,
    kept: bool,
}

/// What an anchor stands for.
struct Anchored {
    shape: Shape,
    text: Option<String>,
    nodes: usize,
    height: usize,
}

struct Scan<'r, 'a> {
    report: &'r mut Report<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliases: usize,
    last_alias: Option<Place>,
    nodes: usize,
    root: Option<Shape>,
}

/// What the first look found.
pub(crate) struct Scanned {
    /// `None` when there is nothing but comments.
    pub(crate) shape: Option<Shape>,
    pub(crate) last_alias: Option<Place>,
}

/// Reads the events of the report's file. `None` when there is no tree that could be read.
pub(crate) fn scan(report: &mut Report) -> Option<Scanned> {
    let text = report.source.text;
    if text.len() > COUNTED_FIRST_BYTES
        && let Some(place) = one_too_many(text)
    {
        too_large(report, place, &format!("more than {NODES_MAX} values, aliases included"));
        return None;
    }
    let mut reading = Scan {
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliases: 0,
        last_alias: None,
        nodes: 0,
        root: None,
    };
    let mut documents = 0;
    for event in events(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                syntax(reading.report, &error);
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                let message = "the file holds several documents";
                let place = place_of(&span);
                reading
                    .report
                    .error(&codes::DOCUMENTS, place, message)
                    .label("the second one starts here")
                    .help("one file is one DAG: move it into a file of its own");
                return None;
            }
        }
        reading.event(event, &span)?;
    }
    Some(Scanned { shape: reading.root, last_alias: reading.last_alias })
}

fn events(text: &str) -> impl Iterator<Item = Result<(Event<'_>, Span), ScanError>> {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.set_emit_comments(false);
    Parser::new_from_str_with_options(text, options)
}

/// The first value beyond the limit, if the text holds so many. Aliases are counted as one value
/// here: what they stand for is counted before it is copied.
fn one_too_many(text: &str) -> Option<Place> {
    let is_value = |event: &Event<'_>| {
        use Event::{Alias, MappingStart, Scalar, SequenceStart};
        matches!(event, Scalar(..) | SequenceStart(..) | MappingStart(..) | Alias(..))
    };
    // What is no YAML, the reading will tell.
    let events = events(text).map_while(Result::ok);
    events.filter(|(event, _)| is_value(event)).nth(NODES_MAX).map(|(_, span)| place_of(&span))
}

fn place_of(span: &Span) -> Place {
    let range = span.byte_range().unwrap_or_default();
    Place::new(range.start, range.end)
}

impl Scan<'_, '_> {
    /// Takes an event; `None` stops the reading.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        let place = place_of(span);
        if let Some(tag) = event.tag() {
            let at = span.tag_span().map_or(place, |span| place_of(&span));
            self.tag(tag, at);
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain | ScalarStyle::Folded => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal => Style::Literal,
                };
                let shape = Shape { place, style, kind: Kind::Scalar };
                let text = text.into_owned();
                if anchor != 0 {
                    let (shape, text) = (shape.clone(), Some(text.clone()));
                    self.anchors.insert(anchor, Anchored { shape, text, nodes: 1, height: 0 });
                }
                self.count(1, place)?;
                self.add(shape, Some(text), 1, 0);
                Some(())
            }
            Event::SequenceStart(_, anchor, _) => self.start(Kind::List(Vec::new()), place, anchor),
            Event::MappingStart(_, anchor, _) => self.start(Kind::Map(Vec::new()), place, anchor),
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::UnresolvedAlias(name) => {
                let message =
                    format!("there is no anchor {} before this alias", quoted(&format!("&{name}")));
                let line = self.report.source.line_of(place.start as usize);
                let help = star_help(self.report.source.line_text(line)).unwrap_or_else(|| {
                    format!("write `&{name}` before the value that it stands for, or put a text that starts with `*` in quotes")
                });
                self.report.error(&codes::ALIAS, place, message).help(help);
                None
            }
            _ => Some(()),
        }
    }

    fn tag(&mut self, tag: &Tag, place: Place) {
        const KNOWN: &[&str] = &["str", "int", "float", "bool", "null", "seq", "map"];
        if !tag.core_suffix().is_some_and(|suffix| KNOWN.contains(&suffix)) {
            let message = format!("the tag {} has no meaning here", quoted(&tag.original()));
            self.report.error(&codes::TAG, place, message).help("remove it");
        }
    }

    /// Counts values before they are kept.
    fn count(&mut self, nodes: usize, place: Place) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return self
                .too_large(place, &format!("more than {NODES_MAX} values, aliases included"));
        }
        Some(())
    }

    fn too_large(&mut self, place: Place, what: &str) -> Option<()> {
        too_large(self.report, place, what);
        None
    }

    fn start(&mut self, kind: Kind, place: Place, anchor: usize) -> Option<()> {
        self.count(1, place)?;
        if self.open.len() >= DEPTH_MAX {
            too_deep(self.report, place);
            return None;
        }
        self.open.push(Open {
            shape: Shape { place, style: Style::Plain, kind },
            anchor,
            nodes: 1,
            height: 0,
            keys: HashMap::new(),
            key: None,
        });
        Some(())
    }

    fn end(&mut self, end: Place) -> Option<()> {
        let mut open = self.open.pop()?;
        // The end of a block is known only by what follows; a bracket has a place of its own.
        if end.end > end.start {
            open.shape.place.end = end.end;
        }
        let (nodes, height) = (open.nodes, open.height + 1);
        if open.anchor != 0 {
            let anchored = Anchored { shape: open.shape.clone(), text: None, nodes, height };
            self.anchors.insert(open.anchor, anchored);
        }
        self.add(open.shape, None, nodes, height);
        Some(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Option<()> {
        self.aliases += 1;
        self.last_alias = Some(place);
        if self.aliases > ALIASES_MAX {
            let message = format!("the file has more than {ALIASES_MAX} aliases");
            self.report
                .error(&codes::ALIAS, place, message)
                .help("write the values out, or use `defaults` for what all tasks share");
            return None;
        }
        if self.open.iter().any(|open| open.anchor == anchor) {
            let message = "the alias stands inside of what it stands for";
            self.report.error(&codes::ALIAS, place, message).help("move the anchor or the alias");
            return None;
        }
        let Some(anchored) = self.anchors.get(&anchor) else {
            self.report.error(&codes::ALIAS, place, "there is no anchor before this alias");
            return None;
        };
        // Counted before anything is copied.
        let (nodes, height) = (anchored.nodes, anchored.height);
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let what = format!("the file has more than {NODES_MAX} values, aliases included");
            self.report
                .error(&codes::TOO_LARGE, place, what)
                .help("an alias counts as all that it stands for: use fewer, or of smaller values");
            return None;
        }
        if self.open.len() + height > DEPTH_MAX {
            too_deep(self.report, place);
            return None;
        }
        let anchored = self.anchors.get(&anchor)?;
        let (shape, text) = (anchored.shape.clone(), anchored.text.clone());
        self.add(shape, text, nodes, height);
        Some(())
    }

    /// Adds a whole value to what is open: as a key, as a value, or as the root.
    fn add(&mut self, shape: Shape, text: Option<String>, nodes: usize, height: usize) {
        let Some(mut open) = self.open.pop() else {
            self.root = Some(shape);
            return;
        };
        open.nodes += nodes;
        open.height = open.height.max(height);
        open.shape.place.end = open.shape.place.end.max(shape.place.end);
        match &mut open.shape.kind {
            Kind::Scalar => {}
            Kind::List(items) => items.push(shape),
            Kind::Map(entries) => match open.key.take() {
                Some(Key { text, place, kept }) => {
                    entries.push(EntryShape { key: text, place, kept, value: shape });
                }
                None => open.key = Some(self.key(&mut open.keys, text, shape.place)),
            },
        }
        self.open.push(open);
    }

    /// A key, refused where it repeats another one or is none.
    fn key(
        &mut self,
        keys: &mut HashMap<String, Place>,
        text: Option<String>,
        place: Place,
    ) -> Key {
        let Some(text) = text else {
            let before = self.report.source.text.get(..place.start as usize).unwrap_or_default();
            let help = before
                .ends_with('{')
                .then(|| "an expression stands in quotes, with a `$`: `\"${{ … }}\"`".to_owned());
            self.report.error(&codes::KEY_KIND, place, "a key must be a string").maybe_help(help);
            return Key { text: String::new(), place, kept: false };
        };
        if text == "<<" {
            self.report
                .error(&codes::MERGE_KEY, place, "merge keys are not read")
                .help("write the keys out, use `defaults`, or refer to whole values with `*name`");
            return Key { text, place, kept: false };
        }
        if let Some(first) = keys.get(&text) {
            let line = self.report.source.line_of(first.start as usize) + 1;
            let message = format!("the key {} is given twice", quoted(&text));
            self.report
                .error(&codes::DUPLICATE_KEY, place, message)
                .label(format!("the first one is in line {line}"))
                .help("remove or rename one of them");
            return Key { text, place, kept: false };
        }
        keys.insert(text.clone(), place);
        Key { text, place, kept: true }
    }
}

fn too_large(report: &mut Report, place: Place, what: &str) {
    report
        .error(&codes::TOO_LARGE, place, format!("the file has {what}"))
        .help("move data out of the file, or split the DAG");
}

fn too_deep(report: &mut Report, place: Place) {
    let message = format!("the file has more than {DEPTH_MAX} levels inside each other");
    report.error(&codes::TOO_LARGE, place, message).help("write it with fewer levels");
}

/// Reports why the text is not YAML.
fn syntax(report: &mut Report, error: &ScanError) {
    let text = report.source.text;
    let mut at = error.marker().byte_offset().unwrap_or(0).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        too_deep(report, Place::new(at, at + 1));
        return;
    }
    let mut line = report.source.line_of(at);
    // At the end of the text there is nothing to point at: the last line with content is.
    let mut place = Place::new(at, at + 1);
    if text[at..].trim().is_empty() {
        while line > 0 && report.source.line_text(line).trim().is_empty() {
            line -= 1;
        }
        place = report.source.line_place(line);
    }
    let written = report.source.line_text(line);
    let indent = &written[..written.len() - written.trim_start().len()];
    if let Some(tab) = indent.find('\t') {
        let at = report.source.line_start(line) + tab;
        report
            .error(&codes::TAB, Place::new(at, at + 1), "a tab cannot indent a line")
            .help("replace it by spaces");
        return;
    }
    let message = format!("this is not YAML: {}", error.info());
    let expression = (0..=2)
        .filter_map(|back| line.checked_sub(back))
        .find(|line| report.source.line_text(*line).contains("${{"));
    let help = match expression {
        Some(line) => {
            place = report.source.line_place(line);
            Some("quote the value that holds `${{ … }}`: `key: \"${{ … }}\"`".to_owned())
        }
        None => star_help(written).or_else(|| remedy(&error.info(), written)),
    };
    report.error(&codes::SYNTAX, place, message).maybe_help(help);
}

/// What to do about the slips behind what the parser says most often.
fn remedy(said: &str, line: &str) -> Option<String> {
    if said.contains("mapping values are not allowed") {
        let help = match line.split_once(": ") {
            Some((_, value)) if value.contains(": ") || value.ends_with(':') => {
                "a value that holds `: ` needs quotes"
            }
            _ => {
                "one space too many or too few before a key, or a `:` is missing in the line above"
            }
        };
        return Some(help.to_owned());
    }
    let help = match said {
        said if said.contains("unclosed bracket '['") => "close it with `]`",
        said if said.contains("unclosed bracket '{'") => "close it with `}`",
        said if said.contains("after single-quoted") => {
            "double a quote inside of quotes: `'it''s'`"
        }
        said if said.contains("after double-quoted") => "write a quote inside of quotes as `\\\"`",
        said if said.contains("unknown escape character") => {
            "write `\\\\` for a backslash, or put the text in single quotes"
        }
        said if said.contains("unexpected character") && line.trim_start().starts_with("{%") => {
            "a DAG file is YAML, not a template: write the values, or use `params` and `${{ … }}`"
        }
        said if said.contains("unexpected character") => {
            "a value that starts with this character needs quotes"
        }
        said if said.contains("wrongly indented line in block") => {
            "give the lines of a block the same number of spaces, more than its key has"
        }
        said if said.contains("only valid inside a block")
            && line.trim_start().starts_with('{') =>
        {
            "a DAG file is YAML, not a template: write the values, or use `params` and `${{ … }}`"
        }
        said if said.contains("unclosed quote") => "close it, or double a quote inside: `'it''s'`",
        said if said.contains("expected ',' or '}'") => {
            "separate keys by `,` and close the `{` with `}`; a value that holds one of `,[]{}` needs quotes"
        }
        said if said.contains("expected ',' or ']'") => {
            "separate items by `,` and close the `[` with `]`; a value that holds one of `,[]{}` needs quotes"
        }
        said if said.contains("parsing a block mapping") => {
            "give all keys of a mapping the same number of spaces before them"
        }
        said if said.contains("parsing a block collection") => {
            "give all items of a list the same number of spaces before their `-`"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

/// What to do about a value that starts with a star but is no alias, as cron lines do.
fn star_help(line: &str) -> Option<String> {
    let (key, value) = line.split_once(": *")?;
    let cron = value.starts_with([' ', '/']) && value.split(' ').count() >= 4;
    cron.then(|| {
        let key = key.trim_start().trim_start_matches("- ");
        format!("a value that starts with `*` needs quotes: `{key}: \"*{}\"`", value.trim_end())
    })
}
