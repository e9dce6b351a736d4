//! Any tree in any layout: what was written is still there after formatting.

use proptest::prelude::*;
use serde_json::Value;

use crate::format::formatted;

/// A value to be laid out.
#[derive(Debug, Clone)]
enum Tree {
    /// What it is, as it may be written.
    Scalar(&'static [&'static str]),
    List(Vec<Tree>),
    Map(Vec<(&'static str, Tree)>),
}

/// Each in the forms that mean the same, those for brackets first: how many of them may stand
/// there is what [`Layout::scalar`] knows.
static SCALARS: &[&[&str]] = &[
    &["a", "'a'", "\"a\""],
    &["'3'", "\"3\""],
    &["\"yes\"", "'yes'"],
    &["1_000"],
    &["0x10"],
    &["1.50"],
    &["~"],
    &["null"],
    &["true"],
    &["2026-01-01", "'2026-01-01'"],
    &["'a, b'", "\"a, b\"", "a, b"],
    &["'[a]'", "\"[a]\""],
    &["'a: b'", "\"a: b\""],
    &["'a #b'", "\"a #b\""],
    &["'it''s'", "\"it's\"", "it's"],
    &["'say \"hi\"'", "\"say \\\"hi\\\"\"", "say \"hi\""],
    &["\"tab\\there\""],
    &["\"caf\\u00e9\"", "'café'", "café"],
    &["\"${{ params.a }}\"", "'${{ params.a }}'", "${{ params.a }}"],
    &["\"0 2 * * *\"", "'0 2 * * *'"],
    &["\"*/5 * * * *\"", "'*/5 * * * *'"],
    &["\"\"", "''"],
    &["' x '", "\" x \""],
    &["\"a\\nb\\n\"", "|\n^a\n^b\n"],
    &["\"a\\n\\nb\"", "|-\n^a\n\n^b\n"],
    &["\"a b\\n\"", ">\n^a\n^b\n"],
    &["\" a\\nb\\n\\n\"", "|?+\n^ a\n^b\n\n"],
    &["\"a b\"", "'a\n^b'", "\"a\n^b\"", "a\n^b", "\"a\\\n^ b\""],
    &["\"# no comment\\n\"", "|\n^# no comment\n"],
];

static KEYS: &[&str] = &[
    "tasks", "x-a", "dag", "retry", "run", "a", "b_c", "'q'", "\"d e\"", "noop", "outputs", "é",
    "rows", "tests", "wait", "unique", "checks", "x-b", "1",
];

fn tree() -> impl Strategy<Value = Tree> {
    let scalar = prop::sample::select(SCALARS).prop_map(Tree::Scalar);
    scalar.prop_recursive(6, 80, 6, |inner| {
        let entry = (prop::sample::select(KEYS), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Tree::List),
            map(prop::collection::vec(entry, 0..6)),
        ]
    })
}

/// Each key once.
fn map(entries: impl Strategy<Value = Vec<(&'static str, Tree)>>) -> impl Strategy<Value = Tree> {
    entries.prop_map(|mut entries| {
        let mut seen = Vec::new();
        entries.retain(|(key, _)| {
            let is_new = !seen.contains(key);
            seen.push(*key);
            is_new
        });
        Tree::Map(entries)
    })
}

fn file() -> impl Strategy<Value = Tree> {
    map(prop::collection::vec((prop::sample::select(KEYS), tree()), 1..8))
}

/// Writes a tree, and takes each choice from a list of random numbers.
struct Layout<'c> {
    choices: std::iter::Cycle<std::slice::Iter<'c, u8>>,
    text: String,
    comments: usize,
    /// How many anchors there are; those that an alias may stand for already.
    anchors: usize,
    known: Vec<usize>,
}

