//! From the events of a text to its [`Document`].

use std::iter::Peekable;
use std::mem;
use std::ops::Range;
use std::vec::IntoIter;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use super::{Alias, Aside, Document, Group, Line, Member, Scalar, Shape, Value, scalar};
use crate::report::Source;
use crate::yaml::node::{Data, Entry, Node};

/// A node of the text.
struct Piece {
    what: What,
    place: Range<usize>,
    /// Where its anchor and its tag are.
    marks: Vec<Range<usize>>,
}

#[derive(Clone, Copy)]
enum What {
    Scalar(ScalarStyle),
    Alias,
    Start { is_flow: bool },
    End,
}

/// A comment and where it is.
#[derive(Clone, Copy)]
struct Found<'a> {
    aside: Aside<'a>,
    start: usize,
    line: usize,
    /// Whether nothing is before it on its line.
    is_alone: bool,
}

struct Reader<'a, 's> {
    source: &'s Source<'a>,
    pieces: Peekable<IntoIter<Piece>>,
    comments: Peekable<IntoIter<Found<'a>>>,
    /// The end of what was read last.
    end: usize,
}

/// Reads how a text is laid out; `node` is its tree, `None` when there are only comments. `None`
/// when the two do not fit together, which no text that was accepted should bring about.
pub(crate) fn read<'a>(source: &Source<'a>, node: Option<&Node>) -> Option<Document<'a>> {
    let (pieces, comments) = pieces(source)?;
    let mut reader = Reader {
        source,
        pieces: pieces.into_iter().peekable(),
        comments: comments.into_iter().peekable(),
        end: 0,
    };
    let mut document = Document { head: Vec::new(), root: None, end: Vec::new() };
    if let Some(node) = node {
        let mut member = Member::of(None, Value::none());
        let first = reader.pieces.peek()?.start();
        reader.lines_before(first, &mut document.head);
        reader.value(node, Some(0), &mut member)?;
        document.head.extend(member.aside.map(|aside| Line::Comment(aside.text)));
        document.root = Some(member.value);
    }
    reader.lines_before(usize::MAX, &mut document.end);
    document.split_head();
    Some(document)
}

/// Every comment, anchor, tag and alias of a text, sorted: what must not get lost.
pub(crate) fn marks(source: &Source<'_>) -> Option<Vec<String>> {
    let (pieces, comments) = pieces(source)?;
    let mut marks: Vec<String> = comments.iter().map(|found| found.aside.text.to_owned()).collect();
    for piece in pieces {
        let alias = matches!(piece.what, What::Alias).then(|| piece.place.clone());
        let places = piece.marks.into_iter().chain(alias);
        marks.extend(places.filter_map(|place| source.text.get(place)).map(str::to_owned));
    }
    marks.sort_unstable();
    Some(marks)
}

fn pieces<'a>(source: &Source<'a>) -> Option<(Vec<Piece>, Vec<Found<'a>>)> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    options.max_buffered_comment_events = usize::MAX;
    let (mut pieces, mut comments): (Vec<Piece>, Vec<Found>) = (Vec::new(), Vec::new());
    for event in Parser::new_from_str_with_options(source.text, options) {
        let (event, span) = event.ok()?;
        let place = span.byte_range()?;
        match event {
            Event::Comment(..) => comments.push(found(source, place)?),
            Event::Anchor(..) => pieces.last_mut()?.marks.push(place),
            event => pieces.extend(piece(&event, place, &span)),
        }
    }
    for piece in &mut pieces {
        piece.marks.sort_unstable_by_key(|place| place.start);
    }
    // A comment beside `|` comes after the text below it.
    comments.sort_by_key(|found| found.start);
    Some((pieces, comments))
}

fn piece(event: &Event<'_>, place: Range<usize>, span: &Span) -> Option<Piece> {
    let start = |style: &StructureStyle| What::Start { is_flow: *style == StructureStyle::Flow };
    let what = match event {
        Event::Scalar(_, style, ..) => What::Scalar(*style),
        Event::Alias(_) => What::Alias,
        Event::SequenceStart(style, ..) | Event::MappingStart(style, ..) => start(style),
        Event::SequenceEnd | Event::MappingEnd => What::End,
        _ => return None,
    };
    let tag = span.tag_span().and_then(|span| span.byte_range());
    Some(Piece { what, place, marks: tag.into_iter().collect() })
}

fn found<'a>(source: &Source<'a>, place: Range<usize>) -> Option<Found<'a>> {
    let text = source.text.get(place.clone())?.trim_end();
    let line = source.line_of(place.start);
    let before = source.text.get(source.line_start(line)..place.start)?;
    let content = before.trim_end();
    let column = before.chars().count();
    let gap = column - content.chars().count();
    let aside = Aside { text, column, gap };
    Some(Found { aside, start: place.start, line, is_alone: content.is_empty() })
}

impl Piece {
    /// Where it begins, its anchor and tag included.
    fn start(&self) -> usize {
        self.marks.first().map_or(self.place.start, |mark| mark.start.min(self.place.start))
    }

