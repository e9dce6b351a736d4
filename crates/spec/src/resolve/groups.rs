//! Groups and mapping: what they are made of, and who waits for whom because of them.

use indexmap::IndexMap;
use serde_json::Value;
use tidemill_model::TaskIx;
use tidemill_model::dag::{Action, Group, Mapping, Tolerance};
use tidemill_model::expr::{Expr, Type};

use super::Resolver;
use super::exprs::Spot;
use super::uses::Uses;
use crate::codes;
use crate::report::{listed, quoted};
use crate::spec::{ActionSpec, DagSpec, TaskSpec, TolerateSpec};
use crate::yaml::node::{Data, Node};

impl<'n> Resolver<'_, 'n, '_, '_> {
    /// What a task is mapped over. From now on the type of its items is known.
    pub(crate) fn mapping(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) -> Option<Mapping> {
        let (node, _) = task.mapping.for_each?;
        self.item = None;
        let list = self.list(node, uses);
        let of_item = match list.as_ref().map(|list| list.check(&|path| self.type_of(path)).kind) {
            Some(Type::List(item)) => *item,
            _ => Type::Dynamic,
        };
        self.items.insert(uses.at, of_item);
        let tolerate = match &task.mapping.tolerate {
            None => Tolerance::Nothing,
            Some((TolerateSpec::Percent(share), _)) => Tolerance::Percent(*share),
            Some((TolerateSpec::Items(node), _)) => {
                Tolerance::Items(self.bare(node, Spot::count("tolerate"), uses)?)
            }
        };
        let max_parallel = task.mapping.max_parallel.map(|(n, _)| n);
        Some(Mapping { list: list?, max_parallel, tolerate })
    }

    /// A list that is written out, or an expression that gives one.
    fn list(&mut self, node: &Node, uses: &mut Uses) -> Option<Expr> {
        if let Data::List(_) = node.data {
            if node.holds_expr() {
                let message = "`for_each` is a list with expressions in it";
                self.report
                    .error(&codes::WRONG_TYPE, node.place, message)
                    .help("write one expression: `for_each: \"[params.a, 'b']\"`");
                return None;
            }
            // JSON is CEL, as far as values go.
            let written = node.to_json().to_string();
            return match Expr::parse(&written) {
                Ok(list) => Some(list),
                Err(error) => {
                    self.report
                        .error(&codes::EXPR_SYNTAX, node.place, error.message)
                        .help("a long list is better kept in a param or a table");
                    None
                }
            };
        }
        let list = self.bare(node, Spot::of("for_each"), uses)?;
        let kind = list.check(&|path| self.type_of(path)).kind;
        if !kind.fits(&Type::list()) {
            let message =
                format!("`for_each` must give a list, `{}` is {kind}", list.source().trim());
            self.report
                .error(&codes::EXPR_TYPE, node.place, message)
                .help("write a list, for example `[…]`, `range(10)` or `text.split(',')`");
            return None;
        }
        self.default_is_list(&list, node);
        Some(list)
    }

    /// Warns of a list that is a param whose default is none.
    fn default_is_list(&mut self, list: &Expr, node: &Node) {
        let Some(name) = list.source().trim().strip_prefix("params.") else { return };
        let default = self.spec.params.get(name).and_then(|param| param.default.as_ref());
        let what = match default {
            Some(Value::Object(_)) => "a mapping",
            Some(Value::String(_)) => "a text",
            Some(Value::Bool(_)) => "a truth value",
            Some(Value::Number(_)) => "a number",
            _ => return,
        };
        let message =
            format!("`for_each` must give a list, the default of `params.{name}` is {what}");
        self.report
            .warning(&codes::EXPR_TYPE, node.place, message)
            .help(format!("give `{name}` a list: `default: [a, b]`, or no default"));
    }

    /// The type of `item` for a task: that of its own list, or that of its group.
    pub(crate) fn item_of(&self, at: usize) -> Option<Type> {
        let group = self.spec.tasks[at].group.and_then(|group| self.items.get(&group));
        self.items.get(&at).or(group).cloned()
    }

    /// What a group gives. Its members are seen by their short names.
    pub(crate) fn group(&mut self, task: &TaskSpec<'n>, at: usize) -> Action {
        self.names.enter(Some(&task.name));
        let table =
            task.group_outputs.table.and_then(|(name, place)| match self.names.table(name) {
                Some((member, table)) if self.spec.tasks[member].group == Some(at) => {
                    Some((TaskIx(member as u32), table))
                }
                _ => {
                    let prefix = format!("{}.", task.name);
                    let own = self.names.tables().filter(|table| !table.starts_with(&prefix));
                    let own: Vec<&str> = own
                        .filter(|table| {
                            let maker = self.names.table(table).map(|(maker, _)| maker);
                            maker.is_some_and(|maker| self.spec.tasks[maker].group == Some(at))
                        })
                        .collect();
                    let help = match own.as_slice() {
                        [] => "no member makes a table".to_owned(),
                        own => format!("the members make {}", listed(own.iter().copied())),
                    };
                    let message =
                        format!("no member of the group makes the table {}", quoted(name));
                    self.report.error(&codes::UNKNOWN_TABLE, place, message).help(help);
                    None
                }
            });
        let mut outputs = IndexMap::new();
        for entry in &task.group_outputs.values {
            let why = format!("outputs {}", entry.key);
            // A group does not wait for its own members.
            let mut uses = Uses::new(usize::MAX, &task.name);
            let expr = self.bare(&entry.node, Spot::of(&why), &mut uses);
            if let (Ok(name), Some(expr)) = (entry.key.parse(), expr) {
                outputs.insert(name, expr);
            }
        }
        self.names.enter(None);
        Action::Group(Group { table, outputs })
    }

    /// Whether the members of a group may be read from outside of it: each is one task, not one for
    /// each item.
    pub(crate) fn is_seen_outside(&self, member: usize, reader: usize) -> bool {
        let group = self.spec.tasks[member].group;
        let reader = self.spec.tasks.get(reader);
        match group {
            Some(group) if reader.is_none_or(|reader| reader.group != Some(group)) => {
                self.spec.tasks[group].mapping.for_each.is_none()
            }
            _ => true,
        }
    }
}

/// A member waits for other members alone: what it needs from outside, its group waits for; and
/// whoever outside needs a member waits for the member's group. What is in `finally` waits for all
/// others.
pub(crate) fn hoist(spec: &DagSpec<'_>, all: &mut [Uses]) {
    let group_of = |at: usize| spec.tasks.get(at).and_then(|task| task.group);
    for at in 0..all.len() {
        let own = group_of(at);
        for edge in all[at].take_edges(|upstream| group_of(upstream) != own) {
            let upstream = group_of(edge.upstream).unwrap_or(edge.upstream);
            let waits = own.unwrap_or(at);
            if upstream == waits {
                continue;
            }
            for why in edge.why {
                let why = match own {
                    Some(_) => format!("`{}` {why}", spec.tasks[at].short),
                    None => why,
                };
                all[waits].edge(upstream, &spec.tasks[upstream].name, why, edge.place);
            }
        }
        let is_finally = spec.tasks[at].is_finally;
        if let Some(group) = own.filter(|_| is_finally) {
            let before = (group + 1..at).filter(|other| group_of(*other) == Some(group));
            for other in before {
                let place = spec.tasks[at].place;
                all[at].edge(other, &spec.tasks[other].name, "finally".to_owned(), place);
            }
        }
    }
}

/// Whether the action is that of a group.
pub(crate) fn is_group(task: &TaskSpec<'_>) -> bool {
    matches!(task.action, Some(ActionSpec::Group))
}
