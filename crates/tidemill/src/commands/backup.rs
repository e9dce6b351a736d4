//! `tidemill backup`: everything that is kept, in a new folder.

use serde_json::json;
use tidemill_model::words::counted;

use crate::cli::Backup;
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Backup) -> Result<(), Failure> {
    let to = std::path::absolute(&command.to)
        .map_err(|error| Failure::files(format!("`{}`: {error}", command.to.display())))?;
    let body = json!({"path": to});
    let made = with_home(globals, None, Mode::Look, async |access| {
        access.post("/api/v1/backup", &body).await
    })?;
    let count = |key: &str, one| counted(made[key].as_u64().unwrap_or_default(), one);
    println!(
        "backed up to {}: {}, {}, up to event {}",
        to.display(),
        count("files", "file"),
        count("bytes", "byte"),
        made["position"]
    );
    Ok(())
}
