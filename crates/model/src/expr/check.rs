//! The types of an expression, before anything runs: our checker over CEL's tree.
//!
//! CEL alone finds out while it evaluates. What cannot work is told here instead, with its place;
//! what is not known yet is [`Type::Dynamic`], and passes.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedEntryExpr, IdedExpr, SourceInfo,
    operators as op,
};

use super::functions::{ARGUMENTS_MAX, FUNCTIONS, Form, Function, Kind, function};
use super::types::Type;
use super::{About, ExprError, is_operator, path_of, place};
use crate::near::nearest;

/// What an expression is read against: the type of the value at a path.
pub type TypeOf<'a> = dyn Fn(&[String]) -> Type + 'a;

/// What is known of an expression before it has a value.
#[derive(Debug)]
pub struct Checked {
    /// The type of its value.
    pub kind: Type,
    /// Every call and operator that cannot work.
    pub errors: Vec<ExprError>,
    /// Whether all parts have types that are known: then it cannot fail for its types.
    pub is_certain: bool,
}

pub(super) fn check(node: &IdedExpr, info: &SourceInfo, type_of: &TypeOf<'_>) -> Checked {
    let bound = Vec::new();
    let mut checker = Checker { info, type_of, bound, errors: Vec::new(), is_certain: true };
    let kind = checker.visit(node);
    Checked { kind, errors: checker.errors, is_certain: checker.is_certain }
}

struct Checker<'a> {
    info: &'a SourceInfo,
    type_of: &'a TypeOf<'a>,
    /// The variables of the loops around, innermost last.
    bound: Vec<(String, Type)>,
    errors: Vec<ExprError>,
    is_certain: bool,
}

