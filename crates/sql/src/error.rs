//! From the engine's errors to ours: what is wrong, where in the SQL, and what to do about it.

use std::error::Error;

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError, Span};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use tidemill_connector::ConnectorError;
use tidemill_model::near::{did_you_mean, nearest};
use tidemill_model::words::{a, listed};

/// Says an error of the engine in our words. `memory_bytes` is what a query may use.
pub(crate) fn explain(error: &DataFusionError, memory_bytes: usize) -> ConnectorError {
    use DataFusionError as E;
    match error {
        E::Context(_, inner) => explain(inner, memory_bytes),
        E::Shared(inner) => explain(inner, memory_bytes),
        E::Diagnostic(diagnostic, inner) => {
            let error = explain(inner, memory_bytes);
            match (diagnostic.span, &error.place) {
                (Some(Span { start, .. }), None) => error.at_line(start.line, start.column),
                _ => error,
            }
        }
        E::Collection(errors) => match errors.first() {
            Some(first) => explain(first, memory_bytes),
            None => broken("it gave no reason"),
        },
        E::External(inner) => from_outside(inner.as_ref(), memory_bytes),
        E::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => from_outside(inner.as_ref(), memory_bytes),
            other => from_arrow(other),
        },
        E::SQL(inner, _) => from_parser(inner),
        E::SchemaError(inner, _) => from_schema(inner),
        E::ResourcesExhausted(message) => exhausted(message, memory_bytes),
        E::IoError(inner) => from_io(inner),
        E::Plan(message) => from_plan(message),
        E::Execution(message) => from_execution(message),
        E::NotImplemented(message) => unsupported(message),
        other if other.to_string().contains("CompiledTooBig") => from_text(&other.to_string()),
        other => broken(&other.to_string()),
    }
}

/// Says an error of Arrow's kernels in our words.
pub(crate) fn from_arrow(error: &ArrowError) -> ConnectorError {
    match error {
        ArrowError::DivideByZero => divided_by_zero(),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => from_cast(message),
        ArrowError::ComputeError(message) | ArrowError::ArithmeticOverflow(message) => {
            from_execution(message)
        }
        ArrowError::InvalidArgumentError(message) => from_execution(message),
        ArrowError::IoError(_, inner) => from_io(inner),
        ArrowError::MemoryError(message) => {
            ConnectorError::internal(format!("out of memory: {}", tidy(message)))
        }
        ArrowError::OffsetOverflowError(_) => {
            ConnectorError::data("a column of text grew beyond 2 GiB in one batch")
                .help("aggregate less text at once")
        }
        other => ConnectorError::data(tidy(&other.to_string())),
    }
}

/// An error of the parser: its position becomes the place.
pub(crate) fn from_parser(error: &ParserError) -> ConnectorError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return ConnectorError::misconfigured("the SQL is nested too deeply")
                .help("name its parts with `with`");
        }
    };
    let place = |at: &str| {
        let (line, column) = at.split_once(", Column: ")?;
        line.parse().ok().zip(column.parse().ok())
    };
    let (text, at) = match text.rsplit_once(" at Line: ") {
        Some((text, at)) => (text, place(at)),
        None => (text, None),
    };
    let text = match text.strip_prefix("Expected: ").and_then(|t| t.split_once(", found: ")) {
        Some((expected, "EOF")) => format!("expected {expected}, but the SQL ends"),
        Some((expected, found)) => format!("expected {expected}, found `{found}`"),
        None => lower_first(text),
    };
    let error = ConnectorError::misconfigured(format!("the SQL does not parse: {text}"));
    match at {
        Some((line, column)) => error.at_line(line, column),
        None => error,
    }
}

/// The engine's own fault.
pub(crate) fn broken(what: &str) -> ConnectorError {
    ConnectorError::internal(format!("the SQL engine broke down: {}", tidy(what)))
        .help("please report it with the SQL")
}

