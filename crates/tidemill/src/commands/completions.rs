//! `tidemill completions`: for the user's shell.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::failure::Failure;

#[expect(clippy::unnecessary_wraps, reason = "every command has the same form")]
pub(crate) fn run(command: &Completions) -> Result<(), Failure> {
    clap_complete::generate(command.shell, &mut Cli::command(), "tidemill", &mut std::io::stdout());
    Ok(())
}
