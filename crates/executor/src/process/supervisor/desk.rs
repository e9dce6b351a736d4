//! What a supervisor has, and what servers ask of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemill_model::AttemptId;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::super::cgroup::Groups;
use super::super::protocol::{
    Answer, CommandEnd, Known, Outbox, PROTOCOL, Request, Start, Stopped, VERSION, encode, receive,
};
use super::super::record::{self, ProcessRecord, boot_id};
use super::super::waiting::WaitingProcesses;
use super::command;
use crate::outside::Clock;

/// The wait before a result is written again to a full disk.
const DISK_FULL_WAIT: Duration = Duration::from_millis(250);

/// What a supervisor works with.
pub(super) struct Desk {
    pub(super) folder: PathBuf,
    pub(super) boot: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) waiting: WaitingProcesses,
    pub(super) groups: Groups,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    commands: HashMap<AttemptId, Command>,
    server: Option<Server>,
    servers: u64,
    /// Nobody will ask for anything any more.
    leaving: bool,
}

/// The server that is there.
struct Server {
    number: u64,
    outbox: Arc<Outbox>,
    reading: AbortHandle,
}

/// A command that lives, or whose result waits.
struct Command {
    begun: Instant,
    stop: watch::Sender<Option<Stopped>>,
    /// The server that commits its result.
    owner: Option<u64>,
    /// Whether it goes on when that server is gone.
    keep: bool,
    /// Nobody wants its result.
    unwanted: bool,
    path: PathBuf,
    end: Option<CommandEnd>,
    /// Whether the result stands on disk.
    saved: bool,
}