/// Wraps an error of ours, so that it passes through the engine unharmed.
pub(crate) fn pass(error: ConnectorError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn from_outside(
    error: &(dyn Error + Send + Sync + 'static),
    memory_bytes: usize,
) -> ConnectorError {
    if let Some(ours) = error.downcast_ref::<ConnectorError>() {
        ours.clone()
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        explain(inner, memory_bytes)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        from_arrow(inner)
    } else if let Some(inner) = error.downcast_ref::<std::io::Error>() {
        from_io(inner)
    } else {
        from_text(&error.to_string())
    }
}

/// An error of a library that the engine uses.
fn from_text(text: &str) -> ConnectorError {
    if text.contains("CompiledTooBig") || text.contains("exceeds size limit") {
        return ConnectorError::misconfigured("a regular expression is too large")
            .help("use smaller numbers of repetitions in it, and nest them less");
    }
    match text.split_once("regex parse error:") {
        Some((_, what)) => {
            let what = what.rsplit("error: ").next().unwrap_or(what);
            ConnectorError::misconfigured(format!(
                "a regular expression does not parse: {}",
                tidy(what)
            ))
        }
        None => broken(text),
    }
}

fn from_io(error: &std::io::Error) -> ConnectorError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return ConnectorError::internal("the disk is full: a query could not set rows aside")
            .help("free space where `--home` lies, or raise --sql-memory");
    }
    ConnectorError::internal(format!("a query could not set rows aside on disk: {error}"))
}

fn unsupported(message: &str) -> ConnectorError {
    if message.contains("OuterReferenceColumn") {
        return ConnectorError::misconfigured(
            "this SQL is not supported: a subquery in this place cannot use columns of the query \
             around it",
        )
        .help("join the tables instead");
    }
    ConnectorError::misconfigured(format!("this SQL is not supported: {}", tidy(message)))
}

fn exhausted(message: &str, memory_bytes: usize) -> ConnectorError {
    if message.contains("disk space") {
        return ConnectorError::internal("the query needs more disk space than it may use")
            .help("filter or aggregate earlier");
    }
    let mib = memory_bytes / (1024 * 1024);
    ConnectorError::internal(format!("the query needs more than the {mib} MiB it may use"))
        .help("raise --sql-memory, or filter and aggregate earlier")
}

fn divided_by_zero() -> ConnectorError {
    ConnectorError::data("a number is divided by zero")
        .help("`x / nullif(y, 0)` gives null instead")
}

fn from_schema(error: &SchemaError) -> ConnectorError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => ConnectorError::misconfigured(format!(
            "the column `{}` is in more than one table",
            field.name
        ))
        .help(format!("write its table before it, as in `t.{}`", field.name)),
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            ConnectorError::misconfigured(format!("two tables go by the name `{qualifier}`"))
                .help(format!("give one of them another, as in `{qualifier} as other`"))
        }
        SchemaError::DuplicateUnqualifiedField { name } => two_columns(name),
    }
}

