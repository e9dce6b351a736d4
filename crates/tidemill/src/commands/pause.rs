//! `tidemill pause` and `tidemill resume`: let the schedule of a DAG stand still, or go on.

use serde_json::json;

use crate::access::Access;
use crate::cli::Pause;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Pause, paused: bool) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dag = &command.dag;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Own).await?;
        let verb = if paused { "pause" } else { "resume" };
        let done = access.post(&format!("/api/v1/dags/{dag}/{verb}"), &json!({})).await;
        let known = access.get(&format!("/api/v1/dags/{dag}")).await;
        access.close().await;
        done?;
        if paused {
            println!("{dag} is paused: nothing of it is due until `tidemill resume {dag}`");
            return Ok(());
        }
        match known?["next_tick"].as_str() {
            Some(tick) => println!("{dag} is not paused; its next run is due at {tick}"),
            None => println!("{dag} is not paused"),
        }
        Ok(())
    })
}
