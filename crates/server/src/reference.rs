//! What each route of the API takes and gives, in words. `docs/api.md` is made from this table and
//! the table of routes; tests compare both with what the routes accept and answer.

mod shapes;

use crate::error::ErrorCode;
use crate::error::ErrorCode::{
    BadRequest, Conflict, Forbidden, Internal, Invalid, NotFound, TooLarge, Unauthorized,
    Unavailable, UnsupportedMediaType,
};

pub use shapes::{SHAPES, Shape};

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
const FILTER: Field = (
    "filter",
    "`dag`, `state` (states, divided by commas), `created_after` and `created_before` (instants): runs that fit all that is given",
);
const OF_MANY: Field =
    ("preview", "true: nothing is done, the answer says to which runs it would be");
const WITHOUT: Field = ("with", "nothing: `{}`, or left out");
const BULK: Gives = Gives::Fields(&[
    ("runs", "the runs that the filter chose, newest first"),
    ("done", "to how many of them it was done"),
    ("refused", "those that it could not be done to: a list of `{id, detail}`, at most 100"),
    ("more", "whether the filter chooses still more: ask again"),
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
        about: "Runs tasks of a run again, and all that comes after them: a new generation of the same run. What does not go again keeps its results. In a run that has not ended, the other tasks go on meanwhile; none of those that begin anew may be under way.",
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
        route: "POST /api/v1/runs/{run}/pause",
        about: "Lets a run stand still: what runs goes on, nothing else of it begins, and no time limit of what waits counts, until it is resumed.",
        takes: &[],
        gives: Gives::Fields(&[("id", "the run"), ("paused", "true")]),
        errors: &[NotFound, Conflict],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/resume",
        about: "Lets a paused run go on.",
        takes: &[],
        gives: Gives::Fields(&[("id", "the run"), ("paused", "false")]),
        errors: &[NotFound, Conflict],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/mark",
        about: "Says of tasks how they ended, whatever they did. One that runs is ended first. Tasks that could not run because of them run then; they read no rows of a task that has none.",
        takes: &[
            ("state", "`succeeded`, `failed` or `skipped`"),
            ("tasks", "their names; without it, every task that is in another state"),
            ("note", "why, in words"),
            ("preview", "true: nothing is done, the answer says what would be"),
        ],
        gives: Gives::Fields(&[
            ("id", "the run"),
            ("done", "whether it is done; false for a preview"),
            ("state", "the state"),
            ("marked", "the tasks"),
            ("ended_first", "those among them that run, and are ended first"),
            ("again", "tasks that could not run because of them, and run now"),
        ]),
        errors: &[NotFound, Conflict, Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/note",
        about: "Leaves a note on a run, or on a task of it, in place of the one before. An empty text takes it away.",
        takes: &[("text", "at most 500 characters"), ("task", "the task, if it is about one")],
        gives: Gives::Fields(&[
            ("run", "the run"),
            ("task", "the task, or null"),
            ("text", "the note"),
        ]),
        errors: &[NotFound, Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/{run}/tasks/{task}/retry",
        about: "Lets a task that waits for its next try begin at once. It is the same try: the limit of `retry` stays.",
        takes: &[],
        gives: Gives::Fields(&[("run", "the run"), ("task", "the task")]),
        errors: &[NotFound, Conflict],
    },
    RouteDoc {
        route: "POST /api/v1/runs/rerun",
        about: "Runs tasks of every run that a filter chooses again. One call deals with at most 1,000 runs.",
        takes: &[FILTER, OF_MANY, ("with", "what `POST /api/v1/runs/{run}/rerun` takes")],
        gives: BULK,
        errors: &[Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/cancel",
        about: "Ends every run that a filter chooses. One call deals with at most 1,000 runs.",
        takes: &[FILTER, OF_MANY, WITHOUT],
        gives: BULK,
        errors: &[Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/pause",
        about: "Lets every run that a filter chooses stand still. One call deals with at most 1,000 runs.",
        takes: &[FILTER, OF_MANY, WITHOUT],
        gives: BULK,
        errors: &[Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/resume",
        about: "Lets every paused run that a filter chooses go on. One call deals with at most 1,000 runs.",
        takes: &[FILTER, OF_MANY, WITHOUT],
        gives: BULK,
        errors: &[Invalid],
    },
    RouteDoc {
        route: "POST /api/v1/runs/mark",
        about: "Says of tasks of every run that a filter chooses how they ended. One call deals with at most 1,000 runs.",
        takes: &[FILTER, OF_MANY, ("with", "what `POST /api/v1/runs/{run}/mark` takes")],
        gives: BULK,
        errors: &[Invalid],
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
