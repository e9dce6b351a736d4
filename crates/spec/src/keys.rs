//! Every key of the language, once: what the reader knows, what editors are told, what the
//! reference says.

pub(crate) mod runs;
mod tasks;
pub(crate) mod test_file;

use serde_json::{Value, json};
use tidemill_model::dag::ParamKind;
use tidemill_model::outputs::FileFormat;
use tidemill_model::trigger_rule::TriggerRule;

use crate::codes;
use crate::report::{Report, listed, quoted};
use crate::yaml::node::Entry;
use tasks::condition;
pub(crate) use tasks::{
    ACTIONS, APPROVE, CACHE, CALL, CPU_MAX, CPU_MIN, FILES_MAX, FILES_MIN, GROUP, MAX_PARALLEL_MAX,
    MODIFIERS, PROCESSES_MAX, RESOURCES, WAIT,
};

/// A key of the language.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it is for, in sentences.
    pub doc: &'static str,
    /// Whether this version knows the key but cannot run it.
    pub later: bool,
    /// The JSON Schema of its value, without the description.
    pub(crate) schema: fn() -> Value,
}

impl Key {
    /// What it is when it is not given, if that is a value.
    pub fn default(&self) -> Option<Value> {
        (self.schema)().get("default").cloned()
    }
}

/// Every key by the place where it stands, for the reference.
pub static PLACES: &[(&str, &[Key])] = &[
    ("dag", TOP),
    ("action", ACTIONS),
    ("call", CALL),
    ("wait", WAIT),
    ("approve", APPROVE),
    ("modifier", MODIFIERS),
    ("group", GROUP),
    ("defaults", DEFAULTS),
    ("folder", FOLDER),
    ("retry", RETRY),
    ("trigger", runs::TRIGGER),
    ("trigger dataset", runs::TRIGGER_DATASET),
    ("trigger file", runs::TRIGGER_FILE),
    ("trigger dag", runs::TRIGGER_DAG),
    ("trigger webhook", runs::TRIGGER_WEBHOOK),
    ("trigger stream", runs::TRIGGER_STREAM),
    ("stream kafka", runs::STREAM_KAFKA),
    ("batch", runs::BATCH),
    ("blackout", runs::BLACKOUT),
    ("concurrency", runs::CONCURRENCY),
    ("deadline", runs::DEADLINE),
    ("auto_pause", runs::AUTO_PAUSE),
    ("handler", runs::HANDLER),
    ("rate", runs::RATE),
    ("engine", runs::ENGINE),
    ("calendar", runs::CALENDAR),
    ("test", test_file::TEST),
    ("stub", test_file::STUB),
    ("rows", test_file::ROWS),
    ("answer", test_file::ANSWER),
    ("expect", test_file::EXPECT),
    ("expected table", test_file::EXPECTED_TABLE),
    ("cache", CACHE),
    ("resources", RESOURCES),
    ("param", PARAM),
    ("check", CHECK),
    ("input", INPUT),
    ("output", OUTPUT),
];

const fn now(name: &'static str, doc: &'static str, schema: fn() -> Value) -> Key {
    Key { name, doc, later: false, schema }
}

const fn later(name: &'static str, doc: &'static str, schema: fn() -> Value) -> Key {
    Key { name, doc, later: true, schema }
}

