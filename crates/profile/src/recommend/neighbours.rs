//! Which items go together.

use tidemill_connector::{ConnectorError, parallel};

use super::SHARE;
use super::config::RecommendConfig;
use super::pairs::Pairs;

/// Pairs of items that are looked at, counted once for each user who has both. It takes about a
/// minute of one processor.
const STEPS_MAX: u64 = 30_000_000_000;

/// An item that goes with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbour {
    pub(super) item: u32,
    pub(super) similarity: f64,
    pub(super) users_both: u32,
}

/// The neighbours of each item, nearest first; none for items with too few users.
pub(super) fn find(
    pairs: &Pairs,
    config: &RecommendConfig,
) -> Result<Vec<Vec<Neighbour>>, ConnectorError> {
    let (frequent, steps) = frequent(pairs, config);
    if steps > STEPS_MAX {
        let message = format!(
            "finding neighbours would take {steps} steps, at most {STEPS_MAX} are taken: \
             some users have very many items"
        );
        return Err(ConnectorError::data(message)
            .help("leave such users out of `from`, or raise `min_item_users`"));
    }
    let all: Vec<u32> = (0..pairs.users.len() as u32).collect();
    let counts = || (vec![0u32; all.len()], Vec::new());
    Ok(parallel::map(SHARE, &all, counts, |(counts, touched), item| {
        if (pairs.users.get(*item).len() as u64) < u64::from(config.min_item_users) {
            return Vec::new();
        }
        of_item(*item, pairs, &frequent, config, counts, touched)
    }))
}

/// The items of each user that have enough users, and how many pairs of them there are.
fn frequent(pairs: &Pairs, config: &RecommendConfig) -> (Vec<Vec<u32>>, u64) {
    let enough =
        |item: &u32| pairs.users.get(*item).len() as u64 >= u64::from(config.min_item_users);
    let of = |user: u32| pairs.items.get(user).iter().copied().filter(enough).collect::<Vec<_>>();
    let frequent: Vec<Vec<u32>> = (0..pairs.items.len() as u32).map(of).collect();
    let steps = frequent.iter().map(|items| (items.len() as u64).pow(2)).sum();
    (frequent, steps)
}

fn of_item(
    item: u32,
    pairs: &Pairs,
    frequent: &[Vec<u32>],
    config: &RecommendConfig,
    counts: &mut [u32],
    touched: &mut Vec<u32>,
) -> Vec<Neighbour> {
    for user in pairs.users.get(item) {
        for other in &frequent[*user as usize] {
            let count = &mut counts[*other as usize];
            if *count == 0 {
                touched.push(*other);
            }
            *count += 1;
        }
    }
    let users = pairs.users.get(item).len() as u64;
    let mut near = Vec::new();
    for other in touched.drain(..) {
        let both = std::mem::take(&mut counts[other as usize]);
        if other == item || both < config.min_pair {
            continue;
        }
        let of_other = pairs.users.get(other).len() as u64;
        let similarity = f64::from(both) / ((users * of_other) as f64).sqrt();
        near.push(Neighbour { item: other, similarity, users_both: both });
    }
    first(&mut near, config.neighbours, |n| (n.similarity, n.item));
    near
}

/// Leaves the first `count` by descending score and then ascending item, in this order.
pub(super) fn first<T>(all: &mut Vec<T>, count: usize, key: impl Fn(&T) -> (f64, u32)) {
    let order = |a: &T, b: &T| {
        let ((score_a, item_a), (score_b, item_b)) = (key(a), key(b));
        score_b.total_cmp(&score_a).then(item_a.cmp(&item_b))
    };
    if all.len() > count && count > 0 {
        all.select_nth_unstable_by(count - 1, order);
    }
    all.truncate(count);
    all.sort_unstable_by(order);
}
