//! Every key of the language, once: what the reader knows, what editors are told, what the
//! reference says.

pub(crate) mod test_file;

use serde_json::{Value, json};
use tidemill_model::dag::{MAX_PARALLEL_DEFAULT, ParamKind};
use tidemill_model::outputs::FileFormat;
use tidemill_model::trigger_rule::TriggerRule;

use crate::codes;
use crate::report::{Report, listed, quoted};
use crate::yaml::node::Entry;

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
    ("test", test_file::TEST),
    ("stub", test_file::STUB),
    ("rows", test_file::ROWS),
    ("answer", test_file::ANSWER),
    ("expect", test_file::EXPECT),
    ("expected table", test_file::EXPECTED_TABLE),
    ("cache", CACHE),
    ("param", PARAM),
    ("check", CHECK),
    ("input", INPUT),
    ("output", OUTPUT),
];

const fn now(name: &'static str, doc: &'static str, schema: fn() -> Value) -> Key {
    Key { name, doc, later: false, schema }
}

const fn later(name: &'static str, doc: &'static str) -> Key {
    Key { name, doc, later: true, schema: || json!({}) }
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
        "schedule",
        "When runs are due: a cron line of minute, hour, day of month, month, day of week.",
        || json!({"type": "string", "examples": ["0 2 * * *", "*/15 * * * *", "0 6 * * mon-fri"]}),
    ),
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
        "defaults",
        "Modifiers that all tasks have unless they give their own.",
        || json!({"$ref": "#/$defs/defaults"}),
    ),
    now("tasks", "The tasks, by name. A task's table has the name of the task.", || {
        json!({"type": "object", "minProperties": 1, "propertyNames": name_schema(false),
            "additionalProperties": {"$ref": "#/$defs/task"}})
    }),
    later("triggers", "What starts runs."),
    later("end", "No run is scheduled after this instant."),
    later("concurrency", "How many runs may be active at once."),
    later("deadline", "When a run is late."),
    later("retry", "How often a whole run is tried again."),
    later("timeout", "The longest a run may take."),
    later("on_success", "What happens after a run succeeded."),
    later("on_failure", "What happens after a run failed."),
    later("finally", "What happens after a run, however it ended."),
    later("auto_pause", "When the schedule pauses by itself."),
];

