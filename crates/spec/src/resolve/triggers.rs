//! `triggers`: what goes together, once each has the shape that its keys give it.

use serde_json::{Value, json};
use tidemill_model::RunState;
use tidemill_model::dag::{Consume, Listen, TriggerDef};
use tidemill_model::template::Template;

use super::Resolver;
use super::exprs::Spot;
use super::later::{AFTER, Forms};
use super::timers::is;
use super::uses::Uses;
use crate::codes;
use crate::keys::runs::{TRIGGER, TRIGGER_KINDS};
use crate::read::{given, value};
use crate::report::{listed, quoted};
use crate::yaml::node::{Data, Entry, Node};

/// The names that a trigger may read: what came, and the params of the run that it starts.
const OF_TRIGGER: &[&str] = &["trigger", "params"];

/// Kinds whose instants are known ahead, so that one can be missed.
const TIMED: [&str; 3] = ["cron", "every", "at"];

/// Kinds by what other DAGs do.
const BY_OTHERS: [&str; 2] = ["dataset", "dag"];

impl Resolver<'_, '_, '_, '_> {
    /// What the keys of each trigger mean together.
    pub(crate) fn triggers<'f>(&mut self, list: &'f Entry, forms: &mut Forms<'f>) {
        let Data::List(items) = &list.node.data else { return };
        for item in items {
            if let Some(entries) = item.entries() {
                self.trigger(item, entries, forms);
            }
        }
    }

    fn trigger<'f>(&mut self, item: &'f Node, entries: &'f [Entry], forms: &mut Forms<'f>) {
        let Some(kind) = self.kind(item, entries) else { return };
        self.modifiers_of_kind(kind, entries);
        if let Some(line) = kind.node.text().filter(|_| kind.key == "cron") {
            forms.push((&kind.node, json!(value::spaced_once(line))));
        }
        if TRIGGER.iter().any(|key| key.name == kind.key && key.later) {
            let message = format!("this version starts no runs by `{}` yet", kind.key);
            self.report.later(&codes::LATER_KEY, kind.place, message);
        }
        let timer = self.timer(kind, item);
        let listen = Self::listen(kind);
        let mut when = None;
        let mut params = Template::Literal(Value::Null);
        if let Some(dataset) = Some(kind).filter(|kind| kind.key == "dataset") {
            self.ways(dataset);
        }
        for entry in entries {
            match entry.key.as_str() {
                "when" if matches!(entry.node.data, Data::Text(_) | Data::Bool(_)) => {
                    let mut uses = Uses::new(AFTER, "triggers");
                    let spot = Spot::truth("when").only(OF_TRIGGER);
                    when = self.bare(&entry.node, spot, &mut uses);
                    let form = when.as_ref().map(|expr| json!(expr.source().trim()));
                    forms.extend(form.map(|form| (&entry.node, form)));
                }
                "blackout" => self.blackout(&entry.node),
                "params" => params = self.trigger_params(entry).unwrap_or(params),
                _ => {}
            }
        }
        self.owed_by_trigger(item, entries);
        let plain = timer.map(TriggerDef::by_clock).or_else(|| listen.map(TriggerDef::by_others));
        if let Some(plain) = plain.filter(|_| !is(item, "enabled", false)) {
            let alike = self.triggers.iter().filter(|other| {
                let rest = other.key.strip_prefix(&plain.key);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" #"))
            });
            let key = match alike.count() {
                0 => plain.key.clone(),
                before => format!("{} #{}", plain.key, before + 1),
            };
            self.triggers.push(TriggerDef { key, when, params, ..plain });
        }
    }

    /// The one kind of a trigger.
    fn kind<'f>(&mut self, item: &Node, entries: &'f [Entry]) -> Option<&'f Entry> {
        let kinds = || TRIGGER[..TRIGGER_KINDS].iter().map(|key| key.name);
        let mut found = entries.iter().filter(|entry| kinds().any(|kind| kind == entry.key));
        let Some(kind) = found.next() else {
            // What is misspelt was told already.
            if entries.iter().all(|entry| TRIGGER.iter().any(|key| key.name == entry.key)) {
                self.report
                    .error(&codes::TRIGGER, item.place, "the trigger has no kind")
                    .help(format!("give it one of {}", listed(kinds())));
            }
            return None;
        };
        if let Some(second) = found.next() {
            let message =
                format!("a trigger has one kind, this one has `{}` and `{}`", kind.key, second.key);
            self.report
                .error(&codes::TRIGGER, second.place, message)
                .help("make it a trigger of its own: another entry of the list");
        }
        Some(kind)
    }

    /// Modifiers that go only with some kinds.
    fn modifiers_of_kind(&mut self, kind: &Entry, entries: &[Entry]) {
        let catches_up = entries.iter().any(|entry| {
            entry.key == "catchup" && entry.node.text().is_none_or(|policy| policy != "none")
        });
        for entry in entries {
            let (message, help) = match entry.key.as_str() {
                "seconds" | "dst_fold" if kind.key != "cron" => (
                    format!("`{}` has no meaning beside `{}`", entry.key, kind.key),
                    "it goes with `cron` alone",
                ),
                "timezone" | "calendar" | "jitter" | "blackout"
                    if BY_OTHERS.contains(&kind.key.as_str()) =>
                {
                    (
                        format!("`{}` has no meaning beside `{}`", entry.key, kind.key),
                        "it goes with `cron`, `every` and `at`: what comes from other DAGs is taken when it comes",
                    )
                }
                "catchup" | "catchup_window" if !TIMED.contains(&kind.key.as_str()) => (
                    format!("`{}` has no meaning beside `{}`", entry.key, kind.key),
                    "nothing that comes from outside is lost: there is nothing to make up for",
                ),
                "catchup_window" if !catches_up => (
                    "`catchup_window` has no meaning without `catchup`".to_owned(),
                    "add `catchup: latest` or `catchup: all`",
                ),
                _ => continue,
            };
            self.report.error(&codes::TRIGGER, entry.place, message).help(help);
        }
    }

    /// What a trigger waits for that other DAGs do, if it waits for that and nothing is wrong with it.
    fn listen(kind: &Entry) -> Option<Listen> {
        match kind.key.as_str() {
            "dataset" => datasets_of(&kind.node),
            "dag" => {
                let text = |key: &str| kind.node.entry(key).and_then(|entry| entry.node.text());
                let states = kind.node.entry("states").map(|entry| texts(&entry.node));
                let states = states.unwrap_or_else(|| vec![RunState::Succeeded.label().to_owned()]);
                let ends = RunState::ALL.into_iter();
                let states = ends.filter(|state| states.iter().any(|word| word == state.label()));
                Some(Listen::Dag { name: text("name")?.parse().ok()?, states: states.collect() })
            }
            _ => None,
        }
    }

    /// `dataset: {any: …}` or `{all: …}`.
    fn ways(&mut self, entry: &Entry) {
        let Some(entries) = entry.node.entries() else { return };
        let mut ways = entries.iter().filter(|entry| ["any", "all"].contains(&entry.key.as_str()));
        match (ways.next(), ways.next()) {
            (None, _) => {
                self.report
                    .error(&codes::TRIGGER, entry.place, "`dataset` names no table")
                    .help("write `dataset: crm.customers`, or `{any: […]}`, or `{all: […]}`");
            }
            (Some(_), Some(second)) => {
                self.report
                    .error(&codes::TRIGGER, second.place, "`dataset` has both `any` and `all`")
                    .help("make it a trigger of its own: another entry of the list");
            }
            _ => {}
        }
    }

    fn blackout(&mut self, node: &Node) {
        let Data::List(windows) = &node.data else { return };
        for window in windows {
            let clock = |key: &str| window.entry(key).and_then(|entry| entry.node.text());
            if let (Some(from), Some(to)) = (clock("from"), clock("to"))
                && from == to
            {
                let message = format!("the time from {} to {} is none", quoted(from), quoted(to));
                self.report
                    .error(&codes::NOT_ALLOWED, window.place, message)
                    .help("for a whole day write `from: \"00:00\"` and `to: \"23:59\"`");
            }
        }
    }

    /// The params that a trigger gives to its runs.
    fn trigger_params(&mut self, params: &Entry) -> Option<Template> {
        let spec = self.spec;
        for entry in params.node.entries().unwrap_or_default() {
            let is_unread = spec.params.get(entry.key.as_str()).is_none()
                && spec.param_names.contains(&entry.key.as_str());
            if !is_unread {
                given::check("the DAG", &spec.params, entry, self.report);
            }
        }
        let mut uses = Uses::new(AFTER, "triggers");
        let spot = Spot::of("params").only(OF_TRIGGER);
        self.template(&params.node, &[], spot, &mut uses)
    }

    /// Params that every run needs, and that this trigger does not give.
    fn owed_by_trigger(&mut self, item: &Node, entries: &[Entry]) {
        let params = entries.iter().find(|entry| entry.key == "params").map(|entry| &entry.node);
        let owed = given::owed(&self.spec.params, params);
        if let Some(first) = owed.first() {
            let message = format!("runs of this trigger need {}", listed(owed.iter().copied()));
            self.report.error(&codes::PARAM, item.place, message).help(format!(
                "add `params: {{{first}: …}}` to the trigger, or give the param a default"
            ));
        }
    }
}

/// The tables that a trigger waits for.
fn datasets_of(node: &Node) -> Option<Listen> {
    if let Some(name) = node.text() {
        let names = vec![name.to_owned()];
        return Some(Listen::Datasets { names, all: false, consume: Consume::Each });
    }
    let names = |key: &str| node.entry(key).map(|entry| texts(&entry.node));
    let all = names("all");
    let is_all = all.is_some();
    let mut names = all.or_else(|| names("any"))?;
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let consume = match node.entry("consume").and_then(|entry| entry.node.text()) {
        Some("batch") => Consume::Batch,
        Some("latest") => Consume::Latest,
        _ => Consume::Each,
    };
    (!names.is_empty()).then_some(Listen::Datasets { names, all: is_all, consume })
}

fn texts(node: &Node) -> Vec<String> {
    let Data::List(items) = &node.data else { return Vec::new() };
    items.iter().filter_map(|item| item.text()).map(str::to_owned).collect()
}
