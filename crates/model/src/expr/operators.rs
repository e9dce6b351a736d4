//! Which values operators go with.

use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr, operators as op};

use super::check::Checker;
use super::types::Type;

impl Checker<'_> {
    pub(super) fn operator(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::CONDITIONAL, [test, yes, no]) => {
                self.truth(test);
                let yes = self.visit(yes);
                yes.or(self.visit(no))
            }
            (op::LOGICAL_AND | op::LOGICAL_OR, sides) => {
                for side in sides {
                    self.truth(side);
                }
                Type::Bool
            }
            (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [side]) => {
                self.truth(side);
                Type::Bool
            }
            (op::NEGATE, [side]) => {
                let kind = self.visit(side);
                if kind.is_open() || kind.is_number() {
                    return kind;
                }
                let message = format!("{}, which has no negative", self.is(side, &kind));
                self.wrong(node, message, None)
            }
            (name, [left, right]) => {
                let kinds = (self.visit(left), self.visit(right));
                self.binary(node, name, (left, right), kinds)
            }
            _ => Type::Dynamic,
        }
    }

    fn binary(
        &mut self,
        node: &IdedExpr,
        name: &str,
        sides: (&IdedExpr, &IdedExpr),
        (left, right): (Type, Type),
    ) -> Type {
        use Type::{Bool, Double, Instant, Int, List, Map, Span, Text};
        match name {
            op::EQUALS | op::NOT_EQUALS => {
                if !left.may_equal(&right) {
                    return self.unlike(node, "are never equal", sides, (&left, &right));
                }
                Bool
            }
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                let like = left.fits(&right) || (left.is_number() && right.is_number());
                if !(like && left.has_order() && right.has_order()) {
                    return self.unlike(node, "cannot be compared", sides, (&left, &right));
                }
                Bool
            }
            op::IN => match &right {
                List(item) if item.may_equal(&left) => Bool,
                List(item) => {
                    let message = format!(
                        "{}, which is never in a list whose items are {}",
                        self.is(sides.0, &left),
                        item.plural()
                    );
                    self.wrong(node, message, None)
                }
                Map(_) if left.fits(&Text) => Bool,
                Map(_) => {
                    let message =
                        format!("{}, and a name in a map is a string", self.is(sides.0, &left));
                    self.wrong(node, message, None)
                }
                open if open.is_open() => Bool,
                other => {
                    let message = format!("{}, not a list or a map", self.is(sides.1, other));
                    let help = (other == &Text)
                        .then(|| "for a text in a text write `text.contains(part)`".to_owned());
                    self.wrong(node, message, help)
                }
            },
            op::INDEX => self.index(node, sides, left, &right),
            op::ADD => match (&left, &right) {
                (List(_), List(_)) => left.or(right),
                (Text, Text) | (Int, Int) | (Double, Double) | (Span, Span) => left,
                (Instant, Span) | (Span, Instant) => Instant,
                (one, other) if one.is_open() || other.is_open() => Type::Dynamic,
                _ => self.unlike(node, "cannot be added", sides, (&left, &right)),
            },
            op::SUBSTRACT => match (&left, &right) {
                (Int, Int) | (Double, Double) | (Span, Span) => left,
                (Instant, Span) => Instant,
                (Instant, Instant) => Span,
                (one, other) if one.is_open() || other.is_open() => Type::Dynamic,
                _ => self.unlike(node, "cannot be subtracted", sides, (&left, &right)),
            },
            op::MULTIPLY | op::DIVIDE | op::MODULO => match (&left, &right) {
                (Int, Int) => Int,
                (Double, Double) if name != op::MODULO => Double,
                (one, other) if one.is_open() || other.is_open() => Type::Dynamic,
                _ => {
                    let what = match name {
                        op::MULTIPLY => "cannot be multiplied",
                        op::DIVIDE => "cannot be divided",
                        _ => "have no remainder",
                    };
                    self.unlike(node, what, sides, (&left, &right))
                }
            },
            _ => Type::Dynamic,
        }
    }

    fn index(
        &mut self,
        node: &IdedExpr,
        (of, at): (&IdedExpr, &IdedExpr),
        left: Type,
        right: &Type,
    ) -> Type {
        match left {
            Type::List(item) if right.fits(&Type::Int) => *item,
            Type::List(_) => {
                let message =
                    format!("{}, and a place in a list is a whole number", self.is(at, right));
                self.wrong(node, message, Some("places count from 0: `list[0]`".to_owned()))
            }
            Type::Map(value) if right.fits(&Type::Text) => *value,
            Type::Map(_) => {
                let message = format!("{}, and a name in a map is a string", self.is(at, right));
                self.wrong(node, message, None)
            }
            open if open.is_open() => Type::Dynamic,
            other => {
                let message = format!("{}, and has no places or names", self.is(of, &other));
                let help = (other == Type::Text)
                    .then(|| "for a part of a text write `text.substring(0, 1)`".to_owned());
                self.wrong(node, message, help)
            }
        }
    }

    /// Two values that do not go together, and what to do about it.
    fn unlike(
        &mut self,
        node: &IdedExpr,
        what: &str,
        (one, other): (&IdedExpr, &IdedExpr),
        (left, right): (&Type, &Type),
    ) -> Type {
        let message =
            format!("{} and {} {right}, which {what}", self.is(one, left), self.text(other));
        let help = self.common_ground(one, left, other, right);
        self.wrong(node, message, help)
    }

    /// How to bring two values to one type.
    fn common_ground(
        &self,
        one: &IdedExpr,
        left: &Type,
        other: &IdedExpr,
        right: &Type,
    ) -> Option<String> {
        use Type::{Double, Instant, Int, Span, Text};
        let wrap = |function: &str, node: &IdedExpr| {
            format!("write `{function}({})`", self.text(node).trim_matches('`'))
        };
        let literal = |node: &IdedExpr| matches!(node.expr, Ast::Literal(_));
        match (left, right) {
            (Int, Double) if literal(one) => {
                Some(format!("write `{}.0`", self.text(one).trim_matches('`')))
            }
            (Double, Int) if literal(other) => {
                Some(format!("write `{}.0`", self.text(other).trim_matches('`')))
            }
            (Int, Double) => Some(wrap("double", one)),
            (Double, Int) => Some(wrap("double", other)),
            (Span, Int) if literal(other) => {
                let seconds = self.text(other).trim_matches('`').to_owned();
                Some(format!("write `duration('{seconds}s')`"))
            }
            (Text, Instant | Span) => Some(wrap(time_function(&self.text(one)), one)),
            (Instant | Span, Text) => Some(wrap(time_function(&self.text(other)), other)),
            (Text, Int | Double) if literal(other) => Some(quoted(&self.text(other))),
            (Int | Double, Text) if literal(one) => Some(quoted(&self.text(one))),
            (Text, Int | Double | Type::Bool) => {
                unquoted(&self.text(one)).or_else(|| Some(wrap("string", other)))
            }
            (Int | Double | Type::Bool, Text) => {
                unquoted(&self.text(other)).or_else(|| Some(wrap("string", one)))
            }
            _ => None,
        }
    }
}

/// What reads a text as a time: a literal such as `'1h'` is a span.
fn time_function(text: &str) -> &'static str {
    let inner = text.trim_matches('`').trim_matches(['\'', '"']);
    match crate::time::parse_duration(inner) {
        Ok(_) => "duration",
        Err(_) => "timestamp",
    }
}

/// How to write a number as a text.
pub(super) fn quoted(number: &str) -> String {
    format!("write `'{}'`", number.trim_matches('`'))
}

/// How to write a text as the number that it looks like.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.trim_matches('`').trim_matches(['\'', '"']);
    inner.parse::<f64>().is_ok().then(|| format!("write `{inner}`"))
}
