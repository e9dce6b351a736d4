//! `tidemill cancel`: end a run.

use serde_json::json;

use crate::access::Access;
use crate::cli::Cancel;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Cancel) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let access = Access::open(globals, None, Mode::End(command.run.clone())).await?;
        let path = format!("/api/v1/runs/{}/cancel", command.run);
        let done = access.post(&path, &json!({})).await;
        access.close().await;
        done.map(|_| println!("{} is being cancelled", command.run))
    })
}
