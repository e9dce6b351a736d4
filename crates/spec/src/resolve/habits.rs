//! Forms in which other tools write a value: `{{ params.day }}`, `${params.day}`, `$params.day`. Here
//! they are text like any other, which is warned of where the name is one of the file.

use std::sync::LazyLock;

use regex::Regex;
use tidemill_model::decide::RUN_FIELDS;
use tidemill_model::expr::Type;
use tidemill_model::template::RawPiece;

use super::Resolver;
use super::exprs::Spot;
use super::uses::Uses;
use crate::codes;
use crate::report::quoted;
use crate::yaml::node::Node;

/// The forms that are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forms {
    /// All of them.
    All,
    /// Those with two braces: what follows a single `$` is the shell's.
    Braces,
}

/// What such a form begins with, and the name in it.
static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = r"(?:params|vars|run|tasks|secrets)(?:\.[A-Za-z_][A-Za-z0-9_]*)+";
    let item = r"item(?:\.[A-Za-z_][A-Za-z0-9_]*)*";
    Regex::new(&format!(r"(\{{\{{-?|\$\{{|\$)[ \t]*({names}|{item})\b")).ok()
});

/// A name in such a form, and where the form is in its text.
struct Form<'t> {
    name: &'t str,
    start: usize,
    end: usize,
    has_braces: bool,
}

fn forms_in(plain: &str, items_have_fields: bool) -> impl Iterator<Item = Form<'_>> {
    let all = FORM.as_ref().into_iter().flat_map(|form| form.captures_iter(plain));
    all.filter_map(move |found| {
        let (open, found) = (found.get(1)?, found.get(2)?);
        let close = match open.as_str() {
            "$" => "",
            "${" => "}",
            _ => "}}",
        };
        // What follows `$item` is more text: `$item.csv`.
        let is_item = close.is_empty() && found.as_str().starts_with("item.");
        let name = if is_item && !items_have_fields { "item" } else { found.as_str() };
        let after = found.start() + name.len();
        let end = after + plain[after..].find(close)? + close.len();
        Some(Form { name, start: open.start(), end, has_braces: close == "}}" })
    })
}

impl Resolver<'_, '_, '_, '_> {
    /// Warns of such forms in the plain pieces of a text.
    pub(crate) fn habits(
        &mut self,
        node: &Node,
        pieces: &[RawPiece<'_>],
        (spot, forms): (Spot, Forms),
        uses: &Uses,
    ) {
        let mut at = 0;
        for piece in pieces {
            let plain = match piece {
                RawPiece::Plain(plain) => *plain,
                RawPiece::Expr(source, start) => {
                    at = start + source.len() + "}}".len();
                    continue;
                }
            };
            for form in forms_in(plain, matches!(self.item, Some(Type::Map(_)))) {
                let is_looked_for = forms == Forms::All || form.has_braces;
                if !is_looked_for || !self.is_meant(form.name, spot, uses) {
                    continue;
                }
                let whole = &plain[form.start..form.end];
                let place = node.part(&self.report.source, at + form.start, whole.len());
                let message = format!("{} is taken as it is written", quoted(whole));
                let value = format!("`${{{{ {} }}}}`", form.name);
                let help = if form.name.starts_with("secrets.") && !spot.secrets {
                    format!("for its value, write {value} into `env`, and use that variable")
                } else {
                    format!("for its value, write {value}")
                };
                self.report.warning(&codes::OTHER_FORM, place, message).help(help);
            }
            at += plain.len();
        }
    }

    /// Whether a name could be read at this place.
    fn is_meant(&self, name: &str, spot: Spot, uses: &Uses) -> bool {
        let mut parts = name.split('.');
        let root = parts.next().unwrap_or_default();
        let field = parts.next().unwrap_or_default();
        if spot.only.is_some_and(|roots| !roots.contains(&root)) {
            return false;
        }
        match root {
            "params" => self.spec.param_names.contains(field),
            "vars" => self.vars.contains_key(field),
            "run" => RUN_FIELDS.contains(&field),
            // Nothing that is there before all tasks reads one.
            "tasks" => uses.at != usize::MAX && self.names.task(field).is_some(),
            "item" => self.item.is_some(),
            _ => true,
        }
    }
}
