//! The keys that say what starts runs, how many there are at once, and what comes after them; and
//! those of `calendars.yaml`.

use serde_json::{Value, json};
use tidemill_model::RunState;

use super::{ACTIONS, Key, MODIFIERS, condition, dag_name, duration, later, now, with_default};

/// The kinds of triggers: each trigger is exactly one of them.
pub(crate) const TRIGGER_KINDS: usize = 8;

/// The keys of a trigger: its kind first, of which there is exactly one.
pub(crate) static TRIGGER: &[Key] = &[
    now(
        "cron",
        "At the instants of a cron line: minute, hour, day of month, month, day of week; with `seconds` a field for them before these. A day may also be `L`, the last of the month, `LW`, its last working day, or `15W`, the working day nearest to the 15th; a day of the week `5#2`, the second Friday, or `5L`, the last one.",
        || json!({"type": "string", "format": "cron", "examples": ["0 2 * * *", "0 6 * * mon-fri"]}),
    ),
    now("every", "Each time that this span is over, from `start` on.", duration),
    now(
        "at",
        "Once, at this instant, which has its offset from UTC.",
        || json!({"type": "string", "format": "instant", "examples": ["2026-12-31T23:00:00+01:00"]}),
    ),
    now(
        "dataset",
        "When a run of another DAG has made this table: `crm.customers`, or more about it.",
        || json!({"anyOf": [{"$ref": "#/$defs/trigger_dataset"}, dataset_name()]}),
    ),
    later(
        "file",
        "When a file has come, and is complete.",
        || json!({"$ref": "#/$defs/trigger_file"}),
    ),
    now("dag", "When a run of another DAG has ended.", || json!({"$ref": "#/$defs/trigger_dag"})),
    later(
        "webhook",
        "When somebody has posted to `/hooks/SOURCE`.",
        || json!({"$ref": "#/$defs/trigger_webhook"}),
    ),
    later("stream", "When a broker has messages.", || json!({"$ref": "#/$defs/trigger_stream"})),
    now(
        "timezone",
        "Its zone; without it, that of the DAG.",
        || json!({"type": "string", "format": "timezone", "examples": ["Europe/Zurich"]}),
    ),
    now(
        "when",
        "An expression over `trigger` and `params`; no run starts when it gives false.",
        || {
            let mut schema = condition();
            schema["format"] = json!("expression");
            schema["examples"] = json!(["trigger.rows > 0"]);
            schema
        },
    ),
    now(
        "jitter",
        "Each run starts later by a share of this span, which is always the same for it.",
        duration,
    ),
    now(
        "blackout",
        "Times of the day in which no run starts; one that is due then is passed over.",
        || {
            json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/blackout"},
            "examples": [[{"from": "22:00", "to": "06:00"}]]})
        },
    ),
    now(
        "catchup",
        "What becomes of instants that were missed: none of them, the `latest`, or `all` is run.",
        || json!({"enum": CATCHUP, "default": "none"}),
    ),
    now("catchup_window", "Instants longer ago than this are not made up for.", duration),
    now("calendar", "The calendar of `calendars.yaml` that says which days do not count.", || {
        let mut schema = dag_name();
        schema["format"] = json!("calendar");
        schema
    }),
    now(
        "params",
        "The params of its runs, by name. They may read `trigger`: `${{ trigger.path }}`.",
        || json!({"type": "object", "propertyNames": super::name_schema(false)}),
    ),
    now("enabled", "Whether it starts runs.", || json!({"type": "boolean", "default": true})),
    now(
        "seconds",
        "Whether the cron line begins with a field for seconds.",
        || json!({"type": "boolean", "default": false}),
    ),
    now(
        "dst_fold",
        "Which of the two is meant when clocks go back and a time of the day comes twice.",
        || json!({"enum": ["first", "last"], "default": "first"}),
    ),
];

/// The values of `catchup`.
const CATCHUP: [&str; 3] = ["none", "latest", "all"];

/// The keys of `dataset` of a trigger.
pub(crate) static TRIGGER_DATASET: &[Key] = &[
    now("any", "One of these tables.", datasets),
    now("all", "All of these tables.", datasets),
    now(
        "consume",
        "What a run takes: `each` table that was made by itself, all that were made since as one `batch`, or the `latest` alone.",
        || json!({"enum": ["each", "batch", "latest"], "default": "each"}),
    ),
];

