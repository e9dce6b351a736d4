//! The keys of a task: its actions, and its modifiers.

use serde_json::{Value, json};
use tidemill_model::dag::{MAX_PARALLEL_DEFAULT, Resources};

use super::{
    Key, SLOTS_MAX, dag_name, duration, env, label, later, name_schema, now, output_types, pool,
    retry, runs, text, texts, trigger_rule,
};

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

/// The bounds of `resources`.
pub(crate) const CPU_MIN: f64 = 0.01;
pub(crate) const CPU_MAX: f64 = 1024.0;
pub(crate) const PROCESSES_MAX: u32 = 4_194_304;
pub(crate) const FILES_MIN: u64 = 16;
pub(crate) const FILES_MAX: u64 = 1_048_576;

/// The keys of `resources`.
pub(crate) static RESOURCES: &[Key] = &[
    now(
        "memory",
        "The most memory: a whole number and a unit. A command that wants more is ended.",
        || {
            json!({"type": "string", "pattern": "^[0-9]+ ?([KMGT]i?)?B$",
            "patternErrorMessage": "A size is a whole number and a unit: `512MiB` `2GiB` `2GB`.",
            "examples": ["512MiB", "2GiB"]})
        },
    ),
    now(
        "cpu",
        "The most time of processors: `1.5` is one and a half of them. A command that wants more becomes slower.",
        || json!({"type": "number", "minimum": CPU_MIN, "maximum": CPU_MAX, "examples": [0.5, 2]}),
    ),
    now(
        "processes",
        "The most processes and threads at once. One more is refused to the command.",
        || {
            json!({"type": "integer", "minimum": 1, "maximum": PROCESSES_MAX,
            "default": Resources::PROCESSES_DEFAULT})
        },
    ),
    now("files", "The most open files of each process, as far as the system allows them.", || {
        json!({"type": "integer", "minimum": FILES_MIN, "maximum": FILES_MAX,
            "default": Resources::FILES_DEFAULT})
    }),
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

pub(super) fn condition() -> Value {
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
        "workdir",
        "The folder in which its command runs, from that of the DAG and below it.",
        || json!({"type": "string", "minLength": 1, "examples": ["scripts"]}),
    ),
    now(
        "resources",
        "How much of the machine its command may take, with everything that it starts: `{memory: 2GiB, cpu: 1.5}`.",
        || json!({"$ref": "#/$defs/resources"}),
    ),
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
    now("queue_timeout", "The longest that it may wait for a slot.", duration),
    now("for_each", FOR_EACH, for_each),
    now("max_parallel", MAX_PARALLEL, max_parallel),
    now("tolerate", TOLERATE, tolerate),
    now(
        "slots",
        "How many slots of the pool it takes.",
        || json!({"type": "integer", "minimum": 1, "maximum": SLOTS_MAX, "default": 1}),
    ),
    now(
        "priority",
        "Who gets a free slot first: the task with the greater number.",
        || json!({"type": "integer", "format": "int32", "default": 0}),
    ),
    now(
        "rate",
        "How many of its attempts may start in a span: `{limit: 10, per: 1m}`.",
        || json!({"$ref": "#/$defs/rate", "examples": [{"limit": 10, "per": "1m"}]}),
    ),
    later(
        "dataset",
        "The name of the dataset that its table is; without it `DAG.TASK`.",
        runs::dataset_name,
    ),
    later(
        "engine",
        "Where its SQL runs: here, on `ballista` or `spark`, or in a database: `{connection: NAME}`.",
        || {
            json!({"anyOf": [{"enum": ["local", "ballista", "spark"]}, {"$ref": "#/$defs/engine"}],
                "default": "local"})
        },
    ),
    later(
        "worker",
        "Which machines may run it: those with this label, or with all of these.",
        || {
            json!({"anyOf": [label(), {"type": "array", "minItems": 1, "items": label()}],
                "examples": ["gpu"]})
        },
    ),
    later(
        "depends_on_past",
        "Whether it waits until it has ended well in the run before.",
        || json!({"type": "boolean", "default": false}),
    ),
    later("on_failure", "What is done after it failed for good.", runs::handlers),
    later("on_success", "What is done after it succeeded.", runs::handlers),
    later("finally", "What is done after it, however it ended.", runs::handlers),
];
