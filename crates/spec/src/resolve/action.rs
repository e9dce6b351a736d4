//! The action of a task, and the settings of its connector or transform.

use serde_json::Value;
use tidemill_model::VarName;
use tidemill_model::dag::{Action, OnFail};
use tidemill_model::template::Template;
use tidemill_model::time::parse_duration;

use super::Resolver;
use super::exprs::Spot;
use super::names::{run_outputs, transform_outputs};
use super::tables::Own;
use super::uses::Uses;
use crate::codes;
use crate::read::value;
use crate::report::{Place, listed, quoted};
use crate::settings::{self, Kind, Mark, Owner, Rules};
use crate::spec::{ActionSpec, TaskSpec};
use crate::yaml::node::{Entry, Node};

/// Where expressions in settings stand.
const CONNECTOR: Spot<'static> = Spot::with_secrets("expression in the settings");
const TRANSFORM: Spot<'static> = Spot::of("expression in the settings");

impl<'n> Resolver<'_, 'n, '_, '_> {
    /// The action; a no-op where it cannot be resolved, and the report says why.
    pub(crate) fn action(&mut self, task: &TaskSpec<'n>, uses: &mut Uses) -> Action {
        let action = match task.action {
            None | Some(ActionSpec::Broken(_) | ActionSpec::Later | ActionSpec::Noop) => None,
            Some(ActionSpec::Group) => Some(self.group(task, uses.at)),
            Some(ActionSpec::Wait(entry)) => self.wait(entry, uses),
            Some(ActionSpec::Approve(entry)) => self.approve(task, entry, uses),
            Some(ActionSpec::Call(entry)) => self.call(entry, uses),
            Some(ActionSpec::Ingest(entry)) => self.ingest(entry, uses),
            Some(ActionSpec::Transform(entry)) => self.transform(task, entry, uses),
            Some(ActionSpec::Load(entry)) => self.load(task, entry, uses),
            Some(ActionSpec::Run(entry)) => self.command(entry, uses).map(Action::Run),
        };
        self.modifiers_fit(task);
        action.unwrap_or(Action::Noop)
    }

    fn ingest(&mut self, entry: &'n Entry, uses: &mut Uses) -> Option<Action> {
        let catalog = self.catalog;
        let info = catalog.connector(&entry.key);
        let schema = info.and_then(|info| info.source.as_ref());
        let example = info.map_or("", |info| info.source_example.as_str());
        let schema = self.end("ingest", entry, schema, info.is_some())?;
        let name = format!("source `{}`", entry.key);
        let rules = Rules { schema, check: &info?.source_check };
        let config = self.settings(rules, &name, example, entry, CONNECTOR, uses)?;
        Some(Action::Ingest { connector: entry.key.clone(), config })
    }

    fn load(&mut self, task: &TaskSpec<'n>, entry: &'n Entry, uses: &mut Uses) -> Option<Action> {
        let catalog = self.catalog;
        let info = catalog.connector(&entry.key);
        let schema = info.and_then(|info| info.sink.as_ref());
        let example = info.map_or("", |info| info.sink_example.as_str());
        let several =
            schema.and_then(|s| s.get("x-inputs")).and_then(Value::as_str) == Some("many");
        match (task.from_place, task.from.len()) {
            (None, _) => {
                let message = format!("load `{}` does not say what it loads", task.name);
                self.report
                    .error(&codes::LOAD_INPUT, entry.place, message)
                    .help("add `from: TABLE` beside `load`");
            }
            (Some(place), 2..) if !several => {
                let message =
                    format!("`{}` loads one table, `from` names {}", entry.key, task.from.len());
                self.report
                    .error(&codes::LOAD_INPUT, place, message)
                    .help("join them in a `sql` transform first, or make one `load` for each");
            }
            _ => {}
        }
        let schema = self.end("load", entry, schema, info.is_some())?;
        let name = format!("sink `{}`", entry.key);
        let rules = Rules { schema, check: &info?.sink_check };
        let config = self.settings(rules, &name, example, entry, CONNECTOR, uses)?;
        Some(Action::Load { connector: entry.key.clone(), config })
    }

    /// The schema of one end of a connector, or why there is none.
    fn end<'s>(
        &mut self,
        action: &str,
        entry: &Entry,
        schema: Option<&'s Value>,
        known: bool,
    ) -> Option<&'s Value> {
        if schema.is_some() {
            return schema;
        }
        let can = |info: &&crate::catalog::ConnectorInfo| match action {
            "ingest" => info.source.is_some(),
            _ => info.sink.is_some(),
        };
        let catalog = self.catalog;
        let names = || catalog.connectors.iter().filter(can).map(|info| info.name.as_str());
        if known {
            let what = if action == "ingest" { "read from" } else { "written to" };
            let message = format!("connector `{}` cannot be {what}", entry.key);
            self.report
                .error(&codes::NO_SUCH_END, entry.place, message)
                .help(format!("those that can are {}", listed(names())));
        } else {
            let near = self.report.did_you_mean(&entry.key, names());
            let message = format!("there is no connector {}", quoted(&entry.key));
            let help = near.unwrap_or_else(|| match catalog.transform(&entry.key) {
                Some(_) => format!("`{}` is a transform: write `transform:`", entry.key),
                None => format!("there are {}", listed(names())),
            });
            self.report.error(&codes::UNKNOWN_CONNECTOR, entry.place, message).help(help);
        }
        None
    }

    fn transform(
        &mut self,
        task: &TaskSpec<'n>,
        entry: &'n Entry,
        uses: &mut Uses,
    ) -> Option<Action> {
        let catalog = self.catalog;
        let Some(info) = catalog.transform(&entry.key) else {
            if entry.key == "function" {
                let message = "this version cannot run the transform `function` yet";
                self.report.later(&codes::LATER_ACTION, entry.place, message);
                return None;
            }
            let names = || catalog.transforms.iter().map(|info| info.name.as_str());
            let near = self.report.did_you_mean(&entry.key, names());
            let message = format!("there is no transform {}", quoted(&entry.key));
            let help = near.unwrap_or_else(|| format!("there are {}", listed(names())));
            self.report.error(&codes::UNKNOWN_TRANSFORM, entry.place, message).help(help);
            return None;
        };
        if info.schema.get("x-outputs").and_then(Value::as_str) == Some("keys")
            && let Some(entries) = entry.node.entries()
        {
            for output in entries {
                value::name::<VarName>(&output.key, output.place, self.report);
            }
        }
        let name = format!("transform `{}`", entry.key);
        let rules = Rules { schema: &info.schema, check: &info.check };
        let config = self.settings(rules, &name, &info.example, entry, TRANSFORM, uses)?;
        let outputs = transform_outputs(task, entry, catalog);
        Some(Action::Transform { kind: entry.key.clone(), config, outputs })
    }

    /// Checks settings, and reads the texts in them.
    fn settings(
        &mut self,
        rules: Rules<'_>,
        name: &str,
        example: &str,
        entry: &'n Entry,
        spot: Spot,
        uses: &mut Uses,
    ) -> Option<Template> {
        let owner = Owner { name, kind: Kind::Settings, entry, example };
        let marks = settings::check(rules, owner, self.report);
        let mut skip: Vec<&Node> = Vec::new();
        for mark in &marks {
            if self.marked(mark, uses) {
                skip.push(mark.node);
            }
        }
        self.template(&entry.node, &skip, spot, uses)
    }

    /// Reads a text by its format; true when it may hold no `${{ … }}`.
    fn marked(&mut self, mark: &Mark<'_>, uses: &mut Uses) -> bool {
        let Mark { format, setting, node } = mark;
        let text = node.text().unwrap_or_default();
        match format.as_str() {
            "sql" => {
                self.query(node, Own::Refused, uses);
                true
            }
            "sql-expr" => {
                self.row_expr(node, uses);
                true
            }
            "template" => {
                self.message(node);
                true
            }
            "table" if node.holds_expr() => {
                let message = format!(
                    "setting {} names a table, so it cannot be an expression",
                    quoted(setting)
                );
                self.report
                    .error(&codes::WRONG_SETTING, node.place, message)
                    .help("write the name: dependencies must be known before a run starts");
                true
            }
            "table" => {
                self.table(text, node.place, Own::Refused, uses);
                true
            }
            "duration" if !node.holds_expr() => {
                if parse_duration(text).is_err() {
                    let what = format!("setting {}", quoted(setting));
                    value::bad_duration(&what, text, node.place, self.report);
                }
                false
            }
            "connection" if !node.holds_expr() => {
                self.connection(text, node.place);
                false
            }
            _ => false,
        }
    }

    /// Modifiers that have no meaning for the action.
    fn modifiers_fit(&mut self, task: &TaskSpec<'_>) {
        let Some(action) = task.action else { return };
        let key = match action {
            ActionSpec::Ingest(_) => "ingest",
            ActionSpec::Transform(_) => "transform",
            ActionSpec::Load(_) => "load",
            ActionSpec::Run(_) => "run",
            ActionSpec::Noop => "noop",
            ActionSpec::Wait(_) => "wait",
            ActionSpec::Approve(_) => "approve",
            ActionSpec::Call(_) => "call",
            // Its keys are looked at where they are read.
            ActionSpec::Group | ActionSpec::Later | ActionSpec::Broken(_) => return,
        };
        self.without_use(key, task);
        let mut refuse = |modifier: &str, place: Option<Place>, help: &str| {
            if let Some(place) = place {
                let message = format!("`{modifier}` has no meaning beside `{key}`");
                self.report.error(&codes::NOT_HERE, place, message).help(help);
            }
        };
        let waits = matches!(key, "wait" | "approve" | "call");
        if waits || matches!(key, "ingest" | "noop") {
            refuse("from", task.from_place, "only to wait for a task, use `depends_on`");
        }
        let has_own_table = key == "run" && run_outputs(task).iter().any(String::is_empty);
        if waits || matches!(key, "load" | "run" | "noop") && !has_own_table {
            let help = match key {
                "run" => "give the command a table of the task's name in `outputs`",
                _ => "check the table in the task that makes it",
            };
            refuse("checks", task.checks_place, help);
        }
        if waits || matches!(key, "load" | "noop") {
            let help = "only what makes tables or values has something to use again";
            refuse("cache", task.cache.as_ref().map(|cache| cache.place), help);
        }
        if key != "run" {
            refuse("outputs", task.outputs_place, "only a command says what it leaves");
        }
        if key != "run" {
            refuse("env", task.env_place, "only a command has environment variables");
        }
        if let Some(place) = task.outputs_place.filter(|_| {
            let quarantines = task.checks.iter().any(|c| c.check.on_fail == OnFail::Quarantine);
            quarantines && task.outputs.contains_key("rejects")
        }) {
            let message =
                format!("the checks of `{}` make the table `{}.rejects`", task.name, task.name);
            self.report
                .error(&codes::NAME_TAKEN, place, message)
                .help("give the output another name");
        }
        if let ActionSpec::Transform(entry) = action {
            let outputs = transform_outputs(task, entry, self.catalog);
            if let Some(place) = task.checks_place.filter(|_| !outputs.contains(&String::new())) {
                let message = format!("task `{}` has no table of its own name to check", task.name);
                self.report
                    .error(&codes::CHECK, place, message)
                    .help("check its tables in a task that reads them, with `sql`");
            }
            let rejects = task.checks.iter().find(|c| c.check.on_fail == OnFail::Quarantine);
            if let (Some(check), Some(info)) = (rejects, self.catalog.transform(&entry.key))
                && info.schema.get("x-outputs").and_then(Value::as_array).is_some_and(|outputs| {
                    outputs.iter().any(|output| output.as_str() == Some("rejects"))
                })
            {
                let message =
                    format!("`{}` makes the table `{}.rejects` itself", entry.key, task.name);
                self.report.error(&codes::CHECK, check.place, message).help(
                    "use `stop` or `warn` here, or quarantine in a task that reads the table",
                );
            }
        }
    }
    /// Modifiers of the task's own that change nothing beside its action.
    fn without_use(&mut self, action: &str, task: &TaskSpec<'_>) {
        for (modifier, beside, help) in WITHOUT_USE {
            if let Some(place) = task.place_of(modifier).filter(|_| beside.contains(&action)) {
                let message = format!("`{modifier}` has no meaning beside `{action}`");
                self.report.error(&codes::NOT_HERE, place, message).help(*help);
            }
        }
        let never_fails = matches!(action, "wait" | "approve") && task.timeout.is_none();
        if let Some(place) = task.place_of("retry").filter(|_| never_fails && task.retry.limit > 0)
        {
            let message = format!("`retry` has no meaning beside `{action}` without a `timeout`");
            let help = match action {
                "wait" => "only a wait that `timeout` has ended is begun again",
                _ => "a question is asked again only when `timeout` has ended it",
            };
            self.report.error(&codes::NOT_HERE, place, message).help(help);
        }
    }
}

