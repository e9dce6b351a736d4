//! The walk over a query: which tables and parameters are in it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, ObjectName, Query as Ast, Select, SetExpr, TableFactor, Value, ValueWithSpan,
    Visitor,
};
use sqlparser::tokenizer::{Location, Span};

use crate::report::quoted;

use super::{DEPTH_MAX, ParameterUse, Query, SqlError, SqlErrorKind, TableUse};

/// What `with` of a query declares, and how much of it is visible where the walk is.
struct Frame {
    names: Vec<String>,
    queries: Vec<*const Ast>,
    recursive: bool,
    visible: usize,
}

/// Collects tables and parameters.
pub(super) struct Walk<'s> {
    sql: &'s str,
    lines: Vec<usize>,
    /// The bytes at which the characters of a line start, for lines that have been looked at.
    characters: HashMap<usize, Vec<u32>>,
    pub(super) found: Query,
    frames: Vec<Frame>,
    functions: Vec<*const ObjectName>,
    /// Whether it is an expression over a row, which holds no query.
    pub(super) in_expression: bool,
    depth: usize,
}

/// Ends a walk.
fn stop<T>(kind: SqlErrorKind, message: &str, help: &str) -> ControlFlow<Box<SqlError>, T> {
    let mut error = SqlError::new(kind, message);
    error.help = Some(help.to_owned());
    ControlFlow::Break(Box::new(error))
}

type Stop = ControlFlow<Box<SqlError>>;

impl<'s> Walk<'s> {
    pub(super) fn new(sql: &'s str) -> Self {
        let lines = std::iter::once(0)
            .chain(sql.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        Self {
            sql,
            lines,
            characters: HashMap::new(),
            found: Query::default(),
            frames: Vec::new(),
            functions: Vec::new(),
            in_expression: false,
            depth: 0,
        }
    }

    fn offset(&mut self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let start = *self.lines.get(line)?;
        let end = self.lines.get(line + 1).copied().unwrap_or(self.sql.len());
        let text = self.sql.get(start..end)?;
        let characters = self
            .characters
            .entry(line)
            .or_insert_with(|| text.char_indices().map(|(at, _)| at as u32).collect());
        Some(start + characters.get(column).map_or(text.len(), |at| *at as usize))
    }

    /// Offset and length of what lies between two places.
    fn range(&mut self, first: Span, last: Span) -> (usize, usize) {
        let start = self.offset(first.start).unwrap_or(0);
        let end = self.offset(last.end).unwrap_or(start);
        (start, end.saturating_sub(start))
    }

    fn descend(&mut self, levels: usize) -> Stop {
        self.depth += levels;
        if self.depth > DEPTH_MAX {
            return stop(
                SqlErrorKind::Syntax,
                &format!("the SQL is nested too deeply: it has more than {DEPTH_MAX} levels"),
                "write `x in (…)` instead of many `or`, or name parts with `with`",
            );
        }
        ControlFlow::Continue(())
    }

    fn is_declared(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.names[..frame.visible].iter().any(|n| n == name))
    }
}

