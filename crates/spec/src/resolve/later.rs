//! Values of keys that no code runs yet: held to their schemas, their names looked up, and kept as
//! what they mean.
//!
//! [`super::triggers`] has what is to say about triggers alone.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tidemill_model::DagId;
use tidemill_model::Timestamp;
use tidemill_model::retry::RetryPolicy;
use tidemill_model::time::written_duration;

use super::Resolver;
use super::exprs::Spot;
use super::uses::Uses;
use crate::codes;
use crate::keys::{self, Key, MODIFIERS, TOP};
use crate::meaning;
use crate::read::{handlers, retry, value};
use crate::report::{Place, listed, quoted};
use crate::schema;
use crate::settings::{self, Kind, Mark, Owner};
use crate::spec::{HandlerAction, HandlerSpec, RetryWhen, TaskSpec};
use crate::yaml::node::{Data, Entry, Node};

/// What references of the keys' schemas lead into.
static ROOT: LazyLock<Value> = LazyLock::new(|| json!({"$defs": schema::definitions()}));

/// Nobody's place among the tasks: of what is done after one, or after all.
pub(crate) const AFTER: usize = usize::MAX - 1;

/// The names that `concurrency.key` may read.
const OF_RUN: &[&str] = &["params", "vars", "run"];

/// The forms of values that can be written in several ways.
pub(crate) type Forms<'n> = Vec<(&'n Node, Value)>;

impl<'c, 'n> Resolver<'c, 'n, '_, '_> {
    /// Those of the DAG, and those of its other keys whose form is kept.
    pub(crate) fn forms_of_dag(&mut self) -> Map<String, Value> {
        let spec = self.spec;
        let mut later = Map::new();
        let mut uses = Uses::new(AFTER, "the DAG");
        for entry in &spec.later {
            let value = match entry.key.as_str() {
                "end" => spec.end.map(|end| json!(end.to_string())),
                "retry" => Some(self.retry_of_runs(entry)),
                key if handlers::KEYS.contains(&key) => Some(entry.node.to_json()),
                _ => Some(self.later(TOP, entry, &mut uses)),
            };
            later.extend(value.map(|value| (entry.key.clone(), value)));
        }
        self.handlers(&spec.handlers, None);
        later
    }

    /// Those of a task, which may be a member of a group.
    pub(crate) fn forms_of_task(
        &mut self,
        task: &'c TaskSpec<'n>,
        group: Option<&str>,
        uses: &mut Uses,
    ) -> Map<String, Value> {
        let mut later = Map::new();
        for entry in task.entries.iter().filter(|entry| keeps_its_form(task, &entry.key)) {
            let value = match entry.key.as_str() {
                key if handlers::KEYS.contains(&key) => entry.node.to_json(),
                _ => self.later(MODIFIERS, entry, uses),
            };
            later.insert(entry.key.clone(), value);
        }
        if let Some(when) = &task.retry_when {
            let text = match when {
                RetryWhen::Here(node) => self.retry_when(node, uses),
                RetryWhen::Folder(text) => json!(text.trim()),
            };
            later.insert("retry.when".to_owned(), text);
        }
        self.handlers(&task.handlers, group);
        later
    }

    /// `retry` of the whole run.
    fn retry_of_runs(&mut self, entry: &'n Entry) -> Value {
        let mut form = meaning::retry(&retry::read(entry, RetryPolicy::default(), self.report));
        if let Some(RetryWhen::Here(node)) = retry::when(entry, self.report) {
            let mut uses = Uses::new(AFTER, "retry");
            let when = self.retry_when(node, &mut uses);
            form = match form {
                Value::Object(_) => form,
                limit => json!({"limit": limit}),
            };
            form["when"] = when;
        }
        form
    }

    /// `retry.when`, which knows what went wrong.
    fn retry_when(&mut self, node: &'n Node, uses: &mut Uses) -> Value {
        let before = std::mem::replace(&mut self.knows_error, true);
        let expr = self.bare(node, Spot::truth("retry.when"), uses);
        self.knows_error = before;
        expr.map_or(Value::Null, |expr| json!(expr.source().trim()))
    }

