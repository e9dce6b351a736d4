//! The first lines of `main`: a process that was started to become a task's command, or to be the
//! [supervisor] of commands.
//!
//! The arguments of the first kind are [`MARK`] and the process id of the supervisor. It begins a
//! session of its own and waits on its standard input for an [`ExecOrder`], which comes once the
//! process has been recorded; then it becomes the command. If the supervisor dies before the order
//! is whole, the command never begins; if it dies later, the command dies with it.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::exec_order::{ExecOrder, LENGTH_BYTES};
use super::supervisor;
use crate::outside::Clock;

/// The first argument that makes a process such a one.
pub(crate) const MARK: &str = "__tidemill-exec";

/// What the process ends with when its command cannot be found.
pub(crate) const NOT_FOUND: i32 = 127;

/// What the process ends with when its command cannot be started.
pub(crate) const NOT_STARTED: i32 = 126;

/// Call this as the first line of `main`. It returns in every process but those that were started
/// to become a command, or the supervisor; in those it does not return. `clock` gives the times in
/// the logs of commands.
pub fn entry(clock: Arc<dyn Clock>) {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == MARK => command(words.next()),
        Some(word) if word == supervisor::MARK => {
            let folder = words.next().unwrap_or_default();
            std::process::exit(supervisor::main(Path::new(&folder), clock));
        }
        _ => {}
    }
}

/// The process that waits for its order.
fn command(supervisor: Option<OsString>) -> ! {
    let parent = supervisor.and_then(|word| word.to_str()?.parse().ok()).and_then(Pid::from_raw);
    // A session of its own: the tree can be ended as one, and no terminal can be reached.
    let _ = rustix::process::setsid();
    step_back();
    // Stays across the exec. It tells nothing of a supervisor that is gone already.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if parent.is_none() || rustix::process::getppid() != parent {
        std::process::exit(NOT_STARTED);
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A core dump would hold the secrets of the environment.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let Some(order) = wait_for_order(std::io::stdin().lock()) else {
        std::process::exit(NOT_STARTED);
    };
    std::process::exit(become_command(order));
}

/// How far commands stand behind the server and the supervisor when there is more to do than there are processors:
/// everything waits for the server, and it is soon done.
pub(crate) const NICENESS: i32 = 10;

/// Linux may weigh sessions against each other, and niceness then counts only within one: the
/// server would get as much as each of its commands. So the session steps back, too.
fn step_back() {
    let _ = std::fs::write("/proc/self/autogroup", NICENESS.to_string());
}

/// The order, if it comes whole.
fn wait_for_order(mut from: impl Read) -> Option<ExecOrder> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length).ok()?;
    let mut bytes = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    from.take(length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then(|| ExecOrder::decode(&bytes)).flatten()
}

/// Becomes the command. It comes back only with the exit code for a command that cannot be started.
fn become_command(ExecOrder { folder, files, words, env }: ExecOrder) -> i32 {
    // On its own, so that its error is told from that of a program that is not there.
    if let Err(error) = std::env::set_current_dir(&folder) {
        eprintln!("cannot enter the folder `{}` of the DAG: {error}", folder.display());
        return NOT_STARTED;
    }
    if let Some(files) = files {
        let allowed = rustix::process::getrlimit(Resource::Nofile).maximum;
        let files = Some(allowed.map_or(files, |allowed| allowed.min(files)));
        let _ =
            rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files });
    }
    let mut words = words.into_iter();
    let Some(program) = words.next() else { return NOT_STARTED };
    let mut command = Command::new(&program);
    let error = command.args(words).env_clear().envs(env).stdin(Stdio::null()).exec();
    eprintln!("cannot start `{}`: {error}", program.to_string_lossy());
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED }
}