impl Layout<'_> {
    fn choose(&mut self, n: usize) -> usize {
        usize::from(*self.choices.next().expect("they never end")) % n
    }

    /// Perhaps lines without a value.
    fn lines(&mut self, indent: usize) {
        for _ in 0..self.choose(8).saturating_sub(5) {
            if self.choose(2) == 0 {
                self.text += "\n";
            } else {
                let indent = if self.choose(4) == 0 { self.choose(7) } else { indent };
                self.comments += 1;
                self.text += &format!("{:indent$}# alone {}\n", "", self.comments);
            }
        }
    }

    /// The end of a line, perhaps with a comment.
    fn end(&mut self) {
        if self.choose(4) == 0 {
            let gap = 1 + self.choose(4);
            self.comments += 1;
            self.text += &format!("{:gap$}# beside {}", "", self.comments);
        }
        self.text += "\n";
    }

    fn members(&mut self, tree: &Tree, indent: usize) {
        let count = match tree {
            Tree::List(items) => items.len(),
            Tree::Map(entries) => entries.len(),
            Tree::Scalar(_) => 0,
        };
        for at in 0..count {
            // What follows a `-` stands on its line.
            if at > 0 || self.text.ends_with('\n') || self.text.is_empty() {
                self.lines(indent);
                self.text += &" ".repeat(indent);
            }
            match tree {
                Tree::List(items) => {
                    self.text += "-";
                    self.value(&items[at], indent, true);
                }
                Tree::Map(entries) => {
                    self.text += &format!("{}:", entries[at].0);
                    self.value(&entries[at].1, indent, false);
                }
                Tree::Scalar(_) => {}
            }
        }
    }

    /// A value, perhaps with an anchor, or an alias instead.
    fn value(&mut self, tree: &Tree, indent: usize, is_item: bool) {
        if !self.known.is_empty() && self.choose(12) == 0 {
            let at = self.choose(self.known.len());
            let name = self.known[at];
            self.text += &format!(" *a{name}");
            return self.end();
        }
        let name = self.anchors;
        let has_anchor = self.choose(12) == 0;
        if has_anchor {
            self.text += &format!(" &a{name}");
            self.anchors += 1;
        }
        self.bare(tree, indent, is_item, has_anchor);
        if has_anchor {
            self.known.push(name);
        }
    }

    fn bare(&mut self, tree: &Tree, indent: usize, is_item: bool, has_anchor: bool) {
        let is_empty = match tree {
            Tree::Scalar(forms) => return self.scalar(forms, indent),
            Tree::List(items) => items.is_empty(),
            Tree::Map(entries) => entries.is_empty(),
        };
        if is_empty || self.choose(3) == 0 {
            self.text += " ";
            self.flow(tree, indent + 1);
            return self.end();
        }
        let deep = 1 + self.choose(4);
        if is_item && !has_anchor && self.choose(2) == 0 {
            self.text += &" ".repeat(deep);
            return self.members(tree, indent + 1 + deep);
        }
        self.end();
        let may_stay = matches!(tree, Tree::List(_)) && !is_item;
        let deep = if may_stay && self.choose(2) == 0 { 0 } else { deep };
        self.members(tree, indent + deep);
    }

    fn scalar(&mut self, forms: &[&str], indent: usize) {
        let form = forms[self.choose(forms.len())];
        let deep = 1 + self.choose(4);
        let text = form.replace('^', &" ".repeat(indent + deep)).replace('?', &deep.to_string());
        self.text += " ";
        match text.split_once('\n').filter(|_| form.starts_with(['|', '>'])) {
            Some((header, rest)) => {
                self.text += header;
                self.end();
                self.text += rest;
            }
            None => {
                self.text += &text;
                self.end();
            }
        }
    }

    fn flow(&mut self, tree: &Tree, indent: usize) {
        let (open, close, count) = match tree {
            Tree::Scalar(forms) => {
                self.text += forms[0];
                return;
            }
            Tree::List(items) => ("[", "]", items.len()),
            Tree::Map(entries) => ("{", "}", entries.len()),
        };
        self.text += open;
        for at in 0..count {
            if self.choose(6) == 0 {
                self.end();
                let deep = indent + self.choose(3);
                self.text += &" ".repeat(deep);
            }
            match tree {
                Tree::List(items) => self.flow(&items[at], indent),
                Tree::Map(entries) => {
                    self.text += &format!("{}: ", entries[at].0);
                    self.flow(&entries[at].1, indent);
                }
                Tree::Scalar(_) => {}
            }
            self.text += if at + 1 < count { ", " } else { "" };
        }
        self.text += close;
    }
}

fn laid_out(tree: &Tree, choices: &[u8]) -> (String, usize) {
    let mut layout = Layout {
        choices: choices.iter().cycle(),
        text: String::new(),
        comments: 0,
        anchors: 0,
        known: Vec::new(),
    };
    layout.members(tree, 0);
    layout.lines(0);
    (layout.text, layout.comments)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_layout_of_any_tree(
        tree in file(),
        choices in prop::collection::vec(any::<u8>(), 1..200),
        path in prop::sample::select(&["calendars.yaml", "a.yaml", "a.test.yaml", "pools.yaml"][..]),
    ) {
        let (text, comments) = laid_out(&tree, &choices);
        let read: Result<Value, _> = serde_yaml::from_str(&text);
        // The renderer is no judge of YAML.
        let Ok(read) = read else {
            return Err(TestCaseError::reject("not YAML"));
        };
        let written = formatted(path, &text);
        let written = written.map_err(|found| TestCaseError::fail(format!("{text}\n{}", found[0])))?;
        for n in 1..=comments {
            let is_there = |word: &str| written.lines().any(|line| line.ends_with(&format!("# {word} {n}")));
            prop_assert!(is_there("alone") || is_there("beside"), "{} of\n{}\nin\n{}", n, text, written);
        }
        if path == "calendars.yaml" {
            let again: Value = serde_yaml::from_str(&written).expect("YAML");
            prop_assert_eq!(read.to_string(), again.to_string());
        }
    }
}
