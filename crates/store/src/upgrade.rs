//! Upgrades: a home of an earlier format becomes one of this release, after a backup.
//!
//! A home keeps its old format until everything is done, and each step may be done again, so an
//! upgrade that ended in the middle is gone on with at the next start.

use std::path::PathBuf;

use crate::backup::{self, BackupError};
use crate::disk;
use crate::home::{FORMAT, Home, Layout};
use crate::kv::{Kv, SledKv};
use crate::replay::Resolver;
use crate::sled_store::{SledOptions, SledStore};
use crate::store::StoreError;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    /// The format that the home had.
    pub from: u32,
    /// The format that it has.
    pub to: u32,
    /// The backup that was taken first. The earlier release can restore it.
    pub backup: PathBuf,
}

/// What brings a home from one format to the next.
type Step = fn(&Layout) -> Result<(), StoreError>;

/// The first from 1 to 2.
const STEPS: [Step; FORMAT as usize - 1] = [to_2];

/// Finished runs leave the records for the history. A release of format 1 would take the tables of
/// those for left over, and remove them: that is why it must not open such a home.
fn to_2(home: &Layout) -> Result<(), StoreError> {
    disk::make_dir(&home.history())
}

/// Brings a home to this release's format, with a backup first. Its store and its profiles must be
/// closed.
pub fn upgrade(home: &Home, resolver: Resolver) -> Result<Option<Upgraded>, BackupError> {
    let from = home.format_now();
    if from == FORMAT {
        return Ok(None);
    }
    let dest = home.before_upgrade(from);
    if backup::verify(&dest).is_err() {
        take_backup(home, resolver, from)?;
    }
    for step in &STEPS[from.saturating_sub(1) as usize..] {
        step(home.layout())?;
    }
    home.mark_upgraded()?;
    Ok(Some(Upgraded { from, to: FORMAT, backup: dest }))
}

fn take_backup(home: &Home, resolver: Resolver, from: u32) -> Result<(), BackupError> {
    let dest = home.before_upgrade(from);
    match std::fs::remove_dir_all(&dest) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(disk::failed(&dest, &error).into());
        }
        _ => {}
    }
    let has_profiles = home.profiles().exists();
    let profiles = has_profiles.then(|| SledKv::open(&home.profiles())).transpose()?;
    let profiles = profiles.as_ref().map(|kv| kv as &dyn Kv);
    let (store, notes) = SledStore::open_at(home.layout(), resolver, SledOptions::default())?;
    for note in notes {
        tracing::warn!("{note}");
    }
    backup::backup_of(&store, home.layout(), profiles, &dest, from)?;
    disk::sync_parent(&dest)?;
    Ok(())
}
