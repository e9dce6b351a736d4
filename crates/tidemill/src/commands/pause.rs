//! `tidemill pause` and `tidemill resume`: let the schedule of a DAG stand still, or go on.

use serde_json::json;

use crate::cli::Pause;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Pause, paused: bool) -> Result<(), Failure> {
    let dag = &command.dag;
    let verb = if paused { "pause" } else { "resume" };
    let known = with_home(globals, None, Mode::Own, async |access| {
        access.post(&format!("/api/v1/dags/{dag}/{verb}"), &json!({})).await?;
        Ok(access.get(&format!("/api/v1/dags/{dag}")).await)
    })?;
    if paused {
        println!("{dag} is paused: nothing of it is due until `tidemill resume {dag}`");
        return Ok(());
    }
    match known?["next_tick"].as_str() {
        Some(tick) => println!("{dag} is not paused; its next run is due at {tick}"),
        None => println!("{dag} is not paused"),
    }
    Ok(())
}
