//! One command: from its start to the verified end of its tree.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_model::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::watch;

use super::super::cgroup::Group;
use super::super::protocol::{CommandEnd, How, Start, Stopped};
use super::super::record::ProcessRecord;
use super::super::tree::{Tree, started};
use super::super::waiting::WaitingProcess;
use super::desk::{Desk, millis};
use crate::logs::{AttemptLog, Stream};
use crate::mask::Masker;

/// The wait before a record is written again to a full disk.
const DISK_FULL_WAIT: Duration = Duration::from_millis(250);

/// After the whole tree has ended, pipes are read this much longer at most: only a process that
/// escaped the tree can still hold them.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bytes of the last line of the standard error that an error message quotes.
const QUOTE_BYTES_MAX: usize = 500;

/// Why it should stop, once it should.
type Halt = watch::Receiver<Option<Stopped>>;

/// A started command.
struct Started {
    child: Child,
    stdout: ChildStdout,
    stderr: ChildStderr,
    tree: Tree,
}

/// What a finished command left.
struct Finished {
    status: ExitStatus,
    last_line: String,
    stubborn: Vec<i32>,
    stopped: Option<Stopped>,
}

/// Runs a command and ends what it leaves. Gives how it ended, and its record if it has one.
pub(super) async fn carry_out(
    desk: &Desk,
    start: &Start,
    exec: Vec<u8>,
    path: &Path,
    halt: Halt,
) -> (CommandEnd, Option<ProcessRecord>) {
    let begun = Instant::now();
    let secrets: Vec<Secret> =
        start.secrets.iter().map(|text| Secret::new(text.as_str())).collect();
    let clock = Arc::clone(&desk.clock);
    let log = AttemptLog::resume(&start.log, start.log_limits, &secrets, clock);
    let mut record = None;
    let group = grouped(desk, start, &log);
    let begun_at = (path, group.clone());
    let finished = match begin(desk, start, exec, begun_at, halt.clone(), &mut record).await {
        Ok(started) => watch_over(started, start, halt, &log).await,
        Err(error) => Err(error),
    };
    let met = group.as_ref().map(Group::met).unwrap_or_default();
    if let Some(group) = group {
        group.remove();
    }
    let dropped = log.release();
    let ran_ms = millis(begun.elapsed());
    let end = match finished {
        Ok(Finished { status, last_line, stubborn, stopped }) => {
            let last_line = Masker::text(&secrets, &last_line);
            CommandEnd { how: how(status), last_line, stubborn, stopped, dropped, ran_ms, met }
        }
        Err(error) => CommandEnd {
            how: How::NotStarted(error.to_string()),
            last_line: String::new(),
            stubborn: Vec::new(),
            stopped: None,
            dropped,
            ran_ms,
            met,
        },
    };
    (end, record)
}

/// The control group of a command, with its limits. A limit that cannot be set is said in the log.
fn grouped(desk: &Desk, start: &Start, log: &AttemptLog) -> Option<Group> {
    let limits = &start.resources;
    for (limit, controller, wanted) in [
        ("memory", "memory", limits.memory_bytes.is_some()),
        ("cpu", "cpu", limits.cpu_millis.is_some()),
    ] {
        if wanted && !desk.groups.has(controller) {
            log.note(&format!(
                "`resources.{limit}` is not kept: no control group with a limit for it can be made \
                 here"
            ));
        }
    }
    desk.groups.make(&format!("tidemill-{}", start.token), limits).unwrap_or_else(|error| {
        log.note(&format!("`resources` are not kept: the control group cannot be made: {error}"));
        None
    })
}

fn how(status: ExitStatus) -> How {
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Code(code),
        (None, Some(signal)) => How::Signal(signal),
        (None, None) => How::Unknown,
    }
}

