//! `run`: a command, in its own session, with nothing of ours but what the task says.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tidemill_connector::ConnectorError;
use tidemill_model::dag::Command;
use tidemill_model::expr::Scope;
use tidemill_model::template::as_text;
use tidemill_model::{Counts, FailureKind, TaskError, TaskResult};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Attempt, Ended};
use crate::logs::{AttemptLog, Stream};
use crate::process::spawn::{Order, Started};
use crate::scope::{expression_error, with_secrets};

/// A command that ends with this code says that there was nothing to do.
const SKIP_CODE: i32 = 99;

/// After the whole tree has ended, pipes are read this much longer at most: only a process that
/// escaped the tree can still hold them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bytes of the last line of the standard error that an error message quotes.
const QUOTE_BYTES_MAX: usize = 500;

/// The folder of input files, below that of attempts under way.
pub(crate) const INPUTS: &str = "inputs";

/// Environment variables.
type Variables = Vec<(String, OsString)>;

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
    let inputs = match Inputs::prepare(attempt) {
        Ok(inputs) => inputs,
        Err(error) => return Attempt::failed(&error),
    };
    env.extend(inputs.variables.iter().cloned());
    let folder = &attempt.order.dag.folder;
    if !folder.is_dir() {
        let text = format!("the folder `{}` of the DAG is not there", folder.display());
        return Ended::Failed(TaskError::new(FailureKind::Misconfigured, text));
    }
    let order = Order { id: &attempt.order.id, task: task.name.as_str(), words, env, folder };
    let started = match attempt.shared.spawner.start(order, &attempt.stop).await {
        Ok(started) => started,
        Err(error) => {
            let text = format!("cannot start a process: {error}");
            return Ended::Failed(TaskError::new(FailureKind::Internal, text));
        }
    };
    match watch(attempt, started).await {
        Ok(finished) => ended(&finished, inputs.rows),
        Err(error) => Ended::Failed(TaskError::new(
            FailureKind::Internal,
            format!("cannot watch the command: {error}"),
        )),
    }
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
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}

/// The attempt's input tables as files, named by variables. The files go with it.
struct Inputs {
    variables: Variables,
    folder: Option<PathBuf>,
    /// Rows that are handed over.
    rows: u64,
}

impl Inputs {
    fn prepare(attempt: &Attempt) -> Result<Self, ConnectorError> {
        let tables = attempt.inputs()?;
        let mut inputs = Self { variables: Vec::new(), folder: None, rows: 0 };
        if tables.is_empty() {
            return Ok(inputs);
        }
        let id = &attempt.order.id;
        let folder = attempt.shared.home.spill.join(INPUTS).join(format!(
            "{}.{}.{}",
            id.run,
            attempt.task().name,
            id.attempt
        ));
        std::fs::create_dir_all(&folder)
            .map_err(|error| ConnectorError::io("create the folder", &folder, &error))?;
        inputs.folder = Some(folder.clone());
        for (alias, table) in tables {
            attempt.stop.check()?;
            let path = folder.join(format!("{alias}.arrow"));
            crate::tables::export(&*table, &path)?;
            inputs.rows += table.rows();
            let name = alias.to_ascii_uppercase().replace('.', "_");
            inputs.variables.push((format!("TIDEMILL_INPUT_{name}"), path.into()));
        }
        Ok(inputs)
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
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

fn ended(finished: &Finished, rows_in: u64) -> Ended {
    if !finished.stubborn.is_empty() {
        let pids: Vec<String> = finished.stubborn.iter().map(ToString::to_string).collect();
        let message = format!("unkillable: processes {} do not end", pids.join(", "));
        return Ended::Unkillable(TaskError::new(FailureKind::Internal, message).help(Some(
            "look what they wait for, for example with `ps -o pid,stat,wchan`".to_owned(),
        )));
    }
    if finished.stopped {
        return Ended::Stopped;
    }
    let said = |text: String| match finished.last_line.as_str() {
        "" => text,
        line => format!("{text}: {line}"),
    };
    match (finished.status.code(), finished.status.signal()) {
        (Some(0), _) => {
            let counts = Counts { rows_in, ..Counts::default() };
            Ended::Done(TaskResult { counts, ..TaskResult::default() }, Vec::new())
        }
        (Some(SKIP_CODE), _) => Ended::Skipped(format!("the command ended with code {SKIP_CODE}")),
        (Some(code), _) => Ended::Failed(TaskError::new(
            FailureKind::Exit,
            said(format!("ended with code {code}")),
        )),
        (None, signal) => {
            let name = signal.map_or_else(|| "a signal".to_owned(), signal_name);
            Ended::Failed(TaskError::new(FailureKind::Signal, said(format!("was ended by {name}"))))
        }
    }
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
