//! What a SQL text reads: its tables and its `$parameters`, with their places.
//!
//! Nothing is planned here and no column is known; that is the engine's part. Names keep their
//! case, quoted or not.

mod dialect;
mod walk;

use std::ops::ControlFlow;

use sqlparser::ast::{Statement, Visit};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use dialect::Bounded;
use walk::Walk;

use crate::report::quoted;

/// The longest SQL text, in bytes.
pub const SQL_BYTES_MAX: usize = 1 << 20;
/// Words and operators in one text. Numbers, texts and punctuation do not count, so that long
/// lists of values are fine; what counts bounds the depth of the tree.
const WORDS_MAX: usize = 20_000;
/// Levels of a tree: `a or b or c` has two, as do three joined tables. The engine walks trees
/// recursively and has the same bound.
const DEPTH_MAX: usize = 250;
/// Trees are walked and dropped recursively, so deep ones get a stack of their own.
pub(crate) const STACK_BYTES: usize = 256 << 20;
/// The stack that must be left to do without.
pub(crate) const STACK_LEFT_BYTES: usize = 16 << 20;

/// A query, as far as its tables and parameters go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// The tables it reads, in the order written. What `with` declares is no table.
    pub tables: Vec<TableUse>,
    /// The `$names` it uses, in the order written.
    pub parameters: Vec<ParameterUse>,
}

/// A table in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableUse {
    /// Its name, parts joined by points: `orders`, `orders.rejects`.
    pub name: String,
    /// The byte of the SQL text where it starts.
    pub offset: usize,
    /// How many bytes it takes.
    pub length: usize,
}

/// A parameter in a query or an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterUse {
    /// Its name without the `$`. Parameters of other forms keep their sign: `?`, `:name`.
    pub name: String,
    /// Whether it is written `$name`.
    pub named: bool,
    /// The byte of the SQL text where it starts.
    pub offset: usize,
    /// How many bytes it takes.
    pub length: usize,
}

/// Why a SQL text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What is wrong, in one line.
    pub message: String,
    /// The byte in the text where it is wrong, if known.
    pub offset: Option<usize>,
    /// What to do about it.
    pub help: Option<String>,
    /// What kind of problem it is.
    pub kind: SqlErrorKind,
}

/// The kind of a [`SqlError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// It does not parse.
    Syntax,
    /// It is something else than one query.
    NotQuery,
    /// It holds a query where only an expression may be.
    Subquery,
}

impl SqlError {
    fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None, help: None, kind }
    }
}

/// Reads one query.
pub fn query(sql: &str) -> Result<Query, SqlError> {
    stacker::maybe_grow(STACK_LEFT_BYTES, STACK_BYTES, || query_here(sql))
}

fn query_here(sql: &str) -> Result<Query, SqlError> {
    let tokens = tokens_of(sql)?;
    let dialect = Bounded::new(tokens.len());
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|error| syntax(sql, &error))?;
    let not_query = |message: &str| SqlError::new(SqlErrorKind::NotQuery, message);
    let statement = match (statements.pop(), statements.len()) {
        (None, _) => return Err(empty()),
        (Some(statement), 0) => statement,
        (Some(_), more) => {
            let mut error = not_query(&format!("the SQL holds {} statements", more + 1));
            error.help = Some("write one query; a second table needs a key of its own".to_owned());
            return Err(error);
        }
    };
    let Statement::Query(ast) = &statement else {
        let word = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
        let mut error = not_query(&format!("`{word}` is no query"));
        error.help = Some("the SQL of a task only reads: write a `select`".to_owned());
        return Err(error);
    };
    let mut walk = Walk::new(sql);
    match ast.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(walk.found),
    }
}

/// Reads one expression over the columns of a row; a query inside of it is an error.
pub fn expression(sql: &str) -> Result<Vec<ParameterUse>, SqlError> {
    stacker::maybe_grow(STACK_LEFT_BYTES, STACK_BYTES, || expression_here(sql))
}

fn expression_here(sql: &str) -> Result<Vec<ParameterUse>, SqlError> {
    let tokens = tokens_of(sql)?;
    let dialect = Bounded::new(tokens.len());
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let ast = parser.parse_expr().map_err(|error| syntax(sql, &error))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let mut error = SqlError::new(
            SqlErrorKind::Syntax,
            format!("the expression ends before `{}`", next.token),
        );
        error.offset = offset_of(sql, next.span.start);
        return Err(error);
    }
    let mut walk = Walk::new(sql);
    walk.in_expression = true;
    match ast.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(walk.found.parameters),
    }
}

