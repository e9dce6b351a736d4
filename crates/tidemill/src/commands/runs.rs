//! `tidemill runs`: the newest runs.

use serde_json::{Value, json};

use crate::access::Access;
use crate::cli::Runs;
use crate::commands::profile::encode;
use crate::commands::show::NO_SERVER;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::print::{Align, mark, seconds, table};
use crate::progress::clock;
use crate::view::Run;

/// Runs that are asked for at once.
const PAGE_RUNS: usize = 200;

pub(crate) fn run(globals: &Globals, command: &Runs) -> Result<(), Failure> {
    with_home(globals, None, Mode::Look, async |access| list(access, command).await)
}

async fn list(access: &Access, command: &Runs) -> Result<(), Failure> {
    let mut answer = fetch(access, command).await?;
    if command.json {
        answer["server"] = access.address().into();
        println!("{answer:#}");
        return Ok(());
    }
    let runs: Vec<Run> = serde_json::from_value(answer["items"].clone())
        .map_err(|error| Failure::server(format!("the answer is not understood: {error}")))?;
    if runs.is_empty() {
        println!("no runs");
        return Ok(());
    }
    let served = access.address().is_some();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let idle = !served && !run.state.is_final();
            let state = if idle { "unfinished" } else { run.state.label() };
            let took = run.seconds(clock()).filter(|_| !idle);
            vec![
                format!("{} {}", mark(state), run.id),
                state.to_owned(),
                run.trigger["by"].as_str().unwrap_or_default().to_owned(),
                run.created_at.0.to_seconds_text(),
                took.map(seconds).unwrap_or_default(),
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
    if !served && runs.iter().any(|run| !run.state.is_final()) {
        println!("\n{NO_SERVER}");
    }
    Ok(())
}

/// Asks page by page for as many runs as are wanted; gives them as one page.
async fn fetch(access: &Access, command: &Runs) -> Result<Value, Failure> {
    let mut query = String::new();
    if let Some(dag) = &command.dag {
        query.push_str(&format!("&dag={dag}"));
    }
    if !command.states.is_empty() {
        let states: Vec<&str> = command.states.iter().map(|state| state.label()).collect();
        query.push_str(&format!("&state={}", states.join(",")));
    }
    let mut items = Vec::new();
    loop {
        let limit = (command.limit as usize - items.len()).min(PAGE_RUNS);
        let page = access.get(&format!("/api/v1/runs?limit={limit}{query}")).await?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        let next = page["next"].as_str();
        match next.filter(|_| items.len() < command.limit as usize) {
            Some(next) => {
                let cut = query.find("&after=").unwrap_or(query.len());
                query.truncate(cut);
                query.push_str(&format!("&after={}", encode(next)));
            }
            None => return Ok(json!({"items": items, "next": next})),
        }
    }
}
