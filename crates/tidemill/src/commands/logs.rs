//! `tidemill logs`: what a task said.

use std::time::Duration;

use serde_json::Value;

use crate::access::Access;
use crate::cli::Logs;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;
use crate::out;

/// Lines in a page.
const PAGE_LINES: usize = 1_000;

/// How often a log that is followed is asked for.
const ASK_EVERY: Duration = Duration::from_millis(300);

pub(crate) fn run(globals: &Globals, command: &Logs) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Look).await?;
        let done = print(&access, command).await;
        access.close().await;
        done
    })
}

async fn print(access: &Access, command: &Logs) -> Result<(), Failure> {
    let mut base = format!("/api/v1/runs/{}/tasks/{}/logs?", command.run, command.task);
    if let Some(attempt) = command.attempt {
        base.push_str(&format!("attempt={attempt}&"));
    }
    if command.raw {
        let (status, bytes) = access.bytes("GET", &format!("{base}raw=true"), None).await?;
        if status != 200 {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Failure::Said(format!("there is no such log: {text}")));
        }
        out::bytes(&bytes);
        return Ok(());
    }
    let mut from = 0;
    loop {
        let page = access.get(&format!("{base}from={from}&limit={PAGE_LINES}")).await?;
        let lines = page["lines"].as_array().cloned().unwrap_or_default();
        print!("{}", lines.iter().map(line_of).collect::<String>());
        from = page["next"].as_u64().unwrap_or(from);
        let ended = page["ended"].as_bool().unwrap_or(true);
        if ended || out::is_closed() || (lines.is_empty() && !command.follow) {
            return Ok(());
        }
        if lines.is_empty() {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
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
