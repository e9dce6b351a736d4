//! Who bought what: distinct pairs, by user and by item.

use arrow::datatypes::DataType;
use tidemill_connector::{ConnectorError, Table, TransformContext};

use super::config::RecommendConfig;
use super::keys::{Keys, Ordered};
use crate::cells::column;

/// Distinct pairs of user and item. Each takes 20 bytes while it is worked on.
const PAIRS_MAX: usize = 50_000_000;
/// Repeated pairs are dropped at the latest when there are so many more pairs than distinct ones.
const SLACK: usize = 1_000_000;

/// Lists of numbers, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    ends: Vec<usize>,
    members: Vec<u32>,
}

impl Lists {
    /// The list of this number, in ascending order.
    pub(super) fn get(&self, number: u32) -> &[u32] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.members[start..self.ends[at]]
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Pairs of user and item, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    /// The items of each user.
    pub(super) items: Lists,
    /// The users of each item.
    pub(super) users: Lists,
}

impl Pairs {
    /// From pairs in any order, repeated or not.
    pub(super) fn new(mut pairs: Vec<(u32, u32)>, users: usize, items: usize) -> Self {
        let by_user = lists(&mut pairs, users);
        for pair in &mut pairs {
            *pair = (pair.1, pair.0);
        }
        Self { items: by_user, users: lists(&mut pairs, items) }
    }

    /// The items, most popular first.
    pub(super) fn popularity(&self) -> Vec<u32> {
        let mut items: Vec<u32> = (0..self.users.len() as u32).collect();
        items.sort_by_key(|item| std::cmp::Reverse(self.users.get(*item).len()));
        items
    }
}

/// Lists of the second numbers by the first, of which there are `count`.
fn lists(pairs: &mut Vec<(u32, u32)>, count: usize) -> Lists {
    pairs.sort_unstable();
    pairs.dedup();
    let mut ends = vec![0; count];
    for (at, (first, _)) in pairs.iter().enumerate() {
        ends[*first as usize] = at + 1;
    }
    // A list without members ends where the one before it does.
    let mut last = 0;
    for end in &mut ends {
        last = last.max(*end);
        *end = last;
    }
    Lists { ends, members: pairs.iter().map(|(_, second)| *second).collect() }
}

/// Everything that is read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) users: Ordered,
    pub(super) items: Ordered,
    pub(super) pairs: Pairs,
    /// The users who get recommendations, in order.
    pub(super) targets: Vec<u32>,
}

/// Reads the purchases and the users.
pub(super) fn read(
    config: &RecommendConfig,
    cx: &TransformContext,
) -> Result<Read, ConnectorError> {
    let purchases = cx.table(&config.from)?;
    let schema = purchases.schema();
    let (user, item) =
        (column("user", &config.user, &schema)?, column("item", &config.item, &schema)?);
    let others = config.users.as_deref().map(|name| cx.table(name)).transpose()?;
    let others = match others {
        None => None,
        Some(table) => {
            let name = config.users_column.as_deref().unwrap_or(&config.user);
            let at = column("users_column", name, &table.schema())?;
            Some((table, at))
        }
    };
    let other_schema = others.as_ref().map(|(table, at)| (table.schema(), *at));
    let mut user_fields = vec![schema.field(user)];
    user_fields.extend(other_schema.as_ref().map(|(schema, at)| schema.field(*at)));
    let mut users = Keys::of("user", &user_fields)?;
    let mut items = Keys::of("item", &[schema.field(item)])?;
    // The last is the one whose rows are asked for.
    let user_type = user_fields.last().map_or(DataType::Utf8, |f| f.data_type().clone());

    let mut pairs = read_pairs(&*purchases, (user, item), &mut users, &mut items)
        .map_err(|error| error.within(&config.from))?;
    let wanted = match &others {
        None => None,
        Some((table, at)) => Some(
            read_users(&**table, *at, &mut users)
                .map_err(|error| error.within(config.users.as_deref().unwrap_or("users")))?,
        ),
    };
    let users = users.ordered(&user_type)?;
    let items = items.ordered(schema.field(item).data_type())?;
    for (user, item) in &mut pairs {
        *user = users.place[*user as usize];
        *item = items.place[*item as usize];
    }
    let targets = match wanted {
        None => (0..users.len() as u32).collect(),
        Some(numbers) => {
            let mut targets: Vec<u32> =
                numbers.iter().map(|number| users.place[*number as usize]).collect();
            targets.sort_unstable();
            targets.dedup();
            targets
        }
    };
    let pairs = Pairs::new(pairs, users.len(), items.len());
    Ok(Read { users, items, pairs, targets })
}

fn read_pairs(
    table: &dyn Table,
    (user, item): (usize, usize),
    users: &mut Keys,
    items: &mut Keys,
) -> Result<Vec<(u32, u32)>, ConnectorError> {
    let schema = table.schema();
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut distinct = 0;
    let mut first_row = 1;
    for batch in table.scan()? {
        let batch = batch?;
        let of = users.numbers("user", schema.field(user), batch.column(user), first_row)?;
        let what = items.numbers("item", schema.field(item), batch.column(item), first_row)?;
        pairs.extend(of.into_iter().zip(what).filter_map(|(user, item)| Some((user?, item?))));
        if pairs.len() > 2 * distinct + SLACK {
            pairs.sort_unstable();
            pairs.dedup();
            distinct = pairs.len();
        }
        if distinct > PAIRS_MAX {
            let message = format!("more than {PAIRS_MAX} pairs of user and item");
            return Err(ConnectorError::data(message).help("take the purchases of fewer years"));
        }
        first_row += batch.num_rows() as u64;
    }
    Ok(pairs)
}

fn read_users(table: &dyn Table, at: usize, users: &mut Keys) -> Result<Vec<u32>, ConnectorError> {
    let schema = table.schema();
    let mut wanted = Vec::with_capacity(users.len());
    let mut first_row = 1;
    for batch in table.scan()? {
        let batch = batch?;
        let numbers = users.numbers("users", schema.field(at), batch.column(at), first_row)?;
        wanted.extend(numbers.into_iter().flatten());
        first_row += batch.num_rows() as u64;
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_user_and_by_item() {
        let pairs = Pairs::new(vec![(2, 0), (0, 1), (2, 1), (0, 1), (0, 0)], 4, 3);
        let items: Vec<&[u32]> = (0..4).map(|user| pairs.items.get(user)).collect();
        assert_eq!(items, [&[0, 1][..], &[], &[0, 1], &[]]);
        let users: Vec<&[u32]> = (0..3).map(|item| pairs.users.get(item)).collect();
        assert_eq!(users, [&[0, 2][..], &[0, 2], &[]]);
    }

    #[test]
    fn popularity_is_by_users_then_by_order() {
        let check = |pairs: Vec<(u32, u32)>, expected: &[u32]| {
            assert_eq!(Pairs::new(pairs, 3, 3).popularity(), expected);
        };
        check(vec![(0, 2), (1, 2), (0, 0), (1, 1)], &[2, 0, 1]);
        check(vec![], &[0, 1, 2]);
    }
}
