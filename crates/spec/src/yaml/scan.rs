//! The first look at a text: its events, their places, and the limits.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::Style;
use super::syntax;
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
/// What to do about a tag, or what was taken for one.
pub(super) const TAG_HELP: &str = "remove it; a value that starts with `!` needs quotes";

/// A value of which only place and structure are known.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) place: Place,
    pub(crate) style: Style,
    pub(crate) kind: Kind,
    /// Whether its tag or one of its keys was refused.
    refused: bool,
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
    has_bad_tags: bool,
    /// Where the last value or key ended.
    end: usize,
    root: Option<Shape>,
}

/// What the first look found.
pub(crate) struct Scanned {
    /// Whether there are tags that were refused: the other reader may stumble over them.
    pub(crate) has_bad_tags: bool,
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
        has_bad_tags: false,
        end: 0,
        root: None,
    };
    let mut documents = 0;
    for event in events(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let open = reading.open.last().map(|open| open.shape.place.start as usize);
                syntax::report(reading.report, &error, open, reading.end);
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
    Some(Scanned {
        has_bad_tags: reading.has_bad_tags,
        shape: reading.root,
        last_alias: reading.last_alias,
    })
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
        self.end = place.end as usize;
        let tag = event.tag().filter(|tag| !is_known(tag));
        if let Some(tag) = tag {
            let at = span.tag_span().map_or(place, |span| place_of(&span));
            let message = format!("the tag {} has no meaning here", quoted(&tag.original()));
            self.report.error(&codes::TAG, at, message).help(TAG_HELP);
            self.has_bad_tags = true;
        }
        let refused = tag.is_some();
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain | ScalarStyle::Folded => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal => Style::Literal,
                };
                let shape = Shape { place, style, kind: Kind::Scalar, refused };
                let text = text.into_owned();
                if anchor != 0 {
                    let (shape, text) = (shape.clone(), Some(text.clone()));
                    self.anchors.insert(anchor, Anchored { shape, text, nodes: 1, height: 0 });
                }
                self.count(1, place)?;
                self.add(shape, Some(text), 1, 0);
                Some(())
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start((Kind::List(Vec::new()), refused), place, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.start((Kind::Map(Vec::new()), refused), place, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::UnresolvedAlias(name) => {
                syntax::unknown_alias(self.report, &name, place);
                None
            }
            _ => Some(()),
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

    fn start(&mut self, (kind, refused): (Kind, bool), place: Place, anchor: usize) -> Option<()> {
        self.count(1, place)?;
        if self.open.len() >= DEPTH_MAX {
            too_deep(self.report, place);
            return None;
        }
        self.open.push(Open {
            shape: Shape { place, style: Style::Plain, kind, refused },
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
            self.refuse(&shape, None);
            self.root = Some(shape);
            return;
        };
        open.nodes += nodes;
        open.height = open.height.max(height);
        open.shape.place.end = open.shape.place.end.max(shape.place.end);
        match &mut open.shape.kind {
            Kind::Scalar => {}
            Kind::List(items) => {
                self.refuse(&shape, None);
                items.push(shape);
            }
            Kind::Map(entries) => match open.key.take() {
                Some(Key { text, place, kept }) => {
                    self.refuse(&shape, Some(place));
                    entries.push(EntryShape { key: text, place, kept, value: shape });
                }
                None => {
                    self.refuse(&shape, None);
                    let key = self.key(&mut open.keys, text, shape.place);
                    // Nobody knows what a mapping lacks while some of it is not read.
                    open.shape.refused |= !key.kept && !open.keys.contains_key(&key.text);
                    open.key = Some(key);
                }
            },
        }
        self.open.push(open);
    }

    fn refuse(&mut self, shape: &Shape, key: Option<Place>) {
        if shape.refused {
            self.report.refuse(shape.place, key, matches!(shape.kind, Kind::Scalar));
        }
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

/// Whether a tag only says what a value is without it.
fn is_known(tag: &Tag) -> bool {
    const KNOWN: &[&str] = &["str", "int", "float", "bool", "null", "seq", "map"];
    tag.core_suffix().is_some_and(|suffix| KNOWN.contains(&suffix))
}

fn too_large(report: &mut Report, place: Place, what: &str) {
    report
        .error(&codes::TOO_LARGE, place, format!("the file has {what}"))
        .help("move data out of the file, or split the DAG");
}

pub(super) fn too_deep(report: &mut Report, place: Place) {
    let message = format!("the file has more than {DEPTH_MAX} levels inside each other");
    report.error(&codes::TOO_LARGE, place, message).help("write it with fewer levels");
}