/// The actions of a task.
pub(crate) static ACTIONS: &[Key] = &[
    now(
        "ingest",
        "Reads rows from a connector into the task's table: one key, the connector.",
        || json!({"$ref": "#/$defs/ingest"}),
    ),
    now(
        "transform",
        "Makes tables from tables: one key, the transform.",
        || json!({"$ref": "#/$defs/transform"}),
    ),
    now(
        "load",
        "Writes the table of `from` to a connector: one key, the connector.",
        || json!({"$ref": "#/$defs/load"}),
    ),
    now(
        "run",
        "Runs a command: a list is the program and its arguments, a string is a script for `/bin/sh -eu`.",
        || {
            json!({"anyOf": [
            {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
            {"type": "string", "minLength": 1}
        ], "examples": [["python", "report.py", "--day", "${{ date(run.interval.start) }}"]]})
        },
    ),
    now(
        "noop",
        "Does nothing: a place where branches meet. Written `noop:` alone, or `noop: {}`.",
        || json!({"type": ["object", "null"], "maxProperties": 0}),
    ),
    now(
        "call",
        "Runs another DAG and waits for its end: the name of the DAG, or more about it: `{dag: NAME, params: {…}}`.",
        || json!({"anyOf": [{"$ref": "#/$defs/call"}, dag_name()]}),
    ),
    now(
        "wait",
        "Waits and holds no worker: for a span, `10m`, or until an instant: `{until: INSTANT}`.",
        || json!({"anyOf": [{"$ref": "#/$defs/wait"}, {"type": "string"}]}),
    ),
    now(
        "approve",
        "Waits for a person to say yes or no: the question, or more about it: `{message: …, params: {…}}`.",
        || json!({"anyOf": [{"$ref": "#/$defs/approve"}, {"type": ["string", "null"]}]}),
    ),
    now(
        "tasks",
        "Holds other tasks, by name: a group. Inside of it members have their short names, outside `GROUP.MEMBER`.",
        || {
            json!({"type": "object", "minProperties": 1, "propertyNames": name_schema(false),
            "additionalProperties": {"$ref": "#/$defs/task"}})
        },
    ),
];

/// The keys of `call`.
pub(crate) static CALL: &[Key] = &[
    now("dag", "The name of the DAG.", dag_name),
    now(
        "params",
        "Its params, by name; those that are not given have their defaults.",
        || json!({"type": "object", "propertyNames": name_schema(false)}),
    ),
    now("table", "A table of that run, which becomes the task's own.", text),
];

/// The keys of `wait`; exactly one.
pub(crate) static WAIT: &[Key] = &[
    now(
        "for",
        "So long, from when the task's turn has come.",
        || json!({"type": "string", "examples": ["10m", "${{ params.pause }}"]}),
    ),
    now(
        "until",
        "Until this instant; one that has passed is no wait.",
        || json!({"type": "string", "examples": ["2026-01-31T02:00:00Z", "${{ run.interval.end }}"]}),
    ),
];

/// The keys of `approve`.
pub(crate) static APPROVE: &[Key] = &[
    now("message", "The question.", text),
    now("params", "What the person is asked for besides: as `params` of a DAG.", || {
        json!({"type": "object", "propertyNames": name_schema(false),
            "additionalProperties": {"$ref": "#/$defs/param"}})
    }),
];

/// The keys of `cache`.
pub(crate) static CACHE: &[Key] = &[
    now("for", "How old a result may be.", duration),
    now(
        "key",
        "An expression: what must have been the same besides.",
        || json!({"type": "string", "examples": ["start_of('day', run.logical_time)"]}),
    ),
];

/// The keys of a group.
pub(crate) static GROUP: &[Key] = &[
    now(
        "depends_on",
        "Tasks that come before the group, beside those that its members read.",
        texts,
    ),
    now("when", "An expression; the group is skipped when it gives false.", condition),
    now("trigger_rule", "What must have become of the tasks before.", trigger_rule),
    now("retry", "How often the whole group is tried again after it failed.", retry),
    now(
        "timeout",
        "The longest that the group may take; for each item, if it is mapped.",
        duration,
    ),
    now("for_each", FOR_EACH, for_each),
    now("max_parallel", MAX_PARALLEL, max_parallel),
    now("tolerate", TOLERATE, tolerate),
    now(
        "outputs",
        "What the group gives: the member whose table is the group's, or that under `table`, and values by name, as expressions.",
        || {
            json!({"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1,
                "additionalProperties": {"type": ["string", "number", "boolean"]}}],
                "examples": ["clean", {"table": "clean", "total": "tasks.clean.rows"}]})
        },
    ),
    now(
        "finally",
        "What is done after all members have ended, however they did: a list of actions with their modifiers. How they end changes nothing for the group.",
        || json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/task"}}),
    ),
];

const FOR_EACH: &str = "An expression that gives a list: the task runs once for each item, which its expressions know as `item`. Its table is that of all items together, in order, with the column `_item`.";
const MAX_PARALLEL: &str = "How many items are under way at once; one that waits for its retry is.";
const TOLERATE: &str =
    "How many items may fail, `2` or `5%`, before the whole has failed and no further item begins.";

fn for_each() -> Value {
    json!({"anyOf": [{"type": "string"}, {"type": "array"}], "examples": ["params.regions", "range(10)"]})
}

fn max_parallel() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": MAX_PARALLEL_MAX, "default": MAX_PARALLEL_DEFAULT})
}

fn tolerate() -> Value {
    json!({"type": ["integer", "string"], "default": 0, "examples": [2, "5%"]})
}

fn condition() -> Value {
    json!({"type": ["string", "boolean"], "examples": ["tasks.orders.rows > 0"]})
}

