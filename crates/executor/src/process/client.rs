//! The server's side of the supervisor: finds or starts it, and waits for commands to end.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tidemill_model::AttemptId;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::leftover::{self, Leftover};
use super::protocol::{
    Answer, CommandEnd, Known, Outbox, PROTOCOL, Request, Start, VERSION, encode, receive,
};
use super::record;
use super::supervisor::{MARK, living, make_folder, socket_in};
use crate::flag::StopFlag;

/// A supervisor that does not answer within this time is of no use.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The wait before a supervisor is looked for again: another one is just coming or going.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A supervisor of another version has this long to end its commands; then it is ended itself.
const END_MAX: Duration = Duration::from_secs(30);

/// How the wait for a command ended.
pub(crate) enum Fate {
    /// With its end.
    Ended(CommandEnd),
    /// Its supervisor fell; what it had started is ended.
    Lost,
    /// It goes on, and this process does not wait any longer.
    GoesOn,
}

/// Commands and their supervisor, as a server sees them.
pub(crate) struct Supervisor {
    program: PathBuf,
    folder: PathBuf,
    grace: Duration,
    /// Whether commands go on when this process is gone.
    keep: bool,
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Attempts of an earlier server.
    held: Mutex<HashMap<AttemptId, Held>>,
    /// Results that are not committed yet, by where they stand.
    results: Mutex<HashMap<AttemptId, PathBuf>>,
    /// How many these are: nearly always none, and each commit asks.
    results_count: AtomicUsize,
    /// No more is waited for: commands go on by themselves.
    let_go: CancellationToken,
}

/// An attempt of an earlier server.
pub(crate) struct Held {
    path: PathBuf,
    elapsed: Duration,
    end: Option<CommandEnd>,
}

/// A connection to a supervisor.
struct Link {
    outbox: Arc<Outbox>,
    waiting: Mutex<HashMap<AttemptId, oneshot::Sender<CommandEnd>>>,
    gone: AtomicBool,
    over: CancellationToken,
}

impl Supervisor {
    pub(crate) fn new(program: PathBuf, folder: PathBuf, grace: Duration, keep: bool) -> Self {
        Self {
            program,
            folder,
            grace,
            keep,
            link: tokio::sync::Mutex::default(),
            held: Mutex::default(),
            results: Mutex::default(),
            results_count: AtomicUsize::new(0),
            let_go: CancellationToken::new(),
        }
    }

    /// Whether commands go on when this process is gone.
    pub(crate) fn keeps(&self) -> bool {
        self.keep
    }

    // ---- commands -----------------------------------------------------------------------------

    /// Runs a command to its end.
    pub(crate) async fn run(&self, start: Start, exec: &[u8], stop: &StopFlag) -> io::Result<Fate> {
        let (id, path) = (start.id.clone(), record::path_of(&self.folder, &start.id, &start.task));
        let message = encode(&Request::Start(Box::new(start)), exec)?;
        let (link, end) = loop {
            let link = self.link().await?;
            // One that fell while nothing was asked of it is replaced.
            if let Some(end) = link.expect(&id) {
                break (link, end);
            }
        };
        link.outbox.send(&message);
        Ok(self.wait(&link, id, path, end, stop).await)
    }

    /// Waits for the end of a command that an earlier server started.
    pub(crate) async fn adopt(&self, id: &AttemptId, stop: &StopFlag) -> Fate {
        let Some(Held { path, end, .. }) = lock(&self.held).remove(id) else { return Fate::Lost };
        if let Some(end) = end {
            self.keep_result(id.clone(), path);
            return Fate::Ended(end);
        }
        let link = self.link.lock().await.clone();
        let expected = link.and_then(|link| link.expect(id).map(|end| (link, end)));
        let Some((link, end)) = expected else { return self.lost(id, &path).await };
        link.say(&Request::Adopt { id: id.clone(), keep: self.keep });
        self.wait(&link, id.clone(), path, end, stop).await
    }

