//! `tidemill runs`: the newest runs.

use crate::access::Access;
use crate::cli::Runs;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::{Mode, SystemClock};
use crate::print::{Align, mark, seconds, table};
use crate::view::Run;

pub(crate) fn run(globals: &Globals, command: &Runs) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Look).await?;
        let done = list(&access, command).await;
        access.close().await;
        done
    })
}

async fn list(access: &Access, command: &Runs) -> Result<(), Failure> {
    let mut path = format!("/api/v1/runs?limit={}", command.limit.clamp(1, 200));
    if let Some(dag) = &command.dag {
        path.push_str(&format!("&dag={dag}"));
    }
    if !command.states.is_empty() {
        path.push_str(&format!("&state={}", command.states.join(",")));
    }
    let answer = access.get(&path).await?;
    if command.json {
        println!("{answer:#}");
        return Ok(());
    }
    let runs: Vec<Run> = serde_json::from_value(answer["items"].clone())
        .map_err(|error| Failure::Said(format!("the answer is not understood: {error}")))?;
    if runs.is_empty() {
        println!("no runs");
        return Ok(());
    }
    let now = tidemill_scheduler::Clock::now(&SystemClock);
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let state = run.state.label();
            vec![
                format!("{} {}", mark(state), run.id),
                state.to_owned(),
                run.trigger["by"].as_str().unwrap_or_default().to_owned(),
                run.created_at.0.to_seconds_text(),
                run.seconds(now).map(seconds).unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("run", Align::Left),
        ("state", Align::Left),
        ("trigger", Align::Left),
        ("created", Align::Left),
        ("took", Align::Right),
    ];
    print!("{}", table(&head, &rows));
    Ok(())
}
