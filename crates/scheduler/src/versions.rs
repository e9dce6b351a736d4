//! DAG versions by their hash, loaded from their stored text when a run needs them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_model::{Dag, Version};
use tidemill_store::{DagSource, Store, StoreError};

/// Loads a DAG from the text that was stored with its version.
pub type Resolver = Arc<dyn Fn(&Version, &DagSource) -> Option<Arc<Dag>> + Send + Sync>;

/// Loaded versions that are kept; the least recently deployed ones are loaded again when needed.
const VERSIONS_KEPT_MAX: usize = 4_096;

/// Every version that was deployed or asked for.
pub struct Versions {
    store: Arc<dyn Store>,
    resolver: Resolver,
    loaded: Mutex<HashMap<Version, Option<Arc<Dag>>>>,
}

impl Versions {
    /// Versions of this store.
    pub fn new(store: Arc<dyn Store>, resolver: Resolver) -> Self {
        Self { store, resolver, loaded: Mutex::default() }
    }

    /// A version, if its text still loads. May block on disk the first time.
    pub fn get(&self, version: &Version) -> Option<Arc<Dag>> {
        if let Some(known) = self.lock().get(version) {
            return known.clone();
        }
        let source = self.store.version(version).ok().flatten()?;
        let dag = (self.resolver)(version, &source);
        self.keep(version.clone(), dag.clone());
        dag
    }

    /// Makes the texts of versions durable, where they are not already, and keeps the loaded forms.
    pub fn put(&self, dags: &[(Arc<Dag>, DagSource)]) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for (dag, source) in dags {
            let loaded = matches!(self.lock().get(&dag.version), Some(Some(_)));
            if !loaded && self.store.version(&dag.version)?.is_none() {
                new.push((dag.version.clone(), source.clone()));
            }
        }
        self.store.put_versions(&new)?;
        for (dag, _) in dags {
            self.keep(dag.version.clone(), Some(Arc::clone(dag)));
        }
        Ok(())
    }

    fn keep(&self, version: Version, dag: Option<Arc<Dag>>) {
        let mut loaded = self.lock();
        if loaded.len() >= VERSIONS_KEPT_MAX {
            loaded.clear();
        }
        loaded.insert(version, dag);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Version, Option<Arc<Dag>>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
