//! Everything that this program writes to its standard output and standard error.
//!
//! `println!`, `print!` and `eprintln!` mean the macros below in the whole crate: the standard
//! ones panic when the reader has gone, as it has after `tidemill runs | head -1`. Here a reader
//! that leaves ends the printing and not the work; any other trouble, a full disk for one, is
//! told when the command ends. Colours reach only a terminal, and none with `NO_COLOR`.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};

use crate::failure::Failure;

/// Prints to the standard output.
macro_rules! print {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

/// Prints a line to the standard output.
macro_rules! println {
    () => { $crate::out::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to the standard error.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::out::complain(format_args!($($text)*)) };
}

/// Why the standard output takes nothing any more.
static ENDED: Mutex<Option<ErrorKind>> = Mutex::new(None);

/// Writes to the standard output.
pub(crate) fn write(text: fmt::Arguments) {
    end(|| {
        let mut out = anstream::stdout().lock();
        out.write_fmt(text)?;
        out.flush()
    });
}

/// Writes to the standard output as it is.
pub(crate) fn bytes(bytes: &[u8]) {
    end(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    });
}

fn end(write: impl FnOnce() -> io::Result<()>) {
    if is_closed() {
        return;
    }
    if let Err(error) = write() {
        *ENDED.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.kind());
    }
}

/// Whether nobody reads any more, so that a command that only prints may stop.
pub(crate) fn is_closed() -> bool {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// What became of the output: an error when it was lost for another reason than that its reader
/// did not want more of it.
pub(crate) fn result() -> Result<(), Failure> {
    match *ENDED.lock().unwrap_or_else(PoisonError::into_inner) {
        None | Some(ErrorKind::BrokenPipe) => Ok(()),
        Some(kind) => Err(Failure::files(format!("cannot write to the standard output: {kind}"))),
    }
}

/// Writes a line to the standard error. When even that is not possible, there is no place left
/// to say so.
pub(crate) fn complain(text: fmt::Arguments) {
    let mut out = anstream::stderr().lock();
    let _ = out.write_fmt(text).and_then(|()| out.write_all(b"\n"));
}

/// Whether the standard error takes colours.
pub(crate) fn error_takes_color() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// The standard error for log lines, which are lost in silence when nobody reads them.
pub(crate) struct LogOut;

impl Write for LogOut {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
