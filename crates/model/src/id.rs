//! Names and ids, checked once at the edge and trusted afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A text that is not a name, with the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct BadName {
    /// What was written.
    pub text: String,
    /// What it should be: `task name`, `run id`.
    pub what: &'static str,
    /// The rule.
    pub rule: &'static str,
}

/// Names have at most this many bytes.
pub const NAME_BYTES_MAX: usize = 63;

fn is_name(text: &str, dash: bool) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && text.len() <= NAME_BYTES_MAX
        && bytes.all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || (dash && b == b'-')
        })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadName { text: text.to_owned(), what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a DAG, a pool or a connection: `[a-z][a-z0-9_-]{0,62}`.
    DagId,
    "DAG name",
    |text| is_name(text, true),
    "use lower-case letters, digits, `_` and `-`, starting with a letter, at most 63"
);

name!(
    /// The name of a pool: `[a-z][a-z0-9_-]{0,62}`.
    PoolName,
    "pool name",
    |text| is_name(text, true),
    "use lower-case letters, digits, `_` and `-`, starting with a letter, at most 63"
);

name!(
    /// The name of a task: `[a-z][a-z0-9_]{0,62}`, or `group.task` for a member of a group. It is
    /// a SQL and a CEL name at the same time.
    TaskName,
    "task name",
    |text| {
        let mut parts = text.split('.');
        parts.next().is_some_and(|part| is_name(part, false))
            && parts.next().is_none_or(|part| is_name(part, false))
            && parts.next().is_none()
    },
    "use lower-case letters, digits and `_`, starting with a letter, at most 63"
);

name!(
    /// The name of a param, a bind or an output: `[a-z][a-z0-9_]{0,62}`.
    VarName,
    "name",
    |text| is_name(text, false),
    "use lower-case letters, digits and `_`, starting with a letter, at most 63"
);

/// A run: the `number`-th of its DAG, from 1. Written `orders_daily.17`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    /// The DAG.
    pub dag: DagId,
    /// Counts the DAG's runs from 1.
    pub number: u64,
}

impl FromStr for RunId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            text: text.to_owned(),
            what: "run id",
            rule: "a run id is the DAG's name and a number, for example `orders_daily.17`",
        };
        let (dag, number) = text.split_once('.').ok_or_else(bad)?;
        if number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self {
            dag: dag.parse().map_err(|_| bad())?,
            number: number.parse().map_err(|_| bad())?,
        })
    }
}

impl TryFrom<String> for RunId {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.dag, self.number)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TaskName {
    /// The name inside of its group: what comes after the point, if there is one.
    pub fn short(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, member)| member)
    }
}

/// The place of a task in its DAG version's list. It means nothing outside that version.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct TaskIx(pub u32);

impl TaskIx {
    /// As an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// One task of a run; or, of a mapped task, one of its items. A member of a mapped group has an
/// instance for each item of the group.
///
/// Sorts depth first: everything of an item before anything of the next one. In text formats it is
/// the task's place, or a pair of that and the item.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(from = "InstanceText", into = "InstanceText")]
pub struct Instance {
    /// The place of the item in the list that is mapped over, from 0; `None` is the task as a whole.
    pub item: Option<u32>,
    /// The task.
    pub task: TaskIx,
}

impl Instance {
    /// An item of a mapped task, or what a member of a mapped group is for this item.
    pub fn of_item(task: TaskIx, item: u32) -> Self {
        Self { item: Some(item), task }
    }
}

impl From<TaskIx> for Instance {
    fn from(task: TaskIx) -> Self {
        Self { item: None, task }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum InstanceText {
    Task(TaskIx),
    Item(TaskIx, u32),
}

impl From<InstanceText> for Instance {
    fn from(text: InstanceText) -> Self {
        match text {
            InstanceText::Task(task) => task.into(),
            InstanceText::Item(task, item) => Self::of_item(task, item),
        }
    }
}

impl From<Instance> for InstanceText {
    fn from(Instance { task, item }: Instance) -> Self {
        item.map_or(Self::Task(task), |item| Self::Item(task, item))
    }
}

/// A DAG version: the first 16 bytes of the SHA-256 of its canonical form, in hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Arc<str>);

impl Version {
    /// The version of a canonical form.
    pub fn of(canonical: &[u8]) -> Self {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(canonical);
        Self(hex::encode(&digest[..16]).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text} should be a name");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn an_instance_is_short_in_text_and_sorts_depth_first() {
        let task = Instance::from(TaskIx(3));
        let items: Vec<Instance> = [(3, 0), (4, 0), (3, 1)]
            .map(|(task, item)| Instance::of_item(TaskIx(task), item))
            .into();
        let text = |instance: &Instance| serde_json::to_string(instance).expect("text");
        assert_eq!((text(&task), text(&items[2])), ("3".to_owned(), "[3,1]".to_owned()));
        for instance in items.iter().chain([&task]) {
            let back: Instance = serde_json::from_str(&text(instance)).expect("instance");
            assert_eq!(back, *instance);
        }
        assert!(items.is_sorted() && task < items[0]);
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        check::<TaskName>(
            &["a", "load_2", "group.task"],
            &["", "A", "2a", "a-b", "a.b.c", "a.", ".a", "..", &long],
        );
        check::<DagId>(&["a", "orders-daily"], &["", "a.b", "..", "a/b", "ä", &long]);
        check::<RunId>(
            &["a.1", "orders-daily.17"],
            &["a", "a.0", "a.01", "a.-1", "a.+1", "a.1.2", ".1", "../1", "a.99999999999999999999"],
        );
    }
}
