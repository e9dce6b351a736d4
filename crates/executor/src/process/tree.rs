//! Which processes belong to an attempt, and their verified end.
//!
//! A process belongs when it is the attempt's leader or in its session, descends from one that
//! does, or carries the attempt's token in its environment: so a daemon that left its session and
//! its parent is still found. Where it has a control group, that tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use super::cgroup::Group;

/// The variable that every process of a tree carries.
pub(crate) const TOKEN_VARIABLE: &str = "TIDEMILL_ATTEMPT_TOKEN";

/// After a KILL a process may take this long to go; one that stays longer is reported.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A process that is just becoming another program cannot be told whose it is. That lasts for a
/// moment, on a machine under load for a longer one; so long is waited for it.
const CHANGING_MAX: Duration = Duration::from_secs(5);

/// A process without an environment may be one that was caught between two programs, or one that
/// has none. It is looked at so many times more.
const LOOKS_MAX: u32 = 5;

/// How often a dying tree is looked at: the system does not tell when strangers' children end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The tree of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    leader: i32,
    started: u64,
    token: String,
    /// The control group that holds all of it, where there is one.
    group: Option<Group>,
}

/// What a look at a tree found.
#[derive(Default)]
struct Census {
    /// Its living processes.
    living: BTreeSet<i32>,
    /// Whether a process may be one, and is just becoming another program.
    changing: bool,
    /// Whether a process may be one, and has no environment to tell by.
    bare: bool,
}

/// A line of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy)]
struct Stat {
    parent: i32,
    group: i32,
    session: i32,
    started: u64,
    zombie: bool,
}

impl Tree {
    /// The tree that `leader` leads, which started at `started`.
    pub(crate) fn new(leader: i32, started: u64, token: String, group: Option<Group>) -> Self {
        Self { leader, started, token, group }
    }

    /// Whether anything may be left after the leader has ended. Cheap; may say yes for nothing.
    pub(crate) fn may_be_left(&self) -> bool {
        if let Some(members) = self.group.as_ref().and_then(Group::members) {
            return !members.is_empty();
        }
        let group = Pid::from_raw(self.leader);
        let in_group = group.is_some_and(|g| rustix::process::test_kill_process_group(g).is_ok());
        in_group || living_orphans().is_none_or(|living| living > 0)
    }

    /// Ends the tree: TERM, the grace, KILL. Gives how many processes were ended; `Err` holds
    /// those that would not end.
    pub(crate) async fn end(&self, grace: Duration) -> Result<usize, Vec<i32>> {
        let begun = Instant::now();
        let mut killed = None;
        let mut told: BTreeSet<i32> = BTreeSet::new();
        let mut seen: BTreeSet<i32> = BTreeSet::new();
        let mut looks = 0;
        loop {
            let Census { living: alive, changing, bare } = self.members();
            seen.extend(&alive);
            if alive.is_empty() {
                looks += 1;
                let changing = changing && begun.elapsed() < grace + CHANGING_MAX;
                if changing || (bare && looks < LOOKS_MAX) {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                // The dead that fell to us are collected, or they would stay in the table.
                let _ = living_orphans();
                return Ok(seen.len());
            }
            let past_grace = begun.elapsed() >= grace;
            if let Some(group) = self.group.as_ref().filter(|_| past_grace) {
                group.close();
            }
            for pid in alive.iter().copied() {
                if past_grace {
                    send(pid, Signal::KILL);
                } else if told.insert(pid) {
                    send(pid, Signal::TERM);
                    // A stopped process acts on TERM only once it goes on.
                    send(pid, Signal::CONT);
                }
            }
            if past_grace {
                let since = *killed.get_or_insert_with(Instant::now);
                if since.elapsed() >= KILL_WAIT {
                    return Err(alive.into_iter().collect());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its processes, as far as one look tells.
    pub(crate) fn living(&self) -> Vec<i32> {
        self.members().living.into_iter().collect()
    }

    fn members(&self) -> Census {
        match self.group.as_ref().and_then(Group::members) {
            Some(members) => {
                let lives = |pid: &i32| stat(*pid).is_some_and(|stat| !stat.zombie);
                Census { living: members.into_iter().filter(lives).collect(), ..Census::default() }
            }
            None => self.everywhere(),
        }
    }

    /// Looks at every process of the machine.
    fn everywhere(&self) -> Census {
        let all = processes();
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let needle = format!("{TOKEN_VARIABLE}={}", self.token);
        // A process of the leader's number that started at another time is a stranger.
        let leader = match all.get(&self.leader) {
            Some(stat) if stat.started != self.started => i32::MAX,
            _ => self.leader,
        };
        let mut census = Census::default();
        let mut belongs = BTreeSet::new();
        for (pid, stat) in &all {
            // The leader itself has no session and no token in its first moments.
            if *pid == leader || stat.session == leader || stat.group == leader {
                belongs.insert(*pid);
            } else if !stat.zombie {
                // Threads of the kernel never have an environment.
                let may_be_ours = stat.started >= self.started && stat.parent != 2;
                match carries(*pid, &needle) {
                    Carries::Yes => _ = belongs.insert(*pid),
                    Carries::No => {}
                    Carries::Changing => census.changing |= may_be_ours,
                    Carries::Bare => census.bare |= may_be_ours,
                }
            }
        }
        loop {
            let more: Vec<i32> = (all.iter())
                .filter(|(pid, stat)| belongs.contains(&stat.parent) && !belongs.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            belongs.extend(more);
        }
        belongs.retain(|pid| *pid != own && all.get(pid).is_some_and(|stat| !stat.zombie));
        census.living = belongs;
        census
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// How many processes that fell to us when their parents ended still live; the dead among them are
/// collected. They are the children of the main thread, which starts none itself. `None` where the
/// system does not tell.
fn living_orphans() -> Option<usize> {
    let own = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
    let mut living = 0;
    for pid in text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        if stat(pid).is_none_or(|stat| !stat.zombie) {
            living += 1;
        } else if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    Some(living)
}

/// Lets orphans fall to this process instead of the first one, so that they can be found.
pub(crate) fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
}

fn processes() -> BTreeMap<i32, Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn stat(pid: i32) -> Option<Stat> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name stands in parentheses and may hold anything, parentheses too.
    let rest = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// When a process started, in clock ticks since boot; `None` when it is gone.
pub(crate) fn started(pid: i32) -> Option<u64> {
    stat(pid).filter(|stat| !stat.zombie).map(|stat| stat.started)
}

/// What the environment of a process says.
enum Carries {
    Yes,
    No,
    /// It has neither an environment nor arguments: it is becoming another program.
    Changing,
    /// It has no environment. One that was opened before the process became another program reads
    /// as empty, too.
    Bare,
}

/// The bytes of an environment that are read at once; few are longer.
const ENVIRON_BYTES: usize = 256 << 10;

/// Reads a file of `/proc` in as few calls as can be. Between two calls a process may become another
/// program; the second then finds nothing, and what the first one gave would be taken for all.
fn at_once(path: &str) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; ENVIRON_BYTES];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    if length == ENVIRON_BYTES {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Whether a process has the needle in its environment.
fn carries(pid: i32, needle: &str) -> Carries {
    let environ = at_once(&format!("/proc/{pid}/environ")).unwrap_or_default();
    if environ.is_empty() {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return if arguments.is_empty() { Carries::Changing } else { Carries::Bare };
    }
    let found = environ.split(|byte| *byte == 0).any(|entry| entry == needle.as_bytes());
    if found { Carries::Yes } else { Carries::No }
}
