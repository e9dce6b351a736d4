//! Control expressions: CEL, parsed and checked when a DAG is loaded, evaluated when it runs.
//!
//! `cel` stays inside this module. An expression is a pure function of its [`Scope`].
//!
//! * [`Expr`], below: parsing and evaluation; `plain`: the forms that nearly all have;
//! * [`types`], `check`, `operators`, `compared`: what can be known of a value before it is there;
//!   `place`: where a part of an expression stands;
//! * [`functions`]: the table of all functions; `library`: what ours compute.

mod check;
mod compared;
pub mod functions;
mod library;
mod operators;
mod place;
mod plain;
pub mod types;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, SourceInfo};
use cel::objects::Key;
use cel::{Context, Env};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use check::{Checked, TypeOf};
pub use compared::Comparison;
pub use functions::FUNCTIONS;
pub use types::Type;

/// What an expression may see: the values of its root names (`params`, `run`, `tasks`, …).
pub type Scope = Map<String, Value>;

/// Operators and macro helpers that the parser writes as calls.
fn is_operator(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A place that an expression reads: `tasks.orders.rows` is `["tasks", "orders", "rows"]`.
pub type Path = Vec<String>;

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What it is about.
    pub about: About,
    /// What is wrong, in one line.
    pub message: String,
    /// The byte in the expression's text where it is wrong, if known.
    pub offset: Option<usize>,
    /// How many bytes from there are wrong, if known.
    pub length: Option<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

/// What an error of an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The text is no expression.
    Syntax,
    /// There is no such function, or it takes other arguments.
    Function,
    /// Values do not go together.
    Type,
    /// A value, found when there was one.
    Value,
}

impl ExprError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            about: About::Syntax,
            message: message.into(),
            offset: None,
            length: None,
            help: None,
        }
    }

    pub(crate) fn value(message: impl Into<String>) -> Self {
        Self { about: About::Value, ..Self::new(message) }
    }
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    parsed: Arc<(IdedExpr, SourceInfo)>,
}

/// CEL with the functions of the table, made once. A test sees to it that it can be made.
static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| functions::environment().unwrap_or_else(|_| Arc::new(Env::stdlib())));

/// The longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 4_096;
/// The deepest expression, in levels: `a + b + c` has three, as does `f(g(x))`. An expression is
/// evaluated recursively, in large frames, on whatever thread asks.
pub const EXPR_DEPTH_MAX: usize = 32;
/// Loops inside each other: each multiplies the steps of an evaluation, which nothing can interrupt
/// and for which every other run waits.
pub const EXPR_LOOPS_MAX: usize = 2;
/// The parser needs far more stack than the evaluation: its texts are not yet known to be shallow.
const PARSE_STACK_BYTES: usize = 512 << 20;
/// The stack that must be left to parse without a new one.
const PARSE_STACK_LEFT_BYTES: usize = 64 << 20;

