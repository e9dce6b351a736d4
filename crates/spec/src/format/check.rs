//! The safety net: what was written must still be there.

use super::places::{Long, Site};
use crate::report::Source;
use crate::yaml::layout;
use crate::yaml::node::{Data, Entry, Node};

/// Whether the two trees mean the same at a place: the same values under the same keys, where a
/// short form may have become its long one, and only the keys that have an order may have moved.
pub(super) fn means_the_same(before: &Node, after: &Node, site: &'static Site) -> bool {
    if is_long_form(before, after, site) {
        return true;
    }
    match (&before.data, &after.data) {
        (Data::Null, Data::Null) => true,
        (Data::Bool(a), Data::Bool(b)) => a == b,
        (Data::Number(a), Data::Number(b)) => a == b,
        (Data::Text(a), Data::Text(b)) => a == b,
        (Data::List(a), Data::List(b)) => {
            let below = site.below("");
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| means_the_same(a, b, below))
        }
        (Data::Map(a), Data::Map(b)) => {
            let site = site.with(|key| a.iter().any(|entry| entry.key == key));
            let same = |a: &Entry, b: &Entry| {
                a.key == b.key && means_the_same(&a.node, &b.node, site.below(&a.key))
            };
            let mut pairs = a.iter().zip(b);
            a.len() == b.len()
                && if site.is_ordered() {
                    a.iter().all(|a| after.entry(&a.key).is_some_and(|b| same(a, b)))
                } else {
                    pairs.all(|(a, b)| same(a, b))
                }
        }
        _ => false,
    }
}

/// Whether the second is the long form of the first.
fn is_long_form(before: &Node, after: &Node, site: &'static Site) -> bool {
    let same = |inner: &Node| means_the_same(before, inner, site.below(""));
    let is_single = !matches!(before.data, Data::List(_) | Data::Map(_) | Data::Null);
    match (site.long, &after.data) {
        (Some(Long::Key { key, .. }), Data::Map(entries)) => {
            matches!(entries.as_slice(), [one] if is_single && one.key == key && same(&one.node))
        }
        (Some(Long::Item), Data::List(items)) => {
            matches!(items.as_slice(), [one] if is_single && same(one))
        }
        (Some(Long::Nothing), Data::Null) => before.entries().is_some_and(<[_]>::is_empty),
        _ => false,
    }
}

/// Whether the two texts have the same comments, anchors, tags and aliases.
pub(super) fn has_the_same_marks(before: &Source<'_>, after: &Source<'_>) -> bool {
    let marks = layout::marks(before);
    marks.is_some() && marks == layout::marks(after)
}