    /// What is done after a task or a run. Nothing waits for it, so nothing is to be said of the
    /// order.
    fn handlers(&mut self, handlers: &'c [HandlerSpec<'n>], group: Option<&str>) {
        for HandlerSpec { key, what } in handlers {
            self.knows_error = *key != "on_success";
            let mut uses = Uses::new(AFTER, key);
            match what {
                HandlerAction::Notify(when) => {
                    if let Some(when) = when {
                        self.bare(when, Spot::truth("when"), &mut uses);
                    }
                }
                HandlerAction::Task(task) => {
                    self.after = Some(task);
                    self.resolved(task, group, None, &mut uses);
                    self.after = None;
                }
            }
            self.knows_error = false;
        }
    }

    /// Holds a value to the schema of its key, and looks up what it names.
    fn later(&mut self, table: &[Key], entry: &Entry, uses: &mut Uses) -> Value {
        let Some(key) = table.iter().find(|key| key.name == entry.key) else { return Value::Null };
        let schema = (key.schema)();
        let example = schema["examples"].get(0).or(schema.get("default"));
        let example = example.map(written).unwrap_or_default();
        let name = quoted(&entry.key);
        let owner = Owner { name: &name, kind: Kind::Key, entry, example: &example };
        let (marks, _) = settings::shape((&ROOT, &schema), owner, self.report);
        let mut forms = Forms::new();
        for mark in marks {
            let what = owner.named(&mark.setting);
            let form = self.later_text(entry, &mark, &what, uses);
            forms.extend(form.map(|form| (mark.node, form)));
        }
        if entry.key == "triggers" {
            self.triggers(entry, &mut forms);
        }
        match (entry.key.as_str(), canonical(&entry.node, &forms)) {
            ("concurrency", Value::Number(limit)) => json!({"limit": limit}),
            ("worker", Value::String(label)) => json!([label]),
            (_, value) => value,
        }
    }

    /// Reads a text by its format; gives its one form, if it could be written in others.
    fn later_text(
        &mut self,
        entry: &Entry,
        mark: &Mark<'_>,
        what: &str,
        uses: &mut Uses,
    ) -> Option<Value> {
        let Mark { format, node, .. } = mark;
        let (text, place) = (node.text().unwrap_or_default(), node.place);
        match format.as_str() {
            "duration" => {
                let span = value::duration_text(what, text, place, self.report)?;
                return Some(json!(written_duration(span)));
            }
            "instant" => return self.instant(what, text, place),
            "expression" if entry.key == "concurrency" => {
                let spot = Spot::of("concurrency.key").only(OF_RUN);
                let expr = self.bare(node, spot, uses)?;
                return Some(json!(expr.source().trim()));
            }
            "timezone" => {
                value::zone(text, place, self.report);
            }
            "clock" if !is_clock(text) => {
                let message = format!("{what} is {}, which is no time of a day", quoted(text));
                self.report
                    .error(&codes::NOT_ALLOWED, place, message)
                    .help("write hours and minutes in quotes: `\"06:00\"`, up to `\"23:59\"`");
            }
            "calendar" => self.calendar(text, place),
            "connection" => {
                self.connection(text, place);
            }
            "name" => {
                let what = Some("source name");
                value::name_of::<DagId>(what, text, place, self.report);
            }
            "dag" => self.awaited_dag(text, place),
            "dataset" => self.dataset(&entry.key, text, place),
            _ => {}
        }
        None
    }

    /// An instant that needs no zone.
    fn instant(&mut self, what: &str, text: &str, place: Place) -> Option<Value> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(json!(instant.to_string()));
        }
        let message = format!("{what} is {}, which is no instant", quoted(text));
        let local = text.trim().replacen(' ', "T", 1);
        let mut whole = ["Z", ":00Z", "T00:00:00Z"].iter().map(|end| format!("{local}{end}"));
        let help = match whole.find(|whole| whole.parse::<Timestamp>().is_ok()) {
            Some(whole) => {
                format!("add the offset from UTC: `{whole}`, or `+01:00` in place of `Z`")
            }
            None => "write for example `2026-12-31T23:00:00+01:00`".to_owned(),
        };
        self.report.error(&codes::INSTANT, place, message).help(help);
        None
    }

    /// A calendar of `calendars.yaml`, where those are known.
    fn calendar(&mut self, name: &str, place: Place) {
        let Some(known) = &self.catalog.calendars else {
            value::name_of::<DagId>(Some("calendar name"), name, place, self.report);
            return;
        };
        let names = || known.iter().map(|calendar| calendar.name.as_str());
        if names().any(|known| known == name) {
            return;
        }
        let near = self.report.did_you_mean(name, names());
        let help = near.unwrap_or_else(|| match &**known {
            [] => "there are none: add it to `calendars.yaml`".to_owned(),
            _ => format!("there are {}", listed(names())),
        });
        let message = format!("there is no calendar {}", quoted(name));
        self.report.error(&codes::UNKNOWN_CALENDAR, place, message).help(help);
    }

    /// A DAG whose end starts a run.
    fn awaited_dag(&mut self, name: &str, place: Place) {
        let Some(dag) = value::name::<DagId>(name, place, self.report) else { return };
        if !self.is_own_name(&dag, "waits for its own runs", place) {
            self.callee(&dag, place);
        }
    }

    /// Whether a name is that of the DAG itself, which is then told.
    pub(crate) fn is_own_name(&mut self, dag: &DagId, does: &str, place: Place) -> bool {
        if self.spec.name.as_ref() != Some(dag) {
            return false;
        }
        self.report
            .error(&codes::STARTS_ITSELF, place, format!("DAG `{dag}` {does}"))
            .help("name another DAG: each run would start the next one without end");
        true
    }

    /// The name of a dataset: one that a task makes, or one that a trigger waits for.
    fn dataset(&mut self, key: &str, name: &str, place: Place) {
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() > DATASET_PARTS_MAX
            || parts.iter().any(|part| part.parse::<DagId>().is_err())
        {
            let message = format!("{} is not the name of a dataset", quoted(name));
            self.report.error(&codes::BAD_NAME, place, message).help(
                "write `DAG.TABLE`, for example `crm.customers`: small letters, digits, `_` and `-`",
            );
        } else if let (true, [_]) = (key == "triggers", parts.as_slice()) {
            let message = "this version knows datasets as `DAG.TABLE` alone";
            self.report.later(&codes::LATER_KEY, place, message);
        } else if let (true, [dag, _, ..]) = (key == "triggers", parts.as_slice())
            && let Ok(dag) = dag.parse()
        {
            self.is_own_name(&dag, "waits for a table of its own", place);
        }
    }
}

