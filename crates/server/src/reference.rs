//! What each route of the API takes and gives, in words. `docs/api.md` is made from this table and
//! the table of routes; tests compare both with what the routes accept and answer.

use crate::error::ErrorCode;
use crate::error::ErrorCode::{
    BadRequest, Conflict, Forbidden, Internal, Invalid, NotFound, TooLarge, Unauthorized,
    Unavailable, UnsupportedMediaType,
};

/// A route of the API.
#[derive(Debug)]
pub struct RouteDoc {
    /// Its method and path, as in the table of routes: `GET /api/v1/runs`.
    pub route: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Fields of the query (`GET`) or of the body (`POST`).
    pub takes: &'static [Field],
    /// What comes back.
    pub gives: Gives,
    /// Errors of its own, besides those that any route may give.
    pub errors: &'static [ErrorCode],
}

/// A field and what it means.
pub type Field = (&'static str, &'static str);

/// What a route gives.
#[derive(Debug, Clone, Copy)]
pub enum Gives {
    /// An object with these fields.
    Fields(&'static [Field]),
    /// An object of [`SHAPES`].
    Shape(&'static str),
    /// `{items, next}` with objects of [`SHAPES`].
    Page(&'static str),
    /// Something else, in words.
    Words(&'static str),
}

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

/// Errors that any route may give.
pub const ANY_ERRORS: &[ErrorCode] = &[BadRequest, Unauthorized, Forbidden, Internal, Unavailable];

/// Errors that any route with a body may give.
pub const BODY_ERRORS: &[ErrorCode] = &[TooLarge, UnsupportedMediaType];

const AFTER: Field = ("after", "`next` of the page before");
const LIMIT: Field = ("limit", "entries of the page, 1 to 200; 50 without it");
const STATE: Field = ("state", "only runs in one of these states, divided by commas");
const PARAMS: Field = ("params", "params by name; those that are missing take their defaults");
const INTERVAL: Field = (
    "interval",
    "`START/END`, dates or instants, the earlier first; without it the last whole interval of the schedule",
);
const CREATED: Gives = Gives::Fields(&[
    ("id", "the run's id; it is durable by now (201)"),
    ("url", "its page"),
    ("api", "its address in this API, as in the header `Location`"),
]);
const PAUSED: Gives = Gives::Fields(&[("dag", "the DAG"), ("paused", "whether it is paused now")]);

/// Every route of the API, in the order of the table of routes.
pub static ROUTES: &[RouteDoc] = &[
    RouteDoc {
        route: "GET /api/v1/dags",
        about: "DAGs, and files that do not load, by name.",
        takes: &[AFTER, LIMIT],
        gives: Gives::Page("Dag"),
        errors: &[],
    },
    RouteDoc {
        route: "GET /api/v1/dags/{dag}",
        about: "A DAG with its definition.",
        takes: &[],
        gives: Gives::Shape("DagWithTasks"),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/dags/{dag}/runs",
        about: "The runs of a DAG, newest first.",
        takes: &[STATE, AFTER, LIMIT],
        gives: Gives::Page("Run"),
        errors: &[],
    },
    RouteDoc {
        route: "POST /api/v1/dags/{dag}/runs",
        about: "Starts a run. With the header `Idempotency-Key` a request that is sent again gives the run that the first one gave, as long as the server runs.",
        takes: &[PARAMS, INTERVAL],
        gives: CREATED,
        errors: &[NotFound, Conflict, Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/dags/{dag}/pause",
        about: "Lets the schedule stand still. Runs under way go on.",
        takes: &[],
        gives: PAUSED,
        errors: &[NotFound],
    },
    RouteDoc {
        route: "POST /api/v1/dags/{dag}/resume",
        about: "Lets the schedule go on.",
        takes: &[],
        gives: PAUSED,
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/runs",
        about: "Runs, newest first.",
        takes: &[("dag", "only runs of this DAG"), STATE, AFTER, LIMIT],
        gives: Gives::Page("Run"),
        errors: &[],
    },
    RouteDoc {
        route: "GET /api/v1/runs/{run}",
        about: "A run with its tasks.",
        takes: &[],
        gives: Gives::Shape("RunWithTasks"),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/runs/{run}/wait",
        about: "Waits for the end of a run.",
        takes: &[("timeout", "the longest wait: `10s`; at most `25s`, which is also the default")],
        gives: Gives::Fields(&[
            ("id", "the run"),
            ("state", "its state now"),
            ("finished", "whether it has ended; if not, ask again"),
        ]),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/rerun",
        about: "Runs tasks of a run that has ended again, and all that comes after them: a new generation of the same run. What does not go again keeps its results.",
        takes: &[
            (
                "tasks",
                "`failed`, which is also the default: what failed, could not run or was cancelled; or `all`",
            ),
            ("from", "a task, in place of `tasks`"),
            ("latest", "true: with the version that the DAG has now, in place of its own"),
            ("preview", "true: nothing is done, the answer says what would be"),
        ],
        gives: Gives::Fields(&[
            ("id", "the run"),
            ("started", "whether it goes; false for a preview"),
            ("generation", "its generation from now on"),
            ("version", "the version that it goes on with"),
            ("again", "the tasks that go again, in the order of the DAG"),
            ("kept", "those whose results stay"),
            ("loads", "those that go again and write to another system"),
        ]),
        errors: &[NotFound, Conflict, Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/cancel",
        about: "Asks for the end of a run: its running tasks are stopped, the others do not start.",
        takes: &[],
        gives: Gives::Fields(&[
            ("id", "the run"),
            ("cancel_requested", "true; the end itself comes later (202)"),
        ]),
        errors: &[NotFound, Conflict],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/tasks/{task}/answer",
        about: "Answers the question of an `approve`.",
        takes: &[
            ("approved", "yes or no"),
            (
                "values",
                "the values that are asked for, by name; those left out have their defaults",
            ),
            ("note", "why, in words"),
        ],
        gives: Gives::Fields(&[
            ("run", "the run"),
            ("task", "the task"),
            ("approved", "the answer that it has now"),
        ]),
        errors: &[NotFound, Conflict, Invalid],
    },
    RouteDoc {
        route: "GET /api/v1/runs/{run}/tasks/{task}/items",
        about: "Items of a mapped task that have begun, in order.",
        takes: &[
            ("state", "only items in these states, divided by commas"),
            ("after", "`next` of the page before"),
            LIMIT,
        ],
        gives: Gives::Words(
            "`items`, each as a task of a run, with its number in `item` and, of a mapped group, its `members`; `next`, as in every page. A page may be short, or empty, and still have a next one",
        ),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/runs/{run}/tasks/{task}/logs",
        about: "Lines of the log of a task, or of an item of it: `load[17]`, `regions[3].fetch`.",
        takes: &[
            ("attempt", "the attempt, from 1; the newest without it"),
            ("from", "`next` of the page before, or `tail` for the last lines"),
            ("limit", "lines of the page, 1 to 5000; 1000 without it"),
            ("raw", "`true`: the bytes as they were written, as `text/plain`"),
            ("follow", "`true`: wait up to 20 s for a line or the end"),
        ],
        gives: Gives::Fields(&[
            ("run", "the run"),
            ("task", "the task"),
            ("attempt", "the attempt, or 0 when none has begun"),
            ("kept", "whether there is a log: a `noop` writes none, and logs go with old runs"),
            ("lines", "`{at, stream, text, offset}`; `stream` is `stdout`, `stderr` or `tidemill`"),
            ("next", "where the next page begins"),
            ("ended", "whether nothing comes after these lines"),
            ("dropped", "bytes that were not kept, because the log reached its cap"),
            ("bytes", "its size so far"),
        ]),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/runs/{run}/tables/{table}",
        about: "The first rows of a table of a run, or of an item: `load[17]`.",
        takes: &[("limit", "rows, 1 to 1000; 50 without it")],
        gives: Gives::Fields(&[
            ("run", "the run"),
            ("table", "the table"),
            ("task", "the task that made it"),
            ("total_rows", "rows of the whole table"),
            ("columns", "`{name, type}`, in order"),
            (
                "rows",
                "one list of values for each row; decimals are texts, so that no digit is lost",
            ),
        ]),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/questions",
        about: "What waits for a person's answer, oldest first.",
        takes: &[],
        gives: Gives::Words(
            "`items`, each `{run, task, message, params, since, callers}`; `callers` are the runs that called for the run, `params` those that the person is asked for, by name, as in a DAG",
        ),
        errors: &[],
    },
    RouteDoc {
        route: "POST /api/v1/run-file",
        about: "Loads a DAG file of the server's machine and starts a run of it; takes `Idempotency-Key` too.",
        takes: &[
            ("path", "the file; absolute"),
            PARAMS,
            INTERVAL,
            (
                "part",
                "a part of the DAG: `{only: TASK}` or `{from: TASK}`, and `{stubs: {TABLE: FILE}}` for tables whose rows are those of files (absolute); tasks before the part have their results from earlier runs",
            ),
        ],
        gives: CREATED,
        errors: &[Conflict, Invalid],
    },
    RouteDoc {
        route: "GET /api/v1/profiles",
        about: "Customer profiles, by id.",
        takes: &[AFTER, LIMIT],
        gives: Gives::Words(
            "`items`, the stored objects; `next`, as in every page; `total`, how many there are in all",
        ),
        errors: &[],
    },
    RouteDoc {
        route: "GET /api/v1/profiles/{id}",
        about: "A profile by its id, or by an identity written `email:ada@example.test`. `ETag` and `If-None-Match` are understood.",
        takes: &[],
        gives: Gives::Words("the object as it was stored"),
        errors: &[NotFound],
    },
    RouteDoc {
        route: "GET /api/v1/history",
        about: "How finished runs are kept.",
        takes: &[],
        gives: Gives::Words(
            "`recent`, runs in the records; `runs`, `tasks` and `bytes` of the segments; `segments`: `{name, runs, tasks, first, last, created, states, files}`, oldest first",
        ),
        errors: &[],
    },
    RouteDoc {
        route: "POST /api/v1/history/sql",
        about: "Answers a query over the tables `runs` and `tasks`: everything that is kept of them. Nothing is changed.",
        takes: &[("sql", "one query"), ("limit", "rows at most: 1 to 100,000, else 1,000")],
        gives: Gives::Fields(&[
            ("columns", "`{name, type}` of each"),
            ("rows", "values in the order of the columns"),
            ("more", "whether there are more rows than that"),
        ]),
        errors: &[Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/history/tidy",
        about: "Folds finished runs into the history now, and drops what is too old; else that happens by itself.",
        takes: &[],
        gives: Gives::Fields(&[
            ("folded", "runs that went from the records into a segment"),
            ("dropped", "runs that were too old"),
            ("bytes", "bytes of segments that are free now"),
        ]),
        errors: &[],
    },
    RouteDoc {
        route: "POST /api/v1/backup",
        about: "Copies everything that is kept to a new folder of the server's machine, while work goes on.",
        takes: &[("path", "the folder; absolute, and outside of the home")],
        gives: Gives::Fields(&[
            ("files", "files in the backup"),
            ("bytes", "their size"),
            ("position", "the last event that is in it"),
        ]),
        errors: &[Conflict, Invalid],
    },
    RouteDoc {
        route: "GET /api/v1/doctor",
        about: "What is wrong with what is kept. Nothing is changed.",
        takes: &[],
        gives: Gives::Words(
            "`findings`: `{severity, what, remedy, repaired}`, none when all is well",
        ),
        errors: &[],
    },
    RouteDoc {
        route: "GET /health",
        about: "Whether everything works: 200, or 503.",
        takes: &[],
        gives: Gives::Fields(&[
            ("status", "`ok` or `failing`"),
            ("version", "the version of the program"),
            ("ok", "whether every part works"),
            ("parts", "`{name, ok, detail}`"),
        ]),
        errors: &[],
    },
    RouteDoc {
        route: "GET /metrics",
        about: "Counters, gauges and histograms.",
        takes: &[],
        gives: Gives::Words("OpenMetrics text"),
        errors: &[],
    },
];
