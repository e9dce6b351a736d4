//! A task: one action and its modifiers.

use std::borrow::Cow;
use std::time::Duration;

use indexmap::IndexMap;
use tidemill_model::admission::DEFAULT_POOL;
use tidemill_model::dag::Resources;
use tidemill_model::retry::RetryPolicy;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{PoolName, TaskName};

use super::{cache, check, group, handlers, head, map, output, resources, retry, stray, value};
use crate::codes;
use crate::keys::{self, ACTIONS};
use crate::report::{Place, Report, listed, quoted};
use crate::spec::{ActionSpec, GroupOutputsSpec, InputSpec, MappingSpec, RetryWhen, TaskSpec};
use crate::yaml::node::{Data, Entry, Node};

/// What tasks have unless they say otherwise.
#[derive(Clone, Default)]
pub(crate) struct Defaults<'n> {
    retry: RetryPolicy,
    retry_when: Option<RetryWhen<'n>>,
    timeout: Option<Duration>,
    resources: Resources,
    trigger_rule: TriggerRule,
    /// The pool, and where it is named in the DAG's own file.
    pool: Option<(PoolName, Option<Place>)>,
    env: Vec<&'n Entry>,
    /// Variables of the folder, which hold no expressions.
    folder_env: IndexMap<String, String>,
}

impl Defaults<'_> {
    /// What these mean for another file, in which their places are none: variables must then be
    /// plain texts.
    pub(crate) fn for_folder<'other>(self, report: &mut Report) -> Defaults<'other> {
        let mut folder_env = IndexMap::new();
        for entry in self.env {
            let what = format!("variable {}", quoted(&entry.key));
            if entry.node.holds_expr() {
                let message = format!("{what} holds an expression, which only a DAG can");
                report
                    .error(&codes::NOT_HERE, entry.node.place, message)
                    .help("write it into `defaults` of the DAG files");
            } else if let Some(text) = value::scalar(&what, &entry.node, entry.place, report) {
                folder_env.insert(entry.key.clone(), text);
            }
        }
        let pool = self.pool.map(|(pool, _)| (pool, None));
        let Self { retry, timeout, resources, trigger_rule, .. } = self;
        let retry_when = self.retry_when.and_then(|when| retry::for_folder(when, report));
        let env = Vec::new();
        Defaults { retry, retry_when, timeout, resources, trigger_rule, pool, env, folder_env }
    }
}

/// Reads `defaults`, which go before those of the folder.
pub(crate) fn defaults<'n>(
    entry: Option<&'n Entry>,
    of_folder: Defaults<'n>,
    report: &mut Report,
) -> Defaults<'n> {
    let mut defaults = of_folder;
    let Some(entry) = entry else { return defaults };
    let entries = value::entries("`defaults`", entry, report);
    keys::check(entries, &[keys::DEFAULTS], "`defaults`", report);
    for entry in entries {
        match entry.key.as_str() {
            "retry" => {
                defaults.retry = retry::read(entry, defaults.retry, report);
                defaults.retry_when = retry::when(entry, report).or(defaults.retry_when);
            }
            "timeout" => {
                defaults.timeout = value::duration("`timeout`", entry, report).or(defaults.timeout);
            }
            "trigger_rule" => {
                defaults.trigger_rule =
                    trigger_rule(entry, report).unwrap_or(defaults.trigger_rule);
            }
            "pool" => {
                if let Some((pool, place)) = pool(entry, report) {
                    defaults.pool = Some((pool, Some(place)));
                }
            }
            "env" => defaults.env = env(entry, report).iter().collect(),
            "resources" => {
                defaults.resources = resources::read(entry, defaults.resources, report);
            }
            _ => {}
        }
    }
    defaults
}

/// Reads all tasks: each group goes before its members.
pub(crate) fn read_all<'n>(
    entries: &'n [Entry],
    defaults: &Defaults<'n>,
    report: &mut Report,
) -> Vec<TaskSpec<'n>> {
    let mut tasks = Vec::with_capacity(entries.len());
    let mut left = entries;
    while let Some((entry, after)) = left.split_first() {
        left = &after[stray::keys_of(entry, after, report)..];
        name(entry, report);
        let (task, of_group) = read(Written::of(entry), None, defaults, report);
        let place = tasks.len();
        let name = task.name.clone();
        tasks.push(task);
        if let Some(group) = of_group {
            group::read_members(&group, (place, &name), &mut tasks, defaults, report);
        }
    }
    tasks
}

/// A task as it is written: a name and what it is.
#[derive(Clone)]
pub(crate) struct Written<'n> {
    pub(crate) name: Cow<'n, str>,
    pub(crate) place: Place,
    pub(crate) node: &'n Node,
}

