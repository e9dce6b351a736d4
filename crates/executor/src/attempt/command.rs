//! `run`: a command, in its own session, with nothing of ours but what the task says.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tidemill_model::dag::{Command, leaves};
use tidemill_model::expr::Scope;
use tidemill_model::template::as_text;
use tidemill_model::{FailureKind, TaskError};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::files::Files;
use super::{Attempt, Ended};
use crate::logs::{AttemptLog, Stream};
use crate::process::spawn::{Order, Started};
use crate::rendered::workdir;
use crate::scope::{expression_error, with_secrets};

/// A command that ends with this code says that there was nothing to do.
const SKIP_CODE: i32 = 99;

/// After the whole tree has ended, pipes are read this much longer at most: only a process that
/// escaped the tree can still hold them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bytes of the last line of the standard error that an error message quotes.
const QUOTE_BYTES_MAX: usize = 500;

/// Environment variables.
pub(super) type Variables = Vec<(String, OsString)>;

/// What a finished command left.
struct Finished {
    status: ExitStatus,
    last_line: String,
    stubborn: Vec<i32>,
    /// Whether it was ended because it was to stop: then its code says nothing.
    stopped: bool,
}

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
    let order = Order { id: &attempt.order.id, task: &name, words, env, folder: &folder };
    let started = match attempt.shared.spawner.start(order, &attempt.stop).await {
        Ok(started) => started,
        Err(error) => {
            let text = format!("cannot start a process: {error}");
            return Ended::Failed(TaskError::new(FailureKind::Internal, text));
        }
    };
    let ended = match watch(attempt, started).await {
        Ok(finished) => ended(&finished),
        Err(error) => {
            let text = format!("cannot watch the command: {error}");
            return Ended::Failed(TaskError::new(FailureKind::Internal, text));
        }
    };
    match ended {
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

/// Reads the command's output until it has ended, or is ended; then ends what it left.
async fn watch(attempt: &Attempt, started: Started) -> std::io::Result<Finished> {
    let Started { mut child, stdout, stderr, tree, recorded } = started;
    let grace = attempt.shared.limits.grace;
    let log = attempt.log.clone();
    let readers = async {
        let out = read(stdout, Stream::Stdout, &log);
        let err = read(stderr, Stream::Stderr, &log);
        tokio::join!(out, err).1
    };
    tokio::pin!(readers);
    let mut last_line = None;
    let mut stubborn = Vec::new();
    let mut stopped = false;
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status?,
            line = &mut readers, if last_line.is_none() => last_line = Some(line),
            () = attempt.stop.raised() => {
                attempt.log.note("ending the command and everything it started");
                let end = tree.end(grace);
                tokio::pin!(end);
                // The pipes are read on meanwhile, so that nothing waits for us to read.
                let ended = loop {
                    tokio::select! {
                        ended = &mut end => break ended,
                        line = &mut readers, if last_line.is_none() => last_line = Some(line),
                    }
                };
                stopped = true;
                stubborn = ended.err().unwrap_or_default();
                if !stubborn.is_empty() {
                    // It may never end, and nobody can wait that long.
                    break child.try_wait()?.unwrap_or_default();
                }
                break child.wait().await?;
            }
        }
    };
    if stubborn.is_empty() && tree.may_be_left() {
        stubborn = tree.end(grace).await.err().unwrap_or_default();
    }
    let last_line = match last_line {
        Some(line) => line,
        None => tokio::time::timeout(DRAIN_MAX, &mut readers).await.unwrap_or_default(),
    };
    attempt.log.end_of_output();
    drop(recorded);
    Ok(Finished { status, last_line, stubborn, stopped })
}

/// Reads a pipe into the log; gives its last line that is not empty.
async fn read(mut pipe: impl AsyncRead + Unpin, stream: Stream, log: &AttemptLog) -> String {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut last: Vec<u8> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    while let Ok(n) = pipe.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        let bytes = &buffer[..n];
        log.output(stream, bytes);
        if stream == Stream::Stderr {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let room = QUOTE_BYTES_MAX.saturating_sub(open.len());
                open.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"\n") {
                    if !open.trim_ascii().is_empty() {
                        last.clone_from(&open);
                    }
                    open.clear();
                }
            }
        }
    }
    if !open.trim_ascii().is_empty() {
        last = open;
    }
    String::from_utf8_lossy(last.trim_ascii()).into_owned()
}

/// How the command ended, unless it is well.
fn ended(finished: &Finished) -> Option<Ended> {
    if !finished.stubborn.is_empty() {
        let pids: Vec<String> = finished.stubborn.iter().map(ToString::to_string).collect();
        let message = format!("unkillable: processes {} do not end", pids.join(", "));
        let help = "look what they wait for, for example with `ps -o pid,stat,wchan`".to_owned();
        let error = TaskError::new(FailureKind::Internal, message).help(Some(help));
        return Some(Ended::Unkillable(error));
    }
    if finished.stopped {
        return Some(Ended::Stopped);
    }
    let said = |text: String| match finished.last_line.as_str() {
        "" => text,
        line => format!("{text}: {line}"),
    };
    Some(match (finished.status.code(), finished.status.signal()) {
        (Some(0), _) => return None,
        (Some(SKIP_CODE), _) => Ended::Skipped(format!("the command ended with code {SKIP_CODE}")),
        (Some(code), _) => Ended::Failed(TaskError::new(
            FailureKind::Exit,
            said(format!("ended with code {code}")),
        )),
        (None, signal) => {
            let name = signal.map_or_else(|| "a signal".to_owned(), signal_name);
            Ended::Failed(TaskError::new(FailureKind::Signal, said(format!("was ended by {name}"))))
        }
    })
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
