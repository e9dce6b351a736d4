//! Identities, what joins them, and the groups that come of it.

use std::collections::HashMap;

use tidemill_connector::ConnectorError;

use super::config::{IdentityConfig, OnConflict};

/// Distinct identities of one task. Each takes about 100 bytes and its text.
const IDENTITIES_MAX: usize = 20_000_000;

/// Identities and the groups they are in so far.
#[derive(Debug)]
pub(super) struct Graph {
    types: Vec<String>,
    numbers: HashMap<(u16, Box<str>), u32>,
    /// The next identity on the way to the one that stands for the group.
    parent: Vec<u32>,
    size: Vec<u32>,
}

/// An identity and its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// `type:value`.
    pub(super) identity: String,
    /// How many bytes of it are the type.
    pub(super) type_bytes: usize,
    /// The id of the group.
    pub(super) id: String,
    pub(super) conflict: bool,
    pub(super) group_size: u64,
}

/// A group in conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Its first identity.
    pub(super) identity: String,
    pub(super) reason: &'static str,
    pub(super) group_size: u64,
    /// Its first ids.
    pub(super) ids: Vec<String>,
}

/// What is known at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Groups {
    /// In the order of `identity`.
    pub(super) identities: Vec<Resolved>,
    /// In the order of `identity`.
    pub(super) conflicts: Vec<Conflict>,
}

/// Ids that a conflict lists.
const CONFLICT_IDS_MAX: usize = 100;

impl Graph {
    /// No identities yet, of these types.
    pub(super) fn new(types: Vec<&str>) -> Self {
        Self {
            types: types.into_iter().map(str::to_owned).collect(),
            numbers: HashMap::new(),
            parent: Vec::new(),
            size: Vec::new(),
        }
    }

    /// The number of an identity.
    pub(super) fn add(&mut self, kind: u16, value: &str) -> Result<u32, ConnectorError> {
        let key = (kind, Box::from(value));
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        if self.parent.len() >= IDENTITIES_MAX {
            let message = format!("there are more than {IDENTITIES_MAX} identities");
            return Err(ConnectorError::data(message).help("link fewer columns, or fewer rows"));
        }
        let number = self.parent.len() as u32;
        self.numbers.insert(key, number);
        self.parent.push(number);
        self.size.push(1);
        Ok(number)
    }

    /// Puts the groups of two identities together.
    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (large, small) =
            if self.size[a as usize] >= self.size[b as usize] { (a, b) } else { (b, a) };
        self.parent[small as usize] = large;
        self.size[large as usize] += self.size[small as usize];
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.parent[at as usize] != at {
            let above = self.parent[self.parent[at as usize] as usize];
            self.parent[at as usize] = above;
            at = above;
        }
        at
    }

    /// The id of each identity.
    pub(super) fn resolve(mut self, config: &IdentityConfig) -> Groups {
        let naming = config.type_number(&config.id);
        let numbers = std::mem::take(&mut self.numbers);
        let mut all: Vec<(String, u16, u32)> = numbers
            .into_iter()
            .map(|((kind, value), number)| {
                (format!("{}:{value}", self.types[usize::from(kind)]), kind, self.root(number))
            })
            .collect();
        all.sort_unstable();
        // In this order, the first identity of a group is its smallest.
        let mut groups: HashMap<u32, Group> = HashMap::new();
        for (identity, kind, root) in &all {
            let group = groups.entry(*root).or_insert_with(|| Group::new(identity));
            group.size += 1;
            if *kind == naming {
                group.ids += 1;
                if group.first_ids.len() < CONFLICT_IDS_MAX {
                    group.first_ids.push(identity[config.id.len() + 1..].to_owned());
                }
            }
        }
        let mut found = Groups::default();
        for (identity, kind, root) in all {
            let Some(group) = groups.get(&root) else { continue };
            let type_bytes = self.types[usize::from(kind)].len();
            let conflict = group.conflict(config.max_group);
            if let (Some(reason), true) = (conflict, group.first == identity) {
                found.conflicts.push(Conflict {
                    identity: identity.clone(),
                    reason,
                    group_size: group.size,
                    ids: group.first_ids.clone(),
                });
            }
            let separate = conflict == Some(TOO_LARGE)
                || (conflict.is_some() && config.on_conflict == OnConflict::Separate);
            let id = match (separate, group.first_ids.first()) {
                (true, _) if kind == naming => identity[type_bytes + 1..].to_owned(),
                (true, _) => identity.clone(),
                (false, Some(id)) => id.clone(),
                (false, None) => group.first.clone(),
            };
            let (conflict, group_size) = (conflict.is_some(), group.size);
            found.identities.push(Resolved { identity, type_bytes, id, conflict, group_size });
        }
        found
    }
}

const TOO_LARGE: &str = "too_large";
const SEVERAL_IDS: &str = "several_ids";

struct Group {
    first: String,
    size: u64,
    ids: u64,
    first_ids: Vec<String>,
}

impl Group {
    fn new(first: &str) -> Self {
        Self { first: first.to_owned(), size: 0, ids: 0, first_ids: Vec::new() }
    }