impl Expr {
    /// Parses an expression.
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        if source.len() > EXPR_BYTES_MAX {
            return Err(ExprError::new(format!(
                "an expression has at most {EXPR_BYTES_MAX} bytes, this one has {}",
                source.len()
            )));
        }
        if source.trim().is_empty() {
            let help = Some("write for example `tasks.orders.rows > 0`".to_owned());
            return Err(ExprError { help, ..ExprError::new("the expression is empty") });
        }
        match plain::parse(source) {
            Some(parsed) => Ok(Self { source: source.into(), parsed: Arc::new(parsed) }),
            None => stacker::maybe_grow(PARSE_STACK_LEFT_BYTES, PARSE_STACK_BYTES, || {
                Self::parse_any(source)
            }),
        }
    }

    fn parse_any(source: &str) -> Result<Self, ExprError> {
        match ENVIRONMENT.parser().parse_with_source_info(source) {
            Ok((root, _)) if is_deeper(&root, EXPR_DEPTH_MAX) => {
                let mut error = ExprError::new(format!(
                    "the expression is nested too deeply: it has more than {EXPR_DEPTH_MAX} levels"
                ));
                error.help =
                    Some("a long text is better written with several `${{ … }}`".to_owned());
                Err(error)
            }
            Ok((root, _)) if loops_inside(&root) > EXPR_LOOPS_MAX => {
                let mut error = ExprError::new(format!(
                    "the expression has more than {EXPR_LOOPS_MAX} loops inside each other"
                ));
                error.help = Some(
                    "work such lists out in a `transform` or a `run`, and read its result"
                        .to_owned(),
                );
                Err(error)
            }
            Ok(parsed) => Ok(Self { source: source.into(), parsed: Arc::new(parsed) }),
            Err(errors) => Err(match errors.errors.into_iter().next() {
                Some(first) => ExprError {
                    offset: offset_in(source, first.pos, &first.msg),
                    ..ExprError::new(format!("the expression does not parse: {}", tidy(&first.msg)))
                },
                None => ExprError::new("the expression does not parse"),
            }),
        }
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Every place that the expression reads, outside of what it binds itself.
    pub fn references(&self) -> BTreeSet<Path> {
        let mut walk = Walk::default();
        walk.visit(&self.parsed.0);
        walk.paths
    }

    /// Its type, given those of the places that it reads, and what cannot work.
    pub fn check(&self, type_of: &TypeOf<'_>) -> Checked {
        check::check(&self.parsed.0, &self.parsed.1, type_of)
    }

    /// The texts that places are compared with.
    pub fn comparisons(&self) -> Vec<Comparison> {
        compared::comparisons(&self.parsed.0, &self.parsed.1)
    }

    /// The value in a scope.
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        let mut context = Context::with_env(ENVIRONMENT.clone());
        for (name, value) in scope {
            context.add_variable_from_value(name.as_str(), to_cel(value));
        }
        let value = cel::Value::resolve(&self.parsed.0, &context).map_err(|error| {
            ExprError::value(format!(
                "`{}` has no value: {}",
                self.source.trim(),
                tidy(&error.to_string())
            ))
        })?;
        from_cel(&value).ok_or_else(|| {
            ExprError::value(format!("`{}` gives a value that is no data", self.source.trim()))
        })
    }

    /// The truth in a scope; anything but true or false is an error.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExprError::value(format!(
                "`{}` gives {other}, which is neither true nor false",
                self.source.trim()
            ))),
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expr {}

impl Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Self::parse(&source).map_err(serde::de::Error::custom)
    }
}

fn tidy(message: &str) -> String {
    // The parser's own bound comes out as a debug text.
    if message.contains("ParseError {") && message.contains("Recursion limit") {
        return "it is nested too deeply".to_owned();
    }
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let mut letters = message.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// What the parser says of the arguments of `has` and of the loops.
const MACRO_ERRORS: [&str; 2] =
    ["invalid argument to has() macro", "argument must be a simple name"];

/// The byte of a place that the parser gives as line and column, both from 1. Columns count
/// characters; those of [`MACRO_ERRORS`] count bytes.
fn offset_in(source: &str, (line, column): (isize, isize), message: &str) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &source[start..];
    let column = if MACRO_ERRORS.contains(&message) {
        column
    } else {
        let mut places = rest.char_indices().map(|(at, _)| at);
        places.nth(column).unwrap_or(rest.len())
    };
    rest.is_char_boundary(column).then_some(start + column)
}

/// JSON to CEL. Whole numbers become signed, as CEL's literals are.
fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(b) => cel::Value::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => cel::Value::Int(i),
            (None, Some(f)) => cel::Value::Float(f),
            (None, None) => cel::Value::Null,
        },
        Value::String(s) => cel::Value::from(s.as_str()),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => cel::Value::Map(cel::objects::Map {
            map: Arc::new(fields.iter().map(|(k, v)| (Key::from(k.as_str()), to_cel(v))).collect()),
        }),
    }
}

