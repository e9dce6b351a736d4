//! The plain forms of expressions: `params.region`, `!tasks.a.outputs.ok`, `tasks.orders.rows > 0`.
//!
//! Nearly all expressions of a DAG are of these forms, and the grammar of the library takes longer
//! for them than everything else that is done with a task when a file is loaded. What is read here
//! is, node by node and place by place, what the library would read; whatever else a text holds is
//! left to it. A test compares the two.

use cel::common::ast::{
    CallExpr, Expr as Ast, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as op,
};

/// Fields of a path at most; longer ones are left to the library.
const FIELDS_MAX: usize = 8;

/// What comes first in a path. Other names may be words of CEL.
const ROOTS: [&str; 6] = ["params", "vars", "run", "tasks", "item", "secrets"];

/// Words that are no fields.
const WORDS: [&str; 4] = ["true", "false", "null", "in"];

/// How values are compared. Longer signs come first.
const COMPARISONS: [(&str, &str); 6] = [
    ("==", op::EQUALS),
    ("!=", op::NOT_EQUALS),
    (">=", op::GREATER_EQUALS),
    ("<=", op::LESS_EQUALS),
    (">", op::GREATER),
    ("<", op::LESS),
];

/// The expression, if it is of a plain form.
pub(super) fn parse(source: &str) -> Option<(IdedExpr, SourceInfo)> {
    let mut reader = Reader { source, at: 0, next: 1, info: SourceInfo::default() };
    reader.spaces();
    let node = reader.whole()?;
    if reader.at != source.len() {
        return None;
    }
    let mut info = reader.info;
    source.clone_into(&mut info.source);
    Some((node, info))
}

struct Reader<'s> {
    source: &'s str,
    /// The byte that is read next.
    at: usize,
    /// The number of the next node.
    next: u64,
    info: SourceInfo,
}

impl<'s> Reader<'s> {
    fn whole(&mut self) -> Option<IdedExpr> {
        let start = self.at;
        if self.sign("!") {
            let id = self.id(start, 1);
            let args = vec![self.path()?];
            return Some(call(id, op::LOGICAL_NOT, args));
        }
        let left = self.path()?;
        let start = self.at;
        let Some((sign, name)) = COMPARISONS.into_iter().find(|(sign, _)| self.sign(sign)) else {
            return Some(left);
        };
        let id = self.id(start, sign.len());
        let right = self.literal().or_else(|| self.path())?;
        Some(call(id, name, vec![left, right]))
    }

    /// A root and its fields: `tasks.orders.rows`.
    fn path(&mut self) -> Option<IdedExpr> {
        let start = self.at;
        let root = self.name().filter(|root| ROOTS.contains(root))?;
        let mut node = self.node(start, root.len(), Ast::Ident(root.to_owned()));
        for _ in 0..FIELDS_MAX {
            let dot = self.at;
            if !self.sign(".") {
                break;
            }
            let field = self.name().filter(|field| !WORDS.contains(field))?;
            let (operand, field) = (Box::new(node), field.to_owned());
            node = self.node(dot, 1, Ast::Select(SelectExpr { operand, field, test: false }));
        }
        Some(node)
    }

