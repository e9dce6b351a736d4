//! `tidemill backup`: everything that is kept, in a new folder.

use serde_json::json;

use crate::access::Access;
use crate::cli::Backup;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Backup) -> Result<(), Failure> {
    let to = std::path::absolute(&command.to)
        .map_err(|error| Failure::Said(format!("`{}`: {error}", command.to.display())))?;
    let runtime = runtime()?;
    let made = runtime.block_on(async {
        let access = Access::open(globals, None, Mode::Look).await?;
        let answer = access.post("/api/v1/backup", &json!({"path": to})).await;
        access.close().await;
        answer
    })?;
    println!(
        "backed up to {}: {} files, {} bytes, up to event {}",
        to.display(),
        made["files"],
        made["bytes"],
        made["position"]
    );
    Ok(())
}
