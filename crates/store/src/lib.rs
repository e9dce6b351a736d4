//! Where facts are kept.
//!
//! Read in this order:
//!
//! * [`mod@store`]: [`Store`], the trait that the scheduler writes to and everything reads from;
//! * [`sled_store`]: [`SledStore`], the store of a home, which joins what follows;
//! * `journal`: every event, synced before it is acknowledged; `slab`: small tables and DAG texts;
//! * `records`: runs and DAGs by key, in sled; `snapshot`: pictures of them; `replay`: how they
//!   come back from the journal;
//! * [`mod@archive`]: finished runs that have left the records, as far as this crate knows of them;
//! * [`projector`]: the thread that follows the journal with records;
//! * [`home`]: the folder and its lock; [`backup`]; [`doctor`];
//! * [`kv`]: keys and values for other crates;
//! * [`memory`]: the store of tests, with faults to inject; [`conformance`]: the suite that every
//!   store passes.
//!
//! **Invariants.** The journal alone is synced before an acknowledgement (and the slab before it,
//! when a commit has small tables); records follow behind and can be rebuilt from it. No row data
//! enters the journal. A damaged file is never passed over in silence. No `sled` type leaves this
//! crate.

pub mod archive;
pub mod backup;
pub mod conformance;
pub mod disk;
pub mod doctor;
pub mod home;
mod journal;
pub mod kv;
pub mod memory;
pub mod projector;
mod record;
mod records;
mod replay;
pub mod sealed;
mod slab;
pub mod sled_store;
mod snapshot;
pub mod store;
pub mod upgrade;

pub use archive::{Archive, TablesNeeded, WholeRun};
pub use home::{Home, HomeError, Layout, ServerInfo};
pub use memory::{Fault, MemoryStore};
pub use projector::{Live, Projector};
pub use replay::Resolver;
pub use sled_store::{SledOptions, SledStore, StoreFigures};
pub use store::{
    Commit, DagSource, Record, Recovered, RunPage, RunQuery, RunSummary, Store, StoreError,
    StoredDag, StoredRunAt,
};
