//! The settings of `recommend`.

use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::ConnectorError;
use tidemill_connector::config::Findings;

/// Settings of a `recommend` transform.
///
/// What counts is who bought what, not how often. Two items are as similar as
/// `users of both / √(users of one × users of the other)`. A user is offered the items with the
/// highest sum of similarities to the items that the user has, and none of those. Where fewer than
/// `top` are found, the most popular items fill the list; users without purchases get only these.
/// Of equals, the item that comes first in order goes first: texts by their letters, numbers by
/// size. Sums are in 64-bit floats, over the user's items in that order.
///
/// The result has the columns of `user` and `item` and `rank` (from 1), `score` (null for popular
/// items) and `source` (`item_item` or `popular`), ordered by user and rank. `TASK.neighbours` has
/// for each item `neighbour`, `rank`, `similarity` and `users_both`; `TASK.popularity` has all
/// items with `users` and `rank`. Rows without a user or an item do not count.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-outputs" = ["neighbours", "popularity"]))]
pub struct RecommendConfig {
    /// The table of purchases, a row for each time that a user bought an item.
    #[schemars(extend("format" = "table"))]
    pub from: String,
    /// The column with the user.
    pub user: String,
    /// The column with the item.
    pub item: String,
    /// The table of users who get recommendations. Without it, all users of `from` do.
    #[serde(default)]
    #[schemars(extend("format" = "table"))]
    pub users: Option<String>,
    /// The column with the user in `users`, if it is not named like `user`.
    #[serde(default)]
    pub users_column: Option<String>,
    /// Items with fewer users have no neighbours; they are still offered as popular ones.
    #[serde(default = "min_item_users")]
    #[schemars(range(min = 1))]
    pub min_item_users: u32,
    /// Two items with fewer users in common are not neighbours.
    #[serde(default = "min_pair")]
    #[schemars(range(min = 1))]
    pub min_pair: u32,
    /// Neighbours of an item, at most.
    #[serde(default = "neighbours")]
    #[schemars(range(min = 1, max = 1000))]
    pub neighbours: usize,
    /// Recommendations for a user.
    #[serde(default = "top")]
    #[schemars(range(min = 1, max = 1000))]
    pub top: usize,
}

fn min_item_users() -> u32 {
    20
}

fn min_pair() -> u32 {
    5
}

fn neighbours() -> usize {
    50
}

fn top() -> usize {
    10
}

impl RecommendConfig {
    /// Notes numbers out of range, which an expression may give at run time.
    pub(super) fn check(&self, found: &mut Findings) {
        let mut in_range = |key: &str, value: usize, max: usize| {
            let message = format!("`{key}` must be from 1 to {max}, not {value}");
            let fits = (1..=max).contains(&value);
            let result = if fits { Ok(()) } else { Err(ConnectorError::misconfigured(message)) };
            found.note(&[&[key]], result);
        };
        in_range("neighbours", self.neighbours, 1000);
        in_range("top", self.top, 1000);
        in_range("min_item_users", self.min_item_users as usize, u32::MAX as usize);
        in_range("min_pair", self.min_pair as usize, u32::MAX as usize);
    }
}