/// The keys of `file` of a trigger.
pub(crate) static TRIGGER_FILE: &[Key] = &[now(
    "path",
    "Which files: a path from the DAG's folder, in which `*`, `?` and `**` stand for anything.",
    || json!({"type": "string", "minLength": 1, "examples": ["inbox/*.csv"]}),
)];

/// The keys of `dag` of a trigger.
pub(crate) static TRIGGER_DAG: &[Key] = &[
    now("name", "The DAG.", || {
        let mut schema = dag_name();
        schema["format"] = json!("dag");
        schema
    }),
    now("states", "How its run has ended.", || {
        let ends = RunState::ALL.into_iter().filter(|state| state.is_final());
        let ends: Vec<&str> = ends.map(RunState::label).collect();
        json!({"type": "array", "minItems": 1, "items": {"enum": ends}, "default": ["succeeded"]})
    }),
];

/// The keys of `webhook` of a trigger.
pub(crate) static TRIGGER_WEBHOOK: &[Key] = &[
    now("source", "The name in the address: `/hooks/SOURCE`.", name),
    now("batch", "How many messages make a run.", || json!({"$ref": "#/$defs/batch"})),
];

/// The keys of `stream` of a trigger.
pub(crate) static TRIGGER_STREAM: &[Key] = &[
    now("kafka", "A topic of Kafka.", || json!({"$ref": "#/$defs/stream_kafka"})),
    now("batch", "How many messages make a run.", || json!({"$ref": "#/$defs/batch"})),
];

/// The keys of `kafka` of a stream.
pub(crate) static STREAM_KAFKA: &[Key] = &[
    now(
        "connection",
        "The connection to the broker.",
        || json!({"type": "string", "format": "connection", "minLength": 1}),
    ),
    now("topic", "The topic.", || json!({"type": "string", "minLength": 1})),
    now(
        "group",
        "The group of consumers that it reads as.",
        || json!({"type": "string", "minLength": 1, "default": "tidemill"}),
    ),
];

/// The keys of `batch`.
pub(crate) static BATCH: &[Key] = &[
    now(
        "rows",
        "So many messages at most.",
        || json!({"type": "integer", "minimum": 1, "maximum": BATCH_ROWS_MAX, "default": 500}),
    ),
    now("wait", "A message waits for others no longer than this.", || {
        with_default(duration(), "100ms")
    }),
];

/// More messages in one run than these are better read from the broker by an `ingest`.
const BATCH_ROWS_MAX: u32 = 1_000_000;

/// The keys of a time in `blackout`.
pub(crate) static BLACKOUT: &[Key] = &[
    now("from", "Its begin, on the clocks of the trigger's zone.", clock),
    now("to", "Its end; one that is before the begin is on the next day.", clock),
    now("days", "The days of the week on which it begins; without it, all.", weekdays),
];

/// The keys of `concurrency`.
pub(crate) static CONCURRENCY: &[Key] = &[
    now(
        "limit",
        "So many runs are active at once; with `key`, of each value of it.",
        || json!({"type": "integer", "minimum": 1, "maximum": RUNS_MAX, "default": 1}),
    ),
    now(
        "overlap",
        "What becomes of a run beyond the limit: it waits in a `queue`, is left out (`skip`), or takes the place of the oldest one (`replace`).",
        || json!({"enum": ["queue", "skip", "replace"], "default": "queue"}),
    ),
    now(
        "key",
        "An expression over `params`, `vars` and `run`: each value of it has a limit of its own.",
        || json!({"type": "string", "format": "expression", "examples": ["params.region"]}),
    ),
];

/// More active runs than these are a slip of the pen.
const RUNS_MAX: u32 = 1_000_000;

/// The keys of `deadline`.
pub(crate) static DEADLINE: &[Key] = &[
    now("within", "A run that has not ended after this span is late.", duration),
    now(
        "of",
        "From when the span counts: from when the run was `scheduled`, though it may never have started, or from when it `started`.",
        || json!({"enum": ["scheduled", "started"], "default": "scheduled"}),
    ),
];