/// The most items of a list that may be under way at once.
pub(crate) const MAX_PARALLEL_MAX: u32 = 10_000;

/// The modifiers of a task.
pub(crate) static MODIFIERS: &[Key] = &[
    now(
        "depends_on",
        "Tasks that come before this one, beside those whose tables it reads.",
        texts,
    ),
    now(
        "from",
        "The table it reads; or several, by the names that its settings use: `{profiles: p, consent: c}`. A `load` has exactly one.",
        || {
            json!({"anyOf": [
                {"type": "string"},
                {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": [
                    {"type": "string"}, {"$ref": "#/$defs/input"}]}}
            ], "examples": ["rfm", {"profiles": "p", "consent": "c"}]})
        },
    ),
    now("bind", "Values for the `$names` of its SQL: expressions by name.", || {
        json!({"type": "object", "propertyNames": name_schema(false),
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "examples": [{"least": "params.least * 2"}]})
    }),
    now("when", "An expression; the task is skipped when it gives false.", condition),
    now(
        "retry",
        "How often a failed attempt is tried again, `3`, or more about it: `{limit: 3, delay: 10s}`.",
        retry,
    ),
    now("timeout", "The longest that an attempt may take.", duration),
    now("trigger_rule", "What must have become of the tasks before.", trigger_rule),
    now(
        "checks",
        "What must hold of the task's table.",
        || json!({"type": "array", "items": {"$ref": "#/$defs/check"}}),
    ),
    now("pool", "Where the task gets its slot.", pool),
    now("env", "Environment variables of its command.", env),
    now(
        "outputs",
        "What its command leaves, by name: small values for expressions, and tables.",
        || {
            json!({"type": "object", "propertyNames": name_schema(false), "minProperties": 1,
            "additionalProperties": {"anyOf": [
                {"enum": output_types()}, {"$ref": "#/$defs/output"}]},
            "examples": [{"total": "integer", "scores": {"type": "table", "format": "csv"}}]})
        },
    ),
    now(
        "cache",
        "How long its result is used again, as long as what it is made from stays the same: `1d`, or more about it: `{for: 1d, key: EXPRESSION}`.",
        || json!({"anyOf": [{"$ref": "#/$defs/cache"}, duration()]}),
    ),
    later("queue_timeout", "The longest that it may wait for a slot."),
    now("for_each", FOR_EACH, for_each),
    now("max_parallel", MAX_PARALLEL, max_parallel),
    now("tolerate", TOLERATE, tolerate),
    later("slots", "How many slots of the pool it takes."),
    later("priority", "Which task gets a free slot first."),
    later("rate", "How often it may start."),
    later("workdir", "Where its command runs."),
    later("dataset", "The name of the dataset that it makes."),
    later("engine", "Where its SQL runs."),
    later("worker", "Which machines may run it."),
    later("depends_on_past", "Whether it waits for the run before."),
    later("on_failure", "What happens after it failed."),
    later("on_success", "What happens after it succeeded."),
    later("finally", "What happens after it, however it ended."),
];

/// The keys of `defaults`.
pub(crate) static DEFAULTS: &[Key] = &[
    now("retry", "As `retry` of a task. A task's own keys take precedence one by one.", retry),
    now("timeout", "As `timeout` of a task.", duration),
    now("trigger_rule", "As `trigger_rule` of a task.", trigger_rule),
    now("pool", "As `pool` of a task.", pool),
    now("env", "As `env` of a task, for all commands. A task's own variables are added.", env),
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
    later("when", "Which failures are tried again."),
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

fn duration() -> Value {
    json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$",
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
                let near = report.did_you_mean(&entry.key, keys().map(|key| key.name));
                let usable = keys().filter(|key| !key.later).map(|key| key.name);
                let help = near.unwrap_or_else(|| format!("it takes {}", listed(usable)));
                report.error(&codes::UNKNOWN_KEY, entry.place, message).help(help);
            }
        }
    }
}
