//! SQL and message texts: read for what they use.

use std::collections::HashSet;

use super::Resolver;
use super::tables::Own;
use super::uses::Uses;
use super::{LATER_VALUES, RUN_VALUES};
use crate::codes;
use crate::report::quoted;
use crate::sql::{self, ParameterUse, SqlError, SqlErrorKind};
use crate::yaml::node::Node;

impl Resolver<'_, '_, '_, '_> {
    /// A query: its tables become dependencies.
    pub(crate) fn query(&mut self, node: &Node, own: Own, uses: &mut Uses) {
        let Some(text) = self.plain(node, true) else { return };
        match sql::query(text) {
            Ok(query) => {
                let mut seen = HashSet::new();
                // A table that is named again adds nothing, and places cost a look at the text.
                let first = query.tables.iter().filter(|table| seen.insert(table.name.as_str()));
                for table in first {
                    let place = node.part(&self.report.source, table.offset, table.length);
                    self.table(&table.name, place, own, uses);
                }
                self.parameters(&query.parameters, node, uses);
            }
            Err(error) => self.sql_error(error, node),
        }
    }

    /// An expression over the columns of a row.
    pub(crate) fn row_expr(&mut self, node: &Node, uses: &mut Uses) {
        let Some(text) = self.plain(node, true) else { return };
        match sql::expression(text) {
            Ok(parameters) => self.parameters(&parameters, node, uses),
            Err(error) => self.sql_error(error, node),
        }
    }

    /// A Jinja text.
    pub(crate) fn message(&mut self, node: &Node) {
        let Some(text) = self.plain(node, false) else { return };
        let environment = minijinja::Environment::new();
        if let Err(error) = environment.template_from_str(text) {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let place = match (error.range(), error.line()) {
                (Some(range), _) => {
                    node.part(&self.report.source, range.start, range.end - range.start)
                }
                (None, Some(line)) => {
                    let before = text.split_inclusive('\n').take(line.saturating_sub(1));
                    let start: usize = before.map(str::len).sum();
                    node.part(&self.report.source, start, 1)
                }
                (None, None) => node.place,
            };
            let message = format!("the message text does not parse: {detail}");
            self.report.error(&codes::JINJA, place, message);
        }
    }

    /// The text of a node that must not hold `${{ … }}`.
    fn plain<'t>(&mut self, node: &'t Node, is_sql: bool) -> Option<&'t str> {
        let text = node.text()?;
        let Some(at) = text.find("${{") else { return Some(text) };
        let length = text[at..].find("}}").map_or(3, |end| end + 2);
        let place = node.part(&self.report.source, at, length);
        let inner = text[at + 3..].split("}}").next().unwrap_or_default().trim();
        if is_sql {
            let name = inner.rsplit('.').next().unwrap_or_default();
            let is_param = inner.strip_prefix("params.").is_some_and(|p| p == name);
            let help = if is_param && self.spec.param_names.contains(name) {
                format!("write `${name}`")
            } else {
                format!(
                    "write `$name`, and `bind: {{name: {}}}` beside the action",
                    quoted_plain(inner)
                )
            };
            self.report.error(&codes::SQL_EXPR, place, "SQL cannot hold `${{ … }}`").help(help);
        } else {
            self.report
                .error(&codes::JINJA, place, "a message text cannot hold `${{ … }}`")
                .help("write `{{ name }}` for a column; for a dollar sign before it `{{ '$' }}{{ name }}`");
        }
        None
    }

    fn sql_error(&mut self, error: SqlError, node: &Node) {
        let place = error.offset.map_or(node.place, |offset| {
            let text = node.text().unwrap_or_default();
            let rest = text.get(offset..).unwrap_or_default();
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len()).clamp(1, 40);
            // The end of a text is pointed at by its last character.
            let at = offset.min(text.trim_end().len().saturating_sub(1));
            node.part(&self.report.source, at, length)
        });
        let code = match error.kind {
            SqlErrorKind::Syntax => &codes::SQL_SYNTAX,
            SqlErrorKind::NotQuery => &codes::SQL_NOT_QUERY,
            SqlErrorKind::Subquery => &codes::SQL_SUBQUERY,
        };
        self.report.error(code, place, error.message).maybe_help(error.help);
    }

    fn parameters(&mut self, parameters: &[ParameterUse], node: &Node, uses: &Uses) {
        for parameter in parameters {
            let place =
                |this: &Self| node.part(&this.report.source, parameter.offset, parameter.length);
            let name = parameter.name.as_str();
            if !parameter.named {
                let (place, message) =
                    (place(self), format!("the parameter {} has no name", quoted(name)));
                self.report
                    .error(&codes::SQL_PARAMETER, place, message)
                    .help("write `$name`, with a param or a key of `bind` as the name");
                continue;
            }
            let bind = || self.reader(uses).bind.iter().map(|entry| entry.key.as_str());
            let params = || self.spec.param_names.iter().copied();
            let known = || params().chain(bind()).chain(RUN_VALUES.iter().copied());
            if self.spec.param_names.contains(name) || known().any(|known| known == name) {
                continue;
            }
            if LATER_VALUES.contains(&name) {
                let (place, message) =
                    (place(self), format!("this version has no value for `${name}` yet"));
                self.report.later(&codes::LATER_NAME, place, message);
                continue;
            }
            let help = match self.report.nearest(name, known()) {
                Some(near) => format!("did you mean `${near}`?"),
                None => format!("make it a param, or add `bind: {{{name}: …}}`"),
            };
            let (place, message) = (place(self), format!("nothing gives `${name}` a value"));
            self.report.error(&codes::SQL_NAME, place, message).help(help);
        }
    }
}

/// The expression for a help text; a long one is left to the reader.
fn quoted_plain(expression: &str) -> &str {
    if expression.len() <= 40 && !expression.contains('`') { expression } else { "…" }
}
