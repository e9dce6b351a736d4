//! `recommend`: items for users, from what others bought.
//!
//! * [`config`]: the settings; `keys`: users and items as numbers; `pairs`: who bought what;
//! * `neighbours`: which items go together; `picks`: what a user is offered;
//! * `tables`: the tables that come out.
//!
//! The method is item-to-item collaborative filtering on a binary matrix with cosine similarity:
//! it needs one pass over the purchases, and everything about a recommendation can be looked up in
//! the tables `neighbours` and `popularity`.

mod config;
mod keys;
mod neighbours;
mod pairs;
mod picks;
mod tables;

use async_trait::async_trait;
use tidemill_connector::config::Findings;
use tidemill_connector::parallel::Share;
use tidemill_connector::{ConnectorError, Transform, TransformContext};

pub use config::RecommendConfig;

/// How items and users are shared by the processors.
const SHARE: Share = Share { threads_max: 8, block: 64, stack_bytes: None };

/// The transform.
#[derive(Debug, Clone, Copy)]
pub struct Recommend;

#[async_trait]
impl Transform for Recommend {
    type Config = RecommendConfig;

    const NAME: &'static str = "recommend";
    const SUMMARY: &'static str = "Recommends items to users by what others bought, and the most \
        popular items where that is not enough.";
    const EXAMPLE: &'static str = "\
from: purchases
user: customer_id
item: item
users: profiles
min_item_users: 20
min_pair: 5
neighbours: 50
top: 10
";

    fn check(config: &RecommendConfig, found: &mut Findings) {
        config.check(found);
    }

    async fn run(
        &self,
        config: RecommendConfig,
        cx: TransformContext,
    ) -> Result<(), ConnectorError> {
        let read = pairs::read(&config, &cx)?;
        let near = neighbours::find(&read.pairs, &config)?;
        tables::write_popularity(&read, &config, &cx)?;
        tables::write_neighbours(&read, &near, &config, &cx)?;
        tables::write_picks(&read, &near, &config, &cx)
    }
}
