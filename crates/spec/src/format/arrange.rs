//! Puts keys into their order, and short forms into their long ones.

use std::collections::HashMap;
use std::mem;

use super::places::{Long, Site};
use crate::yaml::layout::{Form, Group, Kind, Line, Member, Scalar, Shape, Value};

/// Arranges a value at a place, and everything in it.
pub(super) fn arrange(value: &mut Value<'_>, site: &'static Site) {
    walk(value, site, false);
}

/// `is_shared`: others refer to it, perhaps at places where its short forms have no long one, and
/// the order of its keys is their author's.
fn walk(value: &mut Value<'_>, site: &'static Site, is_shared: bool) {
    let is_shared = is_shared || value.is_anchored();
    match &mut value.shape {
        Shape::Scalar(_) | Shape::Alias(_) => {}
        Shape::List(group) => {
            for item in &mut group.members {
                walk(&mut item.value, site.below(""), is_shared);
                item.lift();
            }
        }
        Shape::Map(group) => {
            let site = site.with(|key| group.members.iter().any(|member| member.name == key));
            group.is_spaced = site.is_spaced;
            for member in &mut group.members {
                let below = site.below(&member.name);
                if let (Some(long), false) = (below.long, is_shared) {
                    lengthen(member, long, group.is_flow);
                }
                walk(&mut member.value, below, is_shared);
            }
            if !is_shared {
                order(group, site);
            }
        }
    }
}

/// Writes the long form of a member, if it has the short one.
fn lengthen(member: &mut Member<'_>, long: Long, is_in_flow: bool) {
    let is_block = matches!(&member.value.shape, Shape::Scalar(scalar) if scalar.is_block());
    let is_of = |wanted| member.value.kind() == Some(wanted);
    match long {
        Long::Nothing => {
            if is_bare(&member.value) {
                member.value.shape = Shape::Scalar(Scalar {
                    form: Form::Empty,
                    kind: Kind::Other,
                    text: "{}".to_owned(),
                    lines: Vec::new(),
                });
            }
        }
        Long::Key { key, kind, is_flow } if is_of(kind) => {
            wrap(member, Some(key), is_in_flow || (is_flow && !is_block));
        }
        Long::Item if is_of(Kind::Text) => wrap(member, None, is_in_flow || !is_block),
        Long::Key { .. } | Long::Item => {}
    }
}

/// Whether it is `{}` and nothing else.
fn is_bare(value: &Value<'_>) -> bool {
    let is_empty = |group: &Group<'_>| group.members.is_empty() && group.end.is_empty();
    matches!(&value.shape, Shape::Map(group) if is_empty(group)) && value.marks.is_empty()
}

/// Makes the value the only member of a mapping, or of a list.
fn wrap<'a>(member: &mut Member<'a>, key: Option<&'static str>, is_flow: bool) {
    let value = mem::replace(&mut member.value, Value::none());
    let mut inner: Member<'a> = Member::of(key, value);
    if !is_flow {
        inner.aside = member.aside.take();
    }
    let group = Group::of(vec![inner], is_flow);
    member.value = Value::of(if key.is_some() { Shape::Map(group) } else { Shape::List(group) });
}

/// Puts the members into the order of the place, unless an alias would then come before its
/// anchor. A note stays before all that was written below it, which may refer to it.
fn order(group: &mut Group<'_>, site: &Site) {
    if !site.is_ordered() {
        return;
    }
    let mut ranks = vec![usize::MAX; group.members.len()];
    let mut next = usize::MAX;
    for (at, member) in group.members.iter().enumerate().rev() {
        if site.is_note(&member.name) {
            ranks[at] = next;
        } else {
            ranks[at] = site.rank(&member.name);
            next = next.min(ranks[at]);
        }
    }
    let mut sorted: Vec<usize> = (0..ranks.len()).collect();
    sorted.sort_by_key(|at| ranks[*at]);
    if sorted.is_sorted() || !keeps_anchors(&group.members, &sorted) {
        return;
    }
    let mut members: Vec<Option<Member<'_>>> = group.members.drain(..).map(Some).collect();
    group.members.extend(sorted.into_iter().filter_map(|at| members[at].take()));
    // A block begins with no blank line.
    if let Some(first) = group.members.first_mut().filter(|first| is_after_blank(first)) {
        first.lead.remove(0);
    }
}

fn is_after_blank(member: &Member<'_>) -> bool {
    member.lead.first() == Some(&Line::Blank)
}

/// Whether each alias still stands for what it stood for.
fn keeps_anchors(members: &[Member<'_>], sorted: &[usize]) -> bool {
    let names: Vec<Names<'_>> = members.iter().map(Names::of).collect();
    let written: Vec<usize> = (0..names.len()).collect();
    anchors_before(&names, &written) == anchors_before(&names, sorted)
}

/// How many of the members before it give an anchor of this name: for each member and each name in
/// it.
fn anchors_before<'m>(names: &[Names<'m>], order: &[usize]) -> HashMap<(usize, &'m str), usize> {
    let mut given: HashMap<&str, usize> = HashMap::new();
    let mut before = HashMap::new();
    for at in order {
        let Names { anchors, aliases } = &names[*at];
        for name in anchors.iter().chain(aliases) {
            before.insert((*at, *name), given.get(name).copied().unwrap_or_default());
        }
        for name in anchors {
            *given.entry(name).or_default() += 1;
        }
    }
    before
}

/// The anchors and aliases in a member, without their `&` and `*`.
#[derive(Default)]
struct Names<'m> {
    anchors: Vec<&'m str>,
    aliases: Vec<&'m str>,
}

impl<'m> Names<'m> {
    fn of(member: &'m Member<'_>) -> Self {
        let mut names = Self::default();
        names.add(member);
        names
    }

    fn add(&mut self, member: &'m Member<'_>) {
        for value in member.key.iter().chain([&member.value]) {
            self.anchors.extend(value.marks.iter().filter_map(|mark| mark.strip_prefix('&')));
            if let Shape::Alias(alias) = &value.shape {
                self.aliases.extend(alias.name.strip_prefix('*'));
            }
            for member in value.group().into_iter().flat_map(|group| &group.members) {
                self.add(member);
            }
        }
    }
}
