//! What a connection of type `http` holds.

use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::connection::SecretText;

/// A connection of type `http`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConnection {
    /// What every `path` is below, for example `https://api.shop.example`.
    #[schemars(length(min = 1))]
    pub base_url: String,
    /// Is sent as a bearer token, or in the header that `header` names.
    #[serde(default)]
    pub token: Option<SecretText>,
    /// The header that carries the token, for example `X-Api-Key`.
    #[serde(default)]
    pub header: Option<String>,
    /// The user of basic authentication.
    #[serde(default)]
    pub user: Option<SecretText>,
    /// The password of that user.
    #[serde(default)]
    pub password: Option<SecretText>,
}