    fn conflict(&self, max_group: u64) -> Option<&'static str> {
        if self.size > max_group {
            return Some(TOO_LARGE);
        }
        (self.ids > 1).then_some(SEVERAL_IDS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use serde_json::json;
    use tidemill_connector::config::parse;

    use super::*;

    /// A row: identities as `type:value`.
    type Row = Vec<&'static str>;

    fn config(max_group: u64, on_conflict: &str) -> IdentityConfig {
        let columns = json!({"anon": "a", "cust": "c", "email": "e"});
        let links = json!([{"from": "t", "columns": columns}]);
        let settings = json!({
            "links": links, "id": "cust", "max_group": max_group, "on_conflict": on_conflict,
        });
        parse("transform", "identity", settings).expect("settings")
    }

    fn groups(rows: &[Row], config: &IdentityConfig) -> Groups {
        let mut graph = Graph::new(config.types());
        for row in rows {
            let mut first = None;
            for identity in row {
                let (kind, value) = identity.split_once(':').expect("a type");
                let number = graph.add(config.type_number(kind), value).expect("room");
                graph.join(*first.get_or_insert(number), number);
            }
        }
        graph.resolve(config)
    }

    fn check(rows: &[Row], config: &IdentityConfig, expected: &[(&str, &str, bool)]) {
        let found = groups(rows, config);
        let got: Vec<(&str, &str, bool)> = found
            .identities
            .iter()
            .map(|r| (r.identity.as_str(), r.id.as_str(), r.conflict))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn chains_are_put_together() {
        check(
            &[vec!["anon:a1", "cust:7"], vec!["cust:7", "email:x"], vec!["anon:a2"]],
            &config(50, "smallest"),
            &[
                ("anon:a1", "7", false),
                ("anon:a2", "anon:a2", false),
                ("cust:7", "7", false),
                ("email:x", "7", false),
            ],
        );
        check(
            &[vec!["anon:a2", "email:x"], vec!["anon:a1", "email:x"]],
            &config(50, "smallest"),
            &[
                ("anon:a1", "anon:a1", false),
                ("anon:a2", "anon:a1", false),
                ("email:x", "anon:a1", false),
            ],
        );
    }

    #[test]
    fn several_ids_are_a_conflict() {
        let rows = [vec!["anon:a1", "cust:8"], vec!["anon:a1", "cust:10"]];
        check(
            &rows,
            &config(50, "smallest"),
            &[("anon:a1", "10", true), ("cust:10", "10", true), ("cust:8", "10", true)],
        );
        check(
            &rows,
            &config(50, "separate"),
            &[("anon:a1", "anon:a1", true), ("cust:10", "10", true), ("cust:8", "8", true)],
        );
        let conflict = Conflict {
            identity: "anon:a1".to_owned(),
            reason: "several_ids",
            group_size: 3,
            ids: vec!["10".to_owned(), "8".to_owned()],
        };
        assert_eq!(groups(&rows, &config(50, "smallest")).conflicts, [conflict]);
    }

    #[test]
    fn large_groups_are_not_put_together() {
        check(
            &[vec!["anon:a1", "cust:8"], vec!["anon:a2", "cust:8"]],
            &config(2, "smallest"),
            &[("anon:a1", "anon:a1", true), ("anon:a2", "anon:a2", true), ("cust:8", "8", true)],
        );
    }

    const NAMES: [&str; 12] = [
        "anon:1", "anon:2", "anon:3", "anon:4", "anon:5", "cust:1", "cust:2", "cust:3", "email:a",
        "email:b", "email:c", "email:d",
    ];

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 1..4);
        proptest::collection::vec(row, 0..12)
    }

    /// The groups, by visiting neighbours until nothing new is found.
    fn naive(rows: &[Row]) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
        let mut found = BTreeMap::new();
        for start in rows.iter().flatten() {
            let mut group = BTreeSet::from([*start]);
            loop {
                let before = group.len();
                for row in rows {
                    if row.iter().any(|identity| group.contains(identity)) {
                        group.extend(row);
                    }
                }
                if group.len() == before {
                    break;
                }
            }
            found.insert(*start, group);
        }
        found
    }

    proptest! {
        #[test]
        fn groups_are_what_can_be_reached(rows in rows()) {
            let found = groups(&rows, &config(50, "smallest"));
            let naive = naive(&rows);
            prop_assert_eq!(found.identities.len(), naive.len());
            for (resolved, (identity, group)) in found.identities.iter().zip(&naive) {
                let ids: Vec<&str> = group.iter().filter_map(|i| i.strip_prefix("cust:")).collect();
                let first = group.first().copied().unwrap_or_default();
                prop_assert_eq!(&resolved.identity, identity);
                prop_assert_eq!(&resolved.id, ids.first().unwrap_or(&first));
                prop_assert_eq!(resolved.conflict, ids.len() > 1);
                prop_assert_eq!(resolved.group_size, group.len() as u64);
            }
        }

        #[test]
        fn the_order_of_rows_does_not_matter(rows in rows(), shuffled in rows().prop_shuffle()) {
            let mut there = rows.clone();
            there.extend(shuffled.clone());
            let mut back = shuffled;
            back.extend(rows);
            let config = config(6, "separate");
            prop_assert_eq!(groups(&there, &config), groups(&back, &config));
        }
    }
}
