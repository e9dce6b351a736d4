//! What an installation offers, as the language needs to know it.

use serde_json::Value;

/// The connectors, transforms, connections and pools that a DAG may name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// What `ingest` and `load` may name.
    pub connectors: Vec<ConnectorInfo>,
    /// What `transform` may name.
    pub transforms: Vec<TransformInfo>,
    /// The connections beside the DAG; `None` = not known, so not checked.
    pub connections: Option<Vec<String>>,
    /// The pools beside the DAG; `None` = not known, so not checked.
    pub pools: Option<Vec<String>>,
}

/// A connector.
#[derive(Debug, Clone)]
pub struct ConnectorInfo {
    /// The key below `ingest` and `load`.
    pub name: String,
    /// What it is, in one sentence.
    pub summary: String,
    /// The JSON Schema of a source's settings; `None` when it cannot be read from.
    pub source: Option<Value>,
    /// The JSON Schema of a sink's settings; `None` when it cannot be written to.
    ///
    /// A sink whose schema says `"x-inputs": "many"` takes several tables by name.
    pub sink: Option<Value>,
    /// A source's settings as YAML.
    pub source_example: String,
    /// A sink's settings as YAML.
    pub sink_example: String,
}

/// A transform.
#[derive(Debug, Clone)]
pub struct TransformInfo {
    /// The key below `transform`.
    pub name: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// The JSON Schema of its settings.
    pub schema: Value,
    /// Settings as YAML.
    pub example: String,
}

impl Catalog {
    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Option<&ConnectorInfo> {
        self.connectors.iter().find(|c| c.name == name)
    }

    /// The transform of this name.
    pub fn transform(&self, name: &str) -> Option<&TransformInfo> {
        self.transforms.iter().find(|t| t.name == name)
    }
}
