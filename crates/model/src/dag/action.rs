//! What a task does, and what must hold of its table.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::id::{DagId, TaskIx, VarName};
use crate::params::Param;
use crate::template::Template;

/// What a task does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Reads rows from a connector into the task's table.
    Ingest {
        /// The connector.
        connector: String,
        /// Its settings.
        config: Template,
    },
    /// Makes tables from tables.
    Transform {
        /// The transform.
        kind: String,
        /// Its settings.
        config: Template,
        /// The tables it makes: `""` is the one named like the task.
        outputs: Vec<String>,
    },
    /// Writes a table to a connector.
    Load {
        /// The connector.
        connector: String,
        /// Its settings.
        config: Template,
    },
    /// Runs a command.
    Run(Command),
    /// Does nothing: a place where branches meet.
    Noop,
    /// Holds other tasks, its members.
    Group(Group),
    /// Waits until an instant, and holds no worker.
    Wait(Wait),
    /// Waits for a person to say yes or no.
    Approve(Approve),
    /// Runs another DAG, and waits for it.
    Call(Call),
}

/// What is wrong with a path that shall lead to a folder inside of another, if something is. An
/// expression in it counts as one folder.
pub fn leaves(path: &str) -> Option<&'static str> {
    if path.starts_with(['/', '~', '\\']) || path.get(1..2) == Some(":") {
        return Some("is no path from the folder of the DAG");
    }
    let mut depth = 0_i64;
    for part in path.split('/') {
        depth += match part {
            ".." => -1,
            "" | "." => 0,
            _ => 1,
        };
        if depth < 0 {
            return Some("leads out of the folder of the DAG");
        }
    }
    None
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// A span of time, from when the task's turn has come.
    For(Template),
    /// An instant.
    Until(Template),
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Approve {
    /// The question.
    pub message: Option<Template>,
    /// What the person is asked for besides yes or no.
    pub params: IndexMap<VarName, Param>,
}

/// A run of another DAG.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The DAG.
    pub dag: DagId,
    /// Its params; those that are not given have their defaults.
    pub params: Template,
    /// The table of that run which is the task's own.
    pub table: Option<String>,
}

/// What a group gives to those outside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// The member whose table is the group's, and that table's name in the DAG.
    pub table: Option<(TaskIx, String)>,
    /// Values, from expressions that see the members.
    pub outputs: IndexMap<VarName, Expr>,
}

impl Action {
    /// The key of the language.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Ingest { .. } => "ingest",
            Self::Transform { .. } => "transform",
            Self::Load { .. } => "load",
            Self::Run(_) => "run",
            Self::Noop => "noop",
            Self::Group(_) => "tasks",
            Self::Wait(_) => "wait",
            Self::Approve(_) => "approve",
            Self::Call(_) => "call",
        }
    }

    /// The key below it: the connector, the transform, or the command's form.
    pub fn kind(&self) -> &str {
        match self {
            Self::Ingest { connector, .. } | Self::Load { connector, .. } => connector,
            Self::Transform { kind, .. } => kind,
            Self::Run(Command::Argv(_)) => "command",
            Self::Run(Command::Shell { .. }) => "shell",
            Self::Noop => "noop",
            Self::Group(_) => "group",
            Self::Wait(Wait::For(_)) => "for",
            Self::Wait(Wait::Until(_)) => "until",
            Self::Approve(_) => "person",
            Self::Call(call) => call.dag.as_str(),
        }
    }
}

/// A command, in one of its two forms.
#[derive(Debug, Clone)]
pub enum Command {
    /// A program and its arguments. No shell reads them.
    Argv(Vec<Template>),
    /// A script for `/bin/sh -eu`. Expressions are never part of its text: they travel in these
    /// environment variables, and stand in the text as quoted variables.
    Shell {
        /// The script.
        script: String,
        /// The variables it uses.
        variables: Vec<(String, Expr)>,
    },
}

/// Something that must hold of a task's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub rule: CheckRule,
    /// What happens when it does not.
    pub on_fail: OnFail,
}

/// The rule of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckRule {
    /// These columns hold no null.
    NotNull(Vec<String>),
    /// These columns together are different in every row.
    Unique(Vec<String>),
    /// The table has so many rows.
    Rows {
        /// At least.
        min: Option<u64>,
        /// At most.
        max: Option<u64>,
    },
    /// This SQL expression holds in every row.
    Where(String),
    /// This query gives no row.
    Sql(String),
}

/// What happens when a check does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The task fails.
    #[default]
    Stop,
    /// The rows to blame go to `TASK.rejects`, with the reason; the others go on.
    Quarantine,
    /// The task succeeds with a warning.
    Warn,
}
