//! What is known of the values that expressions read, before there are any.

use tidemill_model::dag::ParamKind;
use tidemill_model::decide::RUN_FIELDS;
use tidemill_model::expr::{Comparison, Expr, Type};
use tidemill_model::outputs::Output;
use tidemill_model::{TaskState, Trigger};

use super::Resolver;
use crate::codes;
use crate::report::{listed, quoted};
use crate::yaml::node::Node;

impl Resolver<'_, '_, '_, '_> {
    /// The type of the value at a path.
    pub(super) fn type_of(&self, path: &[String]) -> Type {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["params" | "vars" | "run" | "tasks" | "secrets"] | ["run", "interval"] => Type::map(),
            ["item", fields @ ..] => below(self.item.clone().unwrap_or(Type::Dynamic), fields),
            ["params", name] => {
                self.spec.params.get(*name).map_or(Type::Dynamic, |param| param.kind.type_in_expr())
            }
            ["vars", name] => self.vars.get(*name).cloned().unwrap_or(Type::Dynamic),
            ["vars", name, fields @ ..] => {
                below(self.vars.get(*name).cloned().unwrap_or(Type::Dynamic), fields)
            }
            ["run", "number"] => Type::Int,
            ["trigger"] => Type::map(),
            ["run", field] if RUN_FIELDS.contains(field) => Type::Text,
            ["run", "interval", _] | ["secrets", _] => Type::Text,
            ["tasks", group, member, fields @ ..] if self.is_member(group, member) => {
                self.type_of_task(&format!("{group}.{member}"), fields)
            }
            ["tasks", task, fields @ ..] => self.type_of_task(task, fields),
            _ => Type::Dynamic,
        }
    }

    fn type_of_task(&self, name: &str, fields: &[&str]) -> Type {
        let task = self.names.task(name).and_then(|at| self.spec.tasks.get(at));
        match fields {
            [] | ["outputs"] => Type::map(),
            ["rows" | "rejected" | "duplicates" | "attempts" | "items" | "failed"] => Type::Int,
            ["state"] => Type::Text,
            ["outputs", name] => {
                let kind = match task.and_then(|task| task.outputs.get(*name)) {
                    Some(Output::Value(kind)) => kind.type_in_expr(),
                    _ => task.map_or(Type::Dynamic, |task| Self::type_of_answer(task, name)),
                };
                let is_mapped = task.is_some_and(|task| task.mapping.for_each.is_some());
                if is_mapped { Type::List(Box::new(kind)) } else { kind }
            }
            _ => Type::Dynamic,
        }
    }

    /// Warns about texts that a place is compared with and never has.
    pub(super) fn never_equal(&mut self, expr: &Expr, node: &Node, base: usize) {
        let lead = expr.source().len() - expr.source().trim_start().len();
        for Comparison { path, text, offset, length } in expr.comparisons() {
            let known = self.values_of(&path);
            if known.is_empty() || known.contains(&text) {
                continue;
            }
            let names = || known.iter().map(String::as_str);
            let near = self.report.did_you_mean(&text, names());
            let message = format!("`{}` is never {}", path.join("."), quoted(&text));
            let place = node.part(&self.report.source, base + offset.saturating_sub(lead), length);
            self.report
                .warning(&codes::NEVER_EQUAL, place, message)
                .help(near.unwrap_or_else(|| format!("it is one of {}", listed(names()))));
        }
    }

    /// The only texts that a place can have; none where that is not known.
    fn values_of(&self, path: &[String]) -> Vec<String> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let states = || TaskState::ALL.map(|state| state.label().to_owned()).to_vec();
        match names.as_slice() {
            ["tasks", task, "state"] if self.names.task(task).is_some() => states(),
            ["tasks", group, member, "state"] if self.is_member(group, member) => states(),
            ["run", "trigger"] | ["trigger", "by"] => Trigger::LABELS.map(str::to_owned).to_vec(),
            ["params", name] => {
                let param = self.spec.params.get(*name).filter(|p| p.kind == ParamKind::String);
                let allowed = param.into_iter().flat_map(|param| &param.allowed);
                allowed.filter_map(|value| value.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The type of a field of a value of this type.
fn below(of: Type, fields: &[&str]) -> Type {
    fields.iter().fold(of, |of, _| match of {
        Type::Map(value) => *value,
        _ => Type::Dynamic,
    })
}
