//! Actions that wait: `wait`, `approve`, `call`.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidemill_model::dag::{Action, Approve, Call, Wait};
use tidemill_model::decide::waiting::CALL_DEPTH_MAX;
use tidemill_model::expr::Type;
use tidemill_model::template::Template;
use tidemill_model::time::parse_duration;
use tidemill_model::{Dag, DagId};

use super::Resolver;
use super::calls::Endless;
use super::exprs::Spot;
use super::uses::Uses;
use crate::Neighbour;
use crate::codes;
use crate::keys;
use crate::read::{given, value};
use crate::report::{Place, listed, quoted};
use crate::spec::TaskSpec;
use crate::yaml::node::{Data, Entry, Node};

const WAIT: Spot<'static> = Spot::of("expression in `wait`");
const QUESTION: Spot<'static> = Spot::of("expression in `approve`");
const CALL: Spot<'static> = Spot::of("expression in `call`");

impl<'n> Resolver<'_, 'n, '_, '_> {
    /// `wait: 10m`, `wait: {for: …}`, `wait: {until: …}`.
    pub(crate) fn wait(&mut self, entry: &'n Entry, uses: &mut Uses) -> Option<Action> {
        let (key, node) = match &entry.node.data {
            Data::Text(_) => ("for", &entry.node),
            Data::Map(entries) => {
                keys::check(entries, &[keys::WAIT], "`wait`", self.report);
                match entries.as_slice() {
                    [one] if one.key == "for" || one.key == "until" => {
                        (one.key.as_str(), &one.node)
                    }
                    // It was reported as unknown.
                    [_] => return None,
                    _ => {
                        self.report
                            .error(&codes::WRONG_TYPE, entry.place, "`wait` takes one of its keys")
                            .help("write `wait: 10m`, or `wait: {until: INSTANT}`");
                        return None;
                    }
                }
            }
            _ => {
                let wanted = ["a span of time", "a mapping"];
                value::wrong_type("`wait`", &wanted, &entry.node, entry.place, self.report)
                    .help("write `wait: 10m`, or `wait: {until: INSTANT}`");
                return None;
            }
        };
        let Some(text) = node.text() else {
            value::wrong_type(&format!("`{key}`"), &["a string"], node, entry.place, self.report)
                .help("write for example `wait: {for: 10m}`");
            return None;
        };
        if !node.holds_expr() {
            let is_good = match key {
                "for" => parse_duration(text).is_ok(),
                _ => text.parse::<tidemill_model::Timestamp>().is_ok(),
            };
            if !is_good && key == "for" {
                value::bad_duration("`wait`", text, node.place, self.report);
            } else if !is_good {
                let message = format!("{} is no instant", quoted(text));
                self.report
                    .error(&codes::INSTANT, node.place, message)
                    .help("write for example `2026-01-31T02:00:00Z`, or an expression");
            }
        }
        let template = self.text_of(node, WAIT, uses)?;
        Some(Action::Wait(if key == "for" { Wait::For(template) } else { Wait::Until(template) }))
    }

    /// `approve: QUESTION`, `approve: {message: …, params: …}`.
    pub(crate) fn approve(
        &mut self,
        task: &TaskSpec<'n>,
        entry: &'n Entry,
        uses: &mut Uses,
    ) -> Option<Action> {
        let message = match &entry.node.data {
            Data::Text(_) => Some(&entry.node),
            Data::Null => None,
            Data::Map(entries) => {
                keys::check(entries, &[keys::APPROVE], "`approve`", self.report);
                match entry.node.entry("message") {
                    None => None,
                    Some(message) if message.node.text().is_some() => Some(&message.node),
                    Some(other) => {
                        value::text("`message`", other, self.report);
                        None
                    }
                }
            }
            _ => {
                let wanted = ["a question", "a mapping"];
                value::wrong_type("`approve`", &wanted, &entry.node, entry.place, self.report)
                    .help("write for example `approve: Send the mails?`");
                return None;
            }
        };
        if let Some(node) = message.filter(|node| node.text().is_some_and(|t| t.trim().is_empty()))
        {
            self.report
                .error(&codes::NOT_ALLOWED, node.place, "the question is empty")
                .help("write what is asked, or leave it out: `approve:`");
        }
        let message = match message {
            Some(node) => Some(self.text_of(node, QUESTION, uses)?),
            None => None,
        };
        Some(Action::Approve(Approve { message, params: task.asked.clone() }))
    }

    /// `call: DAG`, `call: {dag: …, params: …, table: …}`.
    pub(crate) fn call(&mut self, entry: &'n Entry, uses: &mut Uses) -> Option<Action> {
        let (name, place) = match &entry.node.data {
            Data::Text(name) => (name.as_str(), entry.node.place),
            Data::Map(entries) => {
                keys::check(entries, &[keys::CALL], "`call`", self.report);
                let Some(dag) = entry.node.entry("dag") else {
                    self.report
                        .error(&codes::MISSING_KEY, entry.place, "`call` names no DAG")
                        .help("write `call: DAG`, or `call: {dag: DAG, params: {…}}`");
                    return None;
                };
                (value::text("`dag`", dag, self.report)?, dag.node.place)
            }
            _ => {
                let wanted = ["the name of a DAG", "a mapping"];
                value::wrong_type("`call`", &wanted, &entry.node, entry.place, self.report)
                    .help("write `call: DAG`, or `call: {dag: DAG, params: {…}}`");
                return None;
            }
        };
        let dag: DagId = value::name(name, place, self.report)?;
        let is_self = self.is_own_name(&dag, "cannot call itself", place);
        let callee = if is_self { None } else { self.callee(&dag, place) };
        if callee.is_some() {
            self.calls_end(&dag, place);
        }
        let params = match entry.node.entry("params") {
            None => Template::Literal(Value::Object(Map::new())),
            Some(params) => {
                let entries = value::entries("`params`", params, self.report);
                if let Some(callee) = &callee {
                    let owner = format!("DAG `{}`", callee.id);
                    for entry in entries {
                        given::check(&owner, &callee.params, entry, self.report);
                    }
                }
                self.template(&params.node, &[], CALL, uses)?
            }
        };
        let table = entry.node.entry("table");
        let table = table.and_then(|table| self.called_table(table, callee.as_deref()));
        if let Some(callee) = &callee {
            self.owed(callee, entry, place);
        }
        Some(Action::Call(Call { dag, params, table }))
    }

    /// The called DAG, where it is known. One that is not there may still come from elsewhere.
    pub(crate) fn callee(&mut self, dag: &DagId, place: Place) -> Option<Arc<Dag>> {
        match self.calls.neighbour(dag) {
            Neighbour::Unknown => None,
            Neighbour::Known(callee) => Some(Arc::clone(callee)),
            Neighbour::Broken => {
                self.report
                    .warning(
                        &codes::UNKNOWN_DAG,
                        place,
                        format!("the file of `{dag}` is not valid"),
                    )
                    .help("`tidemill validate` on that file says why");
                None
            }
            Neighbour::Missing(names) => {
                let near = self.report.did_you_mean(dag.as_str(), names.iter().map(String::as_str));
                let message = format!("there is no DAG `{dag}` beside this file");
                self.report
                    .warning(&codes::UNKNOWN_DAG, place, message)
                    .maybe_help(near)
                    .or_help(|| "a server finds it wherever in its folder it is".to_owned());
                None
            }
        }
    }

    /// Reports a call whose run would call the DAG again, or that leads to too many calls.
    fn calls_end(&mut self, callee: &DagId, place: Place) {
        let Some(endless) = self.calls.endless(self.spec.name.as_ref(), callee) else { return };
        let shown = |dags: &[DagId]| {
            let first = dags.iter().take(CALL_DEPTH_MAX as usize + 2).map(DagId::as_str);
            first.collect::<Vec<_>>().join(" → ")
        };
        let (message, help) = match &endless {
            Endless::Circle(dags, task) => {
                let [.., last, again] = dags.as_slice() else { return };
                (
                    format!("DAG `{again}` would call itself: `{}`", shown(dags)),
                    format!(
                        "task `{task}` of `{last}` calls `{again}`: take out one of these calls; \
                         for a list, use `for_each`"
                    ),
                )
            }
            Endless::Deep(dags) => (
                format!("calls go more than {CALL_DEPTH_MAX} deep: `{}`", shown(dags)),
                "call some of these DAGs one after the other, or join two of them".to_owned(),
            ),
        };
        self.report.error(&codes::STARTS_ITSELF, place, message).help(help);
    }

    /// Reports params that a called DAG must be given.
    fn owed(&mut self, callee: &Dag, entry: &Entry, place: Place) {
        let params = entry.node.entry("params").map(|params| &params.node);
        let owed = given::owed(&callee.params, params);
        if let Some(first) = owed.first() {
            let message =
                format!("DAG `{}` must be given {}", callee.id, listed(owed.iter().copied()));
            self.report
                .error(&codes::PARAM, place, message)
                .help(format!("write `params: {{{first}: …}}`"));
        }
    }

    /// A text that may hold expressions.
    fn text_of(&mut self, node: &Node, spot: Spot, uses: &mut Uses) -> Option<Template> {
        let text = node.text()?;
        self.text(node, spot, uses).then(|| Template::parse_text(text).ok())?
    }

    /// The type of a value that a waiting task gives.
    pub(super) fn type_of_answer(task: &TaskSpec<'_>, name: &str) -> Type {
        match name {
            "by" => Type::Text,
            name => task.asked.get(name).map_or(Type::Dynamic, |param| param.kind.type_in_expr()),
        }
    }
}