impl<'n> Written<'n> {
    pub(crate) fn of(entry: &'n Entry) -> Self {
        Self { name: Cow::Borrowed(&entry.key), place: entry.place, node: &entry.node }
    }
}

/// Reads a task, a member of a group if that is named; of a group that it is, also what there is to
/// read of its members.
pub(crate) fn read<'n>(
    written: Written<'n>,
    group: Option<(usize, &str)>,
    defaults: &Defaults<'n>,
    report: &mut Report,
) -> (TaskSpec<'n>, Option<group::Parts<'n>>) {
    let Written { name: short, place, node } = written;
    let name = match group {
        Some((_, group)) => format!("{group}.{short}"),
        None => short.to_string(),
    };
    let owner = format!("task {}", quoted(&name));
    let mut task = TaskSpec {
        name,
        short,
        group: group.map(|(at, _)| at),
        is_finally: false,
        mapping: MappingSpec::default(),
        group_outputs: GroupOutputsSpec::default(),
        asked: IndexMap::new(),
        place,
        action: None,
        depends_on: Vec::new(),
        from: Vec::new(),
        from_place: None,
        bind: Vec::new(),
        when: None,
        retry: defaults.retry,
        timeout: defaults.timeout,
        resources: defaults.resources,
        trigger_rule: defaults.trigger_rule,
        checks: Vec::new(),
        checks_place: None,
        pool: defaults.pool.as_ref().map_or_else(default_pool, |(pool, _)| pool.clone()),
        pool_place: defaults.pool.as_ref().and_then(|(_, place)| *place),
        env: defaults.env.clone(),
        folder_env: defaults.folder_env.clone(),
        env_place: None,
        cache: None,
        outputs: IndexMap::new(),
        outputs_place: None,
        entries: node.entries().unwrap_or_default(),
        retry_when: defaults.retry_when.clone(),
        handlers: Vec::new(),
    };
    let Some(entries) = node.entries() else {
        value::wrong_type(&owner, &["a mapping"], node, place, report)
            .help("give it an action, for example `ingest`, `transform`, `load` or `run`");
        return (task, None);
    };
    let is_group = entries.iter().any(|entry| entry.key == "tasks");
    if is_group {
        // What all tasks have by default is for those that work.
        (task.retry, task.retry_when, task.timeout) = (RetryPolicy::default(), None, None);
        let known = [ACTIONS, keys::GROUP, keys::MODIFIERS];
        keys::check(stray::others(entries, &known), &known, &owner, report);
    } else {
        keys::check(entries, &[ACTIONS, keys::MODIFIERS], &owner, report);
    }
    let mut parts = group::Parts::default();
    for modifier in entries {
        let is_read = is_group && group::read_modifier(&mut task, &mut parts, modifier, report);
        if !is_read {
            read_modifier(&mut task, modifier, report);
        }
    }
    map::check(&task, report);
    // What comes after the members of a group is a member too, and read with them.
    let handlers = entries.iter().filter(|entry| !(is_group && entry.key == "finally"));
    task.handlers = handlers::read_all(handlers, defaults, report);
    task.action = action(&owner, place, entries, report);
    if let Some(ActionSpec::Approve(entry)) = task.action {
        task.asked = head::asked(entry, report);
    }
    let parts = matches!(task.action, Some(ActionSpec::Group)).then_some(parts);
    (task, parts)
}

fn read_modifier<'n>(task: &mut TaskSpec<'n>, entry: &'n Entry, report: &mut Report) {
    match entry.key.as_str() {
        "depends_on" => task.depends_on = value::texts("`depends_on`", entry, report),
        "from" => {
            task.from = inputs(entry, report);
            task.from_place = Some(entry.place);
        }
        "bind" => task.bind = value::entries("`bind`", entry, report).iter().collect(),
        "when" => match &entry.node.data {
            Data::Text(_) | Data::Bool(_) => task.when = Some(&entry.node),
            _ => {
                value::wrong_type("`when`", &["an expression"], &entry.node, entry.place, report)
                    .help("write for example `when: tasks.orders.rows > 0`");
            }
        },
        "retry" => {
            task.retry = retry::read(entry, task.retry, report);
            task.retry_when = retry::when(entry, report).or(task.retry_when.take());
        }
        "resources" => task.resources = resources::read(entry, task.resources, report),
        "timeout" => task.timeout = value::duration("`timeout`", entry, report).or(task.timeout),
        "trigger_rule" => {
            task.trigger_rule = trigger_rule(entry, report).unwrap_or(task.trigger_rule);
        }
        "for_each" | "max_parallel" | "tolerate" => map::read(&mut task.mapping, entry, report),
        "checks" => {
            task.checks = check::read_all(entry, report);
            task.checks_place = Some(entry.place);
        }
        "pool" => {
            if let Some((pool, place)) = pool(entry, report) {
                task.pool = pool;
                task.pool_place = Some(place);
            }
        }
        "env" => {
            let own = env(entry, report);
            task.env.retain(|default| !own.iter().any(|entry| entry.key == default.key));
            task.env.extend(own);
            task.env_place = Some(entry.place);
        }
        "cache" => task.cache = cache::read(entry, report),
        "outputs" => {
            task.outputs = output::read_all(entry, report);
            task.outputs_place = Some(entry.place);
        }
        _ => {}
    }
}