/// The error for a column that no table in reach has.
fn unknown_column(field: &Column, valid: &[Column]) -> ConnectorError {
    let relations: Vec<String> = {
        let mut all: Vec<String> = Vec::new();
        for relation in valid.iter().filter_map(|c| c.relation.as_ref()) {
            let name = relation.to_string();
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    };
    let wanted = field.relation.as_ref().map(ToString::to_string);
    if let Some(wanted) = &wanted
        && !relations.contains(wanted)
    {
        let error = ConnectorError::misconfigured(format!(
            "there is no table `{wanted}` in reach of `{wanted}.{}`",
            field.name
        ));
        return match nearest(wanted, relations.iter().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `{near}.{}`?", field.name)),
            None => error
                .help(format!("in reach are: {}", listed(relations.iter().map(String::as_str)))),
        };
    }
    let in_reach: Vec<&Column> = valid
        .iter()
        .filter(|c| wanted.is_none() || c.relation.as_ref().map(ToString::to_string) == wanted)
        .collect();
    let owner = match (&wanted, relations.as_slice()) {
        (Some(one), _) => format!("`{one}` has no column `{}`", field.name),
        (None, [one]) => format!("`{one}` has no column `{}`", field.name),
        (None, []) => format!("there is no column `{}`", field.name),
        (None, many) => {
            let many: Vec<String> = many.iter().map(|m| format!("`{m}`")).collect();
            format!("none of {} has a column `{}`", many.join(", "), field.name)
        }
    };
    let error = ConnectorError::misconfigured(owner).missing(&field.name);
    let names = in_reach.iter().map(|column| column.name.as_str());
    let near = did_you_mean(&field.name, names.clone());
    error.help(near.unwrap_or_else(|| format!("it has: {}", listed(names))))
}

fn from_plan(message: &str) -> ConnectorError {
    if let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some((name, rest)) = rest.split_once('\'')
    {
        let error = ConnectorError::misconfigured(format!("there is no function `{name}`"));
        return match rest.split_once("Did you mean '").and_then(|(_, r)| r.split_once('\'')) {
            // The engine always names one, however far away.
            Some((other, _)) => match did_you_mean(name, [other]) {
                Some(help) => error.help(help),
                None => error,
            },
            None => error,
        };
    }
    if let Some(error) = from_signature(message) {
        return error;
    }
    if let Some(error) = from_operands(message).or_else(|| from_names(message)) {
        return error;
    }
    if let Some((_, rest)) = message.split_once("column \"")
        && let Some((column, rest)) = rest.split_once('"')
        && rest.contains("must appear in the GROUP BY clause")
    {
        return ConnectorError::misconfigured(format!(
            "`{column}` is neither grouped by nor aggregated"
        ))
        .help(format!("add it to `group by`, or take one value of it, as in `min({column})`"));
    }
    if let Some(rest) = message.strip_prefix("Cannot create filter with non-boolean predicate '")
        && let Some((what, given)) = rest.rsplit_once("' returning ")
    {
        return ConnectorError::misconfigured(format!(
            "`{what}` is no condition: it is {}",
            a(&in_words(given))
        ))
        .help("compare it with something");
    }
    ConnectorError::misconfigured(tidy(message))
}

/// An operator between types that it does not join.
fn from_operands(message: &str) -> Option<ConnectorError> {
    const ARITHMETIC: &str = "Cannot coerce arithmetic expression ";
    const COMPARISON: &str = "Cannot infer common argument type for comparison operation ";
    if let Some((_, rest)) = message.split_once(ARITHMETIC) {
        let operation = in_words(rest.split(" to valid types").next().unwrap_or(rest));
        let error = ConnectorError::misconfigured(format!("`{operation}` cannot be computed"));
        return Some(if operation.contains("string") {
            error.help(
                "make a number of the text first: `cast(x as double)`, or `try_cast(x as double)` \
                 for null where it is none",
            )
        } else {
            error.help("cast one side to the type of the other, as in `cast(x as double)`")
        });
    }
    let operation = in_words(message.split_once(COMPARISON)?.1.trim_end_matches('.'));
    Some(
        ConnectorError::misconfigured(format!("`{operation}` cannot be compared"))
            .help("cast one side to the type of the other, as in `cast(x as double)`"),
    )
}

/// Two columns of a result under one name.
fn from_names(message: &str) -> Option<ConnectorError> {
    const POSITION: &str = " at position ";
    let (_, rest) = message.split_once(" require unique expression names but the expression \"")?;
    let (name, rest) = rest.split_once('"')?;
    let first = rest.strip_prefix(POSITION)?.split(' ').next()?;
    let second = rest.rsplit_once(POSITION)?.1.split(' ').next()?;
    let (first, second) = (first.parse::<u64>().ok()?, second.parse::<u64>().ok()?);
    let is_column = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let name = name.rsplit_once(" AS ").map_or(name, |(_, alias)| alias);
    let column = match name.rsplit_once('.') {
        Some((_, column)) if name.chars().all(is_column) => column.to_owned(),
        _ => without_types(name),
    };
    Some(two_columns(&column).at(format!("columns {} and {} of the query", first + 1, second + 1)))
}

/// An expression with its numbers as they are written: `id + Int64(1)` is `id + 1`.
fn without_types(expression: &str) -> String {
    let mut text = expression.to_owned();
    for kind in ["Int64(", "Float64(", "Boolean("] {
        while let Some((before, rest)) = text.split_once(kind)
            && let Some((value, after)) = rest.split_once(')')
        {
            text = format!("{before}{value}{after}");
        }
    }
    text
}

fn two_columns(name: &str) -> ConnectorError {
    ConnectorError::misconfigured(format!("the query gives two columns named `{name}`"))
        .help("give one of them another name with `as`")
}

/// A call with arguments that the function does not take.
fn from_signature(message: &str) -> Option<ConnectorError> {
    const OURS: &str = "user-defined coercion failed with: ";
    const CALL: &str = "No function matches the given name and argument types '";
    if let Some((_, ours)) = message.split_once(OURS) {
        let ours = ours.split(" No function matches").next().unwrap_or(ours);
        return Some(ConnectorError::misconfigured(tidy(ours)));
    }
    let call = message.split_once(CALL)?.1.split_once('\'')?.0;
    let (name, given) = call.split_once('(')?;
    let given = given.trim_end_matches(')');
    let given = if given.is_empty() { "nothing".to_owned() } else { in_words(given) };
    let error = ConnectorError::misconfigured(format!("`{name}` does not take ({given})"));
    let candidates: Vec<String> = match message.split_once("Candidate functions:") {
        Some((_, list)) => list
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .take(3)
            .map(|l| format!("`{}`", in_words(l).to_lowercase()))
            .collect(),
        None => Vec::new(),
    };
    Some(match candidates.as_slice() {
        [] => error,
        some => error.help(format!("it is {}", some.join(" or "))),
    })
}

fn from_execution(message: &str) -> ConnectorError {
    let lower = message.to_lowercase();
    if message.contains("regex parse error:") || message.contains("CompiledTooBig") {
        return from_text(message);
    }
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return divided_by_zero();
    }
    if lower.contains("cannot cast") || lower.contains("error parsing") {
        return from_cast(message);
    }
    if lower.contains("overflow") {
        let what = tidy(message);
        let what = what.strip_prefix("overflow happened on: ").unwrap_or(&what);
        return ConnectorError::data(format!("a number is too large: {what}"))
            .help("cast to a wider type first, for example `cast(x as double)`");
    }
    if lower.contains("user-defined coercion failed")
        && let Some(error) = from_signature(message)
    {
        return error;
    }
    ConnectorError::data(tidy(message))
}

