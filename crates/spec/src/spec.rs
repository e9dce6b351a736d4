//! A DAG file as written: [`DagSpec`], [`TaskSpec`].
//!
//! Every value has its type; no name has been looked up yet. What could not be read is left out,
//! and in the report.

use std::borrow::Cow;
use std::time::Duration;

use chrono_tz::Tz;
use indexmap::{IndexMap, IndexSet};
use tidemill_model::dag::{Check, Param, Resources};
use tidemill_model::outputs::{FileFormat, Output};
use tidemill_model::retry::RetryPolicy;
use tidemill_model::schedule::Schedule;
use tidemill_model::trigger_rule::TriggerRule;
use tidemill_model::{DagId, PoolName, Timestamp, VarName};

use crate::report::Place;
use crate::yaml::node::{Entry, Node};

/// The file.
pub(crate) struct DagSpec<'n> {
    pub(crate) name: Option<DagId>,
    pub(crate) description: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) timezone: Tz,
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
    pub(crate) schedule: Option<(Schedule, String)>,
    pub(crate) params: IndexMap<VarName, Param>,
    /// The names of all params, those that cannot be read included.
    pub(crate) param_names: IndexSet<&'n str>,
    pub(crate) vars: &'n [Entry],
    pub(crate) tasks: Vec<TaskSpec<'n>>,
    /// Keys that no code runs yet.
    pub(crate) later: Vec<&'n Entry>,
    /// What is done after a run.
    pub(crate) handlers: Vec<HandlerSpec<'n>>,
}

/// A task.
pub(crate) struct TaskSpec<'n> {
    /// The whole name, which may be none: `group.member` of a member.
    pub(crate) name: String,
    /// The name as written, without that of its group.
    pub(crate) short: Cow<'n, str>,
    /// The place of its group in the list.
    pub(crate) group: Option<usize>,
    /// Whether it comes after all other members of its group.
    pub(crate) is_finally: bool,
    /// What it is mapped over.
    pub(crate) mapping: MappingSpec<'n>,
    /// What a group gives.
    pub(crate) group_outputs: GroupOutputsSpec<'n>,
    /// What a person is asked for.
    pub(crate) asked: IndexMap<VarName, Param>,
    /// The place of the name.
    pub(crate) place: Place,
    /// Its action; `None` when there is not exactly one.
    pub(crate) action: Option<ActionSpec<'n>>,
    pub(crate) depends_on: Vec<(&'n str, Place)>,
    pub(crate) from: Vec<InputSpec<'n>>,
    /// The key of `from`.
    pub(crate) from_place: Option<Place>,
    pub(crate) bind: Vec<&'n Entry>,
    pub(crate) when: Option<&'n Node>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) resources: Resources,
    pub(crate) trigger_rule: TriggerRule,
    pub(crate) checks: Vec<CheckSpec<'n>>,
    /// The key of `checks`.
    pub(crate) checks_place: Option<Place>,
    pub(crate) pool: PoolName,
    /// Where the pool is named: by the task, or by `defaults`.
    pub(crate) pool_place: Option<Place>,
    pub(crate) env: Vec<&'n Entry>,
    /// Variables of the folder, which go after those.
    pub(crate) folder_env: IndexMap<String, String>,
    /// The key of the task's own `env`.
    pub(crate) env_place: Option<Place>,
    pub(crate) cache: Option<CacheSpec<'n>>,
    pub(crate) outputs: IndexMap<VarName, Output>,
    /// The key of `outputs`.
    pub(crate) outputs_place: Option<Place>,
    /// Its keys as they are written.
    pub(crate) entries: &'n [Entry],
    /// `retry.when`, of the task or of `defaults`.
    pub(crate) retry_when: Option<RetryWhen<'n>>,
    /// What is done after it.
    pub(crate) handlers: Vec<HandlerSpec<'n>>,
}

impl TaskSpec<'_> {
    /// Where the task itself has a key, rather than `defaults`.
    pub(crate) fn place_of(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.place)
    }
}

/// Which failures are tried again.
#[derive(Clone)]
pub(crate) enum RetryWhen<'n> {
    /// An expression of the file.
    Here(&'n Node),
    /// The text of one in the defaults of the folder, which is known to parse.
    Folder(String),
}

/// Something that is done after a task or a run.
pub(crate) struct HandlerSpec<'n> {
    /// `on_failure`, `on_success` or `finally`.
    pub(crate) key: &'n str,
    pub(crate) what: HandlerAction<'n>,
}

/// What a handler does.
pub(crate) enum HandlerAction<'n> {
    /// Sends a message, if the expression holds.
    Notify(Option<&'n Node>),
    /// What a task does.
    Task(Box<TaskSpec<'n>>),
}

/// What a task is mapped over, and how.
#[derive(Default)]
pub(crate) struct MappingSpec<'n> {
    /// The value and the key of `for_each`.
    pub(crate) for_each: Option<(&'n Node, Place)>,
    pub(crate) max_parallel: Option<(u32, Place)>,
    pub(crate) tolerate: Option<(TolerateSpec<'n>, Place)>,
}

/// How many items may fail.
pub(crate) enum TolerateSpec<'n> {
    /// In percent.
    Percent(f64),
    /// An expression that gives the number.
    Items(&'n Node),
}

/// What a group gives.
#[derive(Default)]
pub(crate) struct GroupOutputsSpec<'n> {
    /// The member whose table is the group's.
    pub(crate) table: Option<(&'n str, Place)>,
    /// Expressions by name.
    pub(crate) values: Vec<&'n Entry>,
}

/// What a task does.
#[derive(Clone, Copy)]
pub(crate) enum ActionSpec<'n> {
    /// `ingest: {CONNECTOR: SETTINGS}`
    Ingest(&'n Entry),
    /// `transform: {TRANSFORM: SETTINGS}`
    Transform(&'n Entry),
    /// `load: {CONNECTOR: SETTINGS}`
    Load(&'n Entry),
    /// `run: COMMAND`
    Run(&'n Entry),
    /// `noop: {}`
    Noop,
    /// `tasks: {MEMBER: …}`
    Group,
    /// `wait: SPAN`
    Wait(&'n Entry),
    /// `approve: QUESTION`
    Approve(&'n Entry),
    /// `call: DAG`
    Call(&'n Entry),
    /// An action that this version cannot run.
    Later,
    /// The action is known, but what is below it cannot be read.
    Broken(&'n Entry),
}

/// A table that `from` names.
pub(crate) struct InputSpec<'n> {
    pub(crate) alias: &'n str,
    pub(crate) table: &'n str,
    pub(crate) place: Place,
    /// The form in which a command wants it, and where that is written.
    pub(crate) format: Option<(FileFormat, Place)>,
}

/// A check, and its SQL in the file.
pub(crate) struct CheckSpec<'n> {
    pub(crate) check: Check,
    pub(crate) place: Place,
    pub(crate) sql: Option<&'n Node>,
}

/// `cache`, read.
#[derive(Debug)]
pub(crate) struct CacheSpec<'n> {
    /// The key of the task.
    pub(crate) place: Place,
    pub(crate) max_age: Duration,
    pub(crate) key: Option<&'n Node>,
}