impl Desk {
    pub(super) fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> std::io::Result<Arc<Self>> {
        // The program may have been replaced on disk since; what waits for its order must be the
        // same as this one.
        let waiting = WaitingProcesses::start("/proc/self/exe".into(), Handle::current())?;
        let (state, changed) = (Mutex::default(), Notify::new());
        let (boot, groups) = (boot_id(), Groups::find());
        Ok(Arc::new(Self { folder, boot, clock, waiting, groups, state, changed }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to whoever came, if it is somebody of the same user.
    pub(super) fn welcome(self: &Arc<Self>, stream: UnixStream) {
        let own = rustix::process::geteuid().as_raw();
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
            let desk = Arc::clone(self);
            tokio::spawn(async move { desk.listen(stream).await });
        }
    }

    /// Hears one server until it is gone.
    async fn listen(self: Arc<Self>, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read);
        let Ok((Request::Hello { .. }, _)) = receive(&mut read).await else { return };
        let outbox = Outbox::new(write);
        let desk = Arc::clone(&self);
        let mine = Arc::clone(&outbox);
        // Its number comes with its place, before it is heard any further.
        let (tell, told) = tokio::sync::oneshot::channel();
        let reading = tokio::spawn(async move {
            let Ok(number) = told.await else { return };
            tokio::select! {
                () = desk.hear(&mut read, number) => {}
                _ = mine.deliver() => {}
            }
            desk.gone(number);
        });
        let number = self.take_place(outbox, reading.abort_handle());
        let _ = tell.send(number);
    }

    /// Puts a server in the place of the one before, of which nothing more is heard, and tells it
    /// what there is. So nothing that the earlier one had sent begins after the later one was told.
    fn take_place(&self, outbox: Arc<Outbox>, reading: AbortHandle) -> u64 {
        let mut state = self.lock();
        if let Some(earlier) = state.server.take() {
            earlier.reading.abort();
            state.disown(earlier.number);
        }
        state.servers += 1;
        let number = state.servers;
        let known = |(id, command): (&AttemptId, &Command)| Known {
            id: id.clone(),
            elapsed_ms: millis(command.begun.elapsed()),
            end: command.end.clone(),
        };
        let commands = state.commands.iter().filter(|(_, c)| !c.unwanted).map(known).collect();
        let version = VERSION.to_owned();
        send(&outbox, &Answer::Welcome { protocol: PROTOCOL, version, commands });
        state.server = Some(Server { number, outbox, reading });
        self.changed.notify_one();
        number
    }

    async fn hear(self: &Arc<Self>, read: &mut (impl tokio::io::AsyncRead + Unpin), number: u64) {
        while let Ok((request, payload)) = receive(read).await {
            match request {
                Request::Hello { .. } => return,
                Request::Start(start) => self.start(*start, payload, number),
                Request::Adopt { id, keep } => self.adopt(&id, keep, number),
                Request::End { id } => self.lock().stop(&id, Stopped::Asked),
                Request::Forget { id } => self.forget(&id),
                Request::Discard { id } => self.discard(&id),
                Request::Leave => {
                    let busy = {
                        let mut state = self.lock();
                        state.leaving = true;
                        state.is_busy()
                    };
                    self.changed.notify_one();
                    // Either way the server learns at once that it need not wait.
                    if busy {
                        return;
                    }
                }
            }
        }
    }

    fn gone(&self, number: u64) {
        let mut state = self.lock();
        state.server.take_if(|server| server.number == number);
        state.disown(number);
        self.changed.notify_one();
    }

    /// The end: results that the server has not committed must outlast the machine's.
    pub(super) fn close(&self) {
        let server = self.lock().server.take();
        if let Some(server) = server {
            self.lock().disown(server.number);
        }
    }

    fn start(self: &Arc<Self>, start: Start, exec: Vec<u8>, number: u64) {
        let (stop, stopped) = watch::channel(None);
        let path = record::path_of(&self.folder, &start.id, &start.task);
        let mut state = self.lock();
        let Entry::Vacant(place) = state.commands.entry(start.id.clone()) else { return };
        place.insert(Command {
            begun: Instant::now(),
            stop,
            owner: Some(number),
            keep: start.keep,
            unwanted: false,
            path: path.clone(),
            end: None,
            saved: false,
        });
        drop(state);
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            let (end, record) = command::carry_out(&desk, &start, exec, &path, stopped).await;
            desk.ended(&start.id, &path, end, record).await;
        });
    }

    /// Keeps the result, and tells the server that waits for it.
    async fn ended(
        &self,
        id: &AttemptId,
        path: &Path,
        end: CommandEnd,
        record: Option<ProcessRecord>,
    ) {
        let record = record.map(|record| ProcessRecord { end: Some(end.clone()), ..record });
        while !self.lock().keep(id, path, &end, record.as_ref()) {
            tokio::time::sleep(DISK_FULL_WAIT).await;
        }
        self.changed.notify_one();
    }

    /// Another server waits for a command, or for a result.
    fn adopt(&self, id: &AttemptId, keep: bool, number: u64) {
        let mut state = self.lock();
        let State { commands, server, .. } = &mut *state;
        let Some(command) = commands.get_mut(id) else { return };
        (command.owner, command.keep) = (Some(number), keep);
        if let (Some(end), Some(server)) = (&command.end, server) {
            send(&server.outbox, &Answer::Ended { id: id.clone(), end: end.clone() });
        }
    }

    fn forget(&self, id: &AttemptId) {
        let mut state = self.lock();
        if let Entry::Occupied(command) = state.commands.entry(id.clone())
            && command.get().end.is_some()
        {
            let _ = std::fs::remove_file(&command.get().path);
            command.remove();
        }
        self.changed.notify_one();
    }

    fn discard(&self, id: &AttemptId) {
        let living = {
            let mut state = self.lock();
            state.stop(id, Stopped::Asked);
            let command = state.commands.get_mut(id);
            command.is_some_and(|command| {
                command.unwanted = true;
                command.end.is_none()
            })
        };
        if !living {
            self.forget(id);
        }
    }

    /// Ends every command.
    pub(super) fn end_all(&self) {
        let mut state = self.lock();
        let ids: Vec<AttemptId> = state.commands.keys().cloned().collect();
        for id in &ids {
            state.stop(id, Stopped::Terminated);
        }
        // It was told to end, so it does, whoever is there.
        state.leaving = true;
        self.changed.notify_one();
    }

    /// Resolves when there is nothing to look after and nobody there, for so long; at once, when
    /// nobody will ask for anything.
    pub(super) async fn may_leave(&self, kept_for: Duration) {
        loop {
            let (idle, leaving) = {
                let state = self.lock();
                (!state.is_busy() && (state.server.is_none() || state.leaving), state.leaving)
            };
            if idle && leaving {
                return;
            }
            if !idle {
                self.changed.notified().await;
            } else if tokio::time::timeout(kept_for, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// Whether there is a command that lives, or whose result is not on disk.
    fn is_busy(&self) -> bool {
        self.commands.values().any(|command| !command.saved)
    }

    /// Puts the result in the place of the record; `false` if the disk is too full for it.
    fn keep(
        &mut self,
        id: &AttemptId,
        path: &Path,
        end: &CommandEnd,
        record: Option<&ProcessRecord>,
    ) -> bool {
        let Some(command) = self.commands.get_mut(id) else { return true };
        if command.unwanted {
            let _ = std::fs::remove_file(path);
            self.commands.remove(id);
            return true;
        }
        let first = command.end.replace(end.clone()).is_none();
        // With a server there, its commit says that the command has ended. Without one only this
        // file does, and it must outlast the end of the machine, too.
        let sync = command.owner.is_none();
        let saved = record.map_or(Ok(()), |record| record.replace(path, sync));
        command.saved = !saved.is_err_and(|error| error.kind() == ErrorKind::StorageFull);
        let (owner, saved) = (command.owner, command.saved);
        // On a full disk the server is told all the same: it commits when it can.
        if let Some(server) = self.server.as_ref().filter(|s| first && owner == Some(s.number)) {
            send(&server.outbox, &Answer::Ended { id: id.clone(), end: end.clone() });
        }
        saved
    }

    /// Asks a command to end. The first reason stays.
    fn stop(&mut self, id: &AttemptId, why: Stopped) {
        if let Some(command) = self.commands.get(id).filter(|command| command.end.is_none()) {
            command.stop.send_if_modified(|stop| {
                let first = stop.is_none();
                stop.get_or_insert(why);
                first
            });
        }
    }

    /// A server is gone: its commands go on or not, as was said, and nobody commits their results.
    fn disown(&mut self, number: u64) {
        self.leaving = false;
        let mut left = Vec::new();
        for (id, command) in &mut self.commands {
            if command.owner != Some(number) {
                continue;
            }
            command.owner = None;
            if command.end.is_some() {
                let _ = record::sync(&command.path);
            } else if !command.keep {
                left.push(id.clone());
            }
        }
        for id in &left {
            self.stop(id, Stopped::Gone);
        }
    }
}

fn send(outbox: &Outbox, answer: &Answer) {
    if let Ok(bytes) = encode(answer, &[]) {
        outbox.send(&bytes);
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