fn empty() -> SqlError {
    let help = Some("write a query, for example `select * from orders`".to_owned());
    SqlError { help, ..SqlError::new(SqlErrorKind::Syntax, "the SQL is empty") }
}

fn tokens_of(sql: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    let syntax_error = |message| SqlError::new(SqlErrorKind::Syntax, message);
    if sql.len() > SQL_BYTES_MAX {
        let kib = SQL_BYTES_MAX >> 10;
        return Err(syntax_error(format!("the SQL has more than {kib} KiB")));
    }
    if sql.trim().is_empty() {
        return Err(empty());
    }
    let tokens = Tokenizer::new(&Bounded::new(0), sql)
        .tokenize_with_location()
        .map_err(|error| syntax(sql, &error.into()))?;
    if tokens.iter().filter(|token| counts(&token.token)).count() > WORDS_MAX {
        let mut error =
            syntax_error(format!("the SQL has more than {WORDS_MAX} words and operators"));
        error.help = Some("put long lists into a table and join it".to_owned());
        return Err(error);
    }
    Ok(tokens)
}

/// Whether a token can add a level to the tree.
fn counts(token: &Token) -> bool {
    !matches!(
        token,
        Token::Whitespace(_)
            | Token::Comma
            | Token::Number(_, _)
            | Token::SingleQuotedString(_)
            | Token::LParen
            | Token::RParen
            | Token::EOF
    )
}

/// The parser's words, with the place it appends turned into an offset.
fn syntax(sql: &str, failure: &ParserError) -> SqlError {
    let text = match failure {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply",
    };
    let (text, location) = match text.rsplit_once(" at Line: ") {
        Some((text, place)) => (text, read_location(place)),
        None => (text, None),
    };
    let text = match text.strip_prefix("Expected: ").and_then(|t| t.split_once(", found: ")) {
        Some((expected, found)) => {
            let sign = !expected.is_empty() && expected.chars().all(|c| c.is_ascii_punctuation());
            let expected = if sign { format!("`{expected}`") } else { expected.to_owned() };
            let found = match found.trim() {
                "EOF" => "the end".to_owned(),
                found => quoted(found),
            };
            format!("expected {expected}, found {found}")
        }
        None => text.trim_end().to_owned(),
    };
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    let mut message = format!("the SQL does not parse: {first}{}", letters.as_str());
    if message.ends_with('.') {
        message.pop();
    }
    let mut error = SqlError::new(SqlErrorKind::Syntax, message);
    error.offset = location.and_then(|location| offset_of(sql, location));
    if matches!(failure, ParserError::RecursionLimitExceeded) {
        error.help = Some("give a part of it a transform of its own, and read that".to_owned());
    }
    // What looks like a comment is read as SQL, quotes in it included: the cause, not the place.
    let read = error.offset.and_then(|offset| sql.get(..offset)).unwrap_or(sql);
    if let Some(at) =
        read.find("# ").filter(|at| !read[..*at].ends_with(|c: char| !c.is_whitespace()))
    {
        error.offset = Some(at);
        error.help = Some("comments in SQL start with `--`, not with `#`".to_owned());
    }
    error
}

/// Reads `L, Column: C`.
fn read_location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

