//! How a command ends when it does not succeed.

use std::process::ExitCode;

use tidemill_spec::Diagnostic;

use crate::out::error_takes_color;

/// A command that did not succeed, as the person who typed it should see it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something was wrong; the message names it, its place and the remedy.
    #[error("{0}")]
    Said(String),
    /// A DAG is invalid; its diagnostics are printed already.
    #[error("")]
    Invalid,
    /// The run failed; its errors are printed already.
    #[error("")]
    RunFailed,
}

impl Failure {
    /// From anything that explains itself.
    pub(crate) fn said(error: impl std::fmt::Display) -> Self {
        Self::Said(error.to_string())
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Said(_) | Self::RunFailed => ExitCode::from(1),
            Self::Invalid => ExitCode::from(2),
        }
    }
}

/// Prints diagnostics to the standard error, in colour on a terminal.
pub(crate) fn print_diagnostics(diagnostics: &[Diagnostic]) {
    let color = error_takes_color();
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.render(color));
    }
}

/// A file that cannot be read at all, with what was found.
#[expect(clippy::boxed_local, reason = "this is how readers give it")]
pub(crate) fn invalid(found: Box<Diagnostic>) -> Failure {
    print_diagnostics(&[*found]);
    Failure::Invalid
}
