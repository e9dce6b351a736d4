//! Where a part of an expression stands in its text.
//!
//! The parser keeps one place for each node: that of a name or a literal whole, of anything else the
//! sign in its middle, such as the bracket of a call. The rest is found from there.

use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr, SourceInfo};

use super::functions::INSTEAD;
use super::is_operator;

/// The bytes of a node, from the first to the one after the last.
pub(super) fn of(node: &IdedExpr, info: &SourceInfo) -> Option<(usize, usize)> {
    let source = info.source.as_str();
    let (at, last) = info.offset_for(node.id)?;
    let (at, last) = (at as usize, last as usize);
    let (start, end) = match &node.expr {
        Ast::Ident(_) | Ast::Literal(_) => (at, next(source, last)),
        Ast::Select(select) => {
            let (start, _) = of(&select.operand, info)?;
            // Its place is the dot, or for `has(a.b)` the bracket.
            let field = at + source.get(at..)?.find(select.field.as_str())?;
            (start.min(at), field + select.field.len())
        }
        Ast::Call(call) if is_operator(&call.func_name) => operator(source, at, call, info)?,
        Ast::Call(call) => {
            let start = match &call.target {
                Some(target) => of(target, info)?.0,
                None => {
                    let name = call.func_name.strip_prefix(INSTEAD).unwrap_or(&call.func_name);
                    source.get(..at)?.trim_end().len().checked_sub(name.len())?
                }
            };
            (start, closing(source, at)?)
        }
        Ast::Comprehension(loops) => (of(&loops.iter_range, info)?.0, closing(source, at)?),
        Ast::List(_) | Ast::Map(_) | Ast::Struct(_) => (at, closing(source, at)?),
        Ast::Unspecified => return None,
    };
    Some(balanced(source, start, end))
}

/// An operator stretches over what it joins.
fn operator(source: &str, at: usize, call: &CallExpr, info: &SourceInfo) -> Option<(usize, usize)> {
    let mut place = (at, next(source, at));
    for side in &call.args {
        let (start, end) = of(side, info)?;
        place = (place.0.min(start), place.1.max(end));
    }
    if source.get(at..)?.starts_with('[') {
        place.1 = closing(source, at)?;
    }
    Some(place)
}

/// The place after the letter at this one.
fn next(source: &str, at: usize) -> usize {
    at + source.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
}

/// The place after the bracket that closes the one at this place.
fn closing(source: &str, open: usize) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, bracket) in brackets(source.get(open..)?) {
        if matches!(bracket, b'(' | b'[' | b'{') {
            depth += 1;
        } else {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return Some(open + at + 1);
        }
    }
    None
}

/// The brackets of a text, those within quotes left out.
fn brackets(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut quote = None;
    let mut escaped = false;
    text.bytes().enumerate().filter(move |(_, byte)| {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if *byte == b'\\' => escaped = true,
            Some(open) if open == *byte => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'\'') => quote = Some(*byte),
            None => return matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}'),
        }
        false
    })
}

/// A stretch with the round brackets around its ends that belong to it: `(a + b) * c` starts with
/// the bracket, though its first part is `a`.
fn balanced(source: &str, mut start: usize, mut end: usize) -> (usize, usize) {
    let (mut open, mut extra) = (0_u32, 0_u32);
    for (_, bracket) in brackets(source.get(start..end).unwrap_or_default()) {
        match bracket {
            b'(' => open += 1,
            b')' if open > 0 => open -= 1,
            b')' => extra += 1,
            _ => {}
        }
    }
    while extra > 0
        && let Some(before) = source[..start].trim_end().strip_suffix('(')
    {
        (start, extra) = (before.len(), extra - 1);
    }
    while open > 0
        && let rest = source[end..].trim_start()
        && rest.starts_with(')')
    {
        (end, open) = (source.len() - rest.len() + 1, open - 1);
    }
    (start, end)
}
