//! The small files beside DAGs: `connections.yaml`, `pools.yaml` and `calendars.yaml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Map;
use tidemill_connector::{Connection, ConnectorError, Registry};
use tidemill_executor::{Connections, Secrets};
use tidemill_model::PoolName;
use tidemill_model::admission::{DEFAULT_POOL, DEFAULT_POOL_SLOTS};
use tidemill_model::schedule::Calendar;
use tidemill_spec::{
    Catalog, ConnectionSpec, Diagnostic, SourceText, UNREAD_NAMES, parse_calendars,
    parse_connections, parse_pools, unread,
};

use crate::catalog::{catalog_beside, connection_types, folder_of};
use crate::failure::Failure;
use crate::folder::read_text;
use crate::node::Toolbox;
use crate::secrets::SecretStore;

/// What stands in the files beside the DAGs of a folder.
pub(crate) struct Beside {
    folder: PathBuf,
    connections: BTreeMap<String, ConnectionSpec>,
    pools: Vec<(PoolName, u32)>,
    calendars: Arc<[Arc<Calendar>]>,
    secrets: Arc<SecretStore>,
    /// What is wrong with the files.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Files that cannot be read.
    pub(crate) trouble: Vec<String>,
}

impl Beside {
    /// Reads the files in `folder`; a file that is not there is an empty one.
    pub(crate) fn read(folder: &Path, registry: &Registry, secrets: Arc<SecretStore>) -> Self {
        let mut beside = Self {
            folder: folder.to_owned(),
            connections: BTreeMap::new(),
            pools: Vec::new(),
            calendars: Arc::default(),
            secrets,
            diagnostics: Vec::new(),
            trouble: Vec::new(),
        };
        if let Some((path, text)) = beside.text("connections.yaml") {
            let source = SourceText { path: &path, text: &text };
            let (connections, diagnostics) = parse_connections(source, &connection_types(registry));
            beside.connections = connections.into_iter().map(|c| (c.name.clone(), c)).collect();
            beside.diagnostics.extend(diagnostics);
        }
        if let Some((path, text)) = beside.text("pools.yaml") {
            let (pools, diagnostics) = parse_pools(SourceText { path: &path, text: &text });
            beside.pools = pools;
            beside.diagnostics.extend(diagnostics);
        }
        if let Some((path, text)) = beside.text("calendars.yaml") {
            let (calendars, diagnostics) = parse_calendars(SourceText { path: &path, text: &text });
            beside.calendars = calendars.into_iter().map(Arc::new).collect();
            beside.diagnostics.extend(diagnostics);
        }
        // The defaults are told with each DAG that does not have them.
        let strays = UNREAD_NAMES.iter().filter(|name| !name.starts_with('_'));
        let strays = strays.map(|name| folder.join(name)).filter(|path| path.exists());
        beside.diagnostics.extend(strays.filter_map(|path| unread(&path)));
        beside
    }

    fn text(&mut self, name: &str) -> Option<(PathBuf, String)> {
        let path = self.folder.join(name);
        if !path.exists() {
            return None;
        }
        match read_text(&path) {
            Ok(text) => Some((path, text)),
            Err(trouble) => {
                self.trouble.push(trouble);
                None
            }
        }
    }

    /// The names of the connections.
    pub(crate) fn connection_names(&self) -> Vec<String> {
        self.connections.keys().cloned().collect()
    }

    /// The names of the pools, the default one included.
    pub(crate) fn pool_names(&self) -> Vec<String> {
        self.pools().into_iter().map(|(name, _)| name.to_string()).collect()
    }

    /// The calendars.
    pub(crate) fn calendars(&self) -> Arc<[Arc<Calendar>]> {
        Arc::clone(&self.calendars)
    }

    /// The pools and their slots; the default pool is always there.
    pub(crate) fn pools(&self) -> Vec<(PoolName, u32)> {
        let mut pools = self.pools.clone();
        if !pools.iter().any(|(name, _)| name.as_str() == DEFAULT_POOL)
            && let Ok(name) = DEFAULT_POOL.parse()
        {
            pools.push((name, DEFAULT_POOL_SLOTS));
        }
        pools
    }
}

/// What stands beside the DAG files of several folders, for commands that run nothing of them.
pub(crate) struct Surroundings<'t> {
    toolbox: &'t Toolbox,
    secrets: Arc<SecretStore>,
    folders: BTreeMap<PathBuf, Surrounding>,
}

/// What stands in a folder of DAG files.
pub(crate) struct Surrounding {
    pub(crate) beside: Beside,
    /// What the DAG files there are checked against.
    pub(crate) catalog: Catalog,
}

impl<'t> Surroundings<'t> {
    /// Nothing is read yet.
    pub(crate) fn new(toolbox: &'t Toolbox, secrets: Option<&Path>) -> Result<Self, Failure> {
        let secrets = Arc::new(SecretStore::open(secrets, None).map_err(Failure::files)?);
        Ok(Self { toolbox, secrets, folders: BTreeMap::new() })
    }

    /// What stands beside a file. It is read the first time that its folder is asked for.
    pub(crate) fn of(&mut self, file: &Path) -> &Surrounding {
        self.folders.entry(folder_of(file)).or_insert_with_key(|folder| {
            let secrets = Arc::clone(&self.secrets);
            let beside = Beside::read(folder, &self.toolbox.registry, secrets);
            let catalog = catalog_beside(&self.toolbox.catalog, &beside);
            Surrounding { beside, catalog }
        })
    }

    /// What stands in each folder that was asked for.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Surrounding> {
        self.folders.values()
    }
}

impl Connections for Beside {
    fn get(&self, _folder: &Path, name: &str) -> Result<Connection, ConnectorError> {
        let file = self.folder.join("connections.yaml");
        let spec = self.connections.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.connections.keys().map(String::as_str).collect();
            let error = ConnectorError::misconfigured(format!("there is no connection `{name}`"));
            match known.as_slice() {
                [] => error.help(format!("write it to `{}`", file.display())),
                names => error.help(format!("`{}` has: {}", file.display(), names.join(", "))),
            }
        })?;
        let secrets = spec
            .secrets
            .iter()
            .map(|(field, secret)| Ok((field.clone(), self.secrets.get(secret)?)))
            .collect::<Result<Vec<_>, ConnectorError>>()?;
        let fields: Map<_, _> = spec.fields.clone();
        Ok(Connection::new(name, spec.kind.clone(), fields, secrets))
    }
}
