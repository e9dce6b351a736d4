//! `tidemill mark`: say how tasks of a run ended.

use serde_json::{Value, json};

use crate::cli::{Mark, MarkState};
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Mark) -> Result<(), Failure> {
    let id = command.run.to_string();
    let state = match command.state {
        MarkState::Succeeded => "succeeded",
        MarkState::Failed => "failed",
        MarkState::Skipped => "skipped",
    };
    let body = json!({
        "state": state,
        "tasks": command.tasks,
        "note": command.note,
        "preview": command.dry_run,
    });
    let path = format!("/api/v1/runs/{id}/mark");
    let marked =
        with_home(globals, None, Mode::Look, async |access| access.post(&path, &body).await)?;
    if command.json {
        println!("{marked:#}");
    } else {
        print!("{}", as_text(&id, state, &marked, command.dry_run));
    }
    Ok(())
}

fn as_text(id: &str, state: &str, marked: &Value, is_preview: bool) -> String {
    let line = |what: &str, key: &str| {
        let names = marked[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<&str> = names.collect();
        if names.is_empty() { String::new() } else { format!("  {what:<12}{}\n", names.join(", ")) }
    };
    let would = if is_preview { "would be" } else { "are" };
    let mut text = format!("{id}: these tasks {would} {state}\n");
    text.push_str(&line("marked", "marked"));
    text.push_str(&line("ended first", "ended_first"));
    text.push_str(&line("run now", "again"));
    text
}
