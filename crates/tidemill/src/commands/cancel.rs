//! `tidemill cancel`: end a run.

use serde_json::json;
use tidemill_model::RunId;

use crate::access::Access;
use crate::cli::Cancel;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Cancel) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let run: RunId = command.run.parse().map_err(Failure::said)?;
        let access = Access::open(globals, None, Mode::Run(run)).await?;
        let path = format!("/api/v1/runs/{}/cancel", command.run);
        let done = access.post(&path, &json!({})).await;
        access.close().await;
        done.map(|_| println!("{} is being cancelled", command.run))
    })
}