/// Starts a command: first a process that waits, then its record, then its order.
///
/// While the disk is too full for the record, it waits, until it should stop.
async fn begin(
    desk: &Desk,
    start: &Start,
    exec: Vec<u8>,
    (path, group): (&Path, Option<Group>),
    mut halt: Halt,
    record: &mut Option<ProcessRecord>,
) -> std::io::Result<Started> {
    let WaitingProcess { child, pid, mut stdin, stdout, stderr } = desk.waiting.take().await?;
    let written = record.insert(ProcessRecord {
        attempt: format!("{}/{}#{}", start.id.run, start.task, start.id.attempt),
        id: start.id.clone(),
        boot: desk.boot.clone(),
        pid,
        started: started(pid).unwrap_or_default(),
        token: start.token.clone(),
        group: group.clone(),
        end: None,
    });
    // Before its order: what the command starts then belongs to the group.
    if let Some(group) = &group {
        group.add(pid)?;
    }
    while let Err(error) = written.write(path) {
        if error.kind() != std::io::ErrorKind::StorageFull {
            return Err(error);
        }
        tokio::select! {
            () = tokio::time::sleep(DISK_FULL_WAIT) => {}
            _ = halt.wait_for(Option::is_some) => return Err(error),
        }
    }
    let tree = Tree::new(pid, written.started, start.token.clone(), group);
    // If the process is gone already, its exit code tells; the pipe's error does not.
    let _ = stdin.write_all(&exec).await;
    Ok(Started { child, stdout, stderr, tree })
}

/// Reads the command's output until it has ended, or is ended; then ends what it left.
async fn watch_over(
    started: Started,
    start: &Start,
    mut halt: Halt,
    log: &AttemptLog,
) -> std::io::Result<Finished> {
    let Started { mut child, stdout, stderr, tree } = started;
    let grace = Duration::from_millis(start.grace_ms);
    let readers = async {
        let out = read(stdout, Stream::Stdout, log);
        let err = read(stderr, Stream::Stderr, log);
        tokio::join!(out, err).1
    };
    tokio::pin!(readers);
    let too_long = time_is_over(start.timeout_ms);
    tokio::pin!(too_long);
    let (mut last_line, mut stubborn, mut stopped) = (None, Vec::new(), None);
    let status = loop {
        let why = tokio::select! {
            biased;
            status = child.wait() => break status?,
            line = &mut readers, if last_line.is_none() => {
                last_line = Some(line);
                continue;
            }
            why = halted(&mut halt) => why,
            () = &mut too_long => Stopped::Timeout,
        };
        log.note("ending the command and everything it started");
        let end = tree.end(grace);
        tokio::pin!(end);
        // The pipes are read on meanwhile, so that nothing waits for us to read.
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                line = &mut readers, if last_line.is_none() => last_line = Some(line),
            }
        };
        stopped = Some(why);
        stubborn = ended.err().unwrap_or_default();
        if !stubborn.is_empty() {
            // It may never end, and nobody can wait that long.
            break child.try_wait()?.unwrap_or_default();
        }
        break child.wait().await?;
    };
    if stubborn.is_empty() && tree.may_be_left() {
        stubborn = tree.end(grace).await.err().unwrap_or_default();
    }
    let last_line = match last_line {
        Some(line) => line,
        None => tokio::time::timeout(DRAIN_MAX, &mut readers).await.unwrap_or_default(),
    };
    Ok(Finished { status, last_line, stubborn, stopped })
}

async fn halted(halt: &mut Halt) -> Stopped {
    // It cannot be that nobody is left to say so: the desk keeps the other end.
    let why = halt.wait_for(Option::is_some).await.ok().and_then(|why| *why);
    why.unwrap_or(Stopped::Asked)
}

async fn time_is_over(limit_ms: Option<u64>) {
    match limit_ms {
        Some(limit) => tokio::time::sleep(Duration::from_millis(limit)).await,
        None => std::future::pending().await,
    }
}

/// Reads a pipe into the log; gives its last line that is not empty.
async fn read(mut pipe: impl AsyncRead + Unpin, stream: Stream, log: &AttemptLog) -> String {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut last: Vec<u8> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    while let Ok(n) = pipe.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        let bytes = &buffer[..n];
        log.output(stream, bytes);
        if stream == Stream::Stderr {
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let room = QUOTE_BYTES_MAX.saturating_sub(open.len());
                open.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"\n") {
                    if !open.trim_ascii().is_empty() {
                        last.clone_from(&open);
                    }
                    open.clear();
                }
            }
        }
    }
    if !open.trim_ascii().is_empty() {
        last = open;
    }
    String::from_utf8_lossy(last.trim_ascii()).into_owned()
}
