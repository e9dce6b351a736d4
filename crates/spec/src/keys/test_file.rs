//! The keys of `NAME.test.yaml`.

use serde_json::{Value, json};
use tidemill_model::TaskState;

use super::{Key, duration, now, text};

/// The keys of a file of tests.
pub(crate) static TESTS: &[Key] = &[now(
    "tests",
    "The tests, by name.",
    || json!({"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/test"}}),
)];

/// The keys of a test.
pub(crate) static TEST: &[Key] = &[
    now("params", "The params of the run.", object),
    now("interval", "The run's interval: `2026-01-30/2026-01-31`.", text),
    now(
        "now",
        "When the run is triggered, on the clock of the test; without it the end of the interval, or else 2026-01-01.",
        text,
    ),
    now("stubs", "What tasks give instead of doing what they would, by task.", || by_name(&stub())),
    now("connectors", "What every ingest of a connector gives, by connector.", || by_name(&stub())),
    now(
        "real",
        "Commands that are run all the same.",
        || json!({"type": "array", "items": {"type": "string"}}),
    ),
    now(
        "answers",
        "Answers to questions, by task: `true`, `false`, or `{approved: …, values: {…}}`.",
        || by_name(&json!({"anyOf": [{"$ref": "#/$defs/answer"}, {"type": "boolean"}]})),
    ),
    now("expect", "What is expected.", || json!({"$ref": "#/$defs/expect"})),
];

/// The keys of a stub, besides those of its rows.
pub(crate) static STUB: &[Key] = &[
    now("tables", "Further tables of the task, by name.", || by_name(&rows())),
    now("outputs", "Values of the task, by name.", object),
    now("fails", "It fails, with this message.", text),
    now(
        "times",
        "So many attempts fail, and then it succeeds; without it all of them.",
        || json!({"type": "integer", "minimum": 0}),
    ),
    now("takes", "How long an attempt takes, on the clock of the test.", duration),
    now("skips", "It has nothing to do, and skips.", || json!({"type": "boolean"})),
];

/// The keys of rows.
pub(crate) static ROWS: &[Key] = &[
    now("rows", "The rows, each a mapping from column to value.", || json!({"type": "array"})),
    now("file", "A file with the rows, beside the DAG: `.csv`, `.jsonl` or `.parquet`.", text),
    now("columns", "Types of columns, as for `csv`: `{amount: 'decimal(12,2)'}`.", object),
];

/// The keys of an answer.
pub(crate) static ANSWER: &[Key] = &[
    now("approved", "Yes or no.", || json!({"type": "boolean", "default": true})),
    now("values", "What is asked for besides, by name.", object),
];

/// What can be expected of a run.
pub(crate) static EXPECT: &[Key] = &[
    now("state", "How the run ends.", || json!({"enum": ["succeeded", "failed", "cancelled"]})),
    now("tasks", "How tasks end, by task.", || {
        by_name(&json!({"enum": TaskState::ALL.map(TaskState::label)}))
    }),
    now("tables", "Tables by name, `TASK` or `TASK.TABLE`.", || {
        by_name(&json!({"anyOf": [{"$ref": "#/$defs/expected_table"}, {"type": "array"}]}))
    }),
    now("outputs", "Values, by task and name.", object),
    now(
        "rendered",
        "Settings or words of tasks with their expressions evaluated; those that are not named may be anything.",
        object,
    ),
    now("errors", "A part of the error of a task, by task.", || by_name(&text())),
    now(
        "next_ticks",
        "The first instants of the schedule after `now`.",
        || json!({"type": "array", "items": {"type": "string"}}),
    ),
];

/// The keys of an expected table, besides those of its rows.
pub(crate) static EXPECTED_TABLE: &[Key] = &[
    now(
        "ordered",
        "Whether the order of the rows counts.",
        || json!({"type": "boolean", "default": false}),
    ),
    now(
        "tolerance",
        "By how much numbers may differ.",
        || json!({"type": "number", "minimum": 0, "default": 0}),
    ),
];

fn object() -> Value {
    json!({"type": "object"})
}

fn by_name(schema: &Value) -> Value {
    json!({"type": "object", "additionalProperties": schema})
}

fn stub() -> Value {
    json!({"anyOf": [{"$ref": "#/$defs/stub"}, {"type": "array"}]})
}

fn rows() -> Value {
    json!({"anyOf": [{"$ref": "#/$defs/rows"}, {"type": "array"}]})
}