/// The keys of `auto_pause`.
pub(crate) static AUTO_PAUSE: &[Key] = &[now(
    "after_failures",
    "So many runs that failed one after the other pause the DAG.",
    || json!({"type": "integer", "minimum": 1, "maximum": 10_000}),
)];

/// The keys of a handler that sends a message.
pub(crate) static HANDLER: &[Key] = &[
    now("notify", "Sends a message to this channel.", name),
    now("when", "An expression; nothing is sent when it gives false.", condition),
];

/// The keys of `rate`.
pub(crate) static RATE: &[Key] = &[
    now(
        "limit",
        "So many attempts may start in each span.",
        || json!({"type": "integer", "minimum": 1, "maximum": 1_000_000}),
    ),
    now("per", "The length of a span.", duration),
];

/// The keys of `engine`, where that is a database.
pub(crate) static ENGINE: &[Key] = &[now(
    "connection",
    "The connection of the database.",
    || json!({"type": "string", "format": "connection", "minLength": 1}),
)];

/// The keys of a calendar of `calendars.yaml`.
pub(crate) static CALENDAR: &[Key] = &[
    now(
        "holidays",
        "Days that do not count.",
        || json!({"type": "array", "items": {"type": "string", "format": "day", "examples": ["2026-01-01"]}}),
    ),
    now("weekends", "Days of the week that do not count.", || {
        let mut schema = weekdays();
        schema["default"] = json!(["sat", "sun"]);
        schema.as_object_mut().map(|fields| fields.remove("minItems"));
        schema
    }),
    now(
        "roll",
        "What becomes of a run on a day that does not count: it is left out (`skip`), or takes place on the `next` or the `previous` day that does.",
        || json!({"enum": ROLLS, "default": "skip"}),
    ),
    now(
        "include",
        "Calendars of the file whose holidays are also those of this one.",
        || json!({"type": "array", "items": {"type": "string"}}),
    ),
];

/// The values of `roll`, in the order of [`crate::Roll`].
pub(crate) const ROLLS: [&str; 3] = ["skip", "next", "previous"];

/// The days of the week, in the order of a week.
pub(crate) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Modifiers that mean nothing in a handler: it comes after what it belongs to, once.
pub(crate) const NOT_IN_HANDLERS: [&str; 8] = [
    "depends_on",
    "trigger_rule",
    "for_each",
    "max_parallel",
    "tolerate",
    "on_success",
    "on_failure",
    "finally",
];

/// What a handler may hold: `notify`, or one of the actions with its modifiers.
pub(crate) fn handler_keys() -> impl Iterator<Item = &'static Key> {
    let modifiers = MODIFIERS.iter().filter(|key| !NOT_IN_HANDLERS.contains(&key.name));
    HANDLER[..1].iter().chain(handler_actions()).chain(modifiers)
}

/// The actions of a handler.
pub(crate) fn handler_actions() -> impl Iterator<Item = &'static Key> {
    ACTIONS.iter().filter(|key| key.name != "tasks")
}

/// The value of `on_success`, `on_failure` and `finally`.
pub(super) fn handlers() -> Value {
    json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/handler"},
        "examples": [[{"notify": "ops-chat"}]]})
}

/// The name of a dataset: parts with points between them.
pub(super) fn dataset_name() -> Value {
    json!({"type": "string", "format": "dataset",
        "pattern": r"^[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_-]{0,62}){0,3}$",
        "patternErrorMessage": "A dataset is named by its DAG and its table, `crm.customers`, or as `dataset` of its task says."})
}

fn datasets() -> Value {
    json!({"type": "array", "minItems": 1, "items": dataset_name()})
}

fn name() -> Value {
    let mut schema = dag_name();
    schema["format"] = json!("name");
    schema
}

fn clock() -> Value {
    json!({"type": "string", "format": "clock", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$",
        "patternErrorMessage": "A time of the day is written `06:00`.", "examples": ["22:00"]})
}

fn weekdays() -> Value {
    json!({"type": "array", "minItems": 1, "items": {"enum": WEEKDAYS}})
}
