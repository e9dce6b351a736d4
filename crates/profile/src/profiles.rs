//! `profiles`: the sink that writes rows into the profile store.
//!
//! * [`config`]: the settings; `document`: from the columns of a row to the shape of a profile;
//! * `sink`: the sink.

mod config;
mod document;
mod sink;

use std::sync::Arc;

use async_trait::async_trait;
use tidemill_connector::config::Findings;
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{Connector, ConnectorError, Guarantee, Sink, SinkContext};

pub use config::{IdentityColumn, Mode, Node, ProfilesConfig};

use crate::store::ProfileStore;

/// The connector.
#[derive(Debug, Clone)]
pub struct Profiles {
    store: Arc<ProfileStore>,
}

impl Profiles {
    /// The connector to a store.
    pub fn new(store: Arc<ProfileStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Connector for Profiles {
    type SourceConfig = NoConfig;
    type SinkConfig = ProfilesConfig;

    const NAME: &'static str = "profiles";
    const SUMMARY: &'static str = "The profile store of this installation, one profile a row.";
    const SOURCE_EXAMPLE: &'static str = "";
    const SINK_EXAMPLE: &'static str = "\
id: customer_id
document:
  email: email
  tx: {frequency: frequency, monetary_milli: monetary}
  score: {intent: intent, band: band, explained: explained}
  recs: recs
json: [explained, recs]
identities: [{type: email, column: email}]
meta: {as_of: as_of}
";
    const GUARANTEE: Option<Guarantee> = Some(Guarantee::Idempotent);

    fn check_sink(config: &ProfilesConfig, found: &mut Findings) {
        for (key, node) in &config.document {
            let setting: &[&str] = &["document", key];
            found.note(&[setting, &["id"]], document::check_key(key, node, &config.id));
        }
        for key in config.meta.keys() {
            found.note(&[&["meta", key]], document::check_meta_key(key));
        }
    }

    async fn sink(
        &self,
        config: ProfilesConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(sink::ProfilesSink::create(&config, &cx, self.store.clone())?))
    }
}
