//! The small traits through which the outside comes in.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tidemill_connector::{Connection, ConnectorError, SchemaRef};
use tidemill_model::{AttemptOrder, Secret, Timestamp};

/// Where small tables are kept.
pub trait SmallTables: Send + Sync {
    /// The bytes of a small table by its hash; the error says why they cannot be read.
    fn get(&self, hash: &str) -> Result<Option<Bytes>, String>;
}

/// The named endpoints.
pub trait Connections: Send + Sync {
    /// The connection of this name for DAGs in `folder`, its secrets resolved.
    fn get(&self, folder: &Path, name: &str) -> Result<Connection, ConnectorError>;
}

/// The secrets.
pub trait Secrets: Send + Sync {
    /// The secret of this name.
    fn get(&self, name: &str) -> Result<Secret, ConnectorError>;
    /// Every value, so that logs can be masked.
    fn values(&self) -> Vec<Secret>;
}

/// Where results are kept for tasks that use earlier ones again. It may forget any of them.
pub trait Results: Send + Sync {
    /// What was put under a key.
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    /// Keeps a value until `expires`.
    fn put(&self, key: &str, value: &[u8], expires: Timestamp);
}

/// The columns of tables that were not made, as far as something tells them: the DAG, the files
/// that it reads, an earlier run.
#[async_trait]
pub trait Columns: Send + Sync {
    /// The columns that this table of the order's DAG would have had.
    async fn of(&self, order: &AttemptOrder, table: &str) -> Option<SchemaRef>;
}

/// The wall clock, for the times in logs. Time limits do not depend on it.
pub trait Clock: Send + Sync {
    /// The current instant.
    fn now(&self) -> Timestamp;
}

/// The folders of a home that the executor writes to.
#[derive(Debug, Clone)]
pub struct HomePaths {
    /// Tables too large for the slab.
    pub tables: PathBuf,
    /// Logs of attempts.
    pub logs: PathBuf,
    /// Records of running commands.
    pub processes: PathBuf,
    /// Files of attempts under way.
    pub spill: PathBuf,
}
