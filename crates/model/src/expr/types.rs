//! The types of values in expressions, as far as they are known before anything runs.

use std::fmt;

use cel::common::ast::LiteralValue;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Known only when the value is there: the outputs of a command, a param of any type.
    Dynamic,
    /// No value.
    Null,
    /// True or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A floating-point number.
    Double,
    /// A text. Instants of a run are texts too.
    Text,
    /// An instant, as `timestamp` gives it.
    Instant,
    /// A span of time, as `duration` gives it.
    Span,
    /// A list of values of a type.
    List(Box<Type>),
    /// Values of a type, by name.
    Map(Box<Type>),
    /// What an empty list or map holds: it fits every type.
    Nothing,
}

impl Type {
    /// A list of values of any type.
    pub fn list() -> Self {
        Self::List(Box::new(Self::Dynamic))
    }

    /// A map with values of any type.
    pub fn map() -> Self {
        Self::Map(Box::new(Self::Dynamic))
    }

    pub(super) fn of_literal(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::Boolean(_) => Self::Bool,
            LiteralValue::Int(_) => Self::Int,
            LiteralValue::Double(_) => Self::Double,
            LiteralValue::String(_) => Self::Text,
            LiteralValue::Null => Self::Null,
            // Forms of CEL that nothing of ours makes or takes.
            LiteralValue::Bytes(_) | LiteralValue::UInt(_) => Self::Dynamic,
        }
    }

    /// Whether nothing can be said before the value is there.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Dynamic | Self::Nothing)
    }

    /// Whether it is known, that of its items too.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Dynamic => false,
            Self::List(item) | Self::Map(item) => item.is_certain(),
            _ => true,
        }
    }

    /// Whether it is one of the two kinds of numbers.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether values of this type are less or more than each other.
    pub fn has_order(&self) -> bool {
        self.is_open()
            || self.is_number()
            || matches!(self, Self::Bool | Self::Text | Self::Instant | Self::Span)
    }

    /// How to make true or false of a value of this type that is written so.
    pub fn truth_help(&self, text: &str) -> Option<String> {
        let text = text.trim_matches('`');
        let written = match self {
            Self::Int => format!("{text} > 0"),
            Self::Double => format!("{text} > 0.0"),
            Self::Text => format!("{text} != ''"),
            Self::List(_) | Self::Map(_) => format!("size({text}) > 0"),
            _ => return None,
        };
        Some(format!("compare it: `{written}`"))
    }

    /// Whether a value of this type may stand where one of `wanted` must.
    pub fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::List(own), Self::List(wanted)) | (Self::Map(own), Self::Map(wanted)) => {
                own.fits(wanted)
            }
            _ => self.is_open() || wanted.is_open() || self == wanted,
        }
    }

    /// Whether two values can be equal. Both kinds of numbers can, and nothing is equal to no
    /// value only where there may be none.
    pub fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => true,
            (Self::List(own), Self::List(other)) | (Self::Map(own), Self::Map(other)) => {
                own.may_equal(other)
            }
            _ => self.fits(other) || (self.is_number() && other.is_number()),
        }
    }

    /// Values of this type, in words: `whole numbers`.
    pub(super) fn plural(&self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "whole numbers",
            Self::Double => "numbers with a fraction",
            Self::Text => "strings",
            Self::Instant => "instants",
            Self::Span => "spans of time",
            Self::List(_) => "lists",
            Self::Map(_) => "maps",
            Self::Null => "null",
            Self::Dynamic | Self::Nothing => "of any type",
        }
    }

    /// The type of a value that is of one type or of the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, known) | (known, Self::Nothing) => known,
            (Self::List(own), Self::List(other)) => Self::List(Box::new(own.or(*other))),
            (Self::Map(own), Self::Map(other)) => Self::Map(Box::new(own.or(*other))),
            (own, other) if own == other => own,
            _ => Self::Dynamic,
        }
    }
}

impl fmt::Display for Type {
    /// What its values are: `a whole number`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dynamic | Self::Nothing => "a value of any type",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number with a fraction",
            Self::Text => "a string",
            Self::Instant => "an instant",
            Self::Span => "a span of time",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        })
    }
}