impl Visitor for Walk<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &Ast) -> Stop {
        if self.in_expression {
            return stop(
                SqlErrorKind::Subquery,
                "an expression over a row cannot hold a query",
                "join the other table in a `sql` transform first",
            );
        }
        if let Some(frame) = self.frames.last_mut()
            && let Some(at) = frame.queries.iter().position(|q| std::ptr::eq(*q, query))
        {
            frame.visible = if frame.recursive { at + 1 } else { at };
        }
        let mut frame =
            Frame { names: Vec::new(), queries: Vec::new(), recursive: false, visible: 0 };
        if let Some(with) = &query.with {
            frame.recursive = with.recursive;
            for cte in &with.cte_tables {
                frame.names.push(cte.alias.name.value.clone());
                frame.queries.push(&raw const *cte.query);
            }
        }
        self.frames.push(frame);
        let mut body = query.body.as_ref();
        let mut unions = 0;
        while let SetExpr::SetOperation { left, .. } = body {
            body = left.as_ref();
            unions += 1;
        }
        self.descend(unions + 1)?;
        self.depth -= unions;
        refuse_changes(&query.body)
    }

    fn post_visit_query(&mut self, query: &Ast) -> Stop {
        self.depth -= 1;
        self.frames.pop();
        if let Some(frame) = self.frames.last_mut()
            && let Some(at) = frame.queries.iter().position(|q| std::ptr::eq(*q, query))
        {
            frame.visible = at + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Stop {
        if select.into.is_some() {
            return stop(
                SqlErrorKind::NotQuery,
                "`select … into` makes a table",
                "leave out `into`: the rows become the task's table",
            );
        }
        let joined: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        self.descend(joined)?;
        self.depth -= joined;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> Stop {
        self.descend(1)
    }

    fn post_visit_expr(&mut self, _: &Expr) -> Stop {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Stop {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                if !is_table_function(name) {
                    return no_table(name);
                }
                self.functions.push(&raw const *name);
            }
            TableFactor::Table { sample: Some(_), .. }
            | TableFactor::Derived { sample: Some(_), .. } => {
                return stop(
                    SqlErrorKind::NotQuery,
                    "`tablesample` gives other rows in each run",
                    "filter by a hash of a column instead",
                );
            }
            TableFactor::Table { name, .. } if is_quoted_text(name) => return no_table(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> Stop {
        if self.functions.iter().any(|name| std::ptr::eq(*name, relation)) {
            return ControlFlow::Continue(());
        }
        let parts: Vec<&Ident> = relation.0.iter().filter_map(|part| part.as_ident()).collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return ControlFlow::Continue(());
        };
        if let [only] = parts.as_slice()
            && self.is_declared(&only.value)
        {
            return ControlFlow::Continue(());
        }
        // A point inside quotes is part of a name, not between two.
        let part = |ident: &&Ident| {
            if ident.value.contains('.') {
                format!("\"{}\"", ident.value)
            } else {
                ident.value.clone()
            }
        };
        let name = parts.iter().map(part).collect::<Vec<_>>().join(".");
        let (offset, length) = self.range(first.span, last.span);
        self.found.tables.push(TableUse { name, offset, length });
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Stop {
        if let Value::Placeholder(written) = &value.value {
            let name = written.strip_prefix('$');
            let named =
                name.is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'));
            let (offset, length) = self.range(value.span, value.span);
            let name = if named { name.unwrap_or_default() } else { written };
            let length = length.max(written.len());
            let name = name.to_owned();
            self.found.parameters.push(ParameterUse { name, named, offset, length });
        }
        ControlFlow::Continue(())
    }
}

/// Refuses what is written like a query but is none.
fn refuse_changes(body: &SetExpr) -> Stop {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            refuse_changes(left)?;
            refuse_changes(right)
        }
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => stop(
            SqlErrorKind::NotQuery,
            "the SQL changes data",
            "the SQL of a task only reads: write a `select`",
        ),
        SetExpr::Table(_) => {
            stop(SqlErrorKind::NotQuery, "`table NAME` is not read", "write `select * from NAME`")
        }
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
    }
}

/// Whether a table function only computes. Others would read files.
fn is_table_function(name: &ObjectName) -> bool {
    const KNOWN: [&str; 2] = ["generate_series", "range"];
    let [part] = name.0.as_slice() else { return false };
    let known = |ident: &Ident| KNOWN.iter().any(|known| ident.value.eq_ignore_ascii_case(known));
    part.as_ident().is_some_and(known)
}

/// Whether a table is named by a text, as in `from 'orders.csv'`.
fn is_quoted_text(name: &ObjectName) -> bool {
    name.0.iter().filter_map(|part| part.as_ident()).any(|ident| ident.quote_style == Some('\''))
}

fn no_table(name: &ObjectName) -> Stop {
    stop(
        SqlErrorKind::NotQuery,
        &format!("{} is no table of the DAG", quoted(&name.to_string())),
        "read files and services with an `ingest` task",
    )
}
