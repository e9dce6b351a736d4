//! From the text of a query or an expression to a checked syntax tree with values for its
//! `$names`.
//!
//! Everything that SQL can say and a query of a DAG must not, is refused here: statements that
//! change or configure something, several statements, functions that read files.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, Ident, ObjectName, Query, Select, SetExpr, Statement,
    TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use serde_json::Value;
use tidemill_connector::ConnectorError;

use crate::binds::literal;
use crate::error::from_parser;

/// Characters of a query.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Words and operators of a query. Numbers, texts and punctuation do not count, so that long
/// lists of values are fine; what counts bounds the depth of the tree.
const WORDS_MAX: usize = 20_000;
/// Levels of a tree: `a or b or c` has two, as do three joined tables.
const DEPTH_MAX: usize = 250;
/// Table functions that only compute.
const TABLE_FUNCTIONS: [&str; 2] = ["generate_series", "range"];
/// Window functions whose counts the engine gives unsigned. They are made signed, as everywhere
/// else in the field: `rank() - 1` of unsigned numbers would be a decimal.
const COUNTING_WINDOWS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// A query, checked, with values for its `$names`.
pub(crate) fn query(
    sql: &str,
    binds: &BTreeMap<String, Value>,
) -> Result<Statement, ConnectorError> {
    let tokens = tokens(sql)?;
    begins_a_query(&tokens)?;
    let mut statements = Parser::new(&GenericDialect {})
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|e| from_parser(&e))?;
    let mut statement = match (statements.pop(), statements.len()) {
        (Some(statement), 0) => statement,
        (None, _) => return Err(empty()),
        (Some(_), more) => {
            return Err(ConnectorError::misconfigured(format!(
                "only one query may stand here, not {}",
                more + 1
            ))
            .help("join them, or give each a task of its own"));
        }
    };
    if !matches!(statement, Statement::Query(_)) {
        return Err(not_a_query(&first_word(&statement.to_string())));
    }
    visit(&mut statement, binds, Place::Query)?;
    Ok(statement)
}

/// An expression over the columns of one table, checked, with values for its `$names`.
pub(crate) fn expression(
    sql: &str,
    binds: &BTreeMap<String, Value>,
) -> Result<Expr, ConnectorError> {
    let tokens = tokens(sql)?;
    if tokens.iter().all(|t| matches!(t.token, Token::Whitespace(_) | Token::EOF)) {
        return Err(empty());
    }
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens);
    let mut expr = parser.parse_expr().map_err(|e| from_parser(&e))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(ConnectorError::misconfigured(format!(
            "the SQL does not parse: expected the end of the expression, found `{next}`"
        ))
        .at_line(next.span.start.line, next.span.start.column));
    }
    visit(&mut expr, binds, Place::Row)?;
    Ok(expr)
}

pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, ConnectorError> {
    if sql.len() > TEXT_BYTES_MAX {
        return Err(ConnectorError::misconfigured(format!(
            "the SQL has {} bytes; at most {TEXT_BYTES_MAX} are allowed",
            sql.len()
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|e| from_parser(&e.into()))?;
    let words = tokens.iter().filter(|t| counts(&t.token)).count();
    if words > WORDS_MAX {
        return Err(ConnectorError::misconfigured(format!(
            "the SQL has {words} words and operators; at most {WORDS_MAX} are allowed"
        ))
        .help("put long lists into a table and join it"));
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

fn begins_a_query(tokens: &[TokenWithSpan]) -> Result<(), ConnectorError> {
    const FIRST: [&str; 5] = ["select", "with", "values", "table", "from"];
    let first = tokens.iter().map(|t| &t.token).find(|t| {
        !matches!(t, Token::Whitespace(_) | Token::LParen | Token::SemiColon | Token::EOF)
    });
    match first {
        None => Err(empty()),
        Some(Token::Word(word)) if FIRST.iter().any(|f| word.value.eq_ignore_ascii_case(f)) => {
            Ok(())
        }
        Some(other) => Err(not_a_query(&other.to_string())),
    }
}

fn empty() -> ConnectorError {
    ConnectorError::misconfigured("there is no SQL here").help("write a query, or an expression")
}

fn not_a_query(word: &str) -> ConnectorError {
    ConnectorError::misconfigured(format!("only a query may stand here, not `{word}`"))
        .help("begin with `select` or `with`; a task's table is written by the task itself")
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// What may stand in the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Queries.
    Query,
    /// Expressions over one row: no queries.
    Row,
}

fn visit(
    tree: &mut impl VisitMut,
    binds: &BTreeMap<String, Value>,
    place: Place,
) -> Result<(), ConnectorError> {
    match tree.visit(&mut Checker { binds, place, depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Checker<'a> {
    binds: &'a BTreeMap<String, Value>,
    place: Place,
    depth: usize,
}

impl Checker<'_> {
    fn descend(&mut self, levels: usize) -> ControlFlow<ConnectorError> {
        self.depth += levels;
        if self.depth > DEPTH_MAX {
            return ControlFlow::Break(
                ConnectorError::misconfigured(format!(
                    "the SQL is nested too deeply: more than {DEPTH_MAX} levels"
                ))
                .help("`x in (…)` instead of many `or`, or name parts with `with`"),
            );
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Checker<'_> {
    type Break = ConnectorError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<ConnectorError> {
        if self.place == Place::Row {
            return ControlFlow::Break(
                ConnectorError::misconfigured("a query cannot stand in an expression over one row")
                    .help("join the tables in an `sql` transform first"),
            );
        }
        self.descend(1)?;
        let mut body = query.body.as_ref();
        // A chain of unions leans to the left; the parser bounds nesting to the right.
        let mut levels = 0;
        while let SetExpr::SetOperation { left, .. } = body {
            body = left.as_ref();
            levels += 1;
        }
        self.descend(levels)?;
        self.depth -= levels;
        match query.body.as_ref() {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                ControlFlow::Break(not_a_query(&first_word(&query.body.to_string())))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<ConnectorError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<ConnectorError> {
        if select.into.is_some() {
            return ControlFlow::Break(not_a_query("select … into"));
        }
        let joined: usize = select.from.iter().map(|f| 1 + f.joins.len()).sum();
        self.descend(joined)?;
        self.depth -= joined;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<ConnectorError> {
        let refused = match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                match name.0.as_mut_slice() {
                    // Functions have small letters; the engine does not fold these ones.
                    [part] => match part.as_ident() {
                        Some(ident) if is_table_function(ident) => {
                            let lower = ident.value.to_lowercase();
                            *name = ObjectName::from(vec![Ident::new(lower)]);
                            None
                        }
                        _ => Some(reads_files(&name.to_string())),
                    },
                    _ => Some(reads_files(&name.to_string())),
                }
            }
            TableFactor::Table { sample: Some(_), .. }
            | TableFactor::Derived { sample: Some(_), .. } => Some(
                ConnectorError::misconfigured("`tablesample` gives other rows in each run")
                    .help("filter by a hash of a column instead"),
            ),
            TableFactor::Table { name, .. } if is_quoted_text(name) => {
                Some(reads_files(&name.to_string()))
            }
            _ => None,
        };
        refused.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<ConnectorError> {
        if let Expr::Value(value) = expr
            && let datafusion::sql::sqlparser::ast::Value::Placeholder(name) = &value.value
        {
            match literal(name, self.binds) {
                Ok(replaced) => *expr = replaced,
                Err(error) => {
                    let start = value.span.start;
                    let error = match start.line {
                        0 => error,
                        line => error.at_line(line, start.column),
                    };
                    return ControlFlow::Break(error);
                }
            }
        }
        self.descend(1)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<ConnectorError> {
        self.depth -= 1;
        if matches!(expr, Expr::Function(f) if f.over.is_some() && is_counting_window(f)) {
            let inner = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(inner),
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

fn is_table_function(ident: &Ident) -> bool {
    TABLE_FUNCTIONS.iter().any(|f| ident.value.eq_ignore_ascii_case(f))
}

fn is_counting_window(function: &Function) -> bool {
    match function.name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| {
            COUNTING_WINDOWS.iter().any(|f| ident.value.eq_ignore_ascii_case(f))
        }),
        _ => false,
    }
}

/// Whether a table is named by a text, as in `from 'orders.csv'`.
fn is_quoted_text(name: &ObjectName) -> bool {
    name.0.iter().any(|p| p.as_ident().is_some_and(|i| i.quote_style == Some('\'')))
}

fn reads_files(name: &str) -> ConnectorError {
    ConnectorError::misconfigured(format!("`{name}` cannot be read: SQL reads tables of the DAG"))
        .help("read files and services with an `ingest` task")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(sql: &str, expected: &str) {
        let binds = BTreeMap::from([("n".to_owned(), json!(3)), ("who".to_owned(), json!("o'b"))]);
        let text = match query(sql, &binds) {
            Ok(statement) => statement.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{sql}");
    }

    #[test]
    fn names_are_replaced_wherever_a_value_may_stand() {
        check(
            "select $n, '$n' from t where who = $who limit $n",
            "SELECT 3, '$n' FROM t WHERE who = 'o''b' LIMIT 3",
        );
        check(
            "select $whom from t",
            "there is no value for `$whom` (line 1, column 8); did you mean `$who`?",
        );
    }

    #[test]
    fn ranks_are_signed() {
        check(
            "select RANK() over (order by a) - 1 from t",
            "SELECT CAST(RANK() OVER (ORDER BY a) AS BIGINT) - 1 FROM t",
        );
    }

    #[test]
    fn only_one_query_may_stand() {
        const HELP: &str =
            "; begin with `select` or `with`; a task's table is written by the task itself";
        for (sql, word) in [
            ("insert into t values (1)", "insert"),
            ("delete from t", "delete"),
            ("update t set a = 1", "update"),
            ("create table t as select 1", "create"),
            ("drop table t", "drop"),
            ("copy t to 'x.csv'", "copy"),
            ("explain select 1", "explain"),
            ("set a = 1", "set"),
            ("show tables", "show"),
            ("begin", "begin"),
            ("with x as (select 1) insert into t select * from x", "INSERT"),
            ("select 1 into t2", "select … into"),
        ] {
            check(sql, &format!("only a query may stand here, not `{word}`{HELP}"));
        }
        check(
            "select 1; select 2",
            "only one query may stand here, not 2; join them, or give each a task of its own",
        );
        check("select 1;", "SELECT 1");
        check(" ; ", "there is no SQL here; write a query, or an expression");
        check("-- nothing", "there is no SQL here; write a query, or an expression");
    }

    #[test]
    fn files_are_out_of_reach() {
        const HELP: &str = " cannot be read: SQL reads tables of the DAG; \
                            read files and services with an `ingest` task";
        check("select * from 'a.csv'", &format!("`'a.csv'`{HELP}"));
        check("select * from read_csv('a.csv')", &format!("`read_csv`{HELP}"));
        check("select * from lateral flatten(x)", &format!("`flatten`{HELP}"));
        check("select * from Range(1, 3)", "SELECT * FROM range(1, 3)");
        check(
            "select * from t tablesample (10)",
            "`tablesample` gives other rows in each run; filter by a hash of a column instead",
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        check(
            "select a\nfrom t wher b",
            "the SQL does not parse: expected end of statement, found `b` (line 2, column 13)",
        );
        check("select (1", "the SQL does not parse: expected ), but the SQL ends");
        check(
            "select 'open",
            "the SQL does not parse: unterminated string literal (line 1, column 8)",
        );
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("select {}1", "1 + ".repeat(300));
        check(
            &deep,
            "the SQL is nested too deeply: more than 250 levels; \
             `x in (…)` instead of many `or`, or name parts with `with`",
        );
        let unions = vec!["select 1"; 300].join(" union all ");
        assert!(query(&unions, &BTreeMap::new()).is_err());
        let joins = format!("select 1 from a{}", " cross join a".repeat(300));
        assert!(query(&joins, &BTreeMap::new()).is_err());
        let parens = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        check(&parens, "the SQL is nested too deeply; name its parts with `with`");
        let wide = format!("select 1 where 1 in ({}1)", "1, ".repeat(50_000));
        assert!(query(&wide, &BTreeMap::new()).is_ok());
        let long = format!("select {}1", "1+".repeat(30_000));
        check(
            &long,
            "the SQL has 30001 words and operators; at most 20000 are allowed; \
             put long lists into a table and join it",
        );
    }

    #[test]
    fn an_expression_ends_where_it_ends() {
        let check = |sql: &str, expected: &str| {
            let text = match expression(sql, &BTreeMap::new()) {
                Ok(expr) => expr.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected);
        };
        check("upper(btrim(x))", "upper(btrim(x))");
        check(
            "a > 1 from t",
            "the SQL does not parse: expected the end of the expression, found `from` \
             (line 1, column 7)",
        );
        check(
            "a in (select b from t)",
            "a query cannot stand in an expression over one row; \
             join the tables in an `sql` transform first",
        );
        check("", "there is no SQL here; write a query, or an expression");
    }
}
