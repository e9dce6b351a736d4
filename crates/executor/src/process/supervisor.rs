//! The supervisor: the one process of a home that starts its commands, and outlives the server.
//!
//! It is this program by the hidden entry [`MARK`], in a session of its own, the parent of orphans,
//! and the only one of its home by a lock on a file. Its first server is at its standard input;
//! later ones find it by a socket in the home. It keeps nothing that it could not lose: who runs and
//! who has ended stands in [records](super::record). With nothing to look after and nobody there it
//! leaves by itself.
//!
//! * [`command`]: one command, from its start to the end of its tree;
//! * [`desk`]: what it has, and what servers ask of it.

mod command;
mod desk;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use self::desk::Desk;
use super::tree::adopt_orphans;
use crate::outside::Clock;

/// The first argument that makes a process a supervisor; the second is the folder of records.
pub(crate) const MARK: &str = "__tidemill-supervisor";

/// The lock that makes it the only one. It holds the supervisor's process id.
const LOCK: &str = "supervisor.lock";

/// Where later servers find it.
const SOCKET: &str = "supervisor.sock";

/// So long it stays with nothing to do and nobody there: servers come and go.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// What the process ends with when it is not the only one, or cannot work.
const NOT_WORKING: i32 = 1;

/// The main function of the process.
pub(super) fn main(folder: &Path, clock: Arc<dyn Clock>) -> i32 {
    // A session of its own: no terminal and no signal to the server's group reaches it.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A core dump would hold secrets.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    // The folder of whoever started it must not be kept from being unmounted.
    let _ = std::env::set_current_dir("/");
    adopt_orphans();
    let Some(_lock) = lock(folder) else { return NOT_WORKING };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return NOT_WORKING };
    match runtime.block_on(work(folder, clock)) {
        Ok(()) => 0,
        Err(_) => NOT_WORKING,
    }
}

/// Takes the lock, and says in it who has it. It is given back by the end of the process.
fn lock(folder: &Path) -> Option<File> {
    let path = folder.join(LOCK);
    let mut file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    file.set_len(0).ok()?;
    write!(file, "{}", std::process::id()).ok()?;
    Some(file)
}

/// The process id of the living supervisor of a folder.
pub(crate) fn living(folder: &Path) -> Option<i32> {
    let path = folder.join(LOCK);
    let file = File::open(&path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => std::fs::read_to_string(path).ok()?.trim().parse().ok(),
    }
}

/// The opened folder, and the path of a socket in it, which is short whatever the folder's is: the
/// system takes no long ones.
pub(crate) fn socket_in(folder: &Path) -> std::io::Result<(File, PathBuf)> {
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    Ok((folder, path.into()))
}

/// Makes the folder of records, which is nobody else's business.
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Serves until it may leave.
async fn work(folder: &Path, clock: Arc<dyn Clock>) -> std::io::Result<()> {
    let (open, path) = socket_in(folder)?;
    // What an earlier one left; this one has the lock.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let desk = Desk::new(folder.to_owned(), clock)?;
    if let Some(first) = first_server() {
        desk.welcome(first);
    }
    loop {
        tokio::select! {
            coming = listener.accept() => if let Ok((stream, _)) = coming {
                desk.welcome(stream);
            },
            () = desk.may_leave(KEPT_FOR) => break,
            _ = terminate.recv() => desk.end_all(),
        }
    }
    desk.close();
    let _ = std::fs::remove_file(&path);
    drop(open);
    Ok(())
}

/// The server that started it.
fn first_server() -> Option<UnixStream> {
    // Not inherited by commands: one of them would keep the connection open after our end.
    let input = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = std::os::unix::net::UnixStream::from(input);
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}
