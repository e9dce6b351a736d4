//! What server and supervisor say to each other.
//!
//! A message is four bytes of length, four bytes of the length of its JSON, the JSON, and bytes that
//! are no JSON: the [`ExecOrder`](super::exec_order::ExecOrder) of a command. `Hello` and `Welcome`
//! stay readable for every version; the rest holds among those of one [`PROTOCOL`].

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidemill_model::AttemptId;
use tidemill_model::dag::Resources;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

use super::cgroup::Met;
use crate::logs::LogLimits;

/// Counts up with each change after which an older supervisor would misunderstand.
pub(crate) const PROTOCOL: u32 = 1;

/// The version of this program, for notes.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A longer message is none. Commands and their variables have at most a few megabytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a server says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// First of all. A server that was there before is gone: a home has one at a time.
    Hello { protocol: u32, version: String },
    /// Start a command.
    Start(Box<Start>),
    /// Its result is wanted by this server, which may be another than the one that started it.
    Adopt { id: AttemptId, keep: bool },
    /// End it.
    End { id: AttemptId },
    /// Its result is committed.
    Forget { id: AttemptId },
    /// Its result is not wanted. If it lives, it is ended.
    Discard { id: AttemptId },
    /// Nothing more will be started; with nothing to look after, the supervisor leaves.
    Leave,
}

/// What a supervisor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The answer to `Hello`.
    Welcome { protocol: u32, version: String, commands: Vec<Known> },
    /// A command has ended, and its tree with it.
    Ended { id: AttemptId, end: CommandEnd },
}

/// A command to start. It holds secrets: it is never written to disk.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) id: AttemptId,
    /// The task's name.
    pub(crate) task: String,
    /// What its processes carry in their environment.
    pub(crate) token: String,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    pub(crate) log_limits: LogLimits,
    /// Values that must not be seen in the log.
    pub(crate) secrets: Vec<String>,
    /// What is left of its time.
    pub(crate) timeout_ms: Option<u64>,
    /// The time between TERM and KILL.
    pub(crate) grace_ms: u64,
    /// How much of the machine it may take.
    #[serde(default)]
    pub(crate) resources: Resources,
    /// Whether it goes on when the server is gone.
    pub(crate) keep: bool,
}

/// A command that a supervisor has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) id: AttemptId,
    /// How long it has been running.
    pub(crate) elapsed_ms: u64,
    pub(crate) end: Option<CommandEnd>,
}

/// How a command ended, once its whole tree had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandEnd {
    pub(crate) how: How,
    /// The last line of its standard error, without secrets.
    pub(crate) last_line: String,
    /// Processes that would not end.
    pub(crate) stubborn: Vec<i32>,
    /// It was ended because it was to stop, and why. Then its code says nothing.
    pub(crate) stopped: Option<Stopped>,
    /// Bytes of its output that the log does not hold.
    pub(crate) dropped: u64,
    /// How long it ran.
    pub(crate) ran_ms: u64,
    /// Limits that it met.
    #[serde(default)]
    pub(crate) met: Met,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// It never began, because of this.
    NotStarted(String),
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody can tell.
    Unknown,
}

/// Why a command was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    /// A server asked for it.
    Asked,
    /// Its time was over.
    Timeout,
    /// Its server is gone, and it was not to outlive it.
    Gone,
    /// The supervisor was told to end.
    Terminated,
}

/// A message in bytes.
pub(crate) fn encode(message: &impl Serialize, payload: &[u8]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let too_long = || io::Error::from(io::ErrorKind::ArgumentListTooLong);
    let length = Some(4 + json.len() + payload.len()).filter(|all| *all <= MESSAGE_BYTES_MAX);
    let length = length.and_then(|all| u32::try_from(all).ok()).ok_or_else(too_long)?;
    let json_length = u32::try_from(json.len()).map_err(|_| too_long())?;
    let (length, json_length) = (length.to_le_bytes(), json_length.to_le_bytes());
    Ok([&length[..], &json_length[..], &json, payload].concat())
}

/// Reads a message and what is no JSON of it.
pub(crate) async fn receive<T: for<'a> Deserialize<'a>>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<(T, Vec<u8>)> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let length = from.read_u32_le().await? as usize;
    let json = from.read_u32_le().await? as usize;
    if length > MESSAGE_BYTES_MAX || json + 4 > length {
        return Err(wrong());
    }
    let mut bytes = vec![0; length - 4];
    from.read_exact(&mut bytes).await?;
    let payload = bytes.split_off(json);
    let message = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    Ok((message, payload))
}

/// The writing side of a connection. Sending never waits: what the system does not take at once is
/// sent by [`Outbox::deliver`].
pub(crate) struct Outbox {
    write: OwnedWriteHalf,
    open: Mutex<Vec<u8>>,
    more: Notify,
}

impl Outbox {
    pub(crate) fn new(write: OwnedWriteHalf) -> Arc<Self> {
        Arc::new(Self { write, open: Mutex::default(), more: Notify::new() })
    }

    /// Sends bytes. If the other side is gone, whoever reads from it learns so.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut open = self.lock();
        let taken = if open.is_empty() { self.write.try_write(bytes).unwrap_or(0) } else { 0 };
        open.extend_from_slice(&bytes[taken..]);
        if !open.is_empty() {
            self.more.notify_one();
        }
    }

    /// Sends what waits, until the other side is gone.
    pub(crate) async fn deliver(&self) -> io::Result<()> {
        loop {
            self.more.notified().await;
            while !self.lock().is_empty() {
                self.write.writable().await?;
                let mut open = self.lock();
                match self.write.try_write(&open) {
                    Ok(taken) => drop(open.drain(..taken)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn messages_come_out_as_they_went_in_however_long() {
        let (here, there) = UnixStream::pair().unwrap();
        let (_read, write) = here.into_split();
        let outbox = Outbox::new(write);
        let delivering = Arc::clone(&outbox);
        let delivering = tokio::spawn(async move { delivering.deliver().await });
        // More than a socket takes at once.
        let payloads = [Vec::new(), vec![7; 3 << 20], b"short".to_vec()];
        for payload in &payloads {
            outbox.send(&encode(&Request::Leave, payload).unwrap());
        }
        let (mut read, write) = there.into_split();
        for sent in &payloads {
            let (message, payload) = receive::<Request>(&mut read).await.unwrap();
            assert!(matches!(message, Request::Leave));
            assert!(payload == *sent);
        }
        drop((read, write));
        // Whoever sends to nobody is not kept waiting.
        outbox.send(&encode(&Request::Leave, &vec![1; 3 << 20]).unwrap());
        assert!(delivering.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn nothing_else_is_taken_for_a_message() {
        let huge = [&u32::MAX.to_le_bytes()[..], &[0; 4]].concat();
        let short = [&3_u32.to_le_bytes()[..], &[0; 4]].concat();
        let long = [&8_u32.to_le_bytes()[..], &9_u32.to_le_bytes()[..], &[0; 8]].concat();
        let other = [&6_u32.to_le_bytes()[..], &2_u32.to_le_bytes()[..], b"{}"].concat();
        for bytes in [huge, short, long, other, Vec::new()] {
            assert!(receive::<Request>(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}
