//! Every function that expressions may call: one table for the checker, the evaluation and the
//! reference.

use std::fmt::Write;
use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr as Ast};
use cel::common::types::{DYN_TYPE, Type as CelType};
use cel::common::value::CowVal;
use cel::parser::Macro;
use cel::{DeclarationError, Env, ExecutionError, Value};

use super::library as own;
use super::types::Type;

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The ways to call it.
    pub forms: &'static [Form],
    /// For the reference: what it gives.
    pub doc: &'static str,
    /// For the reference: how to write it.
    pub example: &'static str,
    /// What computes it, where CEL does not.
    run: Option<Run>,
}

/// What stands before the names of our functions that take the place of CEL's own: those read less
/// than the rest of the language does.
pub(super) const INSTEAD: &str = "tidemill_";

type Run = for<'b, 'v> fn(Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError>;

/// A way to call a function.
#[derive(Debug)]
pub struct Form {
    /// What stands before the dot, if it is called as `x.f()`.
    pub receiver: Option<Kind>,
    /// What stands in the brackets.
    pub arguments: &'static [Kind],
    /// Whether the last argument may come again.
    pub repeats: bool,
    /// What it gives.
    pub gives: Gives,
}

/// What a function takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Any,
    Bool,
    Int,
    Double,
    /// Either kind of number.
    Number,
    Text,
    /// An instant, or a text that is one.
    Time,
    /// An instant as `timestamp` gives it.
    Moment,
    Span,
    List,
    /// A list of texts.
    Texts,
    /// A list of numbers.
    Numbers,
    /// A list of values that have an order.
    Ordered,
    Map,
}

/// What a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// Always this.
    Kind(Kind),
    /// A list of whole numbers.
    Ints,
    /// What it is called on, or its first argument.
    Same,
    /// One of its arguments, and null only if all are.
    Argument,
    /// One of the items of its first argument.
    Item,
}

impl Kind {
    /// Whether a value of this type may be given.
    pub fn takes(self, given: &Type) -> bool {
        given.is_open()
            || match self {
                Self::Any => true,
                Self::Bool => *given == Type::Bool,
                Self::Int => *given == Type::Int,
                Self::Double => *given == Type::Double,
                Self::Number => given.is_number(),
                Self::Text => *given == Type::Text,
                Self::Time => matches!(given, Type::Text | Type::Instant),
                Self::Moment => *given == Type::Instant,
                Self::Span => *given == Type::Span,
                Self::List => matches!(given, Type::List(_)),
                Self::Texts => given.fits(&Type::List(Box::new(Type::Text))),
                Self::Numbers => matches!(given, Type::List(item) if Self::Number.takes(item)),
                Self::Ordered => matches!(given, Type::List(item) if item.has_order()),
                Self::Map => matches!(given, Type::Map(_)),
            }
    }

    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number with a fraction",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Time => "an instant or a day",
            Self::Moment => "an instant",
            Self::Span => "a span of time",
            Self::List => "a list",
            Self::Texts => "a list of strings",
            Self::Numbers => "a list of numbers",
            Self::Ordered => "a list of values that have an order",
            Self::Map => "a map",
        }
    }

    /// The word of the reference.
    fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Number => "number",
            Self::Text => "string",
            Self::Time => "time",
            Self::Moment => "instant",
            Self::Span => "span",
            Self::List | Self::Ordered => "list",
            Self::Texts => "list of strings",
            Self::Numbers => "list of numbers",
            Self::Map => "map",
        }
    }

    fn to_type(self) -> Type {
        match self {
            Self::Any | Self::Number | Self::Time => Type::Dynamic,
            Self::Moment => Type::Instant,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Double => Type::Double,
            Self::Text => Type::Text,
            Self::Span => Type::Span,
            Self::Texts => Type::List(Box::new(Type::Text)),
            Self::List | Self::Numbers | Self::Ordered => Type::list(),
            Self::Map => Type::map(),
        }
    }
}

