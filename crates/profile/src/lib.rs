//! Customer profiles: from tables to scores, recommendations and messages, and the store that
//! serves one profile in microseconds.
//!
//! Read in this order:
//!
//! * [`rules`]: a versioned scorecard over one table, with bands and segments;
//! * [`identity`]: which identities belong together;
//! * [`recommend`]: items for users, from what others bought;
//! * [`render`]: message texts, one a row;
//! * [`store`]: [`ProfileStore`], profiles by id and by identity;
//! * [`profiles`]: the sink that writes into it.
//!
//! Behind them: `cells` (columns as ids and as JSON values).
//!
//! **Invariants.** No weight, threshold, name or column of a customer's pipeline stands in this
//! crate: all of them are settings. Every result is a function of the settings and the rows of the
//! inputs; where the order of rows must not matter, it does not. Nothing holds a whole table in
//! memory except `identity` (its identities) and `recommend` (its distinct pairs), and both have
//! limits. A loaded profile outlasts a power cut once the load has ended.
//!
//! Encryption at rest belongs into `store::record`, which alone knows the bytes of a stored
//! profile; updates by single events belong beside [`ProfileStore::upsert`].

mod cells;
pub mod identity;
pub mod profiles;
pub mod recommend;
pub mod render;
pub mod rules;
pub mod store;

use std::sync::Arc;

use tidemill_connector::connector::SharedConnector;
use tidemill_connector::transform::SharedTransform;
use tidemill_sql::Engine;

pub use store::{ProfileError, ProfilePage, ProfileStore, StoreOptions, StoredProfile};

/// The transforms of this crate, in the order of the documentation.
pub fn transforms(engine: Arc<Engine>) -> Vec<SharedTransform> {
    vec![
        Arc::new(rules::Rules::new(engine)),
        Arc::new(identity::Identity),
        Arc::new(recommend::Recommend),
        Arc::new(render::Render),
    ]
}

/// The connectors of this crate, in the order of the documentation.
pub fn connectors(store: Arc<ProfileStore>) -> Vec<SharedConnector> {
    vec![Arc::new(profiles::Profiles::new(store))]
}
