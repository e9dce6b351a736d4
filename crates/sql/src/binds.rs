//! Values for the `$names` of a query, as typed literals of its syntax tree.
//!
//! A value never becomes text of the SQL: it replaces the node of its name, so nothing in it can
//! be read as SQL.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, TimezoneInfo, TypedString, UnaryOperator, Value as Literal,
    ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use serde_json::Value;
use tidemill_connector::ConnectorError;
use tidemill_model::near::nearest;
use tidemill_model::words::listed;

/// The key of a bind `{"$timestamp": µs}`: an instant in UTC, in microseconds since 1970.
pub const TIMESTAMP_KEY: &str = "$timestamp";
/// The key of a bind `{"$date": "2026-03-01"}`.
pub const DATE_KEY: &str = "$date";

/// The values that a query may use, by name (without the `$`).
pub(crate) type Binds = BTreeMap<String, Value>;

/// The literal for a placeholder, as written (`$name`).
pub(crate) fn literal(placeholder: &str, binds: &Binds) -> Result<Expr, ConnectorError> {
    let Some(name) = placeholder.strip_prefix('$') else {
        return Err(ConnectorError::misconfigured(format!(
            "`{placeholder}` is no parameter of this SQL"
        ))
        .help("write `$name`"));
    };
    let Some(value) = binds.get(name) else { return Err(unknown(name, binds)) };
    expr_of(value).ok_or_else(|| {
        ConnectorError::misconfigured(format!("`${name}` is `{value}`, which SQL cannot take"))
            .help("bind a text, a number, a boolean, a date or an instant")
    })
}

fn unknown(name: &str, binds: &Binds) -> ConnectorError {
    let error = ConnectorError::misconfigured(format!("there is no value for `${name}`"));
    let names = binds.keys().map(String::as_str);
    match nearest(name, names.clone()) {
        Some(near) => error.help(format!("did you mean `${near}`?")),
        None if binds.is_empty() => error.help("give it in `bind:` or as a param"),
        None => error.help(format!("this SQL may use: {}", listed(names))),
    }
}

fn expr_of(value: &Value) -> Option<Expr> {
    Some(match value {
        Value::Null => plain(Literal::Null),
        Value::Bool(b) => plain(Literal::Boolean(*b)),
        Value::String(text) => plain(Literal::SingleQuotedString(text.clone())),
        Value::Number(number) => numeral(&number.to_string()),
        Value::Object(object) if object.len() == 1 => match object.iter().next()? {
            (key, Value::Number(micros)) if key == TIMESTAMP_KEY && micros.is_i64() => Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(numeral(&micros.to_string())),
                data_type: DataType::Timestamp(Some(6), TimezoneInfo::None),
                array: false,
                format: None,
            },
            (key, Value::String(text)) if key == DATE_KEY && is_date(text) => {
                Expr::TypedString(TypedString {
                    data_type: DataType::Date,
                    value: spanless(Literal::SingleQuotedString(text.clone())),
                    uses_odbc_syntax: false,
                })
            }
            _ => return None,
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// A number. A float keeps its point or exponent, so that it stays a float.
fn numeral(text: &str) -> Expr {
    match text.strip_prefix('-') {
        Some(positive) => Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(plain(Literal::Number(positive.to_owned(), false))),
        },
        None => plain(Literal::Number(text.to_owned(), false)),
    }
}

/// Whether a text has the form of a day. Whether the day exists is for the engine to say.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        })
}

fn plain(value: Literal) -> Expr {
    Expr::Value(spanless(value))
}

fn spanless(value: Literal) -> ValueWithSpan {
    ValueWithSpan { value, span: Span::empty() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, expected: &str) {
        let binds = Binds::from([("x".to_owned(), value)]);
        let text = match literal("$x", &binds) {
            Ok(expr) => expr.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn values_become_literals() {
        check(json!(null), "NULL");
        check(json!(true), "true");
        check(json!("it's"), "'it''s'");
        check(json!("'; drop table x --"), "'''; drop table x --'");
        check(json!(7), "7");
        check(json!(-7), "-7");
        check(json!(2.0), "2.0");
        check(json!(-1e300), "-1e+300");
        check(json!({"$timestamp": -5}), "CAST(-5 AS TIMESTAMP(6))");
        check(json!({"$date": "2026-03-01"}), "DATE '2026-03-01'");
    }

    #[test]
    fn other_values_are_refused() {
        const HELP: &str = "; bind a text, a number, a boolean, a date or an instant";
        check(json!([1]), &format!("`$x` is `[1]`, which SQL cannot take{HELP}"));
        check(
            json!({"$date": "1 March"}),
            &format!("`$x` is `{{\"$date\":\"1 March\"}}`, which SQL cannot take{HELP}"),
        );
        check(
            json!({"$timestamp": 1.5}),
            &format!("`$x` is `{{\"$timestamp\":1.5}}`, which SQL cannot take{HELP}"),
        );
    }

    #[test]
    fn a_name_without_value_is_an_error() {
        let binds = Binds::from([("region".to_owned(), json!("eu"))]);
        let error =
            |name: &str, binds: &Binds| literal(name, binds).expect_err("no value").to_string();
        assert_eq!(
            error("$regoin", &binds),
            "there is no value for `$regoin`; did you mean `$region`?"
        );
        assert_eq!(error("$day", &binds), "there is no value for `$day`; this SQL may use: region");
        assert_eq!(
            error("$day", &Binds::new()),
            "there is no value for `$day`; give it in `bind:` or as a param"
        );
        assert_eq!(error("?", &binds), "`?` is no parameter of this SQL; write `$name`");
    }
}