    /// A whole number, a text without escapes, or a truth.
    fn literal(&mut self) -> Option<IdedExpr> {
        let (start, rest) = (self.at, &self.source[self.at..]);
        let quote = *rest.as_bytes().first()?;
        let (length, value) = match quote {
            b'0'..=b'9' => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                // `1.5`, `1u`, `0x1` and `1e5` are other numbers.
                let goes_on = |c: char| c == '.' || c.is_alphanumeric();
                if rest[digits..].starts_with(goes_on) {
                    return None;
                }
                (digits, LiteralValue::Int(rest[..digits].parse::<i64>().ok()?.into()))
            }
            b'\'' | b'"' => {
                let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"'\"\\".contains(byte);
                let inner = rest[1..].bytes().take_while(is_plain).count();
                // Two quotes may be the first of three, which begin another kind of text.
                if inner == 0 || rest.as_bytes().get(inner + 1) != Some(&quote) {
                    return None;
                }
                let text = rest[1..=inner].to_owned();
                (inner + 2, LiteralValue::String(text.into()))
            }
            _ => return None,
        };
        self.at += length;
        self.spaces();
        Some(self.node(start, length, Ast::Literal(value)))
    }

    fn name(&mut self) -> Option<&'s str> {
        let source: &'s str = self.source;
        let rest = &source[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest.bytes().take_while(is_part).count();
        let name = &rest[..length];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        self.at += length;
        self.spaces();
        Some(name)
    }

    /// Goes over a sign, if it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        let is_next = self.source[self.at..].starts_with(sign);
        if is_next {
            self.at += sign.len();
            self.spaces();
        }
        is_next
    }

    fn spaces(&mut self) {
        let rest = &self.source[self.at..];
        self.at += rest.bytes().take_while(|byte| *byte == b' ').count();
    }

    fn node(&mut self, start: usize, length: usize, expr: Ast) -> IdedExpr {
        IdedExpr { id: self.id(start, length), expr }
    }

    /// A number for the node whose sign stands there.
    fn id(&mut self, start: usize, length: usize) -> u64 {
        let id = self.next;
        self.info.add_offset(id, start as u32, (start + length - 1) as u32);
        self.next += 1;
        id
    }
}

fn call(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let call = CallExpr { func_name: name.to_owned(), target: None, args };
    IdedExpr { id, expr: Ast::Call(call) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::{ENVIRONMENT, children};

    fn places(node: &IdedExpr, info: &SourceInfo) -> Vec<(u64, Option<(u32, u32)>)> {
        let own = (node.id, info.offset_for(node.id));
        let below = children(node).into_iter().flat_map(|child| places(child, info));
        std::iter::once(own).chain(below).collect()
    }

    /// Whether it is read here; if so, as the library reads it.
    fn is_read_alike(source: &str) -> bool {
        let Some((node, info)) = parse(source) else { return false };
        match ENVIRONMENT.parser().parse_with_source_info(source) {
            Ok((expected, of_library)) => {
                assert_eq!(node, expected, "{source}");
                assert_eq!(places(&node, &info), places(&expected, &of_library), "{source}");
                assert_eq!(info.source, of_library.source);
            }
            Err(errors) => panic!("`{source}` is read, but is none: {errors}"),
        }
        true
    }

    #[test]
    fn plain_forms_are_read() {
        for source in [
            "params.region",
            " tasks . orders.rows>0 ",
            "tasks.a.state != 'failed'",
            "tasks.a.state == \"it, too\"",
            "!params.full",
            "! params.full",
            "item <= tasks.a.outputs.most",
            "run.interval.start",
            "vars",
        ] {
            assert!(is_read_alike(source), "{source}");
        }
    }

    #[test]
    fn other_forms_are_left_alone() {
        for source in [
            "",
            "a.b",
            "params.in",
            "params..a",
            "params.a.",
            "params.`a`",
            "params.a[0]",
            "params.a > 1.5",
            "params.a > 1u",
            "params.a > 0x1f",
            "params.a > 1e3",
            "params.a > 99999999999999999999",
            "params.a == 'it\\'s'",
            "params.a == ''",
            "params.a == '''a'''",
            "params.a == 'ö'",
            "params.a > 0 && true",
            "params.a.b()",
            "!!params.a",
            "params.a === 1",
            "params\n.a",
        ] {
            assert!(!is_read_alike(source), "{source}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_read_alike(words in prop::collection::vec(
            prop::sample::select(vec![
                "params", "tasks", "run", "item", ".", ".", ".", "a", "rows", "in", "true", "null",
                "for", " ", "  ", "==", "!=", ">", "<", ">=", "<=", "=", "!", "0", "12", "007", "1.5",
                "'x'", "\"y z\"", "''", "'", "(", ")", "[", "]", "&&", "-", "//", "\n", "ö",
            ]), 1..9)
        ) {
            is_read_alike(&words.concat());
        }
    }
}
