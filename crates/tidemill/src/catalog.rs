//! Every connector and transform of this binary, for the executor and for the DAG language.

use std::path::Path;
use std::sync::Arc;

use tidemill_connector::Registry;
use tidemill_connectors::dataset::Datasets;
use tidemill_profile::ProfileStore;
use tidemill_spec::{Catalog, ConnectionType, ConnectorInfo, SettingsCheck, TransformInfo};
use tidemill_sql::Engine;

use crate::beside::Beside;

/// The registry: the slices that the crates export, in the order of the documentation.
pub(crate) fn registry(
    engine: &Arc<Engine>,
    profiles: &Arc<ProfileStore>,
    datasets: Arc<dyn Datasets>,
) -> Registry {
    let mut connectors = tidemill_connectors::connectors(datasets);
    connectors.extend(tidemill_profile::connectors(Arc::clone(profiles)));
    let mut transforms = tidemill_sql::transforms(Arc::clone(engine));
    transforms.extend(tidemill_profile::transforms(Arc::clone(engine)));
    Registry { connectors, transforms }
}

/// What the DAG language checks a file against, but for the names of what stands beside it: these
/// are not checked. Making it writes every schema, so it is made once: see [`Toolbox::catalog`].
///
/// [`Toolbox::catalog`]: crate::node::Toolbox::catalog
pub(crate) fn catalog(registry: &Registry) -> Catalog {
    Catalog {
        connectors: registry
            .connectors
            .iter()
            .map(|connector| {
                let (source_example, sink_example) = connector.examples();
                let (of_source, of_sink) = (Arc::clone(connector), Arc::clone(connector));
                ConnectorInfo {
                    name: connector.name().to_owned(),
                    summary: connector.summary().to_owned(),
                    source: connector.source_schema(),
                    sink: connector.sink_schema(),
                    source_check: SettingsCheck::new(move |s| of_source.source_problems(s)),
                    sink_check: SettingsCheck::new(move |s| of_sink.sink_problems(s)),
                    source_example: source_example.to_owned(),
                    sink_example: sink_example.to_owned(),
                }
            })
            .collect(),
        transforms: registry
            .transforms
            .iter()
            .map(|transform| {
                let of = Arc::clone(transform);
                TransformInfo {
                    name: transform.name().to_owned(),
                    summary: transform.summary().to_owned(),
                    schema: transform.schema(),
                    check: SettingsCheck::new(move |settings| of.problems(settings)),
                    example: transform.example().to_owned(),
                }
            })
            .collect(),
        connections: None,
        pools: None,
        calendars: None,
    }
}

/// The same, for files that stand beside these connections, pools and calendars.
pub(crate) fn catalog_beside(catalog: &Catalog, beside: &Beside) -> Catalog {
    Catalog {
        connections: Some(beside.connection_names()),
        pools: Some(beside.pool_names()),
        calendars: Some(beside.calendars()),
        ..catalog.clone()
    }
}

/// The types of connections: one for each connector that has any.
pub(crate) fn connection_types(registry: &Registry) -> Vec<ConnectionType> {
    let types = registry.connectors.iter();
    types
        .filter_map(|connector| {
            let schema = connector.connection_schema()?;
            Some(ConnectionType { name: connector.name().to_owned(), schema })
        })
        .collect()
}

/// The folder that files beside a DAG file are looked for in.
pub(crate) fn folder_of(file: &Path) -> std::path::PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => ".".into(),
    }
}