/// The byte of a line and column, both from 1; `None` for places that are none.
fn offset_of(sql: &str, location: Location) -> Option<usize> {
    let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
    let start: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let text = sql.get(start..)?;
    let column = text.char_indices().nth(column).map_or(text.len(), |(at, _)| at);
    Some(start + column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let found = match query(sql) {
            Ok(query) => {
                for table in &query.tables {
                    let written = &sql[table.offset..table.offset + table.length];
                    assert_eq!(written.replace('"', ""), table.name.replace('"', ""), "{sql}");
                }
                for parameter in &query.parameters {
                    let written = &sql[parameter.offset..parameter.offset + parameter.length];
                    assert_eq!(written.trim_start_matches('$'), parameter.name, "{sql}");
                }
                let tables: Vec<&str> = query.tables.iter().map(|t| t.name.as_str()).collect();
                let names: Vec<String> =
                    query.parameters.iter().map(|p| format!("${}", p.name)).collect();
                format!("{} | {}", tables.join(" "), names.join(" "))
            }
            Err(error) => format!("{}@{:?}", error.message, error.offset),
        };
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn tables_and_parameters() {
        check("select * from orders where region = $region", "orders | $region");
        check("select 1", " | ");
        check("select * from a join b using (x), c as d", "a b c | ");
        check(
            "select * from orders.rejects r join \"orders\" o on r.x = o.x",
            "orders.rejects orders | ",
        );
        check("select (select max(x) from b) from a where x in (select x from c)", "b a c | ");
        check("select x from a union all select x from b", "a b | ");
        check("select * from (select * from a) t", "a | ");
        check("select * from \"orders.rejects\"", "\"orders.rejects\" | ");
        check("select * from Orders limit $n", "Orders | $n");
        check("select * from generate_series(1, $n) s, a", "a | $n");
        check("select é.x from é where y = $größe", "é | $größe");
        check(
            "select case when x > $a then $b else 'a $c' end /* $d */ from t -- $e\n",
            "t | $a $b",
        );
    }

    #[test]
    fn what_with_declares_is_no_table() {
        check("with t as (select * from a) select * from t join b using (x)", "a b | ");
        check("with a as (select * from a) select * from a", "a | ");
        check("with a as (select * from b), b as (select * from a) select * from b", "b | ");
        check(
            "with recursive t as (select 1 as n union all select n + 1 from t) select * from t, u",
            "u | ",
        );
        check("select * from (with t as (select 1) select * from t) s, t", "t | ");
    }

    #[test]
    fn what_is_no_query() {
        check("", "the SQL is empty@None");
        check("select 1; select 2", "the SQL holds 2 statements@None");
        check("drop table orders", "`DROP` is no query@None");
        check("insert into a select 1", "`INSERT` is no query@None");
        check("select * into b from a", "`select … into` makes a table@None");
        check("select 1 union table a", "`table NAME` is not read@None");
        check(
            "select * from a where",
            "the SQL does not parse: expected an expression, found the end@None",
        );
        check(
            "select *\nfrom a wher x = 1 1",
            "the SQL does not parse: expected end of statement, found `x`@Some(21)",
        );
        check("select * from read_csv('a')", "`read_csv` is no table of the DAG@None");
        check("select * from 'a.csv'", "`'a.csv'` is no table of the DAG@None");
        check(
            "select * from a tablesample (10)",
            "`tablesample` gives other rows in each run@None",
        );
        check(
            "select 1 # it's\n from a",
            "the SQL does not parse: unterminated string literal@Some(9)",
        );
        check("select 'a", "the SQL does not parse: unterminated string literal@Some(7)");
    }

    #[test]
    fn deep_and_long_texts_do_not_overflow() {
        let long = format!("select {}1", "1+".repeat(21_000));
        assert!(query(&long).is_err_and(|e| e.message.contains("operators")), "words");
        let deep = format!("select {}1", "1+".repeat(19_000));
        assert!(query(&deep).is_err_and(|e| e.message.contains("deeply")), "levels");
        let allowed = format!("select {}1", "1+".repeat(200));
        assert!(query(&allowed).is_ok());
        for deep in ["(", "case when ", "not ", "- ", "(select "] {
            let text = format!("select {}1", deep.repeat(1_000));
            assert!(query(&text).is_err(), "{deep}");
        }
        let list = format!("select * from a where x in (1{})", ",1".repeat(20_000));
        assert!(query(&list).is_ok());
        let dots = format!("select a{} from t", ".a".repeat(20_000));
        let _ = query(&dots);
        let calls = format!("select a{} from t", "[1]".repeat(20_000));
        let _ = query(&calls);
        let casts = format!("select a{} from t", "::int".repeat(10_000));
        let _ = query(&casts);
        let joins = format!("select * from a{}", " cross join a".repeat(4_000));
        let _ = query(&joins);
    }

    #[test]
    fn expressions() {
        let names = |sql: &str| {
            expression(sql)
                .map(|all| all.into_iter().map(|p| p.name).collect::<Vec<_>>())
                .map_err(|e| e.message)
        };
        assert_eq!(names("amount >= $least and x is null"), Ok(vec!["least".to_owned()]));
        assert_eq!(names("a b"), Err("the expression ends before `b`".to_owned()));
        assert_eq!(
            names("x in (select 1)"),
            Err("an expression over a row cannot hold a query".to_owned())
        );
        assert_eq!(names("a >").map_err(|e| e.contains("does not parse")), Err(true));
    }
}
