//! Values that hold `${{ … }}`: settings of connectors, words of a command, environment variables.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::{About, Expr, ExprError, Path, Scope};

/// A JSON value in which texts may hold expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Template {
    /// No expression inside.
    Literal(Value),
    /// The whole value is one expression, whose type it keeps.
    Whole(Expr),
    /// Text with expressions between.
    Text(Vec<Piece>),
    /// A list with an expression somewhere inside.
    List(Vec<Template>),
    /// A mapping with an expression somewhere inside.
    Map(IndexMap<String, Template>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// As written.
    Plain(String),
    /// The expression's value, as text.
    Expr(Expr),
}

/// A piece of a text before its expression is parsed: plain text, or an expression and the byte
/// at which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawPiece<'a> {
    /// As written.
    Plain(&'a str),
    /// What stands between `${{` and `}}`, and where it starts in the text.
    Expr(&'a str, usize),
}

/// Splits a text at its `${{ … }}`.
pub fn split(text: &str) -> Result<Vec<RawPiece<'_>>, ExprError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${{").map(|i| at + i) {
        if open > at {
            pieces.push(RawPiece::Plain(&text[at..open]));
        }
        let start = open + 3;
        let Some(end) = close_of(&text[start..]).map(|i| start + i) else {
            return Err(ExprError {
                about: About::Syntax,
                message: "`${{` is not closed".to_owned(),
                offset: Some(open),
                length: Some(3),
                help: Some("close it with `}}`".to_owned()),
            });
        };
        pieces.push(RawPiece::Expr(&text[start..end], start));
        at = end + 2;
    }
    if at < text.len() {
        pieces.push(RawPiece::Plain(&text[at..]));
    }
    Ok(pieces)
}

/// Where the `}}` stands that closes an expression; quotes inside it are skipped.
fn close_of(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_u32;
    let mut letters = text.char_indices().peekable();
    while let Some((i, c)) = letters.next() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '{' => depth += 1,
            None if c == '}' && depth > 0 => depth -= 1,
            None if c == '}' && letters.peek().is_some_and(|(_, next)| *next == '}') => {
                return Some(i);
            }
            None => {}
        }
    }
    None
}

impl Template {
    /// Reads a value. The error comes with the path of the text it is in.
    pub fn parse(value: &Value) -> Result<Self, (Vec<String>, ExprError)> {
        let mut path = Vec::new();
        Self::parse_at(value, &mut path)
    }

    fn parse_at(value: &Value, path: &mut Vec<String>) -> Result<Self, (Vec<String>, ExprError)> {
        let template = match value {
            Value::String(text) => Self::parse_text(text).map_err(|e| (path.clone(), e))?,
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    path.push(i.to_string());
                    list.push(Self::parse_at(item, path)?);
                    path.pop();
                }
                Self::List(list)
            }
            Value::Object(fields) => {
                let mut map = IndexMap::with_capacity(fields.len());
                for (key, field) in fields {
                    path.push(key.clone());
                    map.insert(key.clone(), Self::parse_at(field, path)?);
                    path.pop();
                }
                Self::Map(map)
            }
            other => Self::Literal(other.clone()),
        };
        Ok(if template.is_literal() { Self::Literal(value.clone()) } else { template })
    }

    /// Reads a text.
    pub fn parse_text(text: &str) -> Result<Self, ExprError> {
        let shift = |start: usize| {
            move |mut e: ExprError| {
                e.offset = Some(start + e.offset.unwrap_or(0));
                e
            }
        };
        let pieces = split(text)?;
        match pieces.as_slice() {
            [RawPiece::Expr(source, start)] => {
                Expr::parse(source).map(Self::Whole).map_err(shift(*start))
            }
            pieces if pieces.iter().all(|p| matches!(p, RawPiece::Plain(_))) => {
                Ok(Self::Literal(Value::String(text.to_owned())))
            }
            pieces => pieces
                .iter()
                .map(|piece| match piece {
                    RawPiece::Plain(plain) => Ok(Piece::Plain((*plain).to_owned())),
                    RawPiece::Expr(source, start) => {
                        Expr::parse(source).map(Piece::Expr).map_err(shift(*start))
                    }
                })
                .collect::<Result<_, _>>()
                .map(Self::Text),
        }
    }

    fn is_literal(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Whole(_) | Self::Text(_) => false,
            Self::List(items) => items.iter().all(Self::is_literal),
            Self::Map(fields) => fields.values().all(Self::is_literal),
        }
    }

    /// Every expression inside.
    pub fn exprs(&self) -> Vec<&Expr> {
        let mut exprs = Vec::new();
        self.collect(&mut exprs);
        exprs
    }

    fn collect<'a>(&'a self, exprs: &mut Vec<&'a Expr>) {
        match self {
            Self::Literal(_) => {}
            Self::Whole(expr) => exprs.push(expr),
            Self::Text(pieces) => exprs.extend(pieces.iter().filter_map(|p| match p {
                Piece::Expr(expr) => Some(expr),
                Piece::Plain(_) => None,
            })),
            Self::List(items) => items.iter().for_each(|t| t.collect(exprs)),
            Self::Map(fields) => fields.values().for_each(|t| t.collect(exprs)),
        }
    }

    /// Every place that the expressions inside read.
    pub fn references(&self) -> BTreeSet<Path> {
        self.exprs().into_iter().flat_map(Expr::references).collect()
    }

    /// The value in a scope.
    pub fn render(&self, scope: &Scope) -> Result<Value, ExprError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Whole(expr) => expr.eval(scope)?,
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => text.push_str(plain),
                        Piece::Expr(expr) => text.push_str(&as_text(&expr.eval(scope)?)),
                    }
                }
                Value::String(text)
            }
            Self::List(items) => {
                Value::Array(items.iter().map(|t| t.render(scope)).collect::<Result<_, _>>()?)
            }
            Self::Map(fields) => Value::Object(
                fields.iter().map(|(k, t)| Ok((k.clone(), t.render(scope)?))).collect::<Result<
                    _,
                    ExprError,
                >>(
                )?,
            ),
        })
    }
}

/// A value inside a text: texts as they are, everything else as JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value, expected: Result<Value, &str>) {
        let mut scope = Scope::new();
        scope.insert("params".to_owned(), json!({"n": 3, "name": "eu"}));
        let rendered = Template::parse(value)
            .map_err(|(_, e)| e)
            .and_then(|t| t.render(&scope))
            .map_err(|e| e.message);
        assert_eq!(rendered, expected.map_err(str::to_owned), "{value}");
    }

    #[test]
    fn a_whole_value_keeps_its_type() {
        check(&json!("${{ params.n }}"), Ok(json!(3)));
        check(&json!("n=${{ params.n }}, ${{params.name}}"), Ok(json!("n=3, eu")));
        check(&json!({"a": ["x", "${{ {'k': '}}'} }}"]}), Ok(json!({"a": ["x", {"k": "}}"}]})));
        check(&json!("plain $name {{ jinja }}"), Ok(json!("plain $name {{ jinja }}")));
    }

    #[test]
    fn an_open_expression_is_an_error() {
        check(&json!("${{ params.n }"), Err("`${{` is not closed"));
    }
}