pub(super) fn name(entry: &Entry, report: &mut Report) {
    if entry.key.contains('.') {
        let message = format!("{} is not a task name", quoted(&entry.key));
        let help = if entry.key.contains("${{") {
            "a name is what is written; expressions stand in values"
        } else {
            "a point stands between a group and its member; use `_`"
        };
        report.error(&codes::BAD_NAME, entry.place, message).help(help);
    } else if value::name::<TaskName>(&entry.key, entry.place, report).is_some()
        && entry.key == crate::resolve::RUN_TASKS
    {
        report
            .error(&codes::NAME_TAKEN, entry.place, "a task cannot have the name `run_tasks`")
            .help("that is the built-in table of the run's own tasks");
    }
}

/// The one action of a task.
fn action<'n>(
    owner: &str,
    place: Place,
    entries: &'n [Entry],
    report: &mut Report,
) -> Option<ActionSpec<'n>> {
    let is_action = |entry: &&Entry| ACTIONS.iter().any(|key| key.name == entry.key);
    let mut actions = entries.iter().filter(is_action);
    let Some(entry) = actions.next() else {
        let usable = ACTIONS.iter().filter(|key| !key.later).map(|key| key.name);
        let message = format!("{owner} has no action");
        report
            .error(&codes::ACTION, place, message)
            .help(format!("give it one of {}", listed(usable)));
        return None;
    };
    if let Some(second) = actions.next() {
        let message = format!("{owner} has two actions, `{}` and `{}`", entry.key, second.key);
        report
            .error(&codes::ACTION, second.place, message)
            .help("a task does one thing: make a second task");
        return Some(ActionSpec::Broken(entry));
    }
    Some(match entry.key.as_str() {
        "ingest" => one_key(entry, "connector", "csv", report)
            .map_or(ActionSpec::Broken(entry), ActionSpec::Ingest),
        "load" => one_key(entry, "connector", "csv", report)
            .map_or(ActionSpec::Broken(entry), ActionSpec::Load),
        "transform" => one_key(entry, "transform", "sql", report)
            .map_or(ActionSpec::Broken(entry), ActionSpec::Transform),
        "run" => ActionSpec::Run(entry),
        "wait" => ActionSpec::Wait(entry),
        "approve" => ActionSpec::Approve(entry),
        "call" => ActionSpec::Call(entry),
        "tasks" => match entry.node.entries() {
            Some([_, ..]) => ActionSpec::Group,
            Some([]) => {
                report
                    .error(&codes::MISSING_KEY, entry.place, "`tasks` is empty")
                    .help("a group has at least one member");
                ActionSpec::Broken(entry)
            }
            None => {
                let known = [ACTIONS, keys::GROUP, keys::MODIFIERS];
                if !stray::tell_tasks(entries, &known, report) {
                    value::wrong_type("`tasks`", &["a mapping"], &entry.node, entry.place, report)
                        .help("write each member as a key with its name");
                }
                ActionSpec::Broken(entry)
            }
        },
        "noop" => {
            let is_empty = entry.node.entries().is_some_and(<[Entry]>::is_empty);
            if !is_empty && !entry.node.is_null() {
                let message = "`noop` takes no settings";
                report.error(&codes::WRONG_TYPE, entry.place, message).help("write `noop:` alone");
            }
            ActionSpec::Noop
        }
        _ => ActionSpec::Later,
    })
}

/// `ingest: {csv: …}`: the one key below an action.
fn one_key<'n>(
    action: &'n Entry,
    what: &str,
    example: &str,
    report: &mut Report,
) -> Option<&'n Entry> {
    let key = &action.key;
    match (&action.node.data, action.node.entries()) {
        (_, Some([one])) => Some(one),
        (_, Some([first, second, ..])) => {
            let message = format!("`{key}` has exactly one key, the {what}");
            // What a comma cut off has no value; a text came before it.
            let is_rest = second.node.is_null() && matches!(first.node.data, Data::Text(_));
            let help = if is_rest {
                format!(
                    "inside of `{{…}}` a comma ends a text: quote it, `{}: '…, …'`, or write it \
                     below the key, after `|`",
                    first.key
                )
            } else {
                format!("settings go one level deeper: `{key}: {{{example}: {{…}}}}`")
            };
            report
                .error(&codes::ACTION, second.place, message)
                .label("this is a second one")
                .help(help);
            None
        }
        (Data::Text(text), _) => {
            value::wrong_type(
                &format!("`{key}`"),
                &["a mapping"],
                &action.node,
                action.place,
                report,
            )
            .help(format!("write `{key}: {{{}: {{…}}}}` with the settings inside", text.trim()));
            None
        }
        _ => {
            let message = format!("`{key}` needs one key, the {what}");
            report
                .error(&codes::ACTION, action.place, message)
                .help(format!("for example `{key}: {{{example}: {{…}}}}`"));
            None
        }
    }
}

