//! `run`: a command, in its own session, with nothing of ours but what the task says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tidemill_model::dag::{Command, leaves, written_size};
use tidemill_model::expr::Scope;
use tidemill_model::template::as_text;
use tidemill_model::{FailureKind, LostCause, TaskError};

use super::files::Files;
use super::{Attempt, Ended};
use crate::flag::Stop;
use crate::logs::path_of;
use crate::process::Met;
use crate::process::client::Fate;
use crate::process::order::Order;
use crate::process::protocol::{CommandEnd, How, Start, Stopped};
use crate::rendered::workdir;
use crate::scope::{expression_error, with_secrets};

/// A command that ends with this code says that there was nothing to do.
const SKIP_CODE: i32 = 99;

/// Environment variables.
pub(super) type Variables = Vec<(String, OsString)>;

pub(crate) async fn run(attempt: &Attempt, command: &Command) -> Ended {
    let task = attempt.task();
    let scope = match with_secrets(&attempt.order, task, &*attempt.shared.secrets) {
        Ok(scope) => scope,
        Err(error) => return Attempt::failed(&error),
    };
    let (words, mut env) = match words_of(attempt, command, &scope) {
        Ok(found) => found,
        Err(error) => return Ended::Failed(error),
    };
    let files = match Files::prepare(attempt).await {
        Ok(files) => files,
        Err(error) => return Attempt::failed(&error),
    };
    env.extend(files.variables());
    let folder = match folder_of(attempt, &scope) {
        Ok(folder) => folder,
        Err(error) => return Ended::Failed(error),
    };
    let name = attempt.order.dag.name_of(attempt.order.id.task);
    let resources = attempt.task().resources.or_default();
    let order =
        Order { id: &attempt.order.id, task: &name, words, env, folder: &folder, resources };
    let fate = match supervised(attempt, order).await {
        Ok(fate) => fate,
        Err(error) => {
            let text = format!("cannot start a process: {error}");
            return Ended::Failed(TaskError::new(FailureKind::Internal, text));
        }
    };
    collect(attempt, fate, files).await
}

/// Waits for a command that an earlier server started.
pub(crate) async fn adopted(attempt: &Attempt) -> Ended {
    attempt.stop.supervised();
    let fate = attempt.shared.supervisor.adopt(&attempt.order.id, &attempt.stop).await;
    match Files::adopted(attempt).await {
        Ok(files) => collect(attempt, fate, files).await,
        Err(error) => {
            attempt.log.take_back(Some(0));
            Attempt::failed(&error)
        }
    }
}

/// Has the supervisor start a command, and waits for its end.
async fn supervised(attempt: &Attempt, order: Order<'_>) -> std::io::Result<Fate> {
    let (shared, task) = (&attempt.shared, attempt.task());
    let (id, name) = (attempt.order.id.clone(), order.task.to_owned());
    let resources = order.resources;
    let (exec, token) = order.exec()?;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let start = Start {
        log: path_of(&shared.home.logs, &id, &name),
        id,
        task: name,
        token,
        log_limits: shared.limits.log,
        secrets: shared.secrets.values().iter().map(|s| s.expose().to_owned()).collect(),
        timeout_ms: task.timeout.map(|limit| millis(limit.saturating_sub(attempt.begun.elapsed()))),
        grace_ms: millis(shared.limits.grace),
        resources,
        keep: shared.supervisor.keeps(),
    };
    attempt.stop.supervised();
    attempt.log.release();
    let fate = shared.supervisor.run(start, &exec, &attempt.stop).await;
    if fate.is_err() {
        attempt.log.take_back(Some(0));
    }
    fate
}

/// Takes in what a command left.
async fn collect(attempt: &Attempt, fate: Fate, files: Files) -> Ended {
    let end = match fate {
        Fate::Ended(end) => end,
        Fate::GoesOn => {
            files.leave();
            return Ended::GoesOn;
        }
        Fate::Lost => {
            attempt.log.take_back(None);
            return Ended::Lost(LostCause::Supervisor);
        }
    };
    attempt.log.take_back(Some(end.dropped));
    match ended(attempt, &end) {
        None => files.collect(attempt).await,
        Some(ended) => ended,
    }
}

/// The folder in which the command runs.
fn folder_of(attempt: &Attempt, scope: &Scope) -> Result<PathBuf, TaskError> {
    let (task, of_dag) = (attempt.task(), &attempt.order.dag.folder);
    let wrong = |text: String| TaskError::new(FailureKind::Misconfigured, text);
    if !of_dag.is_dir() {
        return Err(wrong(format!("the folder `{}` of the DAG is not there", of_dag.display())));
    }
    let below = workdir(task, scope).map_err(|error| expression_error(task, "workdir", &error))?;
    let Some(below) = below else { return Ok(of_dag.clone()) };
    let at = || Some(format!("`workdir` of task `{}`", task.name));
    if let Some(why) = leaves(&below) {
        return Err(wrong(format!("`{below}` {why}")).at(at()));
    }
    let folder = of_dag.join(&below);
    if !folder.is_dir() {
        let text = format!("the folder `{}` is not there", folder.display());
        return Err(wrong(text).at(at()).help(Some("create it, or name another".to_owned())));
    }
    Ok(folder)
}