impl Gives {
    /// The type of the value, given the types of what was put in, the receiver first.
    pub fn to_type(self, given: &[Type]) -> Type {
        let first = || given.first().cloned().unwrap_or(Type::Dynamic);
        match self {
            Self::Kind(kind) => kind.to_type(),
            Self::Ints => Type::List(Box::new(Type::Int)),
            Self::Same => first(),
            Self::Argument => {
                let there = given.iter().filter(|kind| **kind != Type::Null).cloned();
                there.reduce(Type::or).unwrap_or(Type::Null)
            }
            Self::Item => match first() {
                Type::List(item) if !item.is_open() => *item,
                _ => Type::Dynamic,
            },
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.label(),
            Self::Ints => "list of ints",
            Self::Same => "the same",
            Self::Argument => "one of them",
            Self::Item => "one of the items",
        }
    }
}

impl Form {
    /// Whether it can be called with so many arguments.
    pub fn counts(&self, arguments: usize) -> bool {
        let least = self.arguments.len();
        arguments == least || (self.repeats && arguments > least)
    }

    /// What the argument at this place must be.
    pub fn argument(&self, at: usize) -> Kind {
        self.arguments.get(at).or(self.arguments.last()).copied().unwrap_or(Kind::Any)
    }
}

impl Function {
    /// How it is called and what it gives, a line for each form: `x.contains(string) → bool`.
    pub fn signatures(&self) -> impl Iterator<Item = String> {
        self.forms.iter().map(|form| {
            let mut text = String::new();
            if let Some(receiver) = form.receiver {
                let _ = write!(text, "{}.", receiver.label());
            }
            let arguments: Vec<&str> = form.arguments.iter().map(|kind| kind.label()).collect();
            let more = if form.repeats { ", …" } else { "" };
            let _ = write!(text, "{}({}{more}) → ", self.name, arguments.join(", "));
            text + form.gives.label()
        })
    }
}

/// The function of this name.
pub fn function(name: &str) -> Option<&'static Function> {
    let name = name.strip_prefix(INSTEAD).unwrap_or(name);
    FUNCTIONS.iter().find(|function| function.name == name)
}

const fn call(arguments: &'static [Kind], gives: Gives) -> Form {
    Form { receiver: None, arguments, repeats: false, gives }
}

const fn method(receiver: Kind, arguments: &'static [Kind], gives: Gives) -> Form {
    Form { receiver: Some(receiver), arguments, repeats: false, gives }
}

const fn many(arguments: &'static [Kind], gives: Gives) -> Form {
    Form { receiver: None, arguments, repeats: true, gives }
}

/// A function that CEL has.
const fn theirs(
    name: &'static str,
    forms: &'static [Form],
    example: &'static str,
    doc: &'static str,
) -> Function {
    Function { name, forms, doc, example, run: None }
}

/// A function of ours.
const fn ours(
    name: &'static str,
    forms: &'static [Form],
    run: Run,
    example: &'static str,
    doc: &'static str,
) -> Function {
    Function { name, forms, doc, example, run: Some(run) }
}

/// Makes of a function over values what CEL calls. An error is told with the name of the function.
macro_rules! run {
    ($name:ident) => {{
        fn call<'b, 'v>(given: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
            let given = given.iter().map(|v| Value::try_from(&**v));
            let given = given.collect::<Result<Vec<Value>, _>>()?;
            let value = own::$name(&given)
                .map_err(|error| ExecutionError::function_error(stringify!($name), error))?;
            Ok(CowVal::Owned(value.try_into()?))
        }
        call
    }};
}

use Gives::{Argument, Ints, Item, Same};
use Kind::{
    Any, Bool, Double, Int, List, Map, Moment, Number, Numbers, Ordered, Span, Text, Texts, Time,
};

