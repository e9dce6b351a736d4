//! `vars`: values that expressions share.

use indexmap::IndexMap;
use serde_json::Value;
use tidemill_model::VarName;
use tidemill_model::expr::{Checked, Type};
use tidemill_model::template::Template;

use super::Resolver;
use super::exprs::Spot;
use super::uses::Uses;
use crate::codes;
use crate::read::value;

impl Resolver<'_, '_, '_, '_> {
    /// Resolves `vars`, each of which sees those above it.
    pub(crate) fn vars(&mut self) -> IndexMap<VarName, Template> {
        let mut vars = IndexMap::new();
        for entry in self.spec.vars {
            let name: Option<VarName> = value::name(&entry.key, entry.place, self.report);
            let why = format!("vars {}", entry.key);
            // No task has this place, so none is taken for one that reads itself.
            let mut uses = Uses::new(usize::MAX, "vars");
            let template = self.template(&entry.node, &[], Spot::of(&why), &mut uses);
            if !uses.upstream().is_empty() {
                let message = format!("var `{}` reads a task", entry.key);
                self.report
                    .error(&codes::EXPR_NAME, entry.node.place, message)
                    .help("vars are there before any task has run: read it where it is needed");
            }
            let kind =
                template.as_ref().map_or(Type::Dynamic, |template| self.type_of_var(template));
            self.vars.insert(&entry.key, kind);
            if let (Some(name), Some(template)) = (name, template) {
                vars.insert(name, template);
            }
        }
        vars
    }

    fn type_of_var(&self, template: &Template) -> Type {
        match template {
            Template::Literal(value) => type_of_json(value),
            Template::Whole(expr) => {
                let Checked { kind, .. } = expr.check(&|path| self.type_of(path));
                match kind {
                    // As JSON, which a var is, an instant or a span is a text.
                    Type::Instant | Type::Span => Type::Text,
                    other => other,
                }
            }
            Template::Text(_) => Type::Text,
            Template::List(items) => {
                let items = items.iter().map(|item| self.type_of_var(item));
                Type::List(Box::new(items.fold(Type::Nothing, Type::or)))
            }
            Template::Map(fields) => {
                let values = fields.values().map(|value| self.type_of_var(value));
                Type::Map(Box::new(values.fold(Type::Nothing, Type::or)))
            }
        }
    }
}

fn type_of_json(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(number) if number.is_i64() => Type::Int,
        Value::Number(_) => Type::Double,
        Value::String(_) => Type::Text,
        Value::Array(items) => {
            Type::List(Box::new(items.iter().map(type_of_json).fold(Type::Nothing, Type::or)))
        }
        Value::Object(fields) => {
            Type::Map(Box::new(fields.values().map(type_of_json).fold(Type::Nothing, Type::or)))
        }
    }
}