/// CEL to JSON: an instant as text in UTC, a span as text in seconds, as CEL writes it.
fn from_cel(value: &cel::Value) -> Option<Value> {
    Some(match value {
        cel::Value::Timestamp(instant) => {
            Value::String(crate::time::Timestamp::from(instant.to_utc()).to_string())
        }
        cel::Value::Duration(span) => {
            let seconds = span.as_seconds_f64();
            Value::String(format!("{seconds}s"))
        }
        cel::Value::List(items) => {
            Value::Array(items.iter().map(from_cel).collect::<Option<Vec<_>>>()?)
        }
        cel::Value::Map(map) => {
            let field =
                |(key, value): (&Key, &cel::Value)| Some((key.to_string(), from_cel(value)?));
            Value::Object(map.map.iter().map(field).collect::<Option<Map<_, _>>>()?)
        }
        other => other.json().ok()?,
    })
}

/// Collects what an expression reads.
#[derive(Default)]
struct Walk {
    paths: BTreeSet<Path>,
    bound: Vec<String>,
}

impl Walk {
    fn visit(&mut self, node: &IdedExpr) {
        if let Some(path) = path_of(node) {
            if !path[0].starts_with('@') && !self.bound.contains(&path[0]) {
                self.paths.insert(path);
            }
            return;
        }
        match &node.expr {
            Ast::Call(call) => {
                call.target.iter().for_each(|target| self.visit(target));
                call.args.iter().for_each(|argument| self.visit(argument));
            }
            Ast::Comprehension(loops) => {
                self.visit(&loops.iter_range);
                self.visit(&loops.accu_init);
                let depth = self.bound.len();
                self.bound.push(loops.iter_var.clone());
                self.bound.extend(loops.iter_var2.clone());
                self.bound.push(loops.accu_var.clone());
                self.visit(&loops.loop_cond);
                self.visit(&loops.loop_step);
                self.visit(&loops.result);
                self.bound.truncate(depth);
            }
            Ast::List(list) => list.elements.iter().for_each(|item| self.visit(item)),
            Ast::Map(map) => map.entries.iter().for_each(|entry| self.visit_entry(&entry.expr)),
            Ast::Struct(made) => {
                made.entries.iter().for_each(|entry| self.visit_entry(&entry.expr));
            }
            Ast::Select(select) => self.visit(&select.operand),
            Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => {}
        }
    }

    fn visit_entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
            EntryExpr::StructField(field) => self.visit(&field.value),
        }
    }
}

/// The parts of an expression.
fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
        match entry {
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
            EntryExpr::StructField(field) => vec![&field.value],
        }
    }
    match &node.expr {
        Ast::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Ast::Comprehension(loops) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, .. } = &**loops;
            vec![iter_range, accu_init, loop_cond, loop_step, &loops.result]
        }
        Ast::List(list) => list.elements.iter().collect(),
        Ast::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Ast::Struct(made) => made.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Ast::Select(select) => vec![&select.operand],
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => Vec::new(),
    }
}

/// Whether an expression has more than so many levels.
fn is_deeper(node: &IdedExpr, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    children(node).into_iter().any(|child| is_deeper(child, below))
}

/// How many loops an expression has inside each other.
fn loops_inside(node: &IdedExpr) -> usize {
    if let Ast::Comprehension(loops) = &node.expr {
        let once = [&loops.iter_range, &loops.accu_init, &loops.result].map(loops_inside);
        let repeated = [&loops.loop_cond, &loops.loop_step].map(|part| 1 + loops_inside(part));
        return once.into_iter().chain(repeated).max().unwrap_or(0);
    }
    children(node).into_iter().map(loops_inside).max().unwrap_or(0)
}

/// `a.b.c` and `has(a.b.c)` as a path.
fn path_of(node: &IdedExpr) -> Option<Path> {
    match &node.expr {
        Ast::Ident(name) => Some(vec![name.clone()]),
        Ast::Select(select) => {
            let mut path = path_of(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