const BOOL: Gives = Gives::Kind(Bool);
const INT: Gives = Gives::Kind(Int);
const DOUBLE: Gives = Gives::Kind(Double);
const TEXT: Gives = Gives::Kind(Text);
const INSTANT: Gives = Gives::Kind(Moment);
const TEXTS: Gives = Gives::Kind(Texts);
const ANY: Gives = Gives::Kind(Any);

/// Every function, in the order of the reference.
pub static FUNCTIONS: &[Function] = &[
    theirs(
        "size",
        &[
            call(&[Text], INT),
            call(&[List], INT),
            call(&[Map], INT),
            method(Text, &[], INT),
            method(List, &[], INT),
            method(Map, &[], INT),
        ],
        "size(vars.regions)",
        "The length of a text, a list or a map.",
    ),
    theirs(
        "contains",
        &[method(Text, &[Text], BOOL)],
        "params.name.contains('eu')",
        "Whether a text holds another.",
    ),
    theirs(
        "startsWith",
        &[method(Text, &[Text], BOOL)],
        "params.name.startsWith('eu')",
        "Whether a text starts with another.",
    ),
    theirs(
        "endsWith",
        &[method(Text, &[Text], BOOL)],
        "params.name.endsWith('.csv')",
        "Whether a text ends with another.",
    ),
    theirs(
        "matches",
        &[method(Text, &[Text], BOOL), call(&[Text, Text], BOOL)],
        "params.name.matches('^[a-z]+$')",
        "Whether a regular expression is found in a text.",
    ),
    ours(
        "lower",
        &[call(&[Text], TEXT)],
        run!(lower),
        "lower(params.name)",
        "A text in small letters.",
    ),
    ours(
        "upper",
        &[call(&[Text], TEXT)],
        run!(upper),
        "upper(params.name)",
        "A text in capital letters.",
    ),
    theirs(
        "trim",
        &[method(Text, &[], TEXT)],
        "params.name.trim()",
        "A text without the white space around it.",
    ),
    theirs(
        "replace",
        &[method(Text, &[Text, Text], TEXT), method(Text, &[Text, Text, Int], TEXT)],
        "params.name.replace('-', '_')",
        "A text with one piece replaced by another: everywhere, or so many times.",
    ),
    theirs(
        "split",
        &[method(Text, &[Text], TEXTS), method(Text, &[Text, Int], TEXTS)],
        "params.names.split(',')",
        "The pieces of a text between separators; at most so many.",
    ),
    theirs(
        "join",
        &[method(Texts, &[], TEXT), method(Texts, &[Text], TEXT)],
        "params.names.split(',').join('; ')",
        "The texts of a list as one, with a separator between them.",
    ),
    theirs(
        "substring",
        &[method(Text, &[Int], TEXT), method(Text, &[Int, Int], TEXT)],
        "params.name.substring(0, 2)",
        "The letters from a place on, counted from 0, and up to another.",
    ),
    theirs(
        "indexOf",
        &[method(Text, &[Text], INT), method(Text, &[Text, Int], INT)],
        "params.name.indexOf('-')",
        "The place of a text in another, counted from 0; -1 if it is not there.",
    ),
    theirs(
        "format",
        &[method(Text, &[List], TEXT)],
        "'%s has %d rows'.format([run.dag, tasks.orders.rows])",
        "A text with values put in: `%s` any, `%d` a whole number, `%.2f` with two digits.",
    ),
    theirs(
        "int",
        &[call(&[Number], INT), call(&[Text], INT), call(&[Moment], INT)],
        "int(params.text)",
        "A whole number: of a text, of a number without its fraction, of an instant in seconds since 1970.",
    ),
    theirs(
        "double",
        &[call(&[Number], DOUBLE), call(&[Text], DOUBLE)],
        "double(tasks.orders.rows)",
        "A number with a fraction.",
    ),
    theirs(
        "string",
        &[
            call(&[Text], TEXT),
            call(&[Number], TEXT),
            call(&[Bool], TEXT),
            call(&[Moment], TEXT),
            call(&[Span], TEXT),
        ],
        "string(tasks.orders.rows)",
        "A value as text.",
    ),
    theirs(
        "bool",
        &[call(&[Text], BOOL), call(&[Bool], BOOL)],
        "bool('true')",
        "True or false, of a text.",
    ),
    ours(
        "abs",
        &[call(&[Number], Same)],
        run!(abs),
        "abs(params.a - params.b)",
        "A number without its sign.",
    ),
    ours(
        "round",
        &[call(&[Number], INT)],
        run!(round),
        "round(params.share * 100.0)",
        "The nearest whole number; halves go away from zero.",
    ),
    ours(
        "floor",
        &[call(&[Number], INT)],
        run!(floor),
        "floor(params.share)",
        "The whole number at or below.",
    ),
    ours(
        "ceil",
        &[call(&[Number], INT)],
        run!(ceil),
        "ceil(params.share)",
        "The whole number at or above.",
    ),
    ours(
        "min",
        &[call(&[Ordered], Item), many(&[Any, Any], Argument)],
        run!(min),
        "min(params.a, 10)",
        "The smallest of its arguments, or of a list.",
    ),
    ours(
        "max",
        &[call(&[Ordered], Item), many(&[Any, Any], Argument)],
        run!(max),
        "max(params.a, 10)",
        "The largest of its arguments, or of a list.",
    ),
    ours(
        "sum",
        &[call(&[Numbers], Item)],
        run!(sum),
        "sum(vars.weights)",
        "The sum of a list of numbers; 0 of an empty one.",
    ),
    ours(
        "timestamp",
        &[call(&[Time], INSTANT), call(&[Int], INSTANT)],
        run!(timestamp),
        "timestamp(run.interval.start)",
        "A text as an instant, for comparisons and arithmetic.",
    ),
    ours(
        "duration",
        &[call(&[Text], Gives::Kind(Span)), call(&[Span], Gives::Kind(Span))],
        run!(duration),
        "timestamp(run.interval.start) - duration('90m')",
        "A span, to add to an instant: `1d`, `2h`, `90m`, `30s`, `100ms`.",
    ),
    ours(
        "date",
        &[call(&[Time], TEXT), call(&[Time, Text], TEXT)],
        run!(date),
        "date(run.interval.start, 'Europe/Zurich')",
        "The day of an instant as `2026-01-31`, in UTC or in a zone.",
    ),
    ours(
        "add_days",
        &[call(&[Time, Int], TEXT)],
        run!(add_days),
        "add_days(date(run.interval.start), -7)",
        "A day so many days later, or earlier. Of an instant, its day in UTC.",
    ),
    ours(
        "days_between",
        &[call(&[Time, Time], INT)],
        run!(days_between),
        "days_between(params.since, run.interval.end)",
        "The days from one day to another.",
    ),
    ours(
        "start_of",
        &[call(&[Text, Time], TEXT), call(&[Text, Time, Text], TEXT)],
        run!(start_of),
        "start_of('month', run.interval.start, 'Europe/Zurich')",
        "The instant at which the `hour`, `day`, `week` (from Monday), `month` or `year` of an instant began, in UTC or in a zone.",
    ),
    ours(
        "format_time",
        &[call(&[Time, Text], TEXT), call(&[Time, Text, Text], TEXT)],
        run!(format_time),
        "format_time(run.interval.start, '%Y/%m/%d', 'Europe/Zurich')",
        "An instant in a form of one's own, in UTC or in a zone: `%Y` year, `%m` month, `%d` day, `%H` hour, `%M` minute, `%S` second, `%a` day of the week, `%V` week, `%j` day of the year.",
    ),
    ours(
        "range",
        &[call(&[Int], Ints), call(&[Int, Int], Ints)],
        run!(range),
        "range(1, 13)",
        "The whole numbers from 0, or from the first argument, up to the last, which is left out.",
    ),
    theirs(
        "distinct",
        &[method(List, &[], Same)],
        "vars.regions.distinct()",
        "A list with each value once.",
    ),
    theirs("sort", &[method(Ordered, &[], Same)], "vars.regions.sort()", "A list in order."),
    theirs(
        "reverse",
        &[method(List, &[], Same), method(Text, &[], TEXT)],
        "vars.regions.reverse()",
        "A list or a text from its end.",
    ),
    theirs(
        "flatten",
        &[method(List, &[], Gives::Kind(List))],
        "[[1, 2], [3]].flatten()",
        "The items of the lists in a list.",
    ),
    theirs(
        "slice",
        &[method(List, &[Int, Int], Same)],
        "vars.regions.slice(0, 2)",
        "The items from a place up to another, counted from 0.",
    ),
    ours(
        "zip",
        &[call(&[List, List], Gives::Kind(List))],
        run!(zip),
        "zip(vars.regions, vars.files)",
        "Pairs of the items of two lists that stand at the same place; the lists are of one length.",
    ),
    ours(
        "cross",
        &[call(&[List, List], Gives::Kind(List))],
        run!(cross),
        "cross(vars.regions, range(7))",
        "Pairs of each item of one list with each of another.",
    ),
    ours(
        "sha256",
        &[call(&[Text], TEXT)],
        run!(sha256),
        "sha256(params.name)",
        "The SHA-256 of a text, as 64 hexadecimal digits.",
    ),
    ours(
        "bucket",
        &[call(&[Text, Int], INT)],
        run!(bucket),
        "bucket(params.customer, 16)",
        "A number from 0 up to the second argument, which is left out: always the same for a text, and spread evenly.",
    ),
    ours(
        "json",
        &[call(&[Text], ANY)],
        run!(json),
        "json(tasks.report.outputs.summary).total",
        "The value that a JSON text holds.",
    ),
    ours(
        "to_json",
        &[call(&[Any], TEXT)],
        run!(to_json),
        "to_json(vars.regions)",
        "A value as JSON.",
    ),
    ours(
        "coalesce",
        &[many(&[Any, Any], Argument)],
        run!(coalesce),
        "coalesce(tasks.report.outputs.total, 0)",
        "The first argument that is not null.",
    ),
];

