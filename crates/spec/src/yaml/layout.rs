//! A file as it is laid out: the tree with what [`node`](super::node) leaves out, which is comments,
//! blank lines, anchors, quotes and styles.
//!
//! Only formatting needs it. [`read`] makes it, of a text that [`super::parse`] has accepted.

mod read;
mod scalar;

pub(crate) use read::{marks, read};

/// The whole file.
#[derive(Debug, Clone)]
pub(crate) struct Document<'a> {
    /// What stands before the first value.
    pub(crate) head: Vec<Line<'a>>,
    /// `None` when there is nothing but comments.
    pub(crate) root: Option<Value<'a>>,
    /// What stands after the last value.
    pub(crate) end: Vec<Line<'a>>,
}

/// A line without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Blank,
    /// With its `#`, without the spaces around.
    Comment(&'a str),
}

/// A comment behind something on its line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aside<'a> {
    /// With its `#`.
    pub(crate) text: &'a str,
    /// The characters before it on its line.
    pub(crate) column: usize,
    /// How many of them are the spaces right before it.
    pub(crate) gap: usize,
}

/// A value, or a key.
#[derive(Debug, Clone)]
pub(crate) struct Value<'a> {
    /// Its anchor and its tag, as written: `&name`, `!!str`.
    pub(crate) marks: Vec<&'a str>,
    pub(crate) shape: Shape<'a>,
}

/// What a value is made of.
#[derive(Debug, Clone)]
pub(crate) enum Shape<'a> {
    Scalar(Scalar<'a>),
    Alias(Alias<'a>),
    List(Group<'a>),
    Map(Group<'a>),
}

/// `*name`.
#[derive(Debug, Clone)]
pub(crate) struct Alias<'a> {
    /// With its `*`.
    pub(crate) name: &'a str,
    /// What it stands for.
    pub(crate) kind: Kind,
}

/// What a value is, as far as it matters for how it may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Other,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Not at all: nothing.
    Empty,
    Plain,
    Single,
    Double,
    /// `|`.
    Literal,
    /// `>`.
    Folded,
}

/// A single value as written.
#[derive(Debug, Clone)]
pub(crate) struct Scalar<'a> {
    pub(crate) form: Form,
    pub(crate) kind: Kind,
    /// The text that it means; of what is no text, what is written.
    pub(crate) text: String,
    /// What is written, quotes included; of a block, its lines without their indentation.
    pub(crate) lines: Vec<&'a str>,
}

/// The members of a list or mapping.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// Whether it is written in brackets.
    pub(crate) is_flow: bool,
    /// Whether long members have blank lines between them.
    pub(crate) is_spaced: bool,
    pub(crate) members: Vec<Member<'a>>,
    /// What stands after the last member.
    pub(crate) end: Vec<Line<'a>>,
}

/// An item, or a key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    /// What stands before it.
    pub(crate) lead: Vec<Line<'a>>,
    /// `None` for an item.
    pub(crate) key: Option<Value<'a>>,
    /// The text of the key; empty for an item.
    pub(crate) name: String,
    pub(crate) value: Value<'a>,
    /// The comment on its own line.
    pub(crate) aside: Option<Aside<'a>>,
    /// What stands after it, and deeper than it.
    pub(crate) foot: Vec<Line<'a>>,
}

impl<'a> Value<'a> {
    /// A value without anchor or tag.
    pub(crate) fn of(shape: Shape<'a>) -> Self {
        Self { marks: Vec::new(), shape }
    }

    /// What stands where a value is still to come.
    pub(crate) fn none() -> Self {
        Self::of(Shape::Scalar(Scalar::word("")))
    }

    /// The members, if it is a list or a mapping.
    pub(crate) fn group(&self) -> Option<&Group<'a>> {
        match &self.shape {
            Shape::List(group) | Shape::Map(group) => Some(group),
            Shape::Scalar(_) | Shape::Alias(_) => None,
        }
    }

    /// The members, to be changed.
    pub(crate) fn group_mut(&mut self) -> Option<&mut Group<'a>> {
        match &mut self.shape {
            Shape::List(group) | Shape::Map(group) => Some(group),
            Shape::Scalar(_) | Shape::Alias(_) => None,
        }
    }

    /// Whether its members stand on lines of their own.
    pub(crate) fn is_block(&self) -> bool {
        self.group().is_some_and(|group| !group.is_flow)
    }

    /// Whether others may refer to it.
    pub(crate) fn is_anchored(&self) -> bool {
        self.marks.iter().any(|mark| mark.starts_with('&'))
    }

    /// What a single value is; `None` for lists and mappings.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match &self.shape {
            Shape::Scalar(scalar) => Some(scalar.kind),
            Shape::Alias(alias) => Some(alias.kind),
            Shape::List(_) | Shape::Map(_) => None,
        }
    }
}

impl<'a> Scalar<'a> {
    /// A word that is written as it is.
    pub(crate) fn word(text: &'a str) -> Self {
        Self { form: Form::Plain, kind: Kind::Text, text: text.to_owned(), lines: vec![text] }
    }

    /// Whether it is written in lines below its key: `|` or `>`.
    pub(crate) fn is_block(&self) -> bool {
        matches!(self.form, Form::Literal | Form::Folded)
    }
}

impl<'a> Group<'a> {
    /// Members without comments.
    pub(crate) fn of(members: Vec<Member<'a>>, is_flow: bool) -> Self {
        Self { is_flow, is_spaced: false, members, end: Vec::new() }
    }
}

impl<'a> Member<'a> {
    /// An item, or a value whose key is a word, without comments.
    pub(crate) fn of(key: Option<&'a str>, value: Value<'a>) -> Self {
        Self {
            lead: Vec::new(),
            key: key.map(|word| Value::of(Shape::Scalar(Scalar::word(word)))),
            name: key.unwrap_or_default().to_owned(),
            value,
            aside: None,
            foot: Vec::new(),
        }
    }

    /// Keeps a comment on its line, or above it where there is one already.
    pub(crate) fn put_aside(&mut self, aside: Aside<'a>) {
        match self.aside {
            None => self.aside = Some(aside),
            Some(_) => self.lead.push(Line::Comment(aside.text)),
        }
    }

    /// Moves what stands before the first member of an item to before the item: right behind its
    /// `-` there is no line for it.
    pub(crate) fn lift(&mut self) {
        if self.key.is_some() || !self.value.is_block() || !self.value.marks.is_empty() {
            return;
        }
        self.lead.extend(self.aside.take().map(|aside| Line::Comment(aside.text)));
        let members = self.value.group_mut().map(|group| &mut group.members);
        if let Some(first) = members.and_then(|members| members.first_mut()) {
            self.lead.extend(first.lead.drain(..).filter(|line| *line != Line::Blank));
        }
    }
}
