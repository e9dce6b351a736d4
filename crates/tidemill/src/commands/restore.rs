//! `tidemill restore`: a backup, put into an empty home.

use tidemill_model::words::counted;
use tidemill_store::{Home, backup};

use crate::cli::Restore;
use crate::commands::Globals;
use crate::failure::Failure;

pub(crate) fn run(globals: &Globals, command: &Restore) -> Result<(), Failure> {
    let home = Home::open(&globals.home).map_err(Failure::home)?;
    let manifest = backup::restore(&command.from, &home, command.force).map_err(Failure::home)?;
    println!("restored {} to {}", counted(manifest.files.len(), "file"), globals.home.display());
    println!("look at it with `tidemill doctor` and `tidemill runs`");
    Ok(())
}