/// The most arguments of a function whose last may come again.
pub(super) const ARGUMENTS_MAX: usize = 16;

/// Functions of CEL whose place is taken by ours.
const REPLACED: [&str; 2] = ["timestamp", "duration"];

/// The name by which CEL knows a function of ours.
fn called(name: &str) -> String {
    if REPLACED.contains(&name) { format!("{INSTEAD}{name}") } else { name.to_owned() }
}

/// Adds the functions to an environment of CEL.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    for function in FUNCTIONS {
        let Some(run) = function.run else { continue };
        let forms = function.forms.iter();
        let mut counts: Vec<usize> = forms
            .flat_map(|form| {
                let least = form.arguments.len();
                least..=if form.repeats { ARGUMENTS_MAX } else { least }
            })
            .collect();
        counts.sort_unstable();
        counts.dedup();
        for count in counts {
            let types: Vec<CelType> = (0..count).map(|_| DYN_TYPE).collect();
            let name = called(function.name);
            env.add_overload(&name, &format!("{name}_{count}"), types, run)?;
        }
    }
    Ok(())
}

/// The environment of all expressions.
pub(super) fn environment() -> Result<Arc<Env>, DeclarationError> {
    let mut env = Env::stdlib();
    cel::extensions::strings(&mut env)?;
    cel::extensions::lists(&mut env)?;
    declare(&mut env)?;
    for name in REPLACED {
        env.add_macro(Macro::global(name, 1, move |helper, _, arguments| {
            let call =
                CallExpr { func_name: called(name), target: None, args: std::mem::take(arguments) };
            Ok(Some(helper.next_expr(Ast::Call(call))))
        }))?;
    }
    Ok(Arc::new(env))
}
