//! The texts that an expression compares places with.

use cel::common::ast::{
    CallExpr, Expr as Ast, IdedExpr, LiteralValue, SourceInfo, operators as op,
};

use super::{Path, children, path_of, place};

/// A place of an expression that is compared with a text: `tasks.orders.state == 'failed'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The place.
    pub path: Path,
    /// The text.
    pub text: String,
    /// The byte in the expression's text where the text stands, its quote.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
}

/// Every one of them: by `==`, by `!=`, and by `in` with a list.
pub(super) fn comparisons(node: &IdedExpr, info: &SourceInfo) -> Vec<Comparison> {
    let mut found = Vec::new();
    visit(node, info, &mut found);
    found
}

fn visit(node: &IdedExpr, info: &SourceInfo, found: &mut Vec<Comparison>) {
    if let Ast::Call(CallExpr { func_name, args, .. }) = &node.expr
        && let [left, right] = args.as_slice()
    {
        match (func_name.as_str(), &right.expr) {
            (op::EQUALS | op::NOT_EQUALS, _) => {
                found.extend(compared(left, right, info));
                found.extend(compared(right, left, info));
            }
            (op::IN, Ast::List(list)) => {
                found.extend(list.elements.iter().filter_map(|item| compared(left, item, info)));
            }
            _ => {}
        }
    }
    for child in children(node) {
        visit(child, info, found);
    }
}

fn compared(of: &IdedExpr, with: &IdedExpr, info: &SourceInfo) -> Option<Comparison> {
    let Ast::Literal(LiteralValue::String(text)) = &with.expr else { return None };
    let path = path_of(of)?;
    let (start, end) = place::of(with, info)?;
    Some(Comparison { path, text: text.to_string(), offset: start, length: end - start })
}
