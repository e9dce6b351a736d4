//! How a command ends when it does not succeed.

use std::fmt::Display;
use std::process::ExitCode;

use tidemill_spec::Diagnostic;
use tidemill_spec::codes::{self, Code};

use crate::out::error_takes_color;

/// A command that did not succeed, as the person who typed it should see it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something was wrong; the message names it, its place and the remedy.
    #[error("{1}")]
    Said(&'static Code, String),
    /// A DAG is invalid; its diagnostics are printed already.
    #[error("")]
    Invalid,
    /// The run failed; its errors are printed already.
    #[error("")]
    RunFailed,
}

impl Failure {
    /// What was asked for cannot be.
    pub(crate) fn argument(error: impl Display) -> Self {
        Self::Said(&codes::ARGUMENT, error.to_string())
    }

    /// What was asked about is not there.
    pub(crate) fn missing(error: impl Display) -> Self {
        Self::Said(&codes::MISSING, error.to_string())
    }

    /// It makes no sense in the state that things are in.
    pub(crate) fn conflict(error: impl Display) -> Self {
        Self::Said(&codes::CONFLICT, error.to_string())
    }

    /// The home cannot be used.
    pub(crate) fn home(error: impl Display) -> Self {
        Self::Said(&codes::HOME, error.to_string())
    }

    /// A file cannot be read or written.
    pub(crate) fn files(error: impl Display) -> Self {
        Self::Said(&codes::FILES, error.to_string())
    }

    /// The server does not answer, or not as it should.
    pub(crate) fn server(error: impl Display) -> Self {
        Self::Said(&codes::SERVER, error.to_string())
    }

    /// This machine or this program is in trouble.
    pub(crate) fn internal(error: impl Display) -> Self {
        Self::Said(&codes::INTERNAL, error.to_string())
    }

    /// What is printed of it: `error[TM0802]: …`; nothing, if that was done before.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Said(code, message) => Some(format!("error[{}]: {message}", code.id)),
            Self::Invalid | Self::RunFailed => None,
        }
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Said(..) | Self::RunFailed => ExitCode::from(1),
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