    async fn wait(
        &self,
        link: &Link,
        id: AttemptId,
        path: PathBuf,
        mut end: oneshot::Receiver<CommandEnd>,
        stop: &StopFlag,
    ) -> Fate {
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                end = &mut end => {
                    let Ok(end) = end else { return self.lost(&id, &path).await };
                    self.keep_result(id, path);
                    return Fate::Ended(end);
                }
                () = self.let_go.cancelled(), if !asked => return Fate::GoesOn,
                () = stop.raised(), if !asked => {
                    asked = true;
                    link.say(&Request::End { id: id.clone() });
                }
            }
        }
    }

    /// The supervisor fell. Its last word may stand on disk; if not, what the command left is ended.
    async fn lost(&self, id: &AttemptId, path: &Path) -> Fate {
        match leftover::end_one(path, self.grace).await {
            Some(end) => {
                self.keep_result(id.clone(), path.to_owned());
                Fate::Ended(end)
            }
            None => Fate::Lost,
        }
    }

    /// How long an attempt of an earlier server had been running when it was found.
    pub(crate) fn elapsed(&self, id: &AttemptId) -> Duration {
        lock(&self.held).get(id).map(|held| held.elapsed).unwrap_or_default()
    }

    // ---- results ------------------------------------------------------------------------------

    fn keep_result(&self, id: AttemptId, path: PathBuf) {
        let mut results = lock(&self.results);
        results.insert(id, path);
        self.results_count.store(results.len(), Ordering::Release);
    }

    /// Whether results wait for their commit.
    pub(crate) fn has_results(&self) -> bool {
        self.results_count.load(Ordering::Acquire) > 0
    }

    /// The end of an attempt is committed: its result is needed no more. `false` if there was none.
    pub(crate) fn committed(&self, id: &AttemptId) -> bool {
        let path = {
            let mut results = lock(&self.results);
            let path = results.remove(id);
            self.results_count.store(results.len(), Ordering::Release);
            path
        };
        let Some(path) = path else { return false };
        // Who does not know it does nothing, and the file of one who fell is removed here.
        self.tell(&Request::Forget { id: id.clone() });
        let _ = std::fs::remove_file(path);
        true
    }

    /// Nobody wants an attempt: it is ended, and its result forgotten.
    pub(crate) fn discard(&self, id: &AttemptId) {
        if self.committed(id) {
            return;
        }
        if let Some(held) = lock(&self.held).remove(id) {
            self.tell(&Request::Discard { id: id.clone() });
            if held.end.is_some() {
                let _ = std::fs::remove_file(held.path);
            }
        }
    }

    fn tell(&self, request: &Request) {
        if let Ok(link) = self.link.try_lock()
            && let Some(link) = &*link
        {
            link.say(request);
        }
    }

    // ---- the beginning and the end of a server ------------------------------------------------

    /// Finds what an earlier server left: commands that went on, and results. What nobody looks
    /// after any more, and is of `wanted` runs, is ended; that is given, too.
    pub(crate) async fn take_up(
        &self,
        wanted: impl Fn(&AttemptId) -> bool,
    ) -> io::Result<(Vec<AttemptId>, Vec<Leftover>)> {
        let mut known = Vec::new();
        if living(&self.folder).is_some() {
            let mut link = self.link.lock().await;
            if let Some((found, commands)) = self.find().await? {
                *link = Some(found);
                known = commands;
            }
        }
        let living: Vec<AttemptId> = known.iter().map(|command| command.id.clone()).collect();
        let left =
            leftover::end_others(&self.folder, self.grace, |id| wanted(id) && !living.contains(id));
        let left = left.await;
        let mut held = lock(&self.held);
        for (path, record) in record::all(&self.folder) {
            let Some(record) = record else { continue };
            let command = known.iter().find(|command| command.id == record.id);
            let end = command.map_or(record.end, |command| command.end.clone());
            if command.is_none() && end.is_none() {
                continue;
            }
            let elapsed = command.map_or(0, |command| command.elapsed_ms);
            let elapsed = Duration::from_millis(elapsed);
            held.insert(record.id, Held { path, elapsed, end });
        }
        Ok((held.keys().cloned().collect(), left))
    }

    /// Waits for no command any more. Those that are under way go on.
    pub(crate) fn let_go(&self) {
        self.let_go.cancel();
    }

    /// The supervisor is not needed any more by this process. If it has nothing to look after it
    /// leaves, which is waited for.
    pub(crate) async fn leave(&self) {
        let Some(link) = self.link.lock().await.take() else { return };
        link.say(&Request::Leave);
        if !self.let_go.is_cancelled() {
            let _ = tokio::time::timeout(Duration::from_secs(1), link.over.cancelled()).await;
        }
        link.over.cancel();
    }

    // ---- the connection -----------------------------------------------------------------------

    /// A supervisor that is there; it is started if there is none.
    async fn link(&self) -> io::Result<Arc<Link>> {
        let mut place = self.link.lock().await;
        if let Some(link) = place.as_ref().filter(|link| !link.gone.load(Ordering::Acquire)) {
            return Ok(Arc::clone(link));
        }
        let search = async {
            loop {
                let found = match self.find().await? {
                    Some(found) => Some(found),
                    None => self.begin().await?,
                };
                if let Some((link, _)) = found {
                    return Ok::<_, io::Error>(link);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let late = |_| io::Error::other("no supervisor of commands answers");
        let link = tokio::time::timeout(ANSWER_MAX, search).await.map_err(late)??;
        *place = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Connects to the supervisor of the home, if there is one.
    async fn find(&self) -> io::Result<Option<(Arc<Link>, Vec<Known>)>> {
        let Ok((folder, path)) = socket_in(&self.folder) else { return Ok(None) };
        let Ok(stream) = UnixStream::connect(path).await else { return Ok(None) };
        drop(folder);
        let peer = stream.peer_cred()?;
        if peer.uid() != rustix::process::geteuid().as_raw() {
            let text = format!(
                "the supervisor of commands of this home belongs to user {}; start the server as \
                 that user, or end process {} there",
                peer.uid(),
                peer.pid().unwrap_or_default()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        match self.greet(stream).await {
            Some((PROTOCOL, version, link, commands)) => {
                // A newer program starts its commands itself as soon as it can.
                if version != VERSION && commands.is_empty() {
                    link.say(&Request::Leave);
                    return Ok(None);
                }
                Ok(Some((link, commands)))
            }
            Some((_, version, _, commands)) => {
                self.end_other_version(peer.pid(), &version, commands.len()).await;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Starts a supervisor.
    async fn begin(&self) -> io::Result<Option<(Arc<Link>, Vec<Known>)>> {
        make_folder(&self.folder)?;
        let (here, there) = std::os::unix::net::UnixStream::pair()?;
        let mut child = Command::new(&self.program)
            .arg(MARK)
            .arg(&self.folder)
            .env_clear()
            // A process without any environment could be one that is becoming another program.
            .env(MARK, "1")
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // It outlives this process, and is collected if it does not.
        tokio::spawn(async move { child.wait().await });
        here.set_nonblocking(true)?;
        let greeted = self.greet(UnixStream::from_std(here)?).await;
        Ok(greeted.map(|(_, _, link, commands)| (link, commands)))
    }

    /// Says hello. `None` if the other side is gone.
    async fn greet(&self, stream: UnixStream) -> Option<(u32, String, Arc<Link>, Vec<Known>)> {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let link = Arc::new(Link {
            outbox: Outbox::new(write),
            waiting: Mutex::default(),
            gone: AtomicBool::new(false),
            over: CancellationToken::new(),
        });
        let delivering = Arc::clone(&link);
        tokio::spawn(async move {
            tokio::select! {
                _ = delivering.outbox.deliver() => {}
                () = delivering.over.cancelled() => {}
            }
        });
        link.say(&Request::Hello { protocol: PROTOCOL, version: VERSION.to_owned() });
        let answer = tokio::time::timeout(ANSWER_MAX, receive::<Answer>(&mut read)).await;
        let Ok(Ok((Answer::Welcome { protocol, version, commands }, _))) = answer else {
            link.over.cancel();
            return None;
        };
        tokio::spawn(Arc::clone(&link).listen(read));
        Some((protocol, version, link, commands))
    }

    /// Ends a supervisor that this program does not understand, with its commands: they run again.
    async fn end_other_version(&self, pid: Option<i32>, version: &str, commands: usize) {
        tracing::warn!(
            commands,
            "a supervisor of version {version} is ended, because this version does not understand \
             it; its commands run again"
        );
        for (signal, patience) in [(Signal::TERM, END_MAX), (Signal::KILL, ANSWER_MAX)] {
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, signal);
            }
            let gone = async {
                while living(&self.folder).is_some() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            if tokio::time::timeout(patience, gone).await.is_ok() {
                return;
            }
        }
    }
}

impl Link {
    fn say(&self, request: &Request) {
        if let Ok(message) = encode(request, &[]) {
            self.outbox.send(&message);
        }
    }

    /// Where the end of a command will come; `None` if it cannot any more.
    fn expect(&self, id: &AttemptId) -> Option<oneshot::Receiver<CommandEnd>> {
        let mut waiting = lock(&self.waiting);
        if self.gone.load(Ordering::Acquire) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        waiting.insert(id.clone(), tell);
        Some(told)
    }

    /// Hands out what the supervisor says, until it is gone.
    async fn listen(self: Arc<Self>, mut read: BufReader<OwnedReadHalf>) {
        loop {
            let said = tokio::select! {
                said = receive::<Answer>(&mut read) => said,
                () = self.over.cancelled() => break,
            };
            match said {
                Ok((Answer::Ended { id, end }, _)) => {
                    if let Some(tell) = lock(&self.waiting).remove(&id) {
                        let _ = tell.send(end);
                    }
                }
                Ok((Answer::Welcome { .. }, _)) => {}
                Err(_) => break,
            }
        }
        let mut waiting = lock(&self.waiting);
        self.gone.store(true, Ordering::Release);
        waiting.clear();
        self.over.cancel();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