/// The keys of a DAG file.
pub(crate) static TOP: &[Key] = &[
    now("dag", "The name of the DAG; without it, the file's name without its extension.", dag_name),
    now("description", "What the DAG is for.", text),
    now("owner", "Who answers for it.", text),
    now("tags", "For filters.", texts),
    now(
        "timezone",
        "The zone of the schedule, with its name in the IANA database; without it, `UTC`.",
        || json!({"type": "string", "default": "UTC", "examples": ["Europe/Zurich"]}),
    ),
    now(
        "start",
        "No run is scheduled before this day or instant, which is in the DAG's zone.",
        || json!({"type": "string", "examples": ["2026-01-01", "2026-01-01T06:00:00"]}),
    ),
    now(
        "end",
        "No run is scheduled after this day or instant, which is in the DAG's zone.",
        || json!({"type": "string", "examples": ["2026-12-31", "2026-12-31T06:00:00"]}),
    ),
    now(
        "schedule",
        "When runs are due: a cron line of minute, hour, day of month, month, day of week.",
        || {
            let examples = ["0 2 * * *", "*/15 * * * *", "0 6 * * mon-fri", "0 6 LW * *"];
            json!({"type": "string", "examples": examples})
        },
    ),
    now("triggers", "What starts runs: a list, each of one kind. Not beside `schedule`.", || {
        json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/trigger"},
            "examples": [[{"cron": "0 2 * * *", "catchup": "latest"}]]})
    }),
    now("params", "What a run may be told, by name.", || {
        json!({"type": "object", "propertyNames": name_schema(false),
            "additionalProperties": {"$ref": "#/$defs/param"}})
    }),
    now(
        "vars",
        "Values that expressions share, by name: what they are computed from may be params, values of the run and vars above.",
        || {
            json!({"type": "object", "propertyNames": name_schema(false),
            "examples": [{"day": "${{ date(run.interval.start) }}", "regions": ["eu", "us"]}]})
        },
    ),
    now(
        "concurrency",
        "How many runs may be active at once, `1`, or more about it: `{limit: 1, overlap: skip}`.",
        || {
            json!({"anyOf": [{"$ref": "#/$defs/concurrency"},
                {"type": "integer", "minimum": 1, "maximum": 1_000_000}],
                "examples": [{"limit": 1, "overlap": "queue"}]})
        },
    ),
    later(
        "deadline",
        "When a run is late.",
        || json!({"$ref": "#/$defs/deadline", "examples": [{"within": "3h", "of": "scheduled"}]}),
    ),
    now(
        "auto_pause",
        "When the schedule pauses by itself.",
        || json!({"$ref": "#/$defs/auto_pause", "examples": [{"after_failures": 3}]}),
    ),
    later("retry", "How often a whole run is tried again after it failed.", retry),
    now("timeout", "The longest that a run may take.", duration),
    now(
        "defaults",
        "Modifiers that all tasks have unless they give their own.",
        || json!({"$ref": "#/$defs/defaults"}),
    ),
    now("tasks", "The tasks, by name. A task's table has the name of the task.", || {
        json!({"type": "object", "minProperties": 1, "propertyNames": name_schema(false),
            "additionalProperties": {"$ref": "#/$defs/task"}})
    }),
    later("on_success", "What is done after a run succeeded.", runs::handlers),
    later("on_failure", "What is done after a run failed.", runs::handlers),
    later("finally", "What is done after a run, however it ended.", runs::handlers),
];

/// The keys of `defaults`.
pub(crate) static DEFAULTS: &[Key] = &[
    now("retry", "As `retry` of a task. A task's own keys take precedence one by one.", retry),
    now("timeout", "As `timeout` of a task.", duration),
    now("trigger_rule", "As `trigger_rule` of a task.", trigger_rule),
    now("pool", "As `pool` of a task.", pool),
    now("env", "As `env` of a task, for all commands. A task's own variables are added.", env),
    now(
        "resources",
        "As `resources` of a task. A task's own keys take precedence one by one.",
        || json!({"$ref": "#/$defs/resources"}),
    ),
];

/// The keys of `_defaults.yaml`.
pub(crate) static FOLDER: &[Key] = &[
    now("owner", "As `owner` of a DAG.", text),
    now("tags", "As `tags` of a DAG, which replace these.", texts),
    now("timezone", "As `timezone` of a DAG.", || json!({"type": "string", "default": "UTC"})),
    now(
        "defaults",
        "As `defaults` of a DAG, whose keys take precedence one by one. Variables hold no expressions.",
        || json!({"$ref": "#/$defs/defaults"}),
    ),
];

