//! `tidemill logs`: what a task said.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::access::Access;
use crate::cli::Logs;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

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
    let out = |error: std::io::Error| Failure::Said(format!("cannot write the log: {error}"));
    if command.raw {
        let (status, bytes) = access.bytes("GET", &format!("{base}raw=true"), None).await?;
        if status != 200 {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Failure::Said(format!("there is no such log: {text}")));
        }
        return std::io::stdout().write_all(&bytes).map_err(out);
    }
    let mut from = 0;
    loop {
        let page = access.get(&format!("{base}from={from}&limit={PAGE_LINES}")).await?;
        let lines = page["lines"].as_array().cloned().unwrap_or_default();
        let mut stdout = std::io::stdout().lock();
        for line in &lines {
            writeln!(stdout, "{}", line_of(line)).map_err(out)?;
        }
        drop(stdout);
        from = page["next"].as_u64().unwrap_or(from);
        let ended = page["ended"].as_bool().unwrap_or(true);
        if ended || (lines.is_empty() && !command.follow) {
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
    format!("{} {mark} {}", text("at"), text("text"))
}
