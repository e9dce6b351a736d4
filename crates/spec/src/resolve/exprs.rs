//! Control expressions: parsed, and every name in them looked up.

mod say;
mod spot;
mod tasks;

use tidemill_model::decide::{RUN_FIELDS, TRIGGER_FIELDS};
use tidemill_model::expr::{About, Checked, Expr, ExprError, Path, Type};
use tidemill_model::template::{RawPiece, Template, split};

use super::Resolver;
use super::habits::Forms;
use super::uses::Uses;
use crate::codes;
use crate::report::{Place, listed, quoted};
use crate::yaml::node::{Data, Node};
use say::{find_name, readable};
pub(crate) use spot::Spot;

/// The roots of names.
const ROOTS: &[&str] = &["params", "vars", "run", "trigger", "tasks", "item", "secrets"];
/// Roots of the language that this version has no value for.
pub(crate) const LATER_ROOTS: &[&str] = &["last_success", "error"];
/// The names below `run.interval.`.
const INTERVAL_FIELDS: &[&str] = &["start", "end"];

/// What a whole value meant in YAML 1.1, if it was a word for true or false.
fn former_boolean(word: &str) -> Option<bool> {
    match word.trim().to_lowercase().as_str() {
        "yes" | "on" | "y" | "true" => Some(true),
        "no" | "off" | "n" | "false" => Some(false),
        _ => None,
    }
}