/// The keys of `retry`.
pub(crate) static RETRY: &[Key] = &[
    now(
        "limit",
        "Tries after the first one.",
        || json!({"type": "integer", "minimum": 0, "maximum": RETRIES_MAX, "default": 0}),
    ),
    now("delay", "The wait before the first retry.", || with_default(duration(), "10s")),
    now(
        "factor",
        "What each further wait is multiplied by.",
        || json!({"type": "number", "minimum": 1, "maximum": 100, "default": 2}),
    ),
    now("max_delay", "No wait is longer, jitter aside.", || with_default(duration(), "10m")),
    now(
        "jitter",
        "The share of a wait that chance may add or take.",
        || json!({"type": "number", "minimum": 0, "maximum": 1, "default": 0.2}),
    ),
    later(
        "when",
        "An expression over `error`, and what a task may read; only failures for which it holds are tried again.",
        || {
            let mut schema = condition();
            schema["format"] = json!("expression");
            schema["examples"] = json!(["error.message.contains('timed out')"]);
            schema
        },
    ),
];

/// The keys of a param.
pub(crate) static PARAM: &[Key] = &[
    now("type", "The type of its values.", || json!({"enum": param_types()})),
    now("enum", "The only values allowed.", || json!({"type": "array", "minItems": 1})),
    now(
        "default",
        "Its value when a run gives none; without a default, a run must give one.",
        || json!({}),
    ),
    now("description", "What it means.", text),
];

/// The keys of a named input of a command.
pub(crate) static INPUT: &[Key] = &[
    now("table", "The table.", text),
    now("format", "The form of the file that the command reads.", file_format),
];

/// The keys of an output of a command.
pub(crate) static OUTPUT: &[Key] = &[
    now("type", "The type of the value; or `table`.", || json!({"enum": output_types()})),
    now("format", "The form of the file that the command writes, of a table.", file_format),
    now(
        "columns",
        "The types of columns, by name, where a file of CSV or JSON lines does not tell them.",
        || {
            json!({"type": "object", "additionalProperties": {"type": "string"},
            "examples": [{"customer_id": "int64", "score": "decimal(10,2)"}]})
        },
    ),
    now("description", "What it means.", text),
];

/// The keys of a check; exactly one besides `on_fail`.
pub(crate) static CHECK: &[Key] = &[
    now("not_null", "These columns hold no null.", columns),
    now("unique", "These columns together are different in every row.", columns),
    now("rows", "The table has so many rows.", || {
        json!({"type": "object", "minProperties": 1, "additionalProperties": false, "properties": {
            "min": {"type": "integer", "minimum": 0, "description": "At least so many."},
            "max": {"type": "integer", "minimum": 0, "description": "At most so many."}}})
    }),
    now("where", "This SQL expression holds in every row.", text),
    now("sql", "This query gives no row.", text),
    now(
        "on_fail",
        "What happens when it does not hold: the task fails, the rows go to `TASK.rejects`, or a warning.",
        || json!({"enum": ON_FAIL, "default": "stop"}),
    ),
];

/// The types of params.
pub(crate) fn param_types() -> [&'static str; 7] {
    ParamKind::ALL.map(ParamKind::label)
}

/// The types of outputs.
fn output_types() -> Vec<&'static str> {
    param_types().into_iter().chain(["table"]).collect()
}

/// The values of `on_fail`.
pub(crate) const ON_FAIL: &[&str] = &["stop", "quarantine", "warn"];
/// Slots of a pool; more than these are a slip of the pen.
pub(crate) const SLOTS_MAX: u64 = 1_000_000;
/// The most retries of a task.
pub(crate) const RETRIES_MAX: u32 = 10_000;

/// The schema of names.
pub(crate) fn name_schema(dash: bool) -> Value {
    let dash = if dash { "-" } else { "" };
    let also = if dash.is_empty() { "" } else { ", `-`" };
    json!({"pattern": format!("^[a-z][a-z0-9_{dash}]{{0,62}}$"), "patternErrorMessage": format!(
        "A name begins with a small letter and holds small letters, digits and `_`{also}, at most 63.")})
}

fn dag_name() -> Value {
    let mut schema = name_schema(true);
    schema["type"] = json!("string");
    schema
}