impl Checker<'_> {
    /// Says what is wrong at a node; its type is not known then.
    fn wrong(&mut self, node: &IdedExpr, message: String, help: Option<String>) -> Type {
        self.error(About::Type, node, message, help)
    }

    fn error(
        &mut self,
        about: About,
        node: &IdedExpr,
        message: String,
        help: Option<String>,
    ) -> Type {
        let place = self.place(node);
        self.errors.push(ExprError {
            about,
            message,
            offset: place.map(|(start, _)| start),
            length: place.map(|(start, end)| end - start),
            help,
        });
        Type::Dynamic
    }

    /// The bytes of a node.
    fn place(&self, node: &IdedExpr) -> Option<(usize, usize)> {
        let (start, end) = place::of(node, self.info)?;
        self.info.source.get(start..end).map(|_| (start, end))
    }

    /// How a node is written.
    fn text(&self, node: &IdedExpr) -> String {
        match self.place(node) {
            Some((start, end)) => format!("`{}`", self.info.source[start..end].trim()),
            None => "it".to_owned(),
        }
    }

    /// A node with its type, in words: `` `params.n` is a whole number``.
    fn is(&self, node: &IdedExpr, kind: &Type) -> String {
        format!("{} is {kind}", self.text(node))
    }

    fn visit(&mut self, node: &IdedExpr) -> Type {
        let kind = self.kind_of(node);
        self.is_certain &= kind.is_certain();
        kind
    }

    fn kind_of(&mut self, node: &IdedExpr) -> Type {
        if let Some(path) = path_of(node) {
            let kind = self.path(node, &path);
            let is_asked = matches!(&node.expr, Ast::Select(select) if select.test);
            return if is_asked { Type::Bool } else { kind };
        }
        match &node.expr {
            Ast::Literal(literal) => Type::of_literal(literal),
            Ast::List(list) => {
                let items = list.elements.iter().map(|item| self.visit(item));
                Type::List(Box::new(items.fold(Type::Nothing, Type::or)))
            }
            Ast::Map(map) => {
                let values = map.entries.iter().map(|entry| self.entry(entry));
                Type::Map(Box::new(values.fold(Type::Nothing, Type::or)))
            }
            Ast::Struct(made) => {
                let message = format!("there is no type `{}`", made.type_name);
                self.wrong(node, message, Some("write a map: `{'name': value}`".to_owned()))
            }
            Ast::Select(select) => {
                let of = self.visit(&select.operand);
                let field = self.field(node, &select.operand, &of, &select.field);
                if select.test { Type::Bool } else { field }
            }
            Ast::Call(call) if is_operator(&call.func_name) => self.operator(node, call),
            Ast::Call(call) => self.call(node, call),
            Ast::Comprehension(loops) => self.comprehension(loops),
            Ast::Ident(_) | Ast::Unspecified => Type::Dynamic,
        }
    }

    fn entry(&mut self, entry: &IdedEntryExpr) -> Type {
        match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                let key = self.visit(&entry.key);
                if !key.fits(&Type::Text) {
                    let message =
                        format!("{}, and a name in a map is a string", self.is(&entry.key, &key));
                    let help = quoted(&self.text(&entry.key));
                    self.wrong(&entry.key, message, Some(help));
                }
                self.visit(&entry.value)
            }
            EntryExpr::StructField(field) => self.visit(&field.value),
        }
    }

    /// A name with fields: the first part that is a single value ends it.
    fn path(&mut self, node: &IdedExpr, path: &[String]) -> Type {
        if let Some((_, bound)) = self.bound.iter().rev().find(|(name, _)| *name == path[0]) {
            let mut of = bound.clone();
            for (depth, field) in path.iter().enumerate().skip(1) {
                of = match of {
                    Type::Map(value) => *value,
                    open if open.is_open() => Type::Dynamic,
                    single => return self.no_field(node, &path[..depth], &single, field),
                };
            }
            return of;
        }
        for depth in 1..path.len() {
            let of = (self.type_of)(&path[..depth]);
            if !of.is_open() && !matches!(of, Type::Map(_)) {
                return self.no_field(node, &path[..depth], &of, &path[depth]);
            }
        }
        (self.type_of)(path)
    }

    fn no_field(&mut self, node: &IdedExpr, owner: &[String], of: &Type, field: &str) -> Type {
        let owner = owner.join(".");
        let message = format!("`{owner}` is {of}, and has no `{field}`");
        self.wrong(node, message, Some(format!("it is a single value: write `{owner}`")))
    }

    fn field(&mut self, node: &IdedExpr, operand: &IdedExpr, of: &Type, field: &str) -> Type {
        match of {
            Type::Map(value) => (**value).clone(),
            open if open.is_open() => Type::Dynamic,
            single => {
                let message = format!("{}, and has no `{field}`", self.is(operand, single));
                self.wrong(node, message, None)
            }
        }
    }

    fn truth(&mut self, node: &IdedExpr) {
        let kind = self.visit(node);
        if !kind.fits(&Type::Bool) {
            let message = format!("{}, where true or false is needed", self.is(node, &kind));
            let help = kind.truth_help(&self.text(node));
            self.wrong(node, message, help);
        }
    }

    fn operator(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
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
                        plural(item)
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

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Type {
        let range = self.visit(&loops.iter_range);
        let item = match &range {
            Type::List(item) => (**item).clone(),
            Type::Map(_) => Type::Text,
            open if open.is_open() => Type::Dynamic,
            other => {
                let message = format!("{}, not a list or a map", self.is(&loops.iter_range, other));
                self.wrong(&loops.iter_range, message, None)
            }
        };
        let depth = self.bound.len();
        self.bound.push((loops.iter_var.clone(), item));
        if let Some(second) = &loops.iter_var2 {
            self.bound.push((second.clone(), Type::Dynamic));
        }
        let start = self.visit(&loops.accu_init);
        self.bound.push((loops.accu_var.clone(), start.clone()));
        self.visit(&loops.loop_cond);
        let step = self.visit(&loops.loop_step);
        if let Some((_, accumulated)) = self.bound.last_mut() {
            *accumulated = start.or(step);
        }
        let result = self.visit(&loops.result);
        self.bound.truncate(depth);
        result
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        let target = call.target.iter().map(|target| &**target);
        let nodes: Vec<&IdedExpr> = target.chain(&call.args).collect();
        let given: Vec<Type> = nodes.iter().map(|node| self.visit(node)).collect();
        let name = call.func_name.as_str();
        let Some(function) = function(name) else {
            let near = nearest(name, FUNCTIONS.iter().map(|f| f.name));
            let help = near.map_or_else(
                || {
                    let names: Vec<&str> = FUNCTIONS.iter().map(|f| f.name).collect();
                    format!("functions are: {}", names.join(", "))
                },
                |near| format!("did you mean `{near}`?"),
            );
            return self.error(
                About::Function,
                node,
                format!("there is no function `{name}`"),
                Some(help),
            );
        };
        let is_method = call.target.is_some();
        let example = || Some(format!("for example `{}`", function.example));
        let forms = function.forms.iter().filter(|form| form.receiver.is_some() == is_method);
        let forms: Vec<&Form> = forms.collect();
        if forms.is_empty() {
            let message = if is_method {
                format!("`{name}` is not called on a value")
            } else {
                format!("`{name}` is called on a value")
            };
            return self.error(About::Function, node, message, example());
        }
        let counted: Vec<&&Form> =
            forms.iter().filter(|form| form.counts(call.args.len())).collect();
        if counted.is_empty() || call.args.len() > ARGUMENTS_MAX {
            let message = format!("`{name}` takes {}, not {}", counts(&forms), call.args.len());
            return self.error(About::Function, node, message, example());
        }
        let misfits: Vec<usize> = counted.iter().filter_map(|form| misfit(form, &given)).collect();
        if misfits.len() < counted.len() {
            let fitting = counted.iter().find(|form| misfit(form, &given).is_none());
            return fitting.map_or(Type::Dynamic, |form| form.gives.to_type(&given));
        }
        let at = misfits.first().copied().unwrap_or(0);
        let wanted: Vec<&str> = counted.iter().map(|form| expected(form, at).words()).collect();
        self.misfit(function, nodes[at], &given[at], &wanted, is_method && at == 0)
    }

    fn misfit(
        &mut self,
        function: &Function,
        node: &IdedExpr,
        given: &Type,
        wanted: &[&str],
        is_receiver: bool,
    ) -> Type {
        let mut wanted = wanted.to_vec();
        wanted.dedup();
        let takes = if is_receiver { "is called on" } else { "takes" };
        let message = format!(
            "`{}` {takes} {}, and {}",
            function.name,
            wanted.join(" or "),
            self.is(node, given)
        );
        let help = if wanted == [Kind::Text.words()] && given.is_number() {
            format!("write `string({})`", self.text(node).trim_matches('`'))
        } else {
            format!("for example `{}`", function.example)
        };
        self.error(About::Function, node, message, Some(help))
    }
}

