//! `tidemill show`: one run.

use serde_json::Value;
use tidemill_model::near::did_you_mean;
use tidemill_model::words::listed;

use crate::access::Access;
use crate::cli::Show;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::print::mark;
use crate::progress::{clock, fetch, line, verdict};
use crate::view::{Item, ItemPage, Run, Task};

/// What is said about runs that nobody works on.
pub(crate) const NO_SERVER: &str =
    "no server is running; the next `tidemill serve` goes on with what is unfinished";

pub(crate) fn run(globals: &Globals, command: &Show) -> Result<(), Failure> {
    with_home(globals, None, Mode::Look, async |access| show(access, command).await)
}

async fn show(access: &Access, command: &Show) -> Result<(), Failure> {
    if let Some(task) = &command.task {
        return show_task(access, command, task).await;
    }
    if command.json {
        let mut answer = access.get(&format!("/api/v1/runs/{}", command.run)).await?;
        answer["server"] = access.address().into();
        println!("{answer:#}");
        return Ok(());
    }
    let run = fetch(access, &command.run).await?;
    print_run(&run, access.address().is_some());
    Ok(())
}

/// Prints a task with its items or its members.
async fn show_task(access: &Access, command: &Show, written: &str) -> Result<(), Failure> {
    let run = fetch(access, &command.run).await?;
    let found = task_of(access, &run, written).await?;
    let is_mapped = found.task.items.is_some();
    let page = if is_mapped && !written.contains('.') {
        let states = command.state.as_deref().unwrap_or_default();
        let path = format!("/api/v1/runs/{}/tasks/{written}/items", command.run);
        Some(access.get(&format!("{path}?limit={ITEMS_SHOWN}&state={states}")).await?)
    } else {
        None
    };
    if command.json {
        let answer = page.unwrap_or_else(|| found.json.clone());
        println!("{answer:#}");
        return Ok(());
    }
    let now = clock();
    println!("{}", line(&found.task, now).trim_start());
    for member in &found.members {
        println!("{}", line(member, now));
    }
    if let Some(page) = page {
        let page: ItemPage = read(page)?;
        for item in &page.items {
            println!("{}", line(&item.task, now));
        }
        if page.next.is_some() {
            println!("  … `--json` gives them page by page");
        }
    }
    Ok(())
}

/// Items that are shown.
const ITEMS_SHOWN: usize = 100;

/// A task of a run, or an item of it.
pub(crate) struct Found {
    pub(crate) task: Task,
    pub(crate) members: Vec<Task>,
    json: Value,
}

/// The task of a run that is written so: `load`, `load[17]`, `regions[3].fetch`.
pub(crate) async fn task_of(access: &Access, run: &Run, written: &str) -> Result<Found, Failure> {
    let parts = written.split_once('[').and_then(|(root, rest)| {
        let (item, member) = rest.split_once(']')?;
        Some((root, item.parse::<u32>().ok()?, member))
    });
    let Some((root, number, member)) = parts else {
        let task = named(run, written)?.clone();
        let prefix = format!("{written}.");
        let members = run.tasks.iter().filter(|task| task.name.starts_with(&prefix));
        return Ok(Found { task, members: members.cloned().collect(), json: Value::Null });
    };
    let whole = named(run, root)?;
    if let Some(of) = whole.reused.as_ref().filter(|_| whole.items.is_none()) {
        return Err(Failure::conflict(format!(
            "task `{root}` did not go in run {}: its result is that of run {}, where its items are",
            run.id, of.run
        )));
    }
    let before = number.checked_sub(1).map(|n| format!("&after={n}")).unwrap_or_default();
    let path = format!("/api/v1/runs/{}/tasks/{root}/items?limit=1{before}", run.id);
    let mut page = access.get(&path).await?;
    let json = page["items"].get_mut(0).map(Value::take).unwrap_or_default();
    let none = || {
        Failure::missing(format!("item {number} of task `{root}` of run {} has not begun", run.id))
    };
    if json["item"].as_u64() != Some(number.into()) {
        return Err(none());
    }
    let Item { task, members } = read(json.clone())?;
    if member.is_empty() {
        return Ok(Found { task, members, json });
    }
    let found = members.into_iter().find(|task| task.name == written);
    let task = found.ok_or_else(|| {
        Failure::missing(format!("task `{root}` of run {} has no member `{member}`", run.id))
    })?;
    Ok(Found { task, members: Vec::new(), json })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value)
        .map_err(|error| Failure::server(format!("the server's answer cannot be read: {error}")))
}

fn named<'r>(run: &'r Run, name: &str) -> Result<&'r Task, Failure> {
    run.tasks.iter().find(|task| task.name == name).ok_or_else(|| {
        let names = || run.tasks.iter().map(|task| task.name.as_str());
        let near = did_you_mean(name, names());
        let help = near.unwrap_or_else(|| format!("it has {}", listed(names())));
        Failure::missing(format!("run {} has no task `{name}`; {help}", run.id))
    })
}

/// Prints a run. Without a server nothing of it goes on, and no time passes for it.
fn print_run(run: &Run, served: bool) {
    let idle = !served && !run.state.is_final();
    if idle {
        println!("{} {} unfinished: {NO_SERVER}", mark("queued"), run.id);
    } else {
        println!("{}", verdict(run));
    }
    if let Some(reason) = &run.reason {
        let how = if run.state == tidemill_model::RunState::Failed {
            "ended, because"
        } else {
            "cancelled by"
        };
        println!("{how} {reason}");
    }
    if let Some(why) = run.waits_for.as_deref().filter(|_| !run.state.is_final()) {
        println!("waits: {why}");
    }
    if let Some(note) = &run.note {
        println!("{}", note.line());
    }
    println!("created {}", run.created_at.0.to_seconds_text());
    for (name, value) in &run.params {
        println!("param {name} = {value}");
    }
    println!();
    let now = if idle { run.last_event() } else { clock() };
    for task in &run.tasks {
        let mut text = line(task, now);
        if let Some(why) = task.waits_for.as_deref().filter(|_| !task.state.is_final()) {
            text.push_str(&format!(" ({why})"));
        }
        println!("{text}");
        if let Some(note) = &task.note {
            println!("    {}", note.line());
        }
    }
}