fn text() -> Value {
    json!({"type": "string"})
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn columns() -> Value {
    json!({"anyOf": [
        {"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]})
}

fn pool() -> Value {
    json!({"type": "string", "default": "default"})
}

fn env() -> Value {
    json!({"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"type": ["string", "number", "boolean"]}})
}

fn file_format() -> Value {
    json!({"enum": FileFormat::ALL.map(FileFormat::label), "default": "arrow"})
}

fn label() -> Value {
    json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$",
        "patternErrorMessage": "A label begins with a small letter and holds small letters, digits, `_` and `-`."})
}

fn duration() -> Value {
    json!({"type": "string", "format": "duration", "pattern": "^[0-9]+(ms|s|m|h|d)$",
        "patternErrorMessage": "A duration is a number and a unit: `100ms` `10s` `5m` `2h` `1d`.",
        "examples": ["100ms", "10s", "5m", "2h", "1d"]})
}

fn with_default(mut schema: Value, default: &str) -> Value {
    schema["default"] = json!(default);
    schema
}

fn trigger_rule() -> Value {
    let names: Vec<Value> =
        TriggerRule::ALL.iter().filter_map(|rule| serde_json::to_value(rule).ok()).collect();
    json!({"enum": names, "default": "all_success"})
}

fn retry() -> Value {
    json!({"anyOf": [
        {"$ref": "#/$defs/retry"}, {"type": "integer", "minimum": 0, "maximum": RETRIES_MAX}]})
}

/// Keys of DAGs and tasks that are read from their canonical form.
const READ_FROM_FORM: [&str; 8] =
    ["end", "triggers", "concurrency", "auto_pause", "slots", "priority", "rate", "queue_timeout"];

/// Keys of a DAG alone that are read from their form: those of a task with the name are not.
const READ_FROM_FORM_OF_DAG: [&str; 1] = ["timeout"];

/// Whether a key is kept in its canonical form: those that no code runs yet, and those that are read
/// from it.
pub(crate) fn keeps_its_form(table: &[Key], name: &str) -> bool {
    let is_of_dag = table.iter().any(|key| key.name == "triggers");
    READ_FROM_FORM.contains(&name)
        || (is_of_dag && READ_FROM_FORM_OF_DAG.contains(&name))
        || is_later(table, name)
}

/// Whether a key is in a table, and this version cannot run it.
pub(crate) fn is_later(table: &[Key], name: &str) -> bool {
    table.iter().any(|key| key.later && key.name == name)
}

/// Reports keys that are not in `tables`, and those that this version cannot run.
pub(crate) fn check<'n>(
    entries: impl IntoIterator<Item = &'n Entry>,
    tables: &[&[Key]],
    owner: &str,
    report: &mut Report,
) {
    let keys = || tables.iter().flat_map(|table| table.iter());
    for entry in entries {
        match keys().find(|key| key.name == entry.key) {
            Some(key) if key.later => {
                let message = format!("this version cannot run {} yet", quoted(&entry.key));
                let is_action = ACTIONS.iter().any(|action| std::ptr::eq(action, key));
                let code = if is_action { &codes::LATER_ACTION } else { &codes::LATER_KEY };
                report.later(code, entry.place, message);
            }
            Some(_) => {}
            None => {
                let message = format!("{owner} has no key {}", quoted(&entry.key));
                // `run:ls` is one word.
                let start = entry
                    .key
                    .split_once(':')
                    .filter(|(start, _)| keys().any(|key| key.name == *start));
                let near = match start {
                    Some((start, rest)) => {
                        let apart = quoted(&format!("{start}: {rest}"));
                        Some(format!("put a space behind the `:`, as in {apart}"))
                    }
                    None => report.did_you_mean(&entry.key, keys().map(|key| key.name)),
                };
                let usable = keys().filter(|key| !key.later).map(|key| key.name);
                let help = near.unwrap_or_else(|| format!("it takes {}", listed(usable)));
                report.error(&codes::UNKNOWN_KEY, entry.place, message).help(help);
            }
        }
    }
}