/// What a form takes at a place, the receiver first.
fn expected(form: &Form, at: usize) -> Kind {
    match form.receiver {
        Some(receiver) if at == 0 => receiver,
        Some(_) => form.argument(at - 1),
        None => form.argument(at),
    }
}

/// The first place at which what is given does not fit.
fn misfit(form: &Form, given: &[Type]) -> Option<usize> {
    given.iter().enumerate().position(|(at, kind)| !expected(form, at).takes(kind))
}

/// How many arguments forms take, in words: `1 or 2 arguments`.
fn counts(forms: &[&Form]) -> String {
    let mut counts: Vec<usize> = forms.iter().map(|form| form.arguments.len()).collect();
    counts.sort_unstable();
    counts.dedup();
    let words: Vec<String> = counts.iter().map(ToString::to_string).collect();
    let more = if forms.iter().any(|form| form.repeats) { " or more" } else { "" };
    let noun = if counts == [1] && more.is_empty() { "argument" } else { "arguments" };
    format!("{}{more} {noun}", words.join(" or "))
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
fn quoted(number: &str) -> String {
    format!("write `'{}'`", number.trim_matches('`'))
}

/// How to write a text as the number that it looks like.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.trim_matches('`').trim_matches(['\'', '"']);
    inner.parse::<f64>().is_ok().then(|| format!("write `{inner}`"))
}

/// Values of a type, in words.
fn plural(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "true or false",
        Type::Int => "whole numbers",
        Type::Double => "numbers with a fraction",
        Type::Text => "strings",
        Type::Instant => "instants",
        Type::Span => "spans of time",
        Type::List(_) => "lists",
        Type::Map(_) => "maps",
        Type::Null => "null",
        Type::Dynamic | Type::Nothing => "of any type",
    }
}

impl Type {
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
}