/// A value that does not read as the type it should have.
fn from_cast(message: &str) -> ConnectorError {
    const HELP: &str = "`try_cast(x as …)` gives null for values that do not fit";
    let quoted = |text: &str| {
        let (value, rest) = text.split_once('\'')?.1.rsplit_once('\'')?;
        let value: String = value.chars().take(200).collect();
        Some((value, rest.to_owned()))
    };
    if let Some((_, zone)) = message.split_once("Invalid timezone \"")
        && let Some((zone, _)) = zone.split_once('"')
    {
        return ConnectorError::data(format!("there is no time zone `{zone}`"))
            .help("write it as in `Europe/Berlin` or `+02:00`");
    }
    if message.to_lowercase().ends_with("format error") {
        return ConnectorError::data("a format of times does not parse")
            .help("write it as in `%Y-%m-%d %H:%M:%S`");
    }
    if message.contains("Cannot cast string")
        && let Some((value, rest)) = quoted(message)
        && let Some(to) = rest.strip_prefix(" to value of ").and_then(|r| r.strip_suffix(" type"))
    {
        return ConnectorError::data(format!("`{value}` cannot be read as {}", in_words(to)))
            .help(HELP);
    }
    if let Some(rest) = message.split("Error parsing ").nth(1)
        && let Some((what, rest)) = rest.split_once(" from ")
        && let Some((_, rest)) = rest.split_once('\'')
        && let Some((value, _)) = rest.rsplit_once('\'')
    {
        let value: String = value.chars().take(200).collect();
        return ConnectorError::data(format!("`{value}` cannot be read as {what}")).help(HELP);
    }
    ConnectorError::data(tidy(message)).help(HELP)
}