/// The words of the command and its variables, all expressions rendered.
fn words_of(
    attempt: &Attempt,
    command: &Command,
    scope: &Scope,
) -> Result<(Vec<OsString>, Variables), TaskError> {
    let task = attempt.task();
    let wrong = |key: &str| {
        let key = key.to_owned();
        move |error: tidemill_model::expr::ExprError| expression_error(task, &key, &error)
    };
    let mut env = own_variables(attempt);
    for (name, template) in &task.env {
        let value = template.render(scope).map_err(wrong(&format!("env.{name}")))?;
        env.push((name.clone(), text(&value, &format!("env.{name}"))?));
    }
    let words = match command {
        Command::Argv(words) => words
            .iter()
            .map(|word| text(&word.render(scope).map_err(wrong("run"))?, "run"))
            .collect::<Result<_, _>>()?,
        Command::Shell { script, variables } => {
            for (name, expr) in variables {
                let value = expr.eval(scope).map_err(wrong("run"))?;
                env.push((name.clone(), text(&value, "run")?));
            }
            ["/bin/sh", "-eu", "-c", script].into_iter().map(OsString::from).collect()
        }
    };
    Ok((words, env))
}

/// A value as one word. The system ends words at a zero byte, so none may hold one.
fn text(value: &Value, key: &str) -> Result<OsString, TaskError> {
    let text = as_text(value);
    if text.contains('\0') {
        let message =
            format!("a value of `{key}` holds a zero byte, which no command can be given");
        return Err(TaskError::new(FailureKind::Expression, message));
    }
    Ok(text.into())
}

fn own_variables(attempt: &Attempt) -> Variables {
    let order = &attempt.order;
    let interval =
        order.interval.map_or((order.logical_time, order.logical_time), |i| (i.start, i.end));
    [
        ("TIDEMILL_DAG", order.id.run.dag.to_string()),
        ("TIDEMILL_RUN_ID", order.id.run.to_string()),
        ("TIDEMILL_TASK", attempt.task().name.to_string()),
        ("TIDEMILL_ATTEMPT", order.id.attempt.to_string()),
        ("TIDEMILL_LOGICAL_TIME", order.logical_time.to_string()),
        ("TIDEMILL_INTERVAL_START", interval.0.to_string()),
        ("TIDEMILL_INTERVAL_END", interval.1.to_string()),
    ]
    .into_iter()
    .chain(order.id.task.item.map(|item| ("TIDEMILL_ITEM", item.to_string())))
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}

/// How the command ended, unless it is well.
fn ended(attempt: &Attempt, end: &CommandEnd) -> Option<Ended> {
    if !end.stubborn.is_empty() {
        let pids: Vec<String> = end.stubborn.iter().map(ToString::to_string).collect();
        let message = format!("unkillable: processes {} do not end", pids.join(", "));
        let help = "look what they wait for, for example with `ps -o pid,stat,wchan`".to_owned();
        let error = TaskError::new(FailureKind::Internal, message).help(Some(help));
        return Some(Ended::Unkillable(error));
    }
    if let Some(stopped) = end.stopped {
        return Some(was_stopped(attempt, stopped));
    }
    let said = |text: String| match end.last_line.as_str() {
        "" => text,
        line => format!("{text}: {line}"),
    };
    let failed = |kind, text| Some(Ended::Failed(limited(attempt, end.met, kind, text)));
    match &end.how {
        How::Code(0) => None,
        How::Code(SKIP_CODE) => {
            Some(Ended::Skipped(format!("the command ended with code {SKIP_CODE}")))
        }
        How::Code(code) => failed(FailureKind::Exit, said(format!("ended with code {code}"))),
        How::Signal(signal) => {
            failed(FailureKind::Signal, said(format!("was ended by {}", signal_name(*signal))))
        }
        How::Unknown => failed(FailureKind::Signal, said("was ended by a signal".to_owned())),
        How::NotStarted(error) => {
            failed(FailureKind::Internal, format!("cannot start a process: {error}"))
        }
    }
}

/// The error of a command, which may have met a limit.
fn limited(attempt: &Attempt, met: Met, kind: FailureKind, text: String) -> TaskError {
    let resources = attempt.task().resources.or_default();
    if let Some(bytes) = resources.memory_bytes.filter(|_| met.memory) {
        let text = format!("wanted more memory than its {}; {text}", written_size(bytes));
        let help = "give it more with `resources: {memory: …}`, or less to do";
        return TaskError::new(kind, text).help(Some(help.to_owned()));
    }
    let error = TaskError::new(kind, text);
    match resources.processes.filter(|_| met.processes) {
        None => error,
        Some(most) => error.help(Some(format!(
            "it was refused a process, because it had {most} at once; allow more with `resources: \
             {{processes: …}}`, or look what it starts"
        ))),
    }
}

/// Why a command was ended may be known to the supervisor alone: no server was there, or it is
/// another one now.
fn was_stopped(attempt: &Attempt, why: Stopped) -> Ended {
    match why {
        Stopped::Timeout => attempt.stop.raise(Stop::Timeout),
        // Whoever asked has been stopped itself since.
        Stopped::Asked => attempt.stop.raise(Stop::Shutdown),
        Stopped::Gone => return Ended::Lost(LostCause::Crash),
        Stopped::Terminated => return Ended::Lost(LostCause::Supervisor),
    }
    Ended::Stopped
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL (perhaps for want of memory)",
        11 => "SEGV",
        13 => "PIPE",
        15 => "TERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {name}")
}
