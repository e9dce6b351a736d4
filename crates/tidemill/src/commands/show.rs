//! `tidemill show`: one run.

use crate::access::Access;
use crate::cli::Show;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;
use crate::print::mark;
use crate::progress::{clock, fetch, line, verdict};
use crate::view::Run;

/// What is said about runs that nobody works on.
pub(crate) const NO_SERVER: &str =
    "no server is running; the next `tidemill serve` goes on with what is unfinished";

pub(crate) fn run(globals: &Globals, command: &Show) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Look).await?;
        let done = show(&access, command).await;
        access.close().await;
        done
    })
}

async fn show(access: &Access, command: &Show) -> Result<(), Failure> {
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

/// Prints a run. Without a server nothing of it goes on, and no time passes for it.
fn print_run(run: &Run, served: bool) {
    let idle = !served && !run.state.is_final();
    if idle {
        println!("{} {} unfinished: {NO_SERVER}", mark("queued"), run.id);
    } else {
        println!("{}", verdict(run));
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
    }
}
