//! Connections: named endpoints with their secrets, kept apart from DAGs.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidemill_model::Secret;

use crate::error::ConnectorError;

/// A named endpoint, as written in `connections.yaml`, with its secret references resolved.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The name that DAGs use.
    pub name: String,
    /// The kind of system, for example `http`.
    pub kind: String,
    fields: Map<String, Value>,
    secrets: Vec<(String, Secret)>,
}

impl Connection {
    /// A connection of these plain fields and secrets.
    pub fn new(
        name: impl Into<String>,
        kind: impl Into<String>,
        fields: Map<String, Value>,
        secrets: Vec<(String, Secret)>,
    ) -> Self {
        Self { name: name.into(), kind: kind.into(), fields, secrets }
    }

    /// A plain text field.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// A plain field of any type.
    pub fn field(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)
    }

    /// Its plain fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A secret field. Its value is exposed at the last moment, by the client that needs it.
    pub fn secret(&self, field: &str) -> Option<&Secret> {
        self.secrets.iter().find(|(name, _)| name == field).map(|(_, secret)| secret)
    }

    /// A text field that must be there.
    pub fn require(&self, field: &str) -> Result<&str, ConnectorError> {
        self.text(field).ok_or_else(|| {
            ConnectorError::misconfigured(format!("connection `{}` has no `{field}`", self.name))
                .help(format!("add `{field}: …` to it in connections.yaml"))
        })
    }
}

/// A field of a connection as it is written: a text, or the name of a secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretText {
    /// A secret: `{secret: shop_token}`.
    Secret(SecretRef),
    /// A text in the open.
    Text(String),
}

/// Names a secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The name of the secret.
    pub secret: String,
}
