//! The DAGs that are called, and where their own calls lead.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_model::dag::{Action, Call};
use tidemill_model::decide::waiting::CALL_DEPTH_MAX;
use tidemill_model::{Dag, DagId, TaskIx, TaskName, VarName};

use super::Resolver;
use super::names::tables_of;
use crate::codes;
use crate::read::value;
use crate::report::{Place, listed, quoted};
use crate::yaml::node::Entry;
use crate::{Neighbour, Neighbours};

/// What is known of other DAGs, each asked for once.
pub(crate) struct Calls<'c> {
    others: &'c dyn Neighbours,
    asked: HashMap<DagId, Neighbour>,
    /// Of DAGs whose calls end, the longest chain of them, from the DAG on.
    chains: HashMap<DagId, Vec<DagId>>,
}

/// Calls that do not end, or that end too late, from a DAG on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endless {
    /// The last one is the first one or another one before, and this task of the one before it
    /// calls it again.
    Circle(Vec<DagId>, TaskName),
    /// There are more of them than may be inside each other.
    Deep(Vec<DagId>),
}

impl<'c> Calls<'c> {
    pub(crate) fn new(others: &'c dyn Neighbours) -> Self {
        Self { others, asked: HashMap::new(), chains: HashMap::new() }
    }

    /// What is known of the DAG of this name.
    pub(crate) fn neighbour(&mut self, name: &DagId) -> &Neighbour {
        let Self { others, asked, .. } = self;
        asked.entry(name.clone()).or_insert_with(|| others.dag(name))
    }

    /// The DAG of this name, where it is there.
    pub(crate) fn known(&mut self, name: &DagId) -> Option<Arc<Dag>> {
        match self.neighbour(name) {
            Neighbour::Known(dag) => Some(Arc::clone(dag)),
            _ => None,
        }
    }

    /// What is wrong with a call of `callee` by the DAG `own`.
    pub(crate) fn endless(&mut self, own: Option<&DagId>, callee: &DagId) -> Option<Endless> {
        self.chain(callee, &mut own.into_iter().cloned().collect()).err()
    }

    /// The longest chain of calls that begins with `name`, which those of `path` lead to.
    fn chain(&mut self, name: &DagId, path: &mut Vec<DagId>) -> Result<Vec<DagId>, Endless> {
        // A chain of two DAGs is one call.
        let is_deep = |dags: usize| dags > CALL_DEPTH_MAX as usize + 1;
        let whole = |path: &[DagId], chain: &[DagId]| [path, chain].concat();
        if let Some(chain) = self.chains.get(name) {
            let all = whole(path, chain);
            return if is_deep(all.len()) { Err(Endless::Deep(all)) } else { Ok(chain.clone()) };
        }
        path.push(name.clone());
        if is_deep(path.len()) {
            return Err(Endless::Deep(path.clone()));
        }
        let mut longest = Vec::new();
        for (task, callee) in self.known(name).iter().flat_map(|dag| calls_of(dag)) {
            if path.contains(callee) {
                let circle = whole(path, std::slice::from_ref(callee));
                return Err(Endless::Circle(circle, task.clone()));
            }
            let chain = self.chain(callee, path)?;
            if chain.len() > longest.len() {
                longest = chain;
            }
        }
        path.pop();
        longest.insert(0, name.clone());
        self.chains.insert(name.clone(), longest.clone());
        Ok(longest)
    }
}

/// The DAGs that a DAG calls, and the tasks that call them.
fn calls_of(dag: &Dag) -> impl Iterator<Item = (&TaskName, &DagId)> {
    dag.tasks().iter().filter_map(|task| match &task.action {
        Action::Call(Call { dag, .. }) => Some((&task.name, dag)),
        _ => None,
    })
}

/// The values that a task leaves to those who call its DAG; `None` where that is not known.
fn values_of(dag: &Dag, ix: TaskIx) -> Option<Vec<&str>> {
    let task = dag.task(ix);
    // What single items leave is not kept together.
    if dag.root(ix).is_some() {
        return Some(Vec::new());
    }
    Some(match &task.action {
        Action::Call(_) => return None,
        Action::Approve(_) => {
            task.output_names().map(VarName::as_str).chain(["by", "note"]).collect()
        }
        _ => task.output_names().map(VarName::as_str).collect(),
    })
}

/// The tasks of a DAG that leave values to those who call it.
fn leaving(dag: &Dag) -> Vec<&str> {
    let tasks = dag.tasks().iter().enumerate();
    let leaving = tasks.filter(|(at, task)| {
        let values = values_of(dag, TaskIx(*at as u32));
        task.group.is_none() && values.is_none_or(|values| !values.is_empty())
    });
    leaving.map(|(_, task)| task.name.as_str()).collect()
}

