//! The first lines of `main`: a process that was started to become a task's command.
//!
//! Its arguments are [`MARK`], the process id of the server, and the command. It begins a session of
//! its own, waits for one byte that says that it has been recorded, and becomes the command. If the
//! server dies before that byte, the command never begins; if it dies later, the command dies with
//! it.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal};

/// The first argument that makes a process such a one.
pub(crate) const MARK: &str = "__tidemill-exec";

/// What the process ends with when its command cannot be found.
pub(crate) const NOT_FOUND: i32 = 127;

/// What the process ends with when its command cannot be started.
pub(crate) const NOT_STARTED: i32 = 126;

/// Call this as the first line of `main`. It returns in every process but those that were started
/// to become a command; in those it does not return.
pub fn entry() {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_none_or(|word| word != MARK) {
        return;
    }
    let server = words.next().and_then(|word| word.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let Some(program) = words.next() else { std::process::exit(NOT_STARTED) };
    // A session of its own: the tree can be ended as one, and no terminal can be reached.
    let _ = rustix::process::setsid();
    // Stays across the exec. It tells nothing of a server that is gone already, which may have left
    // the byte in the pipe.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if server.is_none() || rustix::process::getppid() != server {
        std::process::exit(NOT_STARTED);
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A core dump would hold the secrets of the environment.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let mut go = [0_u8; 1];
    if !matches!(std::io::stdin().read(&mut go), Ok(1)) {
        std::process::exit(NOT_STARTED);
    }
    let error = Command::new(&program).args(words).stdin(Stdio::null()).exec();
    eprintln!("cannot start `{}`: {error}", program.to_string_lossy());
    let found = error.kind() != std::io::ErrorKind::NotFound;
    std::process::exit(if found { NOT_STARTED } else { NOT_FOUND });
}
