//! What a user is offered.

use tidemill_connector::parallel;

use super::SHARE;
use super::config::RecommendConfig;
use super::neighbours::{Neighbour, first};
use super::pairs::Pairs;

/// An item for a user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pick {
    pub(super) item: u32,
    /// None for popular items.
    pub(super) score: Option<f64>,
}

/// Makes picks for users.
pub(super) struct Picker<'a> {
    pairs: &'a Pairs,
    near: &'a [Vec<Neighbour>],
    popular: Vec<u32>,
    top: usize,
}

/// What a thread reuses from user to user.
struct Scratch {
    scores: Vec<f64>,
    touched: Vec<u32>,
    /// Items that the user must not be offered, or has been.
    taken: Vec<bool>,
}

impl<'a> Picker<'a> {
    /// From what was bought and what goes together.
    pub(super) fn new(
        pairs: &'a Pairs,
        near: &'a [Vec<Neighbour>],
        config: &RecommendConfig,
    ) -> Self {
        Self { pairs, near, popular: pairs.popularity(), top: config.top }
    }

    /// The picks for each of these users.
    pub(super) fn pick(&self, users: &[u32]) -> Vec<Vec<Pick>> {
        let items = self.pairs.users.len();
        let scratch =
            || Scratch { scores: vec![0.0; items], touched: Vec::new(), taken: vec![false; items] };
        parallel::map(SHARE, users, scratch, |scratch, user| self.for_user(*user, scratch))
    }

    fn for_user(&self, user: u32, scratch: &mut Scratch) -> Vec<Pick> {
        let Scratch { scores, touched, taken } = scratch;
        let owned = self.pairs.items.get(user);
        for item in owned {
            taken[*item as usize] = true;
        }
        for item in owned {
            for near in &self.near[*item as usize] {
                let at = near.item as usize;
                if taken[at] {
                    continue;
                }
                if scores[at] == 0.0 {
                    touched.push(near.item);
                }
                // Similarities are above zero, so a score of zero means: not touched yet.
                scores[at] += near.similarity;
            }
        }
        let score = |item: u32| Pick { item, score: Some(scores[item as usize]) };
        let mut picks: Vec<Pick> = touched.iter().copied().map(score).collect();
        first(&mut picks, self.top, |pick| (pick.score.unwrap_or_default(), pick.item));
        for item in touched.drain(..) {
            scores[item as usize] = 0.0;
        }
        let by_neighbours = picks.len();
        for pick in &picks {
            taken[pick.item as usize] = true;
        }
        for item in &self.popular {
            if picks.len() >= self.top {
                break;
            }
            if !taken[*item as usize] {
                picks.push(Pick { item: *item, score: None });
            }
        }
        for item in owned.iter().chain(picks[..by_neighbours].iter().map(|pick| &pick.item)) {
            taken[*item as usize] = false;
        }
        picks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::recommend::neighbours;

    fn config(
        min_item_users: u32,
        min_pair: u32,
        neighbours: usize,
        top: usize,
    ) -> RecommendConfig {
        RecommendConfig {
            from: "t".to_owned(),
            user: "u".to_owned(),
            item: "i".to_owned(),
            users: None,
            users_column: None,
            min_item_users,
            min_pair,
            neighbours,
            top,
        }
    }

    /// The rules, word by word, on sets.
    fn naive(
        pairs: &[(u32, u32)],
        users: u32,
        items: u32,
        config: &RecommendConfig,
    ) -> Vec<Vec<Pick>> {
        let has = |user: u32| -> BTreeSet<u32> {
            pairs.iter().filter(|(u, _)| *u == user).map(|(_, i)| *i).collect()
        };
        let of = |item: u32| -> BTreeSet<u32> {
            pairs.iter().filter(|(_, i)| *i == item).map(|(u, _)| *u).collect()
        };
        let near = |item: u32| -> Vec<(u32, f64)> {
            let n = of(item).len();
            let mut near = Vec::new();
            for other in (0..items).filter(|other| *other != item) {
                let m = of(other).len();
                let c = of(item).intersection(&of(other)).count();
                let enough = n.min(m) >= config.min_item_users as usize;
                if enough && c >= config.min_pair as usize {
                    near.push((other, c as f64 / ((n * m) as f64).sqrt()));
                }
            }
            near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            near.truncate(config.neighbours);
            near
        };
        let mut popular: Vec<u32> = (0..items).collect();
        popular.sort_by_key(|item| (std::cmp::Reverse(of(*item).len()), *item));
        let for_user = |user: u32| {
            let owned = has(user);
            let mut scores = vec![0.0; items as usize];
            for item in &owned {
                for (other, similarity) in near(*item) {
                    scores[other as usize] += similarity;
                }
            }
            let mut found: Vec<u32> = (0..items)
                .filter(|item| !owned.contains(item) && scores[*item as usize] > 0.0)
                .collect();
            found
                .sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
            found.truncate(config.top);
            let rest = popular.iter().filter(|i| !owned.contains(i) && !found.contains(i));
            let rest: Vec<u32> = rest.copied().take(config.top - found.len()).collect();
            let first = found.iter().map(|i| Pick { item: *i, score: Some(scores[*i as usize]) });
            first.chain(rest.iter().map(|i| Pick { item: *i, score: None })).collect()
        };
        (0..users).map(for_user).collect()
    }

    fn picks(
        pairs: &[(u32, u32)],
        users: u32,
        items: u32,
        config: &RecommendConfig,
    ) -> Vec<Vec<Pick>> {
        let pairs = Pairs::new(pairs.to_vec(), users as usize, items as usize);
        let near = neighbours::find(&pairs, config).expect("neighbours");
        let all: Vec<u32> = (0..users).collect();
        Picker::new(&pairs, &near, config).pick(&all)
    }

    #[test]
    fn a_worked_case() {
        // Users 0 and 1 have items 0 and 1, user 2 has item 0, user 3 nothing.
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)];
        let got = picks(&pairs, 4, 3, &config(2, 2, 5, 2));
        let popular = |item| Pick { item, score: None };
        assert_eq!(
            got,
            [
                vec![popular(2)],
                vec![popular(2)],
                vec![Pick { item: 1, score: Some(2.0 / 6f64.sqrt()) }, popular(2)],
                vec![popular(0), popular(1)],
            ]
        );
    }

    proptest! {
        #[test]
        fn the_same_as_the_rules_word_by_word(
            pairs in proptest::collection::vec((0..12u32, 0..9u32), 0..60),
            min_item_users in 1..4u32, min_pair in 1..3u32, neighbours in 1..6usize, top in 1..6usize,
        ) {
            let config = config(min_item_users, min_pair, neighbours, top);
            prop_assert_eq!(picks(&pairs, 12, 9, &config), naive(&pairs, 12, 9, &config));
        }
    }
}