impl Resolver<'_, '_, '_, '_> {
    /// The table of the called run that becomes the task's own.
    pub(super) fn called_table(&mut self, entry: &Entry, callee: Option<&Dag>) -> Option<String> {
        let name = value::text("`table`", entry, self.report)?;
        let place = entry.node.place;
        if value::is_expr("`table` of `call`", "the name of a table", name, place, self.report) {
            return None;
        }
        let tables = callee.map(tables_of).unwrap_or_default();
        let Some(callee) = callee.filter(|_| !tables.iter().any(|table| table == name)) else {
            return Some(name.to_owned());
        };
        let is_repeated = |task: &str| callee.find(task).filter(|ix| callee.is_repeated(*ix));
        let group = is_repeated(name).or_else(|| is_repeated(name.rsplit_once('.')?.0));
        let known = || tables.iter().map(String::as_str);
        let help = if let Some(group) = group.and_then(|ix| callee.task(ix).group) {
            let group = &callee.task(group).name;
            format!("it is there for each item of `{group}`: name what that gives in its `outputs`")
        } else if let Some(near) = self.report.did_you_mean(name, known()) {
            near
        } else if tables.is_empty() {
            "it makes none: leave out `table`".to_owned()
        } else {
            format!("it makes {}", listed(known()))
        };
        let message = format!("DAG `{}` makes no table {}", callee.id, quoted(name));
        self.report.error(&codes::UNKNOWN_TABLE, place, message).help(help);
        None
    }

    /// Looks up what the run that the task `by` calls gives: `tasks.NAME.outputs.TASK`, and a value
    /// of that task.
    pub(super) fn called_output(
        &mut self,
        by: &str,
        call: &Entry,
        (task, value): (&str, Option<&str>),
        place: Place,
    ) -> bool {
        let name = call.node.text().or_else(|| call.node.entry("dag")?.node.text());
        let name: Option<DagId> = name.and_then(|name| name.parse().ok());
        let Some(callee) = name.and_then(|name| self.calls.known(&name)) else { return true };
        if task == "run" {
            return true;
        }
        let Some(ix) = callee.find(task) else {
            return self.no_called_task(by, &callee, task, place);
        };
        let Some(values) = values_of(&callee, ix) else { return true };
        let (message, help) = match value {
            _ if values.is_empty() => {
                let message = format!("task `{task}` of DAG `{}` leaves no values", callee.id);
                (message, no_values(&callee, ix))
            }
            Some(value) if !values.contains(&value) => {
                let names = || values.iter().copied();
                let near = self.report.did_you_mean(value, names());
                let id = &callee.id;
                let message =
                    format!("task `{task}` of DAG `{id}` has no output {}", quoted(value));
                (message, near.unwrap_or_else(|| format!("it has {}", listed(names()))))
            }
            _ => return true,
        };
        self.report.error(&codes::EXPR_NAME, place, message).help(help);
        false
    }

    fn no_called_task(&mut self, by: &str, dag: &Dag, task: &str, place: Place) -> bool {
        let leaving = leaving(dag);
        let near = self.report.did_you_mean(task, leaving.iter().copied());
        let message = format!("DAG `{}` has no task {}", dag.id, quoted(task));
        self.report.error(&codes::EXPR_NAME, place, message).maybe_help(near).or_help(|| {
            match leaving.as_slice() {
                [] => format!("its tasks leave no values; `tasks.{by}.outputs.run` is the run"),
                tasks => format!("those that leave values are {}", listed(tasks.iter().copied())),
            }
        });
        false
    }
}

/// What to do about a task of a called DAG that leaves nothing.
fn no_values(dag: &Dag, ix: TaskIx) -> String {
    let (task, id) = (&dag.task(ix).name, &dag.id);
    match &dag.task(ix).action {
        _ if dag.root(ix).is_some() => {
            format!("what its items leave is not kept: let a command of `{id}` after it leave that")
        }
        Action::Run(_) => {
            format!("say in `{id}` what `{task}` leaves: `outputs: {{NAME: integer}}`")
        }
        Action::Group(_) => {
            format!("say in `{id}` what `{task}` gives: `outputs: {{NAME: tasks.MEMBER.rows}}`")
        }
        _ => match leaving(dag).as_slice() {
            [] => {
                format!("only commands, groups and questions of `{id}` leave values, in `outputs`")
            }
            tasks => format!("those that leave values are {}", listed(tasks.iter().copied())),
        },
    }
}
