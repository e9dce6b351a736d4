//! The types of an expression, before anything runs: our checker over CEL's tree.
//!
//! CEL alone finds out while it evaluates. What cannot work is told here instead, with its place;
//! what is not known yet is [`Type::Dynamic`], and passes.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedEntryExpr, IdedExpr, SourceInfo,
};

use super::functions::{ARGUMENTS_MAX, FUNCTIONS, Form, Function, INSTEAD, Kind, function};
use super::operators::quoted;
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

pub(super) struct Checker<'a> {
    info: &'a SourceInfo,
    type_of: &'a TypeOf<'a>,
    /// The variables of the loops around, innermost last.
    bound: Vec<(String, Type)>,
    errors: Vec<ExprError>,
    is_certain: bool,
}

impl Checker<'_> {
    /// Says what is wrong at a node; its type is not known then.
    pub(super) fn wrong(&mut self, node: &IdedExpr, message: String, help: Option<String>) -> Type {
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
    pub(super) fn text(&self, node: &IdedExpr) -> String {
        match self.place(node) {
            Some((start, end)) => format!("`{}`", self.info.source[start..end].trim()),
            None => "it".to_owned(),
        }
    }

    /// A node with its type, in words: `` `params.n` is a whole number``.
    pub(super) fn is(&self, node: &IdedExpr, kind: &Type) -> String {
        format!("{} is {kind}", self.text(node))
    }

    pub(super) fn visit(&mut self, node: &IdedExpr) -> Type {
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

    pub(super) fn truth(&mut self, node: &IdedExpr) {
        let kind = self.visit(node);
        if !kind.fits(&Type::Bool) {
            let message = format!("{}, where true or false is needed", self.is(node, &kind));
            let help = kind.truth_help(&self.text(node));
            self.wrong(node, message, help);
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
        let name = call.func_name.strip_prefix(INSTEAD).unwrap_or(&call.func_name);
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