/// A message of the engine without its prefixes, its report forms and its types' inner names.
fn tidy(message: &str) -> String {
    const PREFIXES: [&str; 14] = [
        "Error during planning: ",
        "Execution error: ",
        "Internal error: ",
        "Arrow error: ",
        "Schema error: ",
        "External error: ",
        "Optimizer rule 'simplify_expressions' failed\ncaused by\n",
        "type_coercion\ncaused by\n",
        "Compute error: ",
        "Invalid argument error: ",
        "Arithmetic overflow: ",
        "Cast error: ",
        "Parser error: ",
        "This feature is not implemented: ",
    ];
    let mut text = message.split("\n\nbacktrace").next().unwrap_or(message);
    text = text.split("This issue was likely caused by").next().unwrap_or(text);
    while let Some(rest) = PREFIXES.iter().find_map(|p| text.strip_prefix(p)) {
        text = rest;
    }
    let text = text.trim().trim_end_matches('.').replace("\n\t", " ").replace('\n', " ");
    lower_first(&in_words(&text))
}

/// Arrow's names of types in the words of a DAG file.
fn in_words(text: &str) -> String {
    const WORDS: [(&str, &str); 16] = [
        ("Timestamp(Microsecond, None)", "timestamp"),
        ("Timestamp(µs)", "timestamp"),
        ("Timestamp(ns)", "timestamp"),
        ("Timestamp(s)", "timestamp"),
        ("Utf8View", "string"),
        ("LargeUtf8", "string"),
        ("Utf8", "string"),
        ("UInt64", "uint64"),
        ("Int64", "int64"),
        ("UInt32", "uint32"),
        ("Int32", "int32"),
        ("Float64", "float64"),
        ("Float32", "float32"),
        ("Boolean", "boolean"),
        ("Date32", "date"),
        ("Decimal128", "decimal"),
    ];
    WORDS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // `NULL` and the like keep their case.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tidemill_connector::Blame;

    use super::*;

    fn check(error: &DataFusionError, expected: &str) {
        assert_eq!(explain(error, 64 * 1024 * 1024).to_string(), expected);
    }

    #[test]
    fn trouble_of_the_machine() {
        const FULL: &str = "the disk is full: a query could not set rows aside; \
                            free space where `--home` lies, or raise --sql-memory";
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        check(&DataFusionError::IoError(full()), FULL);
        let arrow = ArrowError::IoError("write".to_owned(), full());
        check(&DataFusionError::ArrowError(Box::new(arrow), None), FULL);
        check(&DataFusionError::External(Box::new(full())), FULL);
        check(
            &DataFusionError::ResourcesExhausted("Failed to allocate additional 1 MB".to_owned()),
            "the query needs more than the 64 MiB it may use; \
             raise --sql-memory, or filter and aggregate earlier",
        );
        check(
            &DataFusionError::ResourcesExhausted("The used disk space during".to_owned()),
            "the query needs more disk space than it may use; filter or aggregate earlier",
        );
        check(
            &DataFusionError::Internal(
                "Oops.\nThis issue was likely caused by a bug in".to_owned(),
            ),
            "the SQL engine broke down: oops; please report it with the SQL",
        );
    }

    #[test]
    fn errors_of_ours_pass_through() {
        let ours = ConnectorError::retryable("the disk is busy");
        let wrapped = DataFusionError::Shared(std::sync::Arc::new(
            pass(ours.clone()).context("while scanning"),
        ));
        assert_eq!(explain(&wrapped, 0), ours);
        let arrow = ArrowError::ExternalError(Box::new(wrapped));
        assert_eq!(explain(&DataFusionError::ArrowError(Box::new(arrow), None), 0), ours);
    }

    #[test]
    fn the_part_stands_before_the_place() {
        let error = ConnectorError::data("bad").at_line(1, 2).within("query `tx`").blame(&["tx"]);
        assert_eq!(error.to_string(), "bad (query `tx`, line 1, column 2)");
        let blame = Blame { keys: vec!["tx".to_owned()], line_column: Some((1, 2)), missing: None };
        assert_eq!(error.blame, Some(Box::new(blame)));
        let error = ConnectorError::data("bad").within("query `tx`");
        assert_eq!(error.to_string(), "bad (query `tx`)");
    }
}
