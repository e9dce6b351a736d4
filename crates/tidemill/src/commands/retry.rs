//! `tidemill retry`: let a task that waits for its next try begin at once.

use serde_json::json;

use crate::cli::Retry;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Retry) -> Result<(), Failure> {
    let Retry { run, task } = command;
    let path = format!("/api/v1/runs/{run}/tasks/{task}/retry");
    with_home(globals, None, Mode::Look, async |access| access.post(&path, &json!({})).await)?;
    println!("`{task}` of {run} is tried again now");
    Ok(())
}