    /// Whether it is a text in lines of its own: `|` or `>`.
    fn is_block(&self) -> bool {
        matches!(self.what, What::Scalar(ScalarStyle::Literal | ScalarStyle::Folded))
    }

    /// Where its anchor and tag end, or `from` where it has none.
    fn after_marks(&self, from: usize) -> usize {
        self.marks.last().map_or(from, |mark| mark.end)
    }
}

impl<'a> Reader<'a, '_> {
    /// Reads a value into its member. A block in it is at least as deep as `floor`; in brackets
    /// there are none, and no floor.
    fn value(&mut self, node: &Node, floor: Option<usize>, member: &mut Member<'a>) -> Option<()> {
        let piece = self.pieces.next()?;
        let mut inner = Vec::new();
        if let Some(start) = self.content(&piece, node) {
            self.beside_or(start, member, &mut inner);
        }
        let is_open = matches!(piece.what, What::Start { is_flow: false });
        if !is_open {
            // Nothing can stand above it but what is above its key.
            member.lead.append(&mut inner);
        }
        member.value.marks = self.texts(&piece.marks)?;
        self.end = piece.after_marks(self.end);
        member.value.shape = match piece.what {
            What::Scalar(style) => Shape::Scalar(self.scalar(&piece, style, node)?),
            What::Alias => {
                self.end = piece.place.end;
                let name = self.source.text.get(piece.place)?;
                Shape::Alias(Alias { name, kind: scalar::kind(node) })
            }
            What::Start { is_flow } => {
                if is_flow {
                    self.end = piece.place.end.max(self.end);
                    let first = self.pieces.peek()?.start();
                    self.beside(first, member);
                }
                self.group(is_flow, node, floor.unwrap_or_default(), inner)?
            }
            What::End => return None,
        };
        if !is_open && !member.value.is_literal() {
            // In brackets, what comes behind the next one is beside that.
            let next =
                self.pieces.peek().filter(|_| floor.is_none()).map_or(usize::MAX, Piece::start);
            self.beside(next, member);
        }
        Some(())
    }

    /// Where what can have no comment of its key begins: of a list, its first `-`. `None` for a
    /// value that is not written, whose place may be behind comments.
    fn content(&self, piece: &Piece, node: &Node) -> Option<usize> {
        match (piece.what, &node.data) {
            (What::Scalar(_), _) if piece.place.is_empty() && !piece.is_block() => None,
            (What::Start { is_flow: false }, Data::List(_)) => {
                self.dash(piece.after_marks(self.end))
            }
            // Of a block of text, the place is what is below its header.
            _ if piece.is_block() => Some(piece.place.end),
            _ => Some(piece.place.start),
        }
    }

    fn dash(&self, from: usize) -> Option<usize> {
        let text = self.source.text;
        scalar::find(text, from..text.len(), |byte| byte == b'-')
    }

    fn texts(&self, places: &[Range<usize>]) -> Option<Vec<&'a str>> {
        places.iter().map(|place| self.source.text.get(place.clone())).collect()
    }

    fn scalar(&mut self, piece: &Piece, style: ScalarStyle, node: &Node) -> Option<Scalar<'a>> {
        if !piece.is_block() {
            // An empty one may have its place behind a comment.
            if !piece.place.is_empty() {
                self.end = piece.place.end;
            }
            return Some(scalar::flow(self.source.text.get(piece.place.clone())?, style, node));
        }
        let is_header = |byte| matches!(byte, b'|' | b'>');
        let rest = self.end..self.source.text.len();
        let header = scalar::find(self.source.text, rest, is_header)?;
        let (scalar, end) = scalar::block(self.source, header, style, node);
        self.end = end;
        Some(scalar)
    }

    /// Reads the members of a list or mapping up to its end; `lead` stands before the first one.
    fn group(
        &mut self,
        is_flow: bool,
        node: &Node,
        floor: usize,
        mut lead: Vec<Line<'a>>,
    ) -> Option<Shape<'a>> {
        let mut group = Group::of(Vec::new(), is_flow);
        let mut own = None;
        let children: Vec<(Option<&Entry>, &Node)> = match &node.data {
            Data::Map(entries) => entries.iter().map(|entry| (Some(entry), &entry.node)).collect(),
            Data::List(items) => items.iter().map(|item| (None, item)).collect(),
            _ => return None,
        };
        for (entry, node) in children {
            let start = match entry {
                Some(_) => self.pieces.peek()?.start(),
                None => self.item(is_flow)?,
            };
            let column = *own.get_or_insert_with(|| self.column(start, floor));
            let mut member = self.member(start, column, mem::take(&mut lead), &mut group);
            if let Some(entry) = entry {
                self.key(entry, &mut member)?;
            }
            self.value(node, (!is_flow).then_some(column + 1), &mut member)?;
            member.lift();
            group.members.push(member);
        }
        let end = self.pieces.next().filter(|piece| matches!(piece.what, What::End))?;
        if is_flow {
            self.lines_before(end.place.start, &mut group.end);
            self.end = end.place.end;
        } else {
            self.close(end.place.start, own.unwrap_or_default(), &mut group);
        }
        let is_map = matches!(node.data, Data::Map(_));
        Some(if is_map { Shape::Map(group) } else { Shape::List(group) })
    }

    /// A member that begins here, with what stands before it.
    fn member(
        &mut self,
        start: usize,
        column: usize,
        lead: Vec<Line<'a>>,
        group: &mut Group<'a>,
    ) -> Member<'a> {
        let mut member = Member::of(None, Value::none());
        member.lead = lead;
        if !group.is_flow {
            self.foot(start, column, group);
        }
        self.lines_before(start, &mut member.lead);
        if !group.is_flow && self.is_after_blank(self.source.line_of(start)) {
            member.lead.push(Line::Blank);
        }
        member
    }

    /// Finds the `-` of an item; in brackets, the item itself.
    fn item(&mut self, is_flow: bool) -> Option<usize> {
        let start = self.pieces.peek()?.start();
        if is_flow {
            return Some(start);
        }
        let dash = self.dash(self.end)?;
        self.end = dash + 1;
        Some(dash)
    }

    fn key(&mut self, entry: &Entry, member: &mut Member<'a>) -> Option<()> {
        let piece = self.pieces.next()?;
        let written = self.source.text.get(piece.place.clone())?;
        let shape = match piece.what {
            What::Scalar(style) if !piece.is_block() => {
                Shape::Scalar(scalar::key(written, style, &entry.key))
            }
            What::Alias => Shape::Alias(Alias { name: written, kind: super::Kind::Text }),
            _ => return None,
        };
        member.key = Some(Value { marks: self.texts(&piece.marks)?, shape });
        member.name.clone_from(&entry.key);
        self.end = piece.place.end;
        Some(())
    }

    /// Takes the comments on the line of what was read last.
    fn beside(&mut self, before: usize, member: &mut Member<'a>) {
        let line = self.source.line_of(self.end.saturating_sub(1));
        let is_here = |found: &Found| found.line == line && !found.is_alone && found.start < before;
        while let Some(found) = self.comments.next_if(is_here) {
            member.put_aside(found.aside);
        }
    }

    /// Takes the comments before a byte: those behind something go beside the member.
    fn beside_or(&mut self, before: usize, member: &mut Member<'a>, lines: &mut Vec<Line<'a>>) {
        while let Some(found) = self.comments.next_if(|found| found.start < before) {
            if found.is_alone {
                self.line(found, lines);
            } else {
                member.put_aside(found.aside);
            }
        }
    }

    fn lines_before(&mut self, before: usize, lines: &mut Vec<Line<'a>>) {
        while let Some(found) = self.comments.next_if(|found| found.start < before) {
            self.line(found, lines);
        }
    }

    fn line(&self, found: Found<'a>, lines: &mut Vec<Line<'a>>) {
        if found.is_alone && self.is_after_blank(found.line) {
            lines.push(Line::Blank);
        }
        lines.push(Line::Comment(found.aside.text));
    }

    /// Takes the comments that are deeper than the members: they belong to the last one.
    fn foot(&mut self, before: usize, column: usize, group: &mut Group<'a>) {
        let Some(last) = group.members.last_mut() else { return };
        // Below a block of text, a deeper comment would be a part of it.
        if last.value.is_literal() {
            return;
        }
        let is_deeper = |found: &Found| found.start < before && found.aside.column > column;
        while let Some(found) = self.comments.next_if(is_deeper) {
            self.line(found, &mut last.foot);
        }
    }

    /// Takes the comments at the end of a block that are no less deep than its members.
    fn close(&mut self, before: usize, column: usize, group: &mut Group<'a>) {
        self.foot(before, column, group);
        let is_inside = |found: &Found| found.start < before && found.aside.column >= column;
        while let Some(found) = self.comments.next_if(is_inside) {
            self.line(found, &mut group.end);
        }
    }

    fn is_after_blank(&self, line: usize) -> bool {
        line.checked_sub(1).is_some_and(|line| self.source.line_text(line).trim().is_empty())
    }

    /// The column of a block that begins here: a list may be no deeper than its key.
    fn column(&self, at: usize, floor: usize) -> usize {
        let line = self.source.line_start(self.source.line_of(at));
        let column = self.source.text.get(line..at).map_or(0, |text| text.chars().count());
        column.max(floor)
    }
}

impl Document<'_> {
    /// Keeps what a file begins with at its top, whichever key comes first: up to the last blank
    /// line before the first key, or everything where there is none.
    fn split_head(&mut self) {
        let group = self.root.as_mut().and_then(Value::group_mut);
        let Some(first) = group.and_then(|group| group.members.first_mut()) else { return };
        self.head.append(&mut first.lead);
        let is_comment = |line: &Line<'_>| *line != Line::Blank;
        let blank = self.head.iter().rposition(|line| *line == Line::Blank);
        if let Some(at) = blank.filter(|at| self.head[..*at].iter().any(is_comment)) {
            first.lead = self.head.split_off(at + 1);
        }
    }
}

impl Value<'_> {
    /// Whether it is a text in lines of its own, which a comment could become a part of.
    fn is_literal(&self) -> bool {
        matches!(&self.shape, Shape::Scalar(scalar) if scalar.is_block())
    }
}
