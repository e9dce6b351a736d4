//! From a command as its attempt says it to what a supervisor is told.

use std::ffi::OsString;
use std::path::Path;

use sha2::{Digest, Sha256};
use tidemill_model::AttemptId;
use tidemill_model::dag::Resources;

use super::exec_order::ExecOrder;
use super::record::{boot_id, name_of};
use super::tree::TOKEN_VARIABLE;

/// Variables of the server's own environment that commands are given.
/// Those that begin with `LC_` are too.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// A command, ready to be started.
pub(crate) struct Order<'a> {
    /// The attempt.
    pub(crate) id: &'a AttemptId,
    /// The task's name.
    pub(crate) task: &'a str,
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// Its own variables, besides those that are passed on.
    pub(crate) env: Vec<(String, OsString)>,
    /// Where it runs.
    pub(crate) folder: &'a Path,
    /// How much of the machine it may take.
    pub(crate) resources: Resources,
}

impl Order<'_> {
    /// What its process becomes, in bytes, and what all its processes carry.
    pub(crate) fn exec(self) -> std::io::Result<(Vec<u8>, String)> {
        let token = token(&name_of(self.id, self.task));
        let own = self.env.into_iter().map(|(name, value)| (name.into(), value));
        let carried = (TOKEN_VARIABLE.into(), token.clone().into());
        let exec = ExecOrder {
            // The supervisor, whose child it becomes, stands in another folder than this server.
            folder: std::path::absolute(self.folder).unwrap_or_else(|_| self.folder.to_owned()),
            files: self.resources.files,
            words: self.words,
            env: passed_on().chain(own).chain([carried]).collect(),
        };
        let too_long = || std::io::Error::from(std::io::ErrorKind::ArgumentListTooLong);
        Ok((exec.encode().ok_or_else(too_long)?, token))
    }
}

fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("LC_"))
    })
}

/// A text that no other attempt's processes carry.
fn token(name: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update(std::process::id().to_le_bytes());
    hash.update(COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    // Address-space randomness keeps two servers with the same process id apart.
    hash.update((&raw const COUNTER as usize).to_le_bytes());
    hash.update(boot_id());
    hex::encode(&hash.finalize()[..16])
}
