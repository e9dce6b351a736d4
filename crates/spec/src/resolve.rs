//! From a [`DagSpec`] to a [`Dag`]: names are looked up, expressions and SQL read, dependencies
//! found, cycles refused.
//!
//! * [`names`]: what a name can mean; [`uses`]: what a task turns out to use;
//! * [`exprs`]: control expressions; [`known`]: the types of what they read; [`habits`]: forms that
//!   are none; [`texts`]: SQL and message texts; [`tables`]: the tables that are read;
//! * [`groups`]: groups and mapping; [`action`]: the action and its settings; [`command`]: the command of a `run`;
//! * [`waiting`]: actions that wait; [`calls`]: the DAGs that are called, and where their calls lead;
//! * [`vars`]: values that expressions share; [`task`]: the whole task;
//! * [`later`]: keys that no code runs yet; [`triggers`], [`timers`]: what starts runs, and instants
//!   that are known ahead; [`version`]: the hash of the canonical form.

mod action;
mod calls;
mod command;
mod exprs;
mod forms;
mod groups;
mod habits;
mod known;
mod later;
pub(crate) mod names;
mod tables;
mod task;
mod texts;
mod timers;
mod triggers;
mod uses;
mod vars;
mod version;
mod waiting;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use tidemill_model::dag::TriggerDef;
use tidemill_model::dag::{Cycle, DagHead, Task};
use tidemill_model::expr::Type;
use tidemill_model::{Dag, Version};

use crate::Neighbours;
use crate::catalog::Catalog;
use crate::codes;
use crate::report::{Place, Report};
use crate::spec::{DagSpec, TaskSpec};
use calls::Calls;
use names::Names;
use uses::Uses;

/// The built-in table of the row counts and results of the run's own tasks.
pub(crate) const RUN_TASKS: &str = "run_tasks";
/// The `$names` that SQL has without `bind`.
pub(crate) const RUN_VALUES: &[&str] =
    &["interval_start", "interval_end", "run_id", "logical_time"];
/// The `$names` of the language that this version has no value for.
pub(crate) const LATER_VALUES: &[&str] = &["cursor_from", "cursor_to"];
/// Names that belong to the language and have no value in this version: those that expressions
/// start with, and the `$names` of SQL.
pub const RESERVED_NAMES: [&[&str]; 2] = [exprs::LATER_ROOTS, LATER_VALUES];

/// What the steps share.
pub(crate) struct Resolver<'c, 'n, 'r, 'a> {
    pub(crate) catalog: &'c Catalog,
    pub(crate) spec: &'c DagSpec<'n>,
    pub(crate) names: Names,
    pub(crate) calls: Calls<'c>,
    /// The type of `item`, where there is one.
    pub(crate) item: Option<Type>,
    /// What is done after a task or a run, while that is resolved.
    pub(crate) after: Option<&'c TaskSpec<'n>>,
    /// Whether `error` has a value: where something has failed.
    pub(crate) knows_error: bool,
    /// The types of the items of mapped tasks, by their place.
    pub(crate) items: HashMap<usize, Type>,
    /// The types of the vars that were read so far.
    pub(crate) vars: IndexMap<&'n str, Type>,
    /// What starts runs by itself, as far as this version does.
    pub(crate) triggers: Vec<TriggerDef>,
    pub(crate) report: &'r mut Report<'a>,
}

impl<'c, 'n> Resolver<'c, 'n, '_, '_> {
    /// Who reads what these uses are collected from.
    pub(crate) fn reader(&self, uses: &Uses) -> &'c TaskSpec<'n> {
        self.after.unwrap_or_else(|| &self.spec.tasks[uses.at])
    }
}

/// Resolves the whole file; `None` when anything is wrong.
pub(crate) fn dag(
    spec: DagSpec<'_>,
    folder: &Path,
    (catalog, neighbours): (&Catalog, &dyn Neighbours),
    report: &mut Report,
) -> Option<Arc<Dag>> {
    let names = Names::new(&spec, catalog);
    let mut resolver = Resolver {
        catalog,
        spec: &spec,
        names,
        calls: Calls::new(neighbours),
        item: None,
        after: None,
        knows_error: false,
        items: HashMap::new(),
        vars: IndexMap::new(),
        triggers: Vec::new(),
        report,
    };
    let vars = resolver.vars();
    let (mut tasks, mut uses): (Vec<Task>, Vec<Uses>) =
        (0..spec.tasks.len()).map(|at| resolver.task(at)).unzip();
    resolver.trigger_of_schedule();
    let forms = resolver.forms_of_dag();
    let triggers = std::mem::take(&mut resolver.triggers);
    forms::hand_down(&mut tasks);
    groups::hoist(&spec, &mut uses);
    for (task, uses) in tasks.iter_mut().zip(&uses) {
        task.upstream = uses.upstream();
    }
    let DagSpec { name, description, owner, tags, timezone, start, schedule, params, .. } = spec;
    let id = match name {
        Some(id) => id,
        // Cycles are worth reporting even so.
        None => "unnamed".parse().ok()?,
    };
    let mut head = DagHead {
        id,
        version: Version::of(&[]),
        description,
        owner,
        tags,
        timezone,
        start,
        triggers,
        concurrency: forms::concurrency(&forms),
        timeout: forms::span(&forms, "timeout"),
        auto_pause: forms::auto_pause(&forms),
        params,
        vars,
        folder: folder.to_owned(),
        forms,
    };
    let schedule_text = schedule.as_ref().map(|(_, text)| text.as_str());
    head.version = version::of(&head, schedule_text, &tasks);
    match Dag::new(head, tasks) {
        Ok(dag) => (!report.has_errors()).then(|| Arc::new(dag)),
        Err(cycle) => {
            report_cycle(&cycle, &uses, report);
            None
        }
    }
}

/// Reports a whole cycle, at the dependency of its first task.
fn report_cycle(cycle: &Cycle, uses: &[Uses], report: &mut Report) {
    const SHOWN_MAX: usize = 12;
    let Cycle(names) = cycle;
    let find = |name: &str| uses.iter().find(|uses| uses.name == name);
    // Each task waits for the one before it, the first one for the last.
    let waits: Vec<(&str, &str, String, Place)> = names
        .iter()
        .zip(names.iter().cycle().skip(names.len().saturating_sub(1)))
        .filter_map(|(task, before)| {
            let (why, place) = find(task.as_str())?.why(before.as_str())?;
            Some((task.as_str(), before.as_str(), why, place))
        })
        .take(SHOWN_MAX)
        .collect();
    let mut shown: Vec<String> =
        names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN_MAX {
        shown.push("…".to_owned());
    }
    shown.extend(names.first().map(|name| format!("`{name}`")));
    let message = format!("tasks wait for each other: {}", shown.join(" → "));
    let Some((task, before, _, place)) = waits.first() else {
        report.error(&codes::CYCLE, Place::default(), message);
        return;
    };
    let reasons: Vec<String> = waits
        .iter()
        .map(|(task, before, why, _)| format!("`{task}` waits for `{before}` ({why})"))
        .collect();
    report
        .error(&codes::CYCLE, *place, message)
        .label(format!("`{task}` waits for `{before}` here"))
        .help(format!("remove one of: {}", reasons.join(", ")));
}