/// What waits, and holds no worker and no slot.
const WAITS: &[&str] = &["wait", "approve", "call"];
const NO_SLOT: &str = "what waits takes no slot and holds no worker";
/// All but a command.
const NO_COMMAND: &[&str] = &["ingest", "transform", "load", "noop", "wait", "approve", "call"];
/// All but a transform.
const NO_SQL: &[&str] = &["ingest", "load", "run", "noop", "wait", "approve", "call"];

/// Modifiers, the actions beside which they mean nothing, and what to do about it.
static WITHOUT_USE: &[(&str, &[&str], &str)] = &[
    ("bind", &["noop", "wait", "approve", "call"], "only the `$names` of SQL have values to bind"),
    ("pool", WAITS, NO_SLOT),
    ("slots", WAITS, NO_SLOT),
    ("priority", WAITS, NO_SLOT),
    ("queue_timeout", WAITS, NO_SLOT),
    ("worker", WAITS, NO_SLOT),
    ("rate", &["wait", "approve"], NO_SLOT),
    ("workdir", NO_COMMAND, "only a command runs in a folder"),
    ("resources", NO_COMMAND, "only a command has processes of its own, which can be limited"),
    ("engine", NO_SQL, "only a transform has SQL that can run elsewhere"),
    ("dataset", &["load", "noop", "wait", "approve"], "it makes no table"),
];
