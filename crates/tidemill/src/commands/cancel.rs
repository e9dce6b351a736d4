//! `tidemill cancel`: end a run.

use serde_json::json;

use crate::cli::Cancel;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Cancel) -> Result<(), Failure> {
    let path = format!("/api/v1/runs/{}/cancel", command.run);
    let mode = Mode::End(command.run.clone());
    with_home(globals, None, mode, async |access| access.post(&path, &json!({})).await)?;
    println!("{} is being cancelled", command.run);
    Ok(())
}