impl Resolver<'_, '_, '_, '_> {
    /// An expression that is a value of its own, as in `when`.
    pub(crate) fn bare(&mut self, node: &Node, spot: Spot, uses: &mut Uses) -> Option<Expr> {
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            Data::Number(_) | Data::Bool(_) => node.to_json().to_string(),
            _ => {
                let message = format!("`{}` must be an expression, not {}", spot.why, node.kind());
                self.report.error(&codes::WRONG_TYPE, node.place, message).help(
                    "write a value, a name or a comparison: `params.day`, `tasks.NAME.rows > 0`",
                );
                return None;
            }
        };
        if text.contains("${{") {
            let message = format!("`{}` is an expression as it stands", spot.why);
            self.report
                .error(&codes::EXPR_SYNTAX, node.place, message)
                .help("leave out `${{` and `}}`");
            return None;
        }
        self.expr(&text, node, 0, spot, uses)
    }

    /// An expression inside of a text, `base` bytes from its start.
    pub(crate) fn expr(
        &mut self,
        source: &str,
        node: &Node,
        base: usize,
        spot: Spot,
        uses: &mut Uses,
    ) -> Option<Expr> {
        let trimmed = source.trim();
        let base = base + (source.len() - source.trim_start().len());
        let expr = match Expr::parse(source) {
            Ok(expr) => expr,
            Err(error) => {
                let lead = source.len() - source.trim_start().len();
                let place = match error.offset {
                    Some(offset) => {
                        let at = offset.saturating_sub(lead).min(trimmed.len().saturating_sub(1));
                        node.part(&self.report.source, base + at, 1)
                    }
                    None => node.part(&self.report.source, base, trimmed.len()),
                };
                self.report
                    .error(&codes::EXPR_SYNTAX, place, readable(&error.message))
                    .maybe_help(error.help);
                return None;
            }
        };
        let mut good = true;
        for path in expr.references() {
            let (offset, length) = find_name(trimmed, &path.join("."));
            let place = node.part(&self.report.source, base + offset, length);
            good &= self.reference(&path, trimmed, place, spot, uses);
        }
        good &= self.types_fit(&expr, node, base, spot);
        self.never_equal(&expr, node, base);
        good.then_some(expr)
    }

    /// Reports every call and operator that cannot work; false when there is one.
    fn types_fit(&mut self, expr: &Expr, node: &Node, base: usize, spot: Spot) -> bool {
        let Checked { kind, mut errors, .. } = expr.check(&|path| self.type_of(path));
        let source = expr.source();
        let lead = source.len() - source.trim_start().len();
        if spot.truth && errors.is_empty() && !kind.fits(&Type::Bool) {
            let written = source.trim();
            errors.push(ExprError {
                about: About::Type,
                message: format!("`{}` must be true or false, `{written}` is {kind}", spot.why),
                offset: Some(lead),
                length: Some(written.len()),
                help: kind.truth_help(written),
            });
        }
        if spot.count && errors.is_empty() && !kind.fits(&Type::Int) {
            let written = source.trim();
            errors.push(ExprError {
                about: About::Type,
                message: format!("`{}` must be a whole number, `{written}` is {kind}", spot.why),
                offset: Some(lead),
                length: Some(written.len()),
                help: Some("write for example `2`, or a share such as `5%`".to_owned()),
            });
        }
        for error in &errors {
            let code = match error.about {
                About::Function => &codes::EXPR_FUNCTION,
                _ => &codes::EXPR_TYPE,
            };
            let (offset, length) = match error.offset.zip(error.length) {
                Some((offset, length)) => (offset.saturating_sub(lead), length),
                None => (0, source.trim().len()),
            };
            let place = node.part(&self.report.source, base + offset, length);
            self.report.error(code, place, error.message.clone()).maybe_help(error.help.clone());
        }
        errors.is_empty()
    }

    /// Looks a name up; false when it does not exist.
    fn reference(
        &mut self,
        path: &Path,
        source: &str,
        place: Place,
        spot: Spot,
        uses: &mut Uses,
    ) -> bool {
        let root = path.first().map_or("", String::as_str);
        let name = path.get(1).map(String::as_str);
        if !self.is_in_scope(path, place, spot) {
            return false;
        }
        match (root, name) {
            ("error", _) if self.knows_error => true,
            ("trigger", Some(name)) if !TRIGGER_FIELDS.contains(&name) => {
                self.unknown_field("trigger", name, TRIGGER_FIELDS, place)
            }
            ("params", Some(name)) => self.param_name(name, place),
            ("vars", Some(name)) => self.var_name(name, place),
            ("run", Some(name)) => self.run_name(name, path, place),
            ("tasks", Some(_)) => self.task_name(path, place, spot, uses),
            ("item", _) if self.item.is_some() => true,
            ("item", _) => {
                let message = format!("there is no `item` in {}", spot.place());
                self.report.error(&codes::EXPR_NAME, place, message).help(
                    "only a task with `for_each`, and the members of such a group, have items",
                );
                false
            }
            ("connections", name) => {
                let connection = name.unwrap_or("NAME");
                let message = format!("there is no {}", quoted(&path.join(".")));
                self.report.error(&codes::EXPR_NAME, place, message).help(format!(
                    "expressions do not read connections: a setting names one, `connection: \
                     {connection}`; other values are a param, or `secrets.NAME`"
                ));
                false
            }
            ("secrets", _) if !spot.secrets => {
                let message = format!("{} cannot be used here", quoted(&path.join(".")));
                self.report
                    .error(&codes::SECRET_HERE, place, message)
                    .help("it may stand in `env`, in `bind` and in the settings of a connector");
                false
            }
            ("secrets", Some(_)) => true,
            ("tasks", None) => {
                self.report
                    .error(&codes::EXPR_NAME, place, "`tasks` alone says not which task is meant")
                    .help("write `tasks.NAME.rows`, so that the dependency can be seen");
                false
            }
            ("params" | "run" | "vars", None) | ("trigger", _) => true,
            ("secrets", None) => {
                self.report
                    .error(&codes::EXPR_NAME, place, "`secrets` alone says not which one is meant")
                    .help("write `secrets.NAME`");
                false
            }
            (root, _) if LATER_ROOTS.contains(&root) => {
                let message = format!("this version has no value for `{root}` yet");
                self.report.later(&codes::LATER_NAME, place, message);
                true
            }
            (root, _) => self.unknown_root(root, path, source, place, spot),
        }
    }

    /// Whether a place sees the names that start with this root; unknown ones are told elsewhere.
    fn is_in_scope(&mut self, path: &Path, place: Place, spot: Spot) -> bool {
        let root = path.first().map_or("", String::as_str);
        let Some(roots) = spot.only.filter(|roots| !roots.contains(&root)) else { return true };
        if !ROOTS.contains(&root) && !LATER_ROOTS.contains(&root) {
            return true;
        }
        let message = format!("{} cannot be read in {}", quoted(&path.join(".")), spot.place());
        let help = format!("it reads {}", listed(roots.iter().copied()));
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    fn unknown_root(
        &mut self,
        root: &str,
        path: &Path,
        source: &str,
        place: Place,
        spot: Spot,
    ) -> bool {
        let roots = spot.only.unwrap_or(ROOTS);
        let near = self.report.nearest(root, roots.iter().copied()).map(|near| {
            let meant = [&[near.to_owned()], &path[1..]].concat().join(".");
            format!("did you mean `{meant}`?")
        });
        let help = if self.names.task(root).is_some() {
            let field = path.get(1).map_or("rows", String::as_str);
            format!("a task is `tasks.{root}.{field}`")
        } else if self.spec.param_names.contains(root) {
            format!("a param is `params.{root}`")
        } else if let Some(truth) = former_boolean(source) {
            format!("`{root}` is a word like any other: write `{truth}`")
        } else if let Some(near) = near {
            near
        } else if spot.why.starts_with("bind") && path.len() == 1 && source == root {
            format!("a text in an expression has quotes: `\"'{root}'\"`")
        } else {
            format!("names start with one of {}", listed(roots.iter().copied()))
        };
        let message = format!("there is no {}", quoted(&path.join(".")));
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    fn param_name(&mut self, name: &str, place: Place) -> bool {
        let names = &self.spec.param_names;
        if names.contains(name) {
            return true;
        }
        let near = self.report.did_you_mean(name, names.iter().copied());
        let all = || match names.len() {
            0 => "the DAG has no params".to_owned(),
            _ => format!("the DAG has {}", listed(names.iter().copied())),
        };
        let message = format!("there is no param {}", quoted(name));
        self.report.error(&codes::EXPR_NAME, place, message).maybe_help(near).or_help(all);
        false
    }

    fn var_name(&mut self, name: &str, place: Place) -> bool {
        if self.vars.contains_key(name) {
            return true;
        }
        let all = || self.spec.vars.iter().map(|entry| entry.key.as_str());
        let help = if all().any(|known| known == name) {
            "a var sees those above it: move it up".to_owned()
        } else {
            self.report.did_you_mean(name, all()).unwrap_or_else(|| match self.spec.vars {
                [] => "the DAG has no vars".to_owned(),
                _ => format!("the DAG has {}", listed(all())),
            })
        };
        let message = format!("there is no var {}", quoted(name));
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    fn run_name(&mut self, name: &str, path: &Path, place: Place) -> bool {
        if !RUN_FIELDS.contains(&name) {
            return self.unknown_field("run", name, RUN_FIELDS, place);
        }
        match path.get(2).map(String::as_str) {
            Some(field) if name == "interval" && !INTERVAL_FIELDS.contains(&field) => {
                self.unknown_field("run.interval", field, INTERVAL_FIELDS, place)
            }
            // What is below a single value is for the types to tell.
            _ => true,
        }
    }

    fn unknown_field(&mut self, owner: &str, name: &str, fields: &[&str], place: Place) -> bool {
        let near = self.report.did_you_mean(name, fields.iter().copied());
        let help = near.unwrap_or_else(|| format!("it has {}", listed(fields.iter().copied())));
        let message = format!("`{owner}` has no {}", quoted(name));
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    /// Checks that a connection exists, where that is known.
    pub(crate) fn connection(&mut self, name: &str, place: Place) -> bool {
        let Some(known) = &self.catalog.connections else { return true };
        if known.iter().any(|connection| connection == name) {
            return true;
        }
        let names = || known.iter().map(String::as_str);
        let near = self.report.did_you_mean(name, names());
        let help = near.unwrap_or_else(|| match known.as_slice() {
            [] => "there are none: add it to `connections.yaml`".to_owned(),
            _ => format!("there are {}", listed(names())),
        });
        let message = format!("there is no connection {}", quoted(name));
        self.report.error(&codes::UNKNOWN_CONNECTION, place, message).help(help);
        false
    }

    /// The expressions of a text; false when one is wrong.
    pub(crate) fn text(&mut self, node: &Node, spot: Spot, uses: &mut Uses) -> bool {
        self.text_with(node, spot, Forms::All, uses)
    }

    /// As [`Resolver::text`], where only these forms of other tools are worth a warning.
    pub(crate) fn text_with(
        &mut self,
        node: &Node,
        spot: Spot,
        forms: Forms,
        uses: &mut Uses,
    ) -> bool {
        let Some(text) = node.text().filter(|text| text.contains(['$', '{'])) else { return true };
        let pieces = match split(text) {
            Ok(pieces) => pieces,
            Err(error) => {
                let place = node.part(&self.report.source, error.offset.unwrap_or(0), 3);
                self.report.error(&codes::EXPR_SYNTAX, place, error.message).maybe_help(error.help);
                return false;
            }
        };
        self.habits(node, &pieces, (spot, forms), uses);
        let mut good = true;
        for piece in pieces {
            if let RawPiece::Expr(source, offset) = piece {
                good &= self.expr(source, node, offset, spot, uses).is_some();
            }
        }
        good
    }

    /// A value with expressions anywhere inside; nodes in `skip` hold none.
    pub(crate) fn template(
        &mut self,
        node: &Node,
        skip: &[&Node],
        spot: Spot,
        uses: &mut Uses,
    ) -> Option<Template> {
        let good = self.texts_inside(node, skip, spot, uses);
        // Everything inside parsed, so the whole does.
        good.then(|| Template::parse(&node.to_json()).ok())?
    }

    fn texts_inside(&mut self, node: &Node, skip: &[&Node], spot: Spot, uses: &mut Uses) -> bool {
        match &node.data {
            Data::Text(_) if skip.iter().any(|skipped| std::ptr::eq(*skipped, node)) => {
                !node.holds_expr()
            }
            Data::Text(_) => self.text(node, spot, uses),
            // Every text is read, also after a wrong one.
            Data::List(items) => {
                let mut good = true;
                for item in items {
                    good &= self.texts_inside(item, skip, spot, uses);
                }
                good
            }
            Data::Map(entries) => {
                let mut good = true;
                for entry in entries {
                    good &= self.texts_inside(&entry.node, skip, spot, uses);
                }
                good
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => true,
        }
    }
}
