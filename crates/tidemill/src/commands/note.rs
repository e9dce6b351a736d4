//! `tidemill note`: leave a note on a run, or on a task of it.

use serde_json::json;

use crate::cli::Note;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Note) -> Result<(), Failure> {
    let body = json!({"text": command.text, "task": command.task});
    let path = format!("/api/v1/runs/{}/note", command.run);
    with_home(globals, None, Mode::Own, async |access| access.post(&path, &body).await)?;
    let on = match &command.task {
        Some(task) => format!("`{task}` of {}", command.run),
        None => command.run.to_string(),
    };
    if command.text.trim().is_empty() {
        println!("{on} has no note any more");
    } else {
        println!("{on} has the note");
    }
    Ok(())
}