/// The most parts of the name of a dataset: those of a table of a member of a group.
const DATASET_PARTS_MAX: usize = 4;

/// Whether a key of a task is kept in its canonical form: a group's own `finally` is not.
fn keeps_its_form(task: &TaskSpec<'_>, key: &str) -> bool {
    let is_group = task.entries.iter().any(|entry| entry.key == "tasks");
    keys::keeps_its_form(MODIFIERS, key) && !(is_group && key == "finally")
}

/// A value with each text in its one form.
fn canonical(node: &Node, forms: &Forms<'_>) -> Value {
    if let Some((_, form)) = forms.iter().find(|(known, _)| std::ptr::eq(*known, node)) {
        return form.clone();
    }
    match &node.data {
        Data::List(items) => items.iter().map(|item| canonical(item, forms)).collect(),
        Data::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), canonical(&entry.node, forms)))
            .collect::<Map<_, _>>()
            .into(),
        _ => node.to_json(),
    }
}

/// A value as a file has it on one line.
fn written(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{key}: {}", written(value));
            format!("{{{}}}", joined(fields.iter().map(field).collect()))
        }
        Value::Array(items) => format!("[{}]", joined(items.iter().map(written).collect())),
        Value::String(text)
            if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) =>
        {
            text.clone()
        }
        other => other.to_string(),
    }
}

/// `06:00`.
fn is_clock(text: &str) -> bool {
    let is_part = |part: &str, most: u8| {
        part.len() == 2
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|number| number <= most)
    };
    text.split_once(':').is_some_and(|(hour, minute)| is_part(hour, 23) && is_part(minute, 59))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_day() {
        for (text, expected) in
            [("06:00", true), ("23:59", true), ("24:00", false), ("6:00", false), ("0600", false)]
        {
            assert_eq!(is_clock(text), expected, "{text}");
        }
    }
}
