//! Control expressions: CEL, parsed and checked when a DAG is loaded, evaluated when it runs.
//!
//! `cel` stays inside this module. An expression is a pure function of its [`Scope`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::words::noun;
use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr};
use cel::objects::Key;
use cel::{Context, Env, Program};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an expression may see: the values of its root names (`params`, `run`, `tasks`, …).
pub type Scope = Map<String, Value>;

/// A function that expressions may call.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How many arguments, the receiver of a method included.
    pub arity: std::ops::RangeInclusive<usize>,
    /// For the reference: what it gives.
    pub doc: &'static str,
    /// For the reference: how to write it.
    pub example: &'static str,
}

const fn function(
    name: &'static str,
    min: usize,
    max: usize,
    example: &'static str,
    doc: &'static str,
) -> Function {
    Function { name, arity: min..=max, doc, example }
}

/// Every function that expressions may call, in the order of the reference.
pub static FUNCTIONS: &[Function] = &[
    function("size", 1, 1, "size(params.regions)", "the length of a text, list or map"),
    function("contains", 2, 2, "params.name.contains('eu')", "whether a text holds another"),
    function(
        "startsWith",
        2,
        2,
        "params.name.startsWith('eu')",
        "whether a text starts with another",
    ),
    function("endsWith", 2, 2, "params.name.endsWith('.csv')", "whether a text ends with another"),
    function(
        "matches",
        2,
        2,
        "params.name.matches('^[a-z]+$')",
        "whether a text matches a regular expression",
    ),
    function("int", 1, 1, "int(params.text)", "a whole number"),
    function("double", 1, 1, "double(params.text)", "a floating-point number"),
    function("string", 1, 1, "string(tasks.orders.rows)", "a text"),
    function("bool", 1, 1, "bool(params.text)", "true or false"),
    function(
        "timestamp",
        1,
        1,
        "timestamp(run.interval.start)",
        "an instant, for comparisons and arithmetic",
    ),
    function("duration", 1, 1, "duration('2h')", "a span, to add to an instant"),
    function("min", 1, 16, "min(params.a, 10)", "the smallest argument"),
    function("max", 1, 16, "max(params.a, 10)", "the largest argument"),
    function(
        "date",
        1,
        1,
        "date(run.interval.start)",
        "the day of an instant as `2026-01-31`, in UTC",
    ),
    function("lower", 1, 1, "lower(params.name)", "a text in lower case"),
    function("upper", 1, 1, "upper(params.name)", "a text in upper case"),
];

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
    /// What is wrong, in one line.
    pub message: String,
    /// The byte in the expression's text where it is wrong, if known.
    pub offset: Option<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl ExprError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None, help: None }
    }
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    program: Arc<Program>,
}

