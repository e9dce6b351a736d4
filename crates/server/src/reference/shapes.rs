//! The objects that routes give.

use super::Field;

/// Objects that several routes give, by name; one may begin with the fields of another.
pub static SHAPES: &[Shape] = &[
    Shape {
        name: "Run",
        of: None,
        fields: &[
            ("id", "`orders.17`"),
            ("dag", "its DAG"),
            ("number", "counts the DAG's runs from 1"),
            ("state", "`queued`, `running`, `succeeded`, `failed` or `cancelled`"),
            ("version", "the version of the DAG that it began with"),
            ("generation", "1, and one more for each time that it went again"),
            (
                "trigger",
                "`{by: schedule, tick, trigger}`, `{by: manual, who}` or `{by: call, run}`",
            ),
            ("params", "its params, by name"),
            ("interval", "`{start, end}`, or null: what its data are about"),
            ("logical_time", "the instant that it stands for"),
            ("cancel_requested", "whether its end was asked for"),
            ("reason", "why its end was asked for, where a rule of its DAG did; or null"),
            ("paused_by", "who lets it stand still, or null"),
            ("note", "what somebody had to say about it, `{text, who, at}`, or null"),
            ("created_at", "when it was called for"),
            ("started_at", "when it began, or null"),
            ("finished_at", "when it ended, or null"),
            ("duration_ms", "how long it took, or null before its end"),
            (
                "tasks_by_state",
                "how many tasks are in which state; states without tasks are left out",
            ),
        ],
    },
    Shape {
        name: "RunWithTasks",
        of: Some("Run"),
        fields: &[
            ("waits_for", "why the run itself waits, in words, or null"),
            ("tasks", "its tasks, each a [Task](#task), in the order of the DAG"),
        ],
    },
    Shape {
        name: "Task",
        of: None,
        fields: &[
            ("name", "its name; of an item `load[17]`, of its members `regions[3].fetch`"),
            ("group", "the group that it is a member of, or null"),
            (
                "action",
                "`ingest`, `transform`, `load`, `run`, `call`, `wait`, `approve`, `noop` or `tasks`, a group",
            ),
            ("kind", "the connector or transform; `command` or `shell`; `group`; the called DAG"),
            ("upstream", "tasks before it"),
            ("state", "see [states](state-machine.md)"),
            ("attempts", "attempts so far; the newest has this number"),
            ("retries", "attempts that followed a failure"),
            ("lost", "attempts that ended with a server and were begun again"),
            ("queued_at", "when it was ready for a slot, or null"),
            ("started_at", "when its newest attempt began, or null"),
            ("finished_at", "when it ended, or null"),
            ("retry_at", "when it is tried again, or null"),
            ("duration_ms", "how long its newest attempt took, or null before its end"),
            ("reason", "why it was skipped or did not start, or null"),
            (
                "marked",
                "the state that somebody gave it in this generation, whatever it did, or null",
            ),
            ("note", "what somebody had to say about it, `{text, who, at}`, or null"),
            ("waits_for", "what it waits for now, in words, or null"),
            ("called", "the run that its newest attempt called for, or null"),
            (
                "reused",
                "`{run, at}`: where and when its result was made, if it is that of an earlier run",
            ),
            ("error", "`{code, kind, message, place, help}` of the newest failure, or null"),
            ("rows_in", "rows read, or null until it has succeeded"),
            ("rows_out", "rows of its table, or rows written"),
            ("duplicates", "rows dropped because an equal one came before"),
            ("rejected", "rows set aside: a list of `{reason, rows}`"),
            ("tables", "its tables: a list of `{name, rows, bytes}`"),
            ("warnings", "checks that warned, in words"),
            ("outputs", "values for expressions, by name"),
            (
                "history",
                "attempts that have ended: `{attempt, generation, outcome, started_at, finished_at, duration_ms, error}`",
            ),
            (
                "items",
                "of a mapped task and of the members of a mapped group: `{total, begun, tolerated, by_state}`, or null",
            ),
        ],
    },
    Shape {
        name: "Dag",
        of: None,
        fields: &[
            ("id", "its name; null for a file from which not even that can be read"),
            ("file", "its file"),
            ("version", "the version that new runs take, or null"),
            ("description", "what it is for, or null"),
            ("owner", "who answers for it, or null"),
            ("tags", "its tags"),
            ("timezone", "the zone of its schedule"),
            ("schedule", "what starts its runs by itself: a cron line, `every 15m`; or null"),
            ("next_tick", "when it is due next, or null"),
            ("paused", "whether its schedule stands still"),
            ("paused_by", "who lets it, or the rule that does; or null"),
            ("retired", "whether its file is gone"),
            ("tasks", "how many tasks it has"),
            (
                "diagnostics",
                "what is wrong with its file: `{code, severity, blocks_run, message, file, line, column, length, source_line, source_offset, label, help}`",
            ),
            ("recent", "its newest runs, at most 14: `{id, state, created_at, duration_ms}`"),
        ],
    },
    Shape {
        name: "DagWithTasks",
        of: Some("Dag"),
        fields: &[
            ("deployed_at", "when its version came into force, or null"),
            ("params", "its params, by name: `{type, default, enum, description}`"),
            (
                "definition",
                "its tasks: `{name, group, for_each, action, kind, upstream, pool, timeout_ms}`; `upstream` holds `{task, why}`",
            ),
            (
                "meaning",
                "the DAG in the words of the language: every key with its value, defaults applied, dependencies found; or null",
            ),
            ("source", "the text of its file"),
        ],
    },
];

/// An object that routes give.
#[derive(Debug)]
pub struct Shape {
    /// Its name in the documentation.
    pub name: &'static str,
    /// The shape whose fields it begins with.
    pub of: Option<&'static str>,
    /// Its own fields.
    pub fields: &'static [Field],
}

impl Shape {
    /// A shape by its name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// The names of all its fields.
    pub fn names(&self) -> Vec<&'static str> {
        let of = self.of.and_then(Self::find).map(Self::names).unwrap_or_default();
        of.into_iter().chain(self.fields.iter().map(|(name, _)| *name)).collect()
    }
}
