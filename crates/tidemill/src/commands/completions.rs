//! `tidemill completions`: for the user's shell.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::failure::Failure;
use crate::out;

#[expect(clippy::unnecessary_wraps, reason = "every command has the same form")]
pub(crate) fn run(command: &Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "tidemill", &mut text);
    out::bytes(&text);
    Ok(())
}