fn inputs<'n>(entry: &'n Entry, report: &mut Report) -> Vec<InputSpec<'n>> {
    match &entry.node.data {
        Data::Text(table) => {
            vec![InputSpec { alias: table, table, place: entry.node.place, format: None }]
        }
        Data::Map(inputs) if inputs.is_empty() => {
            let message = "`from` names no table";
            report
                .error(&codes::WRONG_TYPE, entry.node.place, message)
                .help("write `from: TABLE`, or `from: {NAME: TABLE}`");
            Vec::new()
        }
        Data::Map(inputs) => inputs.iter().filter_map(|input| named_input(input, report)).collect(),
        _ => {
            let help = match &entry.node.data {
                Data::List(items) => {
                    let names: Vec<String> = items
                        .iter()
                        .filter_map(Node::text)
                        .map(|name| format!("{name}: {name}"))
                        .collect();
                    format!("name the inputs: `from: {{{}}}`", names.join(", "))
                }
                _ => "write the name of a table".to_owned(),
            };
            let wanted = ["a table", "a mapping"];
            value::wrong_type("`from`", &wanted, &entry.node, entry.place, report).help(help);
            Vec::new()
        }
    }
}

fn named_input<'n>(input: &'n Entry, report: &mut Report) -> Option<InputSpec<'n>> {
    value::name::<tidemill_model::VarName>(&input.key, input.place, report)?;
    let what = format!("input {}", quoted(&input.key));
    let alias = &input.key;
    let Some(entries) = input.node.entries() else {
        let table = value::text(&what, input, report)?;
        return Some(InputSpec { alias, table, place: input.node.place, format: None });
    };
    keys::check(entries, &[keys::INPUT], &what, report);
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let format = find("format")
        .and_then(|entry| output::format(entry, report).map(|format| (format, entry.place)));
    let Some(entry) = find("table") else {
        let message = format!("{what} names no table");
        report
            .error(&codes::MISSING_KEY, input.place, message)
            .help(format!("write `{alias}: {{table: NAME, format: csv}}`"));
        return None;
    };
    let table = value::text("`table`", entry, report)?;
    Some(InputSpec { alias, table, place: entry.node.place, format })
}

fn trigger_rule(entry: &Entry, report: &mut Report) -> Option<TriggerRule> {
    let names: Vec<(String, TriggerRule)> = TriggerRule::ALL
        .iter()
        .filter_map(|rule| match serde_json::to_value(rule) {
            Ok(serde_json::Value::String(name)) => Some((name, *rule)),
            _ => None,
        })
        .collect();
    let choices: Vec<(&str, TriggerRule)> =
        names.iter().map(|(name, rule)| (name.as_str(), *rule)).collect();
    value::choice("`trigger_rule`", entry, &choices, report)
}

fn pool(entry: &Entry, report: &mut Report) -> Option<(PoolName, Place)> {
    let text = value::text("`pool`", entry, report)?;
    let place = entry.node.place;
    value::name(text, place, report).map(|name| (name, place))
}

fn default_pool() -> PoolName {
    // The constant is a name; were it none, the language tests would not pass.
    #[expect(clippy::expect_used, reason = "a constant that the tests cover")]
    DEFAULT_POOL.parse().expect("a pool name")
}

fn env<'n>(entry: &'n Entry, report: &mut Report) -> &'n [Entry] {
    let entries = value::entries("`env`", entry, report);
    for variable in entries {
        variable_name(&variable.key, variable.place, report);
    }
    entries
}

fn variable_name(name: &str, place: Place, report: &mut Report) {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        let message = format!("{} is not the name of an environment variable", quoted(name));
        report
            .error(&codes::BAD_NAME, place, message)
            .help("use letters, digits and `_`, not starting with a digit");
    } else if name.starts_with("TIDEMILL_") {
        let message = format!("{} is set by the run itself", quoted(name));
        report.error(&codes::NAME_TAKEN, place, message).help("use a name without `TIDEMILL_`");
    }
}
