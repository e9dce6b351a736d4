//! `tidemill cancel`: end a run, or several.

use serde_json::json;

use crate::cli::Cancel;
use crate::commands::{Globals, bulk, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Cancel) -> Result<(), Failure> {
    let Some(run) = &command.run else {
        let Cancel { filter, dry_run, .. } = command;
        return with_home(globals, None, Mode::Look, async |access| {
            bulk::run(access, "cancel", filter, &json!({}), *dry_run).await
        });
    };
    let path = format!("/api/v1/runs/{run}/cancel");
    let mode = Mode::End(run.clone());
    with_home(globals, None, mode, async |access| access.post(&path, &json!({})).await)?;
    println!("{run} is being cancelled");
    Ok(())
}
