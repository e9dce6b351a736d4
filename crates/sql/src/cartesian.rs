//! Finds joins without a condition: every row of one side meets every row of the other.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_connector::ConnectorError;

use crate::engine::tables_of;
use crate::parse;

/// What is to be said of a query with such a join, from its text and its optimized plan, in which
/// conditions of `where` have become those of joins. One that is written `cross join` is meant.
pub(crate) fn note(sql: &str, plan: &LogicalPlan) -> Result<Option<ConnectorError>> {
    if is_meant(sql) {
        return Ok(None);
    }
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node
            && is_cartesian(join)
        {
            found = sides(join)?;
        }
        Ok(match found {
            None => TreeNodeRecursion::Continue,
            Some(_) => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(found.map(|(left, right)| {
        let both = format!("every row of `{left}` meets every row of `{right}`");
        let note = ConnectorError::misconfigured(both)
            .help("join them `on` a condition, or write `cross join` if that is meant");
        match second(sql, &left, &right) {
            Some((line, column)) => note.at_line(line, column),
            None => note,
        }
    }))
}

fn is_cartesian(join: &Join) -> bool {
    let joins = matches!(
        join.join_type,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
    );
    let is_one_row = |plan: &LogicalPlan| plan.max_rows().is_some_and(|rows| rows <= 1);
    joins
        && join.on.is_empty()
        && join.filter.is_none()
        && !is_one_row(&join.left)
        && !is_one_row(&join.right)
}

/// A table of each side; nothing when one has none, as `values` and `range()`: how many rows they
/// give stands in the query.
fn sides(join: &Join) -> Result<Option<(String, String)>> {
    let first = |plan: &LogicalPlan| -> Result<_> { Ok(tables_of(plan)?.into_iter().next()) };
    Ok(first(&join.left)?.zip(first(&join.right)?))
}

/// Where the second table of a join is named, behind the first one.
fn second(sql: &str, left: &str, right: &str) -> Option<(u64, u64)> {
    let tokens = parse::tokens(sql).ok()?;
    let mut words = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some((word.value.as_str(), token.span.start)),
        _ => None,
    });
    words.find(|(word, _)| word.eq_ignore_ascii_case("from"))?;
    words.find(|(word, _)| *word == left)?;
    words.find(|(word, _)| *word == right).map(|(_, start)| (start.line, start.column))
}

fn is_meant(sql: &str) -> bool {
    let Ok(tokens) = parse::tokens(sql) else { return false };
    let words: Vec<String> = (tokens.iter())
        .filter_map(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            _ => None,
        })
        .collect();
    words.windows(2).any(|pair| pair[0] == "cross" && pair[1] == "join")
}
