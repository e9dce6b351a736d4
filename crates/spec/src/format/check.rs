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
            let same = |(a, b): (&Entry, &Entry)| {
                a.key == b.key && means_the_same(&a.node, &b.node, site.below(&a.key))
            };
            let (a, b) = (entries(a, site), entries(b, site));
            a.len() == b.len() && a.into_iter().zip(b).all(same)
        }
        _ => false,
    }
}

/// The entries of a mapping, in an order in which they can be compared.
fn entries<'n>(entries: &'n [Entry], site: &Site) -> Vec<&'n Entry> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    if site.is_ordered() {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
    }
    entries
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::places;
    use crate::report::{Report, SourceText};
    use crate::yaml;

    const BEFORE: &str = "\
# head
dag: shop
x-a: &a [b, c] # beside
tasks:
  a:
    run: [x]
    retry: 3
    env: {A: \"1\", B: 2}
    checks: [{unique: id}]
  b: {noop: {}}
";

    fn holds(after: &str) -> bool {
        let source = |text| SourceText { path: Path::new("a.yaml"), text };
        let node = |text| yaml::parse(&mut Report::new(source(text))).expect("a tree");
        means_the_same(&node(BEFORE), &node(after), &places::DAG)
            && has_the_same_marks(&Source::new(source(BEFORE)), &Source::new(source(after)))
    }

    #[test]
    fn what_means_the_same_is_let_through() {
        assert!(holds(BEFORE));
        for (from, to) in [
            ("retry: 3", "retry: {limit: 3}"),
            ("unique: id", "unique: [id]"),
            ("noop: {}", "noop: null"),
            ("    run: [x]\n    retry: 3", "    retry: 3\n    run: [x]"),
        ] {
            assert!(holds(&BEFORE.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn whatever_is_lost_is_noticed() {
        for (from, to) in [
            ("# head\n", ""),
            (" # beside", ""),
            ("# beside", "# behind"),
            ("&a ", ""),
            ("dag: shop", "dag: shops"),
            ("dag: shop\n", ""),
            ("retry: 3", "retry: {delay: 3}"),
            ("retry: 3", "retry: {limit: 4}"),
            ("retry: 3", "retry: {limit: 3, delay: 1s}"),
            ("unique: id", "unique: [id, id]"),
            ("noop: {}", "noop: {a: b}"),
            ("\"1\"", "1"),
            ("B: 2", "B: 2.5"),
            ("A: \"1\", B: 2", "B: 2, A: \"1\""),
            ("[b, c]", "[c, b]"),
            ("[b, c]", "{b: c}"),
            ("run: [x]", "run: x"),
        ] {
            let after = BEFORE.replace(from, to);
            assert_ne!(after, BEFORE, "{from}");
            assert!(!holds(&after), "{from} became {to}");
        }
    }
}