static STDLIB: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// The longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 4_096;
/// The deepest expression, in levels: `a + b + c` has three, as does `f(g(x))`. An expression is
/// evaluated recursively, in large frames, on whatever thread asks.
pub const EXPR_DEPTH_MAX: usize = 32;
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
        stacker::maybe_grow(PARSE_STACK_LEFT_BYTES, PARSE_STACK_BYTES, || Self::compile(source))
    }

    fn compile(source: &str) -> Result<Self, ExprError> {
        match STDLIB.compile(source) {
            Ok(program) if is_deeper(program.expression(), EXPR_DEPTH_MAX) => {
                let mut error = ExprError::new(format!(
                    "the expression is nested too deeply: it has more than {EXPR_DEPTH_MAX} levels"
                ));
                error.help =
                    Some("a long text is better written with several `${{ … }}`".to_owned());
                Err(error)
            }
            Ok(program) => Ok(Self { source: source.into(), program: Arc::new(program) }),
            Err(errors) => Err(match errors.errors.into_iter().next() {
                Some(first) => ExprError {
                    message: format!("the expression does not parse: {}", tidy(&first.msg)),
                    offset: offset_in(source, (first.pos.0 as i64, first.pos.1 as i64)),
                    help: None,
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
        walk.visit(self.program.expression());
        walk.paths
    }

    /// Unknown functions and wrong numbers of arguments.
    pub fn check_functions(&self) -> Vec<ExprError> {
        let mut walk = Walk::default();
        walk.visit(self.program.expression());
        let info = self.program.source_info();
        walk.calls
            .iter()
            .filter_map(|(id, name, arguments)| {
                let offset = info
                    .offset_for(*id)
                    .and_then(|(line, column)| {
                        offset_in(&self.source, (line.into(), column.into()))
                    })
                    .or_else(|| self.source.find(name.as_str()));
                let Some(function) = FUNCTIONS.iter().find(|f| f.name == name) else {
                    return Some(ExprError {
                        message: format!("there is no function `{name}`"),
                        offset,
                        help: Some(format!(
                            "functions are: {}",
                            FUNCTIONS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
                        )),
                    });
                };
                (!function.arity.contains(arguments)).then(|| ExprError {
                    message: format!(
                        "`{name}` takes {} {}, not {arguments}",
                        arity_text(&function.arity),
                        noun(*function.arity.end() as u64, "argument"),
                    ),
                    offset,
                    help: Some(format!("for example `{}`", function.example)),
                })
            })
            .collect()
    }

    /// The value in a scope.
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        let mut context = Context::with_env(STDLIB.clone());
        add_functions(&mut context)
            .map_err(|error| ExprError::new(format!("cannot declare the functions: {error}")))?;
        for (name, value) in scope {
            context.add_variable_from_value(name.as_str(), to_cel(value));
        }
        let value = self.program.execute(&context).map_err(|error| {
            ExprError::new(format!("`{}` has no value: {}", self.source, tidy(&error.to_string())))
        })?;
        value
            .json()
            .map_err(|_| ExprError::new(format!("`{}` gives a value that is no data", self.source)))
    }

    /// The truth in a scope; anything but true or false is an error.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExprError::new(format!(
                "`{}` gives {other}, which is neither true nor false",
                self.source
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

fn arity_text(arity: &std::ops::RangeInclusive<usize>) -> String {
    if arity.start() == arity.end() {
        arity.start().to_string()
    } else {
        format!("{} to {}", arity.start(), arity.end())
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

fn offset_in(source: &str, (line, column): (i64, i64)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    (start + column <= source.len()).then_some(start + column)
}

fn add_functions(context: &mut Context<'_, '_>) -> Result<(), cel::DeclarationError> {
    context.add_function(
        "date",
        |text: Arc<String>| -> Result<Arc<String>, cel::ExecutionError> {
            text.parse::<crate::time::Timestamp>()
                .map(|instant| Arc::new(instant.to_utc().format("%Y-%m-%d").to_string()))
                .map_err(|error| cel::ExecutionError::function_error("date", error))
        },
    )?;
    context.add_function("lower", |text: Arc<String>| text.to_lowercase())?;
    context.add_function("upper", |text: Arc<String>| text.to_uppercase())?;
    context.add_function("min", cel::functions::min)?;
    context.add_function("max", cel::functions::max)
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

/// Collects what an expression reads and calls.
#[derive(Default)]
struct Walk {
    paths: BTreeSet<Path>,
    calls: Vec<(u64, String, usize)>,
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
                if !is_operator(&call.func_name) {
                    let arguments = call.args.len() + usize::from(call.target.is_some());
                    self.calls.push((node.id, call.func_name.clone(), arguments));
                }
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

/// Whether an expression has more than so many levels.
fn is_deeper(node: &IdedExpr, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    let deeper = |node: &IdedExpr| is_deeper(node, below);
    let entry_deeper = |entry: &EntryExpr| match entry {
        EntryExpr::MapEntry(entry) => deeper(&entry.key) || deeper(&entry.value),
        EntryExpr::StructField(field) => deeper(&field.value),
    };
    match &node.expr {
        Ast::Call(call) => {
            call.target.as_deref().is_some_and(deeper) || call.args.iter().any(deeper)
        }
        Ast::Comprehension(loops) => {
            [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result]
                .into_iter()
                .any(&deeper)
        }
        Ast::List(list) => list.elements.iter().any(deeper),
        Ast::Map(map) => map.entries.iter().any(|entry| entry_deeper(&entry.expr)),
        Ast::Struct(made) => made.entries.iter().any(|entry| entry_deeper(&entry.expr)),
        Ast::Select(select) => deeper(&select.operand),
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => false,
    }
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
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        match json!({
            "params": {"region": "eu", "n": 3, "list": [1, 2, 3]},
            "run": {"interval": {"start": "2026-01-31T02:00:00Z"}},
            "tasks": {"orders": {"rows": 12}},
        }) {
            Value::Object(map) => map,
            _ => Scope::new(),
        }
    }

    fn check(source: &str, expected: &Value) {
        let value = Expr::parse(source).and_then(|expr| expr.eval(&scope()));
        assert_eq!(value.as_ref(), Ok(expected), "{source}");
    }

    #[test]
    fn values_keep_their_types() {
        check("tasks.orders.rows > 0", &json!(true));
        check("params.n + 1", &json!(4));
        check("params.region", &json!("eu"));
        check("date(run.interval.start)", &json!("2026-01-31"));
        check("params.list.filter(x, x > 1)", &json!([2, 3]));
        check("has(tasks.orders.rows) && size(params.list) == 3", &json!(true));
        check("max(params.n, 10)", &json!(10));
        check("upper(params.region)", &json!("EU"));
    }

    #[test]
    fn references_leave_out_what_the_expression_binds() {
        let expr = Expr::parse("params.list.exists(x, x > tasks.orders.rows) && run.dag == 'a'");
        let paths: Vec<String> =
            expr.map(|e| e.references().iter().map(|p| p.join(".")).collect()).unwrap_or_default();
        assert_eq!(paths, ["params.list", "run.dag", "tasks.orders.rows"]);
    }

    #[test]
    fn deep_expressions_are_refused_shallow_ones_fit_a_small_stack() {
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("int(", "1", ")"),
            ("1+", "1", ""),
            ("", "a", "[0]"),
            ("", "a", ".a"),
        ] {
            let deep =
                |levels: usize| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
            let most = deep(EXPR_DEPTH_MAX - 1);
            assert!(
                Expr::parse(&most).is_ok_and(|expr| expr.eval(&scope()).is_ok() || inner == "a"),
                "{most}"
            );
            let far = Expr::parse(&deep(600));
            // Parentheses leave no level; the parser has a bound of its own for them.
            assert!(far.is_err(), "{open}");
        }
    }

    fn problems(source: &str) -> String {
        match Expr::parse(source) {
            Ok(expr) => expr
                .check_functions()
                .iter()
                .map(|e| format!("{}@{:?}", e.message, e.offset))
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => format!("{}@{:?}", error.message, error.offset),
        }
    }

    #[test]
    fn wrong_expressions_say_so() {
        assert_eq!(problems(""), "the expression is empty@None");
        assert!(
            problems("1 +").starts_with("the expression does not parse"),
            "{}",
            problems("1 +")
        );
        assert!(problems("sizes(params.list)").starts_with("there is no function `sizes`"));
        assert!(problems("size(params.list, 2)").starts_with("`size` takes 1 argument, not 2"));
        let nothing = Expr::parse("params.nothing > 1").and_then(|e| e.eval_bool(&scope()));
        assert!(nothing.is_err_and(|e| e.message.contains("nothing")));
        let number = Expr::parse("params.n").and_then(|e| e.eval_bool(&scope()));
        assert_eq!(
            number.map_err(|e| e.message),
            Err("`params.n` gives 3, which is neither true nor false".to_owned())
        );
    }
}
