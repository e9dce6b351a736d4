//! Where the columns of a table come from: [`TableLineage`].

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How a column has a part in another one. The words are those of `OpenLineage`: the first three
/// are direct, the others indirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Way {
    /// Its values are taken as they are.
    Identity,
    /// Its values are computed with, row by row.
    Transformation,
    /// Its values of several rows become one.
    Aggregation,
    /// It decides which of several values is taken.
    Conditional,
    /// It decides which rows of two tables meet.
    Join,
    /// It decides which rows are grouped.
    GroupBy,
    /// It decides which rows there are.
    Filter,
    /// It decides in which order rows come.
    Sort,
    /// It decides which rows a window has, and their order.
    Window,
}

impl Way {
    /// Whether values flow, rather than decide.
    pub fn is_direct(self) -> bool {
        self <= Self::Aggregation
    }

    /// What it is when it goes on this way: values that decide somewhere do nothing but decide.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        match (self.is_direct(), next.is_direct()) {
            (true, true) => self.max(next),
            (true, false) => next,
            (false, _) => self,
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnName {
    /// The table, by the name that its reader uses.
    pub table: String,
    /// The column.
    pub column: String,
}

/// Columns, and how each of them has a part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(BTreeMap<ColumnName, BTreeSet<Way>>);

impl Origins {
    /// The column as it is.
    pub fn identity(table: &str, column: &str) -> Self {
        let name = ColumnName { table: table.to_owned(), column: column.to_owned() };
        Self(BTreeMap::from([(name, BTreeSet::from([Way::Identity]))]))
    }

    /// Adds those of another column.
    pub fn add(&mut self, other: &Self) {
        for (name, ways) in &other.0 {
            self.0.entry(name.clone()).or_default().extend(ways);
        }
    }

    /// The same after a further way.
    #[must_use]
    pub fn then(&self, next: Way) -> Self {
        let ways = |ways: &BTreeSet<Way>| ways.iter().map(|way| way.then(next)).collect();
        Self(self.0.iter().map(|(name, old)| (name.clone(), ways(old))).collect())
    }

    /// Each column with its ways, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ColumnName, &BTreeSet<Way>)> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with each column in the place of those that `origins` gives for it; a column for
    /// which it gives nothing stays.
    #[must_use]
    pub fn through(&self, origins: impl Fn(&ColumnName) -> Option<Self>) -> Self {
        let mut all = Self::default();
        for (name, ways) in &self.0 {
            match origins(name) {
                None => all.0.entry(name.clone()).or_default().extend(ways),
                Some(inner) => {
                    for way in ways {
                        all.add(&inner.then(*way));
                    }
                }
            }
        }
        all
    }
}

impl FromIterator<Self> for Origins {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.add(&part);
        }
        all
    }
}

/// Where the columns of one table come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableLineage {
    /// What each column is made from, in the order of the table. A constant has no origins.
    pub columns: IndexMap<String, Origins>,
    /// What decides which rows there are, and their order.
    pub rows: Origins,
}

impl TableLineage {
    /// A table with these columns of another one, as they are.
    pub fn same<'c>(table: &str, columns: impl IntoIterator<Item = &'c str>) -> Self {
        let columns = columns.into_iter();
        let columns = columns.map(|name| (name.to_owned(), Origins::identity(table, name)));
        Self { columns: columns.collect(), rows: Origins::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_add_up() {
        use Way::*;
        assert_eq!(Identity.then(Identity), Identity);
        assert_eq!(Aggregation.then(Transformation), Aggregation);
        assert_eq!(Identity.then(Filter), Filter);
        assert_eq!(Filter.then(Aggregation), Filter);
        assert_eq!(Join.then(Filter), Join);
    }

    #[test]
    fn origins_are_followed_through_a_table() {
        let sum = Origins::identity("orders", "amount").then(Way::Aggregation);
        let of_orders = |name: &ColumnName| {
            (name.table == "orders")
                .then(|| Origins::identity("raw", "price").then(Way::Transformation))
        };
        let through = sum.through(of_orders);
        assert_eq!(through, Origins::identity("raw", "price").then(Way::Aggregation));
        let other = Origins::identity("other", "x");
        assert_eq!(other.through(of_orders), other);
    }
}
