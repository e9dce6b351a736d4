//! `tidemill logs`: what a task said.

use std::time::Duration;

use serde_json::Value;
use tidemill_model::TaskState;

use crate::access::Access;
use crate::cli::Logs;
use crate::commands::show::task_of;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::out;
use crate::progress::fetch;
use crate::view::{Run, Task};

/// Lines in a page.
const PAGE_LINES: usize = 1_000;

/// How often a log that is followed is asked for.
const ASK_EVERY: Duration = Duration::from_millis(300);

pub(crate) fn run(globals: &Globals, command: &Logs) -> Result<(), Failure> {
    with_home(globals, None, Mode::Look, async |access| print(access, command).await)
}

async fn print(access: &Access, command: &Logs) -> Result<(), Failure> {
    let attempt = attempt(access, command).await?;
    let base = format!(
        "/api/v1/runs/{}/tasks/{}/logs?attempt={attempt}&limit={PAGE_LINES}",
        command.run, command.task
    );
    let mut from = 0;
    let mut over = false;
    loop {
        let page = access.get(&format!("{base}&from={from}")).await?;
        let ended = page["ended"] == true;
        if page["kept"] == false && (over || ended || !command.follow) {
            let run = fetch(access, &command.run).await?;
            let task = task_of(access, &run, &command.task).await?.task;
            return Err(no_log(&run, &task, attempt));
        }
        if command.raw {
            return raw(access, &base).await;
        }
        let lines = page["lines"].as_array().cloned().unwrap_or_default();
        print!("{}", lines.iter().map(line_of).collect::<String>());
        from = page["next"].as_u64().unwrap_or(from);
        if ended || out::is_closed() {
            return Ok(());
        }
        if !lines.is_empty() {
            continue;
        }
        if over || !command.follow {
            return Ok(());
        }
        // A server that was killed could not write the log's end. What was written before the
        // attempt was seen to be over is there at the next look, which is the last one.
        let run = fetch(access, &command.run).await?;
        let task = task_of(access, &run, &command.task).await?.task;
        over = is_over(&task, attempt) || goes_on(access, &run, &task)?;
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The attempt that is meant. A log that is followed is waited for.
async fn attempt(access: &Access, command: &Logs) -> Result<u32, Failure> {
    loop {
        let run = fetch(access, &command.run).await?;
        let task = &task_of(access, &run, &command.task).await?.task;
        match (command.attempt, task.attempts) {
            (None, 1..) => return Ok(task.attempts),
            (Some(attempt), newest) if (1..=newest).contains(&attempt) => return Ok(attempt),
            (Some(attempt), newest @ 1..) if !command.follow || is_over(task, attempt) => {
                return Err(Failure::missing(format!(
                    "task `{}` of run {} has no attempt {attempt}; it has had {newest}",
                    task.name, run.id
                )));
            }
            _ if !command.follow || task.state.is_final() => return Err(not_started(&run, task)),
            _ => _ = goes_on(access, &run, task)?,
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Nothing comes after what is there when nobody works on the home.
fn goes_on(access: &Access, run: &Run, task: &Task) -> Result<bool, Failure> {
    match access.address() {
        Some(_) => Ok(false),
        None => Err(Failure::conflict(format!(
            "task `{}` of run {} is unfinished and no server is running; the next `tidemill serve` \
             goes on with it",
            task.name, run.id
        ))),
    }
}

fn is_over(task: &Task, attempt: u32) -> bool {
    task.state.is_final() || task.attempts > attempt
}

fn not_started(run: &Run, task: &Task) -> Failure {
    let why = task.reason.as_deref().or(task.waits_for.as_deref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let (name, id) = (&task.name, &run.id);
    let of_item = name.split_once('.').filter(|(group, _)| {
        !group.contains('[') && run.tasks.iter().any(|t| t.name == *group && t.items.is_some())
    });
    if let Some((group, member)) = of_item {
        return Failure::conflict(format!(
            "`{name}` of run {id} goes once for each item, and each has a log: name one, \
             `{group}[0].{member}`"
        ));
    }
    Failure::missing(match task.state {
        state if state.is_final() => {
            let state = state.label().replace('_', " ");
            format!("task `{name}` of run {id} never started, so it has no log ({state}{why})")
        }
        _ => format!("task `{name}` of run {id} has not started yet, so it has no log{why}"),
    })
}

fn no_log(run: &Run, task: &Task, attempt: u32) -> Failure {
    let what = format!("attempt {attempt} of task `{}` of run {}", task.name, run.id);
    Failure::missing(match (task.action.as_deref(), task.state) {
        (Some("noop"), _) => format!("{what} wrote no log: a `noop` does nothing"),
        (Some("call"), _) => match &task.called {
            Some(called) => {
                format!("{what} wrote no log: it called run {called}, which has its own")
            }
            None => format!("{what} wrote no log: it called another DAG"),
        },
        (Some(action @ ("wait" | "approve")), _) => {
            format!("{what} wrote no log: a `{action}` has nobody who works on it")
        }
        (Some("tasks"), _) => {
            format!(
                "{what} wrote no log: a group is nothing but its members, `{}.MEMBER`",
                task.name
            )
        }
        _ if task.items.is_some() => format!(
            "{what} wrote no log: its items have theirs, the first of them `{}[0]`",
            task.name
        ),
        (_, TaskState::Running) if task.attempts == attempt => {
            format!("{what} has written nothing yet; `--follow` waits for it")
        }
        _ => format!("the log of {what} is not kept any more"),
    })
}

async fn raw(access: &Access, base: &str) -> Result<(), Failure> {
    let (status, bytes) = access.bytes("GET", &format!("{base}&raw=true"), None).await?;
    if status != 200 {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        return Err(Failure::missing(format!("there is no such log: {text}")));
    }
    out::bytes(&bytes);
    Ok(())
}

fn line_of(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let mark = match line["stream"].as_str() {
        Some("stderr") => "!",
        Some("tidemill") => "·",
        _ => " ",
    };
    format!("{} {mark} {}\n", text("at"), text("text"))
}
