//! Processes that wait for their command, so that starting a command does not wait for a process.
//!
//! This program is large, and starting it takes longer than most of the rest of a short command.
//! While commands are being started, the next processes are therefore started ahead.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::entry::{MARK, NICENESS};

/// Processes that wait, at most; no more than the machine starts side by side.
const READY_MAX: usize = 4;

/// So long after a command was started processes are kept for the next ones.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// A process that waits for its command on its standard input.
#[derive(Debug)]
pub(crate) struct WaitingProcess {
    pub(crate) child: Child,
    pub(crate) pid: i32,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl WaitingProcess {
    /// Ends it, and has its end collected.
    fn end(self, runtime: &Handle) {
        let Self { mut child, stdin, .. } = self;
        // It has nothing to wait for any more.
        drop(stdin);
        runtime.spawn(async move { child.wait().await });
    }

    fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }
}

/// Who asks for a process.
type Request = oneshot::Sender<std::io::Result<WaitingProcess>>;

/// Starts such processes, and has some ready while they are wanted.
///
/// They are the children of one thread that lives as long as this does: the system ends them with
/// that thread, and the children of the main thread are orphans and nothing else.
#[derive(Debug)]
pub(crate) struct WaitingProcesses(Sender<Request>);

impl WaitingProcesses {
    /// Starts the thread. `program` is this one; `runtime` is where the ends of processes are
    /// noticed.
    pub(crate) fn start(program: PathBuf, runtime: Handle) -> std::io::Result<Self> {
        let (requests, asked) = channel();
        std::thread::Builder::new()
            .name("tidemill-spawn".to_owned())
            .spawn(move || serve(&program, &runtime, &asked))?;
        Ok(Self(requests))
    }

    /// A process that waits for its command. One that is dropped is ended.
    pub(crate) async fn take(&self) -> std::io::Result<WaitingProcess> {
        let gone = || std::io::Error::other("the thread that starts processes has ended");
        let (request, process) = oneshot::channel();
        self.0.send(request).map_err(|_| gone())?;
        process.await.map_err(|_| gone())?
    }
}

/// What the thread does until nobody can ask any more.
fn serve(program: &Path, runtime: &Handle, asked: &Receiver<Request>) {
    // Of this thread, and so of all that it starts.
    let _ = rustix::process::nice(NICENESS);
    let _inside = runtime.enter();
    let ready_max = std::thread::available_parallelism().map_or(1, usize::from).min(READY_MAX);
    let mut ready: VecDeque<WaitingProcess> = VecDeque::new();
    // Whether more are to be started ahead.
    let mut wanted = false;
    loop {
        let request = if wanted && ready.len() < ready_max {
            asked.try_recv()
        } else if ready.is_empty() {
            asked.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            asked.recv_timeout(KEPT_FOR).map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    wanted = false;
                    TryRecvError::Empty
                }
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            })
        };
        match request {
            Ok(request) => {
                let process =
                    std::iter::from_fn(|| ready.pop_front()).find_map(WaitingProcess::if_alive);
                // An attempt that waits no more drops its end, and with it the process.
                let _ = request.send(process.map_or_else(|| begin(program), Ok));
                wanted = true;
            }
            Err(TryRecvError::Empty) if wanted => match begin(program) {
                Ok(process) => ready.push_back(process),
                // It fails again when there is somebody to be told.
                Err(_) => wanted = false,
            },
            Err(TryRecvError::Empty) => ready.drain(..).for_each(|one| one.end(runtime)),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

fn begin(program: &Path) -> std::io::Result<WaitingProcess> {
    let mut child = Command::new(program)
        .arg(MARK)
        .arg(std::process::id().to_string())
        .env_clear()
        // A process without any environment could be one that is becoming another program.
        .env(MARK, "waiting")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let missing = || std::io::Error::other("the new process has no pipes");
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(missing)?;
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    Ok(WaitingProcess { child, pid, stdin, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::process::{Pid, Signal};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::process::tree;

    /// A program that says its number in `started` and gives back what it is told.
    fn program(folder: &Path) -> PathBuf {
        let program = folder.join("program");
        let started = folder.join("started");
        let script = format!("#!/bin/sh\necho $$ >> '{}'\nexec cat\n", started.display());
        std::fs::write(&program, script).expect("writes");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("sets");
        program
    }

    /// Waits until so many were started ahead, and gives their numbers.
    async fn ready(folder: &Path, first: &WaitingProcess) -> Vec<i32> {
        let all = std::thread::available_parallelism().map_or(1, usize::from).min(READY_MAX);
        loop {
            let text = std::fs::read_to_string(folder.join("started")).unwrap_or_default();
            let pids = text.lines().filter_map(|line| line.parse().ok());
            let others: Vec<i32> = pids.filter(|pid| *pid != first.pid).collect();
            if others.len() >= all {
                return others;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ends(pid: i32) {
        let pid = Pid::from_raw(pid).expect("a number");
        while rustix::process::test_kill_process(pid).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn the_next_one_is_ready_and_works() {
        let folder = tempfile::tempdir().expect("a folder");
        let processes =
            WaitingProcesses::start(program(folder.path()), Handle::current()).expect("starts");
        let first = processes.take().await.expect("a process");
        let ready = ready(folder.path(), &first).await;
        let mut second = processes.take().await.expect("a process");
        assert!(ready.contains(&second.pid));
        second.stdin.write_all(b"become this").await.expect("writes");
        drop(second.stdin);
        let mut said = String::new();
        second.stdout.read_to_string(&mut said).await.expect("reads");
        assert_eq!(said, "become this");
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let processes =
            WaitingProcesses::start(program(folder.path()), Handle::current()).expect("starts");
        let first = processes.take().await.expect("a process");
        let ready = ready(folder.path(), &first).await;
        for pid in &ready {
            let _ = rustix::process::kill_process(Pid::from_raw(*pid).expect("one"), Signal::KILL);
            while tree::started(*pid).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let second = processes.take().await.expect("a process");
        assert!(second.pid != first.pid && !ready.contains(&second.pid));
        assert!(second.if_alive().is_some());
    }

    #[tokio::test]
    async fn none_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let processes =
            WaitingProcesses::start(program(folder.path()), Handle::current()).expect("starts");
        let first = processes.take().await.expect("a process");
        let mut pids = ready(folder.path(), &first).await;
        pids.push(first.pid);
        drop((first, processes));
        for pid in pids {
            ends(pid).await;
        }
    }
}
