//! Everything that a DAG may name under `ingest`, `load` and `transform`.

use std::sync::Arc;

use crate::connector::{AnyConnector, SharedConnector};
use crate::transform::{AnyTransform, SharedTransform};

/// The connectors and transforms of this installation, in the order of the documentation.
///
/// The binary joins the slices that `connectors`, `sql` and `profile` export.
#[derive(Clone, Default)]
pub struct Registry {
    /// Systems that rows come from and go to.
    pub connectors: Vec<SharedConnector>,
    /// Ways to make tables from tables.
    pub transforms: Vec<SharedTransform>,
}

impl Registry {
    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Option<&Arc<dyn AnyConnector>> {
        self.connectors.iter().find(|c| c.name() == name)
    }

    /// The transform of this name.
    pub fn transform(&self, name: &str) -> Option<&Arc<dyn AnyTransform>> {
        self.transforms.iter().find(|t| t.name() == name)
    }
}
